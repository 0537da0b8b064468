//! The life of one transfer: one state machine, fed with what happened, drained of what to do.
//!
//! Nothing is under way twice: an attempt whose answer never came is read again before the next one, and a route is left only
//! when its last attempt is known to have come to nothing.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Answer, Failure, UnixMillis};
use crate::policy::Outcome;

/// Attempts of one transfer, over all its routes; beyond, it has expired.
pub const ATTEMPTS_MAX: usize = 32;

/// Attempts on a route before the next one is tried; the last route is tried until the deadline.
pub const TRIES_A_ROUTE: u32 = 3;

/// How often an attempt whose answer never came is read again; beyond, it has failed as unknown.
pub const READS_MAX: u32 = 6;

/// How long past its deadline a transfer is still worth offering when the program starts again, milliseconds: within it the caller
/// may well be on the line, beyond it a human would be rung for nobody.
pub const STALE_MS: u64 = 60_000;

/// The least time a transfer has when the program starts again, milliseconds.
const RESUMED_MS: u64 = 10_000;

/// Milliseconds before the next attempt, by how many there were on this route; the last holds from then on.
const BACKOFF_MS: [u64; 3] = [250, 1_000, 3_000];

/// How a transfer is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Connectors by name, the first tried first.
    pub routes: Vec<String>,
    /// How long it is offered, milliseconds from the first attempt.
    pub deadline_ms: u64,
    /// How long a telephone may ring, milliseconds.
    pub ring_ms: u64,
    /// How long it may wait for a free human, milliseconds.
    pub wait_ms: u64,
}

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No human is free.
    Waiting,
    /// It is being offered.
    Offered,
    /// A receiver will see to it.
    Accepted,
    /// A human's telephone rings.
    Ringing,
    /// A human has the caller.
    Connected,
    /// A human said no.
    Declined,
    /// Nobody answered.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// A machine answered.
    Voicemail,
    /// The caller hung up first.
    CallerGone,
    /// It could not be made.
    Failed,
    /// Its time ran out.
    Expired,
    /// A supervisor called it back.
    Dismissed,
}

impl State {
    /// The name used in events and in the interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Ringing => "ringing",
            Self::Connected => "connected",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Voicemail => "voicemail",
            Self::CallerGone => "caller_gone",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Dismissed => "dismissed",
        }
    }

    /// Whether nothing more is done for it.
    pub fn is_over(self) -> bool {
        match self {
            Self::Waiting | Self::Offered | Self::Accepted | Self::Ringing => false,
            Self::Connected
            | Self::Declined
            | Self::NoAnswer
            | Self::Busy
            | Self::Voicemail
            | Self::CallerGone
            | Self::Failed
            | Self::Expired
            | Self::Dismissed => true,
        }
    }
}

/// How a transfer came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// A human said no, and why.
    Declined(String),
    /// Nobody answered.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// A machine answered.
    Voicemail,
    /// The caller hung up first.
    CallerGone,
    /// It could not be made.
    Failed(Class, String),
    /// Its time ran out; what went wrong last.
    Expired(String),
    /// A supervisor called it back, and why.
    Dismissed(String),
}

/// Why a transfer could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Every receiver refused it.
    Refused,
    /// It may have been carried out, and nobody could say.
    Unknown,
    /// There is no connector to offer it with.
    NoRoute,
}

/// One attempt at one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts from 1.
    pub n: u32,
    /// Place in [`Plan::routes`].
    pub route: usize,
    /// When it began.
    pub at: UnixMillis,
    /// What came of it.
    pub outcome: Went,
    /// The same in words, where there are any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Went {
    /// No answer has come yet.
    UnderWay,
    /// The answer never came.
    Unknown,
    /// It was not carried out, and may be another time.
    Unavailable,
    /// It was refused.
    Refused,
    /// The receiver answered.
    Accepted,
    /// A human's telephone rings.
    Ringing,
    /// A human has the caller.
    Connected,
    /// A human said no.
    Declined,
    /// Nobody answered.
    NoAnswer,
    /// The line was busy.
    Busy,
    /// A machine answered.
    Voicemail,
    /// The caller had hung up.
    CallerGone,
}

