//! A frame → how strong it is, physically and to the ear.
//! Absent here: what is strong for this caller.

use crate::media::FRAME_LEN;

/// Nothing is weaker: digital silence, dB re full scale.
pub const FLOOR_DBFS: f32 = -140.0;

/// A power relative to full scale in dB, at least [`FLOOR_DBFS`]. A full-scale square wave is at 0, a full-scale sine at -3.
pub fn dbfs(power: f32) -> f32 {
    (10.0 * power.log10()).max(FLOOR_DBFS)
}

/// The level of a frame: 10 log10 of its mean square, dB re full scale, at least [`FLOOR_DBFS`].
pub fn level_dbfs(frame: &[f32; FRAME_LEN]) -> f32 {
    dbfs(frame.iter().map(|x| x * x).sum::<f32>() / 200.0)
}

#[cfg(test)]
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
}
