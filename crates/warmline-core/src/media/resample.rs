//! Any rate from 8 to 48 kHz → 8 kHz, on the grid of media time.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::media::{MAX_RATE, MIN_RATE};
use crate::units::{MediaTime, RATE, SampleRate};

/// The least block the spectrum is taken of, samples at 8 kHz. A longer block has a steeper filter and comes later: samples
/// wait up to one block for it to fill and half a block for the filter.
const BLOCK: usize = 200; // 25 ms

/// Turns samples at a track's own rate into samples at 8 kHz; at 8 kHz they pass untouched.
///
/// The filter always sees blocks of one size, so that the size of packets cannot change a sample. Its delay is taken
/// out: of an input that begins at the call's start, output sample k is what sounded at k/8000 s.
pub struct Resampler {
    rate: SampleRate,
    /// Input sample the current stretch of sound began with.
    start: u64,
    /// Input sample expected next.
    position: u64,
    /// Output samples given of the current stretch.
    given: u64,
    /// `None` at 8 kHz.
    blocks: Option<Blocks>,
}

/// A sample rate outside what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sample rate {} Hz: expected {} to {} Hz", .0.0, MIN_RATE.0, MAX_RATE.0)]
pub struct RateError(pub SampleRate);

impl Resampler {
    /// A resampler from `rate` whose first sample is the call's first.
    pub fn new(rate: SampleRate) -> Result<Self, RateError> {
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return Err(RateError(rate));
        }
        let blocks = if rate == RATE { None } else { Some(Blocks::new(rate)?) };
        Ok(Self { rate, start: 0, position: 0, given: 0, blocks })
    }

    /// The place of the sample expected next: samples at the track's rate since the call's start.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// When the sample expected next sounds, to the nearest sample at 8 kHz.
    pub fn time(&self) -> MediaTime {
        self.time_of(self.position)
    }

    /// Takes the next samples and gives what they complete, at 8 kHz, to `each`.
    pub fn push(&mut self, mut samples: &[f32], mut each: impl FnMut(&[f32])) {
        self.position += samples.len() as u64;
        let Some(blocks) = &mut self.blocks else {
            return each(samples);
        };
        while !samples.is_empty() {
            samples = blocks.fill(samples);
            if blocks.is_full() {
                let resampled = blocks.resample();
                self.given += resampled.len() as u64;
                each(resampled);
            }
        }
    }

    /// Ends the current stretch of sound: gives what is still held back to `each`, so that as much has come out as went
    /// in (to the nearest sample). What is pushed next begins a new stretch.
    pub fn finish(&mut self, mut each: impl FnMut(&[f32])) {
        let expected = self.time().since(self.time_of(self.start)).0;
        if let Some(blocks) = &mut self.blocks {
            while self.given < expected {
                blocks.fill_with_silence();
                let resampled = blocks.resample();
                let wanted =
                    usize::try_from(expected - self.given).unwrap_or(usize::MAX).min(resampled.len());
                let (resampled, _) = resampled.split_at(wanted);
                self.given += wanted as u64;
                each(resampled);
            }
            blocks.reset();
        }
        self.start = self.position;
        self.given = 0;
    }

    /// The sample pushed next is the one at `position`; call [`finish`](Self::finish) first.
    pub fn skip_to(&mut self, position: u64) {
        self.start = position;
        self.position = position;
    }

    fn time_of(&self, position: u64) -> MediaTime {
        let rate = u64::from(self.rate.0);
        MediaTime(position.saturating_mul(u64::from(RATE.0)).saturating_add(rate / 2) / rate)
    }
}

/// The accumulator before the filter, and the filter.
struct Blocks {
    fft: Fft<f32>,
    input: Vec<f32>,
    filled: usize,
    output: Vec<f32>,
    /// Output samples still to drop: the filter's delay.
    early: usize,
}

impl Blocks {
    fn new(rate: SampleRate) -> Result<Self, RateError> {
        let hz = |rate: SampleRate| usize::try_from(rate.0).map_err(|_| RateError(rate));
        let least = (hz(rate)? * BLOCK).div_ceil(hz(RATE)?);
        let fft = Fft::new_custom(
            hz(rate)?,
            hz(RATE)?,
            least,
            1,
            1,
            rubato::WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|_| RateError(rate))?;
        Ok(Self {
            input: vec![0.0; fft.input_frames_max()],
            filled: 0,
            output: vec![0.0; fft.output_frames_max()],
            early: fft.output_delay(),
            fft,
        })
    }