impl Went {
    /// The name used in the interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Accepted => "accepted",
            Self::Ringing => "ringing",
            Self::Connected => "connected",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Voicemail => "voicemail",
            Self::CallerGone => "caller_gone",
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A human is free, or need not be waited for.
    Admit,
    /// The answer to an attempt.
    Answered(u32, Result<Answer, Failure>),
    /// What the receiver says became of an attempt whose answer never came; `None`: it was not carried out.
    Read(u32, Result<Option<Answer>, Failure>),
    /// What became of it, by the interface or the receiver's own events.
    Told(Answer),
    /// The call is over.
    CallEnded,
    /// A supervisor calls it back, and why.
    Dismiss(String),
    /// The program has started again.
    Resume,
    /// [`Life::poll_timeout`] has come.
    Timeout,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Make this attempt on this route.
    Offer {
        /// Its number.
        attempt: u32,
        /// Place in [`Plan::routes`].
        route: usize,
    },
    /// Ask the receiver what became of this attempt.
    ReadAgain {
        /// Its number.
        attempt: u32,
        /// Place in [`Plan::routes`].
        route: usize,
    },
    /// Call this attempt back.
    Cancel {
        /// Its number.
        attempt: u32,
        /// Place in [`Plan::routes`].
        route: usize,
    },
    /// It stands differently: say so.
    Became(State),
    /// Tell the call.
    Tell(Outcome),
}

/// One transfer from its decision to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    id: String,
    plan: Plan,
    deadline: UnixMillis,
    route: usize,
    tries: u32,
    attempts: Vec<Attempt>,
    phase: Phase,
    /// The call ended while an attempt was under way.
    #[serde(default)]
    caller_gone: bool,
    /// What was told while an attempt was under way.
    #[serde(default)]
    told: Option<Answer>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Waiting,
    Offering,
    Reading { reads: u32 },
    Pausing { until: UnixMillis },
    PausingToRead { until: UnixMillis, reads: u32 },
    Accepted,
    Ringing { until: UnixMillis },
    Connected,
    Over(End),
}

