//! Scores and cues → decisions, by a versioned TOML file and one state machine. Absent here: media, models, sockets.

mod escalation;
mod rules;
pub mod settings;

pub use escalation::{
    Decision, EVIDENCE_LIFETIME, Escalation, Observation, Outcome, PauseOwner, State, Suspension,
};
pub use rules::{
    Advice, BUILT_IN, Cues, Instant, NoticeRule, Policy, PolicyError, Priority, Redact, Rules, Words,
};

use serde::{Deserialize, Serialize};

/// What made a decision: one kind of evidence that a caller should have a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cue {
    /// The voice sounds frustrated, sustained.
    Frustration,
    /// The caller asked for a person: a key press, a phrase, the integrator's API.
    ExplicitRequest,
    /// The caller said something that tells of a call going wrong.
    NegativePhrase,
    /// The caller repeats themselves, or the bot asked the same again.
    Repetition,
    /// The bot reported no match, no input or low confidence.
    NoProgress,
    /// The caller talks over the bot.
    BargeIn,
    /// The caller has waited long.
    LongWait,
    /// A supervisor decided.
    Manual,
}

impl Cue {
    /// The name used in events, packets and policies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frustration => "frustration",
            Self::ExplicitRequest => "explicit_request",
            Self::NegativePhrase => "negative_phrase",
            Self::Repetition => "repetition",
            Self::NoProgress => "no_progress",
            Self::BargeIn => "barge_in",
            Self::LongWait => "long_wait",
            Self::Manual => "manual",
        }
    }

    /// One byte for the smallest tier of the context packet; never renumbered.
    pub fn code(self) -> u8 {
        match self {
            Self::Frustration => 1,
            Self::ExplicitRequest => 2,
            Self::NegativePhrase => 3,
            Self::Repetition => 4,
            Self::NoProgress => 5,
            Self::BargeIn => 6,
            Self::LongWait => 7,
            Self::Manual => 8,
        }
    }
}

/// What the caller has been told, or has agreed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// Nothing yet.
    #[default]
    None,
    /// The caller was told that their voice is analysed.
    Notice,
    /// The caller agreed.
    Consent,
}
