//! AudioSocket of Asterisk over TCP: frames of `kind u8 | length u16 big-endian | payload`, samples little-endian.
//!
//! Sources: Asterisk documentation, "Channel Drivers: AudioSocket"; `res_audiosocket.c`, `app_audiosocket.c`,
//! `chan_audiosocket.c`. Asterisk is the client: it sends the call's UUID, then audio of one leg, at 8 kHz unless the channel
//! driver is told otherwise (`c(slin16)`). Nothing on the wire is encrypted or authenticated: the UUID must be one we gave out.
//!
//! **Asterisk hangs up on the caller when neither side sends for two seconds**, and a channel driver that never hears from us can
//! starve its own sending; so silence goes back from the UUID on, every 20 ms. Closing the connection, or [`Stream::hand_back`],
//! gives the call back to the dialplan's next step.

use std::{borrow::Cow, collections::VecDeque, fmt};

use super::{Encoding, Format, Message, Reply, START_DEADLINE_US, Speaker, Start, key};
use warmline_core::units::{CallTime, Pii, SampleRate};

/// Silence is sent this often: one frame a packet time.
pub const SILENCE_EVERY_US: u64 = 20_000;

/// Nothing for this long and Asterisk ends the call.
pub const ASTERISK_TIMEOUT_US: u64 = 2_000_000;

/// Bytes of a frame's kind and length.
const HEADER_LEN: usize = 3;

/// Bytes of the longest frame; no more are ever held.
pub const MAX_FRAME: usize = HEADER_LEN + u16::MAX as usize;

/// 20 ms of silence at 8 kHz: kind 0x10, 320 bytes.
const SILENCE: [u8; HEADER_LEN + 320] = {
    let mut frame = [0; HEADER_LEN + 320];
    frame[0] = 0x10;
    [frame[1], frame[2]] = 320u16.to_be_bytes();
    frame
};

/// The frame that gives the call back.
const HANG_UP: [u8; HEADER_LEN] = [0; HEADER_LEN];

/// A call's UUID as Asterisk sends it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// `8-4-4-4-12` in lower case.
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            let dash = if matches!(n, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// 0x00: the peer hangs up. Asterisk closes the connection instead.
    HangUp,
    /// 0x01: which call this is.
    Id(Uuid),
    /// 0x02: silence, of other implementations.
    Silence,
    /// 0x03: a key.
    Dtmf(char),
    /// 0x10-0x18: signed 16-bit samples, little-endian.
    Audio {
        /// Samples per second.
        rate: SampleRate,
        /// Any number of bytes.
        samples: &'a [u8],
    },
    /// 0xff: an error, with a code if there is one.
    Error(Option<u8>),
    /// A kind nobody documents.
    Unknown(u8),
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioSocketError {
    /// Something else came first.
    #[error(
        "a frame of kind 0x{kind:02x} came first: expected 0x01, the call's UUID; is this port meant for AudioSocket?"
    )]
    NoId {
        /// The kind read.
        kind: u8,
    },
    /// A UUID of another length.
    #[error("a UUID of {len} bytes: expected 16")]
    IdLength {
        /// Its length.
        len: usize,
    },
    /// No UUID in time.
    #[error("no UUID within {} s of the connection", START_DEADLINE_US / 1_000_000)]
    Silent,
    /// A rate that is not read.
    #[error("audio of kind 0x{kind:02x} at {rate} Hz is not read: dial with c(slin16) or below 48 kHz")]
    Rate {
        /// The kind read.
        kind: u8,
        /// Its rate.
        rate: u32,
    },
    /// Another rate than before.
    #[error("audio changed from {from} to {to} Hz within a call: expected one codec; dial with c(slin)")]
    RateChanged {
        /// Samples per second before.
        from: u32,
        /// Samples per second now.
        to: u32,
    },
}

/// Rates of the kinds 0x10 to 0x18.
const RATES: [u32; 9] = [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000];