impl Life {
    /// A transfer that waits for [`Input::Admit`].
    pub fn new(id: &str, plan: Plan, now: UnixMillis) -> Self {
        Self {
            id: id.into(),
            deadline: now.after(plan.wait_ms),
            plan,
            route: 0,
            tries: 0,
            attempts: Vec::new(),
            phase: Phase::Waiting,
            caller_gone: false,
            told: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: UnixMillis, input: Input) {
        match input {
            Input::Admit => {
                if self.phase == Phase::Waiting {
                    self.deadline = now.after(self.plan.deadline_ms);
                    self.offer(now);
                }
            }
            Input::Answered(n, result) => self.answered(now, n, result),
            Input::Read(n, result) => self.read(now, n, result),
            Input::Told(answer) => self.told(now, answer),
            Input::CallEnded => match self.phase {
                Phase::Waiting | Phase::Pausing { .. } => self.over(End::CallerGone),
                Phase::Offering | Phase::Reading { .. } | Phase::PausingToRead { .. } => {
                    self.caller_gone = true;
                }
                // The stream of a call ends when its caller is taken elsewhere: that is the transfer at work.
                Phase::Accepted | Phase::Ringing { .. } | Phase::Connected | Phase::Over(_) => {}
            },
            Input::Dismiss(why) => match self.phase {
                Phase::Waiting | Phase::Pausing { .. } => self.over(End::Dismissed(why)),
                Phase::Offering
                | Phase::Reading { .. }
                | Phase::PausingToRead { .. }
                | Phase::Accepted
                | Phase::Ringing { .. } => {
                    self.cancel();
                    self.over(End::Dismissed(why));
                }
                Phase::Connected | Phase::Over(_) => {}
            },
            Input::Resume => self.resume(now),
            Input::Timeout => self.timeout(now),
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to come back with [`Input::Timeout`].
    pub fn poll_timeout(&self) -> Option<UnixMillis> {
        match self.phase {
            Phase::Waiting => Some(self.deadline),
            Phase::Pausing { until } => Some(until.min(self.deadline)),
            Phase::PausingToRead { until, .. } | Phase::Ringing { until } => Some(until),
            Phase::Offering | Phase::Reading { .. } | Phase::Accepted | Phase::Connected | Phase::Over(_) => {
                None
            }
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Waiting => State::Waiting,
            Phase::Offering | Phase::Reading { .. } | Phase::Pausing { .. } | Phase::PausingToRead { .. } => {
                State::Offered
            }
            Phase::Accepted => State::Accepted,
            Phase::Ringing { .. } => State::Ringing,
            Phase::Connected => State::Connected,
            Phase::Over(end) => match end {
                End::Declined(_) => State::Declined,
                End::NoAnswer => State::NoAnswer,
                End::Busy => State::Busy,
                End::Voicemail => State::Voicemail,
                End::CallerGone => State::CallerGone,
                End::Failed(..) => State::Failed,
                End::Expired(_) => State::Expired,
                End::Dismissed(_) => State::Dismissed,
            },
        }
    }

    /// Why it ended as it did, where there is more to say than the state's name.
    pub fn reason(&self) -> Option<&str> {
        let Phase::Over(end) = &self.phase else { return None };
        let words = match end {
            End::Declined(why) | End::Failed(_, why) | End::Expired(why) | End::Dismissed(why) => why,
            End::NoAnswer | End::Busy | End::Voicemail | End::CallerGone => return None,
        };
        (!words.is_empty()).then_some(words)
    }

    /// How it came to nothing, if it has.
    pub fn end(&self) -> Option<&End> {
        match &self.phase {
            Phase::Over(end) => Some(end),
            Phase::Waiting
            | Phase::Offering
            | Phase::Reading { .. }
            | Phase::Pausing { .. }
            | Phase::PausingToRead { .. }
            | Phase::Accepted
            | Phase::Ringing { .. }
            | Phase::Connected => None,
        }
    }

    /// Its id: the idempotency key of every attempt.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it is made.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The attempts so far.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Until when it is offered, or may wait.
    pub fn deadline(&self) -> UnixMillis {
        self.deadline
    }

    /// When the next attempt begins, if it has to wait.
    pub fn next_attempt(&self) -> Option<UnixMillis> {
        match self.phase {
            Phase::Pausing { until } | Phase::PausingToRead { until, .. } => Some(until),
            Phase::Waiting
            | Phase::Offering
            | Phase::Reading { .. }
            | Phase::Accepted
            | Phase::Ringing { .. }
            | Phase::Connected
            | Phase::Over(_) => None,
        }
    }

    /// Whether an answer of a receiver is awaited.
    pub fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Offering | Phase::Reading { .. })
    }

    /// Whether [`Input::Told`] would change anything: what is over stays so, but for what ended because nobody knew better.
    pub fn takes(&self, answer: &Answer) -> bool {
        match &self.phase {
            Phase::Connected => false,
            Phase::Over(End::Expired(_) | End::Failed(..)) => *answer == Answer::Connected,
            Phase::Over(
                End::Declined(_)
                | End::NoAnswer
                | End::Busy
                | End::Voicemail
                | End::CallerGone
                | End::Dismissed(_),
            ) => false,
            Phase::Waiting
            | Phase::Offering
            | Phase::Reading { .. }
            | Phase::Pausing { .. }
            | Phase::PausingToRead { .. }
            | Phase::Accepted
            | Phase::Ringing { .. } => true,
        }
    }

    fn answered(&mut self, now: UnixMillis, n: u32, result: Result<Answer, Failure>) {
        if !self.record(n, &result) || self.phase != Phase::Offering {
            self.late(n, result.ok());
            return;
        }
        match result {
            Ok(answer) => self.take(now, answer),
            Err(failure) => self.came_to_nothing(now, failure),
        }
    }

    fn read(&mut self, now: UnixMillis, n: u32, result: Result<Option<Answer>, Failure>) {
        let Phase::Reading { reads } = self.phase else {
            self.late(n, result.ok().flatten());
            return;
        };
        match result {
            Ok(Some(answer)) => {
                self.record(n, &Ok(answer.clone()));
                self.take(now, answer);
            }
            Ok(None) => {
                let failure = Failure::Again { after: None, why: "it was not carried out".into() };
                self.record(n, &Err(failure.clone()));
                self.came_to_nothing(now, failure);
            }
            Err(failure @ Failure::Never(_)) => {
                self.record(n, &Err(failure.clone()));
                self.came_to_nothing(now, failure);
            }
            Err(Failure::Again { after, why }) => self.read_later(now, reads, after, why),
            Err(Failure::Unknown(why)) => self.read_later(now, reads, None, why),
        }
    }

    /// An answer that nobody waits for any more: what was accepted after all is called back.
    fn late(&mut self, n: u32, answer: Option<Answer>) {
        let unwanted = matches!(self.phase, Phase::Over(End::Dismissed(_) | End::CallerGone));
        if unwanted && matches!(answer, Some(Answer::Accepted | Answer::Ringing)) {
            let route = self.attempts.iter().find(|a| a.n == n).map_or(self.route, |a| a.route);
            self.outputs.push_back(Output::Cancel { attempt: n, route });
        }
    }

    fn told(&mut self, now: UnixMillis, answer: Answer) {
        if !self.takes(&answer) {
            return;
        }
        let under_way = match self.phase {
            Phase::Offering | Phase::Reading { .. } | Phase::PausingToRead { .. } => true,
            Phase::Waiting
            | Phase::Pausing { .. }
            | Phase::Accepted
            | Phase::Ringing { .. }
            | Phase::Connected
            | Phase::Over(_) => false,
        };
        match answer {
            Answer::Connected => self.connected(),
            Answer::CallerGone => {
                if under_way || matches!(self.phase, Phase::Accepted | Phase::Ringing { .. }) {
                    self.cancel();
                }
                self.over(End::CallerGone);
            }
            Answer::Accepted if matches!(self.phase, Phase::Accepted | Phase::Ringing { .. }) => {}
            answer @ (Answer::Accepted
            | Answer::Ringing
            | Answer::Declined(_)
            | Answer::NoAnswer
            | Answer::Busy
            | Answer::Voicemail) => {
                if under_way {
                    // What it means depends on what the attempt comes to.
                    self.told = Some(answer);
                } else {
                    self.apply(now, answer);
                }
            }
        }
    }

    fn take(&mut self, now: UnixMillis, answer: Answer) {
        let answer = self.told.take().unwrap_or(answer);
        self.apply(now, answer);
    }

    fn apply(&mut self, now: UnixMillis, answer: Answer) {
        match answer {
            Answer::Accepted => self.become_(Phase::Accepted),
            Answer::Ringing => self.become_(Phase::Ringing { until: now.after(self.plan.ring_ms) }),
            Answer::Connected => self.connected(),
            Answer::Declined(why) => self.said_no(now, End::Declined(why)),
            Answer::NoAnswer => self.said_no(now, End::NoAnswer),
            Answer::Busy => self.said_no(now, End::Busy),
            Answer::Voicemail => self.said_no(now, End::Voicemail),
            Answer::CallerGone => self.over(End::CallerGone),
        }
    }

    fn connected(&mut self) {
        self.become_(Phase::Connected);
        self.outputs.push_back(Output::Tell(Outcome::Connected));
    }

    /// A human's no does not use up the others' time.
    fn said_no(&mut self, now: UnixMillis, end: End) {
        if self.route + 1 < self.plan.routes.len() {
            self.deadline = self.deadline.max(now.after(self.plan.deadline_ms));
        }
        self.next_route_or(now, end);
    }

    fn came_to_nothing(&mut self, now: UnixMillis, failure: Failure) {
        let told = self.told.take();
        match (failure, told) {
            (Failure::Unknown(why), told) => {
                self.told = told;
                self.read_later(now, 0, None, why);
            }
            (_, Some(told)) => self.apply(now, told),
            (Failure::Never(why), None) => self.next_route_or(now, End::Failed(Class::Refused, why)),
            (Failure::Again { after, why }, None) => {
                let until = now.after(self.backoff().max(after.map_or(0, millis)));
                let spent = self.tries >= TRIES_A_ROUTE || until >= self.deadline;
                if self.caller_gone
                    || self.attempts.len() >= ATTEMPTS_MAX
                    || (spent && self.route + 1 < self.plan.routes.len())
                    || now >= self.deadline
                {
                    self.next_route_or(now, End::Expired(why));
                } else {
                    self.phase = Phase::Pausing { until };
                }
            }
        }
    }

    fn read_later(&mut self, now: UnixMillis, reads: u32, after: Option<Duration>, why: String) {
        if reads >= READS_MAX {
            let end = End::Failed(Class::Unknown, why);
            return self.over(end);
        }
        let until = now.after(backoff(&self.id, reads).max(after.map_or(0, millis).min(STALE_MS)));
        self.phase = Phase::PausingToRead { until, reads };
    }

    fn next_route_or(&mut self, now: UnixMillis, end: End) {
        if self.caller_gone {
            self.over(End::CallerGone);
        } else if self.route + 1 < self.plan.routes.len()
            && now < self.deadline
            && self.attempts.len() < ATTEMPTS_MAX
        {
            self.route += 1;
            self.tries = 0;
            self.offer(now);
        } else {
            self.over(end);
        }
    }

    fn offer(&mut self, now: UnixMillis) {
        if self.plan.routes.is_empty() {
            let why = "no connector is configured: add a [[handoff.connector]]".into();
            return self.over(End::Failed(Class::NoRoute, why));
        }
        self.tries += 1;
        let n = self.attempts.last().map_or(1, |last| last.n + 1);
        let route = self.route;
        self.attempts.push(Attempt { n, route, at: now, outcome: Went::UnderWay, detail: None });
        let before = self.state();
        self.phase = Phase::Offering;
        if before != State::Offered {
            self.outputs.push_back(Output::Became(State::Offered));
        }
        self.outputs.push_back(Output::Offer { attempt: n, route });
    }

    fn read_now(&mut self, reads: u32) {
        let Some(last) = self.attempts.last() else { return };
        let output = Output::ReadAgain { attempt: last.n, route: last.route };
        self.phase = Phase::Reading { reads: reads + 1 };
        self.outputs.push_back(output);
    }

    fn cancel(&mut self) {
        if let Some(last) = self.attempts.last() {
            self.outputs.push_back(Output::Cancel { attempt: last.n, route: last.route });
        }
    }

    fn over(&mut self, end: End) {
        let caller_is_there = end != End::CallerGone && !self.caller_gone;
        self.become_(Phase::Over(end));
        if caller_is_there {
            self.outputs.push_back(Output::Tell(Outcome::CameToNothing));
        }
    }

    fn become_(&mut self, phase: Phase) {
        let before = self.state();
        self.phase = phase;
        if self.state() != before {
            self.outputs.push_back(Output::Became(self.state()));
        }
    }

    /// Writes down what came of an attempt; `false` for one that there is not, or of which it is known already.
    fn record(&mut self, n: u32, result: &Result<Answer, Failure>) -> bool {
        let Some(attempt) = self.attempts.iter_mut().find(|a| a.n == n) else { return false };
        if !matches!(attempt.outcome, Went::UnderWay | Went::Unknown) {
            return false;
        }
        (attempt.outcome, attempt.detail) = match result {
            Ok(Answer::Accepted) => (Went::Accepted, None),
            Ok(Answer::Ringing) => (Went::Ringing, None),
            Ok(Answer::Connected) => (Went::Connected, None),
            Ok(Answer::Declined(why)) => (Went::Declined, Some(why.clone())),
            Ok(Answer::NoAnswer) => (Went::NoAnswer, None),
            Ok(Answer::Busy) => (Went::Busy, None),
            Ok(Answer::Voicemail) => (Went::Voicemail, None),
            Ok(Answer::CallerGone) => (Went::CallerGone, None),
            Err(Failure::Again { why, .. }) => (Went::Unavailable, Some(why.clone())),
            Err(Failure::Unknown(why)) => (Went::Unknown, Some(why.clone())),
            Err(Failure::Never(why)) => (Went::Refused, Some(why.clone())),
        };
        true
    }

    fn resume(&mut self, now: UnixMillis) {
        let stale = now >= self.deadline.after(STALE_MS);
        let why = || String::from("the program was not running");
        match self.phase {
            Phase::Waiting | Phase::Pausing { .. } if stale => self.over(End::Expired(why())),
            Phase::Offering | Phase::Reading { .. } | Phase::PausingToRead { .. } if stale => {
                self.over(End::Failed(Class::Unknown, why()));
            }
            Phase::Waiting | Phase::Pausing { .. } => {
                self.deadline = self.deadline.max(now.after(RESUMED_MS))
            }
            Phase::Offering | Phase::Reading { .. } | Phase::PausingToRead { .. } => {
                self.deadline = self.deadline.max(now.after(RESUMED_MS));
                if let Some(last) = self.attempts.last_mut() {
                    last.outcome = Went::Unknown;
                    last.detail = Some("the program ended before the answer came".into());
                }
                self.read_now(0);
            }
            Phase::Accepted | Phase::Ringing { .. } | Phase::Connected | Phase::Over(_) => {}
        }
    }

    fn timeout(&mut self, now: UnixMillis) {
        match self.phase {
            Phase::Waiting if now >= self.deadline => self.over(End::Expired("no human was free".into())),
            Phase::Pausing { .. } if now >= self.deadline => {
                let why = self.attempts.last().and_then(|a| a.detail.clone()).unwrap_or_default();
                self.over(End::Expired(why));
            }
            Phase::Pausing { until } if now >= until => self.offer(now),
            Phase::PausingToRead { until, reads } if now >= until => self.read_now(reads),
            Phase::Ringing { until } if now >= until => {
                self.cancel();
                self.said_no(now, End::NoAnswer);
            }
            Phase::Waiting
            | Phase::Offering
            | Phase::Reading { .. }
            | Phase::Pausing { .. }
            | Phase::PausingToRead { .. }
            | Phase::Accepted
            | Phase::Ringing { .. }
            | Phase::Connected
            | Phase::Over(_) => {}
        }
    }

    fn backoff(&self) -> u64 {
        backoff(&format!("{}/{}", self.id, self.attempts.len()), self.tries.saturating_sub(1))
    }
}

/// Milliseconds to wait after so many tries, a quarter more or less: how much is read off the name, so that it is the same
/// whenever the same story is played, and differs from one transfer to the next.
fn backoff(name: &str, tries: u32) -> u64 {
    let last = BACKOFF_MS.len() - 1;
    let base = BACKOFF_MS.get(usize::try_from(tries).unwrap_or(last).min(last)).copied().unwrap_or(3_000);
    let digest = Sha256::digest(name);
    let share = u64::from(digest.first().copied().unwrap_or(128));
    base * 3 / 4 + base * share / 510
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a story of a transfer over two routes, 30 s each, told to ring 20 s at most, a line a moment:
    /// `seconds  what  state  > what is done`.
    ///
    /// `what`: `new`, `admit`, an answer to the attempt under way (`accepted`, `ringing`, `connected`, `declined`, `no_answer`, `again`,
    /// `again:S` with a Retry-After, `unknown`, `never`), the same of a reading (`read:accepted`, `read:none`, `read:again`,
    /// `read:never`), of the interface (`told:…`), `ended`, `dismiss`, `resume`, or `-` (time goes by).
    /// What is done: `offer:ROUTE`, `read:ROUTE`, `cancel:ROUTE`, `call:connected`, `call:nothing`; of pauses a jitter of a
    /// quarter is left open by the story's times.
    fn check(story: &str) {
        let plan = Plan {
            routes: vec!["first".into(), "second".into()],
            deadline_ms: 30_000,
            ring_ms: 20_000,
            wait_ms: 600_000,
        };
        let mut life: Option<Life> = None;
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (said, expected) = line.split_once('>').unwrap();
            let words: Vec<&str> = said.split_whitespace().collect();
            let seconds: f64 = words[0].parse().unwrap();
            let now = UnixMillis(u64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap());
            let life = life.get_or_insert_with(|| Life::new("story", plan.clone(), now));
            let attempt = life.attempts().last().map_or(0, |a| a.n);
            let mut done = Vec::new();
            // Stored and read back at every step, as the ledger does.
            let stored = serde_json::to_string(&life).unwrap();
            assert_eq!(serde_json::from_str::<Life>(&stored).unwrap(), *life);
            match words[1] {
                "new" => {}
                "admit" => life.handle_input(now, Input::Admit),
                "ended" => life.handle_input(now, Input::CallEnded),
                "dismiss" => life.handle_input(now, Input::Dismiss("not needed".into())),
                "resume" => life.handle_input(now, Input::Resume),
                "-" => {
                    assert!(
                        life.poll_timeout().is_some_and(|at| at <= now),
                        "nothing was waited for: {line}"
                    );
                    life.handle_input(now, Input::Timeout);
                }
                what => match what.split_once(':') {
                    Some(("told", what)) => life.handle_input(now, Input::Told(answer(what).unwrap())),
                    Some(("read", "none")) => life.handle_input(now, Input::Read(attempt, Ok(None))),
                    Some(("read", what)) => {
                        life.handle_input(now, Input::Read(attempt, result(what).map(Some)));
                    }
                    _ => life.handle_input(now, Input::Answered(attempt, result(what))),
                },
            }
            while let Some(output) = life.poll_output() {
                done.push(match output {
                    Output::Offer { route, .. } => format!("offer:{}", plan.routes[route]),
                    Output::ReadAgain { route, .. } => format!("read:{}", plan.routes[route]),
                    Output::Cancel { route, .. } => format!("cancel:{}", plan.routes[route]),
                    Output::Tell(Outcome::Connected) => "call:connected".into(),
                    Output::Tell(Outcome::CameToNothing) => "call:nothing".into(),
                    Output::Became(_) => continue,
                });
            }
            assert_eq!(life.state().name(), words[2], "state after: {line}");
            assert_eq!(done, expected.split_whitespace().collect::<Vec<_>>(), "done at: {line}");
            let under_way = life.attempts().iter().filter(|a| a.outcome == Went::UnderWay).count();
            assert!(under_way <= 1, "two in flight after: {line}");
        }
    }

