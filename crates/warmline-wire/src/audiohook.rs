//! Genesys Cloud AudioHook, protocol version 2: JSON as text, interleaved audio as binary messages, one session a connection.
//!
//! Sources: Genesys "AudioHook protocol reference" and its reference implementation. Genesys is the client. Both sides number
//! their messages from 1 without a hole and name the last one they processed of the other; `position` is the client's clock. A
//! client waits five seconds for `opened`, and wants each `pong` to name its `ping`, so every answer is made in the call that
//! takes the message, in order. Refusals are said in the protocol too: `disconnect`, then the client closes.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Encoding, Format, GapCause, MAX_LEAP_S, MAX_MESSAGE, Message, Metadata, Quoted, Refusal, Reply,
    START_DEADLINE_US, Session, Speaker, Start, Text, TrackFormat, bounded, id, json as read_json, key,
    rate_read,
};
use warmline_core::units::{CallTime, Pii, SampleRate};

const PROTOCOL: &str = "audiohook";

/// How long after `disconnect` or `closed` the client has to do its part; then the connection is closed.
pub const CLOSE_DEADLINE_US: u64 = 10_000_000;

/// The client's clock and the audio received may differ by this much before it is told: 500 ms.
pub const MAX_DRIFT_MS: u64 = 500;

/// Kinds of media that are looked at in an offer.
const MAX_OFFERS: usize = 16;

const NULL_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// What may be said to the client of a session that is open.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Stop sending audio; the client answers `paused`.
    Pause,
    /// Send again; the client answers `resumed`.
    Resume,
    /// Open a new session elsewhere that continues this one: we are about to go.
    Reconnect,
    /// End it. The output variables are the Audio Connector's, and are how a flow is told where to transfer.
    Disconnect {
        /// Why.
        reason: Reason,
        /// A word for the log.
        info: String,
        /// Variables of the flow, strings.
        output: Vec<(String, String)>,
    },
    /// Tell something; of an empty list nothing is sent, for the reference client dies on it.
    Event(Vec<Value>),
}

/// Why a session is ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All is done.
    Completed,
    /// The signature or the key was wrong.
    Unauthorized,
    /// Something went wrong.
    Error,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Unauthorized => "unauthorized",
            Self::Error => "error",
        }
    }
}

/// One session.
#[derive(Debug)]
pub struct Stream {
    /// Whether the upgrade's credentials were right; if not, that is said in the protocol.
    authorised: bool,
    /// The session's id: the upgrade's, or the first message's.
    id: Option<String>,
    state: State,
    /// Number of our last message.
    seq: u64,
    /// Number of the client's last message.
    clientseq: u64,
    replies: VecDeque<Reply>,
}

#[derive(Debug)]
enum State {
    /// Before `open`.
    Preparing,
    Open(Open),
    /// We said `disconnect` and wait for `close` until then.
    Disconnecting {
        until: CallTime,
    },
    /// We said `closed`; the client closes the connection.
    Closed {
        until: CallTime,
    },
    Gone,
}

/// An open session.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// `None` of a probe, and of a session without audio.
    audio: Option<Audio>,
    paused: bool,
    /// A connection probe: there is no call.
    probe: bool,
}

#[derive(Clone, Copy, Debug)]
struct Audio {
    caller: TrackFormat,
    /// Whether the agent's channel comes too.
    both: bool,
    position: u64,
    drift_told: bool,
}

impl Stream {
    /// A session whose `open` is still to come. `session` is the upgrade's `Audiohook-Session-Id`.
    pub fn new(authorised: bool, session: Option<String>) -> Self {
        Self {
            authorised,
            id: session.filter(|session| !session.is_empty()),
            state: State::Preparing,
            seq: 0,
            clientseq: 0,
            replies: VecDeque::new(),
        }
    }

    /// Whether this is Genesys trying the connection: nobody is calling.
    pub fn is_probe(&self) -> bool {
        matches!(self.state, State::Open(Open { probe: true, .. }))
    }

