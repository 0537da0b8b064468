//! Bytes ⇄ typed messages, one file per protocol. Absent here: sockets, clocks, async.

pub mod asterisk;
pub mod audiohook;
pub mod audiosocket;
pub mod credentials;
pub mod freeswitch;
pub mod rtp;
pub mod sniff;
pub mod twilio;
pub mod vonage;
pub mod wav;

pub use warmline_core::media::{Encoding, Format, GapCause, MAX_RATE, MIN_RATE, Speaker, TrackFormat};

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use serde_json::value::RawValue;

use warmline_core::units::{CallTime, Pii, SampleRate};

/// Bytes of the longest WebSocket message that is read; a longer one ends the stream ([`Refusal::TooLong`]). Genesys and Asterisk
/// set about the same limit themselves.
pub const MAX_MESSAGE: usize = 65_536;

/// Entries of metadata that are kept of a stream's start; further ones are left out and that is told.
pub const MAX_METADATA: usize = 64;

/// Bytes of a metadata key or value that are kept; a longer one is left out and that is told.
pub const MAX_METADATA_LEN: usize = 1_024;

/// Bytes of an id (of a call, a stream) that is read; a longer one ends the stream.
pub const MAX_ID_LEN: usize = 256;

/// The longest leap a timestamp may make: silence nobody would send audio for. A longer one is no time and is not followed.
pub const MAX_LEAP_S: u64 = 3_600;

/// How long after the connection a peer may take to say what it sends.
pub const START_DEADLINE_US: u64 = 10_000_000;

/// What a stream says, in one vocabulary for every protocol.
///
/// A place is counted in samples since the call's first one, at the track's own rate ([`Format::rate`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// The stream begins. Comes once, before everything else.
    Started(Box<Start>),
    /// Audio of one track, in the order of its places.
    Media {
        /// Whose.
        track: Speaker,
        /// Place of the first sample.
        position: u64,
        /// As [`Format`] says. Of an interleaved payload, the same bytes come once for each role.
        payload: &'a [u8],
    },
    /// Audio that does not come. What follows begins at `to`.
    Gap {
        /// Whose.
        track: Speaker,
        /// Why.
        cause: GapCause,
        /// Place of the first sample missing.
        from: u64,
        /// Place of the first sample behind it.
        to: u64,
    },
    /// A key was pressed: `0`-`9`, `*`, `#`, `A`-`D`.
    Dtmf(char),
    /// The peer stops sending on purpose; nothing may be heard until [`Message::Resumed`].
    Paused,
    /// The peer sends again.
    Resumed,
    /// What we asked to be played up to this mark was played or discarded.
    Mark(&'a str),
    /// Something was not as it should be; the stream goes on. Says nothing personal.
    Problem(Cow<'static, str>),
    /// The stream is over, with the protocol's word for why. Comes once, last.
    Stopped(Cow<'static, str>),
}

/// What is known when a stream begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The protocol: `twilio`, `audiosocket`, …
    pub source: &'static str,
    /// The peer's id of the call. Streams of the same call say the same.
    pub call: Option<String>,
    /// The peer's id of this stream.
    pub stream: Option<String>,
    /// The caller's track in the protocol's own word: `inbound`, `external`, `left`.
    pub caller_channel: &'static str,
    /// The caller's audio.
    pub caller: Format,
    /// The agent's or bot's audio, if it comes too.
    pub agent: Option<Format>,
    /// The caller's number or address.
    pub from: Option<Pii<String>>,
    /// The number or address called.
    pub to: Option<Pii<String>>,
    /// What the integrator gives along, at most [`MAX_METADATA`] entries. May be personal: it does not print.
    pub metadata: Pii<BTreeMap<String, String>>,
}

/// What an integrator declares of a stream where the protocol does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// A mixed or undeclared channel holds nobody but the caller. Without it a mixed stream is refused, so that an agent is never
    /// scored.
    pub caller_only: bool,
    /// The agent's track comes too, though the start does not say so (Telnyx `stream_track=both_tracks`).
    pub both_tracks: bool,
    /// The sample rate, of protocols that may not say it.
    pub rate: Option<SampleRate>,
    /// How the channels are laid out, likewise.
    pub mix: Option<Mix>,
}

