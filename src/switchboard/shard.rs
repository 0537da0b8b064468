//! One thread and the calls that are pinned to it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Clock, Command, Score, Shared,
    inbox::{Inbox, Opened, Said, Tray},
    lock,
};
use warmline_core::{
    call::{Call, Event, EventKind, Input, Output, SCORE_DEADLINE_US},
    media::Speaker,
    policy::{PauseOwner, Suspension},
    score::{ScoreRequest, Stage},
    units::CallTime,
};

/// A turn that takes longer, or a score that waits longer, microseconds, makes its shard refuse new calls until that is over:
/// half of [`warmline_core::call::SCORE_DEADLINE_US`].
pub const TURN_MAX_US: u64 = 250_000;

/// A turn begins no sooner than so long after the last one began, microseconds: what comes in between is heard together.
pub const TURN_EVERY_US: u64 = 10_000;

/// Scores are made in a turn for so long, microseconds, and one batch more; what is left waits for the next turn, so that calls are
/// heard however much there is to score. A score whose call has waited for it in vain is not made.
pub const SCORING_MAX_US: u64 = 20_000;

/// Requests that are scored before the clock is looked at again.
const BATCH_MAX: usize = 4;

/// Goes through its calls in turns: hears what waits for them, then scores what they ask for, the first stage first.
pub(super) struct Shard {
    tray: Arc<Tray>,
    shared: Arc<Shared>,
    scorer: Box<dyn Score>,
    calls: BTreeMap<u64, Live>,
    /// Calls to which something happened in this turn.
    touched: BTreeSet<u64>,
    /// Scores to be made, by stage, oldest first.
    asked: BTreeMap<Stage, VecDeque<Asked>>,
    said: VecDeque<Said>,
    clock: Clock,
}

/// A score to be made.
struct Asked {
    number: u64,
    since: Instant,
    request: ScoreRequest,
}

/// A call that is live.
struct Live {
    call: Box<Call>,
    inbox: Arc<Inbox>,
    began: Instant,
    rates: [u64; 2],
    /// The stream that is heard.
    heard: u32,
    /// The streams that stand by.
    standing_by: VecDeque<u32>,
    /// The streams whose protocol says that they are paused.
    paused: BTreeSet<u32>,
    /// How far the tracks of the stream that is heard are moved, samples; `None` until its first payload says where it is.
    shifts: [Option<u64>; 2],
    /// How it ended.
    over: Option<Over>,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// It told its end.
    Told,
    /// Something in it failed: it tells nothing any more.
    Failed,
}

impl Shard {
    pub(super) fn new(tray: Arc<Tray>, shared: Arc<Shared>, scorer: Box<dyn Score>, clock: Clock) -> Self {
        Self {
            clock,
            tray,
            shared,
            scorer,
            calls: BTreeMap::new(),
            touched: BTreeSet::new(),
            asked: BTreeMap::new(),
            said: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) {
        let (mut opened, mut rung) = (Vec::new(), Vec::new());
        let mut stop = false;
        while !stop {
            let most = self.until_due((self.clock)());
            stop = self.tray.wait(most, &mut opened, &mut rung);
            let now = (self.clock)();
            opened.drain(..).for_each(|call| self.open(now, call));
            rung.drain(..).for_each(|inbox| self.hear(now, &inbox));
            if stop {
                self.end_all(now);
            }
            self.time_out(now);
            self.answer(now);
            self.record(now);
        }
    }

    /// Notes how long the turn took, and lets what comes gather until the next is due.
    fn record(&self, began: Instant) {
        let now = (self.clock)();
        let micros =
            |since: Instant| u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX);
        let took = micros(began);
        self.tray.last_turn_us.store(took, Ordering::Relaxed);
        let oldest = self.asked.values().filter_map(VecDeque::front).map(|asked| micros(asked.since)).max();
        self.tray.behind_us.store(oldest.unwrap_or(0), Ordering::Relaxed);
        if took > TURN_MAX_US {
            self.shared.counts.late_turns.fetch_add(1, Ordering::Relaxed);
        }
        let rest = TURN_EVERY_US.saturating_sub(took);
        if oldest.is_none() && rest > 0 {
            self.tray.gather(Duration::from_micros(rest));
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
            paused: BTreeSet::new(),
            shifts: [Some(0); 2],
            over: None,
        };
        self.calls.insert(number, live);
        self.touched.insert(number);
    }