    fn answer(what: &str) -> Option<Answer> {
        Some(match what {
            "accepted" => Answer::Accepted,
            "ringing" => Answer::Ringing,
            "connected" => Answer::Connected,
            "declined" => Answer::Declined("in a meeting".into()),
            "no_answer" => Answer::NoAnswer,
            "busy" => Answer::Busy,
            "voicemail" => Answer::Voicemail,
            "caller_gone" => Answer::CallerGone,
            _ => return None,
        })
    }

    fn result(what: &str) -> Result<Answer, Failure> {
        if let Some(answer) = answer(what) {
            return Ok(answer);
        }
        let why = String::from("503");
        Err(match what.split_once(':') {
            Some(("again", seconds)) => {
                Failure::Again { after: Some(Duration::from_secs(seconds.parse().unwrap())), why }
            }
            _ if what == "again" => Failure::Again { after: None, why },
            _ if what == "unknown" => Failure::Unknown("timed out".into()),
            _ if what == "never" => Failure::Never("400".into()),
            _ => panic!("{what}"),
        })
    }

    #[test]
    fn an_offer_is_accepted_rings_and_connects() {
        check(
            "
            0.0  new        waiting    >
            0.0  admit      offered    > offer:first
            0.1  accepted   accepted   >
            2.0  told:ringing   ringing >
            9.0  told:connected connected > call:connected
            9.5  told:declined  connected >
            ",
        );
    }

