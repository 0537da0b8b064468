//! JSON media streams of the Twilio family over a WebSocket: Twilio, SignalWire, Telnyx, Plivo, Exotel.
//!
//! Sources: Twilio "Media Streams - WebSocket Messages"; SignalWire cXML `<Stream>`; Telnyx "Stream call media over WebSocket"
//! (AsyncAPI); Plivo "Audio Streaming Reference"; Exotel "Stream and Voicebot applets". The peer is the WebSocket's client and sends
//! text alone: `connected`, `start`, then `media`, `dtmf` and `mark`, then `stop`. They differ in the names of ids, in what a
//! number is written as, in the clock of a timestamp and in whether messages keep their order: [`Dialect`].

use std::{borrow::Cow, collections::BTreeMap, fmt, mem};

use base64::{
    DecodeError, Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Count, Declared, Encoding, Format, GapCause, MAX_MESSAGE, Message, Metadata, Quoted, Refusal, Reply,
    START_DEADLINE_US, Session, Speaker, Start, Text, Timeline, bounded, encoding_named, id, json, key,
    rate_read,
};
use warmline_core::units::{CallTime, Pii, SampleRate};

/// Chunks of a track that wait for one before them, where the order is not kept; then what is missing counts as lost. 160 ms of
/// 20 ms chunks.
pub const REORDER_CHUNKS: usize = 8;

/// Who speaks this protocol, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Twilio: the family's name.
    Twilio,
    /// SignalWire: Twilio's words; L16 is little-endian.
    SignalWire,
    /// Telnyx: ids in snake case, more codecs, payloads as RTP has them, and **no order**.
    Telnyx,
    /// Plivo: no `connected`, counts are numbers, a timestamp is Unix time.
    Plivo,
    /// Exotel: ids in snake case, linear little-endian, no track.
    Exotel,
}

impl Dialect {
    /// The source's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::SignalWire => "signalwire",
            Self::Telnyx => "telnyx",
            Self::Plivo => "plivo",
            Self::Exotel => "exotel",
        }
    }

    /// By the source's name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Twilio, Self::SignalWire, Self::Telnyx, Self::Plivo, Self::Exotel]
            .into_iter()
            .find(|dialect| dialect.name() == name)
    }

    /// What a linear payload's byte order is: RTP's where payloads are RTP's (RFC 3551 4.5.11).
    fn linear(self) -> Encoding {
        if self == Self::Telnyx { Encoding::L16Be } else { Encoding::L16Le }
    }

    /// Whether chunks may overtake each other.
    fn reorders(self) -> bool {
        self == Self::Telnyx
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What may be sent to the peer of a bidirectional stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Play this, in the stream's own encoding.
    Media(&'a [u8]),
    /// Tell when everything before this was played.
    Mark(&'a str),
    /// Forget what was not played yet.
    Clear,
}

impl Command<'_> {
    /// The text message for this dialect. `stream` is the id the start named.
    pub fn encode(&self, dialect: Dialect, stream: &str) -> String {
        let payload = |bytes: &[u8]| general_purpose::STANDARD.encode(bytes);
        let body = match (dialect, self) {
            (Dialect::Plivo, Self::Media(bytes)) => {
                let media =
                    json!({"contentType": "audio/x-mulaw", "sampleRate": 8000, "payload": payload(bytes)});
                return json!({"event": "playAudio", "media": media}).to_string();
            }
            (Dialect::Plivo, Self::Mark(name)) => {
                json!({"event": "checkpoint", "streamId": stream, "name": name})
            }
            (Dialect::Plivo, Self::Clear) => json!({"event": "clearAudio", "streamId": stream}),
            (Dialect::Exotel, Self::Media(bytes)) => {
                json!({"event": "media", "stream_sid": stream, "media": {"payload": payload(bytes)}})
            }
            (Dialect::Exotel, Self::Mark(name)) => {
                json!({"event": "mark", "stream_sid": stream, "mark": {"name": name}})
            }
            (Dialect::Exotel, Self::Clear) => json!({"event": "clear", "stream_sid": stream}),
            (Dialect::Telnyx, Self::Media(bytes)) => {
                json!({"event": "media", "media": {"payload": payload(bytes)}})
            }
            (Dialect::Telnyx, Self::Mark(name)) => json!({"event": "mark", "mark": {"name": name}}),
            (Dialect::Telnyx, Self::Clear) => json!({"event": "clear"}),
            (Dialect::Twilio | Dialect::SignalWire, Self::Media(bytes)) => {
                json!({"event": "media", "streamSid": stream, "media": {"payload": payload(bytes)}})
            }
            (Dialect::Twilio | Dialect::SignalWire, Self::Mark(name)) => {
                json!({"event": "mark", "streamSid": stream, "mark": {"name": name}})
            }
            (Dialect::Twilio | Dialect::SignalWire, Self::Clear) => {
                json!({"event": "clear", "streamSid": stream})
            }
        };
        body.to_string()
    }
}

/// One stream of the family. `inbound` is the caller, `outbound` whoever the caller hears.
#[derive(Debug)]
pub struct Stream {
    /// As the path said, or the start's ids.
    dialect: Option<Dialect>,
    declared: Declared,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing but `connected`.
    Opening,
    Streaming(Box<Tracks>),
    Stopped,
}

impl Stream {
    /// A stream whose start is still to come. Without a dialect, the ids of the start tell.
    pub fn new(dialect: Option<Dialect>, declared: Declared) -> Self {
        Self { dialect, declared, state: State::Opening }
    }

    /// The dialect, as soon as it is known.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    fn protocol(&self) -> &'static str {
        self.dialect.map_or("twilio", Dialect::name)
    }

    fn start(&mut self, frame: Frame<'_>, told: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        let ids = frame.start.as_ref();
        let dialect = self.dialect.or_else(|| ids.and_then(|ids| sniff(ids, frame.stream.is_some())));
        let dialect = dialect.unwrap_or(Dialect::Twilio);
        let (start, problem) = read_start(dialect, self.declared, frame)?;
        self.dialect = Some(dialect);
        let tracks = Tracks {
            dialect,
            caller: Track::new(start.caller),
            agent: start.agent.map(Track::new),
            caller_only: self.declared.caller_only,
            origin_ms: None,
            undeclared: false,
        };
        told(Message::Started(Box::new(start)));
        problem.into_iter().for_each(told);
        self.state = State::Streaming(Box::new(tracks));
        Ok(())
    }

    fn stop(&mut self, cause: Cow<'static, str>, told: &mut dyn FnMut(Message<'_>)) {
        if let State::Streaming(mut tracks) = mem::replace(&mut self.state, State::Stopped) {
            tracks.flush(told);
            told(Message::Stopped(cause));
        }
    }
}

