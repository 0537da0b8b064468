//! Frames of the caller's voice → low-level descriptors, feature set [`FEATURE_SET`].
//! Absent here: any model, any clock, the agent's voice.

pub mod loudness;
pub mod mel;
pub mod pitch;
pub mod rate;
pub mod spectrum;
pub mod speech;
pub mod voice;

use crate::units::MediaTime;

/// The name and version of the descriptors of [`Lld`]: a model card names it, and a model made for another one is refused.
pub const FEATURE_SET: &str = "prosody/1";

/// Bands of the log-mel spectrum, 60-3800 Hz.
pub const MEL_BANDS: usize = 40;

/// The low-level descriptors of one frame (25 ms, one every 10 ms).
#[derive(Clone, Debug, PartialEq)]
pub struct Lld {
    /// The frame's first sample.
    pub at: MediaTime,
    /// Speech, after onset and hangover.
    pub speech: bool,
    /// Level of the frame: 10 log10 of the mean square, dB relative to full scale.
    pub level_dbfs: f32,
    /// Perceptual loudness: sum over an auditory spectrum compressed with exponent 1/3 (arbitrary linear unit, as openSMILE's).
    pub loudness: f32,
    /// Spectral centroid, Hz.
    pub centroid_hz: f32,
    /// Spectral flux between this frame's and the last frame's normalised magnitude spectrum (gain-invariant).
    pub flux: f32,
    /// Slope of the spectrum from 0 to 500 Hz, dB per kHz... see `spectrum`.
    pub slope_0_500: f32,
    /// Slope of the spectrum from 500 to 1500 Hz.
    pub slope_500_1500: f32,
    /// Alpha ratio: energy 50-1000 Hz over energy 1-5 kHz (here up to the band's end), dB.
    pub alpha_ratio_db: f32,
    /// Hammarberg index: strongest peak 0-2 kHz over strongest peak 2-5 kHz (here up to the band's end), dB.
    pub hammarberg_db: f32,
    /// How likely the frame is voiced, 0..=1.
    pub voicing: f32,
    /// What only a voiced frame has.
    pub voiced: Option<Voiced>,
    /// Syllable nuclei per second over the last seconds of speech.
    pub syllable_rate: f32,
    /// Mel-frequency cepstral coefficients 1-4.
    pub mfcc: [f32; 4],
    /// Energy in each mel band, dB re full scale; floor -140 dB.
    pub mel_db: [f32; MEL_BANDS],
}

/// The descriptors of a voiced frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voiced {
    /// Fundamental frequency, Hz.
    pub f0_hz: f32,
    /// Harmonics-to-noise ratio, dB.
    pub hnr_db: f32,
    /// Mean absolute difference of consecutive periods over the mean period.
    pub jitter_local: f32,
    /// Mean absolute difference of consecutive peak amplitudes over the mean amplitude.
    pub shimmer_local: f32,
    /// First harmonic over second, or an equivalent that survives the telephone band, dB.
    pub h1_h2_db: f32,
}
