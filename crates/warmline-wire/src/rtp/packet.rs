//! RTP and RTCP on one port, telephone-events, and whose packets they are.
//!
//! Sources: RFC 3550 (RTP), RFC 3551 (static payload types), RFC 5761 (both on one port), RFC 4733 (telephone-event), RFC 3389
//! (comfort noise), RFC 7587 (Opus). Order, loss and time are `media::jitter`'s.

use std::fmt;

use crate::Quoted;
use warmline_core::media::{Encoding, Format, MAX_RATE, MIN_RATE};
use warmline_core::units::SampleRate;

/// Bytes of the longest datagram that is read: what UDP carries.
pub const MAX_DATAGRAM: usize = 65_507;

/// What a datagram holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Media.
    Rtp(Packet<'a>),
    /// Control: a compound of reports.
    Rtcp(Rtcp<'a>),
}

/// One RTP packet (RFC 3550 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Of audio, the first packet of a talkspurt; of a telephone-event, the first of a key.
    pub marker: bool,
    /// 0-127.
    pub payload_type: u8,
    /// Counts packets, from anywhere.
    pub sequence: u16,
    /// Counts samples of the payload type's clock, from anywhere.
    pub timestamp: u32,
    /// The source.
    pub ssrc: u32,
    /// Without padding.
    pub payload: &'a [u8],
}

/// Why a datagram is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Too short for what its header says.
    #[error("a datagram of {len} bytes: its header says at least {needed}")]
    Short {
        /// Bytes read.
        len: usize,
        /// Bytes the header needs.
        needed: usize,
    },
    /// Another protocol.
    #[error("version {0}: expected 2; is this port meant for RTP?")]
    Version(u8),
    /// More padding than payload.
    #[error("padding of {padding} bytes in a payload of {len}")]
    Padding {
        /// What the last byte says.
        padding: u8,
        /// Bytes behind the header.
        len: usize,
    },
}

/// Reads a datagram of RTP or RTCP: RTCP has 192 to 223 in its second byte (RFC 5761 4).
pub fn parse(datagram: &[u8]) -> Result<Datagram<'_>, RtpError> {
    let (first, second) = match datagram {
        [first, second, ..] => (*first, *second),
        _ => return Err(RtpError::Short { len: datagram.len(), needed: RTP_HEADER_LEN }),
    };
    if first >> 6 != 2 {
        return Err(RtpError::Version(first >> 6));
    }
    if (192..=223).contains(&second) {
        return Ok(Datagram::Rtcp(Rtcp { rest: datagram }));
    }
    parse_rtp(datagram).map(Datagram::Rtp)
}

/// Bytes of the header without sources and extension.
const RTP_HEADER_LEN: usize = 12;

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// |                           timestamp                           |
/// |           synchronization source (SSRC) identifier            |
/// |            contributing source (CSRC) identifiers             |
/// |      defined by profile       |      length in words          |  if X
/// ```
fn parse_rtp(datagram: &[u8]) -> Result<Packet<'_>, RtpError> {
    let short = |needed| RtpError::Short { len: datagram.len(), needed };
    let (head, rest) = datagram.split_first_chunk::<RTP_HEADER_LEN>().ok_or(short(RTP_HEADER_LEN))?;
    let [b0, b1, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *head;
    let csrc = 4 * usize::from(b0 & 0x0F);
    let mut rest = rest.get(csrc..).ok_or(short(RTP_HEADER_LEN + csrc))?;
    if b0 & 0x10 != 0 {
        let ([_, _, high, low], after) = rest.split_first_chunk().ok_or(short(RTP_HEADER_LEN + csrc + 4))?;
        let words = 4 * usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(words..).ok_or(short(RTP_HEADER_LEN + csrc + 4 + words))?;
    }
    if b0 & 0x20 != 0 {
        let padding = rest.last().copied().unwrap_or(0);
        let kept = rest.len().checked_sub(usize::from(padding)).filter(|_| padding > 0);
        let kept = kept.ok_or(RtpError::Padding { padding, len: rest.len() })?;
        rest = rest.split_at(kept.min(rest.len())).0;
    }
    Ok(Packet {
        marker: b1 & 0x80 != 0,
        payload_type: b1 & 0x7F,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
        payload: rest,
    })
}