impl Session for Stream {
    fn handle_text(
        &mut self,
        _: CallTime,
        text: &str,
        payload: &mut Vec<u8>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        let protocol = self.protocol();
        let frame: Frame<'_> = json(protocol, text)?;
        match (&*frame.event.0, &mut self.state) {
            ("media", State::Streaming(tracks)) => {
                let media = frame.media.ok_or(Refusal::Missing {
                    protocol,
                    field: "media",
                    mend: "a media message carries track, timestamp and payload",
                })?;
                tracks.media(&media, payload, told)
            }
            ("connected", State::Opening) => Ok(()),
            ("start", State::Opening) => self.start(frame, told),
            ("dtmf", State::Streaming(_)) => {
                if let Some(key) = frame.dtmf.and_then(|dtmf| key(&dtmf.digit.0)) {
                    told(Message::Dtmf(key));
                }
                Ok(())
            }
            ("mark", State::Streaming(_)) => {
                if let Some(name) = frame.mark.and_then(|mark| mark.name) {
                    told(Message::Mark(&name.0));
                }
                Ok(())
            }
            ("playedStream", State::Streaming(_)) => {
                if let Some(name) = frame.name {
                    told(Message::Mark(&name.0));
                }
                Ok(())
            }
            ("stop", State::Streaming(_)) => {
                self.stop("stop".into(), told);
                Ok(())
            }
            ("error", State::Streaming(_)) => {
                told(Message::Problem(format!("{protocol} reports an error of its own").into()));
                Ok(())
            }
            (event @ ("media" | "dtmf" | "mark" | "stop"), State::Opening) => Err(Refusal::OutOfPlace {
                protocol,
                read: Quoted::new(event),
                when: "before start",
                expected: "\"connected\" or \"start\"",
            }),
            (_, State::Stopped | State::Streaming(_)) => Ok(()),
            (event, State::Opening) => Err(Refusal::OutOfPlace {
                protocol,
                read: Quoted::new(event),
                when: "first",
                expected: "\"connected\" or \"start\"",
            }),
        }
    }

    fn handle_binary(
        &mut self,
        _: CallTime,
        bytes: &[u8],
        _: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        bounded(bytes.len())?;
        Err(Refusal::OutOfPlace {
            protocol: self.protocol(),
            read: Quoted::new("a binary message"),
            when: "in a protocol of text",
            expected: "JSON; FreeSWITCH, Vonage and Asterisk have their own paths",
        })
    }

