//! npy-ingest: files dropped into folders become rows of one growing `.npy` file.
pub mod config;
pub mod decode;
pub mod npy;