impl Declared {
    /// Reads a query: `caller_only=true`, `tracks=both`, `rate=8000`, `mix=mono|stereo|mixed`; anything else is somebody else's.
    ///
    /// # Errors
    /// When one of these has another value.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let mut declared = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let wrong = |mend| Refusal::Format {
                protocol: "media",
                what: "a parameter",
                read: Quoted::new(value),
                mend,
            };
            match name {
                "caller_only" => {
                    declared.caller_only =
                        value.parse().map_err(|_| wrong("caller_only is true or false"))?;
                }
                "tracks" if value == "both" => declared.both_tracks = true,
                "tracks" if value != "caller" => return Err(wrong("tracks is caller or both")),
                "rate" => {
                    let hz = value.parse().map_err(|_| wrong("rate is in Hz"))?;
                    declared.rate = Some(rate_read("media", hz)?);
                }
                "mix" => {
                    let mix = Mix::parse(value).ok_or_else(|| wrong("mix is mono, stereo or mixed"))?;
                    declared.mix = Some(mix);
                }
                _ => {}
            }
        }
        Ok(declared)
    }
}

/// How the two sides of a call share a binary stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// The caller alone.
    Mono,
    /// Interleaved: the caller left, the agent right.
    Stereo,
    /// Both in one channel.
    Mixed,
}

impl Mix {
    /// `mono`, `stereo` or `mixed`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "mono" => Some(Self::Mono),
            "stereo" => Some(Self::Stereo),
            "mixed" => Some(Self::Mixed),
            _ => None,
        }
    }
}

/// What goes back to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A text message.
    Text(String),
    /// A binary message, or bytes of a stream.
    Binary(Cow<'static, [u8]>),
    /// Close the connection; nothing follows.
    Close,
}

