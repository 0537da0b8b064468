//! The events of a transfer, as subscribers receive them.

use serde::Serialize;
use serde_json::Value;

use crate::ledger::{Record, Verdict};
use warmline_core::transfer::State;

/// Receives the events of transfers, one JSON object at a time; it must not block.
pub type Emit = Box<dyn Fn(&Value) + Send + Sync>;

/// What changed in a transfer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub(super) enum TransferEvent<'a> {
    /// The transfer changed its state.
    #[serde(rename = "transfer_outcome")]
    Outcome {
        /// The new state.
        outcome: State,
        /// Number of the last attempt, from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
        /// Connector of the last attempt; null if it is no longer in the plan.
        #[serde(skip_serializing_if = "Option::is_none")]
        connector: Option<Option<&'a str>>,
        /// Why the transfer ended, where the state's name does not say it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// A human claimed the transfer.
    #[serde(rename = "transfer_claimed")]
    Claimed {
        /// Who.
        by: &'a str,
    },
    /// A human judged the transfer.
    #[serde(rename = "transfer_verdict")]
    Verdict {
        /// The judgement.
        verdict: Verdict,
        /// Who.
        by: &'a str,
    },
}

/// An event with the transfer it belongs to.
#[derive(Serialize)]
struct Line<'a> {
    call: &'a str,
    t: f64,
    transfer: &'a str,
    #[serde(flatten)]
    event: TransferEvent<'a>,
}

impl<'a> TransferEvent<'a> {
    /// The event for the state that the transfer has now.
    pub(super) fn outcome(record: &'a Record, outcome: State) -> Self {
        let life = &record.life;
        let last = life.attempts().last();
        Self::Outcome {
            outcome,
            attempt: last.map(|last| last.n),
            connector: last.map(|last| life.plan().routes.get(last.route).map(String::as_str)),
            reason: life.reason(),
        }
    }

    /// The event as subscribers receive it.
    pub(super) fn json(self, record: &Record) -> Value {
        let line = Line { call: &record.call, t: record.t, transfer: record.life.id(), event: self };
        serde_json::to_value(line).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::step::tests::record, *};
    use warmline_core::transfer::{Answer, Input, UnixMillis};

    #[test]
    fn an_event_names_its_call_its_transfer_and_its_date() {
        let record = record("t-1");
        let claimed = TransferEvent::Claimed { by: "ada" }.json(&record);
        let base = json!({ "call": "c-1", "t": 41.5, "transfer": "t-1" });
        let with = |more: Value| {
            let mut all = base.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(claimed, with(json!({ "type": "transfer_claimed", "by": "ada" })));
        let verdict = TransferEvent::Verdict { verdict: Verdict::TooLate, by: "ada" }.json(&record);
        assert_eq!(verdict, with(json!({ "type": "transfer_verdict", "verdict": "too_late", "by": "ada" })));
        let waiting = TransferEvent::outcome(&record, State::Waiting).json(&record);
        assert_eq!(waiting, with(json!({ "type": "transfer_outcome", "outcome": "waiting" })));
    }

    #[test]
    fn an_outcome_names_the_last_attempt_its_connector_and_the_reason() {
        let mut record = record("t-1");
        record.life.handle_input(UnixMillis(1), Input::Admit);
        record.life.handle_input(UnixMillis(2), Input::Answered(1, Ok(Answer::Declined("busy".into()))));
        let declined = TransferEvent::outcome(&record, record.life.state()).json(&record);
        assert_eq!(
            declined,
            json!({
                "type": "transfer_outcome", "outcome": "declined", "attempt": 1, "connector": "first", "reason": "busy",
                "call": "c-1", "t": 41.5, "transfer": "t-1",
            })
        );
    }
}
