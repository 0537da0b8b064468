//! Frames of speech → syllables per second ([`SyllableRate`]).
//! Absent here: words; what is speech and what is not.

use super::MEL_BANDS;

/// Syllable nuclei per second of speech, running over about the last 3 s of it.
///
/// A nucleus is a voiced peak of the smoothed 300-3400 Hz level between two dips of [`DIP_DB`] or more (Mermelstein, "Automatic
/// segmentation of speech into syllabic units", 1975; as de Jong & Wempe, "Praat script to detect syllable nuclei and measure
/// speech rate automatically", 2009) no further than [`RANGE_DB`] below the loudest of late. Only speech moves the clock, so that
/// a pause longer than the speech detector's hangover does not slow the rate. Levels are compared with each other alone: a gain
/// changes nothing.
#[derive(Clone, Debug)]
pub struct SyllableRate {
    envelope: Envelope,
    slope: Slope,
    loudest_db: f32,
    nuclei: Gamma,
    frames: Gamma,
}

/// What the rate looks at in one frame.
#[derive(Clone, Copy, Debug)]
pub struct RateCues<'a> {
    /// Speech, after onset and hangover.
    pub speech: bool,
    /// Whether the frame has a pitch.
    pub voiced: bool,
    /// Energy in each mel band, dB.
    pub mel_db: &'a [f32; MEL_BANDS],
}

/// A dip between two syllables is this deep, dB (de Jong & Wempe 2009: 2 dB).
pub const DIP_DB: f32 = 2.0;

/// Nuclei this far below the loudest of late are none, dB (de Jong & Wempe 2009: 25 dB below the loudest).
pub const RANGE_DB: f32 = 25.0;

/// Mel bands whose centres lie in 300-3400 Hz.
const VOICE_BANDS: std::ops::Range<usize> = 6..38;

/// The loudest of late falls by this much a frame of speech: 3 dB a second.
const LOUDEST_FALL_DB: f32 = 0.03;

/// Time constant of each of two averages in a row: half of their weight is on the last 1.3 s, 90 % on the last 3.1 s.
const AVERAGE_FRAMES: f32 = 80.0;

/// Speech before the rate says anything: 0.5 s.
const MIN_SPEECH_FRAMES: f32 = 50.0;

/// Levels count as if between these two, dB.
const FLOOR_DB: f32 = -100.0;
const CEILING_DB: f32 = 40.0;

/// `10^(x / 10)` is `2^(x log2(10) / 10)`.
const DB_TO_LOG2: f32 = std::f32::consts::LOG2_10 / 10.0;

const FRAMES_PER_SECOND: f32 = 100.0;

impl SyllableRate {
    /// A rate that has heard nothing.
    pub fn new() -> Self {
        Self {
            envelope: Envelope::new(),
            slope: Slope::Falling { valley_db: f32::INFINITY },
            loudest_db: f32::NEG_INFINITY,
            nuclei: Gamma::default(),
            frames: Gamma::default(),
        }
    }

    /// Syllable nuclei per second of speech up to this frame; 0 before half a second of speech.
    pub fn observe(&mut self, cues: &RateCues<'_>) -> f32 {
        let (level_db, voiced) = self.envelope.observe(cues);
        let nucleus = self.is_nucleus_over(level_db, voiced);
        if cues.speech {
            self.loudest_db = level_db.max(self.loudest_db - LOUDEST_FALL_DB);
            self.nuclei.observe(f32::from(u8::from(nucleus)));
            self.frames.observe(1.0);
        }
        self.per_second()
    }

    /// Forgets what was said: what follows does not follow what came before.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether the syllable that began last has just ended, with a nucleus.
    fn is_nucleus_over(&mut self, level_db: f32, voiced: bool) -> bool {
        let (next, nucleus) = match self.slope {
            Slope::Falling { valley_db } if level_db >= valley_db + DIP_DB => {
                (Slope::Rising { peak_db: level_db, voiced }, false)
            }
            Slope::Falling { valley_db } => (Slope::Falling { valley_db: valley_db.min(level_db) }, false),
            Slope::Rising { peak_db, .. } if level_db > peak_db => {
                (Slope::Rising { peak_db: level_db, voiced }, false)
            }
            Slope::Rising { peak_db, voiced } if level_db <= peak_db - DIP_DB => {
                (Slope::Falling { valley_db: level_db }, voiced && peak_db > self.loudest_db - RANGE_DB)
            }
            Slope::Rising { .. } => (self.slope, false),
        };
        self.slope = next;
        nucleus
    }

    fn per_second(&self) -> f32 {
        if self.frames.observed < MIN_SPEECH_FRAMES {
            return 0.0;
        }
        FRAMES_PER_SECOND * self.nuclei.value / self.frames.value
    }
}

