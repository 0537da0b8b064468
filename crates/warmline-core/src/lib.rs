//! The core of Warmline, without sockets, clocks, threads or a model runtime: what is heard of a call goes in, scores to make,
//! transfers to act on and events come out.
//!
//! Data flows down this list; a module knows only the modules above it.

pub mod units;

pub mod media;

pub mod prosody;

pub mod score;

pub mod policy;

pub mod words;

pub mod packet;

pub mod transfer;

pub mod call;
