//! Resizing of images, decoding of JPEGs, resampling of sound and spectra, for the types that rows are made of.
//!
//! What is here has no generic parameters, so that it is compiled here and nowhere else. What it means for a row is decided
//! by its callers, `decode::image` and `decode::audio`.

#[cfg(feature = "turbo")]
pub mod jpeg;
pub mod lanes;
mod narrow;
pub mod planes;
pub mod resample;
pub mod resize;
pub mod spectrum;
