//! What holds for any input at all: the checks that the fuzzer drives, and that `tests/fuzzed.rs` repeats on what it found.
//!
//! A check takes bytes, gives them to the program, and panics where the program breaks a promise. It says nothing of whether
//! the input is good.

// Each fuzz target is a program of its own that uses one of the checks.
#![allow(dead_code)]

pub mod audio;
pub mod config;
pub mod csv;
pub mod decoding;
pub mod gps;
pub mod header;
pub mod image;
pub mod memory;
pub mod npy;
pub mod panics;
pub mod records;

/// Once in each process, before the first check.
pub fn prepare() {
    panics::watch();
}
