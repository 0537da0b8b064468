//! One step of one transfer: an input goes into its [`Life`]; changes for the ledger and outputs to perform come out.

use std::{collections::VecDeque, sync::Arc};

use serde_json::json;
use tokio::time::Instant;

use super::{
    audit::{PROGRAM, decided, entry},
    handle::Reply,
};
use crate::ledger::{Change, Entry, Record};
use warmline_core::{
    packet::ContextPacket,
    transfer::{Attempt, Input, Life, Output, State, UnixMillis, Went},
};

/// A transfer that the actor holds in memory.
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) packet: Arc<ContextPacket>,
    /// The steps that the ledger has not confirmed, in order.
    pub(super) steps: VecDeque<Step>,
    /// The ledger has been given the transfer.
    pub(super) is_kept: bool,
    /// A human was reserved, who is free again if the transfer is unsuccessful.
    pub(super) has_human: bool,
    pub(super) call_is_over: bool,
    pub(super) timeout: Option<UnixMillis>,
    /// When the call decided, until the first attempt.
    pub(super) decided: Option<Instant>,
}

/// What happens when the ledger confirms a step.
#[derive(Default)]
pub(super) struct Step {
    pub(super) outputs: Vec<Output>,
    pub(super) reply: Option<Reply>,
}

/// What a step changed.
pub(super) struct Advance {
    /// What the ledger writes; nothing if the transfer stands as before.
    pub(super) changes: Vec<Change>,
    /// What to perform once the changes are written.
    pub(super) outputs: Vec<Output>,
    /// Connector and outcome of each attempt that finished.
    pub(super) finished: Vec<(String, &'static str)>,
    /// A reserved human is free again.
    pub(super) frees_human: bool,
}

impl Held {
    /// A transfer that was just decided.
    pub(super) fn new(record: Record, packet: Arc<ContextPacket>) -> Self {
        Self {
            record,
            packet,
            steps: VecDeque::new(),
            is_kept: false,
            has_human: false,
            call_is_over: false,
            timeout: None,
            decided: None,
        }
    }

    /// A transfer from the ledger; `None` if its packet cannot be read.
    pub(super) fn restored(record: Record, packet: &str) -> Option<Self> {
        let packet: ContextPacket = serde_json::from_str(packet).ok()?;
        Some(Self { is_kept: true, call_is_over: true, ..Self::new(record, packet.into()) })
    }

    /// Whether nothing is left to do: the transfer is over, or was accepted and its call ended.
    pub(super) fn is_done(&self) -> bool {
        let state = self.record.life.state();
        (state.is_over() || (state == State::Accepted && self.call_is_over)) && self.steps.is_empty()
    }

