#![no_main]

#[path = "../../tests/fuzzed/mod.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(init: fuzzed::prepare(), |bytes| fuzzed::audio::check(bytes));
