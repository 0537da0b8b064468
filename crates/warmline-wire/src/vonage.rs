//! Vonage Voice WebSockets: one text message that says the format, then binary linear samples, little-endian.
//!
//! Source: Vonage Voice API, "WebSockets". The peer is the client. There is no clock on the wire: audio follows audio. What the
//! call carries along stands in the first message as custom headers.

use serde::Deserialize;

use super::{
    Count, Declared, Encoding, Format, Message, Metadata, Quoted, Refusal, Reply, START_DEADLINE_US, Session,
    Speaker, Start, Text, bounded, id, json, key, rate_read,
};
use warmline_core::units::{CallTime, Pii};

const PROTOCOL: &str = "vonage";

/// The text message that makes Vonage forget what it has not played yet.
pub const CLEAR: &str = r#"{"action":"clear"}"#;

/// One stream; its audio is the other party's, and that must be the caller: connect the WebSocket to the caller's leg alone.
#[derive(Debug)]
pub struct Stream {
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Streaming { position: u64 },
    Stopped,
}

impl Stream {
    /// A stream whose first message is still to come.
    pub fn new(_: Declared) -> Self {
        Self { state: State::Opening }
    }

    fn start(&mut self, text: &str, told: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        let mut headers: Metadata = json(PROTOCOL, text)?;
        headers.entries.remove("event");
        let content_type = headers.entries.remove("content-type").ok_or(Refusal::Missing {
            protocol: PROTOCOL,
            field: "content-type",
            mend: "set \"content-type\": \"audio/l16;rate=16000\" in the NCCO's websocket endpoint",
        })?;
        let format = read_content_type(&content_type)?;
        let ids = ["uuid", "call_uuid", "conversation_uuid", "callId", "call_id"];
        let call = ids.iter().find_map(|name| headers.entries.get(*name)).cloned();
        let call = id(PROTOCOL, call.map(|id| Text(id.into())))?;
        let mut taken = |name: &str| headers.entries.remove(name).map(Pii::new);
        let (from, to) = (taken("from"), taken("to"));
        let problem = headers.problem();
        told(Message::Started(Box::new(Start {
            source: PROTOCOL,
            call,
            stream: None,
            caller_channel: "mono",
            caller: format,
            agent: None,
            from,
            to,
            metadata: Pii::new(headers.entries),
        })));
        problem.into_iter().for_each(told);
        self.state = State::Streaming { position: 0 };
        Ok(())
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
        let event: Event<'_> = json(PROTOCOL, text)?;
        match (&*event.event.0, &self.state) {
            ("websocket:connected", State::Opening) => self.start(text, told),
            ("websocket:dtmf", State::Streaming { .. }) => {
                if let Some(key) = event.digit.and_then(|digit| key(&digit.0)) {
                    told(Message::Dtmf(key));
                }
                Ok(())
            }
            ("websocket:cleared", State::Streaming { .. }) => {
                told(Message::Mark("cleared"));
                Ok(())
            }
            (other, State::Opening) => Err(Refusal::OutOfPlace {
                protocol: PROTOCOL,
                read: Quoted::new(other),
                when: "first",
                expected: "\"websocket:connected\"",
            }),
            (_, State::Streaming { .. } | State::Stopped) => Ok(()),
        }
    }

    fn handle_binary(
        &mut self,
        _: CallTime,
        bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(bytes.len())?;
        match &mut self.state {
            State::Streaming { position } => {
                let at = *position;
                *position += bytes.len() as u64 / 2;
                if bytes.len() >= 2 {
                    told(Message::Media { track: Speaker::Caller, position: at, payload: bytes });
                }
                Ok(())
            }
            State::Stopped => Ok(()),
            State::Opening => Err(Refusal::OutOfPlace {
                protocol: PROTOCOL,
                read: Quoted::new("a binary message"),
                when: "first",
                expected: "\"websocket:connected\"",
            }),
        }
    }

