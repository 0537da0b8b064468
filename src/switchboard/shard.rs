//! One thread and the calls that are pinned to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Command, Score, Shared,
    inbox::{Inbox, Opened, Said, Tray},
    lock,
};
use crate::{
    call::{Call, Input, Output, What},
    packet::Speaker,
    policy::Suspension,
    score::ScoreRequest,
    units::CallTime,
};

/// A turn that takes longer, microseconds, makes its shard refuse new calls until one does not: half of
/// [`crate::call::SCORE_DEADLINE_US`].
pub const TURN_MAX_US: u64 = 250_000;

/// Goes through its calls in turns: hears what waits for them, then scores what they all ask for in one batch.
pub(super) struct Shard {
    tray: Arc<Tray>,
    shared: Arc<Shared>,
    scorer: Box<dyn Score>,
    calls: BTreeMap<u64, Live>,
    /// Calls to which something happened in this turn.
    touched: BTreeSet<u64>,
    asked: Vec<(u64, ScoreRequest)>,
    said: VecDeque<Said>,
}

/// A call that is live.
struct Live {
    call: Call,
    inbox: Arc<Inbox>,
    began: Instant,
    rates: [u64; 2],
    /// The stream that is heard.
    heard: u32,
    /// The streams that stand by.
    standing_by: VecDeque<u32>,
    /// How far the tracks of the stream that is heard are moved, samples; `None` until its first payload says where it is.
    shifts: [Option<u64>; 2],
    over: bool,
}

