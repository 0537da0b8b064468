//! Cues of the caller's frames → speech or not ([`SpeechDetector`]).
//! Absent here: whose speech it is; what is said.

use std::f32::consts::PI;

use super::MEL_BANDS;
use crate::media::activity::{Activity, EXIT_DB};

/// Tells the caller's speech from hold music, tones, DTMF, noise and silence, [`LATENCY_FRAMES`] behind the newest frame.
///
/// Two stages. [`Activity`] finds sound above the line's noise. [`Statistics`] of about the last second of that sound, joined by
/// a logistic regression, tell whether it is speech: a voice glides where notes stand still, and changes between vowels and
/// consonants where tones, hum and noise stay what they are (Saunders, "Real-time discrimination of broadcast speech/music",
/// 1996; Scheirer & Slaney, "Construction and evaluation of a robust multifeature speech/music discriminator", 1997).
/// The gate opens at a log-odds of [`OPEN_LOGIT`] and closes below [`CLOSE_LOGIT`]. All is relative to the sound itself: a gain
/// changes nothing.
///
/// The look-ahead keeps onsets: a frame counts by what is known [`LATENCY_FRAMES`] after it. At the start of a call, and after a
/// long silence, those frames are all there is to go by: a first word is kept if the 0.3 s after its onset sound like speech, and
/// otherwise lost up to the frame 0.3 s before the gate opens. What was let go is not called back.
#[derive(Clone, Debug)]
pub struct SpeechDetector {
    activity: Activity,
    statistics: Statistics,
    gate_is_open: bool,
    /// Whether there was sound, newest frame in the lowest bit.
    sound: u64,
    frames: usize,
}

/// What the detector looks at in one frame.
#[derive(Clone, Copy, Debug)]
pub struct SpeechCues<'a> {
    /// Level, dB re full scale.
    pub level_dbfs: f32,
    /// Energy in each mel band, dB.
    pub mel_db: &'a [f32; MEL_BANDS],
    /// Strength of the normalised autocorrelation at the pitch period, 0..=1.
    pub voicing: f32,
    /// Fundamental frequency, Hz; 0 in an unvoiced frame.
    pub f0_hz: f32,
}

/// Frames between a frame and its decision: 300 ms.
pub const LATENCY_FRAMES: usize = 30;

/// Log-odds at which sound begins to count as speech.
pub const OPEN_LOGIT: f32 = 0.0;

/// Log-odds below which sound ceases to count as speech.
pub const CLOSE_LOGIT: f32 = -1.0;

/// Frames before the onset of sound that belong to it: consonants are weaker than vowels. 50 ms.
const PRE_ROLL_FRAMES: usize = 5;

impl SpeechDetector {
    /// A detector that has heard nothing.
    pub fn new() -> Self {
        Self {
            activity: Activity::new(),
            statistics: Statistics::default(),
            gate_is_open: false,
            sound: 0,
            frames: 0,
        }
    }

    /// Whether the frame [`LATENCY_FRAMES`] before this one is speech: the n-th `Some` belongs to the n-th frame.
    pub fn observe(&mut self, cues: &SpeechCues<'_>) -> Option<bool> {
        let sound = self.activity.observe(cues.level_dbfs);
        let above_db = cues.level_dbfs - self.activity.noise_floor_dbfs();
        self.statistics.observe(cues, sound && above_db > EXIT_DB);
        self.sound = self.sound << 1 | u64::from(sound);

        let logit = logit(&self.statistics.values());
        self.gate_is_open = logit > if self.gate_is_open { CLOSE_LOGIT } else { OPEN_LOGIT };

        self.frames += 1;
        let with_pre_roll = self.sound >> (LATENCY_FRAMES - PRE_ROLL_FRAMES) & ((1 << (PRE_ROLL_FRAMES + 1)) - 1);
        (self.frames > LATENCY_FRAMES).then_some(self.gate_is_open && with_pre_roll != 0)
    }

    /// Forgets the line: what follows does not follow what came before. The next [`LATENCY_FRAMES`] frames give no decision.
    pub fn reset(&mut self) {
        *self = Self::new();
    }
}

impl Default for SpeechDetector {
    fn default() -> Self {
        Self::new()
    }
}