/// Reads the frame that `bytes` begin with and how long it is; `None` while it is not complete.
pub fn parse(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, AudioSocketError> {
    let Some(([kind, high, low], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    let Some(payload) = rest.get(..len) else { return Ok(None) };
    let rate = kind.checked_sub(0x10).and_then(|n| RATES.get(usize::from(n)));
    let frame = match (*kind, rate) {
        (0x00, _) => Frame::HangUp,
        (0x01, _) => Frame::Id(Uuid(payload.try_into().map_err(|_| AudioSocketError::IdLength { len })?)),
        (0x02, _) => Frame::Silence,
        (0x03, _) => match payload.first().and_then(|byte| key(char::from(*byte).encode_utf8(&mut [0; 4]))) {
            Some(key) => Frame::Dtmf(key),
            None => Frame::Unknown(*kind),
        },
        (0xff, _) => Frame::Error(payload.first().copied()),
        (_, Some(rate)) => Frame::Audio { rate: SampleRate(*rate), samples: payload },
        (kind, None) => Frame::Unknown(kind),
    };
    Ok(Some((frame, HEADER_LEN + len)))
}

/// One connection.
#[derive(Debug)]
pub struct Stream {
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    id: Option<Uuid>,
    rate: Option<SampleRate>,
    position: u64,
    silence_at: Option<CallTime>,
    told_unknown: bool,
    over: bool,
    replies: VecDeque<Reply>,
}

impl Stream {
    /// A connection just accepted.
    pub fn new() -> Self {
        Self {
            partial: Vec::new(),
            id: None,
            rate: None,
            position: 0,
            silence_at: None,
            told_unknown: false,
            over: false,
            replies: VecDeque::new(),
        }
    }

    /// The call's UUID once it has come: check it before the audio behind it is heard.
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// Takes bytes as they arrive, in pieces of any size. An error ends the connection.
    pub fn handle_bytes(
        &mut self,
        now: CallTime,
        bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), AudioSocketError> {
        let mut partial = std::mem::take(&mut self.partial);
        let handled = self.frames(now, &mut partial, bytes, told);
        self.partial = partial;
        handled
    }

    /// The moment that [`Stream::poll_timeout`] named has come: silence is due, or the UUID is overdue.
    pub fn handle_timeout(&mut self, now: CallTime) -> Result<(), AudioSocketError> {
        match self.silence_at {
            Some(due) if due <= now && !self.over => {
                self.replies.push_back(Reply::Binary(Cow::Borrowed(&SILENCE)));
                // On a grid of 20 ms, unless we were away for longer than that.
                let next = due.after_micros(SILENCE_EVERY_US);
                self.silence_at = Some(if next < now { now.after_micros(SILENCE_EVERY_US) } else { next });
                Ok(())
            }
            None if !self.over && now.0 >= START_DEADLINE_US => Err(AudioSocketError::Silent),
            _ => Ok(()),
        }
    }

    /// When to come back at the latest.
    pub fn poll_timeout(&self) -> Option<CallTime> {
        (!self.over).then(|| self.silence_at.unwrap_or(CallTime(START_DEADLINE_US)))
    }

    /// What must be sent, in order, until there is nothing more.
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// Gives the call back: the dialplan goes on with its next step, which is where the transfer happens.
    pub fn hand_back(&mut self) {
        self.silence_at = None;
        self.replies.push_back(Reply::Binary(Cow::Borrowed(&HANG_UP)));
        self.replies.push_back(Reply::Close);
    }

    /// The connection is gone. Asterisk says no more than this when the caller hangs up.
    pub fn handle_closed(&mut self, told: &mut dyn FnMut(Message<'_>)) {
        self.stop("closed", told);
    }

    /// Reads frames straight from `bytes`; only one that is not complete is copied, and it alone is held.
    fn frames(
        &mut self,
        now: CallTime,
        partial: &mut Vec<u8>,
        mut bytes: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), AudioSocketError> {
        while !partial.is_empty() && !bytes.is_empty() {
            let wanted = match partial.first_chunk::<HEADER_LEN>() {
                None => HEADER_LEN,
                Some([_, high, low]) => HEADER_LEN + usize::from(u16::from_be_bytes([*high, *low])),
            };
            let (piece, rest) = bytes.split_at(wanted.saturating_sub(partial.len()).min(bytes.len()));
            partial.extend_from_slice(piece);
            bytes = rest;
            if let Some((frame, _)) = parse(partial)? {
                self.handle(now, frame, told)?;
                partial.clear();
            }
        }
        while let Some((frame, len)) = parse(bytes)? {
            self.handle(now, frame, told)?;
            bytes = bytes.split_at(len.min(bytes.len())).1;
        }
        partial.extend_from_slice(bytes);
        Ok(())
    }

    fn handle(
        &mut self,
        now: CallTime,
        frame: Frame<'_>,
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), AudioSocketError> {
        if self.over {
            return Ok(());
        }
        match frame {
            Frame::Id(id) if self.id.is_none() => {
                self.id = Some(id);
                self.silence_at = Some(now.after_micros(SILENCE_EVERY_US));
                self.replies.push_back(Reply::Binary(Cow::Borrowed(&SILENCE)));
            }
            frame if self.id.is_none() => return Err(AudioSocketError::NoId { kind: frame.kind() }),
            Frame::Id(_) | Frame::Silence => {}
            Frame::Audio { rate, samples } => self.audio(rate, samples, told)?,
            Frame::Dtmf(key) => told(Message::Dtmf(key)),
            Frame::HangUp => self.stop("hang-up", told),
            Frame::Error(code) => {
                let code = code.map_or_else(|| "no code".into(), |code| format!("code {code}"));
                told(Message::Problem(format!("audiosocket reports an error of its own, {code}").into()));
            }
            Frame::Unknown(kind) => {
                if !std::mem::replace(&mut self.told_unknown, true) {
                    told(Message::Problem(
                        format!("audiosocket: a frame of kind 0x{kind:02x} was left out").into(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn audio(
        &mut self,
        rate: SampleRate,
        payload: &[u8],
        told: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), AudioSocketError> {
        match self.rate {
            None if rate > super::MAX_RATE => {
                let kind = Frame::Audio { rate, samples: payload }.kind();
                return Err(AudioSocketError::Rate { kind, rate: rate.0 });
            }
            None => {
                self.rate = Some(rate);
                told(Message::Started(Box::new(Start {
                    source: "audiosocket",
                    call: self.id.map(|id| id.to_string()),
                    stream: None,
                    caller_channel: "mono",
                    caller: Format::mono(Encoding::L16Le, rate),
                    agent: None,
                    from: None,
                    to: None,
                    metadata: Pii::new(Default::default()),
                })));
            }
            Some(from) if from != rate => {
                return Err(AudioSocketError::RateChanged { from: from.0, to: rate.0 });
            }
            Some(_) => {}
        }
        let samples = payload.len() as u64 / 2;
        if samples > 0 {
            told(Message::Media { track: Speaker::Caller, position: self.position, payload });
            self.position += samples;
        }
        Ok(())
    }

    fn stop(&mut self, cause: &'static str, told: &mut dyn FnMut(Message<'_>)) {
        if !std::mem::replace(&mut self.over, true) && self.rate.is_some() {
            told(Message::Stopped(cause.into()));
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Frame<'_> {
    fn kind(&self) -> u8 {
        match self {
            Self::HangUp => 0x00,
            Self::Id(_) => 0x01,
            Self::Silence => 0x02,
            Self::Dtmf(_) => 0x03,
            Self::Audio { rate, .. } => {
                (0x10..).zip(RATES).find(|(_, r)| *r == rate.0).map_or(0x10, |(kind, _)| kind)
            }
            Self::Error(_) => 0xff,
            Self::Unknown(kind) => *kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::line;

    #[test]
    fn a_call_is_told_from_its_uuid_to_the_end_of_the_connection() {
        let mut story = Story::new();
        story.bytes(&call());
        story.stream.handle_closed(&mut |message| story.lines.push(line(&message)));
        assert_eq!(
            story.lines,
            [
                "start audiosocket 40325ec2-5efd-4bd3-805f-53576e581d13 -",
                "caller 0 +320",
                "key 5",
                "caller 160 +244", // the last frame may be short
                "stopped closed",
            ]
        );
    }

    #[test]
    fn silence_is_fed_from_the_uuid_on_so_that_two_seconds_never_pass() {
        let mut story = Story::new();
        story.bytes(&frame(0x01, &UUID));
        let mut now = CallTime::ZERO;
        let mut last = None;
        while now.0 < 5_000_000 {
            while let Some(reply) = story.stream.poll_reply() {
                assert_eq!(reply, Reply::Binary(Cow::Borrowed(&SILENCE)));
                let since = now.0 - last.unwrap_or(0);
                assert!(since <= SILENCE_EVERY_US, "{since} µs without a word");
                last = Some(now.0);
            }
            now = story.stream.poll_timeout().unwrap();
            story.stream.handle_timeout(now).unwrap();
        }
        const { assert!(SILENCE_EVERY_US < ASTERISK_TIMEOUT_US) };
        assert_eq!(&SILENCE[..5], [0x10, 0x01, 0x40, 0, 0]);
        assert!(last.is_some_and(|last| last > 4_900_000), "no audio came, and silence still went");
    }

    #[test]
    fn a_feeder_that_was_away_does_not_catch_up_in_a_burst() {
        let mut story = Story::new();
        story.bytes(&frame(0x01, &UUID));
        story.stream.handle_timeout(CallTime(1_000_000)).unwrap();
        assert_eq!(story.stream.poll_timeout(), Some(CallTime(1_020_000)));
    }

    #[test]
    fn the_call_is_handed_back_by_a_hang_up_frame() {
        let mut story = Story::new();
        story.bytes(&frame(0x01, &UUID));
        story.stream.poll_reply();
        story.stream.hand_back();
        assert_eq!(story.stream.poll_reply(), Some(Reply::Binary(Cow::Borrowed(&[0, 0, 0]))));
        assert_eq!(story.stream.poll_reply(), Some(Reply::Close));
    }

    #[test]
    fn whatever_is_no_audiosocket_is_refused_at_its_first_frame() {
        let refused = |bytes: &[u8]| {
            Stream::new()
                .handle_bytes(CallTime::ZERO, bytes, &mut |message| panic!("{message:?}"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(&frame(0x10, &[0; 320])),
            "a frame of kind 0x10 came first: expected 0x01, the call's UUID; is this port meant for AudioSocket?"
        );
        assert_eq!(refused(&frame(0x01, &[1; 15])), "a UUID of 15 bytes: expected 16");
        let mut silent = Stream::new();
        let at = silent.poll_timeout().unwrap();
        assert_eq!(silent.handle_timeout(at), Err(AudioSocketError::Silent));
    }

    #[test]
    fn every_kind_has_its_rate() {
        for (kind, rate) in (0x10..).zip(RATES) {
            let bytes = frame(kind, &[0; 4]);
            let expected = Frame::Audio { rate: SampleRate(rate), samples: &[0; 4] };
            assert_eq!(parse(&bytes), Ok(Some((expected, 7))));
            assert_eq!(expected.kind(), kind);
        }
        assert_eq!(parse(&frame(0x19, &[])), Ok(Some((Frame::Unknown(0x19), 3))));
        assert_eq!(parse(&frame(0xff, &[4])), Ok(Some((Frame::Error(Some(4)), 4))));
    }

    #[test]
    fn a_rate_that_is_not_read_or_that_changes_is_refused() {
        let refused = |frames: &[Vec<u8>]| {
            let bytes = [frame(0x01, &UUID), frames.concat()].concat();
            Stream::new().handle_bytes(CallTime::ZERO, &bytes, &mut |_| {}).unwrap_err()
        };
        assert_eq!(refused(&[frame(0x18, &[0; 4])]), AudioSocketError::Rate { kind: 0x18, rate: 192_000 });
        let changed = [frame(0x10, &[0; 4]), frame(0x12, &[0; 4])];
        assert_eq!(refused(&changed), AudioSocketError::RateChanged { from: 8_000, to: 16_000 });
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_tells_the_same(cuts in prop::collection::vec(0usize..400, 0..40)) {
            let mut whole = Story::new();
            whole.bytes(&call());
            let mut split = Story::new();
            let call = call();
            let mut rest = call.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                split.bytes(piece);
                rest = after;
            }
            split.bytes(rest);
            prop_assert_eq!(whole.lines, split.lines);
            prop_assert!(split.stream.partial.capacity() <= MAX_FRAME);
        }
    }

    const UUID: [u8; 16] =
        [0x40, 0x32, 0x5e, 0xc2, 0x5e, 0xfd, 0x4b, 0xd3, 0x80, 0x5f, 0x53, 0x57, 0x6e, 0x58, 0x1d, 0x13];

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, high, low], payload].concat()
    }

    fn call() -> Vec<u8> {
        [
            frame(0x01, &UUID),
            frame(0x10, &[1; 320]),
            frame(0x03, b"5"),
            frame(0x02, &[]),
            frame(0x10, &[1; 244]),
        ]
        .concat()
    }

    struct Story {
        stream: Stream,
        lines: Vec<String>,
    }

    impl Story {
        fn new() -> Self {
            Self { stream: Stream::new(), lines: Vec::new() }
        }

        fn bytes(&mut self, bytes: &[u8]) {
            let lines = &mut self.lines;
            self.stream
                .handle_bytes(CallTime::ZERO, bytes, &mut |message| lines.push(line(&message)))
                .unwrap();
        }
    }
}