    /// Takes what fits of `samples` and returns the rest.
    fn fill<'a>(&mut self, samples: &'a [f32]) -> &'a [f32] {
        let (_, room) = self.input.split_at_mut(self.filled);
        let (fitting, later) = samples.split_at(samples.len().min(room.len()));
        room.iter_mut().zip(fitting).for_each(|(to, from)| *to = *from);
        self.filled += fitting.len();
        later
    }

    fn fill_with_silence(&mut self) {
        self.input.iter_mut().skip(self.filled).for_each(|sample| *sample = 0.0);
        self.filled = self.input.len();
    }

    fn is_full(&self) -> bool {
        self.filled == self.input.len()
    }

    fn resample(&mut self) -> &[f32] {
        let (input_len, output_len) = (self.input.len(), self.output.len());
        let input = SequentialSlice::new(self.input.as_slice(), 1, input_len);
        let output = SequentialSlice::new_mut(self.output.as_mut_slice(), 1, output_len);
        if let (Ok(input), Ok(mut output)) = (input, output) {
            let done = self.fft.process_into_buffer(&input, &mut output, None);
            debug_assert!(done.is_ok(), "the resampler named these block sizes itself: {done:?}");
        }
        self.filled = 0;
        let early = self.early.min(output_len);
        self.early -= early;
        let (_, resampled) = self.output.split_at(early);
        resampled
    }

    fn reset(&mut self) {
        self.fft.reset();
        self.filled = 0;
        self.early = self.fft.output_delay();
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tones and lengths of a test")]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const RATES: [u32; 10] = [8_000, 8_001, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000];

    #[test]
    fn a_tone_keeps_its_level_and_its_phase_up_to_3400_hz() {
        for rate in RATES {
            for hz in [100.0, 300.0, 1_000.0, 2_500.0, 3_400.0] {
                let (level_db, delay) = level_and_delay(&resample(rate, &tone(rate, hz)), hz);
                assert!(level_db.abs() < 0.5, "{hz} Hz at {rate}: {level_db:.2} dB");
                assert!(delay.abs() <= 0.5, "{hz} Hz at {rate}: {delay:.2} samples late");
            }
        }
    }

    #[test]
    fn what_8_khz_cannot_hold_does_not_come_back_as_an_alias() {
        for rate in RATES.into_iter().filter(|rate| *rate > 9_600) {
            for hz in [4_600.0, 5_000.0, 5_400.0, 7_500.0, 9_000.0, 13_000.0, 20_000.0] {
                if hz < f64::from(rate) / 2.0 {
                    let resampled = resample(rate, &tone(rate, hz));
                    let middle = &resampled[400..resampled.len() - 400];
                    let power: f64 =
                        middle.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / middle.len() as f64;
                    let level_db = 10.0 * (power / 0.125).log10();
                    assert!(level_db < -60.0, "{hz} Hz at {rate}: {level_db:.1} dB");
                }
            }
        }
    }

    #[test]
    fn an_impulse_stays_where_it_was() {
        for rate in RATES {
            let mut samples = vec![0.0; rate as usize];
            let at = rate as usize / 25 * 6;
            samples[at] = 1.0;
            let resampled = resample(rate, &samples);
            let place = at as f64 * 8_000.0 / f64::from(rate);
            let peak = (0..resampled.len()).max_by(|a, b| resampled[*a].total_cmp(&resampled[*b])).unwrap();
            assert!((peak as f64 - place).abs() < 1.0, "at {rate}: {peak} for {place}");
        }
    }

    #[test]
    fn as_much_comes_out_as_went_in() {
        for rate in RATES {
            for len in [0, 1, 7, 159, 1_000, 4_410, 44_101] {
                let expected = (len as f64 * 8_000.0 / f64::from(rate)).round() as usize;
                assert_eq!(resample(rate, &vec![0.1; len]).len(), expected, "{len} samples at {rate}");
            }
        }
    }

    #[test]
    fn a_new_stretch_remembers_nothing_of_the_last() {
        let mut resampler = Resampler::new(SampleRate(44_100)).unwrap();
        let click = [vec![0.0; 500], vec![1.0; 300]].concat();
        let mut stretches = [Vec::new(), Vec::new()];
        for stretch in &mut stretches {
            resampler.push(&click, |samples| stretch.extend_from_slice(samples));
            resampler.finish(|samples| stretch.extend_from_slice(samples));
            resampler.skip_to(441_000);
        }
        assert_eq!(stretches[0], stretches[1]);
        assert_eq!(resampler.time(), MediaTime(80_000));
    }

    #[test]
    fn a_rate_outside_8_to_48_khz_is_refused() {
        for rate in [0, 7_999, 48_001, 96_000] {
            assert_eq!(Resampler::new(SampleRate(rate)).err(), Some(RateError(SampleRate(rate))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_split_of_the_samples_gives_the_same_bits(
            rate in prop::sample::select(RATES.to_vec()),
            cuts in prop::collection::vec(0usize..3_000, 0..12),
        ) {
            let samples = tone(rate, 700.0);
            let (mut resampler, mut rest, mut pieces) =
                (Resampler::new(SampleRate(rate)).unwrap(), samples.as_slice(), Vec::new());
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                resampler.push(piece, |samples| pieces.extend_from_slice(samples));
                rest = later;
            }
            resampler.push(rest, |samples| pieces.extend_from_slice(samples));
            resampler.finish(|samples| pieces.extend_from_slice(samples));
            prop_assert_eq!(bits(&resample(rate, &samples)), bits(&pieces));
        }
    }

    fn bits(samples: &[f32]) -> Vec<u32> {
        samples.iter().map(|sample| sample.to_bits()).collect()
    }

    /// A quarter of a second, amplitude one half.
    fn tone(rate: u32, hz: f64) -> Vec<f32> {
        (0..rate / 4).map(|k| (0.5 * (TAU * hz * f64::from(k) / f64::from(rate)).sin()) as f32).collect()
    }

    fn resample(rate: u32, samples: &[f32]) -> Vec<f32> {
        let mut resampler = Resampler::new(SampleRate(rate)).unwrap();
        let mut resampled = Vec::new();
        resampler.push(samples, |samples| resampled.extend_from_slice(samples));
        resampler.finish(|samples| resampled.extend_from_slice(samples));
        resampled
    }

    /// Correlates with a sine and a cosine of `hz` whose phase is zero at sample 0: level against amplitude one half,
    /// and delay in samples.
    fn level_and_delay(samples: &[f32], hz: f64) -> (f64, f64) {
        let radians = TAU * hz / 8_000.0;
        let (mut re, mut im) = (0.0, 0.0);
        let middle = 400..samples.len() - 400; // 1200 samples: a whole number of periods of every tone
        let len = middle.len() as f64;
        for k in middle {
            let phase = radians * k as f64;
            re += f64::from(samples[k]) * phase.sin();
            im += f64::from(samples[k]) * phase.cos();
        }
        (20.0 * (2.0 * re.hypot(im) / len / 0.5).log10(), -im.atan2(re) / radians)
    }
}