/// A protocol over a WebSocket, driven from outside: messages in, [`Message`]s and [`Reply`]s out.
///
/// An `Err` ends the stream: close the connection with the refusal as the reason and end with [`Session::handle_closed`].
/// `now` is the time since the connection was accepted.
pub trait Session {
    /// Takes a text message. A payload inside it is decoded into `payload`, whose content before does not matter and whose
    /// capacity is kept, at most [`MAX_MESSAGE`].
    fn handle_text(
        &mut self,
        now: CallTime,
        text: &str,
        payload: &mut Vec<u8>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal>;

    /// Takes a binary message.
    fn handle_binary(
        &mut self,
        now: CallTime,
        bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal>;

    /// The moment that [`Session::poll_timeout`] named has come.
    fn handle_timeout(&mut self, now: CallTime, told: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal>;

    /// The connection is gone; tells [`Message::Stopped`] if the protocol had not.
    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>));

    /// When to come back at the latest.
    fn poll_timeout(&self) -> Option<CallTime>;

    /// What must be sent, in order, until there is nothing more.
    fn poll_reply(&mut self) -> Option<Reply>;

    /// Gives the call back to whoever sent it, with variables for what follows where the protocol has a place for them; answers
    /// with what must be sent for it beside [`Session::poll_reply`].
    ///
    /// Of itself a protocol has no word for it: its peer goes on behind a stream that is closed (Twilio's, SignalWire's and Plivo's
    /// bidirectional streams, Vonage's `connect`); a fork of a call that runs on does not notice.
    fn hand_back(&mut self, _now: CallTime, _variables: &BTreeMap<String, String>) -> Option<Reply> {
        Some(Reply::Close)
    }
}

/// Why a stream is refused: what was read, what was expected, how to mend it. Says nothing personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A message beyond the limit.
    #[error("a message of {len} bytes: at most {MAX_MESSAGE} are read; send shorter packets")]
    TooLong {
        /// Its length, bytes.
        len: usize,
    },
    /// No JSON, or not the JSON of this protocol.
    #[error("{protocol}: the message is not as expected: {why}")]
    Json {
        /// The protocol.
        protocol: &'static str,
        /// What kind of fault, and where.
        why: String,
    },
    /// A message the protocol has no place for.
    #[error("{protocol}: {read} came {when}: expected {expected}")]
    OutOfPlace {
        /// The protocol.
        protocol: &'static str,
        /// What came.
        read: Quoted,
        /// In which state.
        when: &'static str,
        /// What may come there.
        expected: &'static str,
    },
    /// A field without which the stream cannot be read.
    #[error("{protocol}: {field} is missing: {mend}")]
    Missing {
        /// The protocol.
        protocol: &'static str,
        /// Which.
        field: &'static str,
        /// How to give it.
        mend: &'static str,
    },
    /// A codec, a rate or a number of channels that is not read.
    #[error("{protocol}: {what} {read} is not read: {mend}")]
    Format {
        /// The protocol.
        protocol: &'static str,
        /// Of what.
        what: &'static str,
        /// What came.
        read: Quoted,
        /// What may come.
        mend: &'static str,
    },
    /// Payload that is no base64.
    #[error("{protocol}: a payload is not base64")]
    Base64 {
        /// The protocol.
        protocol: &'static str,
    },
    /// Both sides of a call in one channel.
    #[error("{protocol}: caller and agent come mixed in one channel, and only a caller is scored: {mend}")]
    Mixed {
        /// The protocol.
        protocol: &'static str,
        /// How to separate them.
        mend: &'static str,
    },
    /// The peer opened a connection and did not say what it sends.
    #[error("{protocol}: nothing said what comes within {} s: {expected}", START_DEADLINE_US / 1_000_000)]
    NoStart {
        /// The protocol.
        protocol: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// More audio before the start than is kept.
    #[error("{protocol}: {len} bytes of audio came before the start: at most {MAX_MESSAGE} are kept")]
    TooEarly {
        /// The protocol.
        protocol: &'static str,
        /// Bytes received.
        len: usize,
    },
}

/// A word somebody else wrote, cut to 40 characters and printed with escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(String);

impl Quoted {
    /// The beginning of `word`.
    pub fn new(word: &str) -> Self {
        Self(word.chars().take(40).collect())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_debug())
    }
}

/// The place of a track's next sample, for protocols whose timestamps are coarse, late or absent.
///
/// Payloads follow each other without a seam unless a timestamp leaps: by more than half of [`LEAP_MS`] beyond the place expected
/// there is a gap; a timestamp that lags never drops what came. So jitter of a stamp makes no click, and drift does not add up.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    rate: SampleRate,
    next: u64,
    begun: bool,
}

/// Timestamps this much ahead of the audio are a gap: less than the shortest packet that can be lost (20 ms).
const LEAP_MS: u64 = 15;

impl Timeline {
    pub(crate) fn new(rate: SampleRate) -> Self {
        Self { rate, next: 0, begun: false }
    }

    /// Where a payload of `samples` stands whose timestamp is `ms` since the stream's start, and the gap before it, if any. The
    /// first payload stands where its timestamp says, without one at the start.
    pub(crate) fn place(&mut self, ms: Option<u64>, samples: u64) -> (u64, Option<(u64, u64)>) {
        let rate = u64::from(self.rate.0);
        let stamped = ms.filter(|ms| *ms <= self.next / rate.max(1) * 1_000 + MAX_LEAP_S * 1_000);
        let stamped = stamped.map(|ms| ms * rate / 1_000).unwrap_or(self.next);
        let leap = if self.begun { LEAP_MS * rate / 1_000 } else { 0 };
        let from = self.next;
        let position = if stamped > from + leap { stamped } else { from };
        let gap = (self.begun && position > from).then_some((from, position));
        self.begun = true;
        self.next = position.saturating_add(samples);
        (position, gap)
    }
}

