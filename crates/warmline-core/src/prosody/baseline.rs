//! What this caller sounds like when calm, and how far from it they are now, in plain words.

use std::{cmp::Ordering, collections::VecDeque};

use super::Lld;
use crate::units::MediaSpan;

/// Summaries that are remembered for each descriptor: at two a second of speech, the last half minute and more.
const REMEMBERED: usize = 64;

/// Speech that must have been summarised before the baseline is this caller's own.
const ESTABLISHED_AFTER: MediaSpan = MediaSpan(4 * 8_000);

/// Frames of speech that one summary is made of.
const SUMMARY_FRAMES: usize = 25; // 250 ms

/// MAD → standard deviation of a normal distribution (Rousseeuw & Croux 1993).
const MAD_TO_SD: f32 = 1.4826;

/// A change of this many spreads is worth a word.
const WORTH_SAYING: f32 = 1.0;

/// What is compared with the caller's own calm speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Descriptor {
    /// Fundamental frequency, semitones.
    Pitch,
    /// Perceptual loudness as a level: 10 log2 of the loudness, so that +10 dB is twice as loud.
    Loudness,
    /// Alpha ratio: how much of the voice lies above 1 kHz, dB. Pressed and shouted voices are brighter.
    Brightness,
    /// Harmonics-to-noise ratio, dB. Harsh voices have less.
    Harmonicity,
    /// Cycle-to-cycle variation of the period, per cent.
    Jitter,
    /// Cycle-to-cycle variation of the amplitude, per cent.
    Shimmer,
    /// Syllable nuclei per second.
    Rate,
}

impl Descriptor {
    /// All of them, in the order in which a summary holds them.
    pub const ALL: [Self; 7] = [
        Self::Pitch,
        Self::Loudness,
        Self::Brightness,
        Self::Harmonicity,
        Self::Jitter,
        Self::Shimmer,
        Self::Rate,
    ];

    /// The name used in context packets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pitch => "pitch",
            Self::Loudness => "loudness",
            Self::Brightness => "brightness",
            Self::Harmonicity => "harmonicity",
            Self::Jitter => "jitter",
            Self::Shimmer => "shimmer",
            Self::Rate => "rate",
        }
    }

    /// The unit of its value and of a change.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Pitch => "st",
            Self::Loudness | Self::Brightness | Self::Harmonicity => "dB",
            Self::Jitter | Self::Shimmer => "%",
            Self::Rate => "1/s",
        }
    }

    /// The least spread a caller is taken to have: what one hears as no change.
    fn least_spread(self) -> f32 {
        match self {
            Self::Pitch | Self::Jitter => 1.0,
            Self::Loudness | Self::Brightness => 2.0,
            Self::Harmonicity => 1.5,
            Self::Shimmer => 3.0,
            Self::Rate => 0.8,
        }
    }

    fn of(self, lld: &Lld) -> Option<f32> {
        match self {
            Self::Pitch => lld.voiced.map(|v| v.f0_semitones()),
            Self::Loudness => (lld.loudness > 0.0).then(|| 10.0 * lld.loudness.log2()),
            Self::Brightness => lld.voiced.map(|_| lld.alpha_ratio_db),
            Self::Harmonicity => lld.voiced.map(|v| v.hnr_db),
            Self::Jitter => lld.voiced.map(|v| 100.0 * v.jitter_local),
            Self::Shimmer => lld.voiced.map(|v| 100.0 * v.shimmer_local),
            Self::Rate => (lld.syllable_rate > 0.0).then_some(lld.syllable_rate),
        }
    }
}

/// The median of each descriptor over a short stretch of speech, in the order of [`Descriptor::ALL`].
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Frames of speech it is made of.
    pub frames: usize,
    values: [Option<f32>; Descriptor::ALL.len()],
}

/// Gathers frames of speech into summaries.
#[derive(Clone, Debug)]
pub struct Summariser {
    frames: usize,
    values: [Vec<f32>; Descriptor::ALL.len()],
}

