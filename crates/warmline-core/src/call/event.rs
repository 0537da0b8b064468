//! What a call tells the world: one object a line, `interfaces.md`'s names.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::CallId;
use crate::{
    media::Speaker,
    packet::{ContextPacket, rounded, seconds},
    policy::Cue,
    score::Stage,
    units::{MediaTime, Pii},
};

/// Why a call's state is `suspended` once its caller wants no analysis: what was derived of them is to be forgotten.
pub const OPTED_OUT: &str = "opted out";

/// One thing that happened in one call, dated with media time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// In which call.
    pub call: CallId,
    /// When.
    pub at: MediaTime,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "each field is documented where it is built; the names are the schema's")]
pub enum What {
    /// A call began.
    CallStarted {
        source: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        caller_channel: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        intent: Option<String>,
    },
    /// A window of the caller's speech was scored. `probability` is calibrated, `raw` is not; `speech_s` is what the
    /// caller has spoken so far; `baseline` tells whether the caller's own baseline is established.
    Score {
        stage: Stage,
        #[serde(serialize_with = "four")]
        probability: f64,
        #[serde(serialize_with = "four")]
        raw: f64,
        state: &'static str,
        #[serde(serialize_with = "three")]
        speech_s: f64,
        baseline: bool,
    },
    /// A window was not scored, and why.
    ScoreFailed { stage: Stage, why: String },
    /// Evidence that the caller should have a human.
    Cue { cue: Cue, evidence: String },
    /// The call's evidence stands differently.
    State { from: &'static str, to: &'static str, why: String },
    /// Somebody's turn is over.
    Turn {
        speaker: Speaker,
        #[serde(serialize_with = "three")]
        from_s: f64,
        #[serde(serialize_with = "three")]
        to_s: f64,
        /// What differed from the caller's own calm, in plain words.
        #[serde(skip_serializing_if = "String::is_empty")]
        heard: String,
    },
    /// Somebody said something, as far as the policy lets it be kept.
    Said {
        speaker: Speaker,
        #[serde(serialize_with = "three")]
        at_s: f64,
        text: Pii<String>,
    },
    /// A transfer was asked for.
    Transfer {
        transfer: String,
        cue: Cue,
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_four")]
        probability: Option<f64>,
        packet: Box<ContextPacket>,
    },
    /// What became of a transfer.
    TransferOutcome { transfer: String, outcome: String },
    /// Audio is missing up to here.
    Gap {
        track: Speaker,
        cause: GapCause,
        #[serde(serialize_with = "three")]
        seconds: f64,
    },
    /// Audio could not be read; the call goes on.
    Problem { track: Speaker, problem: String },
    /// A call is over.
    CallEnded {
        cause: String,
        #[serde(serialize_with = "three")]
        duration_s: f64,
        #[serde(serialize_with = "three")]
        caller_speech_s: f64,
        transfers: u32,
        #[serde(serialize_with = "maybe_four")]
        peak: Option<f64>,
        seconds_in: BTreeMap<&'static str, f64>,
    },
}

impl What {
    /// Whether the caller opted out of analysis here: whatever is derived from their voice must be erased.
    pub fn is_opt_out(&self) -> bool {
        matches!(self, Self::State { why, .. } if why == OPTED_OUT)
    }
}

/// Why audio is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// It never came.
    Lost,
    /// It must not be heard.
    Paused,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            call: &'a CallId,
            t: f64,
            #[serde(flatten)]
            what: &'a What,
        }
        Line { call: &self.call, t: seconds(self.at), what: &self.what }.serialize(serializer)
    }
}

fn three<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*value, 3))
}

fn four<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*value, 4))
}

fn maybe_four<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|v| rounded(v, 4)).serialize(serializer)
}
