//! FreeSWITCH over a WebSocket: mod_audio_fork (drachtio, jambonz `listen`) and mod_audio_stream.
//!
//! Sources: jambonz documentation, "listen"; the READMEs and sources of `mod_audio_fork` and `mod_audio_stream`. The peer is the
//! client. The first message is a text of the integrator's own, which may be anything or absent; then come binary samples, signed
//! 16 bit, little-endian, 20 ms each, interleaved if stereo: the caller left, the callee right. Nothing on the wire says the rate
//! or the channels, so the integrator must: `sampleRate` and `mixType` in that first text (jambonz writes them), or declared
//! with the path. There is no clock: audio follows audio.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Count, Declared, Encoding, Format, Message, Metadata, Mix, Quoted, Refusal, Reply, START_DEADLINE_US,
    Session, Speaker, Start, Text, TrackFormat, bounded, id, key, rate_read,
};
use warmline_core::units::{CallTime, Pii, SampleRate};

const PROTOCOL: &str = "freeswitch";

/// WebSocket subprotocols these clients insist on: the one offered must be echoed, or they drop the connection.
pub const SUBPROTOCOLS: [&str; 2] = ["audio.jambonz.org", "audio.drachtio.org"];

/// The text message that asks the dialplan for a transfer: event `mod_audio_fork::transfer`, which the application acts on.
/// mod_audio_stream raises `mod_audio_stream::json` for it.
pub fn encode_transfer(data: &serde_json::Value) -> String {
    json!({"type": "transfer", "data": data}).to_string()
}

/// The text message that ends the stream from our side.
pub fn encode_disconnect() -> String {
    json!({"type": "disconnect"}).to_string()
}

/// One stream.
#[derive(Debug)]
pub struct Stream {
    declared: Declared,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Streaming { format: TrackFormat, position: u64 },
    Stopped,
}

impl Stream {
    /// A stream whose metadata, if any, is still to come.
    pub fn new(declared: Declared) -> Self {
        Self { declared, state: State::Opening }
    }

    fn start(
        &mut self,
        mut metadata: Metadata,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(TrackFormat, u64), Refusal> {
        let mut take = |name: &str| metadata.entries.remove(name);
        let (said_rate, said_mix) = (take("sampleRate"), take("mixType"));
        let missing = |field| Refusal::Missing {
            protocol: PROTOCOL,
            field,
            mend: "give {\"sampleRate\": 8000, \"mixType\": \"mono\"} as metadata, or rate= and mix= in the path",
        };
        let rate = match said_rate.as_deref() {
            Some(said) => match serde_json::from_str::<Count>(said) {
                Ok(Count(hz)) => rate_read(PROTOCOL, hz)?,
                Err(_) => return Err(missing("sampleRate, as a number,")),
            },
            None => self.declared.rate.ok_or_else(|| missing("sampleRate"))?,
        };
        let mix = match said_mix.as_deref() {
            Some(said) => Mix::parse(said).ok_or_else(|| Refusal::Format {
                protocol: PROTOCOL,
                what: "mixType",
                read: Quoted::new(said),
                mend: "send mono or stereo",
            })?,
            None => self.declared.mix.ok_or_else(|| missing("mixType"))?,
        };
        let (caller, agent, caller_channel) = self.layout(mix, rate)?;
        let call =
            ["callSid", "uuid", "callId", "call_id"].iter().find_map(|name| metadata.entries.get(*name));
        let call = id(PROTOCOL, call.map(|id| Text(id.clone().into())))?;
        let mut party = |name: &str| metadata.entries.remove(name).map(Pii::new);
        let (from, to) = (party("from"), party("to"));
        let problem = metadata.problem();
        let source = if metadata.entries.contains_key("callSid") { "jambonz" } else { PROTOCOL };
        told(Message::Started(Box::new(Start {
            source,
            call,
            stream: None,
            caller_channel,
            caller: Format::Samples(caller),
            agent: agent.map(Format::Samples),
            from,
            to,
            metadata: Pii::new(metadata.entries),
        })));
        problem.into_iter().for_each(told);
        self.state = State::Streaming { format: caller, position: 0 };
        Ok((caller, 0))
    }

    /// Whose channel is which, decided once.
    fn layout(
        &self,
        mix: Mix,
        rate: SampleRate,
    ) -> Result<(TrackFormat, Option<TrackFormat>, &'static str), Refusal> {
        let mono = TrackFormat::mono(Encoding::L16Le, rate);
        let left = TrackFormat { channels: 2, ..mono };
        let right = TrackFormat { channel: 1, ..left };
        match mix {
            Mix::Mono => Ok((mono, None, "mono")),
            Mix::Stereo => Ok((left, Some(right), "left")),
            Mix::Mixed if self.declared.caller_only => Ok((mono, None, "mono")),
            Mix::Mixed => Err(Refusal::Mixed {
                protocol: PROTOCOL,
                mend: "stream stereo, or mono, which is the caller alone",
            }),
        }
    }

    fn stop(&mut self, cause: &'static str, told: &mut dyn FnMut(Message<'_>)) {
        if matches!(std::mem::replace(&mut self.state, State::Stopped), State::Streaming { .. }) {
            told(Message::Stopped(cause.into()));
        }
    }
}