/// A compound of RTCP packets (RFC 3550 6.1); iterates over those that matter here, as far as they are sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtcp<'a> {
    rest: &'a [u8],
}

/// What a report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A sender's clocks (RFC 3550 6.4.1).
    Sender {
        /// The source.
        ssrc: u32,
        /// Its wall clock, NTP format: seconds in the upper half.
        ntp: u64,
        /// Its media clock at that moment.
        timestamp: u32,
    },
    /// A source leaves (RFC 3550 6.6).
    Bye {
        /// The first source named.
        ssrc: u32,
    },
}

impl Iterator for Rtcp<'_> {
    type Item = Report;

    fn next(&mut self) -> Option<Report> {
        loop {
            let ([b0, kind, high, low], after) = self.rest.split_first_chunk()?;
            let body = after.get(..4 * usize::from(u16::from_be_bytes([*high, *low])));
            let sound = b0 >> 6 == 2;
            let Some(body) = body.filter(|_| sound) else {
                self.rest = &[];
                return None;
            };
            self.rest = after.split_at(body.len()).1;
            let word = |n: usize| body.get(4 * n..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
            let report = match (kind, b0 & 0x1F) {
                (200, _) => match (word(0), word(1), word(2), word(3)) {
                    (Some(ssrc), Some(seconds), Some(fraction), Some(timestamp)) => Some(Report::Sender {
                        ssrc,
                        ntp: u64::from(seconds) << 32 | u64::from(fraction),
                        timestamp,
                    }),
                    _ => None,
                },
                (203, 1..) => word(0).map(|ssrc| Report::Bye { ssrc }),
                _ => None,
            };
            if report.is_some() {
                return report;
            }
        }
    }
}

/// A telephone-event (RFC 4733 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// 0-15 are keys.
    pub event: u8,
    /// One of the last three packets of the event.
    pub end: bool,
    /// −dBm0.
    pub volume: u8,
    /// So far, in ticks of the clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload; of several events in one, the first.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low] = *payload.first_chunk()?;
        let duration = u16::from_be_bytes([high, low]);
        Some(Self { event, end: flags & 0x80 != 0, volume: flags & 0x3F, duration })
    }

    /// Which key it is, if it is one.
    pub fn key(self) -> Option<char> {
        b"0123456789*#ABCD".get(usize::from(self.event)).map(|key| char::from(*key))
    }
}

/// Keys pressed, each once: every packet of an event carries it, and the last comes three times.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Source and timestamp, which is one event's for its whole duration; the latest first.
    seen: [Option<(u32, u32)>; 4],
}

impl Keys {
    /// The key, if this packet is the first of its event that came.
    pub fn observe(&mut self, packet: &Packet<'_>) -> Option<char> {
        let key = TelephoneEvent::parse(packet.payload)?.key()?;
        let event = Some((packet.ssrc, packet.timestamp));
        if self.seen.contains(&event) {
            return None;
        }
        self.seen.rotate_right(1);
        if let Some(latest) = self.seen.first_mut() {
            *latest = event;
        }
        Some(key)
    }
}

/// Where a stream's packets must come from: wherever the first came from (`A` is an address with its port).
#[derive(Clone, Copy, Debug)]
pub struct Latch<A> {
    from: Option<A>,
    refused: u64,
}

impl<A: Copy + PartialEq> Latch<A> {
    /// Open to whoever is first.
    pub fn new() -> Self {
        Self { from: None, refused: 0 }
    }