    fn handle_timeout(&mut self, now: CallTime, _: &mut dyn FnMut(Message<'_>)) -> Result<(), Refusal> {
        match self.poll_timeout() {
            Some(at) if at <= now => {
                Err(Refusal::NoStart { protocol: self.protocol(), expected: "\"start\" with the call's ids" })
            }
            _ => Ok(()),
        }
    }

    fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        self.stop("closed".into(), told);
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        matches!(self.state, State::Opening).then_some(CallTime(START_DEADLINE_US))
    }

    fn poll_reply(&mut self) -> Option<Reply> {
        None
    }
}

/// A message of any kind and dialect; what is not named here is skipped.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    media: Option<Media<'a>>,
    #[serde(borrow, alias = "streamSid", alias = "stream_id", alias = "streamId", alias = "stream_sid")]
    stream: Option<Text<'a>>,
    #[serde(borrow)]
    start: Option<Ids<'a>>,
    #[serde(borrow)]
    dtmf: Option<Dtmf<'a>>,
    #[serde(borrow)]
    mark: Option<Mark<'a>>,
    /// Plivo's checkpoint.
    #[serde(borrow)]
    name: Option<Text<'a>>,
    /// Plivo's custom fields.
    extra_headers: Option<Metadata>,
}

#[derive(Deserialize)]
struct Media<'a> {
    #[serde(borrow)]
    track: Option<Text<'a>>,
    chunk: Option<Count>,
    timestamp: Option<Count>,
    #[serde(borrow)]
    payload: Text<'a>,
}

#[derive(Deserialize)]
struct Dtmf<'a> {
    #[serde(borrow)]
    digit: Text<'a>,
}

#[derive(Deserialize)]
struct Mark<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// The start's body, in every dialect's words.
#[derive(Deserialize)]
struct Ids<'a> {
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Text<'a>>,
    #[serde(borrow, rename = "callSid")]
    call_sid: Option<Text<'a>>,
    #[serde(borrow)]
    call_control_id: Option<Text<'a>>,
    #[serde(borrow, rename = "streamId")]
    plivo_stream: Option<Text<'a>>,
    #[serde(borrow, rename = "callId")]
    plivo_call: Option<Text<'a>>,
    #[serde(borrow, rename = "stream_sid")]
    exotel_stream: Option<Text<'a>>,
    #[serde(borrow, rename = "call_sid")]
    exotel_call: Option<Text<'a>>,
    tracks: Option<Vec<String>>,
    #[serde(borrow, alias = "mediaFormat")]
    media_format: Option<MediaFormat<'a>>,
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    to: Option<Text<'a>>,
    #[serde(borrow)]
    client_state: Option<Text<'a>>,
    #[serde(alias = "customParameters")]
    custom_parameters: Option<Metadata>,
}

#[derive(Deserialize)]
struct MediaFormat<'a> {
    #[serde(borrow)]
    encoding: Option<Text<'a>>,
    #[serde(alias = "sampleRate")]
    sample_rate: Option<Count>,
    channels: Option<Count>,
}

/// Whose words the ids are.
fn sniff(ids: &Ids<'_>, stream_on_top: bool) -> Option<Dialect> {
    if ids.call_control_id.is_some() && stream_on_top {
        Some(Dialect::Telnyx)
    } else if ids.plivo_stream.is_some() && ids.plivo_call.is_some() {
        Some(Dialect::Plivo)
    } else if ids.exotel_stream.is_some() && ids.exotel_call.is_some() {
        Some(Dialect::Exotel)
    } else if ids.stream_sid.is_some() && ids.call_sid.is_some() {
        Some(Dialect::Twilio)
    } else {
        None
    }
}

fn read_start(
    dialect: Dialect,
    declared: Declared,
    frame: Frame<'_>,
) -> Result<(Start, Option<Message<'static>>), Refusal> {
    let protocol = dialect.name();
    let ids = frame.start.ok_or(Refusal::Missing {
        protocol,
        field: "start",
        mend: "a start message carries the ids of the call and the stream",
    })?;
    let format = read_format(dialect, ids.media_format)?;
    let both = declared.both_tracks;
    let (caller, agent) = match &ids.tracks {
        Some(tracks) => {
            let has = |name: &str| tracks.iter().any(|track| track.starts_with(name));
            (has("inbound"), has("outbound") || both)
        }
        None => (true, both),
    };
    if !caller && !declared.caller_only {
        return Err(Refusal::Missing {
            protocol,
            field: "the inbound track",
            mend: "it carries the caller: ask for inbound_track or both_tracks",
        });
    }
    let mut metadata = ids.custom_parameters.unwrap_or_default();
    if let Some(headers) = frame.extra_headers {
        metadata.extend(headers);
    }
    if let Some(Text(state)) = ids.client_state.filter(|state| !state.0.is_empty()) {
        metadata.keep("client_state", &state);
    }
    let call = ids.call_sid.or(ids.call_control_id).or(ids.plivo_call).or(ids.exotel_call);
    let stream = ids.stream_sid.or(ids.plivo_stream).or(ids.exotel_stream).or(frame.stream);
    let problem = metadata.problem();
    let start = Start {
        source: protocol,
        call: id(protocol, call)?,
        stream: id(protocol, stream)?,
        caller_channel: "inbound",
        caller: format,
        agent: agent.then_some(format),
        from: id(protocol, ids.from)?.map(Pii::new),
        to: id(protocol, ids.to)?.map(Pii::new),
        metadata: Pii::new(metadata.entries),
    };
    Ok((start, problem))
}