/// Checks a message's length.
pub(crate) fn bounded(len: usize) -> Result<(), Refusal> {
    if len > MAX_MESSAGE { Err(Refusal::TooLong { len }) } else { Ok(()) }
}

/// Reads a message that is JSON; an error tells where, and nothing of what stood there.
pub(crate) fn json<'a, T: Deserialize<'a>>(protocol: &'static str, text: &'a str) -> Result<T, Refusal> {
    bounded(text.len())?;
    serde_json::from_str(text).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is no JSON",
            serde_json::error::Category::Data => "a field is missing or of another type",
        };
        let why = format!("{kind} (line {}, column {})", error.line(), error.column());
        Refusal::Json { protocol, why }
    })
}

/// A linear or companded format by the names vendors give it; linear is `linear` (its byte order differs by vendor).
pub(crate) fn encoding_named(name: &str, linear: Encoding) -> Option<Encoding> {
    let bare = name.trim().to_ascii_lowercase();
    let bare = bare.strip_prefix("audio/").unwrap_or(&bare);
    match bare.strip_prefix("x-").unwrap_or(bare) {
        "mulaw" | "ulaw" | "pcmu" | "g711u" | "g711_ulaw" => Some(Encoding::Pcmu),
        "alaw" | "pcma" | "g711a" | "g711_alaw" => Some(Encoding::Pcma),
        "l16" | "raw" | "slin" | "lin16" | "linear16" | "pcm" | "base64" => Some(linear),
        _ => None,
    }
}

/// A key as keypads have it.
pub(crate) fn key(text: &str) -> Option<char> {
    let mut chars = text.trim().chars();
    let key = chars.next()?.to_ascii_uppercase();
    (chars.next().is_none() && matches!(key, '0'..='9' | '*' | '#' | 'A'..='D')).then_some(key)
}

/// A sample rate that is read.
pub(crate) fn rate_read(protocol: &'static str, hz: u64) -> Result<SampleRate, Refusal> {
    let rate = u32::try_from(hz).ok().map(SampleRate).filter(|rate| (MIN_RATE..=MAX_RATE).contains(rate));
    rate.ok_or_else(|| Refusal::Format {
        protocol,
        what: "sample rate",
        read: Quoted::new(&hz.to_string()),
        mend: "send 8000 to 48000 Hz",
    })
}

/// An id that is not too long; an empty one is none.
pub(crate) fn id(protocol: &'static str, text: Option<Text<'_>>) -> Result<Option<String>, Refusal> {
    match text {
        Some(Text(id)) if id.len() > MAX_ID_LEN => {
            Err(Refusal::Format { protocol, what: "id", read: Quoted::new(&id), mend: "at most 256 bytes" })
        }
        Some(Text(id)) if !id.is_empty() => Ok(Some(id.into_owned())),
        _ => Ok(None),
    }
}

/// A JSON string, borrowed unless it has escapes; a number or a boolean stands for its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(if truth { "true" } else { "false" })))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed("")))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

