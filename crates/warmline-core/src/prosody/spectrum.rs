//! One frame → its power spectrum, and every descriptor read from it ([`SpectralAnalyser`]).
//! Absent here: pitch and voicing; anything that looks further back than the last frame.

use std::{
    f32::consts::PI,
    sync::{Arc, LazyLock},
};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex32};

use super::{
    MEL_BANDS,
    bins::{BIN_HZ, BINS, FFT_LEN},
    loudness::{Loudness, about_mean, dbfs, level_dbfs},
    mel::{AUDITORY_BANDS, Cepstrum, MelBank},
};
use crate::media::FRAME_LEN;

/// A power below which there is digital silence: 160 dB under the last bit of 24-bit audio.
const SILENCE: f32 = 1e-30;

/// The spectral descriptors of one frame; [`Lld`](super::Lld) says what each is and in which unit.
#[allow(missing_docs, reason = "Lld documents the same fields")]
#[derive(Clone, Debug, PartialEq)]
pub struct Spectral {
    pub level_dbfs: f32,
    pub loudness: f32,
    pub centroid_hz: f32,
    pub flux: f32,
    pub slope_0_500: f32,
    pub slope_500_1500: f32,
    pub alpha_ratio_db: f32,
    pub hammarberg_db: f32,
    pub mfcc: [f32; 4],
    pub mel_db: [f32; MEL_BANDS],
}

/// Frames → their spectral descriptors.
///
/// Level, loudness and mel energies follow the gain; all else is the same at any gain, down to digital silence, where it is
/// zero. The definitions are those of the extended Geneva minimalistic set (Eyben et al. 2016, IEEE Trans. Affective
/// Computing 7(2)) as openSMILE computes it, with the band ending at 4 kHz.
#[derive(Debug)]
pub struct SpectralAnalyser {
    spectrum: Spectrum,
    bands: &'static Bands,
    flux: Flux,
}

/// What is made of a power spectrum by tables.
#[derive(Debug)]
struct Bands {
    mel: MelBank<MEL_BANDS>,
    auditory: MelBank<AUDITORY_BANDS>,
    cepstrum: Cepstrum,
    loudness: Loudness,
}

/// The same for every call: made once.
static BANDS: LazyLock<Bands> = LazyLock::new(|| {
    let auditory = MelBank::new(20.0, 4_000.0);
    Bands {
        mel: MelBank::new(60.0, 3_800.0),
        cepstrum: Cepstrum::new(),
        loudness: Loudness::new(auditory.centres_hz()),
        auditory,
    }
});

impl SpectralAnalyser {
    /// An analyser that has heard nothing.
    pub fn new() -> Self {
        Self { spectrum: Spectrum::new(), bands: &BANDS, flux: Flux::default() }
    }

    /// The descriptors of the next frame, 10 ms after the last one.
    pub fn observe(&mut self, frame: &[f32; FRAME_LEN]) -> Spectral {
        let frame = &about_mean(frame);
        let power = self.spectrum.power(frame);
        let auditory_ln = self.bands.auditory.energies(power).map(|e| e.max(SILENCE).ln());
        let power_db = low_power_db(power);
        Spectral {
            level_dbfs: level_dbfs(frame),
            loudness: self.bands.loudness.of(&auditory_ln),
            centroid_hz: centroid_hz(power),
            flux: self.flux.observe(power),
            slope_0_500: slope(&power_db, 0, 16),     // 0..=500 Hz
            slope_500_1500: slope(&power_db, 16, 48), // 500..=1500 Hz
            alpha_ratio_db: alpha_ratio_db(power),
            hammarberg_db: hammarberg_db(power),
            mfcc: self.bands.cepstrum.of(&auditory_ln),
            mel_db: self.bands.mel.energies(power).map(dbfs),
        }
    }

    /// Forgets the last frame, when the next one does not follow it.
    pub fn reset(&mut self) {
        self.flux = Flux::default();
    }
}

impl Default for SpectralAnalyser {
    fn default() -> Self {
        Self::new()
    }
}

/// The power spectrum of a frame under a Hamming window, by a real FFT of [`FFT_LEN`] points.
///
/// Hamming is openSMILE's window for every spectral descriptor of eGeMAPS; its Gaussian window serves pitch and harmonics
/// alone. Its side lobes lie 43 dB down, so a strong vowel formant does not fill the quiet band above 2 kHz.
pub struct Spectrum {
    plan: &'static Plan,
    samples: [f32; FFT_LEN],
    bins: [Complex32; BINS],
    scratch: Vec<Complex32>,
    power: [f32; BINS],
}

