//! The window that is scored: the caller's last frames of speech, with the silence between them left out.

use super::Model;
use crate::prosody::{COLUMNS, Lld};

/// What is sent to a model: `len` frames of `width` descriptors, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Descriptors, frame by frame, in the card's order.
    pub frames: Box<[f32]>,
    /// Descriptors in a frame.
    pub width: usize,
}

impl Window {
    /// Frames in the window.
    pub fn len(&self) -> usize {
        self.frames.len() / self.width.max(1)
    }

    /// Whether there is nothing to score.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// The caller's last frames of speech, up to the model's window; what is older is overwritten.
#[derive(Clone, Debug)]
pub struct SpeechWindow {
    features: Box<[usize]>,
    ring: Box<[f32]>,
    frames_max: usize,
    /// Frame that is written next.
    next: usize,
    len: usize,
}

impl SpeechWindow {
    /// An empty window of the model's length.
    pub fn new(model: &Model) -> Self {
        let ring = vec![0.0; model.window_frames * model.features.len()].into_boxed_slice();
        Self { features: model.features.clone(), ring, frames_max: model.window_frames, next: 0, len: 0 }
    }

    /// Adds one frame of speech.
    pub fn push(&mut self, lld: &Lld) {
        let row = lld.row();
        let width = self.features.len();
        if let Some(slot) = self.ring.get_mut(self.next * width..(self.next + 1) * width) {
            for (value, &column) in slot.iter_mut().zip(&self.features) {
                *value = row.get(column).copied().unwrap_or_default();
            }
        }
        self.next = (self.next + 1) % self.frames_max;
        self.len = (self.len + 1).min(self.frames_max);
    }

    /// Frames of speech held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no speech is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything heard.
    pub fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// A copy, oldest frame first.
    pub fn snapshot(&self) -> Window {
        let width = self.features.len();
        let (newer, older) = self.ring.split_at(self.next * width);
        let older = if self.len == self.frames_max { older } else { &[] };
        Window { frames: older.iter().chain(newer).copied().collect(), width }
    }
}

/// The columns that a card's feature names stand for.
pub(super) fn columns(names: &[String]) -> Result<Box<[usize]>, String> {
    names.iter().map(|name| COLUMNS.iter().position(|c| c == name).ok_or_else(|| name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_holds_the_last_frames_oldest_first() {
        let model = Model { window_frames: 3, ..Model::of_features(&["level_dbfs", "mel_39_db"]) };
        let mut window = SpeechWindow::new(&model);
        let mut lld = Lld::silence(crate::units::MediaTime::ZERO);
        for n in 1..=5_u8 {
            lld.level_dbfs = f32::from(n);
            lld.mel_db[39] = -f32::from(n);
            window.push(&lld);
            let first = n.saturating_sub(3) + 1;
            let expected: Vec<f32> = (first..=n).flat_map(|n| [f32::from(n), -f32::from(n)]).collect();
            assert_eq!(&*window.snapshot().frames, expected.as_slice());
            assert_eq!(window.snapshot().len(), window.len());
        }
        window.clear();
        assert!(window.is_empty() && window.snapshot().is_empty());
    }
}
