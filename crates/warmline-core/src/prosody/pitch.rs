//! The caller's fundamental frequency: the autocorrelation method of Boersma (1993), with his path through the
//! candidates found online.
//!
//! The telephone band begins at 300 Hz, so the fundamental itself is mostly missing. The autocorrelation does not need
//! it: harmonics that are all present repeat together once a period, and only once a period.
//!
//! Source: P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
//! sampled sound", Proc. Institute of Phonetic Sciences 17, Amsterdam 1993, 97-110.

use std::{
    array,
    f32::consts::PI,
    sync::{Arc, LazyLock},
};

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex, num_complex::Complex};

/// Samples of a frame: 25 ms at 8 kHz.
const FRAME_LEN: usize = 200;
/// Samples from one frame to the next: 10 ms.
const HOP: usize = 80;
/// Samples per second.
const RATE_HZ: f32 = 8_000.0;

/// The lowest fundamental looked for: below it a bass voice creaks rather than sings, and the window would outgrow the
/// syllables.
pub const F0_MIN_HZ: f32 = 60.0;
/// The highest fundamental looked for: above a shout or a child's voice, and below the first formants (from about
/// 500 Hz when loud), so that a lone strong harmonic is not taken for the fundamental.
pub const F0_MAX_HZ: f32 = 500.0;

/// Samples under the analysis window: 50 ms, three periods of the lowest fundamental, as the method asks.
const WINDOW_LEN: usize = 400;
/// Points of the transform: the lags up to the longest period wrap around only where the window has all but vanished
/// (error of r below 1e-5).
const FFT_LEN: usize = 512;
/// The longest period looked for, in samples: 60 Hz.
const LAG_MAX: usize = 133;
/// The shortest period looked for, in samples: 500 Hz.
const LAG_MIN: usize = 16;

/// Frames from a frame to the newest one its analysis window reaches into.
const WINDOW_FRAMES: usize = 2;
/// Frames the path waits before it settles: 80 ms, longer than any octave jump worth repairing.
const PATH_FRAMES: usize = 8;
/// How many frames late an answer is: the n-th `Some` belongs to the n-th frame, this many frames ago.
pub const LATENCY_FRAMES: usize = WINDOW_FRAMES + PATH_FRAMES;

/// Where the centre of the frame last answered lies in [`PitchTracker::around`].
pub const CENTRE: usize = WINDOW_LEN / 2;
/// Samples of [`PitchTracker::around`]: half a window before the centre, and everything heard since.
pub const AROUND_LEN: usize = CENTRE + FRAME_LEN / 2 + LATENCY_FRAMES * HOP;
/// Samples after the last one of the window that is to be analysed: the frame it belongs to reaches beyond it.
const AHEAD: usize = FRAME_LEN / 2 + WINDOW_FRAMES * HOP - WINDOW_LEN / 2;

/// Voiced candidates kept a frame.
const CANDIDATES: usize = 8;
/// A frame is unvoiced rather than voiced with an autocorrelation below this (VoicingThreshold of the source).
const VOICING_THRESHOLD: f32 = 0.45;
/// A frame is silent when its peak is below this share of the running peak (SilenceThreshold).
const SILENCE_THRESHOLD: f32 = 0.03;
/// What a candidate costs for each octave below the highest one (OctaveCost): of two periods that fit alike, the
/// shorter one is the period.
const OCTAVE_COST: f32 = 0.01;
/// What a path pays for each octave between two frames (OctaveJumpCost).
const OCTAVE_JUMP_COST: f32 = 0.35;
/// What a path pays for each change between voiced and unvoiced (VoicedUnvoicedCost).
const VOICED_UNVOICED_COST: f32 = 0.14;
/// The running peak's decay in a frame: it halves in ten seconds, so a click is forgotten and a pause is not.
const PEAK_DECAY: f32 = 0.999_307;
/// Below this share of its own mean square, what is left of a frame without its mean is rounding: a constant is silence.
const ROUNDING: f32 = 1e-10;
/// Samples beyond this, and those that are no number, are taken as 0: their squares would not be finite.
const SAMPLE_MAX: f32 = 1e9;

