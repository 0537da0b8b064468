//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::Story;
use warmline_wire::asterisk::Stream;

/// Plays `capture` as a channel of chan_websocket.
pub(crate) fn asterisk(capture: &[u8]) {
    Story::of(&mut Stream::new(), capture);
}
