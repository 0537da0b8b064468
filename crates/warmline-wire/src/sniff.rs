//! One endpoint for every WebSocket protocol: the subprotocol or the first message tells which it is.
//!
//! | first message | protocol |
//! |---|---|
//! | `{"event":"connected",…}`, `{"event":"start",…}` | Twilio family; the start's ids tell the dialect |
//! | `{"event":"websocket:connected",…}` | Vonage |
//! | `MEDIA_START …`, `{"event":"MEDIA_START",…}` | Asterisk |
//! | `{…,"sampleRate":…,"mixType":…}` | jambonz, FreeSWITCH |
//! | anything else, with the subprotocol or the format declared | what that says |

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{
    Declared, Message, Quoted, Refusal, Reply, START_DEADLINE_US, Session, Text, asterisk, bounded,
    freeswitch, twilio, vonage,
};
use warmline_core::units::CallTime;

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// [`twilio`], in that dialect if it is known.
    Twilio(Option<twilio::Dialect>),
    /// [`vonage`].
    Vonage,
    /// [`freeswitch`].
    FreeSwitch,
    /// [`asterisk`].
    Asterisk,
}

impl Protocol {
    /// By the last part of `/v1/media/<vendor>`.
    pub fn of_path(vendor: &str) -> Option<Self> {
        match vendor {
            "vonage" => Some(Self::Vonage),
            "freeswitch" | "jambonz" => Some(Self::FreeSwitch),
            "asterisk" => Some(Self::Asterisk),
            dialect => twilio::Dialect::named(dialect).map(|dialect| Self::Twilio(Some(dialect))),
        }
    }

    /// By the subprotocols a client offers (`Sec-WebSocket-Protocol`), with the one to echo: who offers one drops a connection
    /// that does not take it.
    pub fn of_subprotocol(offered: &str) -> Option<(Self, &'static str)> {
        let offered = || offered.split(',').map(str::trim);
        let freeswitch = freeswitch::SUBPROTOCOLS.into_iter().find(|name| offered().any(|o| o == *name));
        let asterisk = offered().any(|o| o == asterisk::SUBPROTOCOL);
        freeswitch
            .map(|name| (Self::FreeSwitch, name))
            .or_else(|| asterisk.then_some((Self::Asterisk, asterisk::SUBPROTOCOL)))
    }

    /// By the first text message.
    pub fn of_text(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct First<'a> {
            #[serde(borrow)]
            event: Option<Text<'a>>,
            #[serde(rename = "sampleRate")]
            sample_rate: Option<IgnoredAny>,
            #[serde(rename = "mixType")]
            mix_type: Option<IgnoredAny>,
        }
        if text.split_whitespace().next() == Some("MEDIA_START") {
            return Some(Self::Asterisk);
        }
        let first: First<'_> = serde_json::from_str(text).ok()?;
        match first.event.as_ref().map(|event| &*event.0) {
            Some("connected" | "start") => Some(Self::Twilio(None)),
            Some("websocket:connected") => Some(Self::Vonage),
            Some("MEDIA_START") => Some(Self::Asterisk),
            _ if first.sample_rate.is_some() && first.mix_type.is_some() => Some(Self::FreeSwitch),
            _ => None,
        }
    }

    fn open(self, declared: Declared) -> Known {
        match self {
            Self::Twilio(dialect) => Known::Twilio(twilio::Stream::new(dialect, declared)),
            Self::Vonage => Known::Vonage(vonage::Stream::new(declared)),
            Self::FreeSwitch => Known::FreeSwitch(freeswitch::Stream::new(declared)),
            Self::Asterisk => Known::Asterisk(asterisk::Stream::new()),
        }
    }
}

/// A stream whose protocol is known.
#[derive(Debug)]
pub enum Known {
    /// Twilio family.
    Twilio(twilio::Stream),
    /// Vonage.
    Vonage(vonage::Stream),
    /// FreeSWITCH, jambonz.
    FreeSwitch(freeswitch::Stream),
    /// Asterisk.
    Asterisk(asterisk::Stream),
}

impl Known {
    fn session(&mut self) -> &mut dyn Session {
        match self {
            Self::Twilio(stream) => stream,
            Self::Vonage(stream) => stream,
            Self::FreeSwitch(stream) => stream,
            Self::Asterisk(stream) => stream,
        }
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        match self {
            Self::Twilio(stream) => stream.poll_timeout(),
            Self::Vonage(stream) => stream.poll_timeout(),
            Self::FreeSwitch(stream) => stream.poll_timeout(),
            Self::Asterisk(stream) => stream.poll_timeout(),
        }
    }
}

/// A stream of any of these protocols.
#[derive(Debug)]
pub struct Stream {
    declared: Declared,
    known: Option<Known>,
}

impl Stream {
    /// A stream of which the path or the subprotocol says what it is, or nothing does yet.
    pub fn new(protocol: Option<Protocol>, declared: Declared) -> Self {
        let format = declared.rate.is_some() && declared.mix.is_some();
        let protocol = protocol.or(format.then_some(Protocol::FreeSwitch));
        Self { declared, known: protocol.map(|protocol| protocol.open(declared)) }
    }

    /// The stream, once its protocol is known: for what only that protocol can say.
    pub fn known(&mut self) -> Option<&mut Known> {
        self.known.as_mut()
    }
}

