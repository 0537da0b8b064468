//! Labelled calls → what a policy and a model are worth on them: evaluate, tune, the report.
//!
//! Each call is replayed once; [`trace`] keeps what is needed to decide it anew under any policy without its audio. Figures
//! are of whole calls: a transfer soon enough after the onset, or one that nobody wanted.

pub mod difference;
pub mod evaluation;
pub mod figures;
pub mod junit;
pub mod recording;
pub mod replay;
pub mod report;
pub mod script;
pub mod suite;
pub mod trace;
pub mod tune;
pub mod verdict;

use warmline_core::units::{MediaSpan, MediaTime};

/// A position in a recording, `m:ss.s`.
pub fn clock(seconds: f64) -> String {
    (MediaTime::ZERO + MediaSpan::from_seconds(seconds)).to_string()
}
