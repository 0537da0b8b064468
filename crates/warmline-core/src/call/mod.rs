//! One call, sans-IO: what is heard and told goes in, scores to make, transfers to act on and events come out.
//! Absent here: sockets, clocks, threads, models.
//!
//! Two halves. The *hearing* turns packets into frames, descriptors and score requests as they arrive. The *decision* goes
//! through the same call in the order of media time, one item after the other, and waits for a score that is on its way: so
//! neither the size of packets, nor how the two tracks interleave, nor how late a score comes can change what it says.

mod bounded;
mod decision;
mod event;
mod hearing;
mod input;
mod talk;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use bounded::push_bounded;
use decision::Decision;
pub use event::{Event, EventKind, OPTED_OUT};
use hearing::{AgentEar, Attention, CallerEar, Item};
pub use input::{Command, Input};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    media::{Received, Speaker, TrackError, TrackFormat},
    packet::ContextPacket,
    policy::{Notice, Outcome, Policy, Suspension},
    score::{ScoreError, ScoreRequest, Scores, Stage, Stages},
    units::{CallTime, MediaTime, Pii},
};

/// Arrival time after which a score counts as never made: an explicit request waits no longer than this behind one.
pub const SCORE_DEADLINE_US: u64 = 500_000;

/// Arrival time one track may lag behind the other before what is missing of it counts as lost.
pub const STALL_DEADLINE_US: u64 = 1_000_000;

/// Scores that may be under way; beyond, the oldest counts as never made.
pub const SCORES_UNDER_WAY_MAX: usize = 64;

/// Words and reports that may wait for the moment they are dated with; beyond, the earliest waits no longer.
pub const WORDS_WAITING_MAX: usize = 64;

/// Pauses that are remembered, so that what was said in one is not taken when it comes late.
pub const PAUSES_MAX: usize = 32;

/// A call's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CallId(String);

impl CallId {
    /// An identity that somebody else gave.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The identity of a call that is its content: a UUID of version 8 (RFC 9562 §5.8) from a SHA-256.
    pub fn of_content(sha256: &[u8; 32]) -> Self {
        Self(uuid(sha256))
    }

    /// The identity of the `n`-th transfer of this call: a UUID, the same whenever the same call is played.
    pub fn transfer(&self, n: u32) -> String {
        uuid(&Sha256::digest(format!("{}/transfer/{n}", self.0)).into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What holds for every call.
#[derive(Debug)]
pub struct CallConfig {
    /// When to act.
    pub policy: Policy,
    /// What scores the voice; without it only cues beyond the voice decide.
    pub stages: Option<Stages>,
}

/// What is known when a call begins.
#[derive(Clone, Debug)]
pub struct CallStart {
    /// Where the audio comes from: `wav`, a protocol, a device.
    pub source: String,
    /// The name of the file, in replay.
    pub file: Option<String>,
    /// Which channel is the caller's: `left`, `right`, `mono`, or a protocol's own word.
    pub caller_channel: String,
    /// The caller's audio.
    pub caller: TrackFormat,
    /// The agent's or bot's audio, if there is any.
    pub agent: Option<TrackFormat>,
    /// The queue, for the policy's overrides and the packet.
    pub queue: Option<String>,
    /// The intent, likewise.
    pub intent: Option<String>,
    /// What the caller has been told already.
    pub notice: Notice,
    /// What the integrator gives along, for the packet.
    pub metadata: BTreeMap<String, String>,
}

/// What somebody said, as a recogniser tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// Who.
    pub speaker: Speaker,
    /// Their words.
    pub text: Pii<String>,
    /// Whether the recogniser stands by it; what may still change is not looked at.
    pub is_final: bool,
    /// When it had been said; when it comes, if nothing is given.
    pub at: Option<MediaTime>,
}

/// What a call wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Score this window and answer with [`Input::Scored`].
    Score(ScoreRequest),
    /// Do this; losing it loses a transfer.
    Act(Action),
    /// This happened; losing it changes no decision.
    Tell(Event),
}

/// What must be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Hand the caller to a human.
    Transfer {
        /// The transfer's id.
        id: String,
        /// Everything the human needs to know.
        packet: Box<ContextPacket>,
    },
}

/// Why a call wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReason {
    /// A score has not come.
    ScoreLate,
    /// A track has stopped sending.
    TrackStalled,
    /// Words are dated with a moment that does not come.
    WordsEarly,
}

