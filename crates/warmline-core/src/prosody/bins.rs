//! The grid of the power spectrum.

/// Points of the transform: the frame and zeros up to a power of two.
pub const FFT_LEN: usize = 256;

/// Bins from 0 Hz to the Nyquist frequency, both included.
pub const BINS: usize = FFT_LEN / 2 + 1;

/// Spacing of the bins, Hz.
pub const BIN_HZ: f32 = 31.25; // 8000 / FFT_LEN