impl Default for SyllableRate {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the envelope is going.
#[derive(Clone, Copy, Debug)]
enum Slope {
    Rising { peak_db: f32, voiced: bool },
    Falling { valley_db: f32 },
}

/// The level of the voice band, smoothed over [`TAPS`] frames, and whether a frame in the middle of them is voiced.
#[derive(Clone, Debug)]
struct Envelope {
    levels_db: [f32; TAPS],
    voiced: [bool; TAPS],
}

const TAPS: usize = 7;

/// `w[n] = (1 - cos(2πn / 8)) / 8` for `n` = 1..=7: a Hann window of seven frames whose sum is 1.
const HANN: [f32; TAPS] = [0.036_612, 0.125, 0.213_388, 0.25, 0.213_388, 0.125, 0.036_612];

impl Envelope {
    fn new() -> Self {
        Self { levels_db: [FLOOR_DB; TAPS], voiced: [false; TAPS] }
    }

    #[allow(clippy::manual_clamp, reason = "clamp would keep a NaN")]
    fn observe(&mut self, cues: &RateCues<'_>) -> (f32, bool) {
        let band = cues.mel_db.get(VOICE_BANDS).unwrap_or_default();
        let power: f32 = band.iter().map(|db| (db * DB_TO_LOG2).exp2()).sum();
        self.levels_db.rotate_left(1);
        self.voiced.rotate_left(1);
        let ([.., level], [.., voiced]) = (&mut self.levels_db, &mut self.voiced);
        *level = (10.0 * power.log10()).max(FLOOR_DB).min(CEILING_DB);
        *voiced = cues.voiced;
        let smoothed = self.levels_db.iter().zip(HANN).map(|(level, w)| level * w).sum();
        let [_, _, before, middle, after, _, _] = self.voiced;
        (smoothed, before || middle || after)
    }
}

/// An average of the past in which the newest counts little, then more, then less: two leaky averages in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Gamma {
    first: f32,
    value: f32,
    observed: f32,
}

impl Gamma {
    fn observe(&mut self, x: f32) {
        self.first += (x - self.first) / AVERAGE_FRAMES;
        self.value += (self.first - self.value) / AVERAGE_FRAMES;
        self.observed += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `seconds` of syllables, `per_second` of them, each a raised cosine of `depth_db`; the rate at the end.
    fn rate_of(seconds: f32, per_second: f32, depth_db: f32, gain_db: f32, voiced: bool) -> f32 {
        let mut rate = SyllableRate::new();
        let mut last = 0.0;
        for frame in 0..1_000_u16 {
            let t = f32::from(frame) / FRAMES_PER_SECOND;
            if t >= seconds {
                break;
            }
            let level_db =
                -40.0 + gain_db - depth_db * (0.5 + 0.5 * (std::f32::consts::TAU * per_second * t).cos());
            last = rate.observe(&RateCues { speech: true, voiced, mel_db: &[level_db; MEL_BANDS] });
        }
        last
    }

    #[test]
    fn four_syllables_a_second_are_four() {
        for per_second in [2.0, 3.0, 4.0, 5.0, 6.0, 7.0] {
            let rate = rate_of(8.0, per_second, 15.0, 0.0, true);
            assert!((rate - per_second).abs() < 0.3, "{per_second} syllables a second are {rate}");
        }
    }

    #[test]
    fn a_gain_changes_nothing() {
        for gain_db in [-20.0, 20.0] {
            assert!(
                (rate_of(5.0, 4.0, 15.0, gain_db, true) - rate_of(5.0, 4.0, 15.0, 0.0, true)).abs() < 1e-3
            );
        }
    }

    #[test]
    fn what_is_unvoiced_or_shallow_is_no_syllable() {
        assert!(rate_of(5.0, 4.0, 15.0, 0.0, false) < 1e-6);
        assert!(rate_of(5.0, 4.0, 1.5, 0.0, true) < 0.1, "dips of 1.5 dB are none");
    }

    #[test]
    fn a_pause_does_not_slow_the_rate() {
        let mut rate = SyllableRate::new();
        let mut before = 0.0;
        for frame in 0_u16..1_000 {
            let speech = frame < 500;
            let phase = std::f32::consts::TAU * 4.0 * f32::from(frame) / FRAMES_PER_SECOND;
            let level_db = if speech { -50.0 - 8.0 * phase.cos() } else { -90.0 };
            let now = rate.observe(&RateCues { speech, voiced: speech, mel_db: &[level_db; MEL_BANDS] });
            if speech {
                before = now;
            }
            assert!(speech || (now - before).abs() < 1e-6, "{before} became {now}");
        }
    }

    #[test]
    fn silence_and_no_numbers_have_no_rate() {
        for db in [-140.0, f32::NAN, f32::NEG_INFINITY, f32::INFINITY] {
            let mut rate = SyllableRate::new();
            for _ in 0..300 {
                let now = rate.observe(&RateCues { speech: true, voiced: true, mel_db: &[db; MEL_BANDS] });
                assert!(now.abs() < 0.5, "{db} dB: {now}");
            }
        }
    }

    #[test]
    fn nothing_is_said_of_less_than_half_a_second() {
        assert!(rate_of(0.49, 4.0, 15.0, 0.0, true).abs() < 1e-9);
        assert!(rate_of(1.5, 4.0, 15.0, 0.0, true) > 2.0);
    }
}