/// A transform and the window before it.
struct Plan {
    fft: Arc<dyn RealToComplex<f32>>,
    window: [f32; FRAME_LEN],
    scale: f32,
}

/// The same for every call: made once.
static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let window = hamming();
    let energy: f32 = window.iter().map(|w| w * w).sum();
    let fft = RealFftPlanner::new().plan_fft_forward(FFT_LEN);
    Plan { fft, window, scale: 2.0 / (FFT_LEN as f32 * energy) }
});

impl Spectrum {
    /// The spectrum of no frame yet.
    pub fn new() -> Self {
        let plan = &*PLAN;
        Self {
            scratch: plan.fft.make_scratch_vec(),
            plan,
            samples: [0.0; FFT_LEN],
            bins: [Complex32::ZERO; BINS],
            power: [0.0; BINS],
        }
    }

    /// Power at each bin: `P[k] = 2 |X[k]|² / (N Σ w[n]²)`, halved at 0 Hz and at the Nyquist frequency, so that the sum
    /// over all bins is the mean square of the frame as weighted by the squared window (Parseval; a full-scale sine: 1/2).
    pub fn power(&mut self, frame: &[f32; FRAME_LEN]) -> &[f32; BINS] {
        self.samples.fill(0.0);
        for ((sample, x), w) in self.samples.iter_mut().zip(frame).zip(&self.plan.window) {
            *sample = x * w;
        }
        let done = self.plan.fft.process_with_scratch(&mut self.samples, &mut self.bins, &mut self.scratch);
        debug_assert!(done.is_ok(), "the buffers have the plan's lengths");
        for (power, x) in self.power.iter_mut().zip(&self.bins) {
            *power = self.plan.scale * x.norm_sqr();
        }
        let [dc, .., nyquist] = &mut self.power;
        *dc *= 0.5;
        *nyquist *= 0.5;
        &self.power
    }
}

impl Default for Spectrum {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Spectrum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spectrum").finish_non_exhaustive()
    }
}

/// `w[n] = 0.54 - 0.46 cos(2πn / (L - 1))`, the symmetric Hamming window of `L` = [`FRAME_LEN`] points.
fn hamming() -> [f32; FRAME_LEN] {
    std::array::from_fn(|n| 0.54 - 0.46 * (2.0 * PI * n as f32 / (FRAME_LEN - 1) as f32).cos())
}

/// Bins up to 1500 Hz, the end of the upper slope.
const LOW_BINS: usize = 49;

/// The lower bins' powers in dB.
fn low_power_db(power: &[f32; BINS]) -> [f32; LOW_BINS] {
    let mut db = [0.0; LOW_BINS];
    for (db, p) in db.iter_mut().zip(power) {
        *db = 10.0 * p.max(SILENCE).log10();
    }
    db
}

/// The slope from bin `first` to bin `last`, both included, dB per Hz: the least-squares line through the bins' dB.
///
/// `Σ (f - f̄) L / Σ (f - f̄)²`. openSMILE counts one bin too few in this sum, and so adds a share of the level to the slope.
fn slope(power_db: &[f32; LOW_BINS], first: usize, last: usize) -> f32 {
    let mean = (first + last) as f32 / 2.0;
    let (mut with_level, mut with_itself) = (0.0, 0.0);
    for (k, db) in power_db.iter().enumerate().take(last + 1).skip(first) {
        let offset = (k as f32 - mean) * BIN_HZ;
        with_level += offset * db;
        with_itself += offset * offset;
    }
    with_level / with_itself
}

/// The centroid of the power spectrum above 0 Hz (MPEG-7 weighs by power too), Hz; 0 in digital silence.
fn centroid_hz(power: &[f32; BINS]) -> f32 {
    let (mut moment, mut total) = (0.0, 0.0);
    for (k, p) in power.iter().enumerate().skip(1) {
        moment += k as f32 * p;
        total += p;
    }
    if total > SILENCE { BIN_HZ * moment / total } else { 0.0 }
}

/// Energy from 1 kHz to the band's end over energy from 50 Hz to 1 kHz, dB.
fn alpha_ratio_db(power: &[f32; BINS]) -> f32 {
    let (low, high) = power.split_at(32); // 1000 Hz
    ratio_db(high.iter().sum(), low.iter().skip(2).sum()) // 62.5 Hz
}

/// The strongest bin below 2 kHz over the strongest from 2 kHz to the band's end, dB.
fn hammarberg_db(power: &[f32; BINS]) -> f32 {
    let (low, high) = power.split_at(64); // 2000 Hz
    let peak = |bins: &[f32]| bins.iter().copied().fold(0.0, f32::max);
    ratio_db(peak(low), peak(high))
}

