//! The command line of a program.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::Dataset;

/// The command line, with what is the same for all sources filled in.
pub(super) struct Words(Vec<String>);

impl Words {
    pub(super) fn new(argv: &[String], dataset: &Dataset) -> Self {
        let shape = dataset.row.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let fill = |word: &String| {
            word.replace("{dataset}", &dataset.name)
                .replace("{shape}", &shape)
                .replace("{dtype}", &dataset.row.dtype.descr())
        };
        Self(argv.iter().map(fill).collect())
    }

    pub(super) fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The program for a source, to be run in `folder`. A program with a slash is relative to it, too.
    pub(super) fn command(&self, source: &Path, folder: &Path) -> Command {
        let program = self.program();
        let program = if program.contains('/') { folder.join(program) } else { PathBuf::from(program) };
        let mut command = Command::new(program);
        command.args(self.0.iter().skip(1).map(|word| with_source(word, source.as_os_str()))).current_dir(folder);
        command
    }
}

/// A path is bytes, not always text.
fn with_source(word: &str, source: &OsStr) -> OsString {
    let mut filled = OsString::new();
    for (place, part) in word.split("{source}").enumerate() {
        if place > 0 {
            filled.push(source);
        }
        filled.push(part);
    }
    filled
}