    /// Says something to the client, if the session is open.
    pub fn command(&mut self, now: CallTime, command: Command) {
        if !matches!(self.state, State::Open(_)) {
            return;
        }
        match command {
            Command::Pause => self.say("pause", json!({})),
            Command::Resume => self.say("resume", json!({})),
            Command::Reconnect => self.say("reconnect", json!({})),
            Command::Disconnect { reason, info, output } => self.disconnect(now, reason, &info, output),
            Command::Event(entities) if entities.is_empty() => {}
            Command::Event(entities) => self.say("event", json!({ "entities": entities })),
        }
    }

    /// Queues a message with the numbers of both sides.
    fn say(&mut self, kind: &str, parameters: Value) {
        self.seq += 1;
        let message = json!({
            "version": "2",
            "id": self.id.as_deref().unwrap_or(NULL_UUID),
            "type": kind,
            "seq": self.seq,
            "clientseq": self.clientseq,
            "parameters": parameters,
        });
        self.replies.push_back(Reply::Text(message.to_string()));
    }

    fn disconnect(&mut self, now: CallTime, reason: Reason, info: &str, output: Vec<(String, String)>) {
        let mut parameters = json!({"reason": reason.name(), "info": info});
        if let (Some(fields), false) = (parameters.as_object_mut(), output.is_empty()) {
            let output = output.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
            fields.insert("outputVariables".into(), Value::Object(output));
        }
        self.say("disconnect", parameters);
        self.state = State::Disconnecting { until: now.after_micros(CLOSE_DEADLINE_US) };
    }

