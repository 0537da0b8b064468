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
            statistics: Statistics::new(),
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
        let with_pre_roll =
            self.sound >> (LATENCY_FRAMES - PRE_ROLL_FRAMES) & ((1 << (PRE_ROLL_FRAMES + 1)) - 1);
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

/// What speech is told by, over the sound of about the last second.
#[derive(Clone, Copy, Debug)]
struct Values {
    /// Mean voicing.
    voicing: f32,
    /// Standard deviation of voicing: vowels and consonants take turns.
    voicing_sd: f32,
    /// Share of the voiced 30 ms runs whose pitch stands still, as notes and tones do.
    steady: f32,
    /// Share of the voiced 30 ms runs whose pitch glides, as voices do.
    gliding: f32,
    /// Standard deviation of the first two cepstral coefficients, dB: the spectrum's tilt and its middle move.
    c1_sd: f32,
    c2_sd: f32,
    /// The strongest mel band over the mean of all, dB: tones stick out.
    crest_db: f32,
    /// Mean change of level over 40 ms, dB.
    level_change_db: f32,
}

/// Log-odds of speech against everything else.
///
/// Logistic regression fitted by `models/train/fit_speech.py`, which says on what.
fn logit(v: &Values) -> f32 {
    -0.0 + 0.0 * v.voicing
        + 0.0 * v.voicing_sd
        + 0.0 * v.steady
        + 0.0 * v.gliding
        + 0.0 * v.c1_sd
        + 0.0 * v.c2_sd
        + 0.0 * v.crest_db
        + 0.0 * v.level_change_db
}

/// Leaky sums over the frames with sound in them; time goes on in the others.
#[derive(Clone, Debug)]
struct Statistics {
    sums: [f32; TERMS],
    /// Pitch of the last frames in semitones, newest first; `None` where unvoiced.
    semitones: [Option<f32>; RUN_FRAMES + 1],
    /// Level of the last frames, dB re full scale, newest first.
    levels_dbfs: [f32; CHANGE_FRAMES + 1],
    cosines: [[f32; MEL_BANDS]; 2],
}

/// Frames of one average in the statistics: the last second has 81 % of its weight.
const MEMORY_FRAMES: f32 = 60.0;

const TERMS: usize = 12;

/// Pitch is compared over 30 ms of unbroken voicing: the ear's own step is longer, a single period's too noisy.
const RUN_FRAMES: usize = 3;

/// A pitch that moves less over a run stands still, semitones: 5 semitones a second.
const STEADY_SEMITONES: f32 = 0.15;

/// A pitch that moves more over a run has jumped: a new note, or an octave error.
const JUMP_SEMITONES: f32 = 2.0;

/// A level is compared with the one 40 ms before.
const CHANGE_FRAMES: usize = 4;

/// Changes of level count up to this, dB.
const CHANGE_MAX_DB: f32 = 20.0;

/// Bands this far below the strongest, and below [`BAND_FLOOR_DB`], count as that: what lies there is the codec's noise.
const RANGE_DB: f32 = 40.0;

const BAND_FLOOR_DB: f32 = -100.0;

impl Statistics {
    fn new() -> Self {
        Self {
            sums: [0.0; TERMS],
            semitones: [None; RUN_FRAMES + 1],
            levels_dbfs: [BAND_FLOOR_DB; CHANGE_FRAMES + 1],
            cosines: [cosine(1), cosine(2)],
        }
    }

    fn observe(&mut self, cues: &SpeechCues<'_>, is_sound: bool) {
        self.semitones.rotate_right(1);
        self.levels_dbfs.rotate_right(1);
        if let ([semitone, ..], [level, ..]) = (&mut self.semitones, &mut self.levels_dbfs) {
            *semitone = (cues.f0_hz > 0.0).then(|| 12.0 * cues.f0_hz.log2());
            *level = cues.level_dbfs.max(BAND_FLOOR_DB);
        }
        let terms = if is_sound { self.terms(cues) } else { [0.0; TERMS] };
        for (sum, term) in self.sums.iter_mut().zip(terms) {
            *sum += (term - *sum) / MEMORY_FRAMES;
        }
    }

    fn terms(&self, cues: &SpeechCues<'_>) -> [f32; TERMS] {
        let [level, .., past_level] = self.levels_dbfs;
        let run = self.semitones.iter().all(Option::is_some);
        let moved = match self.semitones {
            [Some(now), Some(_), Some(_), Some(then)] => (now - then).abs(),
            _ => f32::INFINITY,
        };
        let share = |is: bool| f32::from(u8::from(is));

        let top = cues.mel_db.iter().copied().fold(BAND_FLOOR_DB, f32::max);
        let floor = (top - RANGE_DB).max(BAND_FLOOR_DB);
        let bands = cues.mel_db.map(|db| db.max(floor));
        let mean = bands.iter().sum::<f32>() / 40.0;
        let [c1, c2] =
            self.cosines.each_ref().map(|cosine| bands.iter().zip(cosine).map(|(db, c)| db * c).sum::<f32>());
        [
            1.0,
            cues.voicing,
            cues.voicing * cues.voicing,
            share(run),
            share(moved < STEADY_SEMITONES),
            share((STEADY_SEMITONES..JUMP_SEMITONES).contains(&moved)),
            c1,
            c1 * c1,
            c2,
            c2 * c2,
            top - mean,
            (level - past_level).abs().min(CHANGE_MAX_DB),
        ]
    }

    fn values(&self) -> Values {
        let [sound, voicing, voicing2, runs, steady, gliding, c1, c1_2, c2, c2_2, crest, change] = self.sums;
        let mean = |sum: f32| sum / sound.max(1e-3);
        let sd = |sum: f32, squares: f32| (mean(squares) - mean(sum) * mean(sum)).max(0.0).sqrt();
        Values {
            voicing: mean(voicing),
            voicing_sd: sd(voicing, voicing2),
            steady: steady / (runs + 0.1),
            gliding: gliding / (runs + 0.1),
            c1_sd: sd(c1, c1_2),
            c2_sd: sd(c2, c2_2),
            crest_db: mean(crest),
            level_change_db: mean(change),
        }
    }
}

/// Row `k` of the discrete cosine transform (II) over the mel bands.
#[allow(clippy::cast_precision_loss, reason = "bands are few")]
fn cosine(k: usize) -> [f32; MEL_BANDS] {
    let n = MEL_BANDS as f32;
    std::array::from_fn(|band| (2.0 / n).sqrt() * (PI * k as f32 * (band as f32 + 0.5) / n).cos())
}
