//! The caller's fundamental frequency: the autocorrelation method of Boersma (1993), with his path through the
//! candidates found online.
//!
//! The telephone band begins at 300 Hz, so the fundamental itself is mostly missing. The autocorrelation does not need
//! it: harmonics that are all present repeat together once a period, and only once a period.
//!
//! Source: P. Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
//! sampled sound", Proc. Institute of Phonetic Sciences 17, Amsterdam 1993, 97-110.

use std::{array, f32::consts::PI, sync::Arc};

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
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    scratch: Vec<Complex<f32>>,
    /// Hann window.
    window: [f32; WINDOW_LEN],
    /// The window's own autocorrelation, inverted: 1 / r_w(lag).
    window_r_inverse: [f32; R_LEN],
    signal: [f32; FFT_LEN],
    spectrum: [Complex<f32>; FFT_LEN / 2 + 1],
    /// r at whole lags; lag 0 is at `SINC_DEPTH`, for the interpolation reads negative lags too.
    r: [f32; SINC_DEPTH + R_LEN],
    /// Hann-windowed sinc at each phase.
    sinc: [[f32; 2 * SINC_DEPTH]; SINC_PHASES],
}

/// Lags of r from 0: the longest period and what its interpolation reads beyond.
const R_LEN: usize = LAG_MAX + 2 + SINC_DEPTH;

impl Autocorrelation {
    fn new() -> Self {
        let mut planner = RealFftPlanner::<f32>::new();
        let forward = planner.plan_fft_forward(FFT_LEN);
        let inverse = planner.plan_fft_inverse(FFT_LEN);
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        let window: [f32; WINDOW_LEN] = array::from_fn(|i| hann((i as f32 + 0.5) / WINDOW_LEN as f32 - 0.5));
        let lagged = |lag: usize| window.iter().zip(window.iter().skip(lag)).map(|(a, b)| a * b).sum::<f32>();
        let sinc = array::from_fn(|phase| {
            array::from_fn(|tap| {
                let x = tap as f32 - (SINC_DEPTH - 1) as f32 - phase as f32 / SINC_PHASES as f32;
                let sinc = if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
                sinc * hann(x / (2 * SINC_DEPTH) as f32)
            })
        });
        Self {
            forward,
            inverse,
            scratch: vec![Complex::default(); scratch],
            window,
            window_r_inverse: array::from_fn(|lag| lagged(0) / lagged(lag)),
            signal: [0.0; FFT_LEN],
            spectrum: [Complex::default(); FFT_LEN / 2 + 1],
            r: [0.0; SINC_DEPTH + R_LEN],
            sinc,
        }
    }

    /// Computes r of `x`; its largest sample within half the longest period of the centre.
    ///
    /// Silence has r = 0 and peak 0.
    fn observe(&mut self, x: &[f32]) -> f32 {
        self.r.fill(0.0);
        let mean = x.iter().sum::<f32>() / WINDOW_LEN as f32;
        for ((a, x), w) in self.signal.iter_mut().zip(x).zip(&self.window) {
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
        for ((r, r_a), w) in after.iter_mut().zip(&self.signal).zip(&self.window_r_inverse) {
            *r = r_a / r_0 * w;
        }
        before.iter_mut().rev().zip(after.iter().skip(1)).for_each(|(mirrored, r)| *mirrored = *r);
        let centre = x.iter().skip(WINDOW_LEN / 2 - LAG_MAX / 2).take(LAG_MAX);
        centre.fold(0.0, |peak, x| (x - mean).abs().max(peak))
    }

    /// The signal becomes its autocorrelation. `None` never happens: the buffers have the planned lengths.
    fn transform(&mut self) -> Option<()> {
        self.forward.process_with_scratch(&mut self.signal, &mut self.spectrum, &mut self.scratch).ok()?;
        self.spectrum.iter_mut().for_each(|c| *c = Complex::new(c.norm_sqr(), 0.0));
        self.inverse.process_with_scratch(&mut self.spectrum, &mut self.signal, &mut self.scratch).ok()
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
        let Some(sinc) = self.sinc.get(at % SINC_PHASES) else { return 0.0 };
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
