//! The caller's last frames of speech as descriptors, with the silence between them left out.

use super::Window;
use crate::prosody::{IS_LEVEL, Lld, STEPS_PER_DB};

/// The caller's last frames of speech, up to the model's window; what is older is overwritten.
#[derive(Clone, Debug)]
pub struct SpeechWindow {
    columns: Box<[usize]>,
    /// For each of `columns`, whether it is a level in decibels.
    is_level: Box<[bool]>,
    levels: Ring<i16>,
    others: Ring<f32>,
}

/// The last rows of so many values each.
#[derive(Clone, Debug)]
struct Ring<T> {
    values: Box<[T]>,
    width: usize,
    rows_max: usize,
    /// Row that is written next.
    next: usize,
    len: usize,
}

impl SpeechWindow {
    /// An empty window of up to `frames_max` frames of these columns of [`COLUMNS`](crate::prosody::COLUMNS).
    pub fn new(columns: &[usize], frames_max: usize) -> Self {
        let is_level = |column: &usize| IS_LEVEL.get(*column).copied().unwrap_or_default();
        let is_level: Box<[bool]> = columns.iter().map(is_level).collect();
        let levels = is_level.iter().filter(|is| **is).count();
        Self {
            columns: columns.into(),
            levels: Ring::new(levels, frames_max),
            others: Ring::new(columns.len() - levels, frames_max),
            is_level,
        }
    }

    /// Adds one frame of speech.
    pub fn push(&mut self, lld: &Lld) {
        let row = lld.row();
        let value = |column: &usize| row.get(*column).copied().unwrap_or_default();
        let of = |wanted: bool| {
            let columns = self.columns.iter().zip(&self.is_level).filter(move |(_, is)| **is == wanted);
            columns.map(|(column, _)| value(column))
        };
        self.levels.push(of(true).map(steps));
        self.others.push(of(false));
    }

    /// Frames of speech held.
    pub fn len(&self) -> usize {
        self.levels.len
    }

    /// Whether no speech is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything heard.
    pub fn clear(&mut self) {
        self.levels.clear();
        self.others.clear();
    }

    /// A copy, oldest frame first.
    pub fn snapshot(&self) -> Window {
        let width = self.columns.len();
        let mut frames = Vec::with_capacity(self.len() * width);
        let (mut levels, mut others) = (self.levels.iter(), self.others.iter());
        for _ in 0..self.len() {
            frames.extend(self.is_level.iter().map(|is_level| {
                let level = |steps: i16| f32::from(steps) / STEPS_PER_DB;
                let value = if *is_level { levels.next().map(level) } else { others.next() };
                value.unwrap_or_default()
            }));
        }
        Window { frames: frames.into(), width }
    }
}

impl<T: Copy + Default> Ring<T> {
    fn new(width: usize, rows_max: usize) -> Self {
        let values = vec![T::default(); rows_max * width].into_boxed_slice();
        Self { values, width, rows_max, next: 0, len: 0 }
    }

    fn push(&mut self, row: impl Iterator<Item = T>) {
        if let Some(slot) = self.values.get_mut(self.next * self.width..(self.next + 1) * self.width) {
            slot.iter_mut().zip(row).for_each(|(slot, value)| *slot = value);
        }
        self.next = (self.next + 1) % self.rows_max;
        self.len = (self.len + 1).min(self.rows_max);
    }

    fn clear(&mut self) {
        (self.next, self.len) = (0, 0);
    }

    /// Every value, oldest row first.
    fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let (newer, older) = self.values.split_at(self.next * self.width);
        let older = if self.len == self.rows_max { older } else { &[] };
        older.iter().chain(newer).copied()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a float is cut to the range of i16, and rounded before")]
fn steps(level_db: f32) -> i16 {
    (level_db * STEPS_PER_DB).round() as i16
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
        lld.mel_db[39] = -62.5321;
        window.push(&lld);
        let kept = window.snapshot().frames.last().copied().unwrap();
        assert!((kept + 62.5321).abs() <= 0.5 / STEPS_PER_DB, "{kept}");
        window.clear();
        assert!(window.is_empty() && window.snapshot().is_empty());
    }
}
