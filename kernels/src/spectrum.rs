//! The FFT of real numbers.

use std::sync::Arc;

pub use realfft::RealToComplex;
pub use realfft::num_complex::Complex;

/// The transform of `length` numbers, to `length / 2 + 1` bins.
pub fn real_fft(length: usize) -> Arc<dyn RealToComplex<f64>> {
    realfft::RealFftPlanner::<f64>::new().plan_fft_forward(length)
}
