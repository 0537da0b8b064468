//! The caller's last seconds of speech as eight-bit audio: what a model with a speech front end of its own is asked about.

use std::collections::VecDeque;

use crate::{
    media::{Caller, FRAME_LEN, FRAME_STEP, Frame, g711::encode_mu},
    prosody::LATENCY_FRAMES,
};

/// The first samples of a frame, up to where the next one begins.
pub type Hop = [u8; FRAME_STEP];

/// The caller's speech, hop after hop, with the silence between left out: µ-law, so that a telephone's samples are kept as
/// they came. What is older than the capacity is overwritten; an agent's frames do not fit.
#[derive(Clone, Debug)]
pub struct SpeechAudio {
    /// Hops of which it is not known yet whether they are speech, oldest first.
    waiting: VecDeque<Hop>,
    ring: Box<[u8]>,
    /// Byte that is written next.
    next: usize,
    len: usize,
}

impl SpeechAudio {
    /// An empty memory for windows of up to `frames` frames: 80 bytes for each, and the samples by which the last overlaps.
    pub fn new(frames: usize) -> Self {
        let hops = frames + FRAME_LEN.div_ceil(FRAME_STEP) - 1;
        Self {
            waiting: VecDeque::with_capacity(LATENCY_FRAMES + 2),
            ring: vec![0; hops * FRAME_STEP].into_boxed_slice(),
            next: 0,
            len: 0,
        }
    }

    /// Takes a frame as it is heard.
    pub fn hear(&mut self, frame: &Frame<'_, Caller>) {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a float is cut to the range of i16, and rounded before"
        )]
        let code = |sample: f32| encode_mu((sample * 32_768.0).round() as i16);
        let mut hop = [0; FRAME_STEP];
        hop.iter_mut().zip(frame.samples).for_each(|(code_of, sample)| *code_of = code(*sample));
        self.waiting.push_back(hop);
    }

    /// Says of the oldest frame that waits whether it is speech: it is kept and given back, or forgotten.
    pub fn settle(&mut self, speech: bool) -> Option<Hop> {
        let hop = self.waiting.pop_front().filter(|_| speech)?;
        if let Some(slot) = self.ring.get_mut(self.next..self.next + FRAME_STEP) {
            slot.copy_from_slice(&hop);
        }
        self.next = (self.next + FRAME_STEP) % self.ring.len();
        self.len = (self.len + FRAME_STEP).min(self.ring.len());
        Some(hop)
    }

    /// Samples of speech held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no speech is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets what is held; frames that wait stay.
    pub fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// Forgets the frames that wait.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// A copy, oldest sample first.
    pub fn snapshot(&self) -> Box<[u8]> {
        let (newer, older) = self.ring.split_at(self.next);
        let older = if self.len == self.ring.len() { older } else { &[] };
        older.iter().chain(newer).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Framer, g711::decode_mu};

    #[test]
    fn speech_is_kept_in_order_silence_is_left_out_and_the_oldest_is_overwritten() {
        let mut audio = SpeechAudio::new(1); // one frame: three hops
        let mut framer = Framer::<Caller>::new();
        // Hop n holds the µ-law level n, so that it survives the coding.
        let samples: Vec<f32> =
            (0..10_u8).flat_map(|n| [f32::from(decode_mu(0xFF - n)) / 32_768.0; FRAME_STEP]).collect();
        framer.push(&samples, |frame| audio.hear(&frame));
        for n in 0..8 {
            assert_eq!(audio.settle(n % 2 == 1).is_some(), n % 2 == 1);
        }
        let kept: Vec<u8> = audio.snapshot().chunks(FRAME_STEP).map(|hop| 0xFF - hop[0]).collect();
        assert_eq!(kept, [3, 5, 7]);
        assert_eq!(audio.len(), 3 * FRAME_STEP);
        while audio.settle(false).is_some() {}
        assert_eq!(audio.settle(true), None, "nothing waits");
        assert_eq!(audio.len(), 3 * FRAME_STEP);
        audio.clear();
        assert!(audio.is_empty() && audio.snapshot().is_empty());
    }
}