impl Shard {
    pub(super) fn new(tray: Arc<Tray>, shared: Arc<Shared>, scorer: Box<dyn Score>) -> Self {
        Self {
            tray,
            shared,
            scorer,
            calls: BTreeMap::new(),
            touched: BTreeSet::new(),
            asked: Vec::new(),
            said: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) {
        let (mut opened, mut rung) = (Vec::new(), Vec::new());
        let mut stop = false;
        while !stop {
            let most = self.until_timeout(clock());
            stop = self.tray.wait(most, &mut opened, &mut rung);
            let now = clock();
            opened.drain(..).for_each(|call| self.open(now, call));
            rung.drain(..).for_each(|inbox| self.hear(now, &inbox));
            if stop {
                self.end_all(now);
            }
            self.time_out(now);
            self.answer(now);
            let took = u64::try_from(clock().duration_since(now).as_micros()).unwrap_or(u64::MAX);
            self.tray.last_turn_us.store(took, Ordering::Relaxed);
            if took > TURN_MAX_US {
                self.shared.counts.late_turns.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn open(&mut self, now: Instant, opened: Opened) {
        let Opened { call, inbox, rates } = opened;
        let number = inbox.number;
        let live = Live {
            call,
            inbox,
            began: now,
            rates,
            heard: 0,
            standing_by: VecDeque::new(),
            shifts: [Some(0); 2],
            over: false,
        };
        self.calls.insert(number, live);
        self.touched.insert(number);
    }

    fn hear(&mut self, now: Instant, inbox: &Arc<Inbox>) {
        let mut said = std::mem::take(&mut self.said);
        inbox.take(&mut said);
        if let Some(live) = self.calls.get_mut(&inbox.number) {
            self.touched.insert(inbox.number);
            said.drain(..).for_each(|said| live.hear(now, said));
        }
        said.clear();
        self.said = said;
    }

    fn time_out(&mut self, now: Instant) {
        for (number, live) in &mut self.calls {
            let at = live.at(now);
            if live.call.poll_timeout().is_some_and(|(due, _)| due <= at) {
                live.call.handle_input(at, Input::Timeout);
                self.touched.insert(*number);
            }
        }
    }

    /// Passes on what the calls of this turn do and answers what they ask, until none asks any more.
    fn answer(&mut self, now: Instant) {
        while !self.touched.is_empty() {
            while let Some(number) = self.touched.pop_first() {
                self.pass_on(number);
            }
            let mut asked = std::mem::take(&mut self.asked);
            asked.sort_by_key(|(_, request)| request.stage);
            let (numbers, requests): (Vec<u64>, Vec<ScoreRequest>) = asked.into_iter().unzip();
            if requests.is_empty() {
                return;
            }
            let counts = &self.shared.counts;
            counts.batches.fetch_add(1, Ordering::Relaxed);
            counts.scores.fetch_add(requests.len() as u64, Ordering::Relaxed);
            let answers = self.scorer.score(&requests);
            for ((number, request), answer) in numbers.into_iter().zip(&requests).zip(answers) {
                if let Some(live) = self.calls.get_mut(&number) {
                    let at = live.at(now);
                    live.call.handle_input(at, Input::Scored(request.stage, request.at, answer));
                    self.touched.insert(number);
                }
            }
        }
    }

    fn pass_on(&mut self, number: u64) {
        let Some(live) = self.calls.get_mut(&number) else { return };
        let Shared { counts, events, actions, register } = &*self.shared;
        while let Some(output) = live.call.poll_output() {
            match output {
                Output::Score(request) => self.asked.push((number, request)),
                Output::Act(action) => {
                    counts.actions.fetch_add(1, Ordering::Relaxed);
                    actions.act(&live.inbox.id, action);
                }
                Output::Tell(event) => {
                    counts.events.fetch_add(1, Ordering::Relaxed);
                    live.inbox.observe(&event);
                    live.over |= matches!(event.what, What::CallEnded { .. });
                    if live.over {
                        // Whoever hears that a call is over finds it gone.
                        live.inbox.close();
                        lock(register).end(&live.inbox.id);
                        self.tray.calls.fetch_sub(1, Ordering::AcqRel);
                    }
                    events.told(&event);
                }
            }
        }
        if live.over {
            self.calls.remove(&number);
        }
    }

    fn end_all(&mut self, now: Instant) {
        for (number, live) in &mut self.calls {
            let at = live.at(now);
            live.call.handle_input(at, Input::Ended("server_stopped"));
            self.touched.insert(*number);
        }
    }

    fn until_timeout(&self, now: Instant) -> Option<Duration> {
        let due = |live: &Live| live.call.poll_timeout().map(|(due, _)| due.0.saturating_sub(live.at(now).0));
        self.calls.values().filter_map(due).min().map(Duration::from_micros)
    }
}

impl Live {
    /// The call's own arrival clock.
    fn at(&self, now: Instant) -> CallTime {
        CallTime(u64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX))
    }

    fn hear(&mut self, now: Instant, said: Said) {
        let at = self.at(now);
        match said {
            Said::Media { stream, track, position, payload } => {
                if stream == self.heard {
                    let position = position.saturating_add(self.shift(track, position));
                    self.call.handle_input(at, Input::Media { track, position, payload: &payload });
                }
                self.inbox.give_back(payload);
            }
            Said::Word(stream, command) => {
                if stream == self.heard {
                    self.call.handle_input(at, input(command));
                }
            }
            Said::Command(command) => self.call.handle_input(at, input(command)),
            Said::Joined(stream) => self.standing_by.push_back(stream),
            Said::Left(stream, cause) => self.leave(at, stream, &cause),
        }
    }

    /// A stream is over: one that stands by goes on where the call is.
    fn leave(&mut self, at: CallTime, stream: u32, cause: &str) {
        if stream != self.heard {
            self.standing_by.retain(|other| *other != stream);
        } else if let Some(next) = self.standing_by.pop_front() {
            self.heard = next;
            self.shifts = [None; 2];
            self.call.handle_input(at, Input::Lift(Suspension::Pause));
        } else {
            self.call.handle_input(at, Input::Ended(cause));
        }
    }

    /// How far a payload of the stream that is heard is moved: one that stood by continues where the call is.
    fn shift(&mut self, track: Speaker, position: u64) -> u64 {
        let [caller_rate, agent_rate] = self.rates;
        let [caller, agent] = &mut self.shifts;
        let (shift, rate) = match track {
            Speaker::Caller => (caller, caller_rate),
            Speaker::Agent => (agent, agent_rate),
        };
        let here = self.call.time().0.saturating_mul(rate) / 8_000;
        *shift.get_or_insert(here.saturating_sub(position))
    }
}

fn input(command: Command) -> Input<'static> {
    match command {
        Command::Dtmf(key) => Input::Dtmf(key),
        Command::Transcript(transcript) => Input::Transcript(transcript),
        Command::Bot(event, at) => Input::Bot(event, at),
        Command::Notice(notice) => Input::Notice(notice),
        Command::Suspend(why) => Input::Suspend(why),
        Command::Lift(why) => Input::Lift(why),
        Command::ExplicitRequest => Input::ExplicitRequest,
        Command::Manual => Input::Manual,
        Command::Outcome(outcome) => Input::TransferOutcome(outcome),
    }
}

#[allow(clippy::disallowed_methods, reason = "the arrival clock of live calls is read here and nowhere else")]
fn clock() -> Instant {
    Instant::now()
}