    /// Whether a datagram from there belongs to the stream; of anybody but the first it does not, and is counted.
    pub fn admits(&mut self, from: A) -> bool {
        let admitted = *self.from.get_or_insert(from) == from;
        self.refused += u64::from(!admitted);
        admitted
    }

    /// The peer, once it has sent.
    pub fn peer(&self) -> Option<A> {
        self.from
    }

    /// Datagrams of others.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl<A: Copy + PartialEq> Default for Latch<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a payload type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Audio.
    Audio(Format),
    /// The level of a line nobody speaks on (RFC 3389): no audio comes until somebody does.
    ComfortNoise,
    /// Keys (RFC 4733).
    TelephoneEvent,
}

impl Payload {
    /// Ticks of the timestamp a second: for G.722 half its rate, by an error that became the rule (RFC 3551 4.5.2).
    pub fn clock(self) -> SampleRate {
        match self {
            Self::Audio(Format::G722) | Self::ComfortNoise | Self::TelephoneEvent => SampleRate(8_000),
            Self::Audio(format) => format.rate(),
        }
    }

    /// Ticks a payload lasts; none of what is no audio.
    pub fn ticks(self, payload: &[u8]) -> u32 {
        match self {
            Self::Audio(format) => {
                let (clock, rate) = (u64::from(self.clock().0), u64::from(format.rate().0));
                u32::try_from(format.samples_in(payload) * clock / rate.max(1)).unwrap_or(0)
            }
            Self::ComfortNoise | Self::TelephoneEvent => 0,
        }
    }
}

/// What each payload type of a stream means: the static ones, and those that are declared.
#[derive(Clone, Debug)]
pub struct PayloadTypes {
    known: Vec<(u8, Payload)>,
}

/// Why a mapping is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpmapError {
    /// No payload type.
    #[error("payload type {0}: expected 0 to 127")]
    Type(u8),
    /// Another codec.
    #[error(
        "rtpmap {0} is not read: expected PCMU/8000, PCMA/8000, L16/rate, G722/8000, opus/48000/2, CN/8000 or telephone-event/8000"
    )]
    Unknown(Quoted),
}

impl PayloadTypes {
    /// The static ones (RFC 3551 6), and 101 as telephone-event, as nearly everybody has it.
    pub fn new() -> Self {
        let telephony = |encoding| Payload::Audio(Format::mono(encoding, SampleRate(8_000)));
        let known = vec![
            (0, telephony(Encoding::Pcmu)),
            (8, telephony(Encoding::Pcma)),
            (9, Payload::Audio(Format::G722)),
            (11, Payload::Audio(Format::mono(Encoding::L16Be, SampleRate(44_100)))),
            (13, Payload::ComfortNoise),
            (101, Payload::TelephoneEvent),
        ];
        Self { known }
    }

    /// Declares one, as SDP's `a=rtpmap` writes it: `118`, `"L16/16000"`.
    pub fn declare(&mut self, payload_type: u8, rtpmap: &str) -> Result<(), RtpmapError> {
        if payload_type > 127 {
            return Err(RtpmapError::Type(payload_type));
        }
        let unknown = || RtpmapError::Unknown(Quoted::new(rtpmap));
        let mut parts = rtpmap.trim().split('/');
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let clock = parts.next().and_then(|clock| clock.parse().ok()).map(SampleRate).ok_or_else(unknown)?;
        let channels =
            parts.next().map_or(Some(1), |channels| channels.parse::<u16>().ok()).ok_or_else(unknown)?;
        let telephony = clock == SampleRate(8_000) && channels == 1;
        let read = (MIN_RATE..=MAX_RATE).contains(&clock) && channels == 1;
        let payload = match name.as_str() {
            "pcmu" if read => Payload::Audio(Format::mono(Encoding::Pcmu, clock)),
            "pcma" if read => Payload::Audio(Format::mono(Encoding::Pcma, clock)),
            "l16" if read => Payload::Audio(Format::mono(Encoding::L16Be, clock)),
            "g722" if telephony => Payload::Audio(Format::G722),
            "opus" if clock == SampleRate(48_000) => Payload::Audio(Format::Opus),
            "cn" if telephony => Payload::ComfortNoise,
            "telephone-event" if telephony => Payload::TelephoneEvent,
            _ => return Err(unknown()),
        };
        self.known.retain(|(known, _)| *known != payload_type);
        self.known.push((payload_type, payload));
        Ok(())
    }