/// One call.
pub struct Call {
    caller: CallerEar,
    agent: Option<AgentEar>,
    decision: Decision,
    /// Why the voice is not scored, as told so far; the decision follows in the order of media time.
    suspended: BTreeSet<Suspension>,
    /// Items in the order in which they are decided on.
    ready: VecDeque<(MediaTime, Item)>,
    /// Words and reports whose moment has not come, with their arrival, in the order of their moments.
    waiting: VecDeque<(MediaTime, CallTime, Item)>,
    /// How far both tracks are in order.
    merged: MediaTime,
    /// When something was said that must not be heard.
    pauses: VecDeque<(MediaTime, Option<MediaTime>)>,
    /// How far the track that lags behind has come, and since when it has come no further.
    behind: Option<(MediaTime, CallTime)>,
    ended: bool,
    outputs: VecDeque<Output>,
}

impl Call {
    /// A call that begins now.
    ///
    /// # Errors
    /// When a track is of a rate or channel that `media/` does not read.
    pub fn new(id: CallId, start: CallStart, config: Arc<CallConfig>) -> Result<Self, TrackError> {
        let agent = start.agent.map(AgentEar::new).transpose()?;
        let caller = CallerEar::new(start.caller, config.stages.as_ref())?;
        let given = start.notice;
        let mut outputs = VecDeque::new();
        let decision = Decision::new(id, start, &config, &mut outputs);
        let suspended = BTreeSet::new();
        let mut call = Self {
            caller,
            agent,
            decision,
            suspended,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            merged: MediaTime::ZERO,
            pauses: VecDeque::new(),
            behind: None,
            ended: false,
            outputs,
        };
        call.suspend(Suspension::Notice, !call.decision.notice_rule().is_met(given));
        Ok(call)
    }

    /// Takes one input. `now` is the arrival clock; it decides nothing but deadlines.
    pub fn handle_input(&mut self, now: CallTime, input: Input<'_>) {
        if self.ended && !matches!(input, Input::Scored(..) | Input::Timeout) {
            return;
        }
        match input {
            Input::Media { track: Speaker::Caller, position, payload } => {
                let received = self.caller.push(now, position, payload, &mut self.outputs);
                self.refused(received, Speaker::Caller);
            }
            Input::Media { track: Speaker::Agent, position, payload } => {
                if let Some(agent) = &mut self.agent {
                    let received = agent.push(position, payload);
                    self.refused(received, Speaker::Agent);
                }
            }
            Input::Gap { track: Speaker::Caller, cause, from, to } => {
                let skipped = self.caller.skip(now, from, to, cause, &mut self.outputs);
                self.refused(skipped, Speaker::Caller);
            }
            Input::Gap { track: Speaker::Agent, cause, from, to } => {
                if let Some(agent) = &mut self.agent {
                    let skipped = agent.skip(from, to, cause);
                    self.refused(skipped, Speaker::Agent);
                }
            }
            Input::Scored(stage, at, answer) => self.answer(stage, at, answer),
            Input::Command(command) => self.command(now, command),
            Input::Ended(cause) => self.end(now, cause),
            Input::Timeout => self.time_out(now),
        }
        self.merge();
        self.watch_for_stalls(now);
        self.decide(now);
    }

    /// Takes a command. Suspensions take effect on the audio at once; every command is decided on in the order of media time.
    fn command(&mut self, now: CallTime, command: Command) {
        match command {
            Command::Dtmf(_) if self.is_paused() => return,
            Command::Transcript(Transcript { is_final: false, .. }) => return,
            Command::Transcript(transcript) => {
                let at = transcript.at;
                let dated = Transcript { at: Some(at.unwrap_or(self.received())), ..transcript };
                return self.said(now, at, Item::Command(Command::Transcript(dated)));
            }
            Command::Bot(_, at) => return self.said(now, at, Item::Command(command)),
            Command::Notice(given) => {
                self.suspend(Suspension::Notice, !self.decision.notice_rule().is_met(given));
            }
            Command::Suspend(why) => self.suspend(why, true),
            Command::Lift(why) => self.suspend(why, false),
            Command::Outcome(Outcome::Connected) => self.suspend(Suspension::Human, true),
            Command::Dtmf(_)
            | Command::ExplicitRequest
            | Command::Manual
            | Command::Outcome(Outcome::CameToNothing) => {}
        }
        self.tell(Item::Command(command));
    }

    /// Decides on what is ready, up to a score that is on its way.
    fn decide(&mut self, now: CallTime) {
        while let Some((at, item)) = self.ready.front_mut() {
            if let Item::Hop(hop) = item
                && let Some(request) = self.decision.weigh(now, *at, hop, &mut self.outputs)
            {
                self.outputs.push_back(Output::Score(request));
            }
            let Some((at, item)) = self.ready.pop_front_if(|(_, item)| !item.is_awaited()) else { return };
            self.decision.handle(at, item, &mut self.outputs);
        }
    }

