//! The caller's last frames of speech as descriptors, with the silence between them left out.

use super::Window;
use crate::prosody::Lld;

/// The caller's last frames of speech, up to the model's window; what is older is overwritten.
#[derive(Clone, Debug)]
pub struct SpeechWindow {
    columns: Box<[usize]>,
    ring: Box<[f32]>,
    frames_max: usize,
    /// Frame that is written next.
    next: usize,
    len: usize,
}

impl SpeechWindow {
    /// An empty window of up to `frames_max` frames of these columns of [`COLUMNS`](crate::prosody::COLUMNS).
    pub fn new(columns: &[usize], frames_max: usize) -> Self {
        let ring = vec![0.0; frames_max * columns.len()].into_boxed_slice();
        Self { columns: columns.into(), ring, frames_max, next: 0, len: 0 }
    }

    /// Adds one frame of speech.
    pub fn push(&mut self, lld: &Lld) {
        let row = lld.row();
        let width = self.columns.len();
        if let Some(slot) = self.ring.get_mut(self.next * width..(self.next + 1) * width) {
            for (value, &column) in slot.iter_mut().zip(&self.columns) {
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
        let width = self.columns.len();
        let (newer, older) = self.ring.split_at(self.next * width);
        let older = if self.len == self.frames_max { older } else { &[] };
        Window { frames: older.iter().chain(newer).copied().collect(), width }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prosody::COLUMNS;

    #[test]
    fn the_window_holds_the_last_frames_oldest_first() {
        let column = |name| COLUMNS.iter().position(|c| *c == name).unwrap();
        let mut window = SpeechWindow::new(&[column("level_dbfs"), column("mel_39_db")], 3);
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
