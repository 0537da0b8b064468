//! Voice quality of a voiced frame: how regular its periods are, in length and height, and how its spectrum falls.
//! Absent here: the fundamental, which `pitch` finds.

use std::{array, f32::consts::TAU};

use super::pitch::{AROUND_LEN, CENTRE, F0_MAX_HZ, F0_MIN_HZ};

/// Samples from one frame to the next: 10 ms at 8 kHz.
const HOP: f32 = 80.0;
/// Samples per second.
const RATE_HZ: f32 = 8_000.0;

/// Periods before and after the frame's centre that jitter and shimmer are taken over.
const REACH: f32 = 3.0;
/// Where the next pulse is looked for, in periods after the last one.
const NEXT_PULSE: [f32; 2] = [0.8, 1.25];
/// A pulse ahead of the frame belongs to the same voice if its period resembles the last one this much.
const SAME_VOICE: f32 = 0.7;
/// Consecutive periods further apart than this factor are no two periods of one voice (maximum period factor).
const PERIOD_FACTOR: f32 = 1.3;
/// Consecutive amplitudes further apart than this factor likewise (maximum amplitude factor).
const AMPLITUDE_FACTOR: f32 = 1.6;
/// A pulse's amplitude is that of its neighbourhood, this share of a period to each side.
const PULSE_WIDTH: f32 = 0.2;
/// Pulses remembered: what lies within [`REACH`], and room for a pitch that just fell.
const PULSES: usize = 16;
/// Lags that the search for the next pulse may look at: the longest period's, and one to each side.
const LAGS: usize = 64;
/// Periods under the window of the harmonics: its zeros lie on all the other harmonics.
const HARMONIC_PERIODS: f32 = 3.0;
/// Bound of a difference of harmonics, dB.
const HARMONICS_MAX_DB: f32 = 60.0;

/// The quality of the voice in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VoiceQuality {
    /// Mean absolute difference of consecutive periods over the mean period (Praat's "jitter (local)").
    pub jitter_local: f32,
    /// Mean absolute difference of consecutive pulse amplitudes over the mean amplitude (Praat's "shimmer (local)").
    pub shimmer_local: f32,
    /// First harmonic over second, dB: breathy is high, pressed is low. Needs a full band: a telephone takes the
    /// first harmonic away, and with it the meaning.
    pub h1_h2_db: f32,
    /// Fourth harmonic over the one nearest 2 kHz, dB: the fall of the spectrum where the telephone leaves it alone
    /// (from 300 Hz at an `f0_hz` of 75, always below 3400 Hz). Pressed and loud is low, soft is high.
    ///
    /// Source: J. Kreiman, B. R. Gerratt, M. Garellek, R. Samlan, Z. Zhang, "Toward a unified theory of voice
    /// production and perception", Loquens 1(1), 2014: H4-H2kHz, one of the four parts of the source's spectrum.
    pub h4_h2k_db: f32,
}

/// Follows the pulses of one voice and tells its quality, one frame every 10 ms.
///
/// Pulses are one period apart by the likeness of the waveform around them (normalised cross-correlation over one
/// period), the first of a voiced stretch at its largest sample. A frame's jitter and shimmer are taken over the pulses
/// within three periods of its centre. Gain changes nothing.
pub struct VoiceQualityTracker {
    pulses: [Pulse; PULSES],
    len: usize,
}

impl Default for VoiceQualityTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl VoiceQualityTracker {
    /// A tracker that has heard nothing.
    pub fn new() -> Self {
        Self { pulses: [Pulse::default(); PULSES], len: 0 }
    }

    /// The quality of the frame that [`PitchTracker`] just answered for, `None` when that is unvoiced.
    ///
    /// `around` is [`PitchTracker::around`], `f0_hz` the answer's. Every answer is observed, voiced or not.
    ///
    /// [`PitchTracker`]: super::pitch::PitchTracker
    /// [`PitchTracker::around`]: super::pitch::PitchTracker::around
    pub fn observe(&mut self, around: &[f32; AROUND_LEN], f0_hz: Option<f32>) -> Option<VoiceQuality> {
        let Some(f0_hz) = f0_hz.map(|f0_hz| f0_hz.clamp(F0_MIN_HZ, F0_MAX_HZ)) else {
            self.len = 0;
            return None;
        };
        self.follow(around, RATE_HZ / f0_hz);
        let [h1, h2, h4, h2k] = harmonics(around, f0_hz);
        Some(VoiceQuality {
            jitter_local: self.jitter_local(),
            shimmer_local: self.shimmer_local(),
            h1_h2_db: over_db(h1, h2),
            h4_h2k_db: over_db(h4, h2k),
        })
    }

