//! Counts the warnings that the service logs: a disposal, a note or a last sync that failed, which is made up for later and
//! shows nowhere else.

use std::cell::Cell;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static WARNINGS: Cell<u32> = const { Cell::new(0) };
}

/// Begins to count, in every thread for itself.
pub fn count() {
    tracing::subscriber::set_global_default(Counter).expect("nothing else logs in this test");
}

/// The warnings of this thread since the last call.
pub fn take() -> u32 {
    WARNINGS.take()
}

struct Counter;

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        // A rejected source is no fault of the disk.
        if !text.0.starts_with("rejected") {
            WARNINGS.set(WARNINGS.get() + 1);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What the event says.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
