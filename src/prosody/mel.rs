//! A power spectrum → bands as the ear spaces them.
//! Absent here: the spectrum itself.

use std::array;

use super::spectrum::{BIN_HZ, BINS};

/// Overlapping triangular filters, evenly spaced in mel and one bin of the spectrum wide at least.
///
/// As HTK has them (Young et al., *The HTK Book*, 5.4): each triangle rises from its left neighbour's centre to 1 at its
/// own and falls to its right neighbour's, linearly in mel, without normalisation of the area.
#[derive(Clone, Debug)]
pub struct MelBank<const BANDS: usize> {
    filters: [Filter; BANDS],
}

#[derive(Clone, Debug)]
struct Filter {
    first_bin: usize,
    weights: Vec<f32>,
}

impl<const BANDS: usize> MelBank<BANDS> {
    /// `BANDS` filters, the first rising from `low_hz`, the last falling to `high_hz`.
    #[allow(clippy::cast_precision_loss, reason = "bands and bins are few")]
    pub fn new(low_hz: f32, high_hz: f32) -> Self {
        let (low, high) = (mel(low_hz), mel(high_hz));
        let step = (high - low) / (BANDS + 1) as f32;
        Self {
            filters: array::from_fn(|band| {
                let centre = low + step * (band + 1) as f32;
                let weight = |k: usize| 1.0 - (mel(k as f32 * BIN_HZ) - centre).abs() / step;
                let first_bin = (0..BINS).find(|&k| weight(k) > 0.0).unwrap_or(BINS);
                Filter {
                    first_bin,
                    weights: (first_bin..BINS).map(weight).take_while(|&w| w > 0.0).collect(),
                }
            }),
        }
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

#[cfg(test)]
mod tests {
    use super::{
        super::spectrum::{Spectrum, tests::tone},
        *,
    };

    fn centre_hz(band: usize) -> f32 {
        let step = (mel(3_800.0) - mel(60.0)) / 41.0;
        700.0 * (10f32.powf((mel(60.0) + step * (band + 1) as f32) / 2_595.0) - 1.0)
    }

    #[test]
    fn a_thousand_hz_are_a_thousand_mel() {
        assert!((mel(1_000.0) - 1_000.0).abs() < 0.1);
    }

    #[test]
    fn every_band_holds_a_bin_and_neighbours_share_each_between_them() {
        let bank = MelBank::<40>::new(60.0, 3_800.0);
        let mut total = [0.0; BINS];
        for filter in &bank.filters {
            assert!(!filter.weights.is_empty());
            for (total, w) in total[filter.first_bin..].iter_mut().zip(&filter.weights) {
                *total += w;
            }
        }
        for (k, total) in total.iter().enumerate() {
            let hz = k as f32 * BIN_HZ;
            if (centre_hz(0)..centre_hz(39)).contains(&hz) {
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
        for band in 8..40 {
            let energies = bank.energies(spectrum.power(&tone(centre_hz(band), 0.5)));
            let strongest = energies.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            assert_eq!(strongest, band, "a tone at {} Hz", centre_hz(band));
        }
    }
}