impl Session for Stream {
    fn handle_text(
        &mut self,
        now: CallTime,
        text: &str,
        payload: &mut Vec<u8>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(text.len())?;
        let known = match &mut self.known {
            Some(known) => known,
            None => {
                let protocol = Protocol::of_text(text).ok_or_else(|| Refusal::OutOfPlace {
                    protocol: "media",
                    read: Quoted::new("an unknown text"),
                    when: "first",
                    expected: "the first message of Twilio, Vonage, Asterisk or jambonz, or a path that says who sends",
                })?;
                self.known.insert(protocol.open(self.declared))
            }
        };
        known.session().handle_text(now, text, payload, told)
    }

    fn handle_binary(
        &mut self,
        now: CallTime,
        bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(bytes.len())?;
        match &mut self.known {
            Some(known) => known.session().handle_binary(now, bytes, told),
            None => Err(Refusal::OutOfPlace {
                protocol: "media",
                read: Quoted::new("a binary message"),
                when: "first",
                expected: "a text message; or declare rate= and mix= with the path",
            }),
        }
    }

    fn handle_timeout(&mut self, now: CallTime, told: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        match &mut self.known {
            Some(known) => known.session().handle_timeout(now, told),
            None if now.0 >= START_DEADLINE_US => {
                Err(Refusal::NoStart { protocol: "media", expected: "a first message" })
            }
            None => Ok(()),
        }
    }

    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        if let Some(known) = &mut self.known {
            known.session().handle_closed(told);
        }
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        self.known.as_ref().map_or(Some(CallTime(START_DEADLINE_US)), Known::poll_timeout)
    }

    fn hand_back(&mut self, now: CallTime, variables: &BTreeMap<String, String>) -> Option<Reply> {
        self.known.as_mut()?.session().hand_back(now, variables)
    }

    fn poll_reply(&mut self) -> Option<Reply> {
        self.known.as_mut()?.session().poll_reply()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mix, tests::line};
    use warmline_core::units::SampleRate;

    #[test]
    fn the_first_message_tells_the_protocol() {
        let check = |text: &str, expected| assert_eq!(Protocol::of_text(text), expected, "{text}");
        check(r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#, Some(Protocol::Twilio(None)));
        check(r#"{"sequenceNumber":0,"event":"start","start":{}}"#, Some(Protocol::Twilio(None)));
        check(
            r#"{"event":"websocket:connected","content-type":"audio/l16;rate=16000"}"#,
            Some(Protocol::Vonage),
        );
        check(r#"{"event":"MEDIA_START","format":"ulaw"}"#, Some(Protocol::Asterisk));
        check("MEDIA_START connection_id:x format:ulaw", Some(Protocol::Asterisk));
        check(r#"{"callSid":"c","sampleRate":8000,"mixType":"mono"}"#, Some(Protocol::FreeSwitch));
        check(r#"{"callSid":"c"}"#, None);
        check("hello", None);
        check("", None);
    }

    #[test]
    fn the_path_and_the_subprotocol_tell_it_too() {
        assert_eq!(Protocol::of_path("telnyx"), Some(Protocol::Twilio(Some(twilio::Dialect::Telnyx))));
        assert_eq!(Protocol::of_path("jambonz"), Some(Protocol::FreeSwitch));
        assert_eq!(Protocol::of_path("nobody"), None);
        assert_eq!(
            Protocol::of_subprotocol("chat, audio.jambonz.org"),
            Some((Protocol::FreeSwitch, "audio.jambonz.org"))
        );
        assert_eq!(Protocol::of_subprotocol("media"), Some((Protocol::Asterisk, "media")));
        assert_eq!(Protocol::of_subprotocol("chat"), None);
    }

    #[test]
    fn a_stream_goes_on_in_the_protocol_of_its_first_message() {
        let mut stream = Stream::new(None, Declared::default());
        let mut lines = Vec::new();
        let mut told = |message: Message<'_>| lines.push(line(&message));
        let first = r#"{"callSid":"c5e1","sampleRate":8000,"mixType":"mono"}"#;
        stream.handle_text(CallTime::ZERO, first, &mut Vec::new(), &mut told).unwrap();
        stream.handle_binary(CallTime::ZERO, &[0; 320], &mut told).unwrap();
        stream.handle_closed(&mut told);
        assert_eq!(lines, ["start jambonz c5e1 -", "caller 0 +320", "stopped closed"]);
    }

    #[test]
    fn audio_alone_is_taken_if_its_format_is_declared() {
        let declared =
            Declared { rate: Some(SampleRate(8_000)), mix: Some(Mix::Mono), ..Declared::default() };
        let mut lines = Vec::new();
        let mut stream = Stream::new(None, declared);
        stream.handle_binary(CallTime::ZERO, &[0; 320], &mut |message| lines.push(line(&message))).unwrap();
        assert_eq!(lines, ["start freeswitch - -", "caller 0 +320"]);
        let refused =
            Stream::new(None, Declared::default()).handle_binary(CallTime::ZERO, &[0; 320], &mut |_| {});
        assert!(refused.unwrap_err().to_string().ends_with("declare rate= and mix= with the path"));
    }

    #[test]
    fn who_says_nothing_is_refused_in_time() {
        let mut stream = Stream::new(None, Declared::default());
        let at = stream.poll_timeout().unwrap();
        assert!(matches!(stream.handle_timeout(at, &mut |_| {}), Err(Refusal::NoStart { .. })));
    }
}