impl Default for Summariser {
    fn default() -> Self {
        Self { frames: 0, values: std::array::from_fn(|_| Vec::with_capacity(2 * SUMMARY_FRAMES)) }
    }
}

impl Summariser {
    /// Takes one frame of speech; beyond 0.5 s nothing more is gathered until the summary is taken.
    pub fn observe(&mut self, lld: &Lld) {
        if self.frames == 2 * SUMMARY_FRAMES {
            return;
        }
        self.frames += 1;
        for (values, descriptor) in self.values.iter_mut().zip(Descriptor::ALL) {
            values.extend(descriptor.of(lld));
        }
    }

    /// The summary of what was gathered since the last one, if that is enough.
    pub fn take(&mut self) -> Option<Summary> {
        if self.frames < SUMMARY_FRAMES {
            return None;
        }
        let frames = std::mem::take(&mut self.frames);
        let mut of = self.values.iter_mut().map(|values| {
            let value = (values.len() >= SUMMARY_FRAMES / 5).then(|| median(values));
            values.clear();
            value
        });
        let values = std::array::from_fn(|_| of.next().flatten());
        Some(Summary { frames, values })
    }

    /// Forgets what was gathered.
    pub fn clear(&mut self) {
        self.frames = 0;
        self.values.iter_mut().for_each(Vec::clear);
    }
}

/// Robust location and spread of each descriptor over this caller's calm speech, built as the call goes.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    heard: MediaSpan,
    remembered: [VecDeque<f32>; Descriptor::ALL.len()],
}

/// How far a stretch of speech lies from the caller's own calm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Of what.
    pub descriptor: Descriptor,
    /// By how much, in the descriptor's unit.
    pub change: f32,
    /// The same in spreads of the caller's calm speech.
    pub spreads: f32,
}

impl Baseline {
    /// Adds a stretch of calm speech.
    pub fn observe(&mut self, summary: &Summary) {
        self.heard += MediaSpan(80 * summary.frames as u64);
        for (remembered, value) in self.remembered.iter_mut().zip(summary.values) {
            if let Some(value) = value {
                if remembered.len() == REMEMBERED {
                    remembered.pop_front();
                }
                remembered.push_back(value);
            }
        }
    }

    /// Whether enough calm speech has been heard to compare with.
    pub fn is_established(&self) -> bool {
        self.heard >= ESTABLISHED_AFTER
    }

    /// What differs in `now`, the median over its summaries, from the caller's calm, strongest first; nothing before
    /// the baseline is established.
    pub fn deviations(&self, now: &[Summary]) -> Vec<Deviation> {
        if !self.is_established() {
            return Vec::new();
        }
        let mut all: Vec<Deviation> = Descriptor::ALL
            .into_iter()
            .zip(&self.remembered)
            .enumerate()
            .filter_map(|(n, (descriptor, remembered))| {
                let mut current: Vec<f32> =
                    now.iter().filter_map(|s| s.values.get(n).copied().flatten()).collect();
                let mut calm: Vec<f32> = remembered.iter().copied().collect();
                if current.is_empty() || calm.is_empty() {
                    return None;
                }
                let location = median(&mut calm);
                let mut distances: Vec<f32> = calm.iter().map(|v| (v - location).abs()).collect();
                let spread = (MAD_TO_SD * median(&mut distances)).max(descriptor.least_spread());
                let change = median(&mut current) - location;
                Some(Deviation { descriptor, change, spreads: change / spread })
            })
            .collect();
        all.sort_by(|a, b| b.spreads.abs().partial_cmp(&a.spreads.abs()).unwrap_or(Ordering::Equal));
        all
    }
}

impl Deviation {
    /// Whether a listener would notice.
    pub fn is_worth_saying(&self) -> bool {
        self.spreads.abs() >= WORTH_SAYING
    }