/// Samples on each side that the interpolation of the autocorrelation reads.
const SINC_DEPTH: usize = 12;
/// Steps between two samples that the interpolation knows.
const SINC_PHASES: usize = 16;

/// The pitch of one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pitch {
    /// How periodic the frame is, 0..=1: the normalised autocorrelation at its period (unvoiced: at the likeliest
    /// one), faded out where the frame is silent against the running peak.
    pub voicing: f32,
    /// Fundamental frequency, Hz, [`F0_MIN_HZ`]..=[`F0_MAX_HZ`]; `None` when unvoiced.
    pub f0_hz: Option<f32>,
    /// Harmonics-to-noise ratio, dB: 10 log10(r / (1 - r)) of the autocorrelation r at that period, within -30..=50.
    pub hnr_db: f32,
}

/// Follows the pitch of one voice, one frame of 25 ms every 10 ms.
///
/// The analysis window (50 ms) is centred on the centre of the frame it is reported for. The answer comes
/// [`LATENCY_FRAMES`] frames late. Gain changes nothing: silence is relative to a running peak.
pub struct PitchTracker {
    /// The last samples; the newest is the end of the newest frame.
    around: Box<[f32; AROUND_LEN]>,
    /// Frames since the start or the last gap.
    frames: usize,
    /// The largest sample of late, decaying.
    peak: f32,
    autocorrelation: Autocorrelation,
    path: Path,
}

impl Default for PitchTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl PitchTracker {
    /// A tracker that has heard nothing.
    pub fn new() -> Self {
        Self {
            around: Box::new([0.0; AROUND_LEN]),
            frames: 0,
            peak: 0.0,
            autocorrelation: Autocorrelation::new(),
            path: Path::new(),
        }
    }

    /// Takes the next frame; its first 120 samples are the last of the frame before.
    ///
    /// `None` for the first [`LATENCY_FRAMES`] frames, then the pitch of the frame that many frames ago.
    pub fn observe(&mut self, frame: &[f32; FRAME_LEN]) -> Option<Pitch> {
        let new = if self.frames == 0 { FRAME_LEN } else { HOP };
        self.around.copy_within(new.., 0);
        let heard = self.around.iter_mut().rev().zip(frame.iter().rev());
        heard.take(new).for_each(|(to, &x)| *to = if x.abs() < SAMPLE_MAX { x } else { 0.0 });
        self.frames += 1;
        if self.frames <= WINDOW_FRAMES {
            return None;
        }
        let window = self.around.get(AROUND_LEN - AHEAD - WINDOW_LEN..AROUND_LEN - AHEAD)?;
        let local_peak = self.autocorrelation.observe(window);
        self.peak = (self.peak * PEAK_DECAY).max(local_peak);
        let intensity = if self.peak > 0.0 { local_peak / self.peak } else { 0.0 };
        self.path.extend(self.autocorrelation.candidates(intensity));
        (self.frames > LATENCY_FRAMES).then(|| self.path.settled())
    }

    /// The samples around the frame last answered: its centre is at [`CENTRE`].
    pub fn around(&self) -> &[f32; AROUND_LEN] {
        &self.around
    }

    /// Starts anew after a gap: the next frame is the first, and only the running peak is remembered.
    pub fn reset(&mut self) {
        self.around.fill(0.0);
        self.frames = 0;
        self.path = Path::new();
    }
}

/// The normalised autocorrelation r of one window.
struct Autocorrelation {
    tables: &'static Tables,
    scratch: Vec<Complex<f32>>,
    signal: [f32; FFT_LEN],
    spectrum: [Complex<f32>; FFT_LEN / 2 + 1],
    /// r at whole lags; lag 0 is at `SINC_DEPTH`, for the interpolation reads negative lags too.
    r: [f32; SINC_DEPTH + R_LEN],
}

/// Transforms, windows and the interpolation between samples.
struct Tables {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Hann window.
    window: [f32; WINDOW_LEN],
    /// The window's own autocorrelation, inverted: 1 / r_w(lag).
    window_r_inverse: [f32; R_LEN],
    /// Hann-windowed sinc at each phase.
    sinc: [[f32; 2 * SINC_DEPTH]; SINC_PHASES],
}

