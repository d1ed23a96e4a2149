//! Resizing of images, decoding of JPEGs, resampling of sound, spectra, and lines of numbers, for the types that rows are
//! made of.
//!
//! What is here has no generic parameters, so that it is compiled here and nowhere else. What it means for a row is decided
//! by its callers, `decode::image`, `decode::audio` and `decode::csv`.

#[cfg(feature = "turbo")]
pub mod jpeg;
pub mod lanes;
mod narrow;
pub mod planes;
pub mod resample;
pub mod resize;
pub mod spectrum;