    #[test]
    fn who_waits_for_a_human_too_long_expires() {
        check("0 new waiting >\n 599 new waiting >\n 600 - expired > call:nothing");
    }

    #[test]
    fn a_receiver_that_is_away_is_tried_again_later_and_later_then_the_next_route_is() {
        check(
            "
            0.0   admit     offered  > offer:first
            0.1   again     offered  >
            0.42  -         offered  > offer:first
            0.5   again     offered  >
            1.80  -         offered  > offer:first
            2.0   again     offered  > offer:second
            2.1   accepted  accepted >
            ",
        );
    }

    #[test]
    fn the_last_route_is_tried_until_the_deadline() {
        check(
            "
            0.0   admit     offered  > offer:first
            0.1   never     offered  > offer:second
            1.0   again     offered  >
            2.0   -         offered  > offer:second
            3.0   again     offered  >
            5.0   -         offered  > offer:second
            6.0   again     offered  >
            10.0  -         offered  > offer:second
            20.0  again     offered  >
            24.0  -         offered  > offer:second
            29.0  again     offered  >
            30.0  -         expired  > call:nothing
            ",
        );
    }

    #[test]
    fn a_retry_after_is_kept_and_one_beyond_the_deadline_leaves_the_route() {
        check(
            "
            0.0   admit     offered  > offer:first
            0.1   again:5   offered  >
            5.1   -         offered  > offer:first
            5.2   again:60  offered  > offer:second
            5.3   again:60  offered  >
            30.0  -         expired  > call:nothing
            ",
        );
    }