/// Lags of r from 0: the longest period and what its interpolation reads beyond.
const R_LEN: usize = LAG_MAX + 2 + SINC_DEPTH;

/// The same for every call: made once.
static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut planner = RealFftPlanner::<f32>::new();
    let window: [f32; WINDOW_LEN] = array::from_fn(|i| hann((i as f32 + 0.5) / WINDOW_LEN as f32 - 0.5));
    let lagged = |lag: usize| window.iter().zip(window.iter().skip(lag)).map(|(a, b)| a * b).sum::<f32>();
    let sinc = array::from_fn(|phase| {
        array::from_fn(|tap| {
            let x = tap as f32 - (SINC_DEPTH - 1) as f32 - phase as f32 / SINC_PHASES as f32;
            let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
            sinc * hann(x / (2 * SINC_DEPTH) as f32)
        })
    });
    Tables {
        forward: planner.plan_fft_forward(FFT_LEN),
        inverse: planner.plan_fft_inverse(FFT_LEN),
        window,
        window_r_inverse: array::from_fn(|lag| lagged(0) / lagged(lag)),
        sinc,
    }
});

impl Autocorrelation {
    fn new() -> Self {
        let tables = &*TABLES;
        let scratch = tables.forward.get_scratch_len().max(tables.inverse.get_scratch_len());
        Self {
            tables,
            scratch: vec![Complex::default(); scratch],
            signal: [0.0; FFT_LEN],
            spectrum: [Complex::default(); FFT_LEN / 2 + 1],
            r: [0.0; SINC_DEPTH + R_LEN],
        }
    }

    /// Computes r of `x`; its largest sample within half the longest period of the centre.
    ///
    /// Silence has r = 0 and peak 0.
    fn observe(&mut self, x: &[f32]) -> f32 {
        self.r.fill(0.0);
        let mean = x.iter().sum::<f32>() / WINDOW_LEN as f32;
        for ((a, x), w) in self.signal.iter_mut().zip(x).zip(&self.tables.window) {
            *a = (x - mean) * w;
        }
        self.signal.iter_mut().skip(WINDOW_LEN).for_each(|a| *a = 0.0);
        let energy: f32 = self.signal.iter().map(|a| a * a).sum();
        if energy <= mean * mean * WINDOW_LEN as f32 * ROUNDING || self.transform().is_none() {
            return 0.0;
        }
        let (before, after) = self.r.split_at_mut(SINC_DEPTH);
        let r_0 = self.signal.first().copied().unwrap_or_default();
        if r_0 < f32::MIN_POSITIVE {
            return 0.0;
        }
        for ((r, r_a), w) in after.iter_mut().zip(&self.signal).zip(&self.tables.window_r_inverse) {
            *r = r_a / r_0 * w;
        }
        before.iter_mut().rev().zip(after.iter().skip(1)).for_each(|(mirrored, r)| *mirrored = *r);
        let centre = x.iter().skip(WINDOW_LEN / 2 - LAG_MAX / 2).take(LAG_MAX);
        centre.fold(0.0, |peak, x| (x - mean).abs().max(peak))
    }

    /// The signal becomes its autocorrelation. `None` never happens: the buffers have the planned lengths.
    fn transform(&mut self) -> Option<()> {
        self.tables
            .forward
            .process_with_scratch(&mut self.signal, &mut self.spectrum, &mut self.scratch)
            .ok()?;
        self.spectrum.iter_mut().for_each(|c| *c = Complex::new(c.norm_sqr(), 0.0));
        self.tables.inverse.process_with_scratch(&mut self.spectrum, &mut self.signal, &mut self.scratch).ok()
    }

    /// The unvoiced candidate and the best voiced ones of a frame whose peak is `intensity` of the running peak.
    fn candidates(&self, intensity: f32) -> Column {
        let mut peaks = [(0, 0.0); CANDIDATES];
        let near = self.r.windows(3).skip(SINC_DEPTH + LAG_MIN - 1).take(LAG_MAX + 1 - LAG_MIN);
        for (lag, r) in (LAG_MIN..).zip(near) {
            let &[before, r, after] = r else { continue };
            if r > 0.5 * VOICING_THRESHOLD && r > before && r >= after {
                let slope = 0.5 * (after - before);
                let offset = slope / (2.0 * r - before - after);
                insert(&mut peaks, (steps(lag as f32 + offset), r + 0.5 * slope * offset));
            }
        }
        let found = peaks.iter().filter(|(at, _)| *at > 0);
        Column::new(intensity, found.map(|(at, _)| self.refined(*at)))
    }