    /// Starts anew after a gap.
    pub fn reset(&mut self) {
        self.len = 0;
    }

    /// Moves on by one frame: forgets the pulses out of reach, finds those that came into it.
    fn follow(&mut self, around: &[f32; AROUND_LEN], period: f32) {
        let centre = CENTRE as f32;
        self.pulses.iter_mut().for_each(|pulse| pulse.at -= HOP);
        let old = self.pulses().take_while(|pulse| pulse.at < centre - REACH * period).count();
        self.forget(old);
        let mut last = match self.pulses().last() {
            Some(last) => last.at,
            None => self.push(around, largest(around, period), period),
        };
        while last < centre + REACH * period {
            let (lag, likeness) = next_pulse(around, last, period);
            let needed = self.len < 3 || last < centre + 0.5 * period;
            if !needed && likeness < SAME_VOICE {
                break;
            }
            last = self.push(around, last + lag, period);
        }
    }

    fn pulses(&self) -> impl Iterator<Item = &Pulse> + Clone {
        self.pulses.iter().take(self.len)
    }

    fn forget(&mut self, oldest: usize) {
        self.pulses.rotate_left(oldest);
        self.len -= oldest;
    }

    fn push(&mut self, around: &[f32; AROUND_LEN], at: f32, period: f32) -> f32 {
        if self.len == PULSES {
            self.forget(1);
        }
        if let Some(pulse) = self.pulses.get_mut(self.len) {
            *pulse = Pulse { at, amplitude: amplitude(around, at, PULSE_WIDTH * period) };
            self.len += 1;
        }
        at
    }

    fn jitter_local(&self) -> f32 {
        let periods = self.pulses().zip(self.pulses().skip(1)).map(|(a, b)| b.at - a.at);
        relative_difference(periods, PERIOD_FACTOR)
    }

    fn shimmer_local(&self) -> f32 {
        relative_difference(self.pulses().map(|pulse| pulse.amplitude), AMPLITUDE_FACTOR)
    }
}

/// One closure of the glottis, as far as the waveform shows it.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    /// Samples from the start of `around`.
    at: f32,
    amplitude: f32,
}

/// Mean absolute difference of consecutive values that differ by at most `factor`, over the values' mean; 0 if none do.
fn relative_difference(values: impl Iterator<Item = f32> + Clone, factor: f32) -> f32 {
    let alike = |(a, b): &(f32, f32)| a.max(*b) <= factor * a.min(*b);
    let pairs = values.clone().zip(values.clone().skip(1)).filter(alike);
    let (differences, n) = pairs.fold((0.0, 0.0), |(sum, n), (a, b)| (sum + (a - b).abs(), n + 1.0));
    let (total, count) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    if n > 0.0 && total > 0.0 { differences / n / (total / count) } else { 0.0 }
}

/// The place of the largest sample within half a period of the centre.
fn largest(x: &[f32; AROUND_LEN], period: f32) -> f32 {
    let half = whole(0.5 * period);
    let near = x.iter().enumerate().skip(CENTRE - half).take(2 * half + 1);
    near.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).map_or(CENTRE, |(i, _)| i) as f32
}

/// How long the period after the pulse at `at` lasts, in samples, and how much the waveform around the next pulse is
/// like the one around this: the maximum of the normalised cross-correlation of one period, -1..=1.
fn next_pulse(x: &[f32; AROUND_LEN], at: f32, period: f32) -> (f32, f32) {
    let len = whole(period).next_multiple_of(8);
    let Some(this) = x.get((whole(at).saturating_sub(len / 2))..) else { return (period, 0.0) };
    let Some(template) = this.get(..len) else { return (period, 0.0) };
    let [shortest, longest] = NEXT_PULSE.map(|periods| whole(periods * period));
    let lags = shortest.saturating_sub(1)..(longest + 2).min(this.len() - len);
    let energy = dot(template, template);
    let mut likeness = [0.0; LAGS];
    for (likeness, lag) in likeness.iter_mut().zip(lags.clone()) {
        let Some(other) = this.get(lag..lag + len) else { break };
        *likeness = dot(template, other) / (energy * dot(other, other)).sqrt().max(f32::MIN_POSITIVE);
    }
    let near = likeness.windows(3).zip(lags.skip(1)).take(longest + 1 - shortest);
    let best = near.max_by(|(a, _), (b, _)| a.get(1).unwrap_or(&0.0).total_cmp(b.get(1).unwrap_or(&0.0)));
    let Some((&[before, here, after], lag)) = best.and_then(|(l, lag)| Some((l.first_chunk::<3>()?, lag)))
    else {
        return (period, 0.0);
    };
    let curvature = 2.0 * here - before - after;
    let offset = if curvature > 0.0 { (0.5 * (after - before) / curvature).clamp(-0.5, 0.5) } else { 0.0 };
    (lag as f32 + offset, here)
}

