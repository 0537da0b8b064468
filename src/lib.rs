//! The Warmline server: live calls in, transfers out.
//!
//! Data flows down this list; a module knows only the modules above it. What one call is lives in `warmline-core`.

pub mod clock;

pub mod switchboard;

pub mod media_in;

pub mod ledger;

pub mod connectors;

pub mod outbox;

pub mod api;

pub mod config;