    /// The candidate at the maximum of the band-limited r nearest to `at`, climbing from there.
    fn refined(&self, mut at: usize) -> Candidate {
        /// From one point of the parabola to the next, in steps: an eighth of a sample.
        const REACH: usize = SINC_PHASES / 8;
        let [mut before, mut here, mut after] = [at - REACH, at, at + REACH].map(|at| self.r_at(at));
        for _ in 0..SINC_PHASES {
            if after > here {
                at += REACH;
                (before, here, after) = (here, after, self.r_at(at + REACH));
            } else if before > here {
                at -= REACH;
                (before, here, after) = (self.r_at(at - REACH), before, here);
            } else {
                break;
            }
        }
        let slope = 0.5 * (after - before);
        let curvature = 2.0 * here - before - after;
        let offset = if curvature > 0.0 { (slope / curvature).clamp(-0.5, 0.5) } else { 0.0 };
        Candidate::voiced(
            (at as f32 + offset * REACH as f32) / SINC_PHASES as f32,
            here + 0.5 * slope * offset,
        )
    }

    /// r between the samples: at `at` steps of 1 / [`SINC_PHASES`] sample; 0 beyond the lags known.
    fn r_at(&self, at: usize) -> f32 {
        let r = self.r.get(at / SINC_PHASES + 1..).unwrap_or_default().as_chunks::<8>().0;
        let Some(sinc) = self.tables.sinc.get(at % SINC_PHASES) else { return 0.0 };
        let mut sums = [0.0; 8];
        for (r, sinc) in r.iter().zip(sinc.as_chunks::<8>().0) {
            sums.iter_mut().zip(r).zip(sinc).for_each(|((sum, r), sinc)| *sum += r * sinc);
        }
        sums.iter().sum()
    }
}

/// The Hann window of width 1 around 0.
fn hann(x: f32) -> f32 {
    0.5 + 0.5 * (2.0 * PI * x).cos()
}

/// A lag in samples as steps of the interpolation.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a lag lies in 0..=LAG_MAX + 1")]
fn steps(lag: f32) -> usize {
    (lag * SINC_PHASES as f32).round() as usize
}

/// Puts a peak (place, height) in the place of the lowest one if it is higher.
fn insert(peaks: &mut [(usize, f32)], peak: (usize, f32)) {
    if let Some(lowest) = peaks.iter_mut().min_by(|a, b| a.1.total_cmp(&b.1))
        && lowest.1 < peak.1
    {
        *lowest = peak;
    }
}

/// A period that a frame may have, or none.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    /// `None` is unvoiced.
    voiced: Option<Period>,
    /// R of the source: how good it is by itself.
    strength: f32,
}

#[derive(Clone, Copy, Debug)]
struct Period {
    f0_hz: f32,
    /// log2 of `f0_hz`.
    octave: f32,
    /// The normalised autocorrelation.
    r: f32,
}

impl Candidate {
    fn voiced(lag: f32, r: f32) -> Self {
        let f0_hz = (RATE_HZ / lag).clamp(F0_MIN_HZ, F0_MAX_HZ);
        let r = if r > 1.0 { 1.0 / r } else { r };
        let octave = f0_hz.log2();
        Self {
            voiced: Some(Period { f0_hz, octave, r }),
            strength: r - OCTAVE_COST * (F0_MAX_HZ.log2() - octave),
        }
    }

    fn unvoiced(intensity: f32) -> Self {
        let silence = 2.0 - intensity * (1.0 + VOICING_THRESHOLD) / SILENCE_THRESHOLD;
        Self { voiced: None, strength: VOICING_THRESHOLD + silence.max(0.0) }
    }

