//! `follow = true`: what is impossible for logs that are taken while they are still being written.

use super::section::Section;
use super::world::{Columns, Disposal, SplitBy, Watch};

/// `section`: the dataset's.
pub(super) fn check(section: &Section<'_>, watch: &Watch, columns: &Columns) {
    const HELP: &str = "remove the line, or `follow`";
    let watch_section = section.section("watch");
    for (key, disposal) in [("after", &watch.after), ("rejected", &watch.rejected)] {
        if *disposal != Disposal::Keep
            && let Some(item) = watch_section.item(key)
        {
            item.fault_with_help(
                format!("found {}, but a log that is followed stays: it is still being written", item.found()),
                HELP,
            );
        }
    }
    if columns.split.as_ref().is_some_and(|split| split.by == SplitBy::Content)
        && let Some(item) = section.section("columns").item("split")
    {
        item.fault_with_help("found by = \"content\", but the content of a log that is followed grows", HELP);
    }
}
