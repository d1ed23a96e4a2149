//! The words of the config that stand for an enum. One that a single table needs stands with that table.

use super::world::{
    Alpha, Changed, Damage, Duplicates, Durability, Filter, Fit, Frames, HardLinks, Layout, OnError, Order, SplitBy,
    Tail, WatchMode,
};

/// An enum whose variants have a word each in the config.
pub trait Choice: Copy + PartialEq + 'static {
    /// All words with their meaning, in the order in which faults and documents list them.
    const CHOICES: &'static [(&'static str, Self)];

    /// The word for this variant.
    fn word(self) -> &'static str;
}

/// One list makes both directions, so that they cannot differ, and the compiler sees that no variant is left out.
macro_rules! choices {
    ($($kind:ident { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        impl Choice for $kind {
            const CHOICES: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    )+};
}
pub(super) use choices;

choices! {
    WatchMode { Events = "events", Poll = "poll", Auto = "auto" }
    Order { Arrival = "arrival", Name = "name", Mtime = "mtime" }
    Changed { Ignore = "ignore", Append = "append" }
    Duplicates { Append = "append", Skip = "skip" }
    HardLinks { Take = "take", Refuse = "refuse" }
    Fit { Cover = "cover", Contain = "contain", Stretch = "stretch", Exact = "exact" }
    Filter {
        Nearest = "nearest",
        Bilinear = "bilinear",
        Bicubic = "bicubic",
        Lanczos3 = "lanczos3",
        Area = "area",
    }
    Layout { Hwc = "hwc", Chw = "chw" }
    Alpha { Drop = "drop", Blend = "blend" }
    Frames { First = "first", All = "all" }
    OnError { Reject = "reject", Skip = "skip" }
    Tail { Drop = "drop", Pad = "pad" }
    Damage { Reject = "reject", Keep = "keep" }
    SplitBy { Source = "source", Content = "content", Folder = "folder", Row = "row" }
    Durability { Source = "source", Batch = "batch", None = "none" }
}