fn ratio_db(a: f32, b: f32) -> f32 {
    10.0 * (a.max(SILENCE) / b.max(SILENCE)).log10()
}

/// How far the spectrum moved since the last frame.
#[derive(Debug, Default)]
struct Flux {
    last: Option<[f32; BINS]>,
}

impl Flux {
    /// `‖a/‖a‖ - b/‖b‖‖` over the magnitude spectra of this frame and the last one: 0 for the same shape, √2 for no bin in
    /// common; 0 too where either is missing or digital silence.
    fn observe(&mut self, power: &[f32; BINS]) -> f32 {
        let total: f32 = power.iter().sum();
        let shape = (total > SILENCE).then(|| power.map(|p| (p / total).sqrt()));
        let flux = match (&shape, &self.last) {
            (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt(),
            (None, _) | (_, None) => 0.0,
        };
        self.last = shape;
        flux
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "zero and the floor are exact")]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn tone(hz: f32, amplitude: f32) -> [f32; FRAME_LEN] {
        std::array::from_fn(|n| amplitude * (2.0 * PI * hz * n as f32 / 8_000.0).sin())
    }

    /// White noise from a linear congruential generator (Numerical Recipes), mean square near `amplitude`² / 3.
    pub(in super::super) fn noise(mut seed: u32, amplitude: f32) -> [f32; FRAME_LEN] {
        std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            amplitude * (f32::from((seed >> 16) as u16) / 32_768.0 - 1.0)
        })
    }

    #[test]
    fn the_power_spectrum_is_the_discrete_fourier_transform() {
        let frame = noise(1, 0.5);
        let window: [f64; FRAME_LEN] =
            std::array::from_fn(|n| 0.54 - 0.46 * (2.0 * std::f64::consts::PI * n as f64 / 199.0).cos());
        let energy: f64 = window.iter().map(|w| w * w).sum();
        let fast = *Spectrum::new().power(&frame);
        for (k, &fast) in fast.iter().enumerate() {
            let (mut re, mut im) = (0.0, 0.0);
            for (n, (&x, &w)) in frame.iter().zip(&window).enumerate() {
                let phase = -2.0 * std::f64::consts::PI * (k * n) as f64 / FFT_LEN as f64;
                re += f64::from(x) * w * phase.cos();
                im += f64::from(x) * w * phase.sin();
            }
            let sides = if k == 0 || k == BINS - 1 { 1.0 } else { 2.0 };
            let slow = sides * (re * re + im * im) / (FFT_LEN as f64 * energy);
            assert!((f64::from(fast) - slow).abs() < 1e-6 * slow.max(1e-4), "bin {k}: {fast} is not {slow}");
        }
    }

    #[test]
    fn the_powers_sum_to_the_mean_square() {
        let mean_square: f32 = Spectrum::new().power(&tone(1_000.0, 1.0)).iter().sum();
        assert!((mean_square - 0.5).abs() < 0.005, "{mean_square}");
    }

    /// A vowel-like frame: harmonics of 125 Hz falling 12 dB an octave over a little noise.
    fn vowel(gain: f32) -> [f32; FRAME_LEN] {
        let mut frame = noise(7, 0.001 * gain);
        for harmonic in 1..30u8 {
            let h = f32::from(harmonic);
            for (x, t) in frame.iter_mut().zip(tone(125.0 * h, 0.05 * gain / (h * h))) {
                *x += t;
            }
        }
        frame
    }

    #[test]
    fn ten_times_the_gain_is_20_db_more_in_level_and_mel_and_changes_no_shape() {
        for (frame, ten_times) in
            [(noise(2, 1e-4), noise(2, 1e-3)), (vowel(1e-3), vowel(1e-2)), (vowel(0.1), vowel(1.0))]
        {
            let [quiet, loud] = [frame, ten_times].map(|frame| {
                let mut analyser = SpectralAnalyser::new();
                analyser.observe(&noise(3, 0.1));
                analyser.observe(&frame)
            });
            let close = |name: &str, loud: f32, quiet: f32, within: f32| {
                assert!((loud - quiet).abs() <= within, "{name}: {loud} is not {quiet}");
            };
            close("level", loud.level_dbfs, quiet.level_dbfs + 20.0, 1e-3);
            for (loud, quiet) in loud.mel_db.iter().zip(&quiet.mel_db) {
                close("mel", *loud, quiet + 20.0, 1e-3);
            }
            close("centroid", loud.centroid_hz, quiet.centroid_hz, 0.01);
            close("flux", loud.flux, quiet.flux, 1e-5);
            close("slope 0-500", loud.slope_0_500, quiet.slope_0_500, 1e-6);
            close("slope 500-1500", loud.slope_500_1500, quiet.slope_500_1500, 1e-6);
            close("alpha ratio", loud.alpha_ratio_db, quiet.alpha_ratio_db, 1e-3);
            close("Hammarberg index", loud.hammarberg_db, quiet.hammarberg_db, 1e-3);
            for (loud, quiet) in loud.mfcc.iter().zip(&quiet.mfcc) {
                close("mfcc", *loud, *quiet, 1e-3);
            }
        }
    }

    #[test]
    fn a_1_khz_tone_has_its_centroid_at_1_khz() {
        let centroid = SpectralAnalyser::new().observe(&tone(1_000.0, 0.5)).centroid_hz;
        assert!((centroid - 1_000.0).abs() < 10.0, "{centroid}");
    }

    #[test]
    fn a_spectrum_tilted_by_12_db_per_khz_has_that_slope() {
        let power: [f32; BINS] = std::array::from_fn(|k| 10f32.powf(-0.0012 * k as f32 * BIN_HZ - 3.0));
        let power_db = low_power_db(&power);
        assert!((slope(&power_db, 0, 16) + 0.012).abs() < 1e-6);
        assert!((slope(&power_db, 16, 48) + 0.012).abs() < 1e-6);
    }

    #[test]
    fn a_slope_sees_nothing_outside_its_band() {
        let power_db = std::array::from_fn(|k| if (16..=48).contains(&k) { -30.0 } else { -90.0 });
        assert!(slope(&power_db, 16, 48).abs() < 1e-6);
    }

    #[test]
    fn alpha_ratio_and_hammarberg_index_compare_two_tones_across_their_border() {
        let both = |low: f32, high: f32| {
            let (low, high) = (tone(low, 0.1), tone(high, 0.01)); // 20 dB apart
            let frame = std::array::from_fn(|n| low[n] + high[n]);
            SpectralAnalyser::new().observe(&frame)
        };
        let alpha = both(500.0, 1_500.0).alpha_ratio_db;
        assert!((alpha + 20.0).abs() < 0.2, "{alpha}");
        let hammarberg = both(1_500.0, 3_000.0).hammarberg_db;
        assert!((hammarberg - 20.0).abs() < 0.2, "{hammarberg}");
    }

    #[test]
    fn flux_is_zero_for_the_same_sound_and_root_two_for_another() {
        let mut analyser = SpectralAnalyser::new();
        assert_eq!(analyser.observe(&tone(500.0, 0.1)).flux, 0.0);
        assert!(analyser.observe(&tone(500.0, 0.7)).flux < 1e-3);
        let moved = analyser.observe(&tone(3_000.0, 0.1)).flux;
        assert!((moved - 2f32.sqrt()).abs() < 0.02, "{moved}");
        analyser.reset();
        assert_eq!(analyser.observe(&tone(500.0, 0.1)).flux, 0.0);
    }

    #[test]
    fn digital_silence_a_constant_and_full_scale_clipping_have_finite_descriptors() {
        let clipped = tone(440.0, 100.0).map(|x| x.clamp(-1.0, 1.0));
        let impulse = std::array::from_fn(|n| if n == 100 { 1.0 } else { 0.0 });
        for frame in [[0.0; FRAME_LEN], [1.0; FRAME_LEN], [f32::MIN_POSITIVE; FRAME_LEN], clipped, impulse] {
            let mut analyser = SpectralAnalyser::new();
            analyser.observe(&noise(1, 0.1));
            for _ in 0..2 {
                let s = analyser.observe(&frame);
                let one = [s.level_dbfs, s.loudness, s.centroid_hz, s.flux, s.slope_0_500, s.slope_500_1500];
                let two = [s.alpha_ratio_db, s.hammarberg_db];
                assert!(
                    one.iter().chain(&two).chain(&s.mfcc).chain(&s.mel_db).all(|x| x.is_finite()),
                    "{s:?}"
                );
            }
        }
    }

    #[test]
    fn digital_silence_has_no_shape() {
        let s = SpectralAnalyser::new().observe(&[0.0; FRAME_LEN]);
        assert_eq!((s.level_dbfs, s.mel_db), (-140.0, [-140.0; MEL_BANDS]));
        assert_eq!((s.centroid_hz, s.flux, s.alpha_ratio_db, s.hammarberg_db), (0.0, 0.0, 0.0, 0.0));
        for x in [s.loudness, s.slope_0_500, s.slope_500_1500].iter().chain(&s.mfcc) {
            assert!(x.abs() < 1e-3, "{s:?}");
        }
    }
}