    /// Ends the session for a fault of the client's, in the protocol's words.
    fn fail(&mut self, now: CallTime, fault: &Fault, told: &mut dyn FnMut(Message<'_>)) {
        let was = mem::replace(&mut self.state, State::Gone);
        match was {
            State::Preparing | State::Open(_) => {
                self.state = was;
                let call = matches!(self.state, State::Open(Open { probe: false, .. }));
                let reason = if *fault == Fault::Unauthorized { Reason::Unauthorized } else { Reason::Error };
                let info = fault.to_string();
                self.disconnect(now, reason, &info, Vec::new());
                if call {
                    told(Message::Problem(format!("{PROTOCOL}: {info}").into()));
                    told(Message::Stopped(reason.name().into()));
                }
            }
            State::Disconnecting { .. } | State::Closed { .. } | State::Gone => self.state = was,
        }
    }

    fn message(
        &mut self,
        now: CallTime,
        envelope: &Envelope<'_>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Fault> {
        if envelope.version.0 != "2" {
            return Err(Fault::Version(Quoted::new(&envelope.version.0)));
        }
        if self.id.as_deref() != Some(&envelope.id.0) {
            return Err(Fault::Id);
        }
        if envelope.seq != self.clientseq + 1 {
            return Err(Fault::Sequence { read: envelope.seq, expected: self.clientseq + 1 });
        }
        if envelope.serverseq > self.seq {
            return Err(Fault::ServerSequence { read: envelope.serverseq, sent: self.seq });
        }
        self.clientseq = envelope.seq;
        let parameters = envelope.parameters.map_or("{}", RawValue::get);
        match (&*envelope.kind.0, &mut self.state) {
            ("close", State::Preparing | State::Open(_) | State::Disconnecting { .. }) => {
                let close: Close<'_> = fields(parameters)?;
                self.say("closed", json!({}));
                let reason = match close.reason.as_ref().map(|reason| &*reason.0) {
                    Some("reconnect") => "reconnect",
                    Some("error") => "error",
                    Some("disconnect") => "disconnect",
                    _ => "end",
                };
                let was = mem::replace(
                    &mut self.state,
                    State::Closed { until: now.after_micros(CLOSE_DEADLINE_US) },
                );
                if matches!(was, State::Open(Open { probe: false, .. })) {
                    told(Message::Stopped(reason.into()));
                }
                Ok(())
            }
            (_, State::Closed { .. } | State::Disconnecting { .. } | State::Gone) => Ok(()),
            ("open", State::Preparing) => {
                let position = envelope.position.as_ref().and_then(|position| nanoseconds(&position.0));
                self.open(fields(parameters)?, position.unwrap_or(0), told)
            }
            ("open", State::Open(_)) => Ok(()),
            ("ping", State::Open(open)) => {
                check_drift(open, envelope.position.as_ref(), told);
                self.say("pong", json!({}));
                Ok(())
            }
            (kind, State::Preparing) => Err(Fault::Early(Quoted::new(kind))),
            ("update", State::Open(_)) => {
                self.say("updated", json!({}));
                Ok(())
            }
            ("paused", State::Open(open)) => {
                if !mem::replace(&mut open.paused, true) {
                    told(Message::Paused);
                }
                Ok(())
            }
            ("resumed", State::Open(open)) => {
                let resumed: Discarded<'_> = fields(parameters)?;
                if mem::replace(&mut open.paused, false) {
                    skip(&mut open.audio, &resumed, GapCause::Paused, told)?;
                    told(Message::Resumed);
                }
                Ok(())
            }
            ("discarded", State::Open(open)) => {
                let discarded: Discarded<'_> = fields(parameters)?;
                skip(&mut open.audio, &discarded, GapCause::Discarded, told)
            }
            ("dtmf", State::Open(_)) => {
                let dtmf: Dtmf<'_> = fields(parameters)?;
                if let Some(key) = key(&dtmf.digit.0) {
                    told(Message::Dtmf(key));
                }
                Ok(())
            }
            ("error", State::Open(_)) => {
                let error: ClientError = fields(parameters)?;
                let code = error.code;
                told(Message::Problem(format!("{PROTOCOL}: the client reports error {code}").into()));
                Ok(())
            }
            (_, State::Open(_)) => Ok(()),
        }
    }

    fn open(
        &mut self,
        open: OpenRequest<'_>,
        position_ns: u64,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Fault> {
        if !self.authorised {
            return Err(Fault::Unauthorized);
        }
        let null = |text: &Text<'_>| text.0 == NULL_UUID;
        let probe = null(&open.conversation_id) && open.participant.id.as_ref().is_none_or(null);
        let chosen =
            open.media.iter().take(MAX_OFFERS).filter_map(Offer::read).max_by_key(|choice| choice.worth);
        if chosen.is_none() && !open.media.is_empty() && !probe {
            return Err(Fault::Media);
        }
        let opened = match &chosen {
            Some(choice) => json!({ "media": [choice.offer.echo()] }),
            None => json!({ "media": [] }),
        };
        self.say("opened", opened);
        let audio = chosen.map(|Choice { caller, both, .. }| Audio {
            caller,
            both,
            position: samples(position_ns, caller.rate),
            drift_told: false,
        });
        self.state = State::Open(Open { audio, paused: false, probe });
        if probe {
            return Ok(());
        }
        let mut metadata = Metadata::default();
        let named = [
            ("organizationId", open.organization_id.as_ref()),
            ("participantId", open.participant.id.as_ref()),
            ("language", open.language.as_ref()),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                metadata.keep(name, &value.0);
            }
        }
        if let Some(custom) = open.custom_config {
            metadata.extend(custom);
        }
        let problem = metadata.problem();
        let party =
            |text: Option<Text<'_>>| id(PROTOCOL, text).map(|id| id.map(Pii::new)).map_err(|_| Fault::Long);
        let silent = TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000));
        let caller = audio.map_or(silent, |audio| audio.caller);
        let agent = audio.filter(|audio| audio.both).map(|audio| other_channel(audio.caller));
        told(Message::Started(Box::new(Start {
            source: PROTOCOL,
            call: id(PROTOCOL, Some(open.conversation_id)).map_err(|_| Fault::Long)?,
            stream: self.id.clone(),
            caller_channel: "external",
            caller: Format::Samples(caller),
            agent: agent.map(Format::Samples),
            from: party(open.participant.ani)?,
            to: party(open.participant.dnis)?,
            metadata: Pii::new(metadata.entries),
        })));
        problem.into_iter().for_each(told);
        Ok(())
    }
}

