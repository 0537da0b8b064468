//! Recordings and sockets → the inputs of a call.

#[cfg(feature = "capture")]
pub mod capture;

pub mod audiosocket;
pub mod gate;
pub mod http;
pub mod intake;
pub mod rtp;
pub mod tls;
pub mod websocket;

pub use gate::{Door, Gate, Role, Token};
pub use intake::{Intake, Patience};
