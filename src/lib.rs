//! npy-ingest: files dropped into folders become rows of one growing `.npy` array per dataset.
//!
//! The program is in [`cli`] and [`daemon`]. Of use by itself is [`npy`]: the file format, and headers that grow in place.
//! `ARCHITECTURE.md` shows how the rooms hang together, and which may know of which.

// Bad input must never end the program, so what can panic is named where it is sound.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![warn(clippy::todo, clippy::unimplemented, clippy::dbg_macro)]

pub mod cli;
pub mod config;
pub mod daemon;
pub mod decode;
pub mod intake;
pub mod lane;
pub mod ledger;
pub mod monitor;
pub mod npy;
pub mod picture;
pub mod pulse;
pub mod recovery;
pub mod source;
pub mod storage;
pub mod tally;
pub mod writer;
