//! The context packet: everything the human needs to know, in three tiers that fit what carries them.
//! Absent here: names, numbers or words of the caller outside [`Pii`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::media::Speaker;
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

/// The tiers of a packet, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Id, score and reason.
    Ref,
    /// A flat map of strings.
    Brief,
    /// Everything.
    Full,
}

/// A packet as one carrier takes it: of the tier that was asked for, or of the largest one that fits. As JSON it is that tier.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fitted {
    /// [`Reference::uui`], [`REF_LEN`] hexadecimal characters.
    Ref(String),
    /// What fits of the middle tier, with `transfer_id` always in it.
    Brief(BTreeMap<String, String>),
    /// The packet; its full tier may be thinned.
    Full(Box<ContextPacket>),
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

    /// As much of the packet as `bytes_max` bytes of JSON hold, of `tier` at the most; never anything broken. The full tier is
    /// thinned first, the least important part first: the trend's oldest half again and again, then the oldest turns, the oldest
    /// keys, the weakest moments, the last of the metadata. What still does not fit becomes a brief
    /// ([`ContextPacket::brief_within`]), and at last the [`Fitted::Ref`], which is [`REF_LEN`] bytes whatever the limit.
    pub fn fit(&self, tier: Tier, bytes_max: usize) -> Fitted {
        if tier == Tier::Full
            && let Some(packet) = self.thinned(bytes_max)
        {
            return Fitted::Full(Box::new(packet));
        }
        if tier >= Tier::Brief {
            let brief = self.brief_within(bytes_max, &json_len);
            if brief.contains_key("transfer_id") {
                return Fitted::Brief(brief);
            }
        }
        Fitted::Ref(self.reference.uui.clone())
    }

    /// What of the brief fits `bytes_max` as `size` counts it, the most important key first ([`BRIEF_ORDER`], then the others by
    /// name). A value of several words is cut to what is left; any other that does not fit is left out. Empty if `transfer_id`
    /// does not fit.
    pub fn brief_within(
        &self,
        bytes_max: usize,
        size: &dyn Fn(&BTreeMap<String, String>) -> usize,
    ) -> BTreeMap<String, String> {
        let mut fitting = BTreeMap::new();
        let known = BRIEF_ORDER.iter().copied();
        let others = self.brief.keys().map(String::as_str).filter(|key| !BRIEF_ORDER.contains(key));
        for (key, value) in known.chain(others).filter_map(|key| Some((key, self.brief.get(key)?))) {
            let ends = value.char_indices().map(|(at, c)| at + c.len_utf8());
            let words = value.contains(' ');
            let ends: Vec<usize> = if words { ends.collect() } else { vec![value.len()] };
            let mut fits = |end: &usize| {
                fitting.insert(key.to_owned(), value.get(..*end).unwrap_or_default().to_owned());
                size(&fitting) <= bytes_max
            };
            let whole = fits(&value.len());
            let longest = if whole { ends.len() } else { ends.partition_point(&mut fits) };
            match longest.checked_sub(1).and_then(|n| ends.get(n)) {
                Some(&end) if whole || end >= WORDS_MIN => {
                    fitting.insert(key.to_owned(), value.get(..end).unwrap_or_default().to_owned());
                }
                Some(_) | None => {
                    fitting.remove(key);
                }
            }
            if key == "transfer_id" && !fitting.contains_key(key) {
                break;
            }
        }
        fitting
    }

    fn thinned(&self, bytes_max: usize) -> Option<Self> {
        let mut packet = self.clone();
        for thin in [thin_trend, thin_turns, thin_keys, thin_cues, thin_tried, thin_moments, thin_metadata] {
            while json_len(&packet) > bytes_max && thin(&mut packet.full) {}
        }
        (json_len(&packet) <= bytes_max).then_some(packet)
    }
}

/// The keys of a brief, the most important first: what finds the packet, why, how sure, and where; what only explains comes last.
pub const BRIEF_ORDER: [&str; 18] = [
    "transfer_id",
    "reason",
    "score",
    "call_id",
    "queue",
    "intent",
    "reason_text",
    "since_s",
    "skill",
    "priority",
    "summary",
    "last_intent",
    "at_s",
    "last_key",
    "changes",
    "caller_speech_s",
    "policy",
    "model",
];

/// The shortest rest of words worth carrying, bytes.
const WORDS_MIN: usize = 12;

