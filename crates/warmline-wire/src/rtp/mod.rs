//! RTP (RFC 3550): one packet's head, the order of packets, and what one stream of them holds.

pub mod jitter;
mod packet;
pub mod receiver;

pub use jitter::JitterBuffer;
pub use packet::*;
pub use receiver::Receiver;