    /// transitionCost of the source, for 10 ms.
    fn cost_from(&self, before: &Self) -> f32 {
        match (&before.voiced, &self.voiced) {
            (None, None) => 0.0,
            (Some(a), Some(b)) => OCTAVE_JUMP_COST * (a.octave - b.octave).abs(),
            (None, Some(_)) | (Some(_), None) => VOICED_UNVOICED_COST,
        }
    }
}

/// The candidates of one frame, with the best way to each of them.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// The first is unvoiced; what follows `len` is not there.
    candidates: [Candidate; 1 + CANDIDATES],
    len: usize,
    /// Sum of strengths less costs on the best path to each candidate, relative to the best of them.
    score: [f32; 1 + CANDIDATES],
    /// The candidate before it on that path.
    before: [usize; 1 + CANDIDATES],
    /// The frame's peak over the running peak.
    intensity: f32,
}

impl Column {
    fn new(intensity: f32, voiced: impl Iterator<Item = Candidate>) -> Self {
        let mut candidates = [Candidate::default(); 1 + CANDIDATES];
        let found = [Candidate::unvoiced(intensity)].into_iter().chain(voiced);
        let len = candidates.iter_mut().zip(found).map(|(to, candidate)| *to = candidate).count();
        Self { candidates, len, score: [0.0; 1 + CANDIDATES], before: [0; 1 + CANDIDATES], intensity }
    }

    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().take(self.len)
    }

    /// Finds the best way to each candidate from the frame before.
    fn follow(&mut self, last: &Self) {
        let mut best_score = f32::NEG_INFINITY;
        let ways = self.score.iter_mut().zip(&mut self.before);
        for (candidate, (score, before)) in self.candidates.iter().take(self.len).zip(ways) {
            *score = f32::NEG_INFINITY;
            for (i, (from, from_score)) in last.candidates().zip(&last.score).enumerate() {
                let way = from_score - candidate.cost_from(from);
                if way > *score {
                    (*score, *before) = (way, i);
                }
            }
            *score += candidate.strength;
            best_score = best_score.max(*score);
        }
        self.score.iter_mut().for_each(|score| *score -= best_score);
    }

    /// What the frame is if `chosen` is on the path.
    fn pitch(&self, chosen: usize) -> Pitch {
        let period = self.candidates.get(chosen).and_then(|candidate| candidate.voiced);
        let likeliest = || self.candidates().filter_map(|c| c.voiced).map(|p| p.r).fold(0.0, f32::max);
        let r = period.map_or_else(likeliest, |period| period.r);
        let noise = r.clamp(1e-3, 1.0 - 1e-5);
        Pitch {
            voicing: (r * (self.intensity / SILENCE_THRESHOLD).min(1.0)).clamp(0.0, 1.0),
            f0_hz: period.map(|period| period.f0_hz),
            hnr_db: 10.0 * (noise / (1.0 - noise)).log10(),
        }
    }
}

/// The best path through the candidates (Viterbi), settled [`PATH_FRAMES`] behind the newest frame.
struct Path {
    /// The last frames, a ring.
    columns: [Column; PATH_FRAMES + 1],
    newest: usize,
}

impl Path {
    /// Before it lies nothing but silence.
    fn new() -> Self {
        Self { columns: [Column::new(0.0, std::iter::empty()); PATH_FRAMES + 1], newest: 0 }
    }

    #[allow(clippy::indexing_slicing, reason = "places in the ring are taken modulo its length")]
    fn extend(&mut self, mut column: Column) {
        column.follow(&self.columns[self.newest]);
        self.newest = (self.newest + 1) % self.columns.len();
        self.columns[self.newest] = column;
    }