/// A count, written as a number or as a string of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Count;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count, as a number or a string")
            }
            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Count, E> {
                Ok(Count(count))
            }
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, and a count of a protocol is far below 2^53"
            )]
            fn visit_f64<E: de::Error>(self, count: f64) -> Result<Count, E> {
                Ok(Count(count as u64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                text.trim().parse().map(Count).map_err(|_| E::custom("no count"))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

/// An integrator's own fields: scalars as their text, anything deeper as its JSON, within the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) entries: BTreeMap<String, String>,
    pub(crate) left_out: usize,
}

impl Metadata {
    /// Keeps an entry, within the limits; a key that is there already stays.
    pub(crate) fn keep(&mut self, key: &str, value: &str) {
        let fits = key.len() <= MAX_METADATA_LEN && value.len() <= MAX_METADATA_LEN;
        if !fits || self.entries.len() >= MAX_METADATA {
            self.left_out += 1;
        } else {
            self.entries.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }

    /// Keeps an entry whose value is JSON.
    fn keep_json(&mut self, key: &str, value: &RawValue) {
        let raw = value.get();
        if let Ok(Text(text)) = serde_json::from_str::<Text<'_>>(raw) {
            self.keep(key, &text);
        } else {
            self.keep(key, raw);
        }
    }

    /// Takes in another's entries.
    pub(crate) fn extend(&mut self, other: Self) {
        other.entries.iter().for_each(|(key, value)| self.keep(key, value));
        self.left_out += other.left_out;
    }

    /// What to tell if the limits cut something.
    pub(crate) fn problem(&self) -> Option<Message<'static>> {
        (self.left_out > 0).then(|| {
            let n = self.left_out;
            Message::Problem(
                format!("{n} entries of metadata were left out: at most {MAX_METADATA} of {MAX_METADATA_LEN} bytes are kept").into(),
            )
        })
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Metadata, E> {
                Ok(Metadata::default())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Metadata, E> {
                let mut metadata = Metadata::default();
                // Plivo's `extra_headers`: `k=v;k=v` or `k=v,k=v`, sometimes an object as a string.
                if let Ok(inner) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text) {
                    inner.iter().for_each(|(key, value)| metadata.keep_json(key, value));
                } else {
                    let pairs = text.split([';', ',']).filter_map(|pair| pair.split_once('='));
                    pairs.for_each(|(key, value)| metadata.keep(key.trim(), value.trim()));
                }
                Ok(metadata)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut metadata = Metadata::default();
                while let Some((key, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    metadata.keep_json(&key.0, value);
                }
                Ok(metadata)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Metadata, A::Error> {
                let mut metadata = Metadata::default();
                while seq.next_element::<de::IgnoredAny>()?.is_some() {
                    metadata.left_out += 1;
                }
                Ok(metadata)
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message as one line of a story.
    pub(crate) fn line(message: &Message<'_>) -> String {
        let who = |role: &Speaker| match role {
            Speaker::Caller => "caller",
            Speaker::Agent => "agent",
        };
        match message {
            Message::Started(start) => {
                let agent = start.agent.map(|_| " agent").unwrap_or_default();
                let id = |id: &Option<String>| id.clone().unwrap_or("-".into());
                format!("start {} {} {}{agent}", start.source, id(&start.call), id(&start.stream))
            }
            Message::Media { track, position, payload } => {
                format!("{} {position} +{}", who(track), payload.len())
            }
            Message::Gap { track, cause, from, to } => {
                let cause = format!("{cause:?}").to_lowercase();
                format!("{} {cause} {from}..{to}", who(track))
            }
            Message::Dtmf(key) => format!("key {key}"),
            Message::Paused => "paused".into(),
            Message::Resumed => "resumed".into(),
            Message::Mark(name) => format!("mark {name}"),
            Message::Problem(problem) => format!("problem {problem}"),
            Message::Stopped(cause) => format!("stopped {cause}"),
        }
    }

    #[test]
    fn what_the_path_declares_is_read_or_refused() {
        let declared =
            Declared::parse("rate=16000&mix=stereo&token=x&tracks=both&caller_only=false").unwrap();
        let expected = Declared {
            rate: Some(SampleRate(16_000)),
            mix: Some(Mix::Stereo),
            both_tracks: true,
            caller_only: false,
        };
        assert_eq!(declared, expected);
        assert_eq!(Declared::parse(""), Ok(Declared::default()));
        for wrong in ["rate=1", "rate=x", "mix=quad", "tracks=mine", "caller_only=yes"] {
            assert!(Declared::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_cut_and_escaped() {
        let quoted = Quoted::new(&format!("a\n{}", "x".repeat(100))).to_string();
        assert_eq!(quoted, format!("\"a\\n{}\"", "x".repeat(38)));
    }
}