    #[test]
    fn who_refuses_is_not_asked_again() {
        check(
            "0 admit offered > offer:first\n 0.1 never offered > offer:second\n 0.2 never failed > call:nothing",
        );
    }

    #[test]
    fn a_human_who_says_no_leaves_the_next_route_a_time_of_its_own() {
        check(
            "
            0.0   admit         offered  > offer:first
            0.1   accepted      accepted >
            29.0  told:declined offered  > offer:second
            31.0  again         offered  >
            31.5  -             offered  > offer:second
            32.0  busy          busy     > call:nothing
            ",
        );
    }

    #[test]
    fn a_telephone_that_rings_too_long_is_called_back() {
        check(
            "
            0.0   admit     offered   > offer:first
            1.0   ringing   ringing   >
            21.0  -         offered   > cancel:first offer:second
            22.0  ringing   ringing   >
            42.0  -         no_answer > cancel:second call:nothing
            ",
        );
    }

    #[test]
    fn an_answer_that_never_came_is_read_before_anything_is_tried_again() {
        check(
            "
            0.0   admit          offered  > offer:first
            3.0   unknown        offered  >
            3.4   -              offered  > read:first
            3.5   read:accepted  accepted >
            ",
        );
        check(
            "
            0.0   admit          offered  > offer:first
            3.0   unknown        offered  >
            3.4   -              offered  > read:first
            3.5   read:again     offered  >
            5.0   -              offered  > read:first
            5.1   read:none      offered  >
            5.5   -              offered  > offer:first
            5.6   connected      connected > call:connected
            ",
        );
    }