    /// The oldest frame, as the best path to the newest one has it.
    #[allow(
        clippy::indexing_slicing,
        reason = "places in the ring are taken modulo its length, `before` in a column"
    )]
    fn settled(&self) -> Pitch {
        let newest = &self.columns[self.newest];
        let scores = newest.score.iter().take(newest.len).enumerate();
        let mut chosen = scores.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
        let mut at = self.newest;
        for _ in 0..PATH_FRAMES {
            chosen = self.columns[at].before[chosen];
            at = (at + self.columns.len() - 1) % self.columns.len();
        }
        self.columns[at].pitch(chosen)
    }
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "signals made for tests"
)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// Seconds of a signal given by its value at a time.
    fn signal(seconds: f64, value: impl Fn(f64) -> f64) -> Vec<f32> {
        (0..(seconds * 8_000.0) as usize).map(|i| value(i as f64 / 8_000.0) as f32).collect()
    }

    /// Harmonics of `f0` between two frequencies, cosines of equal power in all.
    fn harmonics(f0: f64, from: f64, to: f64) -> impl Fn(f64) -> f64 {
        let numbers: Vec<f64> = (1..100).map(f64::from).filter(|k| (from..=to).contains(&(k * f0))).collect();
        let amplitude = 0.3 / (numbers.len() as f64).sqrt();
        move |t| numbers.iter().map(|k| amplitude * (TAU * k * f0 * t + k * k).cos()).sum()
    }

    /// White noise of power 1, the same every time.
    fn white(len: usize) -> Vec<f32> {
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..len).map(|_| (0..12).map(|_| uniform()).sum()).collect()
    }

    /// The pitch of every frame that is answered for.
    fn track(x: &[f32]) -> Vec<Pitch> {
        let mut tracker = PitchTracker::new();
        let frames = x.windows(FRAME_LEN).step_by(HOP);
        frames.filter_map(|frame| tracker.observe(frame.first_chunk().unwrap())).collect()
    }

    /// Every frame but those whose window reaches before the start has `f0_hz` within `tolerance`.
    fn check_f0(x: &[f32], f0_hz: f32, tolerance: f32) {
        let pitches = track(x);
        assert!(pitches.len() > 50);
        for (n, pitch) in pitches.iter().enumerate().skip(2) {
            let found = pitch.f0_hz.unwrap_or(0.0);
            assert!((found - f0_hz).abs() <= tolerance, "frame {n}: {pitch:?}, expected {f0_hz}");
        }
    }

    #[test]
    fn a_200_hz_tone_has_f0_200() {
        check_f0(&signal(1.0, |t| (TAU * 200.0 * t).sin()), 200.0, 1.0);
    }

    #[test]
    fn tones_at_the_ends_of_the_range_are_found() {
        for f0 in [62.0, 98.6, 251.3, 333.3, 440.0, 495.0] {
            check_f0(&signal(1.0, |t| (TAU * f0 * t).sin()), f0 as f32, 0.005 * f0 as f32);
        }
    }

    #[test]
    fn a_pulse_train_of_100_hz_has_f0_100() {
        let pulses: Vec<f32> = (0..8_000).map(|i| if i % 80 == 7 { 0.5 } else { 0.0 }).collect();
        check_f0(&pulses, 100.0, 0.5);
    }

    #[test]
    fn the_fundamental_is_found_where_the_telephone_takes_it_away() {
        for f0 in [75.0, 110.0, 172.0, 231.7, 290.0] {
            check_f0(&signal(1.0, harmonics(f0, 300.0, 3_400.0)), f0 as f32, 0.005 * f0 as f32);
        }
    }

    #[test]
    fn white_noise_is_unvoiced() {
        let pitches = track(&white(80_000));
        let voiced = pitches.iter().filter(|pitch| pitch.f0_hz.is_some()).count();
        assert!(voiced * 20 <= pitches.len(), "{voiced} of {} frames are voiced", pitches.len());
    }

    #[test]
    fn a_glide_is_followed_frame_by_frame() {
        let f0 = |t: f64| 100.0 + 80.0 * t;
        let x =
            signal(2.5, |t| (1..12).map(|k| (TAU * f64::from(k) * (100.0 * t + 40.0 * t * t)).sin()).sum());
        for (n, pitch) in track(&x).iter().enumerate().skip(2) {
            let expected = f0(n as f64 * 0.010 + 0.0125) as f32;
            let found = pitch.f0_hz.unwrap_or(0.0);
            assert!((found / expected - 1.0).abs() < 0.01, "frame {n}: {found}, expected {expected}");
        }
    }

    #[test]
    fn gain_changes_nothing() {
        let noise = white(8_000);
        let x: Vec<f32> =
            signal(1.0, |t| harmonics(140.0, 300.0, 3_400.0)(t) * (1.0 + (TAU * 2.0 * t).sin()));
        let x: Vec<f32> = x.iter().zip(&noise).map(|(x, n)| x + 0.02 * n).collect();
        let reference = track(&x);
        for gain in [10.0, 0.1, 1e-4] {
            let louder: Vec<f32> = x.iter().map(|x| gain * x).collect();
            for (n, (a, b)) in reference.iter().zip(track(&louder)).enumerate() {
                let f0_apart = (a.f0_hz.unwrap_or(0.0) - b.f0_hz.unwrap_or(0.0)).abs();
                let apart = f0_apart.max((a.voicing - b.voicing).abs()).max((a.hnr_db - b.hnr_db).abs());
                assert!(apart < 0.02, "gain {gain}, frame {n}: {a:?} became {b:?}");
            }
        }
    }

    #[test]
    fn a_known_harmonics_to_noise_ratio_is_recovered() {
        for hnr_db in [3.0, 10.0, 20.0, 30.0] {
            let x = signal(4.0, harmonics(160.0, 100.0, 3_900.0));
            let power = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
            let amplitude = (power / 10_f32.powf(hnr_db / 10.0)).sqrt();
            let x: Vec<f32> = x.iter().zip(white(x.len())).map(|(x, n)| x + amplitude * n).collect();
            let voiced: Vec<f32> =
                track(&x).iter().skip(2).filter(|p| p.f0_hz.is_some()).map(|p| p.hnr_db).collect();
            let mean = voiced.iter().sum::<f32>() / voiced.len() as f32;
            assert!(voiced.len() > 350 && (mean - hnr_db).abs() < 1.0, "{mean} dB, expected {hnr_db}");
        }
    }

    #[test]
    fn the_autocorrelation_is_that_of_its_definition() {
        let x = white(WINDOW_LEN);
        let mut autocorrelation = Autocorrelation::new();
        autocorrelation.observe(&x);
        let mean = x.iter().sum::<f32>() / WINDOW_LEN as f32;
        let w = autocorrelation.tables.window;
        let product = |a: &dyn Fn(usize) -> f32, lag: usize| {
            (0..WINDOW_LEN - lag).map(|i| f64::from(a(i) * a(i + lag))).sum::<f64>()
        };
        for lag in 0..=LAG_MAX {
            let r_a = product(&|i| (x[i] - mean) * w[i], lag) / product(&|i| (x[i] - mean) * w[i], 0);
            let r_w = product(&|i| w[i], lag) / product(&|i| w[i], 0);
            let r = f64::from(autocorrelation.r[SINC_DEPTH + lag]);
            assert!((r - r_a / r_w).abs() < 1e-4, "lag {lag}: {r}, expected {}", r_a / r_w);
        }
    }

    #[test]
    fn a_constant_is_silence_whatever_its_mean_rounds_to() {
        let mut autocorrelation = Autocorrelation::new();
        for constant in [0.1, 1.0 / 3.0, 0.7, -0.123_456, 1e4] {
            let peak = autocorrelation.observe(&[constant; WINDOW_LEN]);
            assert!(peak == 0.0 && autocorrelation.r.iter().all(|r| *r == 0.0), "{constant}: peak {peak}");
        }
    }

    /// What the path makes of frames given as candidates (f0, r).
    fn check_path(frames: &[&[(f32, f32)]], expected: &[f32]) {
        let mut path = Path::new();
        let still = [frames.last().copied().unwrap(); PATH_FRAMES];
        let mut settled = Vec::new();
        for candidates in frames.iter().chain(&still) {
            path.extend(Column::new(
                1.0,
                candidates.iter().map(|(f0, r)| Candidate::voiced(RATE_HZ / f0, *r)),
            ));
            settled.push(path.settled().f0_hz.unwrap_or(0.0).round());
        }
        assert_eq!(settled[PATH_FRAMES..], *expected);
    }

    #[test]
    fn an_octave_jump_of_two_frames_is_smoothed() {
        let good: &[(f32, f32)] = &[(100.0, 0.8), (200.0, 0.7)];
        let jump: &[(f32, f32)] = &[(100.0, 0.7), (200.0, 0.9)];
        check_path(&[good, good, jump, jump, good, good], &[100.0; 6]);
    }

    #[test]
    fn an_octave_jump_that_lasts_is_followed() {
        let low: &[(f32, f32)] = &[(100.0, 0.9), (200.0, 0.7)];
        let high: &[(f32, f32)] = &[(100.0, 0.6), (200.0, 0.9)];
        check_path(&[low, low, high, high, high], &[100.0, 100.0, 200.0, 200.0, 200.0]);
    }

    #[test]
    fn one_weak_frame_does_not_break_a_voiced_stretch() {
        let strong: &[(f32, f32)] = &[(120.0, 0.8)];
        let weak: &[(f32, f32)] = &[(120.0, 0.35)];
        check_path(&[strong, weak, strong], &[120.0, 120.0, 120.0]);
    }

    #[test]
    fn nothing_that_can_be_heard_makes_a_nan() {
        let tone = signal(0.5, |t| (TAU * 150.0 * t).sin());
        let cases: [(&str, Vec<f32>); 8] = [
            ("silence", vec![0.0; 4_000]),
            ("direct current", vec![0.1; 4_000]),
            ("a clipped voice", tone.iter().map(|x| (20.0 * x).clamp(-1.0, 1.0)).collect()),
            ("one click", (0..4_000).map(|i| if i == 2_000 { 1.0 } else { 0.0 }).collect()),
            ("NaN", tone.iter().enumerate().map(|(i, x)| if i % 100 == 0 { f32::NAN } else { *x }).collect()),
            ("infinity", tone.iter().map(|x| x / 0.0).collect()),
            ("far too loud", tone.iter().map(|x| x * 1e30).collect()),
            ("far too soft", tone.iter().map(|x| x * 1e-30).collect()),
        ];
        for (name, x) in cases {
            let pitches = track(&x);
            for pitch in &pitches {
                assert!((0.0..=1.0).contains(&pitch.voicing), "{name}: {pitch:?}");
                assert!((-30.0..=50.01).contains(&pitch.hnr_db), "{name}: {pitch:?}");
                assert!(
                    pitch.f0_hz.is_none_or(|f0| (F0_MIN_HZ..=F0_MAX_HZ).contains(&f0)),
                    "{name}: {pitch:?}"
                );
            }
            let voiced = pitches.iter().filter(|pitch| pitch.f0_hz.is_some()).count();
            match name {
                "silence" | "direct current" => assert_eq!(voiced, 0, "{name} is voiced"),
                "a clipped voice" => assert!(voiced > 35, "{name}: {voiced} frames are voiced"),
                _ => {}
            }
        }
    }

    #[test]
    fn a_sample_that_is_no_number_is_forgotten() {
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut x = signal(1.0, |t| (TAU * 150.0 * t).sin());
            x[2_000] = bad;
            assert!(track(&x)[35..].iter().all(|pitch| pitch.f0_hz.is_some()), "{bad}");
        }
    }

    #[test]
    fn silence_after_speech_is_unvoiced_even_when_it_hums() {
        let x = signal(2.0, |t| if t < 1.0 { 0.5 } else { 0.002 } * (TAU * 120.0 * t).sin());
        let pitches = track(&x);
        assert!(pitches[10..95].iter().all(|pitch| pitch.f0_hz.is_some()));
        assert!(pitches[105..].iter().all(|pitch| pitch.f0_hz.is_none() && pitch.voicing < 0.2));
    }

    #[test]
    fn an_answer_comes_ten_frames_late_and_again_after_a_gap() {
        let mut tracker = PitchTracker::new();
        let x = signal(1.0, |t| (TAU * 200.0 * t).sin());
        let mut first = None;
        for _ in 0..2 {
            let frames = x.windows(FRAME_LEN).step_by(HOP).take(40);
            let answers: Vec<_> = frames.map(|frame| tracker.observe(frame.first_chunk().unwrap())).collect();
            assert!(answers[..LATENCY_FRAMES].iter().all(Option::is_none));
            assert!(answers[LATENCY_FRAMES..].iter().all(Option::is_some));
            assert_eq!(*first.get_or_insert_with(|| answers.clone()), answers);
            assert_eq!(tracker.around()[CENTRE], x[29 * HOP + FRAME_LEN / 2]);
            tracker.reset();
        }
    }
}