    /// The next thing to be done, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] should come at the latest, and why.
    pub fn poll_timeout(&self) -> Option<(CallTime, TimeoutReason)> {
        let asked = self
            .awaited()
            .map(|(_, asked)| (asked.after_micros(SCORE_DEADLINE_US), TimeoutReason::ScoreLate))
            .min_by_key(|t| t.0);
        let behind = self
            .behind
            .map(|(_, since)| (since.after_micros(STALL_DEADLINE_US), TimeoutReason::TrackStalled));
        let early = self
            .waiting
            .iter()
            .map(|(_, since, _)| (since.after_micros(STALL_DEADLINE_US), TimeoutReason::WordsEarly))
            .min_by_key(|t| t.0);
        asked.into_iter().chain(behind).chain(early).min_by_key(|(at, _)| *at)
    }

    /// The end of what has been received of the caller.
    pub fn time(&self) -> MediaTime {
        self.caller.time()
    }

    /// Stops or resumes listening at once: what must not be scored is not even described while a score before it is awaited.
    fn suspend(&mut self, why: Suspension, on: bool) {
        let was_paused = self.is_paused();
        if on {
            self.suspended.insert(why)
        } else {
            self.suspended.remove(&why)
        };
        if self.is_paused() != was_paused {
            let now = self.received();
            match self.pauses.back_mut() {
                Some((_, to @ None)) => *to = Some(now),
                Some(_) | None => push_bounded(&mut self.pauses, (now, None), PAUSES_MAX),
            }
        }
        let absent = self.suspended.contains(&Suspension::Hold) || self.is_paused();
        self.caller.attend(match (absent, self.suspended.is_empty()) {
            (true, _) => Attention::None,
            (false, false) => Attention::Turns,
            (false, true) => Attention::Scored,
        });
    }

    /// Whether anybody paused the call.
    fn is_paused(&self) -> bool {
        self.suspended.iter().any(|why| matches!(why, Suspension::Pause(_)))
    }

    /// Puts what was told behind everything heard so far, and dates it with the end of what was received.
    fn tell(&mut self, item: Item) {
        self.merge();
        self.ready.push_back((self.received(), item));
    }

    /// The end of what was received of either track.
    fn received(&self) -> MediaTime {
        self.caller.time().max(self.agent.as_ref().map_or(MediaTime::ZERO, AgentEar::time))
    }

    /// Takes words or a report: dated, they are decided on in their place in the order of media time, or at once if that is past.
    /// What was said in a pause is not taken, whenever it comes.
    fn said(&mut self, now: CallTime, at: Option<MediaTime>, item: Item) {
        let moment = at.unwrap_or(self.received());
        let within =
            |(from, to): &(MediaTime, Option<MediaTime>)| moment >= *from && to.is_none_or(|to| moment < to);
        if self.pauses.iter().any(within) || at.is_none() && self.is_paused() {
            return;
        }
        let Some(at) = at else { return self.tell(item) };
        let place = self.waiting.partition_point(|(other, ..)| *other <= at);
        self.waiting.insert(place, (at, now, item));
        if self.waiting.len() > WORDS_WAITING_MAX
            && let Some((_, _, item)) = self.waiting.pop_front()
        {
            self.tell(item);
        }
    }

    fn answer(&mut self, stage: Stage, at: MediaTime, answer: Result<Scores, ScoreError>) {
        self.under_way()
            .filter(|(t, item)| *t == at && item.asked().is_some_and(|(asked, _)| asked == stage))
            .for_each(|(_, item)| item.answer(answer));
    }

    /// Moves items of both tracks, and what was said in between, into one order, as far as no track can still bring an earlier one.
    /// Of the same moment the caller's comes first, then the agent's, then what was said.
    fn merge(&mut self) {
        let through = self.agent.as_ref().map_or(self.caller.through, |a| a.through.min(self.caller.through));
        while let Some((at, _, item)) = self.waiting.pop_front_if(|(at, ..)| *at < through) {
            self.merge_tracks(at);
            self.ready.push_back((at.max(self.merged), item));
        }
        self.merge_tracks(MediaTime(u64::MAX));
    }