    /// In plain words: "pitch +4.2 st", "loudness +7 dB", "faster (+1.4 syllables/s)".
    pub fn words(&self) -> String {
        let change = self.change;
        let more = change >= 0.0;
        match self.descriptor {
            Descriptor::Pitch => format!("pitch {change:+.1} st"),
            Descriptor::Loudness => format!("loudness {change:+.0} dB"),
            Descriptor::Brightness => {
                format!("{} voice ({change:+.0} dB)", if more { "brighter" } else { "darker" })
            }
            Descriptor::Harmonicity => {
                format!("{} voice (HNR {change:+.0} dB)", if more { "clearer" } else { "harsher" })
            }
            Descriptor::Jitter => {
                format!("{} pitch (jitter {change:+.1} %)", if more { "rougher" } else { "steadier" })
            }
            Descriptor::Shimmer => {
                format!("{} loudness (shimmer {change:+.0} %)", if more { "rougher" } else { "steadier" })
            }
            Descriptor::Rate => {
                format!("{} ({change:+.1} syllables/s)", if more { "faster" } else { "slower" })
            }
        }
    }
}

/// The median of `values`, which it sorts; zero of none.
pub(crate) fn median(values: &mut [f32]) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or_default();
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    f32::midpoint(lower, upper)
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;
    use crate::{prosody::Voiced, units::MediaTime};

    fn summary(f0_hz: f32, loudness: f32) -> Summary {
        let mut lld = Lld::silence(MediaTime::ZERO);
        lld.loudness = loudness;
        lld.voiced = Some(Voiced {
            f0_hz,
            hnr_db: 12.0,
            jitter_local: 0.01,
            shimmer_local: 0.05,
            h1_h2_db: 0.0,
            h4_h2k_db: 0.0,
        });
        let mut gathered = Summariser::default();
        (0..SUMMARY_FRAMES).for_each(|_| gathered.observe(&lld));
        gathered.take().unwrap()
    }

    #[test]
    fn an_octave_up_and_twice_as_loud_is_said_in_words() {
        let mut baseline = Baseline::default();
        for n in 0..16 {
            assert_eq!(baseline.is_established(), n >= 16);
            baseline.observe(&summary(110.0, 1.0));
        }
        let deviations = baseline.deviations(&[summary(220.0, 2.0)]);
        let words: Vec<String> =
            deviations.iter().filter(|d| d.is_worth_saying()).map(Deviation::words).collect();
        assert_eq!(words, ["pitch +12.0 st", "loudness +10 dB"]);
    }

    #[test]
    fn the_spread_is_the_callers_own_and_an_outlier_moves_nothing() {
        let mut lively = Baseline::default();
        for n in 0..60 {
            lively.observe(&summary(if n % 2 == 0 { 110.0 } else { 220.0 }, 1.0));
        }
        let mut steady = Baseline::default();
        (0..40).for_each(|_| steady.observe(&summary(110.0, 1.0)));
        steady.observe(&summary(440.0, 50.0));
        let pitch = |b: &Baseline| {
            b.deviations(&[summary(165.0, 1.0)])
                .into_iter()
                .find(|d| d.descriptor == Descriptor::Pitch)
                .unwrap()
        };
        assert!(pitch(&lively).spreads.abs() < 1.0, "{:?}", pitch(&lively));
        assert!(pitch(&steady).spreads > 5.0, "{:?}", pitch(&steady));
    }

    #[test]
    fn gain_changes_loudness_by_its_decibels_and_no_other_word() {
        let mut baseline = Baseline::default();
        (0..20).for_each(|_| baseline.observe(&summary(110.0, 1.0)));
        let louder = baseline.deviations(&[summary(110.0, 2.0_f32.powf(0.7))]);
        assert_eq!(louder[0].words(), "loudness +7 dB");
        assert!(louder.iter().skip(1).all(|d| d.change == 0.0));
    }

    #[test]
    fn too_little_speech_is_not_summarised() {
        let mut gathered = Summariser::default();
        (0..SUMMARY_FRAMES - 1).for_each(|_| gathered.observe(&Lld::silence(MediaTime::ZERO)));
        assert_eq!(gathered.take(), None);
    }
}
