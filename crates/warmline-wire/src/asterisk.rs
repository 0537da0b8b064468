//! Asterisk's chan_websocket: events as text, plain or JSON, and audio as binary messages.
//!
//! Source: Asterisk documentation, "Channel Drivers: WebSocket" (20.16, 21.11, 22.6, 23.0 and later). Asterisk is the client when
//! dialled as `WebSocket/<client>`; it insists that the subprotocol [`SUBPROTOCOL`] is echoed. The first event, `MEDIA_START`, says the
//! format. Linear audio is in host order, little-endian. There is no clock: audio follows audio. What the channel hears is one
//! direction, the caller's. `d()` is seen from the application: dial with `d(in)`, and Asterisk sends audio and expects none back.
//! With `d(out)` it sends none.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use serde::Deserialize;

use super::{
    Count, Encoding, Format, MAX_MESSAGE, Message, Metadata, Quoted, Refusal, Reply, START_DEADLINE_US,
    Session, Speaker, Start, Text, bounded, id, json, key,
};
use warmline_core::units::{CallTime, Pii, SampleRate};

const PROTOCOL: &str = "asterisk";

/// The WebSocket subprotocol to echo.
pub const SUBPROTOCOL: &str = "media";

/// Messages of audio that are kept from before `MEDIA_START`, of [`MAX_MESSAGE`] bytes together; beyond, the stream is refused.
pub const MAX_EARLY: usize = 256;

/// What may be asked of Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer the channel.
    Answer,
    /// End the channel; of a `Dial` without the option `g`, the caller too.
    HangUp,
    /// Forget what was not played yet.
    FlushMedia,
    /// Send `STATUS`.
    GetStatus,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::Answer => "ANSWER",
            Self::HangUp => "HANGUP",
            Self::FlushMedia => "FLUSH_MEDIA",
            Self::GetStatus => "GET_STATUS",
        }
    }
}

/// One channel.
#[derive(Debug)]
pub struct Stream {
    state: State,
    /// Whether Asterisk speaks JSON to us, and so we to it.
    speaks_json: bool,
    replies: VecDeque<Reply>,
}

#[derive(Debug)]
enum State {
    /// Audio may come before `MEDIA_START`: whole messages, since a packet of Opus is one.
    Opening {
        early: Vec<Box<[u8]>>,
        bytes: usize,
    },
    Streaming {
        format: Format,
        position: u64,
    },
    Stopped,
}

impl Stream {
    /// A channel whose `MEDIA_START` is still to come.
    pub fn new() -> Self {
        let state = State::Opening { early: Vec::new(), bytes: 0 };
        Self { state, speaks_json: false, replies: VecDeque::new() }
    }

    /// Asks something of Asterisk, in the form it speaks.
    pub fn command(&mut self, command: Command) {
        let name = command.name();
        let text = if self.speaks_json { format!("{{\"command\":\"{name}\"}}") } else { name.to_owned() };
        self.replies.push_back(Reply::Text(text));
    }

