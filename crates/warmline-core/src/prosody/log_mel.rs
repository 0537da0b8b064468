//! Eight-bit speech → the log-mel spectrum that pre-trained speech front ends ask for, feature set [`LOG_MEL_SET`].
//! Absent here: any model, the level (the model's graph sets it), time.

use std::{array, f32::consts::PI, sync::LazyLock};

use realfft::RealFftPlanner;

use crate::media::{FRAME_LEN, FRAME_STEP, g711::decode_mu};

/// The name and version of [`log_mel`]'s bands: a model card names it, and a model made for another one is refused.
pub const LOG_MEL_SET: &str = "speech-log-mel/1";

/// Bands that fit below 4 kHz, of the eighty that Whisper has up to 8 kHz.
pub const LOG_MEL_BANDS: usize = 61;

/// Bins of the transform of one frame, 40 Hz apart, 0 Hz and 4 kHz included.
const BINS: usize = FRAME_LEN / 2 + 1;

const BIN_HZ: f32 = 40.0; // 8000 / FRAME_LEN

/// A power below which there is digital silence, as Whisper has it.
const FLOOR: f32 = 1e-10;

/// Names of the bands: the columns of `warmline features --set speech-log-mel/1` after the time.
pub fn log_mel_columns() -> [String; LOG_MEL_BANDS] {
    array::from_fn(|band| format!("log_mel_{band:02}"))
}

/// Frames that `samples` µ-law samples make.
pub fn log_mel_frames(samples: usize) -> usize {
    samples.checked_sub(FRAME_LEN).map_or(0, |rest| rest / FRAME_STEP + 1)
}

/// µ-law samples at 8 kHz → log10 of the power in each of [`LOG_MEL_BANDS`] bands, frame by frame (25 ms, one every 10 ms).
///
/// The definition is Whisper's (Radford et al. 2022, *Robust speech recognition via large-scale weak supervision*, §2.2):
/// a periodic Hann window of 25 ms, the power spectrum at multiples of 40 Hz, eighty of Slaney's mel triangles of unit area
/// from 0 to 8 kHz. Of these the ones that end below 4 kHz are here: a telephone has no others.
pub fn log_mel(mu_law: &[u8]) -> Vec<f32> {
    let tables = &*TABLES;
    let mut fft = tables.fft.make_scratch_vec();
    let (mut frame, mut bins) = (tables.fft.make_input_vec(), tables.fft.make_output_vec());
    let mut power = [0.0; BINS];
    let mut out = Vec::with_capacity(log_mel_frames(mu_law.len()) * LOG_MEL_BANDS);
    for bytes in mu_law.windows(FRAME_LEN).step_by(FRAME_STEP) {
        for ((x, code), w) in frame.iter_mut().zip(bytes).zip(&tables.window) {
            *x = f32::from(decode_mu(*code)) / 32_768.0 * w;
        }
        // The lengths are the plan's own: it cannot refuse them.
        let _ = tables.fft.process_with_scratch(&mut frame, &mut bins, &mut fft);
        power.iter_mut().zip(&bins).for_each(|(p, x)| *p = x.norm_sqr());
        out.extend(tables.filters.iter().map(|filter| filter.of(&power).max(FLOOR).log10()));
    }
    out
}

struct Tables {
    fft: std::sync::Arc<dyn realfft::RealToComplex<f32>>,
    window: [f32; FRAME_LEN],
    filters: [Filter; LOG_MEL_BANDS],
}

/// One triangle: its first bin, and its weights from there on.
struct Filter {
    first_bin: usize,
    weights: Vec<f32>,
}

impl Filter {
    fn of(&self, power: &[f32; BINS]) -> f32 {
        power.iter().skip(self.first_bin).zip(&self.weights).map(|(p, w)| p * w).sum()
    }
}

/// The same for every call: made once.
static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let window = array::from_fn(|n| 0.5 - 0.5 * (2.0 * PI * n as f32 / FRAME_LEN as f32).cos());
    let filters = array::from_fn(|band| {
        let [low, centre, high] = [0, 1, 2].map(|k| hz(mel(8_000.0) * (band + k) as f32 / 81.0));
        let weight = |k: usize| {
            let f = k as f32 * BIN_HZ;
            ((f - low) / (centre - low)).min((high - f) / (high - centre)).max(0.0) * 2.0 / (high - low)
        };
        let first_bin = (0..BINS).find(|&k| weight(k) > 0.0).unwrap_or(BINS);
        Filter { first_bin, weights: (first_bin..BINS).map(weight).take_while(|&w| w > 0.0).collect() }
    });
    Tables { fft: RealFftPlanner::new().plan_fft_forward(FRAME_LEN), window, filters }
});

/// Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz, logarithmic above.
fn mel(hz: f32) -> f32 {
    if hz < 1_000.0 { hz * 3.0 / 200.0 } else { 15.0 + 27.0 * (hz / 1_000.0).ln() / 6.4_f32.ln() }
}

fn hz(mel: f32) -> f32 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * ((mel - 15.0) * 6.4_f32.ln() / 27.0).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::g711::{MU_SILENCE, encode_mu};

    #[test]
    fn the_bands_end_below_4_khz_and_the_next_would_not() {
        let top = |band: usize| hz(mel(8_000.0) * (band + 2) as f32 / 81.0);
        assert!(
            top(LOG_MEL_BANDS - 1) <= 4_000.0 && top(LOG_MEL_BANDS) > 4_000.0,
            "{}",
            top(LOG_MEL_BANDS - 1)
        );
    }

    #[test]
    fn a_tone_is_strongest_in_the_band_that_holds_it_and_20_db_louder_is_2_more() {
        let tone = |amplitude: f32| -> Vec<u8> {
            let sample = |n: u16| amplitude * (2.0 * PI * 1_000.0 * f32::from(n) / 8_000.0).sin();
            #[allow(clippy::cast_possible_truncation, reason = "below full scale")]
            (0..800).map(|n| encode_mu(sample(n) as i16)).collect()
        };
        let (quiet, loud) = (log_mel(&tone(1_000.0)), log_mel(&tone(10_000.0)));
        assert_eq!(quiet.len(), log_mel_frames(800) * LOG_MEL_BANDS);
        assert_eq!(log_mel_frames(800), 8);
        for (quiet, loud) in quiet.chunks(LOG_MEL_BANDS).zip(loud.chunks(LOG_MEL_BANDS)) {
            let peak = (0..LOG_MEL_BANDS).max_by(|&a, &b| quiet[a].total_cmp(&quiet[b])).unwrap();
            let centre = hz(mel(8_000.0) * (peak + 1) as f32 / 81.0);
            assert!((960.0..=1_040.0).contains(&centre), "{centre} Hz");
            assert!((loud[peak] - quiet[peak] - 2.0).abs() < 0.05, "{}", loud[peak] - quiet[peak]);
        }
    }

    #[test]
    fn silence_is_at_the_floor_and_less_than_a_frame_is_nothing() {
        assert!(log_mel(&[MU_SILENCE; 400]).iter().all(|x| (x + 10.0).abs() < 1e-5));
        assert!(log_mel(&[MU_SILENCE; FRAME_LEN - 1]).is_empty());
        assert_eq!((log_mel_frames(199), log_mel_frames(200), log_mel_frames(280)), (0, 1, 2));
    }
}
