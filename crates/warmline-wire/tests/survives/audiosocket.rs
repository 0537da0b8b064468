//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::{Frame, Story, frames};
use warmline_core::units::CallTime;
use warmline_wire::audiosocket::Stream;

/// Plays the bytes of `capture` as a connection, whole and byte by byte: both tell the same.
pub(crate) fn audiosocket(capture: &[u8]) -> Vec<String> {
    let bytes: Vec<u8> = frames(capture)
        .into_iter()
        .flat_map(|frame| match frame {
            Frame::Text(text) => text.into_bytes(),
            Frame::Binary(bytes) => bytes,
        })
        .collect();
    let [whole, cut] = [bytes.len().max(1), 1].map(|len| {
        let mut stream = Stream::new();
        let mut story = Story::default();
        for piece in bytes.chunks(len) {
            let told = &mut |message: warmline_wire::Message<'_>| story.tell(&message);
            if let Err(refused) = stream.handle_bytes(CallTime::ZERO, piece, told) {
                story.lines.push(format!("refused: {refused}"));
                break;
            }
        }
        stream.handle_closed(&mut |message| story.tell(&message));
        let mut replies = 0;
        while stream.poll_reply().is_some() {
            replies += 1;
        }
        assert!(replies <= 1, "one frame of silence for the UUID");
        story.lines
    });
    assert_eq!(whole, cut);
    whole
}