    /// The same for the items of both tracks up to `limit`.
    fn merge_tracks(&mut self, limit: MediaTime) {
        loop {
            let agent_through = self.agent.as_ref().map_or(limit, |agent| agent.through.min(limit));
            let caller_next = self.caller.items.front().map(|(t, _)| *t).filter(|t| *t <= agent_through);
            let agent_next = self.agent.as_ref().and_then(|agent| agent.items.front()).map(|(t, _)| *t);
            let agent_next = agent_next.filter(|t| *t < self.caller.through && *t <= limit);
            let item = match (caller_next, agent_next, &mut self.agent) {
                (None, None, _) => return,
                (Some(c), Some(a), Some(agent)) if a < c => agent.items.pop_front(),
                (None, Some(_), Some(agent)) => agent.items.pop_front(),
                (Some(_), ..) | (None, Some(_), None) => self.caller.items.pop_front(),
            };
            self.merged = item.as_ref().map_or(self.merged, |(at, _)| self.merged.max(*at));
            self.ready.extend(item);
        }
    }

    fn awaited(&self) -> impl Iterator<Item = (Stage, CallTime)> + '_ {
        self.ready.iter().chain(self.caller.items.iter()).filter_map(|(_, item)| item.asked())
    }

    /// The items whose score is on its way, oldest first.
    fn under_way(&mut self) -> impl Iterator<Item = &mut (MediaTime, Item)> {
        self.ready.iter_mut().chain(self.caller.items.iter_mut()).filter(|(_, item)| item.is_awaited())
    }

    fn watch_for_stalls(&mut self, now: CallTime) {
        let progress =
            self.agent.as_ref().filter(|_| !self.ended).map(|agent| agent.time().min(self.caller.time()));
        let level = self.agent.as_ref().is_none_or(|agent| agent.time() == self.caller.time());
        self.behind = match (self.behind, progress) {
            (_, None) => None,
            _ if level => None,
            (Some((at, since)), Some(progress)) if at == progress => Some((at, since)),
            (_, Some(progress)) => Some((progress, now)),
        };
        let too_many = self.awaited().count().saturating_sub(SCORES_UNDER_WAY_MAX);
        self.under_way().take(too_many).for_each(|(_, item)| item.answer(Err(ScoreError::Late)));
    }

    fn time_out(&mut self, now: CallTime) {
        let late = |asked: CallTime| asked.after_micros(SCORE_DEADLINE_US) <= now;
        self.under_way()
            .filter(|(_, item)| item.asked().is_some_and(|(_, asked)| late(asked)))
            .for_each(|(_, item)| item.answer(Err(ScoreError::Late)));
        let received = self.received();
        while let Some((at, _, item)) =
            self.waiting.pop_front_if(|(_, since, _)| since.after_micros(STALL_DEADLINE_US) <= now)
        {
            self.ready.push_back((at.min(received).max(self.merged), item));
        }
        if let Some(agent) = &mut self.agent
            && self.behind.is_some_and(|(_, since)| since.after_micros(STALL_DEADLINE_US) <= now)
        {
            let to = agent.time().max(self.caller.time());
            agent.skip_to(to);
            self.caller.skip_to(now, to, &mut self.outputs);
        }
    }

    fn end(&mut self, now: CallTime, cause: &str) {
        self.caller.finish(now, &mut self.outputs);
        let mut last = self.caller.through;
        if let Some(agent) = &mut self.agent {
            agent.finish();
            last = last.max(agent.through);
            // Neither brings anything more: what both still hold is in order.
            (agent.through, self.caller.through) = (MediaTime(u64::MAX), MediaTime(u64::MAX));
        }
        self.merge();
        for (at, _, item) in std::mem::take(&mut self.waiting) {
            self.ready.push_back((at.min(last).max(self.merged), item));
        }
        self.ended = true;
        self.ready.push_back((last, Item::Ended(cause.to_owned())));
    }

    fn refused(&mut self, received: Result<Received, TrackError>, track: Speaker) {
        let problem = match received {
            Ok(Received { trailing_bytes: n @ 1.., .. }) => {
                format!("what is left at the end of a payload ({n} B) is no whole sample and was left out")
            }
            Ok(_) => return,
            Err(error) => format!("a payload was refused: {error}"),
        };
        self.tell(Item::Problem { track, problem });
    }
}

/// A UUID (version 8, RFC 9562) of a digest.
pub fn uuid(sha256: &[u8; 32]) -> String {
    let hex: String = sha256
        .iter()
        .take(16)
        .enumerate()
        .map(|(n, byte)| match n {
            6 => format!("{:02x}", byte & 0x0f | 0x80),
            8 => format!("{:02x}", byte & 0x3f | 0x80),
            _ => format!("{byte:02x}"),
        })
        .collect();
    let mut groups =
        [8, 4, 4, 4, 12].iter().scan(hex.chars(), |rest, n| Some(rest.take(*n).collect::<String>()));
    std::array::from_fn::<_, 5, _>(|_| groups.next().unwrap_or_default()).join("-")
}
