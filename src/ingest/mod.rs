//! Recordings and sockets → the inputs of a call.

#[cfg(feature = "capture")]
pub mod capture;
pub mod recording;
pub mod replay;
pub mod script;

#[cfg(feature = "serve")]
pub mod audiosocket;
#[cfg(feature = "serve")]
pub mod gate;
#[cfg(feature = "serve")]
pub mod http;
#[cfg(feature = "serve")]
pub mod intake;
#[cfg(feature = "serve")]
pub mod rtp;
#[cfg(feature = "serve")]
pub mod tls;
#[cfg(feature = "serve")]
pub mod websocket;

#[cfg(feature = "serve")]
pub use gate::{Door, Gate, Role, Token};
#[cfg(feature = "serve")]
pub use intake::{Intake, Patience};
