//! Recordings (later: sockets and devices) → the inputs of a call.

pub mod recording;
pub mod replay;
