//! The entries that a transfer leaves in the audit.

use serde_json::{Value, json};

use crate::ledger::{Entry, Record};
use warmline_core::{packet::ContextPacket, transfer::UnixMillis};

/// Who acts when no human does.
pub(super) const PROGRAM: &str = "warmline";

/// An entry about a transfer.
pub(super) fn entry(record: &Record, at: UnixMillis, what: &'static str, who: &str, detail: Value) -> Entry {
    Entry {
        at,
        what,
        who: who.into(),
        call: Some(record.call.clone()),
        transfer: Some(record.life.id().into()),
        detail,
    }
}

/// The decision: what was permitted, what decided, by which rule, model and policy.
pub(super) fn decided(record: &Record, packet: &ContextPacket, at: UnixMillis) -> Entry {
    let full = &packet.full;
    let detail = json!({
        "action": "transfer", "cue": record.cue, "t": record.t, "probability": record.probability,
        "threshold": full.trigger.threshold, "notice": full.consent, "policy": full.provenance.policy,
        "model": full.provenance.model, "software": full.provenance.software, "queue": record.queue, "intent": record.intent,
    });
    entry(record, at, "decided", PROGRAM, detail)
}