impl Session for Stream {
    fn handle_text(
        &mut self,
        now: CallTime,
        text: &str,
        _: &mut Vec<u8>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        let envelope = match read_json::<Envelope<'_>>(PROTOCOL, text) {
            Ok(envelope) => envelope,
            Err(refusal) if self.id.is_none() => return Err(refusal),
            Err(refusal) => {
                self.fail(now, &Fault::Message(refusal.to_string()), told);
                return Ok(());
            }
        };
        if self.id.is_none() {
            self.id = id(PROTOCOL, Some(envelope.id.clone()))?;
        }
        if let Err(fault) = self.message(now, &envelope, told) {
            self.fail(now, &fault, told);
        }
        Ok(())
    }

    fn handle_binary(
        &mut self,
        now: CallTime,
        bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(bytes.len())?;
        match &mut self.state {
            State::Open(Open { audio: Some(audio), paused: false, .. }) => {
                let position = audio.position;
                let samples = (bytes.len() / audio.caller.bytes_per_sample()) as u64;
                audio.position += samples;
                if samples > 0 {
                    told(Message::Media { track: Speaker::Caller, position, payload: bytes });
                    if audio.both {
                        told(Message::Media { track: Speaker::Agent, position, payload: bytes });
                    }
                }
            }
            State::Preparing | State::Open(_) => self.fail(now, &Fault::Binary, told),
            State::Disconnecting { .. } | State::Closed { .. } | State::Gone => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: CallTime, _: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        if matches!(self.state, State::Preparing) {
            return Err(Refusal::NoStart { protocol: PROTOCOL, expected: "\"open\"" });
        }
        self.state = State::Gone;
        self.replies.push_back(Reply::Close);
        Ok(())
    }

    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        if matches!(mem::replace(&mut self.state, State::Gone), State::Open(Open { probe: false, .. })) {
            told(Message::Stopped("closed".into()));
        }
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        match self.state {
            State::Preparing => Some(CallTime(START_DEADLINE_US)),
            State::Disconnecting { until } | State::Closed { until } => Some(until),
            State::Open(_) | State::Gone => None,
        }
    }

    /// Ends the session with output variables, which an Audio Connector's flow reads; a monitor's session only ends.
    fn hand_back(&mut self, now: CallTime, variables: &BTreeMap<String, String>) -> Option<Reply> {
        let output = variables.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        self.command(now, Command::Disconnect { reason: Reason::Completed, info: "transfer".into(), output });
        None
    }

    fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }
}

/// What a client did wrong; its text goes back as `info`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("the signature or the API key is not right")]
    Unauthorized,
    #[error("{0}")]
    Message(String),
    #[error("version {0}: expected \"2\"")]
    Version(Quoted),
    #[error("the id differs from the session's: expected the one of Audiohook-Session-Id")]
    Id,
    #[error("seq {read}: expected {expected}")]
    Sequence { read: u64, expected: u64 },
    #[error("serverseq {read}: {sent} were sent")]
    ServerSequence { read: u64, sent: u64 },
    #[error("{0} came before open")]
    Early(Quoted),
    #[error("no media that is read was offered: expected PCMU or L16 with the channel \"external\"")]
    Media,
    #[error("a duration is not of the form PT1.5S, or out of all time")]
    Duration,
    #[error("binary message while no audio is expected")]
    Binary,
    #[error("an id of more than 256 bytes")]
    Long,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    version: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    seq: u64,
    #[serde(default)]
    serverseq: u64,
    #[serde(borrow)]
    position: Option<Text<'a>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OpenRequest<'a> {
    #[serde(borrow, rename = "organizationId")]
    organization_id: Option<Text<'a>>,
    #[serde(borrow, rename = "conversationId")]
    conversation_id: Text<'a>,
    #[serde(borrow)]
    participant: Participant<'a>,
    #[serde(borrow, default)]
    media: Vec<Offer<'a>>,
    #[serde(borrow)]
    language: Option<Text<'a>>,
    #[serde(rename = "customConfig")]
    custom_config: Option<Metadata>,
}

#[derive(Deserialize)]
struct Participant<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    ani: Option<Text<'a>>,
    #[serde(borrow)]
    dnis: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Offer<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    format: Text<'a>,
    channels: Vec<String>,
    rate: u64,
}

/// An offer that can be taken.
struct Choice<'a> {
    worth: u8,
    caller: TrackFormat,
    /// Whether the agent's channel comes too.
    both: bool,
    offer: &'a Offer<'a>,
}

