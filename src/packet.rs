//! The context packet: everything the human needs to know, in three tiers that fit what carries them.
//! Absent here: names, numbers or words of the caller outside [`Pii`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    policy::{Cue, Notice, Priority, Redact},
    prosody::Deviation,
    units::{MediaTime, Pii, Probability},
    words::redacted,
};

/// The name and version of the packet's format; `schemas/context-packet-1.schema.json` describes it.
pub const SCHEMA: &str = "warmline.context-packet/1";

/// The longest value of a `brief`, bytes: the tightest of the receivers that take a string map cuts there.
pub const BRIEF_VALUE_MAX: usize = 256;

/// Hexadecimal characters of the `ref`: 16 bytes of id, a byte of score, a byte of reason. RFC 7433's User-to-User takes 256.
pub const REF_LEN: usize = 36;

/// A context packet (both words): `ref` fits a SIP header, `brief` a flat string map, `full` is the whole story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextPacket {
    /// [`SCHEMA`].
    pub schema: String,
    /// The smallest tier.
    #[serde(rename = "ref")]
    pub reference: Reference,
    /// The middle tier: ASCII keys and values, none longer than [`BRIEF_VALUE_MAX`].
    pub brief: BTreeMap<String, String>,
    /// The whole story.
    pub full: Full,
}

/// The smallest tier: enough to fetch the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The transfer's id, a UUID.
    pub transfer: String,
    /// Probability in 255ths; 0 where no score decided.
    pub score: u8,
    /// The cue's code ([`Cue::code`]).
    pub reason: u8,
    /// The three together as hexadecimal, for a User-to-User header (RFC 7433): [`REF_LEN`] characters.
    pub uui: String,
}

/// The whole story.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Full {
    /// Which call.
    pub call: CallContext,
    /// What made the decision.
    pub trigger: Trigger,
    /// The moments that speak for it, strongest first.
    pub evidence: Vec<Moment>,
    /// What else speaks for it, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cues: Vec<CueHeard>,
    /// How the score went.
    pub trend: Trend,
    /// Who spoke when, and what was said.
    pub conversation: Conversation,
    /// What the human may do.
    pub advice: Advice,
    /// What the caller had been told.
    pub consent: Consent,
    /// What made this packet.
    pub provenance: Provenance,
}

/// Which call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallContext {
    /// The call's id.
    pub id: String,
    /// Where its audio came from: `wav`, a protocol, a device.
    pub source: String,
    /// The queue the integrator named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The intent the integrator named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// What the integrator gave along.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub metadata: BTreeMap<String, String>,
}

/// What made the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The cue.
    pub cue: Cue,
    /// When, seconds of media time.
    pub at_s: f64,
    /// Calibrated probability then, if the voice was scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<Probability>,
    /// The policy's `enter`, for the acoustic cue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Probability>,
    /// What voice and cues amounted to together, where there had been cues.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub combined: Option<Probability>,
    /// Since when the score had been rising, seconds of media time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_s: Option<f64>,
    /// The same in a sentence: what was heard, not what someone is.
    pub words: String,
}

/// A stretch that speaks for the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Where it begins, seconds of media time.
    pub from_s: f64,
    /// Where it ends.
    pub to_s: f64,
    /// The highest calibrated probability in it.
    pub probability: Probability,
    /// What differed most from the caller's own calm speech, at most three.
    pub changes: Vec<Change>,
}

/// One difference from the caller's own calm speech.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Of what.
    pub descriptor: String,
    /// By how much.
    pub change: f64,
    /// In which unit.
    pub unit: String,
    /// The same in spreads of the caller's calm speech.
    pub spreads: f64,
    /// In plain words.
    pub words: String,
}

/// One cue beyond the voice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CueHeard {
    /// Which.
    pub cue: Cue,
    /// When, seconds of media time.
    pub at_s: f64,
    /// What was said or done.
    pub words: Pii<String>,
}

