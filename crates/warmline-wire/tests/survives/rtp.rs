//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use warmline_core::media::Speaker;
use warmline_core::units::CallTime;
use warmline_wire::rtp::PayloadTypes;
use warmline_wire::rtp::Receiver;

use super::story::{Frame, frames};

/// Plays `capture` as datagrams of one stream, one every 20 ms, and gives what is told of them.
pub(crate) fn rtp(capture: &[u8]) -> Vec<String> {
    let mut types = PayloadTypes::new();
    types.declare(97, "opus/48000/2").expect("it is read");
    types.declare(118, "L16/16000").expect("it is read");
    let mut receiver = Receiver::new(Speaker::Caller, types);
    let mut story = super::story::Story::started();
    let mut now = CallTime::ZERO;
    for frame in frames(capture) {
        let bytes = match frame {
            Frame::Text(text) => text.into_bytes(),
            Frame::Binary(bytes) => bytes,
        };
        receiver.handle_datagram(now, (), &bytes, &mut |message| story.tell(&message));
        if receiver.poll_timeout().is_some_and(|at| at <= now) {
            receiver.handle_timeout(now, &mut |message| story.tell(&message));
            assert!(receiver.poll_timeout().is_none_or(|at| at > now), "time goes on");
        }
        now = now.after_micros(20_000);
    }
    receiver.stop("closed", &mut |message| story.tell(&message));
    story.lines
}