    /// What a payload type means; nothing of one nobody declared.
    pub fn get(&self, payload_type: u8) -> Option<Payload> {
        self.known.iter().find(|(known, _)| *known == payload_type).map(|(_, payload)| *payload)
    }
}

impl Default for PayloadTypes {
    fn default() -> Self {
        Self::new()
    }
}

/// `PT 0, #7, t 160`, for a log.
impl fmt::Display for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PT {}, #{}, t {}", self.payload_type, self.sequence, self.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_field_by_field() {
        let bytes =
            [&[0x80, 0x80, 0x12, 0x34, 0, 0, 0, 160, 0xDE, 0xAD, 0xBE, 0xEF][..], &[0xFF; 160]].concat();
        assert_eq!(
            parse(&bytes),
            Ok(Datagram::Rtp(Packet {
                marker: true,
                payload_type: 0,
                sequence: 0x1234,
                timestamp: 160,
                ssrc: 0xDEAD_BEEF,
                payload: &[0xFF; 160],
            }))
        );
    }

    #[test]
    fn sources_extension_and_padding_are_no_payload() {
        let head = [0xB2, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]; // P, X, two CSRCs
        let bytes = [
            &head[..],
            &[0; 8],
            &[0xBE, 0xDE, 0, 1, 0x10, 0xFF, 0, 0], // RFC 8285: audio level
            &[7, 7, 7],
            &[0, 0, 3],
        ]
        .concat();
        let Ok(Datagram::Rtp(packet)) = parse(&bytes) else { panic!("it is RTP") };
        assert_eq!(packet.payload, [7, 7, 7]);
    }

    #[test]
    fn what_is_no_rtp_is_left_out() {
        let refused = |bytes: &[u8]| parse(bytes).unwrap_err();
        let head = |first: u8| [&[first, 0][..], &[0; 10]].concat();
        assert_eq!(refused(&[]), RtpError::Short { len: 0, needed: 12 });
        assert_eq!(refused(&head(0x80)[..11]), RtpError::Short { len: 11, needed: 12 });
        assert_eq!(refused(&head(0x40)), RtpError::Version(1));
        assert_eq!(
            refused(b"INVITE sip:x SIP/2.0").to_string(),
            "version 1: expected 2; is this port meant for RTP?"
        );
        assert_eq!(refused(&head(0x8F)), RtpError::Short { len: 12, needed: 72 });
        assert_eq!(refused(&head(0x90)), RtpError::Short { len: 12, needed: 16 });
        assert_eq!(refused(&head(0xA0)), RtpError::Padding { padding: 0, len: 0 });
        let padded = [head(0xA0).as_slice(), &[1, 9]].concat();
        assert_eq!(refused(&padded), RtpError::Padding { padding: 9, len: 2 });
    }

    #[test]
    fn rtcp_on_the_same_port_is_told_apart() {
        let report = [
            &[0x80, 200, 0, 6][..], // sender report without blocks
            &[0, 0, 0, 9, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 160, 0, 0, 0, 1, 0, 0, 0, 160],
            &[0x81, 202, 0, 1, 0, 0, 0, 9], // SDES
            &[0x81, 203, 0, 1, 0, 0, 0, 9], // BYE
        ]
        .concat();
        let Ok(Datagram::Rtcp(rtcp)) = parse(&report) else { panic!("it is RTCP") };
        let reports: Vec<_> = rtcp.collect();
        let sender = Report::Sender { ssrc: 9, ntp: 0x1_8000_0000, timestamp: 160 };
        assert_eq!(reports, [sender, Report::Bye { ssrc: 9 }]);
        // A payload type of 72-76 with the marker would be in that range: RFC 5761 forbids those.
        for (second, rtcp) in [(0x80, false), (191, false), (192, true), (223, true), (224, false)] {
            let bytes = [&[0x80, second][..], &[0; 10]].concat();
            assert_eq!(matches!(parse(&bytes), Ok(Datagram::Rtcp(_))), rtcp, "{second}");
        }
    }

    #[test]
    fn a_report_that_is_cut_ends_the_compound() {
        for bytes in [&[0x80u8, 200, 0, 6, 0][..], &[0x80, 203, 0, 0], &[0x81, 203, 0xFF, 0xFF], &[0x80, 200]]
        {
            let Ok(Datagram::Rtcp(rtcp)) = parse(bytes) else { panic!("it is RTCP") };
            assert_eq!(rtcp.count(), 0);
        }
    }

    #[test]
    fn a_key_is_told_once_though_its_packets_come_many_times() {
        let mut keys = Keys::default();
        let mut pressed = Vec::new();
        let mut press = |timestamp: u32, event: u8, flags: u8, duration: u16| {
            let [high, low] = duration.to_be_bytes();
            let payload = [event, flags, high, low];
            let packet = Packet {
                marker: false,
                payload_type: 101,
                sequence: 0,
                timestamp,
                ssrc: 1,
                payload: &payload,
            };
            pressed.extend(keys.observe(&packet));
        };
        for duration in [160, 320, 480] {
            press(1_000, 5, 10, duration);
        }
        for _ in 0..3 {
            press(1_000, 5, 0x80 | 10, 640);
        }
        press(5_000, 5, 10, 160); // the same key again
        press(9_000, 11, 10, 160);
        press(5_000, 5, 0x8A, 800); // a late repetition
        press(9_500, 16, 10, 160); // a hook flash is no key
        assert_eq!(pressed, ['5', '5', '#']);
    }

    #[test]
    fn packets_of_anybody_but_the_first_are_refused() {
        let mut latch = Latch::new();
        assert!(latch.admits(("10.0.0.1", 4_000)));
        assert!(!latch.admits(("10.0.0.9", 4_000)));
        assert!(!latch.admits(("10.0.0.1", 4_002)));
        assert!(latch.admits(("10.0.0.1", 4_000)));
        assert_eq!((latch.peer(), latch.refused()), (Some(("10.0.0.1", 4_000)), 2));
    }

    #[test]
    fn payload_types_are_static_or_declared() {
        let mut types = PayloadTypes::new();
        assert_eq!(types.get(9), Some(Payload::Audio(Format::G722)));
        assert_eq!(types.get(9).map(Payload::clock), Some(SampleRate(8_000)));
        assert_eq!(types.get(9).map(|g722| g722.ticks(&[0; 160])), Some(160));
        assert_eq!(types.get(118), None);
        types.declare(118, "L16/16000").unwrap();
        types.declare(97, "opus/48000/2").unwrap();
        types.declare(101, "L16/8000/1").unwrap();
        let linear = |rate| Payload::Audio(Format::mono(Encoding::L16Be, SampleRate(rate)));
        assert_eq!((types.get(118), types.get(101)), (Some(linear(16_000)), Some(linear(8_000))));
        assert_eq!(types.get(97).map(Payload::clock), Some(SampleRate(48_000)));
        assert_eq!(types.declare(200, "L16/16000"), Err(RtpmapError::Type(200)));
        for wrong in ["G729/8000", "L16", "L16/16000/2", "L16/4000", "PCMU/x", ""] {
            assert!(types.declare(96, wrong).is_err(), "{wrong}");
        }
    }
}
