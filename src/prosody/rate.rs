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
}