impl Session for Stream {
    fn handle_text(
        &mut self,
        _: CallTime,
        text: &str,
        _: &mut Vec<u8>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(text.len())?;
        match &self.state {
            State::Opening => {
                let metadata = serde_json::from_str(text).unwrap_or_else(|_| {
                    let mut metadata = Metadata::default();
                    metadata.keep("metadata", text);
                    metadata
                });
                self.start(metadata, told).map(|_| ())
            }
            State::Streaming { .. } => {
                tell_text(text, told);
                Ok(())
            }
            State::Stopped => Ok(()),
        }
    }

    fn handle_binary(
        &mut self,
        _: CallTime,
        bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(bytes.len())?;
        let (format, at) = match self.state {
            State::Opening => self.start(Metadata::default(), told)?,
            State::Streaming { format, position } => (format, position),
            State::Stopped => return Ok(()),
        };
        if bytes.is_empty() {
            self.stop("shutdown", told); // mod_audio_fork says so when FreeSWITCH ends the fork
            return Ok(());
        }
        let samples = (bytes.len() / format.bytes_per_sample()) as u64;
        self.state = State::Streaming { format, position: at + samples };
        if samples > 0 {
            told(Message::Media { track: Speaker::Caller, position: at, payload: bytes });
            if format.channels == 2 {
                told(Message::Media { track: Speaker::Agent, position: at, payload: bytes });
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: CallTime, _: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        match self.poll_timeout() {
            Some(at) if at <= now => {
                Err(Refusal::NoStart { protocol: PROTOCOL, expected: "metadata as text, or audio" })
            }
            _ => Ok(()),
        }
    }

    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        self.stop("closed", told);
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        matches!(self.state, State::Opening).then_some(CallTime(START_DEADLINE_US))
    }

    fn hand_back(&mut self, _: CallTime, variables: &BTreeMap<String, String>) -> Option<Reply> {
        Some(Reply::Text(encode_transfer(&json!(variables))))
    }

    fn poll_reply(&mut self) -> Option<Reply> {
        None
    }
}

/// A later text: a key (jambonz `passDtmf`, or a bare digit sent with `send_text`), or a mark. Anything else is the integrator's own.
fn tell_text(text: &str, told: &mut dyn FnMut(Message<'_>)) {
    #[derive(Deserialize)]
    struct Later<'a> {
        #[serde(borrow)]
        event: Option<Text<'a>>,
        #[serde(borrow, alias = "digit")]
        dtmf: Option<Text<'a>>,
        #[serde(borrow, rename = "type")]
        kind: Option<Text<'a>>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Mark<'a> {
        #[serde(borrow)]
        name: Text<'a>,
    }
    if let Some(key) = key(text) {
        return told(Message::Dtmf(key));
    }
    let Ok(later) = serde_json::from_str::<Later<'_>>(text) else { return };
    let kind: Cow<'_, str> = later.event.or(later.kind).map(|text| text.0).unwrap_or_default();
    match &*kind {
        "dtmf" => {
            if let Some(key) = later.dtmf.and_then(|digit| key(&digit.0)) {
                told(Message::Dtmf(key));
            }
        }
        "mark" => {
            if let Some(mark) = later.data.and_then(|data| serde_json::from_str::<Mark<'_>>(data.get()).ok())
            {
                told(Message::Mark(&mark.name.0));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::line;

    const JAMBONZ: &str = r#"{"callSid":"c5e1","callId":"sip-1","from":"+15550100","to":"+15550101","direction":"inbound","sampleRate":8000,"mixType":"stereo","queue":"billing"}"#;

    #[test]
    fn a_stereo_call_is_the_caller_left_and_the_callee_right() {
        let mut story = Story::new(Declared::default());
        story.text(JAMBONZ);
        story.binary(&[0; 640]);
        story.text(r#"{"event":"dtmf","dtmf":"1","duration":"1600"}"#);
        story.text(r#"{"type":"mark","data":{"name":"greeting","event":"playout"}}"#);
        story.binary(&[0; 640]);
        story.binary(&[]);
        assert_eq!(
            story.lines,
            [
                "start jambonz c5e1 - agent",
                "caller 0 +640",
                "agent 0 +640",
                "key 1",
                "mark greeting",
                "caller 160 +640",
                "agent 160 +640",
                "stopped shutdown",
            ]
        );
        let start = story.start.unwrap();
        let format =
            TrackFormat { channels: 2, channel: 0, ..TrackFormat::mono(Encoding::L16Le, SampleRate(8_000)) };
        assert_eq!(start.caller, Format::Samples(format));
        assert_eq!(start.agent, Some(Format::Samples(TrackFormat { channel: 1, ..format })));
    }

    #[test]
    fn metadata_may_be_any_text_or_absent_if_the_path_declares_the_format() {
        let declared =
            Declared { rate: Some(SampleRate(16_000)), mix: Some(Mix::Mono), ..Declared::default() };
        let mut story = Story::new(declared);
        story.text("agent-7");
        story.binary(&[0; 640]);
        assert_eq!(story.lines, ["start freeswitch - -", "caller 0 +640"]);
        let mut story = Story::new(declared);
        story.binary(&[0; 640]);
        story.text("5"); // send_text
        assert_eq!(story.lines, ["start freeswitch - -", "caller 0 +640", "key 5"]);
    }

    #[test]
    fn without_a_rate_or_a_mix_the_stream_is_refused_with_the_mend() {
        let refused = |text: &str| {
            Stream::new(Declared::default())
                .handle_text(CallTime::ZERO, text, &mut Vec::new(), &mut |_| {})
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("{}"),
            "freeswitch: sampleRate is missing: give {\"sampleRate\": 8000, \"mixType\": \"mono\"} as metadata, or rate= and mix= in the path"
        );
        assert!(refused(r#"{"sampleRate":8000}"#).contains("mixType is missing"));
        assert!(refused(r#"{"sampleRate":8000,"mixType":"quad"}"#).contains("send mono or stereo"));
    }

    #[test]
    fn a_mixed_stream_is_refused_unless_it_is_declared_caller_only() {
        let mixed = JAMBONZ.replace("stereo", "mixed");
        let refused = Stream::new(Declared::default())
            .handle_text(CallTime::ZERO, &mixed, &mut Vec::new(), &mut |_| {})
            .unwrap_err();
        assert!(matches!(refused, Refusal::Mixed { .. }), "{refused}");
        let mut story = Story::new(Declared { caller_only: true, ..Declared::default() });
        story.text(&mixed);
        story.binary(&[0; 320]);
        assert_eq!(story.lines[1..], ["caller 0 +320"]);
    }

    #[test]
    fn commands_are_json() {
        assert_eq!(encode_transfer(&json!({"ref": "t1"})), r#"{"data":{"ref":"t1"},"type":"transfer"}"#);
        assert_eq!(encode_disconnect(), r#"{"type":"disconnect"}"#);
    }

    struct Story {
        stream: Stream,
        lines: Vec<String>,
        start: Option<Start>,
    }

    impl Story {
        fn new(declared: Declared) -> Self {
            Self { stream: Stream::new(declared), lines: Vec::new(), start: None }
        }

        fn text(&mut self, text: &str) {
            let (lines, start) = (&mut self.lines, &mut self.start);
            self.stream
                .handle_text(CallTime::ZERO, text, &mut Vec::new(), &mut |message| {
                    lines.push(line(&message));
                    if let Message::Started(read) = message {
                        *start = Some(*read);
                    }
                })
                .unwrap();
        }

        fn binary(&mut self, bytes: &[u8]) {
            let lines = &mut self.lines;
            self.stream
                .handle_binary(CallTime::ZERO, bytes, &mut |message| lines.push(line(&message)))
                .unwrap();
        }
    }
}
