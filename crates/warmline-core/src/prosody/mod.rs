//! Frames of the caller's voice → low-level descriptors, feature set [`FEATURE_SET`].
//! Absent here: any model, any clock, the agent's voice.

mod analyser;
mod baseline;
pub mod bins;
mod log_mel;
pub mod loudness;
pub mod mel;
pub mod pitch;
pub mod rate;
pub mod spectrum;
pub mod speech;
pub mod voice;

pub use analyser::{Analyser, LATENCY_FRAMES};
pub(crate) use baseline::median;
pub use baseline::{Baseline, Descriptor, Deviation, Summariser, Summary};
pub use log_mel::{LOG_MEL_BANDS, LOG_MEL_SET, log_mel, log_mel_columns, log_mel_frames};

use std::sync::LazyLock;

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
    /// Level: 10 log10 of the mean square about the mean, dB re full scale (a full-scale sine: -3); floor -140 dB.
    pub level_dbfs: f32,
    /// Perceptual loudness: mean over an auditory spectrum compressed with exponent 0.33, in openSMILE's arbitrary linear unit.
    pub loudness: f32,
    /// Centroid of the power spectrum, Hz; 0 in digital silence.
    pub centroid_hz: f32,
    /// Spectral flux: distance between this frame's and the last frame's magnitude spectrum, both of unit norm, so that gain
    /// does not matter: 0..=√2.
    pub flux: f32,
    /// Slope of the least-squares line through the spectrum from 0 to 500 Hz, dB per Hz.
    pub slope_0_500: f32,
    /// The same from 500 to 1500 Hz.
    pub slope_500_1500: f32,
    /// Alpha ratio: energy from 1 kHz up (to 5 kHz; here to the band's end, 4 kHz) over energy from 50 Hz to 1 kHz, dB. As in
    /// openSMILE a louder, tenser voice has more; some authors turn the fraction round.
    pub alpha_ratio_db: f32,
    /// Hammarberg index: strongest peak below 2 kHz over strongest peak from 2 to 5 kHz (here to the band's end), dB.
    pub hammarberg_db: f32,
    /// How likely the frame is voiced, 0..=1.
    pub voicing: f32,
    /// What only a voiced frame has.
    pub voiced: Option<Voiced>,
    /// Syllable nuclei per second over the last seconds of speech.
    pub syllable_rate: f32,
    /// Mel-frequency cepstral coefficients 1-4: of 26 bands from 20 Hz to 4 kHz, with lifter 22.
    pub mfcc: [f32; 4],
    /// Energy in each of 40 HTK mel bands, dB re full scale (the bands together: the level); floor -140 dB.
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
    /// First harmonic over second, dB; a telephone takes the first harmonic away, and with it the meaning.
    pub h1_h2_db: f32,
    /// Fourth harmonic over the one nearest 2 kHz, dB: the same fall of the spectrum where the telephone leaves it alone.
    pub h4_h2k_db: f32,
}

/// The columns of `warmline features`, without the time, and the names a model card chooses its inputs from.
///
/// What only a voiced frame has is 0 in an unvoiced one; `f0_semitones` counts from 27.5 Hz (A0), as eGeMAPS does.
pub const COLUMNS: [&str; 62] = [
    "speech",
    "level_dbfs",
    "loudness",
    "centroid_hz",
    "flux",
    "slope_0_500",
    "slope_500_1500",
    "alpha_ratio_db",
    "hammarberg_db",
    "voicing",
    "f0_hz",
    "f0_semitones",
    "hnr_db",
    "jitter_local",
    "shimmer_local",
    "h1_h2_db",
    "h4_h2k_db",
    "syllable_rate",
    "mfcc_1",
    "mfcc_2",
    "mfcc_3",
    "mfcc_4",
    "mel_00_db",
    "mel_01_db",
    "mel_02_db",
    "mel_03_db",
    "mel_04_db",
    "mel_05_db",
    "mel_06_db",
    "mel_07_db",
    "mel_08_db",
    "mel_09_db",
    "mel_10_db",
    "mel_11_db",
    "mel_12_db",
    "mel_13_db",
    "mel_14_db",
    "mel_15_db",
    "mel_16_db",
    "mel_17_db",
    "mel_18_db",
    "mel_19_db",
    "mel_20_db",
    "mel_21_db",
    "mel_22_db",
    "mel_23_db",
    "mel_24_db",
    "mel_25_db",
    "mel_26_db",
    "mel_27_db",
    "mel_28_db",
    "mel_29_db",
    "mel_30_db",
    "mel_31_db",
    "mel_32_db",
    "mel_33_db",
    "mel_34_db",
    "mel_35_db",
    "mel_36_db",
    "mel_37_db",
    "mel_38_db",
    "mel_39_db",
];