    fn handle_timeout(&mut self, now: CallTime, _: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        match self.poll_timeout() {
            Some(at) if at <= now => {
                Err(Refusal::NoStart { protocol: PROTOCOL, expected: "\"websocket:connected\"" })
            }
            _ => Ok(()),
        }
    }

    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        if matches!(std::mem::replace(&mut self.state, State::Stopped), State::Streaming { .. }) {
            told(Message::Stopped("closed".into()));
        }
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        matches!(self.state, State::Opening).then_some(CallTime(START_DEADLINE_US))
    }

    fn poll_reply(&mut self) -> Option<Reply> {
        None
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    digit: Option<Text<'a>>,
}

/// `audio/l16;rate=16000`.
fn read_content_type(content_type: &str) -> Result<Format, Refusal> {
    let mut parts = content_type.split(';').map(str::trim);
    let l16 = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("audio/l16"));
    let rate = parts.find_map(|part| part.strip_prefix("rate="));
    match rate.and_then(|rate| serde_json::from_str::<Count>(rate).ok()) {
        Some(Count(hz)) if l16 => Ok(Format::mono(Encoding::L16Le, rate_read(PROTOCOL, hz)?)),
        _ => Err(Refusal::Format {
            protocol: PROTOCOL,
            what: "content-type",
            read: Quoted::new(content_type),
            mend: "ask for audio/l16;rate=16000 or audio/l16;rate=8000",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::line;
    use warmline_core::units::SampleRate;

    const CONNECTED: &str = r#"{"event":"websocket:connected","content-type":"audio/l16;rate=16000","uuid":"6fa4","from":"+15550100","queue":"billing"}"#;

    #[test]
    fn a_call_is_told_from_its_headers_to_the_end_of_the_socket() {
        let mut stream = Stream::new(Declared::default());
        let mut lines = Vec::new();
        let mut scratch = Vec::new();
        let mut told = |message: Message<'_>| {
            if let Message::Started(start) = &message {
                assert_eq!(start.caller, Format::mono(Encoding::L16Le, SampleRate(16_000)));
                assert_eq!(start.metadata.expose().get("queue").map(String::as_str), Some("billing"));
                assert!(start.from.is_some() && !format!("{start:?}").contains("555"));
            }
            lines.push(line(&message));
        };
        stream.handle_text(CallTime::ZERO, CONNECTED, &mut scratch, &mut told).unwrap();
        stream.handle_binary(CallTime::ZERO, &[0; 640], &mut told).unwrap();
        stream
            .handle_text(
                CallTime::ZERO,
                r#"{"event":"websocket:dtmf","digit":"0","duration":260}"#,
                &mut scratch,
                &mut told,
            )
            .unwrap();
        stream.handle_binary(CallTime::ZERO, &[0; 640], &mut told).unwrap();
        stream.handle_closed(&mut told);
        assert_eq!(
            lines,
            ["start vonage 6fa4 -", "caller 0 +640", "key 0", "caller 320 +640", "stopped closed"]
        );
    }

    #[test]
    fn a_content_type_that_is_not_read_says_what_to_ask_for() {
        let refused = |content_type: &str| {
            let text = CONNECTED.replace("audio/l16;rate=16000", content_type);
            Stream::new(Declared::default())
                .handle_text(CallTime::ZERO, &text, &mut Vec::new(), &mut |_| {})
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("audio/opus"),
            "vonage: content-type \"audio/opus\" is not read: ask for audio/l16;rate=16000 or audio/l16;rate=8000"
        );
        assert_eq!(
            refused("audio/l16;rate=1"),
            "vonage: sample rate \"1\" is not read: send 8000 to 48000 Hz"
        );
    }

    #[test]
    fn audio_before_the_headers_is_refused() {
        let refused = Stream::new(Declared::default()).handle_binary(CallTime::ZERO, &[0; 640], &mut |_| {});
        assert!(refused.unwrap_err().to_string().contains("expected \"websocket:connected\""));
    }
}