fn read_format(dialect: Dialect, format: Option<MediaFormat<'_>>) -> Result<Format, Refusal> {
    let protocol = dialect.name();
    let telephony = Format::mono(Encoding::Pcmu, SampleRate(8_000));
    let linear = Format::mono(Encoding::L16Le, SampleRate(8_000));
    let usual = if dialect == Dialect::Exotel { linear } else { telephony };
    let Some(format) = format else { return Ok(usual) };
    if let Some(Count(channels)) = format.channels.filter(|channels| channels.0 > 1) {
        return Err(Refusal::Format {
            protocol,
            what: "number of channels",
            read: Quoted::new(&channels.to_string()),
            mend: "send one channel a track",
        });
    }
    let Some(Text(name)) = format.encoding else { return Ok(usual) };
    let coded = name.trim().rsplit('/').next().unwrap_or_default().to_ascii_uppercase();
    match coded.as_str() {
        "G722" => return Ok(Format::G722),
        "OPUS" => return Ok(Format::Opus),
        _ => {}
    }
    let encoding = encoding_named(&name, dialect.linear()).ok_or_else(|| Refusal::Format {
        protocol,
        what: "encoding",
        read: Quoted::new(&name),
        mend: "send PCMU, PCMA, L16, G722 or OPUS",
    })?;
    let rate = match format.sample_rate {
        Some(Count(hz)) => rate_read(protocol, hz)?,
        None => SampleRate(8_000),
    };
    Ok(Format::mono(encoding, rate))
}

/// The tracks of a stream that has begun.
#[derive(Debug)]
struct Tracks {
    dialect: Dialect,
    caller: Track,
    agent: Option<Track>,
    caller_only: bool,
    /// What timestamps count from, if that is not the stream's start.
    origin_ms: Option<u64>,
    /// Whether a track nobody announced was told of.
    undeclared: bool,
}

impl Tracks {
    fn media(
        &mut self,
        media: &Media<'_>,
        payload: &mut Vec<u8>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Refusal> {
        let protocol = self.dialect.name();
        let role = match media.track.as_ref().map(|track| &*track.0) {
            None | Some("inbound" | "inbound_track" | "") => Speaker::Caller,
            Some("outbound" | "outbound_track") if !self.caller_only => Speaker::Agent,
            Some(_) if self.caller_only => Speaker::Caller,
            Some(_) => {
                return Err(Refusal::Mixed {
                    protocol,
                    mend: "ask for both_tracks, or declare it caller-only",
                });
            }
        };
        let track = match role {
            Speaker::Caller => Some(&mut self.caller),
            Speaker::Agent => self.agent.as_mut(),
        };
        let Some(track) = track else {
            if !mem::replace(&mut self.undeclared, true) {
                told(Message::Problem(
                    "an outbound track comes that the start did not announce: it is left out; declare both tracks".into(),
                ));
            }
            return Ok(());
        };
        if decode_base64(media.payload.0.as_bytes(), payload).is_err() {
            told(Message::Problem(Refusal::Base64 { protocol }.to_string().into()));
            return Ok(());
        }
        let ms = media.timestamp.map(|Count(ms)| {
            let origin = *self.origin_ms.get_or_insert(if ms > UNIX_TIME_MS { ms } else { 0 });
            ms.saturating_sub(origin)
        });
        match media.chunk {
            Some(Count(chunk)) if self.dialect.reorders() => track.order(role, chunk, ms, payload, told),
            _ => track.pass(role, ms, payload, told),
        }
        Ok(())
    }

    fn flush(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        self.caller.flush(Speaker::Caller, told);
        if let Some(agent) = &mut self.agent {
            agent.flush(Speaker::Agent, told);
        }
    }
}

/// A timestamp beyond this is no time since a stream's start but a date: one day.
const UNIX_TIME_MS: u64 = 86_400_000;

/// One track: its timeline, and chunks that came before their turn.
#[derive(Debug)]
struct Track {
    format: Format,
    timeline: Timeline,
    next_chunk: Option<u64>,
    held: BTreeMap<u64, (Option<u64>, Vec<u8>)>,
}

impl Track {
    fn new(format: Format) -> Self {
        Self { format, timeline: Timeline::new(format.rate()), next_chunk: None, held: BTreeMap::new() }
    }

