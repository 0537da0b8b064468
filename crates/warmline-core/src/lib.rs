//! The core of Warmline: one call, without sockets, clocks, threads or a model runtime.
//!
//! You feed a [`call::Call`] one input at a time and drain its outputs. Audio, keys, words and scores go in. Score requests, actions
//! and events come out. Decisions are dated with media time, so the same audio gives the same decisions however it arrives.
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc};
//! use warmline_core::{
//!     call::{Action, Call, CallConfig, CallId, CallStart, Command, Input, Output},
//!     media::{Encoding, Speaker, TrackFormat},
//!     policy::{Notice, Policy},
//!     score::ScoreError,
//!     units::{CallTime, SampleRate},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Arc::new(CallConfig { policy: Policy::default(), stages: None });
//! let start = CallStart {
//!     source: "example".into(),
//!     file: None,
//!     caller_channel: "mono".into(),
//!     caller: TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000)),
//!     agent: None,
//!     queue: Some("billing".into()),
//!     intent: None,
//!     notice: Notice::Consent,
//!     metadata: BTreeMap::new(),
//! };
//! let mut call = Call::new(CallId::new("call-1"), start, config)?;
//!
//! let silence = [0xFF; 160]; // 20 ms of PCMU
//! let inputs = [
//!     Input::Media { track: Speaker::Caller, position: 0, payload: &silence },
//!     Input::Command(Command::Dtmf('0')),
//!     Input::Ended("hangup"),
//! ];
//! let mut transfers = 0;
//! for input in inputs {
//!     let now = CallTime(0); // the arrival clock: deadlines only
//!     call.handle_input(now, input);
//!     while let Some(output) = call.poll_output() {
//!         match output {
//!             // Score it with any runtime, and answer. Without `stages` a call asks for none.
//!             Output::Score(request) => {
//!                 call.handle_input(now, Input::Scored(request.stage, request.at, Err(ScoreError::Failed)));
//!             }
//!             // Must not be lost: make it durable before you act on it.
//!             Output::Act(Action::Transfer { packet, .. }) => {
//!                 assert_eq!(packet.brief["reason"], "explicit_request");
//!                 transfers += 1;
//!             }
//!             // May be lost: it changes no decision.
//!             Output::Tell(event) => println!("{}", serde_json::to_string(&event)?),
//!         }
//!     }
//! }
//! assert_eq!(transfers, 1, "key 0 asks for a human");
//! # Ok(())
//! # }
//! ```
//!
//! Data flows down the list of modules; a module knows only the modules above it.

pub mod units;

pub mod media;

pub mod prosody;

pub mod score;

pub mod policy;

pub mod words;

pub mod packet;

pub mod transfer;

pub mod call;