/// How the score went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Seconds of media time of the first entry of `scores`.
    pub from_s: f64,
    /// Calibrated probability, one a second, oldest first; null where nothing was scored.
    pub scores: Vec<Option<f64>>,
    /// The highest probability of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
    /// Change of probability per second over the last scored ten seconds, by least squares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slope_per_s: Option<f64>,
}

/// Who spoke when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The last turns, oldest first.
    pub turns: Vec<Turn>,
    /// Keys the caller pressed.
    pub key_presses: Vec<KeyPress>,
    /// How much the caller has spoken, seconds.
    pub caller_speech_s: f64,
    /// What the bot took the caller to want last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_intent: Option<String>,
    /// What was tried and failed, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tried: Vec<Tried>,
    /// What it is all about, where words are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub summary: Option<Summary>,
    /// The language of the words, as far as it shows (ISO 639-1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub language: Option<String>,
}

/// Something the other side tried that led nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// When, seconds of media time.
    pub at_s: f64,
    /// What was said or asked.
    pub what: Pii<String>,
    /// What became of it, in words.
    pub failed: String,
}

/// A call in a few of its own sentences: extracted, not written anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// All of it in one line.
    pub words: Pii<String>,
    /// The caller's problem, in their own words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Pii<String>>,
    /// What the caller said when it was worst.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_peak: Option<Pii<String>>,
}

/// What the human may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// How urgent it is.
    pub priority: Priority,
    /// The skill or queue that should take the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub skill: Option<String>,
    /// How to open.
    pub opening: Pii<String>,
    /// What the caller has given already.
    pub do_not_ask: Vec<String>,
}

/// One turn of one speaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Who.
    pub speaker: Speaker,
    /// From, seconds of media time.
    pub from_s: f64,
    /// To.
    pub to_s: f64,
    /// What was said, as far as the integrator told and the policy lets it be kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub words: Option<Pii<String>>,
}

/// Who speaks. Of the agent nothing is known but when, and the words the integrator told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person whose patience is watched.
    Caller,
    /// The person or machine they talk to.
    Agent,
}

/// A key the caller pressed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyPress {
    /// When, seconds of media time.
    pub at_s: f64,
    /// Which.
    pub key: char,
}

/// What the caller had been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// What had been given.
    pub given: Notice,
    /// What the policy asks for.
    pub required: Notice,
}

/// What made this packet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// `warmline` and its version.
    pub software: String,
    /// The policy's version and SHA-256.
    pub policy: Named,
    /// The deciding model's name and SHA-256, if the voice is scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Named>,
    /// The set of descriptors.
    pub feature_set: String,
}

/// A thing and the hash of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// What it calls itself.
    pub name: String,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
}

impl ContextPacket {
    /// The three tiers of one story.
    pub fn new(transfer: &str, full: Full) -> Self {
        let reference = Reference::new(transfer, full.trigger.cue, full.trigger.probability);
        Self { schema: SCHEMA.into(), brief: brief(&reference, &full), reference, full }
    }
}

impl Reference {
    fn new(transfer: &str, cue: Cue, probability: Option<Probability>) -> Self {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a probability times 255 fits a byte"
        )]
        let score = probability.map_or(0, |p| (p.get() * 255.0).round() as u8);
        let id: String = transfer.chars().filter(char::is_ascii_hexdigit).collect();
        Self {
            transfer: transfer.into(),
            score,
            reason: cue.code(),
            uui: format!("{id}{score:02x}{:02x}", cue.code()),
        }
    }
}

impl From<&Deviation> for Change {
    fn from(deviation: &Deviation) -> Self {
        Self {
            descriptor: deviation.descriptor.name().into(),
            change: rounded(f64::from(deviation.change), 2),
            unit: deviation.descriptor.unit().into(),
            spreads: rounded(f64::from(deviation.spreads), 2),
            words: deviation.words(),
        }
    }
}

/// Seconds of media time as they stand in events and packets: three decimals.
pub fn seconds(at: MediaTime) -> f64 {
    rounded(at.seconds(), 3)
}