impl Lld {
    /// A frame in which nothing sounds.
    pub fn silence(at: MediaTime) -> Self {
        const FLOOR_DB: f32 = -140.0;
        Self {
            at,
            speech: false,
            level_dbfs: FLOOR_DB,
            loudness: 0.0,
            centroid_hz: 0.0,
            flux: 0.0,
            slope_0_500: 0.0,
            slope_500_1500: 0.0,
            alpha_ratio_db: 0.0,
            hammarberg_db: 0.0,
            voicing: 0.0,
            voiced: None,
            syllable_rate: 0.0,
            mfcc: [0.0; 4],
            mel_db: [FLOOR_DB; MEL_BANDS],
        }
    }

    /// The descriptors in the order of [`COLUMNS`], levels in steps of a decibel ([`STEPS_PER_DB`]): what a model is asked with, and what
    /// it is trained on.
    pub fn row(&self) -> [f32; COLUMNS.len()] {
        let voice = self.voiced.map_or([0.0; 7], |v| {
            [v.f0_hz, v.f0_semitones(), v.hnr_db, v.jitter_local, v.shimmer_local, v.h1_h2_db, v.h4_h2k_db]
        });
        let spectral = [
            self.level_dbfs,
            self.loudness,
            self.centroid_hz,
            self.flux,
            self.slope_0_500,
            self.slope_500_1500,
            self.alpha_ratio_db,
            self.hammarberg_db,
            self.voicing,
        ];
        let mut values = std::iter::once(f32::from(u8::from(self.speech)))
            .chain(spectral)
            .chain(voice)
            .chain([self.syllable_rate])
            .chain(self.mfcc)
            .chain(self.mel_db);
        let mut is_level = IS_LEVEL.iter();
        std::array::from_fn(|_| {
            let value = values.next().unwrap_or_default();
            if is_level.next() == Some(&true) { (value * STEPS_PER_DB).round() / STEPS_PER_DB } else { value }
        })
    }
}

/// Steps of a decibel in which levels are given, so that a call keeps them in half the room of a float: the error is a fortieth of what
/// eight-bit telephony makes of a quiet band.
pub const STEPS_PER_DB: f32 = 128.0;

/// Which of [`COLUMNS`] are levels in decibels.
pub static IS_LEVEL: LazyLock<[bool; COLUMNS.len()]> =
    LazyLock::new(|| COLUMNS.map(|name| name.ends_with("_db")));

impl Voiced {
    /// Fundamental frequency in semitones above 27.5 Hz (A0).
    pub fn f0_semitones(&self) -> f32 {
        12.0 * (self.f0_hz / 27.5).log2()
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_every_column_in_its_place() {
        let mut lld = Lld::silence(MediaTime::ZERO);
        lld.speech = true;
        lld.mel_db[39] = -1.0;
        lld.mfcc = [1.0, 2.0, 3.0, 4.0];
        lld.syllable_rate = 5.0;
        lld.voiced = Some(Voiced {
            f0_hz: 55.0,
            hnr_db: 9.0,
            jitter_local: 0.1,
            shimmer_local: 0.2,
            h1_h2_db: 3.0,
            h4_h2k_db: 1.0,
        });
        let row = lld.row();
        let of = |name: &str| row[COLUMNS.iter().position(|c| *c == name).unwrap()];
        assert_eq!(
            [of("speech"), of("f0_semitones"), of("h1_h2_db"), of("syllable_rate")],
            [1.0, 12.0, 3.0, 5.0]
        );
        assert_eq!(
            [of("mfcc_4"), of("mel_00_db"), of("mel_39_db"), of("level_dbfs")],
            [4.0, -140.0, -1.0, -140.0]
        );
    }
}
