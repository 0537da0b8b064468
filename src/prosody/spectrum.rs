//! One frame → its power spectrum, and every descriptor read from it ([`SpectralAnalyser`]).
//! Absent here: pitch and voicing; anything that looks further back than the last frame.

use std::{f32::consts::PI, sync::Arc};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex32};

use super::{MEL_BANDS, loudness, mel::MelBank};
use crate::media::FRAME_LEN;

/// Points of the transform: the frame and zeros up to a power of two.
pub const FFT_LEN: usize = 256;

/// Bins from 0 Hz to the Nyquist frequency, both included.
pub const BINS: usize = FFT_LEN / 2 + 1;

/// Spacing of the bins, Hz.
pub const BIN_HZ: f32 = 31.25; // 8000 / FFT_LEN

/// The spectral descriptors of one frame; [`Lld`](super::Lld) explains each.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectral {
    /// Level, dB re full scale.
    pub level_dbfs: f32,
    /// Energy of each mel band, dB re full scale.
    pub mel_db: [f32; MEL_BANDS],
}

/// Frames → their spectral descriptors; every table is made once.
#[derive(Debug)]
pub struct SpectralAnalyser {
    spectrum: Spectrum,
    mel: MelBank<MEL_BANDS>,
}

impl SpectralAnalyser {
    /// An analyser that has heard nothing.
    pub fn new() -> Self {
        Self { spectrum: Spectrum::new(), mel: MelBank::new(60.0, 3_800.0) }
    }

    /// The descriptors of the next frame, 10 ms after the last one.
    pub fn observe(&mut self, frame: &[f32; FRAME_LEN]) -> Spectral {
        let power = self.spectrum.power(frame);
        Spectral {
            level_dbfs: loudness::level_dbfs(frame),
            mel_db: self.mel.energies(power).map(loudness::dbfs),
        }
    }

    /// Forgets the last frame: the next one does not follow it.
    pub fn reset(&mut self) {}
}

impl Default for SpectralAnalyser {
    fn default() -> Self {
        Self::new()
    }
}

/// The power spectrum of a frame under a Hamming window, by a real FFT of [`FFT_LEN`] points.
///
/// Hamming is openSMILE's window for every spectral descriptor of eGeMAPS; its Gaussian window serves pitch and harmonics
/// alone. Its side lobes lie 43 dB down, so a strong vowel formant does not fill the quiet band above 2 kHz.
pub struct Spectrum {
    fft: Arc<dyn RealToComplex<f32>>,
    window: [f32; FRAME_LEN],
    samples: [f32; FFT_LEN],
    bins: [Complex32; BINS],
    scratch: Vec<Complex32>,
    power: [f32; BINS],
    scale: f32,
}

impl Spectrum {
    /// Plans the transform.
    pub fn new() -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(FFT_LEN);
        let window = hamming();
        let energy: f32 = window.iter().map(|w| w * w).sum();
        Self {
            scratch: fft.make_scratch_vec(),
            fft,
            window,
            samples: [0.0; FFT_LEN],
            bins: [Complex32::ZERO; BINS],
            power: [0.0; BINS],
            scale: 2.0 / (256.0 * energy),
        }
    }

    /// Power at each bin: `P[k] = 2 |X[k]|² / (N Σ w[n]²)`, halved at 0 Hz and at the Nyquist frequency, so that the sum
    /// over all bins is the mean square of the frame as weighted by the squared window (Parseval; a full-scale sine: 1/2).
    pub fn power(&mut self, frame: &[f32; FRAME_LEN]) -> &[f32; BINS] {
        self.samples.fill(0.0);
        for ((sample, x), w) in self.samples.iter_mut().zip(frame).zip(&self.window) {
            *sample = x * w;
        }
        let done = self.fft.process_with_scratch(&mut self.samples, &mut self.bins, &mut self.scratch);
        debug_assert!(done.is_ok(), "the buffers have the plan's lengths");
        for (power, x) in self.power.iter_mut().zip(&self.bins) {
            *power = self.scale * x.norm_sqr();
        }
        let [dc, .., nyquist] = &mut self.power;
        *dc *= 0.5;
        *nyquist *= 0.5;
        &self.power
    }
}

impl Default for Spectrum {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spectrum").finish_non_exhaustive()
    }
}

/// `w[n] = 0.54 - 0.46 cos(2πn / (L - 1))`, the symmetric Hamming window of `L` = [`FRAME_LEN`] points.
#[allow(clippy::cast_precision_loss, reason = "n is below 200")]
fn hamming() -> [f32; FRAME_LEN] {
    std::array::from_fn(|n| 0.54 - 0.46 * (2.0 * PI * n as f32 / (FRAME_LEN - 1) as f32).cos())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn tone(hz: f32, amplitude: f32) -> [f32; FRAME_LEN] {
        std::array::from_fn(|n| amplitude * (2.0 * PI * hz * n as f32 / 8_000.0).sin())
    }

    /// White noise from a linear congruential generator (Numerical Recipes), mean square near `amplitude`² / 3.
    pub(in super::super) fn noise(mut seed: u32, amplitude: f32) -> [f32; FRAME_LEN] {
        std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            amplitude * (f32::from((seed >> 16) as u16) / 32_768.0 - 1.0)
        })
    }

    #[test]
    fn the_power_spectrum_is_the_discrete_fourier_transform() {
        let frame = noise(1, 0.5);
        let window = hamming();
        let energy: f64 = window.iter().map(|&w| f64::from(w).powi(2)).sum();
        let fast = *Spectrum::new().power(&frame);
        for (k, &fast) in fast.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, (&x, &w)) in frame.iter().zip(&window).enumerate() {
                let phase = -2.0 * std::f64::consts::PI * (k * n) as f64 / FFT_LEN as f64;
                re += f64::from(x * w) * phase.cos();
                im += f64::from(x * w) * phase.sin();
            }
            let sides = if k == 0 || k == BINS - 1 { 1.0 } else { 2.0 };
            let slow = sides * (re * re + im * im) / (FFT_LEN as f64 * energy);
            assert!((f64::from(fast) - slow).abs() < 1e-6 * slow.max(1e-4), "bin {k}: {fast} is not {slow}");
        }
    }

    #[test]
    fn the_powers_sum_to_the_mean_square() {
        let mean_square: f32 = Spectrum::new().power(&tone(1_000.0, 1.0)).iter().sum();
        assert!((mean_square - 0.5).abs() < 0.005, "{mean_square}");
    }

    #[test]
    fn ten_times_the_gain_is_20_db_more_in_level_and_mel() {
        let mut analyser = SpectralAnalyser::new();
        let quiet = analyser.observe(&noise(2, 0.01));
        let loud = analyser.observe(&noise(2, 0.1));
        assert!((loud.level_dbfs - quiet.level_dbfs - 20.0).abs() < 1e-3);
        for (loud, quiet) in loud.mel_db.iter().zip(&quiet.mel_db) {
            assert!((loud - quiet - 20.0).abs() < 1e-3, "{loud} {quiet}");
        }
    }
}