/// The scalar product of two slices whose common length is a multiple of 8.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
    }
    sums.iter().sum()
}

/// The weighted root mean square within `width` samples of `at`; the weight is (1 - u²)², near a Hann window.
fn amplitude(x: &[f32; AROUND_LEN], at: f32, width: f32) -> f32 {
    let first = whole((at - width).ceil());
    let near = x.iter().zip(0_u16..).skip(first).take(whole(2.0 * width) + 1);
    let (power, weight) = near.fold((0.0, 0.0), |(power, weight), (x, i)| {
        let u = (f32::from(i) - at) / width;
        let w = (1.0 - u * u).max(0.0).powi(2);
        (power + (w * x) * (w * x), weight + w * w)
    });
    if weight > 0.0 { (power / weight).sqrt() } else { 0.0 }
}

/// The power of harmonics 1, 2, 4 and the one nearest 2 kHz under a Hann window of three periods around the centre
/// (common factor arbitrary): the discrete-time Fourier transform at their frequencies, by its definition.
#[allow(clippy::indexing_slicing, reason = "the lanes are 8")]
fn harmonics(x: &[f32; AROUND_LEN], f0_hz: f32) -> [f32; 4] {
    let nearest_2k = (2_000.0 / f0_hz).round();
    let lanes = [1.0 / HARMONIC_PERIODS, 1.0, 2.0, 4.0, nearest_2k, 0.0, 0.0, 0.0];
    let (sin_step, cos_step): ([f32; 8], [f32; 8]) = {
        let angles = lanes.map(|harmonic| (TAU * harmonic * f0_hz / RATE_HZ).sin_cos());
        (angles.map(|a| a.0), angles.map(|a| a.1))
    };
    let (mut sin, mut cos) = ([0.0; 8], [1.0; 8]);
    let (mut odd_sum, mut even_sum) = ([0.0; 8], [0.0; 8]);
    let (before, after) = x.split_at(CENTRE);
    let Some((centre, after)) = after.split_first() else { return [0.0; 4] };
    even_sum.iter_mut().for_each(|sum| *sum = *centre);
    let half = whole(0.5 * HARMONIC_PERIODS * RATE_HZ / f0_hz);
    for (after, before) in after.iter().zip(before.iter().rev()).take(half) {
        (sin, cos) = rotated(&sin, &cos, &sin_step, &cos_step);
        let window = 0.5 + 0.5 * cos[0];
        let (odd, even) = (window * (after - before), window * (after + before));
        odd_sum.iter_mut().zip(&sin).for_each(|(sum, sin)| *sum += odd * sin);
        even_sum.iter_mut().zip(&cos).for_each(|(sum, cos)| *sum += even * cos);
    }
    let power: [f32; 8] = array::from_fn(|i| odd_sum[i] * odd_sum[i] + even_sum[i] * even_sum[i]);
    [power[1], power[2], power[3], power[4]]
}

/// Each angle further by its step.
#[allow(clippy::indexing_slicing, reason = "the lanes are 8")]
fn rotated(sin: &[f32; 8], cos: &[f32; 8], sin_step: &[f32; 8], cos_step: &[f32; 8]) -> ([f32; 8], [f32; 8]) {
    (
        array::from_fn(|i| sin[i] * cos_step[i] + cos[i] * sin_step[i]),
        array::from_fn(|i| cos[i] * cos_step[i] - sin[i] * sin_step[i]),
    )
}

/// One power over another, dB, bounded by [`HARMONICS_MAX_DB`] either way; silence over silence is 0.
fn over_db(a: f32, b: f32) -> f32 {
    let [a, b] = [a, b].map(|power| 10.0 * power.max(f32::MIN_POSITIVE).log10());
    (a - b).clamp(-HARMONICS_MAX_DB, HARMONICS_MAX_DB)
}

