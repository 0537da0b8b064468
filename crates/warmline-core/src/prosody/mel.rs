//! A power spectrum → bands as the ear spaces them.
//! Absent here: the spectrum itself.

use std::{array, f32::consts::PI};

use super::bins::{BIN_HZ, BINS};

/// Bands of the auditory spectrum behind loudness and cepstrum, 20 Hz to 4 kHz; eGeMAPS has as many.
pub const AUDITORY_BANDS: usize = 26;

/// Overlapping triangular filters, evenly spaced in mel.
///
/// As HTK has them (Young et al., *The HTK Book*, 5.4): each triangle rises from its left neighbour's centre to 1 at its
/// own and falls to its right neighbour's, linearly in mel, without normalisation of the area.
#[derive(Clone, Debug)]
pub struct MelBank<const BANDS: usize> {
    filters: [Filter; BANDS],
}

#[derive(Clone, Debug)]
struct Filter {
    centre_hz: f32,
    first_bin: usize,
    weights: Vec<f32>,
}

impl<const BANDS: usize> MelBank<BANDS> {
    /// `BANDS` filters, the first rising from `low_hz`, the last falling to `high_hz`.
    pub fn new(low_hz: f32, high_hz: f32) -> Self {
        let (low, high) = (mel(low_hz), mel(high_hz));
        let step = (high - low) / (BANDS + 1) as f32;
        Self {
            filters: array::from_fn(|band| {
                let centre = low + step * (band + 1) as f32;
                let weight = |k: usize| 1.0 - (mel(k as f32 * BIN_HZ) - centre).abs() / step;
                let first_bin = (0..BINS).find(|&k| weight(k) > 0.0).unwrap_or(BINS);
                Filter {
                    centre_hz: hz(centre),
                    first_bin,
                    weights: (first_bin..BINS).map(weight).take_while(|&w| w > 0.0).collect(),
                }
            }),
        }
    }

    /// Where each filter passes most, Hz.
    pub fn centres_hz(&self) -> [f32; BANDS] {
        self.filters.each_ref().map(|filter| filter.centre_hz)
    }

    /// The energy in each band, in the units of `power`.
    pub fn energies(&self, power: &[f32; BINS]) -> [f32; BANDS] {
        self.filters
            .each_ref()
            .map(|filter| power.iter().skip(filter.first_bin).zip(&filter.weights).map(|(p, w)| p * w).sum())
    }
}

/// Hz → mel, `2595 log10(1 + f / 700)` (O'Shaughnessy 1987; HTK's, not Slaney's).
pub fn mel(hz: f32) -> f32 {
    2_595.0 * (1.0 + hz / 700.0).log10()
}

fn hz(mel: f32) -> f32 {
    700.0 * (10f32.powf(mel / 2_595.0) - 1.0)
}

/// An auditory spectrum → mel-frequency cepstral coefficients 1-4.
///
/// `c[i] = (1 + L/2 sin(πi/L)) √(2/N) Σ_m ln E[m] cos(πi (m + ½) / N)`, the DCT-II with the lifter `L` = 22 (*The HTK Book*,
/// 5.6; openSMILE's eGeMAPS). A change of gain is the same in every `ln E` and so in no coefficient but the 0th.
#[derive(Clone, Debug)]
pub struct Cepstrum {
    basis: [[f32; AUDITORY_BANDS]; 4],
}

impl Cepstrum {
    /// Tabulates the cosines.
    pub fn new() -> Self {
        let n = AUDITORY_BANDS as f32;
        Self {
            basis: [1.0, 2.0, 3.0, 4.0].map(|i| {
                let lifter = 1.0 + 11.0 * (PI * i / 22.0).sin();
                array::from_fn(|m| lifter * (2.0 / n).sqrt() * (PI * i * (m as f32 + 0.5) / n).cos())
            }),
        }
    }

    /// Coefficients 1-4 of the natural logarithms of the bands' energies.
    pub fn of(&self, auditory_ln: &[f32; AUDITORY_BANDS]) -> [f32; 4] {
        self.basis.map(|cosine| cosine.iter().zip(auditory_ln).map(|(c, e)| c * e).sum())
    }
}

impl Default for Cepstrum {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "zero and the floor are exact")]
mod tests {
    use super::{
        super::spectrum::{Spectrum, tests::tone},
        *,
    };

    #[test]
    fn a_thousand_hz_are_a_thousand_mel() {
        assert!((mel(1_000.0) - 1_000.0).abs() < 0.1);
    }

    #[test]
    fn every_band_holds_a_bin_and_neighbours_share_each_between_them() {
        let bank = MelBank::<40>::new(60.0, 3_800.0);
        let [first, .., last] = bank.centres_hz();
        let mut total = [0.0; BINS];
        for filter in &bank.filters {
            assert!(!filter.weights.is_empty());
            for (total, w) in total[filter.first_bin..].iter_mut().zip(&filter.weights) {
                *total += w;
            }
        }
        for (k, total) in total.iter().enumerate() {
            let hz = k as f32 * BIN_HZ;
            if (first..last).contains(&hz) {
                assert!((total - 1.0).abs() < 1e-3, "{hz} Hz weighs {total}");
            } else if !(60.0..3_800.0).contains(&hz) {
                assert_eq!(*total, 0.0);
            }
        }
    }

    #[test]
    fn a_tone_at_a_centre_is_strongest_in_its_band() {
        let bank = MelBank::<40>::new(60.0, 3_800.0);
        let mut spectrum = Spectrum::new();
        for (band, hz) in bank.centres_hz().into_iter().enumerate().skip(8) {
            let energies = bank.energies(spectrum.power(&tone(hz, 0.5)));
            let strongest = energies.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert_eq!(strongest, band, "a tone at {hz} Hz");
        }
    }

    #[test]
    fn a_1_khz_tone_is_strongest_in_the_band_around_1_khz() {
        let bank = MelBank::<40>::new(60.0, 3_800.0);
        let energies = bank.energies(Spectrum::new().power(&tone(1_000.0, 0.5)));
        let strongest = energies.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(strongest, 18); // centres 32 mel apart around 1000 mel
        assert!((bank.centres_hz()[strongest] - 1_000.0).abs() < 40.0);
    }

    #[test]
    fn every_auditory_band_holds_a_bin() {
        let bank = MelBank::<AUDITORY_BANDS>::new(20.0, 4_000.0);
        assert!(bank.filters.iter().all(|filter| !filter.weights.is_empty()));
    }

    #[test]
    fn the_cepstrum_is_the_textbook_cosine_transform() {
        let auditory_ln: [f32; AUDITORY_BANDS] = array::from_fn(|m| (m as f32 * 1.7).sin() * 3.0 - 12.0);
        let mfcc = Cepstrum::new().of(&auditory_ln);
        for (i, mfcc) in (1..=4).zip(mfcc) {
            let mut c = 0.0;
            for (m, &e) in auditory_ln.iter().enumerate() {
                c += f64::from(e) * (std::f64::consts::PI * f64::from(i) / 26.0 * (m as f64 + 0.5)).cos();
            }
            c *= (2.0f64 / 26.0).sqrt();
            c *= 1.0 + 22.0 / 2.0 * (std::f64::consts::PI * f64::from(i) / 22.0).sin();
            assert!((f64::from(mfcc) - c).abs() < 1e-4, "coefficient {i}: {mfcc} is not {c}");
        }
    }
}
