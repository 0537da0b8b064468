//! What must hold for any bytes whatever, shared by the fuzz target and the replay of its corpus.

use super::story::Story;
use warmline_core::units::SampleRate;
use warmline_wire::freeswitch::Stream;
use warmline_wire::{Declared, Mix};

/// Plays `capture` as a FreeSWITCH stream, declared and not.
pub(crate) fn freeswitch(capture: &[u8]) {
    let declared = Declared { rate: Some(SampleRate(8_000)), mix: Some(Mix::Stereo), ..Declared::default() };
    Story::of(&mut Stream::new(declared), capture);
    Story::of(&mut Stream::new(Declared::default()), capture);
}
