//! Samples → overlapping frames on the grid of media time.

use std::marker::PhantomData;

use super::{FRAME_LEN, FRAME_STEP};
use crate::units::{MediaSpan, MediaTime};

/// 25 ms of one speaker; `R` says whose, so that a frame of the agent cannot stand where one of the caller is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a, R> {
    /// The first sample's place, a multiple of [`FRAME_STEP`].
    pub at: MediaTime,
    /// Samples at 8 kHz; full scale is ±1, which resampling can overshoot a little.
    pub samples: &'a [f32; FRAME_LEN],
    role: PhantomData<R>,
}

/// Cuts 8 kHz samples into frames: frame n begins at sample 80 n of the call, however the samples arrive.
#[derive(Debug)]
pub struct Framer<R> {
    window: [f32; FRAME_LEN],
    filled: usize,
    /// Where `window` begins; on the grid.
    at: MediaTime,
    /// Samples to come that stand before `at`.
    ahead: MediaSpan,
    role: PhantomData<R>,
}

impl<R> Framer<R> {
    /// A framer whose first sample is the call's first.
    pub fn new() -> Self {
        Self {
            window: [0.0; FRAME_LEN],
            filled: 0,
            at: MediaTime::ZERO,
            ahead: MediaSpan::ZERO,
            role: PhantomData,
        }
    }

    /// Takes the next samples at 8 kHz and gives every frame they complete to `each`, in order.
    pub fn push(&mut self, samples: &[f32], mut each: impl FnMut(Frame<'_, R>)) {
        let before_grid = usize::try_from(self.ahead.0).unwrap_or(usize::MAX).min(samples.len());
        self.ahead = MediaSpan(self.ahead.0 - before_grid as u64);
        let (_, mut samples) = samples.split_at(before_grid);
        while !samples.is_empty() {
            let (_, room) = self.window.split_at_mut(self.filled);
            let (fitting, later) = samples.split_at(samples.len().min(room.len()));
            room.iter_mut().zip(fitting).for_each(|(to, from)| *to = *from);
            self.filled += fitting.len();
            samples = later;
            if self.filled == FRAME_LEN {
                each(Frame { at: self.at, samples: &self.window, role: PhantomData });
                self.window.copy_within(FRAME_STEP.., 0);
                self.filled -= FRAME_STEP;
                self.at = self.at + MediaSpan(FRAME_STEP as u64);
            }
        }
    }

    /// The next sample pushed is the one at `to`: frames begin anew at the first place of the grid at or after it.
    pub fn skip_to(&mut self, to: MediaTime) {
        self.filled = 0;
        let step = FRAME_STEP as u64;
        self.ahead = MediaSpan((step - to.0 % step) % step);
        self.at = to + self.ahead;
    }
}

impl<R> Default for Framer<R> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::Caller;

    #[test]
    fn frame_n_begins_at_sample_80_n() {
        let frames = frames(&mut Framer::new(), &ramp(0, 520));
        assert_eq!(frames.iter().map(|(at, _)| at.0).collect::<Vec<_>>(), [0, 80, 160, 240, 320]);
        for (at, samples) in frames {
            assert_eq!(samples, ramp(at.0, FRAME_LEN));
        }
    }

    #[test]
    fn after_a_gap_frames_begin_at_the_next_place_of_the_grid() {
        for (to, first) in [(800, 800), (801, 880), (879, 880), (880, 880)] {
            let mut framer = Framer::new();
            frames(&mut framer, &ramp(0, 700));
            framer.skip_to(MediaTime(to));
            let after = frames(&mut framer, &ramp(to, 400));
            let (at, samples) = &after[0];
            assert_eq!((at.0, samples), (first, &ramp(first, FRAME_LEN)), "gap to {to}");
        }
    }

    proptest! {
        #[test]
        fn any_split_of_the_samples_gives_the_same_frames(cuts in prop::collection::vec(0usize..400, 0..40)) {
            let samples = ramp(0, 4_000);
            let whole = frames(&mut Framer::new(), &samples);
            let (mut framer, mut rest, mut pieces) = (Framer::new(), samples.as_slice(), Vec::new());
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                pieces.extend(frames(&mut framer, piece));
                rest = later;
            }
            pieces.extend(frames(&mut framer, rest));
            prop_assert_eq!(whole, pieces);
        }
    }

    /// Sample k has the value k.
    fn ramp(from: u64, len: usize) -> Vec<f32> {
        (from..).take(len).map(|k| f32::from(u16::try_from(k).unwrap())).collect()
    }

    fn frames(framer: &mut Framer<Caller>, samples: &[f32]) -> Vec<(MediaTime, Vec<f32>)> {
        let mut frames = Vec::new();
        framer.push(samples, |frame| frames.push((frame.at, frame.samples.to_vec())));
        frames
    }
}
