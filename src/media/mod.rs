//! Packets → 8 kHz mono frames per track. Absent here: async, sockets.

pub mod activity;

/// Samples of one frame: 25 ms at 8 kHz.
pub const FRAME_LEN: usize = 200;

/// Samples from one frame's start to the next: 10 ms at 8 kHz.
pub const FRAME_STEP: usize = 80;