    fn hear(&mut self, now: Instant, inbox: &Arc<Inbox>) {
        let mut said = std::mem::take(&mut self.said);
        inbox.take(&mut said);
        if let Some(live) = self.calls.get_mut(&inbox.number) {
            self.touched.insert(inbox.number);
            live.guarded(|live| said.drain(..).for_each(|said| live.hear(now, said)));
        }
        said.clear();
        self.said = said;
    }

    fn time_out(&mut self, now: Instant) {
        for (number, live) in &mut self.calls {
            let at = live.at(now);
            if live.call.poll_timeout().is_some_and(|(due, _)| due <= at) {
                live.guarded(|live| live.call.handle_input(at, Input::Timeout));
                self.touched.insert(*number);
            }
        }
    }

    /// Passes on what the calls of this turn do and answers what they ask, for as long as a turn may.
    fn answer(&mut self, now: Instant) {
        let until = now + Duration::from_micros(SCORING_MAX_US);
        loop {
            while let Some(number) = self.touched.pop_first() {
                self.pass_on(number);
            }
            if (self.clock)() >= until || !self.score_some() {
                return;
            }
        }
    }

    /// Makes a few scores of the earliest stage that has any to make; `false` if there are none.
    fn score_some(&mut self) -> bool {
        let deadline = Duration::from_micros(SCORE_DEADLINE_US);
        let (now, counts) = ((self.clock)(), &self.shared.counts);
        self.asked.retain(|_, waiting| !waiting.is_empty());
        let Some(waiting) = self.asked.values_mut().next() else { return false };
        let mut numbers = Vec::with_capacity(BATCH_MAX);
        let mut requests = Vec::with_capacity(BATCH_MAX);
        while requests.len() < BATCH_MAX
            && let Some(Asked { number, since, request }) = waiting.pop_front()
        {
            if now.duration_since(since) >= deadline || !self.calls.contains_key(&number) {
                counts.late_scores.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            numbers.push(number);
            requests.push(request);
        }
        if requests.is_empty() {
            return true;
        }
        counts.batches.fetch_add(1, Ordering::Relaxed);
        counts.scores.fetch_add(requests.len() as u64, Ordering::Relaxed);
        let answers = self.scorer.score(&requests);
        for ((number, request), answer) in numbers.into_iter().zip(&requests).zip(answers) {
            if let Some(live) = self.calls.get_mut(&number) {
                let at = live.at(now);
                let answer = Input::Scored(request.stage, request.at, answer);
                live.guarded(|live| live.call.handle_input(at, answer));
                self.touched.insert(number);
            }
        }
        true
    }

    fn pass_on(&mut self, number: u64) {
        let Some(live) = self.calls.get_mut(&number) else { return };
        let (shared, asked, tray) = (&*self.shared, &mut self.asked, &*self.tray);
        let since = (self.clock)();
        live.guarded(|live| {
            while let Some(output) = live.call.poll_output() {
                match output {
                    Output::Score(request) => {
                        asked.entry(request.stage).or_default().push_back(Asked { number, since, request });
                    }
                    Output::Act(action) => {
                        shared.counts.actions.fetch_add(1, Ordering::Relaxed);
                        shared.actions.act(&live.inbox.id, action);
                    }
                    Output::Tell(event) => {
                        if matches!(event.what, EventKind::CallEnded { .. }) {
                            live.over = Some(Over::Told);
                            // Whoever hears that a call is over finds it gone.
                            shared.close(tray, &live.inbox);
                        }
                        shared.tell(&live.inbox, &event);
                    }
                }
            }
        });
        if live.over == Some(Over::Failed) {
            shared.counts.failed.fetch_add(1, Ordering::Relaxed);
            shared.close(tray, &live.inbox);
            let told = live.inbox.failed(live.call.time());
            // A listener that fails at this too is not asked again.
            let _ = catch_unwind(AssertUnwindSafe(|| shared.tell(&live.inbox, &told)));
        }
        if live.over.is_some() {
            self.calls.remove(&number);
        }
    }

    fn end_all(&mut self, now: Instant) {
        for (number, live) in &mut self.calls {
            let at = live.at(now);
            live.guarded(|live| live.call.handle_input(at, Input::Ended("server_stopped")));
            self.touched.insert(*number);
        }
        self.answer_all();
        // Who waits for a score that will not come any more ends without it.
        self.time_out((self.clock)() + Duration::from_micros(SCORE_DEADLINE_US));
        self.answer_all();
    }

    fn answer_all(&mut self) {
        while !(self.touched.is_empty() && self.asked.is_empty()) {
            self.answer((self.clock)());
            self.asked.retain(|_, waiting| !waiting.is_empty());
        }
    }

    /// How long it may wait for something to be heard: not at all while there are scores to make.
    fn until_due(&self, now: Instant) -> Option<Duration> {
        if self.asked.values().any(|waiting| !waiting.is_empty()) {
            return Some(Duration::ZERO);
        }
        let due = |live: &Live| live.call.poll_timeout().map(|(due, _)| due.0.saturating_sub(live.at(now).0));
        self.calls.values().filter_map(due).min().map(Duration::from_micros)
    }
}

impl Shared {
    fn tell(&self, inbox: &Inbox, event: &Event) {
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        inbox.observe(event);
        self.events.told(event);
    }

