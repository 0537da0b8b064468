//! What a call keeps of the caller's speech for a model, and what the model is sent of it.

use super::{CardError, Model, SpeechAudio, SpeechWindow};
use crate::{
    media::{Caller, Frame},
    prosody::{
        COLUMNS, FEATURE_SET, LOG_MEL_BANDS, LOG_MEL_SET, Lld, log_mel, log_mel_columns, log_mel_frames,
    },
};

/// What a frame of a model's input holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Features {
    /// Columns of [`COLUMNS`], in the order of the model's input.
    Descriptors(Box<[usize]>),
    /// The bands of [`log_mel`], in order.
    LogMel,
}

/// What is sent to a model: frames of `width` features, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Features, frame by frame, in the card's order.
    pub frames: Box<[f32]>,
    /// Features in a frame.
    pub width: usize,
}

/// The caller's last speech, in the form that one model asks for.
#[derive(Clone, Debug)]
pub enum SpeechMemory {
    /// As descriptors.
    Descriptors(SpeechWindow),
    /// As audio.
    Audio(SpeechAudio),
}

/// A copy of a [`SpeechMemory`], of which a window can be made when it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// The window itself.
    Window(Window),
    /// µ-law samples at 8 kHz.
    Audio(Box<[u8]>),
}

impl Features {
    /// What a card's names stand for.
    pub(super) fn named(set: &str, names: &[String]) -> Result<Self, CardError> {
        let refuse = |field, found, expected| Err(CardError::Mismatch { field, found, expected });
        match set {
            FEATURE_SET => {
                let place = |name| COLUMNS.iter().position(|c| c == name).ok_or(name);
                match names.iter().map(place).collect() {
                    Ok(columns) => Ok(Self::Descriptors(columns)),
                    Err(name) => refuse(
                        "features",
                        format!("…{name}…"),
                        format!("names of the feature set {FEATURE_SET}; `warmline features` prints them"),
                    ),
                }
            }
            LOG_MEL_SET if names == log_mel_columns() => Ok(Self::LogMel),
            LOG_MEL_SET => {
                let expected = format!("log_mel_00 to log_mel_{:02}, in order", LOG_MEL_BANDS - 1);
                refuse("features", names.join(", "), expected)
            }
            other => refuse("feature_set", other.into(), format!("{FEATURE_SET} or {LOG_MEL_SET}")),
        }
    }
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

impl SpeechMemory {
    /// An empty memory of the model's length.
    pub fn new(model: &Model) -> Self {
        match &model.features {
            Features::Descriptors(columns) => {
                Self::Descriptors(SpeechWindow::new(columns, model.window_frames))
            }
            Features::LogMel => Self::Audio(SpeechAudio::new(model.window_frames)),
        }
    }

    /// Takes a frame as it is heard.
    pub fn hear(&mut self, frame: &Frame<'_, Caller>) {
        if let Self::Audio(audio) = self {
            audio.hear(frame);
        }
    }

    /// Takes what was said of the oldest frame heard; it is kept if it is speech and `keep` is set.
    pub fn settle(&mut self, lld: &Lld, keep: bool) {
        match self {
            Self::Descriptors(window) if keep && lld.speech => window.push(lld),
            Self::Descriptors(_) => {}
            Self::Audio(audio) => {
                audio.settle(keep && lld.speech);
            }
        }
    }

    /// Frames that a window would have.
    pub fn frames(&self) -> usize {
        match self {
            Self::Descriptors(window) => window.len(),
            Self::Audio(audio) => log_mel_frames(audio.len()),
        }
    }

    /// Forgets the speech that is held.
    pub fn clear(&mut self) {
        match self {
            Self::Descriptors(window) => window.clear(),
            Self::Audio(audio) => audio.clear(),
        }
    }

    /// Forgets the frames of which nothing has been said yet.
    pub fn forget_waiting(&mut self) {
        if let Self::Audio(audio) = self {
            audio.forget_waiting();
        }
    }

    /// A copy.
    pub fn evidence(&self) -> Evidence {
        match self {
            Self::Descriptors(window) => Evidence::Window(window.snapshot()),
            Self::Audio(audio) => Evidence::Audio(audio.snapshot()),
        }
    }
}

impl Evidence {
    /// What the model is sent.
    pub fn into_window(self) -> Window {
        match self {
            Self::Window(window) => window,
            Self::Audio(speech) => Window { frames: log_mel(&speech).into(), width: LOG_MEL_BANDS },
        }
    }
}
