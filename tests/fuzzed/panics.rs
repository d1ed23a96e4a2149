//! Whose panic it was. One of our own is a fault; one inside a library that decodes is contained: the program makes a
//! rejection of it, and goes on with the next source.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::sync::Mutex;

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    /// Where a library panicked. `None`: the panic was ours.
    static IN_LIBRARY: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where libraries have panicked so far. Each place is told once.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Takes the place of the panic hook. libFuzzer's own ends the process, which is too early to tell whose panic it was.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        let library = IS_WATCHED.get().then(|| library_of(panic)).flatten();
        match &library {
            None => eprintln!("{panic}\n{}", Backtrace::force_capture()),
            Some(place) => {
                let is_new = SEEN.lock().map(|mut seen| seen.insert(place.clone())).unwrap_or(true);
                if is_new {
                    eprintln!("contained: {place}");
                }
            }
        }
        IN_LIBRARY.replace(library);
    }));
}

/// Runs `work` as the program runs a decoder. `None`: a library panicked. A panic of ours goes on.
pub fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    IS_WATCHED.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_WATCHED.set(false);
    match result {
        Ok(result) => Some(result),
        Err(_) if IN_LIBRARY.take().is_some() => None,
        Err(panic) => resume_unwind(panic),
    }
}

fn library_of(panic: &PanicHookInfo<'_>) -> Option<String> {
    const REGISTRY: &str = "/registry/src/";
    let place = panic.location()?;
    let place_text = format!("{place}: {}", panic.payload_as_str().unwrap_or("no words"));
    if let Some((_, below)) = place_text.split_once(REGISTRY) {
        return Some(below.to_owned());
    }
    if !place.file().starts_with("/rustc/") && !place.file().contains("/rustlib/src/rust/") {
        return None;
    }
    // Somewhere in the standard library: who called it?
    let trace = Backtrace::force_capture().to_string();
    let callers = trace.lines().filter_map(|line| line.trim().split_once(": ")).map(|(_, name)| name);
    let is_std = |name: &&str| {
        ["std::", "core::", "alloc::", "<std::", "<core::", "<alloc::", "__rust", "rust_"]
            .iter()
            .any(|start| name.starts_with(start))
    };
    let is_hook = |name: &&str| name.contains("fuzzed::panics::");
    let caller =
        callers.skip_while(|name| is_std(name) || is_hook(name)).find(|name| !is_std(name) && !is_hook(name))?;
    let is_ours = ["npy_ingest::", "<npy_ingest::", "fuzzed::", "rust_fuzzer_test_input"]
        .iter()
        .any(|start| caller.contains(start));
    (!is_ours).then(|| format!("{place_text} (called by {caller})"))
}