    #[test]
    fn what_nobody_can_say_has_failed_and_the_next_route_is_left_alone() {
        check(
            "
            0.0   admit          offered  > offer:first
            3.0   unknown        offered  >
            4.0   -              offered  > read:first
            4.1   read:again     offered  >
            6.0   -              offered  > read:first
            6.1   read:again     offered  >
            10.0  -              offered  > read:first
            10.1  read:again     offered  >
            14.0  -              offered  > read:first
            14.1  read:unknown   offered  >
            18.0  -              offered  > read:first
            18.1  read:again     offered  >
            40.0  -              offered  > read:first
            40.1  read:again     failed   > call:nothing
            ",
        );
    }

    #[test]
    fn a_caller_who_hangs_up_is_offered_to_nobody() {
        check("0 new waiting >\n 5 ended caller_gone >");
        check("0 admit offered > offer:first\n 1 again offered >\n 1.1 ended caller_gone >");
        check("0 admit offered > offer:first\n 1 ended offered >\n 2 again caller_gone >");
        check("0 admit offered > offer:first\n 1 ended offered >\n 2 never caller_gone >");
        check(
            "0 admit offered > offer:first\n 1 accepted accepted >\n 2 told:caller_gone caller_gone > cancel:first",
        );
        check(
            "
            0.0  admit     offered     > offer:first
            1.0  unknown   offered     >
            1.1  ended     offered     >
            1.5  -         offered     > read:first
            1.6  read:none caller_gone >
            ",
        );
    }

    #[test]
    fn a_stream_that_ends_because_the_caller_was_taken_elsewhere_cancels_nothing() {
        check(
            "0 admit offered > offer:first\n 0.2 ended offered >\n 0.3 accepted accepted >\n 5 told:connected connected > call:connected",
        );
        check("0 admit offered > offer:first\n 0.2 accepted accepted >\n 0.3 ended accepted >");
    }

