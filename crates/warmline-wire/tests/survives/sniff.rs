//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::Story;
use warmline_wire::Declared;
use warmline_wire::sniff::Stream;

/// Plays `capture` as a stream of which nothing is known.
pub(crate) fn sniff(capture: &[u8]) {
    Story::of(&mut Stream::new(None, Declared::default()), capture);
}
