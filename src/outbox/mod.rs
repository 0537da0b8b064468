//! The outbox keeps each decision, offers the transfer, and follows it until the outcome is known.
//!
//! One task owns the [`Life`](warmline_core::transfer::Life) of every transfer. It performs a step when the ledger confirms that the step
//! is on disk. If the ledger cannot be written, the task performs the step anyway, because a caller must not be left alone, and the
//! step waits in memory. At start the task resumes unfinished transfers and queries the status of attempts that may have been carried out.
//!
//! `handle` is what the rest of the server calls; it sends messages to `actor`, the task. `step` advances one transfer, `audit` and
//! `event` describe the step for the ledger and for subscribers, `alerts` notifies people, `metrics` counts.

mod actor;
mod alerts;
mod audit;
mod event;
mod handle;
mod metrics;
mod step;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use event::Emit;
pub use handle::{Outbox, Refusal, Request};
pub use metrics::{Counts, DELAYS_MS};

/// Messages that may wait for the outbox: requests (beyond the bound: 503) and ended calls (beyond the bound: dropped and counted).
/// Decisions are always accepted: a call decides again only after it receives the outcome of its transfer.
pub const MESSAGES_MAX: usize = 16_384;

/// The longest time that one attempt may take, whatever its connector's time-out; then its outcome is unknown.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// The shortest time that one attempt gets when the transfer's deadline is near.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// How transfers are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a transfer is offered.
    pub deadline: Duration,
    /// How long a telephone may ring.
    pub ring: Duration,
    /// How long a transfer may wait for a free human.
    pub wait: Duration,
    /// `https://warmline.example.com`, where receivers can fetch packets.
    pub public_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { deadline: seconds(30), ring: seconds(60), wait: seconds(900), public_url: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
