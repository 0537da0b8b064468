//! What goes into a call.

use super::Transcript;
use crate::{
    media::{GapCause, Speaker},
    policy::{Notice, Outcome, Suspension},
    score::{ScoreError, Scores, Stage},
    units::MediaTime,
    words::BotEvent,
};

/// One input of a call.
#[derive(Debug)]
pub enum Input<'a> {
    /// Audio of one track.
    Media {
        /// The track.
        track: Speaker,
        /// Position of the first sample: samples at the track's own rate since the call's start.
        position: u64,
        /// Whole samples in the track's encoding.
        payload: &'a [u8],
    },
    /// Audio of one track that does not come.
    Gap {
        /// The track.
        track: Speaker,
        /// The cause.
        cause: GapCause,
        /// Position of the first missing sample: samples at the track's own rate since the call's start.
        from: u64,
        /// Position of the first sample after the gap.
        to: u64,
    },
    /// The answer to the score request of that stage and moment.
    Scored(Stage, MediaTime, Result<Scores, ScoreError>),
    /// Everything that is not audio, from the streams of the call or from the API.
    Command(Command),
    /// The call ended, with the protocol's term for the reason.
    Ended(&'a str),
    /// The moment that [`Call::poll_timeout`](super::Call::poll_timeout) named has come.
    Timeout,
}

/// What a stream, the integrator, a supervisor or the outbox says about a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The caller pressed a key: `0`-`9`, `*`, `#`, `A`-`D`.
    Dtmf(char),
    /// A speaker said something.
    Transcript(Transcript),
    /// A report of the bot, with its moment. `None` dates it with its arrival.
    Bot(BotEvent, Option<MediaTime>),
    /// The caller was notified of the analysis, or consented to it.
    Notice(Notice),
    /// Scoring must stop for this reason.
    Suspend(Suspension),
    /// This reason to stop no longer holds.
    Lift(Suspension),
    /// The integrator asks for a human on the caller's behalf.
    ExplicitRequest,
    /// A supervisor asks for a human.
    Manual,
    /// The transfer that the call asked for has this outcome.
    Outcome(Outcome),
}

impl From<Command> for Input<'_> {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}
