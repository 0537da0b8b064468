//! A frame → how strong it is, physically and to the ear.
//! Absent here: what is strong for this caller.

use super::mel::AUDITORY_BANDS;
use crate::media::FRAME_LEN;

/// Nothing is weaker: digital silence, dB re full scale.
pub const FLOOR_DBFS: f32 = -140.0;

/// A power relative to full scale in dB, at least [`FLOOR_DBFS`]. A full-scale square wave is at 0, a full-scale sine at -3.
pub fn dbfs(power: f32) -> f32 {
    (10.0 * power.log10()).max(FLOOR_DBFS)
}

/// The level of a frame: 10 log10 of its mean square about its mean, dB re full scale, at least [`FLOOR_DBFS`].
pub fn level_dbfs(frame: &[f32; FRAME_LEN]) -> f32 {
    dbfs(about_mean(frame).iter().map(|x| x * x).sum::<f32>() / FRAME_LEN as f32)
}

/// A frame without its mean: a recorder's constant offset is no sound, and would drown the level of what is.
pub fn about_mean(frame: &[f32; FRAME_LEN]) -> [f32; FRAME_LEN] {
    let mean = frame.iter().sum::<f32>() / FRAME_LEN as f32;
    frame.map(|x| x - mean)
}

/// An auditory spectrum → perceptual loudness.
///
/// `1/N Σ_m (G E[m] W(f[m]))^0.33`: each band's energy, weighed by the equal-loudness curve and compressed by the power law of
/// hearing (Hermansky 1990, JASA 87(4), with openSMILE's constants). The unit is arbitrary and openSMILE's: `G` turns our
/// powers into those of its unscaled transform.
#[derive(Clone, Debug)]
pub struct Loudness {
    weights_ln: [f32; AUDITORY_BANDS],
}

impl Loudness {
    /// The weights of bands centred at `centres_hz`.
    pub fn new(centres_hz: [f32; AUDITORY_BANDS]) -> Self {
        Self { weights_ln: centres_hz.map(|hz| (OPENSMILE_POWER * equal_loudness(hz)).ln()) }
    }

    /// The loudness of the natural logarithms of the bands' energies.
    pub fn of(&self, auditory_ln: &[f32; AUDITORY_BANDS]) -> f32 {
        let sum: f32 =
            auditory_ln.iter().zip(&self.weights_ln).map(|(e, w)| (COMPRESSION * (e + w)).exp()).sum();
        sum / AUDITORY_BANDS as f32
    }
}

/// The exponent from energy to loudness, near a cube root.
const COMPRESSION: f32 = 0.33;

/// `N Σ w[n]² / 2` of openSMILE's spectrum: 256 points, a Hamming window of 20 ms with `Σ w²` = 63.19.
const OPENSMILE_POWER: f32 = 8_088.7;

/// The sensitivity of the ear at about 40 dB, 1 near 1 kHz and 3 near 3 kHz: Hermansky's curve over angular frequency ω,
/// with the fall above 5 kHz as openSMILE has it.
fn equal_loudness(hz: f32) -> f32 {
    let w = 2.0 * std::f64::consts::PI * f64::from(hz);
    let w2 = w * w;
    let rise = (w2 + 56.8e6) * w2 * w2 / ((w2 + 6.3e6).powi(2) * (w2 + 0.38e9));
    #[allow(clippy::cast_possible_truncation, reason = "a weight of 0 to 4")]
    let weight = (rise * 1e32 / (w.powi(7) + 1.7e31)) as f32;
    weight
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "zero and the floor are exact")]
mod tests {
    use super::{super::spectrum::tests::tone, *};

    #[test]
    fn a_full_scale_sine_is_3_db_below_full_scale() {
        assert!((level_dbfs(&tone(1_000.0, 1.0)) + 3.01).abs() < 0.01);
    }

    #[test]
    fn digital_silence_is_at_the_floor() {
        assert_eq!(level_dbfs(&[0.0; FRAME_LEN]), FLOOR_DBFS);
    }

    #[test]
    fn loudness_grows_with_the_cube_root_of_energy() {
        let loudness = Loudness::new([1_000.0; AUDITORY_BANDS]);
        let ratio = loudness.of(&[0.0; AUDITORY_BANDS]) / loudness.of(&[-(1_000f32.ln()); AUDITORY_BANDS]);
        assert!((ratio - 1_000f32.powf(0.33)).abs() < 1e-3, "{ratio}");
    }

    #[test]
    fn the_ear_hears_3_khz_better_than_1_khz_and_is_deaf_to_20_hz() {
        let curve = [20.0, 100.0, 300.0, 1_000.0, 3_000.0].map(equal_loudness);
        assert!(curve.is_sorted(), "{curve:?}");
        assert!(curve[0] < 1e-3 && (curve[3] - 1.0).abs() < 0.01, "{curve:?}");
    }
}