    /// Gives a chunk whose turn it is.
    fn pass(&mut self, track: Speaker, ms: Option<u64>, payload: &[u8], told: &mut dyn FnMut(Message<'_>)) {
        let samples = self.format.samples_in(payload);
        if samples == 0 {
            return;
        }
        let (position, gap) = self.timeline.place(ms, samples);
        if let Some((from, to)) = gap {
            told(Message::Gap { track, cause: GapCause::Lost, from, to });
        }
        told(Message::Media { track, position, payload });
    }

    /// Gives a chunk and those it held up, or holds it until those before it have come.
    fn order(
        &mut self,
        role: Speaker,
        chunk: u64,
        ms: Option<u64>,
        payload: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) {
        let first = if chunk <= REORDER_CHUNKS as u64 { 1 } else { chunk };
        let next = *self.next_chunk.get_or_insert(first);
        if chunk < next {
            return; // a repetition, or given up
        }
        if chunk == next {
            self.next_chunk = Some(next.saturating_add(1));
            self.pass(role, ms, payload, told);
        } else {
            self.held.entry(chunk).or_insert_with(|| (ms, payload.to_vec()));
            let bytes: usize = self.held.values().map(|(_, payload)| payload.len()).sum();
            if self.held.len() > REORDER_CHUNKS || bytes > MAX_MESSAGE {
                self.next_chunk = self.held.keys().next().copied();
            }
        }
        while let Some((ms, payload)) = self.next_chunk.and_then(|next| self.held.remove(&next)) {
            self.next_chunk = self.next_chunk.map(|next| next.saturating_add(1));
            self.pass(role, ms, &payload, told);
        }
    }

    fn flush(&mut self, role: Speaker, told: &mut dyn FnMut(Message<'_>)) {
        for (ms, payload) in mem::take(&mut self.held).into_values() {
            self.pass(role, ms, &payload, told);
        }
    }
}

/// Standard base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.clear();
    BASE64.decode_vec(text, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_METADATA;
    use warmline_core::media::TrackFormat;

    const CONNECTED: &str = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;

    #[test]
    fn a_call_is_told_from_start_to_stop() {
        let mut story = Story::new(None);
        story.text(CONNECTED);
        story.text(&start(r#""inbound","outbound""#));
        story.text(&media("inbound", 1, 0, &[0xFF; 160]));
        story.text(&media("outbound", 1, 0, &[0x7F; 160]));
        story.text(r#"{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"0"}}"#);
        story.text(r#"{"event":"mark","streamSid":"MZ1","sequenceNumber":"6","mark":{"name":"greeting"}}"#);
        story.text(r#"{"event":"stop","streamSid":"MZ1","sequenceNumber":"7","stop":{"accountSid":"AC1","callSid":"CA1"}}"#);
        story.session.handle_closed(&mut |message| panic!("{message:?} after the stop"));
        assert_eq!(
            story.lines,
            [
                "start twilio CA1 MZ1 agent",
                "caller 0 +160",
                "agent 0 +160",
                "key 0",
                "mark greeting",
                "stopped stop"
            ]
        );
    }

    #[test]
    fn the_start_says_who_and_what() {
        let mut start = None;
        Stream::new(None, Declared::default())
            .handle_text(
                CallTime::ZERO,
                &super::tests::start(r#""inbound""#),
                &mut Vec::new(),
                &mut |message| {
                    if let Message::Started(read) = message {
                        start = Some(*read);
                    }
                },
            )
            .unwrap();
        let start = start.unwrap();
        assert_eq!(start.caller, Format::Samples(TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000))));
        assert_eq!(start.agent, None);
        assert_eq!(start.metadata.expose().get("queue").map(String::as_str), Some("billing"));
        assert_eq!(start.metadata.expose().get("n").map(String::as_str), Some("7"));
    }

    #[test]
    fn interleaved_tracks_are_two_timelines() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound","outbound""#));
        for chunk in 1..=3 {
            story.text(&media("inbound", chunk, (chunk - 1) * 20, &[1; 160]));
            story.text(&media("outbound", chunk, (chunk - 1) * 20, &[2; 160]));
        }
        assert_eq!(
            story.lines[1..],
            [
                "caller 0 +160",
                "agent 0 +160",
                "caller 160 +160",
                "agent 160 +160",
                "caller 320 +160",
                "agent 320 +160",
            ]
        );
    }

    #[test]
    fn missing_silence_is_filled_by_the_timestamp() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        story.text(&media("inbound", 1, 0, &[1; 160]));
        story.text(&media("inbound", 2, 5_020, &[1; 160]));
        assert_eq!(story.lines[1..], ["caller 0 +160", "caller lost 160..40160", "caller 40160 +160"]);
    }

    #[test]
    fn a_jittering_timestamp_makes_no_click_and_does_not_add_up() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        for chunk in 0u64..500 {
            let ms = chunk * 20 + [0, 3, 9, 1, 12][usize::try_from(chunk % 5).unwrap()];
            story.text(&media("inbound", chunk + 1, ms, &[1; 160]));
        }
        assert_eq!(story.lines.len(), 501);
        assert_eq!(story.lines[500], "caller 79840 +160");
    }

    #[test]
    fn a_chunk_of_any_length_is_taken() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        for (chunk, (ms, len)) in [(0, 160), (20, 1), (20, 799), (120, 160)].into_iter().enumerate() {
            story.text(&media("inbound", chunk as u64, ms, &vec![1; len]));
        }
        assert_eq!(
            story.lines[1..],
            ["caller 0 +160", "caller 160 +1", "caller 161 +799", "caller 960 +160"]
        );
    }

    #[test]
    fn telnyx_chunks_out_of_order_are_put_in_order() {
        let mut story = Story::new(None);
        story.text(TELNYX);
        for chunk in [2, 1, 3, 6, 5, 4, 4] {
            story.text(&media("inbound", chunk, (chunk - 1) * 20, &[u8::try_from(chunk).unwrap(); 160]));
        }
        assert_eq!(story.lines[1..], (0..6).map(|n| format!("caller {} +160", n * 160)).collect::<Vec<_>>());
        assert_eq!(story.first_bytes, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_telnyx_chunk_that_never_comes_is_lost_after_a_bound() {
        let mut story = Story::new(None);
        story.text(TELNYX);
        story.text(&media("inbound", 1, 0, &[1; 160]));
        for chunk in 3..=11 {
            story.text(&media("inbound", chunk, (chunk - 1) * 20, &[1; 160]));
        }
        story.text(&media("inbound", 2, 20, &[1; 160])); // too late
        story.session.handle_closed(&mut |message| story.lines.push(line(&message)));
        assert_eq!(story.lines[1..4], ["caller 0 +160", "caller lost 160..320", "caller 320 +160"]);
        assert_eq!(story.lines.len(), 1 + 1 + 1 + 9 + 1);
    }

    #[test]
    fn what_telnyx_held_back_comes_before_the_end() {
        let mut story = Story::new(None);
        story.text(TELNYX);
        story.text(&media("inbound", 2, 20, &[1; 160]));
        story.session.handle_closed(&mut |message| story.lines.push(line(&message)));
        assert_eq!(story.lines[1..], ["caller 160 +160", "stopped closed"]);
    }

    #[test]
    fn every_dialect_is_told_by_its_ids() {
        let check = |text: &str, expected: &str| {
            let mut story = Story::new(None);
            story.text(text);
            assert_eq!(story.lines, [expected], "{text}");
        };
        check(&start(r#""inbound""#), "start twilio CA1 MZ1");
        check(TELNYX, "start telnyx v3:abc 32de");
        check(PLIVO, "start plivo call-1 stream-1");
        check(EXOTEL, "start exotel call-2 stream-2");
    }

    #[test]
    fn plivo_timestamps_are_dates_and_count_from_the_first() {
        let mut story = Story::new(None);
        story.text(PLIVO);
        for (chunk, ms) in [(1, 1_705_312_200_000u64), (2, 1_705_312_200_020), (3, 1_705_312_201_040)] {
            let payload = general_purpose::STANDARD.encode([1; 160]);
            story.text(&format!(
                r#"{{"sequenceNumber":{chunk},"streamId":"stream-1","event":"media","media":{{"track":"inbound","timestamp":"{ms}","chunk":{chunk},"payload":"{payload}"}},"extra_headers":"{{}}"}}"#
            ));
        }
        assert_eq!(
            story.lines[1..],
            ["caller 0 +160", "caller 160 +160", "caller lost 320..8320", "caller 8320 +160"]
        );
    }

    #[test]
    fn exotel_sends_linear_little_endian() {
        let mut format = None;
        Stream::new(None, Declared::default())
            .handle_text(CallTime::ZERO, EXOTEL, &mut Vec::new(), &mut |message| {
                if let Message::Started(start) = message {
                    format = Some(start.caller);
                }
            })
            .unwrap();
        assert_eq!(format, Some(Format::mono(Encoding::L16Le, SampleRate(8_000))));
    }

    #[test]
    fn telnyx_codecs_are_rtps() {
        let check = |encoding: &str, rate: u32, expected: Result<Format, &str>| {
            let text = TELNYX.replace("PCMU", encoding).replace("8000", &rate.to_string());
            let mut format = None;
            let read = Stream::new(None, Declared::default()).handle_text(
                CallTime::ZERO,
                &text,
                &mut Vec::new(),
                &mut |message| {
                    if let Message::Started(start) = message {
                        format = Some(start.caller);
                    }
                },
            );
            match expected {
                Ok(expected) => assert_eq!(format, Some(expected)),
                Err(sentence) => assert_eq!(read.unwrap_err().to_string(), sentence),
            }
        };
        check("PCMA", 8_000, Ok(Format::mono(Encoding::Pcma, SampleRate(8_000))));
        check("L16", 16_000, Ok(Format::mono(Encoding::L16Be, SampleRate(16_000))));
        check("G722", 16_000, Ok(Format::G722));
        check("OPUS", 16_000, Ok(Format::Opus));
        check(
            "AMR-WB",
            16_000,
            Err("telnyx: encoding \"AMR-WB\" is not read: send PCMU, PCMA, L16, G722 or OPUS"),
        );
        check("L16", 4_000, Err("telnyx: sample rate \"4000\" is not read: send 8000 to 48000 Hz"));
    }

    #[test]
    fn a_mixed_track_is_refused_unless_it_is_declared_caller_only() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        let mixed = media("mixed", 1, 0, &[1; 160]);
        assert_eq!(
            story.refused(&mixed),
            "twilio: caller and agent come mixed in one channel, and only a caller is scored: ask for both_tracks, or declare it caller-only"
        );
        let mut story = Story::declared(Declared { caller_only: true, ..Declared::default() });
        story.text(&start(r#""inbound""#));
        story.text(&mixed);
        assert_eq!(story.lines[1..], ["caller 0 +160"]);
    }

    #[test]
    fn an_agent_nobody_announced_is_left_out_and_told_once() {
        let mut story = Story::new(None);
        story.text(TELNYX);
        story.text(&media("outbound", 1, 0, &[1; 160]));
        story.text(&media("outbound", 2, 20, &[1; 160]));
        assert_eq!(story.lines.len(), 2, "{:?}", story.lines);
        let mut story = Story::declared(Declared { both_tracks: true, ..Declared::default() });
        story.text(TELNYX);
        story.text(&media("outbound", 1, 0, &[1; 160]));
        assert_eq!(story.lines[1], "agent 0 +160");
    }

    #[test]
    fn a_stream_of_the_agent_alone_is_refused() {
        let mut story = Story::new(None);
        assert_eq!(
            story.refused(&start(r#""outbound""#)),
            "twilio: the inbound track is missing: it carries the caller: ask for inbound_track or both_tracks"
        );
    }

    #[test]
    fn a_socket_that_breaks_is_the_end() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        story.session.handle_closed(&mut |message| story.lines.push(line(&message)));
        assert_eq!(story.lines[1..], ["stopped closed"]);
    }

    #[test]
    fn without_a_start_the_stream_is_refused_in_time() {
        let mut story = Story::new(None);
        story.text(CONNECTED);
        let at = story.session.poll_timeout().unwrap();
        assert!(story.session.handle_timeout(CallTime(at.0 - 1), &mut |_| {}).is_ok());
        let error = story.session.handle_timeout(at, &mut |_| {}).unwrap_err();
        assert_eq!(
            error.to_string(),
            "twilio: nothing said what comes within 10 s: \"start\" with the call's ids"
        );
    }

    #[test]
    fn a_refusal_says_where_and_nothing_of_what_was_there() {
        let mut story = Story::new(None);
        let error =
            story.refused(r#"{"event":"start","start":{"from":"+15550100","media_format":"+15550100"}}"#);
        assert!(error.contains("column") && !error.contains("555"), "{error}");
        assert!(story.refused(&"x".repeat(MAX_MESSAGE + 1)).starts_with("a message of 65537 bytes"));
        assert!(story.refused(r#"{"event":"media","media":{"payload":""}}"#).contains("came before start"));
    }

    #[test]
    fn a_timestamp_out_of_all_time_is_not_followed() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        story.text(&media("inbound", 1, 0, &[1; 160]));
        story.text(&media("inbound", 2, u64::MAX / 2, &[1; 160]));
        story.text(&media("inbound", 3, 40, &[1; 160]));
        assert_eq!(story.lines[1..], ["caller 0 +160", "caller 160 +160", "caller 320 +160"]);
    }

    #[test]
    fn a_payload_that_is_no_base64_is_told_and_left_out() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        story.text(
            r#"{"event":"media","media":{"track":"inbound","chunk":"1","timestamp":"0","payload":"!"}}"#,
        );
        story.text(&media("inbound", 2, 20, &[1; 160]));
        assert_eq!(story.lines[1..], ["problem twilio: a payload is not base64", "caller 160 +160"]);
    }

    #[test]
    fn escaped_slashes_in_base64_are_read() {
        let mut story = Story::new(None);
        story.text(&start(r#""inbound""#));
        story.text(r#"{"event":"media","media":{"track":"inbound","chunk":"1","timestamp":"0","payload":"\/\/\/\/"}}"#);
        assert_eq!(story.lines[1], "caller 0 +3");
        assert_eq!(story.first_bytes, [0xFF]);
    }

    #[test]
    fn metadata_is_bounded_and_that_is_told() {
        let entries: Vec<String> = (0..MAX_METADATA + 3).map(|n| format!(r#""k{n}":"v""#)).collect();
        let text = start(r#""inbound""#).replace(r#""queue":"billing""#, &entries.join(","));
        let mut story = Story::new(None);
        story.text(&text);
        assert_eq!(
            story.lines[1],
            "problem 4 entries of metadata were left out: at most 64 of 1024 bytes are kept"
        );
    }

    #[test]
    fn commands_are_written_in_each_dialect() {
        let check = |dialect, command: Command<'_>, expected: &str| {
            assert_eq!(command.encode(dialect, "S1"), expected);
        };
        check(Dialect::Twilio, Command::Clear, r#"{"event":"clear","streamSid":"S1"}"#);
        check(
            Dialect::Twilio,
            Command::Mark("m"),
            r#"{"event":"mark","mark":{"name":"m"},"streamSid":"S1"}"#,
        );
        check(Dialect::Telnyx, Command::Media(&[0xFF; 3]), r#"{"event":"media","media":{"payload":"////"}}"#);
        check(Dialect::Plivo, Command::Clear, r#"{"event":"clearAudio","streamId":"S1"}"#);
        check(Dialect::Exotel, Command::Clear, r#"{"event":"clear","stream_sid":"S1"}"#);
    }

    const TELNYX: &str = r#"{"event":"start","sequence_number":"1","start":{"user_id":"u","call_control_id":"v3:abc","call_session_id":"s","from":"+15550100","to":"+15550101","client_state":"aGVsbG8=","media_format":{"encoding":"PCMU","sample_rate":8000,"channels":1}},"stream_id":"32de"}"#;
    const PLIVO: &str = r#"{"sequenceNumber":0,"event":"start","start":{"callId":"call-1","streamId":"stream-1","accountId":"MA","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000}},"extra_headers":"queue=billing;intent=bill"}"#;
    const EXOTEL: &str = r#"{"event":"start","sequence_number":"1","stream_sid":"stream-2","start":{"stream_sid":"stream-2","call_sid":"call-2","account_sid":"acc","from":"+15550100","to":"+15550101","custom_parameters":{"queue":"billing"},"media_format":{"encoding":"audio/x-raw","sample_rate":"8000","bit_rate":"128kbps"}}}"#;

    fn start(tracks: &str) -> String {
        format!(
            r#"{{"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{{"accountSid":"AC1","streamSid":"MZ1","callSid":"CA1","tracks":[{tracks}],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}},"customParameters":{{"queue":"billing","n":7}}}}}}"#
        )
    }

    fn media(track: &str, chunk: u64, ms: u64, payload: &[u8]) -> String {
        let payload = general_purpose::STANDARD.encode(payload);
        format!(
            r#"{{"event":"media","sequenceNumber":"4","streamSid":"MZ1","media":{{"track":"{track}","chunk":"{chunk}","timestamp":"{ms}","payload":"{payload}"}}}}"#
        )
    }

    struct Story {
        session: Stream,
        lines: Vec<String>,
        first_bytes: Vec<u8>,
    }

    impl Story {
        fn new(dialect: Option<Dialect>) -> Self {
            Self {
                session: Stream::new(dialect, Declared::default()),
                lines: Vec::new(),
                first_bytes: Vec::new(),
            }
        }

        fn declared(declared: Declared) -> Self {
            Self { session: Stream::new(None, declared), lines: Vec::new(), first_bytes: Vec::new() }
        }

        fn text(&mut self, text: &str) {
            let (lines, first) = (&mut self.lines, &mut self.first_bytes);
            self.session
                .handle_text(CallTime::ZERO, text, &mut Vec::new(), &mut |message| {
                    if let Message::Media { payload, .. } = &message {
                        first.push(payload[0]);
                    }
                    lines.push(line(&message));
                })
                .unwrap();
        }

        fn refused(&mut self, text: &str) -> String {
            self.session
                .handle_text(CallTime::ZERO, text, &mut Vec::new(), &mut |message| panic!("{message:?}"))
                .unwrap_err()
                .to_string()
        }
    }

    use crate::tests::line;
}