impl Offer<'_> {
    /// What taking it would mean; nothing without the caller. PCMU goes before L16,
    /// whose byte order nobody states (the reference reads it as little-endian), and both sides before one.
    fn read(&self) -> Option<Choice<'_>> {
        let encoding = match &*self.format.0 {
            "PCMU" => Encoding::Pcmu,
            "L16" => Encoding::L16Le,
            _ => return None,
        };
        let place = |name: &str| self.channels.iter().position(|channel| channel == name);
        let channels = u16::try_from(self.channels.len()).ok().filter(|channels| *channels <= 2)?;
        let rate = rate_read(PROTOCOL, self.rate).ok()?;
        let external = u16::try_from(place("external")?).ok()?;
        let caller = TrackFormat { channels, channel: external, ..TrackFormat::mono(encoding, rate) };
        let both = place("internal").is_some();
        let worth = 2 * u8::from(encoding == Encoding::Pcmu) + u8::from(both);
        (self.kind.0 == "audio").then_some(Choice { worth, caller, both, offer: self })
    }

    fn echo(&self) -> Value {
        json!({"type": "audio", "format": self.format.0, "channels": self.channels, "rate": self.rate})
    }
}

/// The other one of two channels.
fn other_channel(format: TrackFormat) -> TrackFormat {
    TrackFormat { channel: 1 - format.channel.min(1), ..format }
}

#[derive(Deserialize)]
struct Close<'a> {
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Discarded<'a> {
    #[serde(borrow)]
    start: Text<'a>,
    #[serde(borrow)]
    discarded: Text<'a>,
}

#[derive(Deserialize)]
struct Dtmf<'a> {
    #[serde(borrow)]
    digit: Text<'a>,
}

#[derive(Deserialize)]
struct ClientError {
    #[serde(default)]
    code: u32,
}

fn fields<'a, T: Deserialize<'a>>(parameters: &'a str) -> Result<T, Fault> {
    read_json(PROTOCOL, parameters).map_err(|refusal| Fault::Message(refusal.to_string()))
}

/// Moves the clock over audio that does not come, and tells the gap.
fn skip(
    audio: &mut Option<Audio>,
    skipped: &Discarded<'_>,
    cause: GapCause,
    told: &mut dyn FnMut(Message<'_>),
) -> Result<(), Fault> {
    let start = nanoseconds(&skipped.start.0).ok_or(Fault::Duration)?;
    let span = nanoseconds(&skipped.discarded.0).ok_or(Fault::Duration)?;
    let Some(audio) = audio else { return Ok(()) };
    let rate = audio.caller.rate;
    let (from, to) = (audio.position, samples(start.saturating_add(span), rate));
    if to > from + MAX_LEAP_S * u64::from(rate.0) {
        return Err(Fault::Duration);
    }
    if to > from {
        audio.position = to;
        told(Message::Gap { track: Speaker::Caller, cause, from, to });
        if audio.both {
            told(Message::Gap { track: Speaker::Agent, cause, from, to });
        }
    }
    Ok(())
}

/// Tells once if the client's clock and the audio received have come apart.
fn check_drift(open: &mut Open, position: Option<&Text<'_>>, told: &mut dyn FnMut(Message<'_>)) {
    let said = position.and_then(|position| nanoseconds(&position.0));
    let (Some(audio), Some(said)) = (&mut open.audio, said) else { return };
    let rate = audio.caller.rate;
    let apart = samples(said, rate).abs_diff(audio.position) * 1_000 / u64::from(rate.0);
    if apart > MAX_DRIFT_MS && !open.paused && !mem::replace(&mut audio.drift_told, true) {
        told(Message::Problem(
            format!("{PROTOCOL}: the client's position is {apart} ms off the audio received").into(),
        ));
    }
}

/// `PT1.5S` → nanoseconds; digits beyond the ninth are dropped.
fn nanoseconds(duration: &str) -> Option<u64> {
    let number = duration.strip_prefix("PT")?.strip_suffix('S')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nano = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
    whole.checked_mul(1_000_000_000)?.checked_add(nano)
}

/// Nanoseconds → samples, to the nearest.
fn samples(nanoseconds: u64, rate: SampleRate) -> u64 {
    let samples = (u128::from(nanoseconds) * u128::from(rate.0) + 500_000_000) / 1_000_000_000;
    u64::try_from(samples).unwrap_or(u64::MAX)
}