    fn start(&mut self, event: Event<'_>, told: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        let name = event.format.ok_or(Refusal::Missing {
            protocol: PROTOCOL,
            field: "format",
            mend: "MEDIA_START must say it; dial with c(ulaw) or c(slin)",
        })?;
        let format = read_format(&name.0)?;
        let metadata = event.channel_variables.unwrap_or_default();
        let problem = metadata.problem();
        told(Message::Started(Box::new(Start {
            source: PROTOCOL,
            call: id(PROTOCOL, event.channel_id)?,
            stream: id(PROTOCOL, event.connection_id)?,
            caller_channel: "mono",
            caller: format,
            agent: None,
            from: None,
            to: None,
            metadata: Pii::new(metadata.entries),
        })));
        problem.into_iter().for_each(&mut *told);
        let started = State::Streaming { format, position: 0 };
        if let State::Opening { early, .. } = mem::replace(&mut self.state, started) {
            early.iter().for_each(|payload| self.audio(payload, told));
        }
        Ok(())
    }

    fn audio(&mut self, payload: &[u8], told: &mut dyn FnMut(Message<'_>)) {
        if let State::Streaming { format, position } = &mut self.state {
            let samples = format.samples_in(payload);
            if samples > 0 {
                told(Message::Media { track: Speaker::Caller, position: *position, payload });
                *position += samples;
            }
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
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
        let is_json = text.trim_start().starts_with('{');
        let event: Event<'_> = if is_json { json(PROTOCOL, text)? } else { plain(text)? };
        match (&*event.event.0, &self.state) {
            ("MEDIA_START", State::Opening { .. }) => {
                self.speaks_json = is_json;
                self.start(event, told)
            }
            ("DTMF_END", State::Streaming { .. }) => {
                if let Some(key) = event.digit.and_then(|digit| key(&digit.0)) {
                    told(Message::Dtmf(key));
                }
                Ok(())
            }
            ("MEDIA_MARK_PROCESSED", State::Streaming { .. }) => {
                if let Some(id) = event.correlation_id {
                    told(Message::Mark(&id.0));
                }
                Ok(())
            }
            (other, State::Opening { .. }) => Err(Refusal::OutOfPlace {
                protocol: PROTOCOL,
                read: Quoted::new(other),
                when: "first",
                expected: "\"MEDIA_START\"",
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
            State::Opening { early, bytes: kept } if !bytes.is_empty() => {
                *kept += bytes.len();
                if *kept > MAX_MESSAGE || early.len() >= MAX_EARLY {
                    return Err(Refusal::TooEarly { protocol: PROTOCOL, len: *kept });
                }
                early.push(bytes.into());
            }
            State::Streaming { .. } => self.audio(bytes, told),
            State::Opening { .. } | State::Stopped => {}
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: CallTime, _: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        match self.poll_timeout() {
            Some(at) if at <= now => {
                Err(Refusal::NoStart { protocol: PROTOCOL, expected: "\"MEDIA_START\"" })
            }
            _ => Ok(()),
        }
    }

    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        if matches!(mem::replace(&mut self.state, State::Stopped), State::Streaming { .. }) {
            told(Message::Stopped("closed".into()));
        }
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        matches!(self.state, State::Opening { .. }).then_some(CallTime(START_DEADLINE_US))
    }

    /// Ends the leg: a `Dial` with the option `g` goes on with the next step. It carries no variables.
    fn hand_back(&mut self, _: CallTime, _: &BTreeMap<String, String>) -> Option<Reply> {
        self.command(Command::HangUp);
        None
    }

    fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }
}

/// An event in either form.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    connection_id: Option<Text<'a>>,
    #[serde(borrow)]
    channel_id: Option<Text<'a>>,
    #[serde(borrow)]
    format: Option<Text<'a>>,
    #[serde(borrow)]
    digit: Option<Text<'a>>,
    #[serde(borrow)]
    correlation_id: Option<Text<'a>>,
    channel_variables: Option<Metadata>,
}

/// `MEDIA_START connection_id:… channel_id:… format:…`: words, the first alone, the others with a name before a colon.
fn plain(text: &str) -> Result<Event<'_>, Refusal> {
    bounded(text.len())?;
    let mut words = text.split_whitespace();
    let event = words.next().ok_or(Refusal::Missing {
        protocol: PROTOCOL,
        field: "an event",
        mend: "a text message begins with its name, as \"MEDIA_START\"",
    })?;
    let borrowed = |word| Some(Text(std::borrow::Cow::Borrowed(word)));
    let mut read = Event {
        event: Text(event.into()),
        connection_id: None,
        channel_id: None,
        format: None,
        digit: None,
        correlation_id: None,
        channel_variables: None,
    };
    for (name, value) in words.filter_map(|word| word.split_once(':')) {
        match name {
            "connection_id" => read.connection_id = borrowed(value),
            "channel_id" => read.channel_id = borrowed(value),
            "format" => read.format = borrowed(value),
            "digit" => read.digit = borrowed(value),
            "correlation_id" => read.correlation_id = borrowed(value),
            _ => {}
        }
    }
    Ok(read)
}