/// `value` to so many decimals: what is below says nothing, and would differ from machine to machine.
pub fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

fn brief(reference: &Reference, full: &Full) -> BTreeMap<String, String> {
    let deciding = full.evidence.iter().find(|m| m.to_s >= full.trigger.at_s).or(full.evidence.first());
    let changes = deciding.map(|m| m.changes.iter().map(|c| c.words.as_str()).collect::<Vec<_>>().join(", "));
    let pairs = [
        ("transfer_id", Some(reference.transfer.clone())),
        ("call_id", Some(full.call.id.clone())),
        ("queue", full.call.queue.clone()),
        ("intent", full.call.intent.clone()),
        ("reason", Some(full.trigger.cue.name().into())),
        ("reason_text", Some(full.trigger.words.clone())),
        ("score", full.trigger.probability.map(|p| format!("{:.2}", p.get()))),
        ("at_s", Some(format!("{:.1}", full.trigger.at_s))),
        ("since_s", full.trigger.since_s.map(|s| format!("{s:.1}"))),
        ("changes", changes.filter(|c| !c.is_empty())),
        ("summary", full.conversation.summary.as_ref().map(|s| redacted(s.words.expose(), Redact::ALL))),
        ("last_intent", full.conversation.last_intent.clone()),
        ("priority", Some(full.advice.priority.name().into())),
        ("skill", full.advice.skill.clone()),
        ("last_key", full.conversation.key_presses.last().map(|k| k.key.to_string())),
        ("caller_speech_s", Some(format!("{:.1}", full.conversation.caller_speech_s))),
        ("policy", Some(full.provenance.policy.name.clone())),
        ("model", full.provenance.model.as_ref().map(|m| m.name.clone())),
    ];
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), header_safe(&value?)))).collect()
}

/// Printable ASCII of at most [`BRIEF_VALUE_MAX`] bytes: anything else could end a header or be cut by a receiver.
fn header_safe(value: &str) -> String {
    value
        .chars()
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .take(BRIEF_VALUE_MAX)
        .collect()
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;

    fn packet(queue: &str) -> ContextPacket {
        let trigger = Trigger {
            cue: Cue::Frustration,
            at_s: 41.5,
            probability: Probability::new(0.81).ok(),
            threshold: Probability::new(0.7).ok(),
            combined: None,
            since_s: Some(38.0),
            words: "sounds frustrated (0.81)".into(),
        };
        let full = Full {
            call: CallContext { id: "c".into(), queue: Some(queue.into()), ..CallContext::default() },
            trigger,
            evidence: Vec::new(),
            cues: Vec::new(),
            trend: Trend::default(),
            conversation: Conversation::default(),
            advice: Advice::default(),
            consent: Consent { given: Notice::Notice, required: Notice::Notice },
            provenance: Provenance::default(),
        };
        ContextPacket::new("018f3a4e-8a2b-8c3d-9e4f-5a6b7c8d9e0f", full)
    }

    #[test]
    fn the_reference_fits_a_user_to_user_header() {
        let reference = packet("billing").reference;
        assert_eq!((reference.score, reference.reason), (207, 1));
        assert_eq!(reference.uui, "018f3a4e8a2b8c3d9e4f5a6b7c8d9e0fcf01");
        assert_eq!(reference.uui.len(), REF_LEN);
    }

    #[test]
    fn nothing_in_the_brief_can_end_a_header_or_outgrow_it() {
        let brief = packet(&format!("bill\r\nX-Evil: 1\u{1F4A3}{}", "a".repeat(9_999))).brief;
        for (key, value) in &brief {
            assert!(
                value.len() <= BRIEF_VALUE_MAX && value.bytes().all(|b| (0x20..0x7f).contains(&b)),
                "{key}: {value}"
            );
        }
        assert!(brief["queue"].starts_with("bill??X-Evil: 1?aaa"));
    }
}
