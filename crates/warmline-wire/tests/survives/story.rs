//! A capture played into a session: what is told, one line a message, with what must hold of any messages whatever.

#![allow(dead_code, reason = "each family of captures uses its own part")]

use std::collections::BTreeMap;

use warmline_core::{media::Speaker, units::CallTime};
use warmline_wire::{MAX_MESSAGE, MAX_METADATA, Message, Reply, Session};

/// One message of a capture.
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
}

/// The messages of a capture: a line each, `T` and text, or `B` and hexadecimal; any other line is bytes as they stand.
pub(crate) fn frames(capture: &[u8]) -> Vec<Frame> {
    let lines = capture.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| match line {
            [b'T', b' ', text @ ..] => Frame::Text(String::from_utf8_lossy(text).into_owned()),
            [b'B', b' ', digits @ ..] => Frame::Binary(bytes(digits)),
            other => Frame::Binary(other.to_vec()),
        })
        .collect()
}

/// Two hexadecimal digits a byte, as far as they are.
fn bytes(digits: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, _) = digits.as_chunks::<2>();
    pairs.iter().map_while(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// What was told so far.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) lines: Vec<String>,
    started: bool,
    stopped: bool,
    /// Where each track's audio ends.
    ends: BTreeMap<Speaker, u64>,
}

impl Story {
    /// A stream that says itself nothing of its start.
    pub(crate) fn started() -> Self {
        Self { started: true, ..Self::default() }
    }

    /// Plays a capture, 20 ms a message, and closes the connection.
    pub(crate) fn of(session: &mut dyn Session, capture: &[u8]) -> Self {
        let mut story = Self::default();
        let mut payload = Vec::new();
        let mut now = CallTime::ZERO;
        for frame in frames(capture) {
            let told = &mut |message: Message<'_>| story.tell(&message);
            let taken = match &frame {
                Frame::Text(text) => session.handle_text(now, text, &mut payload, told),
                Frame::Binary(bytes) => session.handle_binary(now, bytes, told),
            };
            let taken = taken.and_then(|()| match session.poll_timeout() {
                Some(at) if at <= now => session.handle_timeout(now, &mut |message| story.tell(&message)),
                _ => Ok(()),
            });
            assert!(payload.capacity() <= 2 * MAX_MESSAGE, "{} bytes for a payload", payload.capacity());
            story.answer(session);
            if let Err(refusal) = taken {
                story.lines.push(format!("refused: {refusal}"));
                break;
            }
            now = now.after_micros(20_000);
        }
        session.handle_closed(&mut |message| story.tell(&message));
        story.answer(session);
        assert_eq!(story.started, story.stopped, "a start has its end: {:#?}", story.lines);
        story
    }

    /// Takes a message and checks that it may stand here.
    pub(crate) fn tell(&mut self, message: &Message<'_>) {
        assert!(!self.stopped, "{message:?} after the end");
        let who = |role: &Speaker| match role {
            Speaker::Caller => "caller",
            Speaker::Agent => "agent",
        };
        self.lines.push(match message {
            Message::Started(start) => {
                assert!(!std::mem::replace(&mut self.started, true), "a second start");
                assert!(start.metadata.expose().len() <= MAX_METADATA);
                let agent = start.agent.map_or_else(String::new, |format| format!(", agent {format:?}"));
                let (call, stream) =
                    (start.call.as_deref().unwrap_or("-"), start.stream.as_deref().unwrap_or("-"));
                let named: Vec<_> = start.metadata.expose().iter().map(|(k, v)| format!("{k}={v}")).collect();
                let parties = [("from", &start.from), ("to", &start.to)];
                let parties: Vec<_> =
                    parties.iter().filter(|(_, p)| p.is_some()).map(|(name, _)| *name).collect();
                format!(
                    "started {}: call {call}, stream {stream}, {} {:?}{agent}; {} {}",
                    start.source,
                    start.caller_channel,
                    start.caller,
                    parties.join("+"),
                    named.join(" ")
                )
            }
            Message::Media { track, position, payload } => {
                assert!(self.started && !payload.is_empty() && payload.len() <= MAX_MESSAGE);
                let end = self.ends.entry(*track).or_default();
                assert!(*position >= *end, "{position} after {end}");
                *end = *position;
                let sum = payload.iter().fold(0u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
                format!("{} at {position}: {} bytes, {sum:08x}", who(track), payload.len())
            }
            Message::Gap { track, cause, from, to } => {
                assert!(self.started && from < to, "{from}..{to}");
                let end = self.ends.entry(*track).or_default();
                assert!(*from >= *end);
                *end = *to;
                format!("{} {}: {from} to {to}", who(track), format!("{cause:?}").to_lowercase())
            }
            Message::Dtmf(key) => format!("key {key}"),
            Message::Paused => "paused".into(),
            Message::Resumed => "resumed".into(),
            Message::Mark(name) => format!("mark {name}"),
            Message::Problem(problem) => format!("problem: {problem}"),
            Message::Stopped(cause) => {
                self.stopped = true;
                format!("stopped: {cause}")
            }
        });
    }

    /// Takes what goes back.
    pub(crate) fn answer(&mut self, session: &mut dyn Session) {
        while let Some(reply) = session.poll_reply() {
            self.lines.push(match reply {
                Reply::Text(text) => format!("< {text}"),
                Reply::Binary(bytes) => format!("< {} bytes", bytes.len()),
                Reply::Close => "< close".into(),
            });
        }
    }
}