fn json_len<T: Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

fn thin_trend(full: &mut Full) -> bool {
    let gone = drop_older_half(&mut full.trend.scores);
    #[allow(clippy::cast_precision_loss, reason = "a trend has at most 120 entries, one a second")]
    let seconds = gone as f64;
    full.trend.from_s = rounded(full.trend.from_s + seconds, 3);
    gone > 0
}

fn thin_turns(full: &mut Full) -> bool {
    drop_older_half(&mut full.conversation.turns) > 0
}

fn thin_keys(full: &mut Full) -> bool {
    drop_older_half(&mut full.conversation.key_presses) > 0
}

fn thin_cues(full: &mut Full) -> bool {
    drop_older_half(&mut full.cues) > 0
}

fn thin_tried(full: &mut Full) -> bool {
    drop_older_half(&mut full.conversation.tried) > 0
}

fn thin_moments(full: &mut Full) -> bool {
    full.evidence.pop().is_some()
}

fn thin_metadata(full: &mut Full) -> bool {
    full.call.metadata.pop_last().is_some()
}

fn drop_older_half<T>(entries: &mut Vec<T>) -> usize {
    entries.drain(..entries.len().div_ceil(2)).count()
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

    proptest::proptest! {
        #[test]
        fn any_packet_fits_any_limit_down_to_the_ref(
            queue in ".{0,300}",
            words in "\\PC{0,400}",
            metadata in proptest::collection::btree_map("[a-z]{1,8}", "\\PC{0,200}", 0..8),
            sizes in (0_usize..120, 0_usize..64, 0_usize..32),
            bytes_max in REF_LEN..6_000,
            tier in proptest::sample::select(vec![Tier::Ref, Tier::Brief, Tier::Full]),
        ) {
            let mut full = packet(&queue).full;
            full.trigger.words = words;
            full.call.metadata = metadata;
            full.trend = Trend { scores: vec![Some(0.25); sizes.0], ..Trend::default() };
            full.conversation.turns = vec![Turn { speaker: Speaker::Caller, from_s: 1.5, to_s: 2.25, words: None }; sizes.1];
            full.conversation.key_presses = vec![KeyPress { at_s: 3.5, key: '0' }; sizes.2];
            let packet = ContextPacket::new("018f3a4e-8a2b-8c3d-9e4f-5a6b7c8d9e0f", full);
            match packet.fit(tier, bytes_max) {
                Fitted::Ref(uui) => assert_eq!((uui.len(), uui), (REF_LEN, packet.reference.uui)),
                Fitted::Brief(brief) => {
                    assert!(tier >= Tier::Brief && json_len(&brief) <= bytes_max);
                    assert_eq!(brief["transfer_id"], packet.reference.transfer);
                    for (key, value) in &brief {
                        let whole = &packet.brief[key];
                        assert!(value == whole || whole.contains(' ') && whole.starts_with(value.as_str()), "{key}: {value}");
                    }
                }
                Fitted::Full(thin) => {
                    let json = serde_json::to_string(&thin).unwrap();
                    assert!(tier == Tier::Full && json.len() <= bytes_max);
                    let read: ContextPacket = serde_json::from_str(&json).unwrap();
                    assert_eq!((read.reference, read.brief), (packet.reference.clone(), packet.brief.clone()));
                    assert_eq!(thin.full.trigger, packet.full.trigger);
                    if json_len(&packet) <= bytes_max {
                        assert_eq!(*thin, packet);
                    }
                }
            }
        }
    }

    #[test]
    fn a_smaller_carrier_loses_the_least_important_first() {
        let packet = packet("billing");
        let keys = |bytes_max: usize| match packet.fit(Tier::Brief, bytes_max) {
            Fitted::Brief(brief) => brief.into_keys().collect::<Vec<_>>().join(" "),
            Fitted::Ref(_) => "ref".into(),
            Fitted::Full(_) => "full".into(),
        };
        assert_eq!(keys(53), "ref");
        assert_eq!(keys(60), "transfer_id");
        assert_eq!(keys(100), "reason score transfer_id");
        assert_eq!(keys(150), "call_id queue reason score since_s transfer_id");
        assert_eq!(keys(165), "call_id queue reason reason_text score transfer_id");
        assert_eq!(json_len(&packet.brief), 252);
        assert_eq!(keys(252), packet.brief.keys().cloned().collect::<Vec<_>>().join(" "));
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