// Genesys refuses text beyond 65,535 bytes itself: no message of its client is refused for its length alone.
const _: () = assert!(MAX_MESSAGE > 65_535);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::line;

    #[test]
    fn a_call_is_told_from_open_to_close() {
        let mut story = Story::open();
        story.binary(3_200);
        story.client("dtmf", json!({"digit": "0"}));
        story.binary(3_200);
        assert_eq!(story.client("close", json!({"reason": "end"})), ["closed 3"]);
        assert_eq!(
            story.lines,
            [
                "start audiohook 090eaa2f-72fa-480a-83e0-8667ff89c0ec e160e428-53e2-487c-977d-96989bf5c99d agent",
                "caller 0 +3200",
                "agent 0 +3200",
                "key 0",
                "caller 1600 +3200",
                "agent 1600 +3200",
                "stopped end",
            ]
        );
        story.stream.handle_closed(&mut |message| panic!("{message:?} after the end"));
    }

    #[test]
    fn opened_is_said_at_once_and_not_after_five_seconds() {
        let mut story = Story::new(true);
        assert_eq!(story.client("open", open_request()), ["opened 1"]);
        let opened = &story.said[0]["parameters"]["media"];
        assert_eq!(
            *opened,
            json!([{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}])
        );
    }

    #[test]
    fn every_pong_names_its_ping_in_order() {
        let mut story = Story::open();
        assert_eq!(story.client("ping", json!({})), ["pong 2"]);
        assert_eq!(story.client("ping", json!({"rtt": "PT0.05S"})), ["pong 3"]);
        assert_eq!(story.client("update", json!({"language": "es-ES"})), ["updated 4"]);
        assert_eq!(story.client("ping", json!({})), ["pong 5"]);
        let seqs: Vec<_> = story.said.iter().map(|said| said["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_connection_probe_is_answered_and_is_no_call() {
        let mut story = Story::new(true);
        let mut probe = open_request();
        probe["conversationId"] = json!(NULL_UUID);
        probe["participant"] = json!({"id": NULL_UUID, "ani": "", "aniName": "", "dnis": ""});
        probe["media"] = json!([]);
        assert_eq!(story.client("open", probe), ["opened 1"]);
        assert!(story.stream.is_probe());
        assert_eq!(story.client("ping", json!({})), ["pong 2"]);
        assert_eq!(story.client("close", json!({"reason": "end"})), ["closed 3"]);
        assert!(story.lines.is_empty(), "{:?}", story.lines);
    }

    #[test]
    fn discarded_audio_moves_the_clock_and_is_a_gap() {
        let mut story = Story::open();
        story.binary(3_200);
        story.client("discarded", json!({"start": "PT0.2S", "discarded": "PT1.5S"}));
        story.binary(3_200);
        assert_eq!(
            story.lines[3..],
            [
                "caller discarded 1600..13600",
                "agent discarded 1600..13600",
                "caller 13600 +3200",
                "agent 13600 +3200"
            ]
        );
    }

    #[test]
    fn a_pause_is_a_gap_nobody_may_hear() {
        let mut story = Story::open();
        story.binary(3_200);
        story.client("paused", json!({}));
        story.client("resumed", json!({"start": "PT.2S", "discarded": "PT10S"}));
        story.binary(3_200);
        assert_eq!(
            story.lines[3..],
            [
                "paused",
                "caller paused 1600..81600",
                "agent paused 1600..81600",
                "resumed",
                "caller 81600 +3200",
                "agent 81600 +3200",
            ]
        );
    }

    #[test]
    fn audio_during_a_pause_ends_the_session() {
        let mut story = Story::open();
        story.client("paused", json!({}));
        story.binary(3_200);
        assert_eq!(story.replies(), ["disconnect 2"]);
        assert_eq!(story.lines.last().unwrap(), "stopped error");
        assert_eq!(story.client("close", json!({"reason": "disconnect"})), ["closed 3"]);
    }

    #[test]
    fn a_reconnected_session_goes_on_where_the_old_one_was() {
        let mut story = Story::new(true);
        let mut open = open_request();
        open["continuedSessions"] = json!([{"id": "x", "serverseq": 4, "clientseq": 7}]);
        story.position = "PT60.5S".into();
        story.client("open", open);
        story.binary(3_200);
        assert_eq!(story.lines[1], "caller 484000 +3200");
        story.stream.command(CallTime::ZERO, Command::Reconnect);
        assert_eq!(story.replies(), ["reconnect 1"]);
        story.client("close", json!({"reason": "reconnect"}));
        assert_eq!(story.lines.last().unwrap(), "stopped reconnect");
    }

    #[test]
    fn wrong_credentials_are_refused_in_the_protocol() {
        let mut story = Story::new(false);
        assert_eq!(story.client("open", open_request()), ["disconnect 1"]);
        assert_eq!(story.said[0]["parameters"]["reason"], "unauthorized");
        assert_eq!(story.client("close", json!({"reason": "disconnect"})), ["closed 2"]);
        assert!(story.client("ping", json!({})).is_empty(), "after closed nothing is said");
        assert!(story.lines.is_empty());
    }

    #[test]
    fn a_hole_in_the_numbers_ends_the_session() {
        let mut story = Story::open();
        story.seq += 1;
        assert_eq!(story.client("ping", json!({})), ["disconnect 1"]);
        assert_eq!(story.said[1]["parameters"], json!({"reason": "error", "info": "seq 3: expected 2"}));
        let mut story = Story::open();
        story.serverseq = Some(9);
        assert_eq!(story.client("ping", json!({})), ["disconnect 1"]);
    }

    #[test]
    fn close_is_legal_before_open_and_a_second_open_is_ignored() {
        let mut story = Story::new(true);
        assert_eq!(story.client("close", json!({"reason": "end"})), ["closed 1"]);
        assert!(story.lines.is_empty());
        let mut story = Story::open();
        assert!(story.client("open", open_request()).is_empty());
    }

    #[test]
    fn who_does_not_close_is_closed_after_ten_seconds() {
        let mut story = Story::open();
        story.client("close", json!({"reason": "end"}));
        let until = story.stream.poll_timeout().unwrap();
        assert_eq!(until, CallTime(CLOSE_DEADLINE_US));
        story.stream.handle_timeout(until, &mut |_| {}).unwrap();
        assert_eq!(story.stream.poll_reply(), Some(Reply::Close));
        assert_eq!(story.stream.poll_timeout(), None);
    }

    #[test]
    fn the_offer_taken_is_pcmu_with_both_sides() {
        let offer = |format: &str, channels: &[&str]| json!({"type": "audio", "format": format, "channels": channels, "rate": 8000});
        let mut story = Story::new(true);
        let mut open = open_request();
        open["media"] = json!([
            offer("L16", &["external", "internal"]),
            offer("PCMU", &["external"]),
            offer("PCMU", &["internal", "external"]),
            offer("PCMU", &["internal"]),
        ]);
        story.client("open", open.clone());
        assert_eq!(story.said[0]["parameters"]["media"], json!([offer("PCMU", &["internal", "external"])]));
        let mut story = Story::new(true);
        open["media"] = json!([offer("PCMU", &["internal"])]);
        assert_eq!(story.client("open", open), ["disconnect 1"]);
    }

    #[test]
    fn the_callers_channel_is_external_wherever_it_stands() {
        let mut story = Story::new(true);
        let mut open = open_request();
        open["media"][0]["channels"] = json!(["internal", "external"]);
        story.client("open", open);
        let start = story.start.unwrap();
        let caller =
            TrackFormat { channels: 2, channel: 1, ..TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000)) };
        assert_eq!(start.caller, Format::Samples(caller));
        assert_eq!(start.agent, Some(Format::Samples(TrackFormat { channel: 0, ..caller })));
        assert!(!format!("{start:?}").contains("555"));
    }

    #[test]
    fn an_empty_event_is_never_sent() {
        let mut story = Story::open();
        story.stream.command(CallTime::ZERO, Command::Event(Vec::new()));
        assert!(story.replies().is_empty());
        story.stream.command(CallTime::ZERO, Command::Event(vec![json!({"type": "vendor-x", "data": {}})]));
        assert_eq!(story.replies(), ["event 1"]);
    }

    #[test]
    fn a_transfer_is_told_in_the_flows_own_variables() {
        let mut story = Story::open();
        let output = vec![("warmline_ref".into(), "t1".into())];
        story.stream.command(
            CallTime::ZERO,
            Command::Disconnect { reason: Reason::Completed, info: "transfer".into(), output },
        );
        story.replies();
        assert_eq!(
            story.said[1]["parameters"],
            json!({"reason": "completed", "info": "transfer", "outputVariables": {"warmline_ref": "t1"}})
        );
    }

    #[test]
    fn durations_are_read_as_the_reference_reads_them() {
        let check = |text: &str, expected| assert_eq!(nanoseconds(text), expected, "{text}");
        check("PT0S", Some(0));
        check("PT1.5S", Some(1_500_000_000));
        check("PT.25S", Some(250_000_000));
        check("PT3.S", Some(3_000_000_000));
        check("PT0.0001250009S", Some(125_000));
        for wrong in ["PTS", "PT1", "1S", "PT1e3S", "PT-1S", "PT99999999999999999999S", ""] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_leap_out_of_all_time_ends_the_session() {
        let mut story = Story::open();
        story.client("discarded", json!({"start": "PT0S", "discarded": "PT999999S"}));
        assert_eq!(story.lines.last().unwrap(), "stopped error");
    }

    #[test]
    fn a_clock_that_drifts_from_the_audio_is_told_once() {
        let mut story = Story::open();
        story.position = "PT2S".into();
        story.client("ping", json!({}));
        story.client("ping", json!({}));
        assert_eq!(
            story.lines[1..],
            ["problem audiohook: the client's position is 2000 ms off the audio received"]
        );
    }

    fn open_request() -> Value {
        json!({
            "organizationId": "d7934305-0972-4844-938e-9060eef73d05",
            "conversationId": "090eaa2f-72fa-480a-83e0-8667ff89c0ec",
            "participant": {"id": "883efee8-3d6c-4537-b500-6d7ca4b92fa0", "ani": "+15550100", "aniName": "Mary", "dnis": "+15550101"},
            "media": [{"type": "audio", "format": "PCMU", "channels": ["external", "internal"], "rate": 8000}],
            "language": "en-US",
            "customConfig": {"queue": "billing"},
        })
    }

    struct Story {
        stream: Stream,
        seq: u64,
        serverseq: Option<u64>,
        position: String,
        lines: Vec<String>,
        said: Vec<Value>,
        start: Option<Start>,
    }

    impl Story {
        const ID: &str = "e160e428-53e2-487c-977d-96989bf5c99d";

        fn new(authorised: bool) -> Self {
            Self {
                stream: Stream::new(authorised, Some(Self::ID.into())),
                seq: 0,
                serverseq: None,
                position: "PT0S".into(),
                lines: Vec::new(),
                said: Vec::new(),
                start: None,
            }
        }

        fn open() -> Self {
            let mut story = Self::new(true);
            story.client("open", open_request());
            story
        }

        /// Sends a message and gives what came back: its type and which of the client's it names.
        fn client(&mut self, kind: &str, parameters: Value) -> Vec<String> {
            self.seq += 1;
            let serverseq = self.serverseq.unwrap_or(self.said.len() as u64);
            let text = json!({
                "version": "2", "id": Self::ID, "type": kind, "seq": self.seq,
                "serverseq": serverseq, "position": self.position, "parameters": parameters,
            });
            let (lines, start) = (&mut self.lines, &mut self.start);
            self.stream
                .handle_text(CallTime::ZERO, &text.to_string(), &mut Vec::new(), &mut |message| {
                    lines.push(line(&message));
                    if let Message::Started(read) = message {
                        *start = Some(*read);
                    }
                })
                .unwrap();
            self.replies()
        }

        fn replies(&mut self) -> Vec<String> {
            let mut replies = Vec::new();
            while let Some(Reply::Text(text)) = self.stream.poll_reply() {
                let said: Value = serde_json::from_str(&text).unwrap();
                assert!(said["parameters"].is_object() && said["version"] == "2" && said["id"] == Self::ID);
                replies.push(format!("{} {}", said["type"].as_str().unwrap(), said["clientseq"]));
                self.said.push(said);
            }
            replies
        }

        fn binary(&mut self, len: usize) {
            let lines = &mut self.lines;
            self.stream
                .handle_binary(CallTime::ZERO, &vec![0xFF; len], &mut |message| lines.push(line(&message)))
                .unwrap();
        }
    }
}