    fn close(&self, tray: &Tray, inbox: &Inbox) {
        if inbox.close() {
            lock(&self.register).end(&inbox.id);
            tray.calls.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Live {
    /// Does something of this call's. If it panics, this call is over and no other notices.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if self.over == Some(Over::Failed) {
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.over = Some(Over::Failed);
        }
    }

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
            Said::Gap { stream, track, cause, from, to } => {
                // Before the first payload of a stream that takes over, nothing of it is missing.
                if stream == self.heard
                    && let Some(shift) = self.known_shift(track)
                {
                    let (from, to) = (from.saturating_add(shift), to.saturating_add(shift));
                    self.call.handle_input(at, Input::Gap { track, cause, from, to });
                }
            }
            Said::Word(stream, command) => {
                self.note_pause(stream, &command);
                if stream == self.heard {
                    self.call.handle_input(at, command.into());
                }
            }
            Said::Command(command) => self.call.handle_input(at, command.into()),
            Said::Joined(stream) => self.standing_by.push_back(stream),
            Said::Left(stream, cause) => self.leave(at, stream, &cause),
        }
    }

    /// Remembers which streams paused: one that stands by may take over while it is paused.
    fn note_pause(&mut self, stream: u32, command: &Command) {
        match command {
            Command::Suspend(Suspension::Pause(_)) => {
                self.paused.insert(stream);
            }
            Command::Lift(Suspension::Pause(_)) => {
                self.paused.remove(&stream);
            }
            Command::Suspend(_)
            | Command::Lift(_)
            | Command::Dtmf(_)
            | Command::Transcript(_)
            | Command::Bot(..)
            | Command::Notice(_)
            | Command::ExplicitRequest
            | Command::Manual
            | Command::Outcome(_) => {}
        }
    }

    /// A stream is over: one that stands by goes on where the call is.
    fn leave(&mut self, at: CallTime, stream: u32, cause: &str) {
        let was_paused = self.paused.remove(&stream);
        if stream != self.heard {
            self.standing_by.retain(|other| *other != stream);
        } else if let Some(next) = self.standing_by.pop_front() {
            self.heard = next;
            self.shifts = [None; 2];
            let pause = |stream| Suspension::Pause(PauseOwner::Stream(stream));
            if self.paused.contains(&next) {
                self.call.handle_input(at, Command::Suspend(pause(next)).into());
            }
            if was_paused {
                self.call.handle_input(at, Command::Lift(pause(stream)).into());
            }
        } else {
            self.call.handle_input(at, Input::Ended(cause));
        }
    }

    fn known_shift(&self, track: Speaker) -> Option<u64> {
        let [caller, agent] = self.shifts;
        match track {
            Speaker::Caller => caller,
            Speaker::Agent => agent,
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

#[allow(clippy::disallowed_methods, reason = "the arrival clock of live calls is read here and nowhere else")]
pub(super) fn monotonic() -> Instant {
    Instant::now()
}
