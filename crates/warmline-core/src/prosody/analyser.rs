//! One caller's frames → their low-level descriptors, each in its own time.

use std::collections::VecDeque;

use super::{
    Lld, Voiced, pitch,
    pitch::PitchTracker,
    rate::{RateCues, SyllableRate},
    spectrum::SpectralAnalyser,
    speech::{self, SpeechCues, SpeechDetector},
    voice::VoiceQualityTracker,
};
use crate::media::{Caller, FRAME_LEN, Frame};

/// How many frames late [`Analyser::observe`] answers: pitch looks ahead, then speech does.
pub const LATENCY_FRAMES: usize = pitch::LATENCY_FRAMES + speech::LATENCY_FRAMES;

/// Describes the frames of one caller. An agent's frames do not fit:
///
/// ```compile_fail
/// use warmline::{media::{Agent, Frame}, prosody::Analyser};
/// fn score_the_agent(analyser: &mut Analyser, frame: Frame<'_, Agent>) {
///     analyser.observe(&frame);
/// }
/// ```
pub struct Analyser {
    spectral: SpectralAnalyser,
    pitch: PitchTracker,
    voice: VoiceQualityTracker,
    speech: SpeechDetector,
    rate: SyllableRate,
    /// Frames that still wait for their pitch or their speech, oldest first.
    waiting: VecDeque<Lld>,
    /// How many of them have their pitch.
    pitched: usize,
}

impl Default for Analyser {
    fn default() -> Self {
        Self::new()
    }
}

impl Analyser {
    /// An analyser that has heard nothing.
    pub fn new() -> Self {
        Self {
            spectral: SpectralAnalyser::new(),
            pitch: PitchTracker::new(),
            voice: VoiceQualityTracker::new(),
            speech: SpeechDetector::new(),
            rate: SyllableRate::new(),
            waiting: VecDeque::with_capacity(LATENCY_FRAMES + 2),
            pitched: 0,
        }
    }

    /// Takes the next frame; answers with the frame [`LATENCY_FRAMES`] ago.
    pub fn observe(&mut self, frame: &Frame<'_, Caller>) -> Option<Lld> {
        let spectral = self.spectral.observe(frame.samples);
        self.waiting.push_back(Lld {
            level_dbfs: spectral.level_dbfs,
            loudness: spectral.loudness,
            centroid_hz: spectral.centroid_hz,
            flux: spectral.flux,
            slope_0_500: spectral.slope_0_500,
            slope_500_1500: spectral.slope_500_1500,
            alpha_ratio_db: spectral.alpha_ratio_db,
            hammarberg_db: spectral.hammarberg_db,
            mfcc: spectral.mfcc,
            mel_db: spectral.mel_db,
            ..Lld::silence(frame.at)
        });
        self.advance(frame.samples)
    }

    /// Gives the frames that are still waiting to `each`, as if silence followed, and starts anew: at a gap and at the end.
    pub fn finish(&mut self, mut each: impl FnMut(Lld)) {
        while !self.waiting.is_empty() {
            if let Some(lld) = self.advance(&[0.0; FRAME_LEN]) {
                each(lld);
            }
        }
        self.spectral.reset();
        self.pitch.reset();
        self.voice.reset();
        self.speech.reset();
        self.pitched = 0;
    }

    fn advance(&mut self, samples: &[f32; FRAME_LEN]) -> Option<Lld> {
        let pitch = self.pitch.observe(samples)?;
        let quality = self.voice.observe(self.pitch.around(), pitch.f0_hz);
        let voiced = pitch.f0_hz.zip(quality).map(|(f0_hz, quality)| Voiced {
            f0_hz,
            hnr_db: pitch.hnr_db,
            jitter_local: quality.jitter_local,
            shimmer_local: quality.shimmer_local,
            h1_h2_db: quality.h1_h2_db,
            h4_h2k_db: quality.h4_h2k_db,
        });
        let silence;
        let lld = match self.waiting.get_mut(self.pitched) {
            Some(lld) => {
                self.pitched += 1;
                lld.voicing = pitch.voicing;
                lld.voiced = voiced;
                &*lld
            }
            None => {
                silence = Lld::silence(Default::default());
                &silence
            }
        };
        let cues = SpeechCues {
            level_dbfs: lld.level_dbfs,
            mel_db: &lld.mel_db,
            voicing: pitch.voicing,
            f0_hz: pitch.f0_hz.unwrap_or_default(),
        };
        let speech = self.speech.observe(&cues)?;
        let mut lld = self.waiting.pop_front()?;
        self.pitched = self.pitched.saturating_sub(1);
        lld.speech = speech;
        let cues = RateCues { speech, voiced: lld.voiced.is_some(), mel_db: &lld.mel_db };
        lld.syllable_rate = self.rate.observe(&cues);
        Some(lld)
    }
}
