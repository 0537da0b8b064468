//! Packets → 8 kHz mono frames per track. Absent here: async, sockets.

pub mod activity;
pub mod decoder;
pub mod encoding;
pub mod format;
pub mod framer;
pub mod g711;
pub mod g722;
pub mod resample;
pub mod track;

pub use activity::Activity;
pub use decoder::{DecodeError, Decoder};
pub use format::{Encoding, Format, GapCause, MAX_RATE, MIN_RATE, Speaker, TrackFormat};
pub use framer::{Frame, Framer};
pub use track::{Agent, Caller, Gap, Heard, Received, Track, TrackError};

/// Samples of one frame: 25 ms at 8 kHz.
pub const FRAME_LEN: usize = 200;

/// Samples from one frame's start to the next: 10 ms at 8 kHz.
pub const FRAME_STEP: usize = 80;
