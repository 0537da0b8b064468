//! Descriptors → frustration scores: the model's contract and card, and (feature `onnx`) the sessions that run it.
//! The only room that knows ONNX Runtime.
//!
//! The contract `warmline.score/1` is stateless: the window is the state. The call keeps the caller's last frames of
//! speech and sends them whole, so a lost or late answer cannot poison the next, and any score can be made again from
//! what `warmline features` writes.

mod audio;
mod calibration;
mod card;
mod memory;

mod window;

pub use audio::{Hop, SpeechAudio};
pub use calibration::{Calibration, CallerCalibration, CallerScores};
pub use card::{CONTRACT, Card, CardError, Model};
pub use memory::{Evidence, Features, SpeechMemory, Window};

use serde::{Deserialize, Serialize};
pub use window::SpeechWindow;

use crate::units::MediaTime;

/// Which of the two models scores: the one that runs on every call, or the one that runs on suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Runs on every call, all the time.
    Watch,
    /// Runs while `watch` is suspicious.
    Confirm,
}

/// The models that a call asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages {
    /// Asked at every hop in which the caller spoke.
    pub first: Model,
    /// Asked about the same speech when the first is suspicious, and while this caller's opening is learnt; then its word
    /// stands, and without it nothing does.
    pub confirm: Option<Model>,
}

impl Stages {
    /// One model, asked always.
    pub fn one(model: Model) -> Self {
        Self { first: model, confirm: None }
    }

    /// The model of a stage.
    pub fn of(&self, stage: Stage) -> Option<&Model> {
        std::iter::once(&self.first).chain(&self.confirm).find(|model| model.stage == stage)
    }
}

/// A window to be scored.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRequest {
    /// Which model is asked.
    pub stage: Stage,
    /// The end of the window: it names the request, and the answer is dated with it.
    pub at: MediaTime,
    /// What is scored.
    pub window: Window,
}

/// What a model says of a window, before calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Log-odds that the voice sounds frustrated.
    pub frustration: f32,
    /// Log-odds that the window is a person speaking, where the model has that head.
    pub speech: Option<f32>,
}

/// Why a window has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// The answer did not come within [`crate::call::SCORE_DEADLINE_US`].
    #[error("the score came too late")]
    Late,
    /// The model's output was NaN or infinite.
    #[error("the model answered with a number that is not finite")]
    NotFinite,
    /// ONNX Runtime failed.
    #[error("ONNX Runtime could not run the model")]
    Failed,
}
