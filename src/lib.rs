//! npy-ingest: files dropped into folders become rows of one growing `.npy` array per dataset.
//!
//! The program is in [`cli`] and [`daemon`]. Of use by itself is [`npy`]: the file format, and headers that grow in place.
//! `ARCHITECTURE.md` shows how the rooms hang together, and which may know of which.

// Bad input must never end the program, so what can panic is named where it is sound.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
// They panic where the other end is gone: `cli` has `print` and `warn`.
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![warn(clippy::todo, clippy::unimplemented, clippy::dbg_macro)]

#[cfg(feature = "program")]
pub mod cli;
pub mod config;
#[cfg(feature = "program")]
pub mod daemon;
pub mod decode;
#[cfg(feature = "program")]
pub mod intake;
#[cfg(feature = "program")]
pub mod lane;
#[cfg(feature = "program")]
pub mod ledger;
#[cfg(feature = "program")]
pub mod monitor;
pub mod npy;
#[cfg(feature = "program")]
pub mod picture;
#[cfg(feature = "program")]
pub mod pulse;
mod quantity;
#[cfg(feature = "program")]
pub mod recovery;
pub mod source;
pub mod storage;
#[cfg(feature = "program")]
pub mod suspects;
#[cfg(feature = "program")]
pub mod tally;
#[cfg(feature = "program")]
pub mod writer;
