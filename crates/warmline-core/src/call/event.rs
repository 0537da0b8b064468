//! The events of a call and of its transfers. Serialized, each is one JSON object of `schemas/event-1.schema.json`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::CallId;
use crate::{
    media::{GapCause, Speaker},
    packet::{ContextPacket, rounded, seconds},
    policy::Cue,
    score::Stage,
    transfer::Verdict,
    units::{MediaTime, Pii},
};

/// The `why` of a suspension after the caller opted out. Whoever keeps data derived from the caller's voice deletes it.
pub const OPTED_OUT: &str = "opted out";

/// One event of one call, dated with media time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The call.
    pub call: CallId,
    /// The moment, in media time.
    pub at: MediaTime,
    /// What happened.
    pub what: EventKind,
}

/// What happened. Times and spans are media time in seconds; probabilities lie in 0..=1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// A call began.
    CallStarted {
        /// Where the audio comes from: `wav`, or the name of a protocol or device.
        source: String,
        /// The name of the file, in replay.
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// Which channel carries the caller: `left`, `right`, `mono`, or the protocol's own term.
        caller_channel: String,
        /// The queue that the integrator named.
        #[serde(skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// The intent that the integrator named.
        #[serde(skip_serializing_if = "Option::is_none")]
        intent: Option<String>,
    },
    /// A model scored a window of the caller's speech.
    Score {
        /// The model that scored it.
        stage: Stage,
        /// Calibrated probability that the caller sounds frustrated.
        #[serde(serialize_with = "four")]
        probability: f64,
        /// The same before calibration.
        #[serde(serialize_with = "four")]
        raw: f64,
        /// State of the call after this score.
        state: &'static str,
        /// Caller speech so far, seconds.
        #[serde(serialize_with = "three")]
        speech_s: f64,
        /// Whether the caller's own baseline is established.
        baseline: bool,
    },
    /// A window has no score. No decision rests on it.
    ScoreFailed {
        /// The model that was asked.
        stage: Stage,
        /// The reason, as text.
        why: String,
    },
    /// Evidence that the caller should have a human.
    Cue {
        /// The kind of evidence.
        cue: Cue,
        /// The evidence as text.
        evidence: String,
    },
    /// The state of the call changed.
    State {
        /// The state before.
        from: &'static str,
        /// The state after.
        to: &'static str,
        /// The reason, as text.
        why: String,
    },
    /// A speaker's turn ended.
    Turn {
        /// The speaker.
        speaker: Speaker,
        /// Start of the turn, seconds.
        #[serde(serialize_with = "three")]
        from_s: f64,
        /// End of the turn, seconds.
        #[serde(serialize_with = "three")]
        to_s: f64,
        /// Deviations from the caller's calm baseline, as text; empty if there are none.
        #[serde(skip_serializing_if = "String::is_empty")]
        heard: String,
    },
    /// A speaker said something.
    Said {
        /// The speaker.
        speaker: Speaker,
        /// When the words were said, seconds. The event itself is dated with the moment of the decision.
        #[serde(serialize_with = "three")]
        at_s: f64,
        /// The words, redacted as the policy demands.
        text: Pii<String>,
    },
    /// The call asked for a transfer.
    Transfer {
        /// The transfer's id, a UUID.
        transfer: String,
        /// The cue that decided.
        cue: Cue,
        /// Calibrated probability at that moment; `None` if nothing was scored.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_four")]
        probability: Option<f64>,
        /// The context packet for the human.
        packet: Box<ContextPacket>,
    },
    /// The state of a transfer changed.
    TransferOutcome {
        /// The transfer's id, a UUID.
        transfer: String,
        /// The new state by name. A call alone knows `connected` and `came_to_nothing`; the outbox knows the states of
        /// [`crate::transfer::State`].
        outcome: String,
        /// Number of the latest attempt, from 1; `None` before the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        /// The connector of that attempt, by its name in the configuration.
        #[serde(skip_serializing_if = "Option::is_none")]
        connector: Option<String>,
        /// Why it ended so, where the state alone does not say it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A human claimed a transfer.
    TransferClaimed {
        /// The transfer's id, a UUID.
        transfer: String,
        /// The name that was given, or the role.
        by: String,
    },
    /// A human judged a transfer.
    TransferVerdict {
        /// The transfer's id, a UUID.
        transfer: String,
        /// The verdict.
        verdict: Verdict,
        /// The name that was given, or the role.
        by: String,
    },
    /// Audio is missing. The event is dated with the end of the gap.
    Gap {
        /// The track that has the gap.
        track: Speaker,
        /// The cause.
        cause: GapCause,
        /// Length of the gap, seconds.
        #[serde(serialize_with = "three")]
        seconds: f64,
    },
    /// Audio could not be read. The call continues.
    Problem {
        /// The track with the unreadable audio.
        track: Speaker,
        /// The problem, as text.
        problem: String,
    },
    /// The call ended. No event of the call follows.
    CallEnded {
        /// The reason: `end_of_recording`, `truncated`, `read_error`, or the protocol's own term.
        cause: String,
        /// Length of the call, seconds.
        #[serde(serialize_with = "three")]
        duration_s: f64,
        /// Caller speech that was analysed, seconds.
        #[serde(serialize_with = "three")]
        caller_speech_s: f64,
        /// Number of transfers that the call asked for.
        transfers: u32,
        /// Highest calibrated probability; `None` if nothing was scored.
        #[serde(serialize_with = "maybe_four")]
        peak: Option<f64>,
        /// Seconds spent in each state.
        seconds_in: BTreeMap<&'static str, f64>,
    },
}

impl EventKind {
    /// Whether the caller opted out of analysis here: whatever is derived from their voice must be erased.
    pub fn is_opt_out(&self) -> bool {
        matches!(self, Self::State { why, .. } if why == OPTED_OUT)
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            call: &'a CallId,
            t: f64,
            #[serde(flatten)]
            what: &'a EventKind,
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