/// Asterisk's name of a codec.
fn read_format(name: &str) -> Result<Format, Refusal> {
    let slin = |khz: &str| match khz {
        "" => Some(8_000),
        "44" => Some(44_100),
        khz => match serde_json::from_str(khz) {
            Ok(Count(khz @ (12 | 16 | 24 | 32 | 48))) => u32::try_from(khz * 1_000).ok(),
            _ => None,
        },
    };
    match name {
        "ulaw" => Ok(Format::mono(Encoding::Pcmu, SampleRate(8_000))),
        "alaw" => Ok(Format::mono(Encoding::Pcma, SampleRate(8_000))),
        "g722" => Ok(Format::G722),
        "opus" => Ok(Format::Opus),
        name => match name.strip_prefix("slin").and_then(slin) {
            Some(rate) => Ok(Format::mono(Encoding::L16Le, SampleRate(rate))),
            None => Err(Refusal::Format {
                protocol: PROTOCOL,
                what: "format",
                read: Quoted::new(name),
                mend: "dial with c(ulaw), c(alaw), c(slin), c(slin16), c(g722) or c(opus)",
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::line;

    const JSON: &str = r#"{"event":"MEDIA_START","connection_id":"router_media","channel":"WebSocket/router_media/0x1","channel_id":"1795324389.14","format":"ulaw","optimal_frame_size":160,"ptime":20,"channel_variables":{"QUEUE":"billing"}}"#;
    const PLAIN: &str = "MEDIA_START connection_id:router_media channel:WebSocket/router_media/0x1 channel_id:1795324389.14 format:slin16 optimal_frame_size:640 ptime:20";

    #[test]
    fn a_call_is_told_in_json() {
        let mut story = Story::new();
        story.text(JSON);
        story.binary(&[0xFF; 160]);
        story.text(r##"{"event":"DTMF_END","channel_id":"1795324389.14","digit":"#"}"##);
        story.text(r#"{"event":"STATUS","queue_length":0,"xon_level":800,"xoff_level":900}"#);
        story.binary(&[0xFF; 160]);
        story.stream.handle_closed(&mut |message| story.lines.push(line(&message)));
        assert_eq!(
            story.lines,
            [
                "start asterisk 1795324389.14 router_media",
                "caller 0 +160",
                "key #",
                "caller 160 +160",
                "stopped closed",
            ]
        );
        story.stream.command(Command::HangUp);
        assert_eq!(story.stream.poll_reply(), Some(Reply::Text(r#"{"command":"HANGUP"}"#.into())));
    }

    #[test]
    fn a_call_is_told_in_plain_words() {
        let mut story = Story::new();
        story.text(PLAIN);
        story.binary(&[0; 640]);
        story.text("DTMF_END channel_id:1795324389.14 digit:7");
        assert_eq!(story.lines, ["start asterisk 1795324389.14 router_media", "caller 0 +640", "key 7"]);
        story.stream.command(Command::HangUp);
        assert_eq!(story.stream.poll_reply(), Some(Reply::Text("HANGUP".into())));
    }

    #[test]
    fn audio_before_media_start_waits_for_it() {
        let mut story = Story::new();
        story.binary(&[0xFF; 160]);
        story.binary(&[0xFF; 160]);
        assert!(story.lines.is_empty());
        story.text(JSON);
        story.binary(&[0xFF; 160]);
        assert_eq!(story.lines[1..], ["caller 0 +160", "caller 160 +160", "caller 320 +160"]);
    }

    #[test]
    fn audio_before_media_start_is_bounded() {
        let mut stream = Stream::new();
        let mut sent = 0;
        let refused = loop {
            sent += 1;
            match stream.handle_binary(CallTime::ZERO, &[0; 640], &mut |_| {}) {
                Ok(()) => assert!(sent < 200),
                Err(refused) => break refused,
            }
        };
        assert_eq!(
            refused.to_string(),
            "asterisk: 65920 bytes of audio came before the start: at most 65536 are kept"
        );
        let mut stream = Stream::new();
        for _ in 0..MAX_EARLY {
            stream.handle_binary(CallTime::ZERO, &[0], &mut |_| {}).unwrap();
        }
        assert!(stream.handle_binary(CallTime::ZERO, &[0], &mut |_| {}).is_err());
    }

    #[test]
    fn formats_are_asterisks_names() {
        let check = |name: &str, expected| assert_eq!(read_format(name).ok(), expected, "{name}");
        check("slin", Some(Format::mono(Encoding::L16Le, SampleRate(8_000))));
        check("slin44", Some(Format::mono(Encoding::L16Le, SampleRate(44_100))));
        check("slin48", Some(Format::mono(Encoding::L16Le, SampleRate(48_000))));
        check("alaw", Some(Format::mono(Encoding::Pcma, SampleRate(8_000))));
        check("g722", Some(Format::G722));
        check("slin96", None);
        check("gsm", None);
    }

    struct Story {
        stream: Stream,
        lines: Vec<String>,
    }

    impl Story {
        fn new() -> Self {
            Self { stream: Stream::new(), lines: Vec::new() }
        }

        fn text(&mut self, text: &str) {
            let lines = &mut self.lines;
            self.stream
                .handle_text(CallTime::ZERO, text, &mut Vec::new(), &mut |message| lines.push(line(&message)))
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