/// The nearest whole number of samples; below 0 is 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and lengths are below 2^24"
)]
fn whole(samples: f32) -> usize {
    samples.round() as usize
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "signals made for tests"
)]
mod tests {
    use std::f64::consts::PI;

    use super::{super::pitch::PitchTracker, *};

    /// Uniform in -1..1, the same every time.
    fn uniform() -> impl FnMut() -> f64 {
        let mut state = 7_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        }
    }

    /// Two seconds of pulses (at samples, amplitude) through a vocal tract of three resonances.
    fn voice(pulses: &[(f64, f64)]) -> Vec<f32> {
        let tract = |t: f64| {
            let resonance = |f: f64, b: f64, a: f64| a * (-PI * b * t).exp() * (2.0 * PI * f * t).sin();
            resonance(650.0, 200.0, 1.0) + resonance(1_150.0, 220.0, 0.5) + resonance(2_500.0, 300.0, 0.3)
        };
        let mut x = vec![0.0; 16_000];
        for (at, amplitude) in pulses {
            for (i, x) in x.iter_mut().enumerate().skip(at.ceil() as usize).take(400) {
                *x += (0.2 * amplitude * tract((i as f64 - at) / 8_000.0)) as f32;
            }
        }
        x
    }

    /// Pulses of about `f0_hz` whose periods and amplitudes vary at random by up to these shares.
    fn pulses(f0_hz: f64, jitter: f64, shimmer: f64) -> Vec<(f64, f64)> {
        let mut random = uniform();
        let mut at = 0.0;
        let next = || {
            at += 8_000.0 / f0_hz * (1.0 + jitter * random());
            (at < 15_900.0).then_some((at, 1.0 + shimmer * random()))
        };
        std::iter::from_fn(next).collect()
    }

    /// Mean absolute difference over mean, by the book.
    fn local(values: &[f64]) -> f32 {
        let differences =
            values.windows(2).map(|w| (w[0] - w[1]).abs()).sum::<f64>() / (values.len() - 1) as f64;
        (differences / (values.iter().sum::<f64>() / values.len() as f64)) as f32
    }

    fn qualities(x: &[f32]) -> Vec<VoiceQuality> {
        let (mut tracker, mut voice) = (PitchTracker::new(), VoiceQualityTracker::new());
        let mut answers = Vec::new();
        for frame in x.windows(200).step_by(80) {
            if let Some(pitch) = tracker.observe(frame.first_chunk().unwrap()) {
                answers.extend(voice.observe(tracker.around(), pitch.f0_hz));
            }
        }
        answers
    }

    fn mean(of: &[VoiceQuality], value: impl Fn(&VoiceQuality) -> f32) -> f32 {
        of.iter().map(value).sum::<f32>() / of.len() as f32
    }

    #[test]
    fn known_jitter_is_recovered() {
        for (f0_hz, jitter) in [(100.0, 0.01), (100.0, 0.03), (140.0, 0.02), (220.0, 0.02), (220.0, 0.04)] {
            let pulses = pulses(f0_hz, jitter, 0.0);
            let periods: Vec<f64> = pulses.windows(2).map(|w| w[1].0 - w[0].0).collect();
            let (expected, found) = (local(&periods), mean(&qualities(&voice(&pulses)), |q| q.jitter_local));
            assert!((found / expected - 1.0).abs() < 0.2, "{f0_hz} Hz: {found}, expected {expected}");
        }
    }

    #[test]
    fn known_shimmer_is_recovered() {
        for (f0_hz, shimmer) in [(90.0, 0.05), (120.0, 0.1), (120.0, 0.2), (180.0, 0.1)] {
            let pulses = pulses(f0_hz, 0.0, shimmer);
            let amplitudes: Vec<f64> = pulses.iter().map(|pulse| pulse.1).collect();
            let (expected, found) =
                (local(&amplitudes), mean(&qualities(&voice(&pulses)), |q| q.shimmer_local));
            assert!((found / expected - 1.0).abs() < 0.2, "{f0_hz} Hz: {found}, expected {expected}");
        }
    }

    #[test]
    fn a_steady_voice_has_next_to_no_jitter_and_shimmer() {
        for f0_hz in [70.3, 111.1, 207.0, 333.0, 470.0] {
            let answers = qualities(&voice(&pulses(f0_hz, 0.0, 0.0)));
            let (jitter, shimmer) = (mean(&answers, |q| q.jitter_local), mean(&answers, |q| q.shimmer_local));
            assert!(
                answers.len() > 150 && jitter < 0.003 && shimmer < 0.02,
                "{f0_hz} Hz: {jitter}, {shimmer}"
            );
        }
    }

    #[test]
    fn what_follows_a_voice_is_not_its_jitter() {
        let mut random = uniform();
        let mut x = voice(&pulses(120.0, 0.0, 0.0));
        x[8_000..].iter_mut().for_each(|x| *x = 0.01 * random() as f32);
        let answers = qualities(&x);
        let worst = answers.iter().map(|q| q.jitter_local).fold(0.0, f32::max);
        assert!((95..110).contains(&answers.len()) && worst < 0.06, "{worst} in {} frames", answers.len());
    }

    /// Two seconds of harmonics of `f0_hz`, the k-th at `level_db(k)`, from one frequency up.
    fn harmonics_at(f0_hz: f64, from_hz: f64, level_db: impl Fn(f64) -> f64) -> Vec<f32> {
        let audible = |k: &f64| (from_hz..3_900.0).contains(&(k * f0_hz));
        let numbers: Vec<f64> = (1..60).map(f64::from).filter(audible).collect();
        let wave =
            |t: f64, k: &f64| 10_f64.powf(level_db(*k) / 20.0) * (2.0 * PI * k * f0_hz * t + k * k).sin();
        (0..16_000)
            .map(|i| numbers.iter().map(|k| wave(f64::from(i) / 8_000.0, k)).sum::<f64>() as f32)
            .collect()
    }

    #[test]
    fn harmonics_of_known_level_have_their_difference() {
        for f0_hz in [80.0_f64, 125.0, 210.0, 320.0] {
            let nearest_2k = (2_000.0 / f0_hz).round();
            for answer in qualities(&harmonics_at(f0_hz, 0.0, |k| -2.0 * k)).iter().skip(5) {
                let expected = 2.0 * (nearest_2k - 4.0) as f32;
                assert!((answer.h1_h2_db - 2.0).abs() < 0.2, "{f0_hz} Hz: {answer:?}");
                assert!(
                    (answer.h4_h2k_db - expected).abs() < 0.5,
                    "{f0_hz} Hz: {answer:?}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn the_telephone_leaves_h4_h2k_alone() {
        for f0_hz in [80.0, 125.0, 210.0] {
            let [full, phone] = [0.0, 300.0].map(|from| qualities(&harmonics_at(f0_hz, from, |k| -k)));
            let [full, phone] = [full, phone].map(|of| mean(&of[5..], |q| q.h4_h2k_db));
            assert!((full - phone).abs() < 0.2, "{f0_hz} Hz: {full} dB became {phone}");
        }
    }

    #[test]
    fn gain_changes_nothing() {
        let x = voice(&pulses(130.0, 0.02, 0.1));
        let reference = qualities(&x);
        for gain in [10.0, 0.1] {
            let louder: Vec<f32> = x.iter().map(|x| gain * x).collect();
            for (a, b) in reference.iter().zip(qualities(&louder)) {
                assert!((a.jitter_local - b.jitter_local).abs() < 1e-3, "{a:?} became {b:?}");
                assert!((a.shimmer_local - b.shimmer_local).abs() < 1e-3, "{a:?} became {b:?}");
                assert!((a.h4_h2k_db - b.h4_h2k_db).abs() < 0.05, "{a:?} became {b:?}");
            }
        }
    }

    #[test]
    fn every_voiced_frame_has_a_finite_quality_and_no_other_frame_has_one() {
        let mut random = uniform();
        let mut voice = VoiceQualityTracker::new();
        for n in 0..2_000 {
            let around: [f32; AROUND_LEN] =
                array::from_fn(|_| if n % 7 == 0 { 0.0 } else { random() as f32 });
            let f0_hz = (n % 50 != 0).then(|| 60.0 + 220.0 * (1.0 + random() as f32));
            let answer = voice.observe(&around, f0_hz);
            assert_eq!(answer.is_some(), f0_hz.is_some());
            if let Some(q) = answer {
                let values = [q.jitter_local, q.shimmer_local, q.h1_h2_db, q.h4_h2k_db];
                assert!(values.iter().all(|value| value.is_finite()), "{q:?}");
            }
        }
    }
}