    /// Takes one step. `entries` are audit entries about its cause, and `is_awaited` says that somebody awaits the ledger's confirmation.
    pub(super) fn advance(
        &mut self,
        now: UnixMillis,
        input: Option<Input>,
        mut entries: Vec<Entry>,
        is_awaited: bool,
    ) -> Advance {
        let before = self.record.life.clone();
        if let Some(input) = input {
            self.record.life.handle_input(now, input);
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| self.record.life.poll_output()).collect();
        let (state, was) = (self.record.life.state(), before.state());
        if state != was {
            if state == State::Connected {
                self.record.connected_at = Some(now);
            }
            if state.is_over() {
                self.record.ended_at = Some(now);
            }
        }
        let frees_human = state.is_over() && state != State::Connected && std::mem::take(&mut self.has_human);
        let is_changed = self.record.life != before || !entries.is_empty() || !outputs.is_empty();
        if !is_changed && !is_awaited && self.is_kept {
            return Advance { changes: Vec::new(), outputs, finished: Vec::new(), frees_human };
        }
        let mut changes = Vec::new();
        let record = Box::new(self.record.clone());
        if std::mem::replace(&mut self.is_kept, true) {
            changes.push(Change::Stands(record));
        } else {
            let packet = serde_json::to_string(&*self.packet).unwrap_or_default();
            changes.push(Change::Decided { record, packet });
            entries.insert(0, decided(&self.record, &self.packet, now));
        }
        let mut finished = Vec::new();
        for attempt in changed(&before, &self.record.life) {
            let connector = self.record.life.plan().routes.get(attempt.route).cloned().unwrap_or_default();
            let detail = json!({
                "n": attempt.n, "connector": connector, "outcome": attempt.outcome, "detail": attempt.detail,
            });
            entries.push(entry(&self.record, now, "attempt", PROGRAM, detail));
            if attempt.outcome != Went::UnderWay {
                finished.push((connector, attempt.outcome.name()));
            }
        }
        if state != was {
            let detail = json!({ "from": was, "to": state, "reason": self.record.life.reason() });
            entries.push(entry(&self.record, now, "state", PROGRAM, detail));
        }
        changes.extend(entries.into_iter().map(Change::Audit));
        Advance { changes, outputs, finished, frees_human }
    }
}

/// The attempts that are new, or have another outcome than before.
fn changed<'a>(before: &Life, after: &'a Life) -> impl Iterator<Item = &'a Attempt> {
    let was = |n: u32| before.attempts().iter().find(|a| a.n == n).map(|a| a.outcome);
    after.attempts().iter().filter(move |a| was(a.n) != Some(a.outcome))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connectors::Answer;
    use warmline_core::{
        packet::{Advice, CallContext, Consent, Conversation, Full, Provenance, Trend, Trigger},
        policy::{Cue, Notice},
        transfer::{Failure, Plan},
    };

    /// A transfer decided at 0 with the routes `first`.
    pub(in crate::outbox) fn record(id: &str) -> Record {
        let plan =
            Plan { routes: vec!["first".into()], deadline_ms: 30_000, ring_ms: 20_000, wait_ms: 60_000 };
        Record {
            call: "c-1".into(),
            source: "wav".into(),
            queue: None,
            intent: None,
            cue: Cue::Frustration,
            probability: None,
            why: "sounds frustrated".into(),
            t: 41.5,
            created_at: UnixMillis(0),
            life: Life::new(id, plan, UnixMillis(0)),
            claimed_by: None,
            claimed_at: None,
            connected_at: None,
            ended_at: None,
            verdict: None,
        }
    }

    fn held() -> Held {
        let full = Full {
            call: CallContext {
                id: "c-1".into(),
                source: "wav".into(),
                queue: None,
                intent: None,
                metadata: Default::default(),
            },
            trigger: Trigger {
                cue: Cue::Frustration,
                at_s: 41.5,
                probability: None,
                threshold: None,
                combined: None,
                since_s: None,
                words: "sounds frustrated".into(),
            },
            evidence: Vec::new(),
            cues: Vec::new(),
            trend: Trend::default(),
            conversation: Conversation::default(),
            advice: Advice::default(),
            consent: Consent { given: Notice::Notice, required: Notice::Notice },
            provenance: Provenance::default(),
        };
        Held::new(record("t-1"), Arc::new(ContextPacket::new("t-1", full)))
    }

    /// What the changes are, in a word each.
    fn names(advance: &Advance) -> Vec<&str> {
        advance
            .changes
            .iter()
            .map(|change| match change {
                Change::Decided { .. } => "decided",
                Change::Stands(_) => "stands",
                Change::Audit(entry) => entry.what,
                Change::CallOver(_) | Change::Missed(_) => "other",
            })
            .collect()
    }

    #[test]
    fn the_first_step_keeps_the_decision_and_later_ones_update_it() {
        let mut held = held();
        let first = held.advance(UnixMillis(1), Some(Input::Admit), Vec::new(), false);
        assert_eq!(names(&first), ["decided", "decided", "attempt", "state"]);
        assert_eq!(first.outputs, [Output::Became(State::Offered), Output::Offer { attempt: 1, route: 0 }]);
        assert!(first.finished.is_empty(), "an attempt that begins has not finished");
        let next =
            held.advance(UnixMillis(2), Some(Input::Answered(1, Ok(Answer::Ringing))), Vec::new(), false);
        assert_eq!(names(&next), ["stands", "attempt", "state"]);
        assert_eq!(next.finished, [("first".to_owned(), "ringing")]);
    }

    #[test]
    fn a_step_that_changes_nothing_writes_nothing_unless_somebody_awaits_it() {
        let mut held = held();
        held.advance(UnixMillis(1), Some(Input::Admit), Vec::new(), false);
        assert!(held.advance(UnixMillis(2), Some(Input::Admit), Vec::new(), false).changes.is_empty());
        assert_eq!(names(&held.advance(UnixMillis(2), None, Vec::new(), true)), ["stands"]);
    }

    #[test]
    fn a_human_is_free_again_once_if_the_transfer_is_unsuccessful() {
        let check = |answer: Result<Answer, Failure>, expected: bool| {
            let mut held = held();
            held.has_human = true;
            held.advance(UnixMillis(1), Some(Input::Admit), Vec::new(), false);
            let end = held.advance(UnixMillis(2), Some(Input::Answered(1, answer)), Vec::new(), false);
            assert_eq!(end.frees_human, expected);
            assert_eq!(held.record.ended_at, Some(UnixMillis(2)));
            assert!(!held.advance(UnixMillis(3), Some(Input::Timeout), Vec::new(), false).frees_human);
        };
        check(Ok(Answer::Declined("busy".into())), true);
        check(Err(Failure::Never("400".into())), true);
        check(Ok(Answer::Connected), false);
    }

    #[test]
    fn an_accepted_transfer_is_done_when_its_call_is_over_and_the_ledger_has_it() {
        let mut held = held();
        held.advance(UnixMillis(1), Some(Input::Admit), Vec::new(), false);
        held.advance(UnixMillis(2), Some(Input::Answered(1, Ok(Answer::Accepted))), Vec::new(), false);
        assert!(!held.is_done());
        held.call_is_over = true;
        held.steps.push_back(Step::default());
        assert!(!held.is_done());
        held.steps.clear();
        assert!(held.is_done());
    }
}