    #[test]
    fn a_supervisor_calls_back_what_is_not_connected() {
        check("0 new waiting >\n 1 dismiss dismissed > call:nothing");
        check(
            "0 admit offered > offer:first\n 1 dismiss dismissed > cancel:first call:nothing\n 2 accepted dismissed > cancel:first",
        );
        check(
            "0 admit offered > offer:first\n 1 accepted accepted >\n 2 dismiss dismissed > cancel:first call:nothing",
        );
        check(
            "0 admit offered > offer:first\n 1 connected connected > call:connected\n 2 dismiss connected >",
        );
    }

    #[test]
    fn what_is_told_while_an_attempt_is_under_way_waits_for_its_answer() {
        check(
            "
            0.0  admit          offered   > offer:first
            1.0  told:declined  offered   >
            1.1  accepted       offered   > offer:second
            1.2  told:connected connected > call:connected
            1.3  accepted       connected >
            ",
        );
    }

    #[test]
    fn after_a_crash_what_may_have_been_carried_out_is_read_first() {
        check("0 admit offered > offer:first\n 2 resume offered > read:first\n 2.1 read:accepted accepted >");
        check(
            "0 admit offered > offer:first\n 1 again offered >\n 2 resume offered >\n 2.1 - offered > offer:first",
        );
        check("0 new waiting >\n 2 resume waiting >\n 3 admit offered > offer:first");
        check("0 admit offered > offer:first\n 1 accepted accepted >\n 2 resume accepted >");
    }

    #[test]
    fn after_a_long_stop_nobody_is_rung_for_a_caller_who_is_gone() {
        check("0 admit offered > offer:first\n 89.9 resume offered > read:first");
        check("0 admit offered > offer:first\n 90.0 resume failed > call:nothing");
        check("0 admit offered > offer:first\n 1 again offered >\n 90 resume expired > call:nothing");
    }

    #[test]
    fn what_ended_because_nobody_knew_better_may_turn_out_connected() {
        check(
            "0 new waiting >\n 600 - expired > call:nothing\n 601 told:connected connected > call:connected",
        );
        check(
            "0 admit offered > offer:first\n 1 dismiss dismissed > cancel:first call:nothing\n 2 told:connected dismissed >",
        );
    }

    #[test]
    fn a_pause_is_the_same_whenever_it_is_played_and_differs_between_transfers() {
        let pauses = |id: &str| [0, 1, 2, 9].map(|tries| backoff(id, tries));
        assert_eq!(pauses("a"), pauses("a"));
        assert!(pauses("a") != pauses("b"));
        for (pause, base) in pauses("a").into_iter().zip([250, 1_000, 3_000, 3_000]) {
            assert!((base * 3 / 4..=base * 5 / 4).contains(&pause), "{pause} for {base}");
        }
    }

    #[test]
    fn whatever_happens_at_most_one_attempt_is_under_way_and_it_comes_to_an_end() {
        use proptest::prelude::*;
        let inputs = ["accepted", "ringing", "connected", "declined", "again", "again:4", "unknown", "never"];
        proptest!(|(story in prop::collection::vec((0usize..16, 0u64..4_000), 1..120))| {
            let plan = Plan { routes: vec!["a".into(), "b".into()], deadline_ms: 30_000, ring_ms: 20_000, wait_ms: 60_000 };
            let mut life = Life::new("x", plan, UnixMillis(0));
            let (mut now, mut ends, mut flying) = (UnixMillis(0), 0, false);
            life.handle_input(now, Input::Admit);
            while let Some(output) = life.poll_output() {
                flying |= matches!(output, Output::Offer { .. });
            }
            for (what, wait) in story {
                now = now.after(wait);
                let n = life.attempts().last().map_or(0, |a| a.n);
                match what {
                    0..8 if life.is_under_way() => {
                        flying = false;
                        let result = result(inputs[what]);
                        if matches!(life.phase, Phase::Reading { .. }) {
                            life.handle_input(now, Input::Read(n, result.map(Some)));
                        } else {
                            life.handle_input(now, Input::Answered(n, result));
                        }
                    }
                    8 => life.handle_input(now, Input::Told(Answer::Declined(String::new()))),
                    9 => life.handle_input(now, Input::CallEnded),
                    10 => { flying = false; life.handle_input(now, Input::Resume) }
                    _ => life.handle_input(now, Input::Timeout),
                }
                while let Some(output) = life.poll_output() {
                    match output {
                        Output::Offer { .. } | Output::ReadAgain { .. } => {
                            prop_assert!(!flying, "two in flight");
                            flying = true;
                        }
                        Output::Tell(_) => ends += 1,
                        Output::Cancel { .. } | Output::Became(_) => {}
                    }
                }
                prop_assert!(life.attempts().len() <= ATTEMPTS_MAX);
                prop_assert!(ends <= 1);
                prop_assert!(life.state().is_over() || life.poll_timeout().is_some() || life.is_under_way()
                    || life.state() == State::Accepted, "{life:?} waits for nothing");
            }
        });
    }
}
