//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::Story;
use warmline_wire::Declared;
use warmline_wire::twilio::{Dialect, Stream};

/// Plays `capture` as a stream of the Twilio family, in every dialect.
pub(crate) fn twilio(capture: &[u8]) {
    for dialect in [None, Some(Dialect::Telnyx), Some(Dialect::Plivo), Some(Dialect::Exotel)] {
        for caller_only in [false, true] {
            let declared = Declared { caller_only, both_tracks: !caller_only, ..Declared::default() };
            Story::of(&mut Stream::new(dialect, declared), capture);
        }
    }
}
