//! Labelled calls → what a policy and a model are worth on them: evaluate, tune, the report.
//!
//! Each call is replayed once; [`trace`] keeps what is needed to decide it anew under any policy without its audio. Figures
//! are of whole calls: a transfer soon enough after the onset, or one that nobody wanted.

pub mod difference;
pub mod evaluation;
pub mod figures;
pub mod suite;
pub mod trace;
pub mod verdict;
