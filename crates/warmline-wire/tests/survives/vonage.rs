//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::Story;
use warmline_wire::Declared;
use warmline_wire::vonage::Stream;

/// Plays `capture` as a Vonage stream.
pub(crate) fn vonage(capture: &[u8]) {
    Story::of(&mut Stream::new(Declared::default()), capture);
}
