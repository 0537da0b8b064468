//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::{Frame, frames};
use warmline::media::jitter::{Arrival, JitterBuffer, Ordered};
use warmline::media::{Decoder, jitter};
use warmline::units::{CallTime, SampleRate};
use warmline::wire::rtp::{self, Datagram, Keys, Payload, PayloadTypes};

/// Plays `capture` as datagrams of one stream, one every 20 ms, and gives what is told of them.
pub(crate) fn rtp(capture: &[u8]) -> Vec<String> {
    let mut types = PayloadTypes::new();
    types.declare(97, "opus/48000/2").expect("it is read");
    types.declare(118, "L16/16000").expect("it is read");
    let mut buffer = JitterBuffer::new(SampleRate(8_000), SampleRate(8_000));
    let mut keys = Keys::default();
    let mut lines = Vec::new();
    let mut end = 0;
    let mut told = |lines: &mut Vec<String>, ordered: Ordered<'_>| match ordered {
        Ordered::Media { position, payload } => {
            assert!(position >= end && payload.len() <= jitter::MAX_PAYLOAD);
            end = position;
            let sum = payload.iter().fold(0u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
            lines.push(format!("caller at {position}: {} bytes, {sum:08x}", payload.len()));
        }
        Ordered::Gap { cause, from, to } => {
            assert!(from >= end && from < to);
            end = to;
            lines.push(format!("caller {}: {from} to {to}", format!("{cause:?}").to_lowercase()));
        }
    };
    let mut now = CallTime::ZERO;
    for frame in frames(capture) {
        let bytes = match frame {
            Frame::Text(text) => text.into_bytes(),
            Frame::Binary(bytes) => bytes,
        };
        match rtp::parse(&bytes) {
            Ok(Datagram::Rtp(packet)) => {
                let payload = types.get(packet.payload_type);
                if payload == Some(Payload::TelephoneEvent) {
                    lines.extend(keys.observe(&packet).map(|key| format!("key {key}")));
                }
                let ticks = match payload {
                    Some(Payload::Audio(format)) => {
                        _ = Decoder::new(format).expect("a decoder").decode(packet.payload);
                        u32::try_from(format.samples_in(packet.payload)).expect("a datagram is short")
                    }
                    Some(Payload::ComfortNoise | Payload::TelephoneEvent) | None => 0,
                };
                let arrival = Arrival {
                    ssrc: packet.ssrc,
                    sequence: packet.sequence,
                    timestamp: packet.timestamp,
                    ticks,
                    payload: packet.payload,
                };
                buffer.push(now, &arrival, &mut |ordered| told(&mut lines, ordered));
            }
            Ok(Datagram::Rtcp(reports)) => lines.extend(reports.map(|report| format!("{report:?}"))),
            Err(refused) => lines.push(format!("left out: {refused}")),
        }
        if buffer.poll_timeout().is_some_and(|at| at <= now) {
            buffer.handle_timeout(now, &mut |ordered| told(&mut lines, ordered));
        }
        now = now.after_micros(20_000);
    }
    buffer.flush(&mut |ordered| told(&mut lines, ordered));
    lines
}
