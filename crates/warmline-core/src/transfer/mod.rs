//! The life of a transfer and who goes first where humans are scarce, both sans-IO: time is handed in, what to do comes out.
//! Absent here: sockets, clocks, threads, files.

mod life;
mod queue;

pub use life::{
    ATTEMPTS_MAX, Attempt, Class, End, Input, Life, Output, Plan, READS_MAX, STALE_MS, State, TRIES_A_ROUTE,
    Went,
};
pub use queue::{HOUR_MS, QUEUES_MAX, Queue, Wish};

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A date: milliseconds of Unix time. It outlives the program, as a transfer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This date, so many milliseconds later.
    pub fn after(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds since an earlier date; none before it.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a receiver said. Beyond [`Answer::Accepted`], more may follow over the API or the connector's own events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It will be done; what becomes of it is told later, or never.
    Accepted,
    /// A human's telephone rings.
    Ringing,
    /// A human has the caller.
    Connected,
    /// A human said no, and why.
    Declined(String),
    /// Nobody answered.
    NoAnswer,
    /// The line is busy.
    Busy,
    /// A machine answered.
    Voicemail,
    /// The caller has hung up.
    CallerGone,
}

/// A human's judgement of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The transfer helped.
    Helpful,
    /// The caller did not need a human.
    Unneeded,
    /// The transfer helped, but came too late.
    TooLate,
}

impl Verdict {
    /// The name used in events and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Helpful => "helpful",
            Self::Unneeded => "unneeded",
            Self::TooLate => "too_late",
        }
    }
}

/// Why an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was certainly not carried out, and may be another time: no connection, 429, 500, 503.
    #[error("{why}")]
    Again {
        /// The receiver's `Retry-After`.
        after: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// It may have been carried out: the answer never came. It is read again before it is tried again.
    #[error("{0}")]
    Unknown(String),
    /// It was not carried out and never will be this way: credentials, a target that does not exist, a refused request.
    #[error("{0}")]
    Never(String),
}

impl Failure {
    /// The failure of a request that may be repeated without moving anybody: an unknown outcome counts as not carried out.
    #[must_use]
    pub fn repeatable(self) -> Self {
        match self {
            Self::Unknown(why) => Self::Again { after: None, why },
            Self::Again { .. } | Self::Never(_) => self,
        }
    }
}
