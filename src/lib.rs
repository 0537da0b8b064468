//! Warmline listens to calls, notices when a caller is losing patience, and hands that caller to a human together with
//! everything the human needs to know.
//!
//! Data flows down this list; a room knows only the rooms above it. `ARCHITECTURE.md` has the invariants.

pub mod units;

pub mod wire;

pub mod media;

pub mod prosody;

pub mod score;

pub mod policy;

pub mod packet;

pub mod transfer;

pub mod call;

pub mod switchboard;

pub mod ingest;

#[cfg(feature = "serve")]
pub mod ledger;

#[cfg(feature = "serve")]
pub mod handoff;

#[cfg(feature = "serve")]
pub mod console;

pub mod quality;

#[cfg(feature = "serve")]
pub mod config;
