//! The outbox: a decision is kept, then offered, until it is known what became of it.
//!
//! One task owns every transfer's [`Life`]. What a life wants done is done when the ledger says that the step is on the disk; where the
//! ledger cannot be written, it is done all the same, because a caller must not be left alone, and the step waits in memory to be
//! written. At the start what was not finished goes on, and what may have been carried out is read again first.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep, timeout},
};

use crate::connectors::{Connector, Offer};
use crate::{
    ledger::{CallRow, Change, Entry, Ledger, LedgerError, MissedRow, Record, Verdict, VerdictRow, rfc3339},
    switchboard::{Actions, Command, Events, Switchboard, Untold},
};
use warmline_core::{
    call::{Action, CallId, Event, What},
    packet::ContextPacket,
    policy::{Outcome, Policy},
    transfer::{Answer, Failure, Input, Life, Output, Plan, QUEUES_MAX, Queue, State, UnixMillis, Went},
};

/// Words that may wait for the outbox: what is asked of it (beyond, 503) and calls that ended (beyond, they are missing in the figures,
/// counted). A decision always has room: a call asks for no second transfer before it was told what became of the first.
pub const WORDS_MAX: usize = 16_384;

/// How long one attempt may take, whatever its connector says; then its answer counts as never come.
pub const ATTEMPT_MAX: Duration = Duration::from_secs(15);

/// The least time an attempt is given, when a transfer's is nearly over.
const ATTEMPT_MIN: Duration = Duration::from_millis(500);

/// How long a connector may take to call an offer back.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// How often people are told of a transfer whose receiver says that it may be tried again, and how long between at the least.
const ALERT_TRIES: u32 = 5;
const ALERT_PAUSE: Duration = Duration::from_secs(1);

/// How often a call that has no room for a word is told again, and how long between.
const TELL_TRIES: u32 = 50;
const TELL_PAUSE: Duration = Duration::from_millis(100);

/// Milliseconds between a decision and its first attempt, upper ends of what is counted.
pub const DELAYS_MS: [u64; 8] = [2, 5, 10, 20, 50, 100, 500, 2_000];

/// How transfers are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a transfer is offered.
    pub deadline: Duration,
    /// How long a telephone may ring.
    pub ring: Duration,
    /// How long a transfer may wait for a free human.
    pub wait: Duration,
    /// `https://warmline.example.com`, where packets can be read.
    pub public_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { deadline: seconds(30), ring: seconds(60), wait: seconds(900), public_url: None }
    }
}

/// What somebody wants of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To take it.
    Claim,
    /// To say what became of it.
    Outcome(Answer),
    /// To say whether it was any good.
    Verdict(Verdict, Option<String>),
    /// To call it back, and why.
    Dismiss(String),
}

/// Why it is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none of this id.
    #[error("no transfer has this id")]
    NoTransfer,
    /// It does not fit where the transfer stands.
    #[error("{0}")]
    Conflict(String),
    /// Too much waits.
    #[error("too much waits for the outbox: try again")]
    Busy,
    /// The ledger says no.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Attempts that ended, by connector and outcome.
    pub attempts: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// Transfers that ended, by state.
    pub ended: Mutex<BTreeMap<&'static str, u64>>,
    /// Steps that were acted on although the ledger could not be written.
    pub unwritten: AtomicU64,
    /// Calls that ended unseen because too many words waited.
    pub dropped: AtomicU64,
    /// Decisions of a call whose transfer was under way already.
    pub repeated: AtomicU64,
    /// First attempts by how long after the decision they began; the last counts those beyond [`DELAYS_MS`].
    pub delays: [AtomicU64; DELAYS_MS.len() + 1],
    /// The sum of them, microseconds.
    pub delay_us: AtomicU64,
}

/// Takes the decisions of every call, and sees to it that each comes to an end.
pub struct Outbox {
    words: Mutex<VecDeque<Word>>,
    bell: Notify,
    ledger: Arc<Ledger>,
    /// What moves callers, the first tried first.
    connectors: Vec<Arc<dyn Connector>>,
    /// What only tells people, beside them.
    alerts: Vec<Arc<dyn Connector>>,
    settings: Settings,
    clock: Clock,
    told: Told,
    board: OnceLock<Weak<Switchboard>>,
    policy: Mutex<Policy>,
    queue: Mutex<Queue>,
    shown: Mutex<BTreeMap<String, Shown>>,
    calls: Mutex<BTreeMap<CallId, Known>>,
    counts: Counts,
}

/// Is told what happens to transfers, one object at a time; it must not wait.
pub type Told = Box<dyn Fn(&Value) + Send + Sync>;

/// Source, queue and intent of a live call.
type Known = (String, Option<String>, Option<String>);

/// A transfer that is under way, as the interface sees it.
#[derive(Clone)]
struct Shown {
    record: Record,
    packet: Arc<ContextPacket>,
}

enum Word {
    Act {
        call: CallId,
        id: String,
        packet: Box<ContextPacket>,
        at: Instant,
    },
    Ended(CallRow),
    Written {
        id: String,
        result: Result<(), LedgerError>,
    },
    Answered {
        id: String,
        attempt: u32,
        result: Result<Answer, Failure>,
    },
    Read {
        id: String,
        attempt: u32,
        result: Result<Option<Answer>, Failure>,
    },
    Ask {
        id: String,
        ask: Ask,
        who: String,
        reply: Reply,
    },
    Found {
        id: String,
        found: Result<Option<(Record, String)>, LedgerError>,
        asks: Vec<(Ask, String, Reply)>,
    },
    Known {
        call: CallId,
        packet: Box<ContextPacket>,
        at: Instant,
        found: Option<Record>,
    },
    Freed,
}

type Reply = oneshot::Sender<Result<Value, Refusal>>;

impl Outbox {
    /// An outbox whose connectors are tried in this order; alerts among them are told beside. `now` is Unix time, read once; from then on a clock that never leaps counts.
    pub fn new(
        ledger: Arc<Ledger>,
        connectors: Vec<Arc<dyn Connector>>,
        settings: Settings,
        policy: Policy,
        now: UnixMillis,
        told: Told,
    ) -> Arc<Self> {
        let (alerts, connectors) = connectors.into_iter().partition(|connector| connector.is_alert());
        Arc::new(Self {
            words: Mutex::default(),
            bell: Notify::new(),
            ledger,
            connectors,
            alerts,
            settings,
            clock: Clock { unix: now, since: Instant::now() },
            told,
            board: OnceLock::new(),
            policy: Mutex::new(policy),
            queue: Mutex::default(),
            shown: Mutex::default(),
            calls: Mutex::default(),
            counts: Counts::default(),
        })
    }

    /// Goes on with what was not finished, and sees to transfers until the future is dropped.
    ///
    /// # Errors
    /// When the ledger cannot be read at the start.
    pub async fn run(self: Arc<Self>, board: &Arc<Switchboard>) -> Result<(), LedgerError> {
        let _ = self.board.set(Arc::downgrade(board));
        let unfinished = self.ledger.read(Record::unfinished).await?;
        let mut desk = Desk::new(Arc::clone(&self));
        desk.resume(unfinished);
        loop {
            let words = std::mem::take(&mut *lock(&self.words));
            if words.is_empty() {
                match desk.poll_timeout() {
                    Some(at) => {
                        let wait = Duration::from_millis(at.since(self.now()));
                        let _ = timeout(wait, self.bell.notified()).await;
                    }
                    None => self.bell.notified().await,
                }
            }
            words.into_iter().for_each(|word| desk.hear(word));
            desk.time_out();
        }
    }

    /// What may move a caller of this queue, the first tried first.
    fn routes(&self, queue: Option<&str>) -> Vec<String> {
        let serving = self.connectors.iter().filter(|connector| connector.serves(queue));
        serving.map(|connector| connector.name().to_owned()).collect()
    }

    /// Tells people of a transfer, several times if their receiver says that it may be tried again.
    async fn tell_people(self: Arc<Self>, alert: Arc<dyn Connector>, mut offer: Offer) {
        while offer.attempt <= ALERT_TRIES {
            let told = timeout(ATTEMPT_MAX, alert.offer(&offer)).await;
            let told = told.unwrap_or_else(|_| Err(Failure::Unknown("no answer".into())));
            let outcome = if told.is_ok() { "told" } else { "not_told" };
            *lock(&self.counts.attempts).entry((alert.name().to_owned(), outcome)).or_default() += 1;
            match told {
                Ok(_) => return,
                Err(failure) => {
                    tracing::warn!(connector = alert.name(), transfer = offer.transfer, %failure, "nobody was told");
                    let Failure::Again { after, .. } = failure else { return };
                    sleep(after.unwrap_or(ALERT_PAUSE * offer.attempt)).await;
                }
            }
            offer.attempt += 1;
        }
    }

    /// Does something with a transfer; how it stands then comes back as the interface tells it.
    ///
    /// # Errors
    /// When there is no such transfer, it stands so that this makes no sense, or too much waits.
    pub async fn ask(&self, id: &str, ask: Ask, who: &str) -> Result<Value, Refusal> {
        let (reply, told) = oneshot::channel();
        if !self.say(Word::Ask { id: id.into(), ask, who: who.into(), reply }) {
            return Err(Refusal::Busy);
        }
        told.await.unwrap_or(Err(Refusal::Busy))
    }

    /// So many humans are free now, in a queue or in all of which nothing else is said.
    ///
    /// # Errors
    /// When so many queues are known that no more are taken.
    pub fn set_free(&self, queue: Option<String>, free: u32, who: &str) -> Result<(), Refusal> {
        let detail = json!({ "free": free, "queue": queue });
        if !lock(&self.queue).set_free(queue, free) {
            return Err(Refusal::Conflict(format!(
                "{QUEUES_MAX} queues have humans of their own: no more are taken"
            )));
        }
        self.say(Word::Freed);
        self.audit("capacity", who, None, detail);
        Ok(())
    }

    /// What holds for calls from now on.
    pub fn set_policy(&self, policy: Policy, who: &str) {
        let detail = json!({ "version": policy.version(), "sha256": policy.sha256() });
        *lock(&self.policy) = policy;
        self.audit("policy", who, None, detail);
    }

    /// Writes a line into the audit.
    pub fn audit(&self, what: &'static str, who: &str, call: Option<&str>, detail: Value) {
        let entry = Entry {
            at: self.now(),
            what,
            who: who.into(),
            call: call.map(str::to_owned),
            transfer: None,
            detail,
        };
        self.ledger.submit(vec![Change::Audit(entry)], None);
    }

    /// Keeps a report of a call that should have been transferred.
    ///
    /// # Errors
    /// When it is not on the disk; it is written as soon as it can be.
    pub async fn missed(
        &self,
        call: &str,
        t: Option<f64>,
        note: Option<String>,
        who: &str,
    ) -> Result<(), LedgerError> {
        let at = self.now();
        let entry = Entry {
            at,
            what: "missed",
            who: who.into(),
            call: Some(call.into()),
            transfer: None,
            detail: json!({ "t": t, "note": note }),
        };
        let row = MissedRow { call: call.into(), at, t, note, who: who.into() };
        self.ledger.keep(vec![Change::Missed(row), Change::Audit(entry)]).await
    }

    /// A transfer that is under way, as the interface tells it.
    pub fn transfer(&self, id: &str) -> Option<Value> {
        let record = lock(&self.shown).get(id).map(|shown| shown.record.clone())?;
        Some(self.tell_of(&record))
    }

    /// Every transfer that is under way.
    pub fn under_way(&self) -> Vec<Record> {
        lock(&self.shown).values().map(|shown| shown.record.clone()).collect()
    }

    /// The transfer of a call that is not over.
    pub fn of_call(&self, call: &str) -> Option<String> {
        let shown = lock(&self.shown);
        let open = |shown: &&Shown| shown.record.call == call && !shown.record.life.state().is_over();
        shown.values().find(open).map(|shown| shown.record.life.id().to_owned())
    }

    /// The packet of a transfer that is under way.
    pub fn packet(&self, id: &str) -> Option<Arc<ContextPacket>> {
        lock(&self.shown).get(id).map(|shown| Arc::clone(&shown.packet))
    }

    /// A transfer as the interface tells it, with its place in the queue.
    pub fn tell_of(&self, record: &Record) -> Value {
        let now = self.now();
        let position = lock(&self.queue).position(record.life.id(), now);
        record.json(now, None, position)
    }

    /// The ledger behind it.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many transfers are under way, and how many of them wait for a human.
    pub fn figures(&self) -> (usize, usize) {
        (lock(&self.shown).len(), lock(&self.queue).len())
    }

    /// Unix time by a clock that never leaps.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    fn say(&self, word: Word) -> bool {
        let mut words = lock(&self.words);
        let may_wait = matches!(word, Word::Ask { .. } | Word::Ended(_));
        if may_wait && words.len() >= WORDS_MAX {
            return false;
        }
        words.push_back(word);
        drop(words);
        self.bell.notify_one();
        true
    }
}

impl Actions for Outbox {
    fn act(&self, call: &CallId, action: Action) {
        let Action::Transfer { id, packet } = action;
        self.say(Word::Act { call: call.clone(), id, packet, at: Instant::now() });
    }
}

impl Events for Outbox {
    fn told(&self, event: &Event) {
        if let What::CallStarted { source, queue, intent, .. } = &event.what {
            let known = (source.clone(), queue.clone(), intent.clone());
            lock(&self.calls).insert(event.call.clone(), known);
        } else if let What::CallEnded { duration_s, caller_speech_s, transfers, peak, .. } = &event.what {
            let (source, queue, intent) = lock(&self.calls).remove(&event.call).unwrap_or_default();
            let row = CallRow {
                call: event.call.to_string(),
                source,
                queue,
                intent,
                ended_at: self.now(),
                duration_s: *duration_s,
                caller_speech_s: *caller_speech_s,
                transfers: *transfers,
                peak: *peak,
            };
            if !self.say(Word::Ended(row)) {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Every transfer that is under way, and what is waited for.
struct Desk {
    outbox: Arc<Outbox>,
    held: BTreeMap<String, Held>,
    by_call: BTreeMap<String, String>,
    timeouts: BTreeSet<(UnixMillis, String)>,
}

struct Held {
    record: Record,
    packet: Arc<ContextPacket>,
    /// What is done when each step that was handed to the ledger is written, in order.
    steps: VecDeque<Step>,
    is_kept: bool,
    /// It took a human who is to be given back if it comes to nothing.
    has_human: bool,
    call_is_over: bool,
    timeout: Option<UnixMillis>,
    decided: Option<Instant>,
}

#[derive(Default)]
struct Step {
    outputs: Vec<Output>,
    replies: Vec<Reply>,
}

impl Desk {
    fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, held: BTreeMap::new(), by_call: BTreeMap::new(), timeouts: BTreeSet::new() }
    }

    fn resume(&mut self, unfinished: Vec<(Record, String)>) {
        let count = unfinished.len();
        for (record, packet) in unfinished {
            let id = record.life.id().to_owned();
            let Some(held) = Held::found(record, &packet) else {
                tracing::error!(transfer = id, "the packet of a transfer cannot be read: it is left alone");
                continue;
            };
            if held.record.life.state() == State::Waiting {
                lock(&self.outbox.queue).arrive(&id, self.wish(&held.record));
            }
            self.by_call.insert(held.record.call.clone(), id.clone());
            self.held.insert(id.clone(), held);
            self.step(&id, Some(Input::Resume), Vec::new(), None);
        }
        self.outbox.audit("started", "warmline", None, json!({ "unfinished": count }));
        self.admit();
    }

    fn poll_timeout(&self) -> Option<UnixMillis> {
        let of_queue = lock(&self.outbox.queue).poll_timeout();
        let of_lives = self.timeouts.first().map(|(at, _)| *at);
        of_queue.into_iter().chain(of_lives).min()
    }

    fn time_out(&mut self) {
        let now = self.outbox.now();
        while let Some((_, id)) = self.timeouts.first().filter(|(at, _)| *at <= now).cloned() {
            let before = self.held.get(&id).and_then(|held| held.timeout);
            self.step(&id, Some(Input::Timeout), Vec::new(), None);
            let after = self.held.get(&id).and_then(|held| held.timeout);
            if after.is_some() && after == before {
                // A life that does not move on is waited for no more than once a second.
                self.wake(&id, Some(now.after(1_000)));
            }
        }
        if lock(&self.outbox.queue).poll_timeout().is_some_and(|at| at <= now) {
            self.admit();
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Act { call, id, packet, at } => self.act(&call, &id, packet, at),
            Word::Ended(row) => self.ended(row),
            Word::Written { id, result } => self.written(&id, result),
            Word::Answered { id, attempt, result } => {
                self.step(&id, Some(Input::Answered(attempt, result)), Vec::new(), None);
            }
            Word::Read { id, attempt, result } => {
                self.step(&id, Some(Input::Read(attempt, result)), Vec::new(), None);
            }
            Word::Ask { id, ask, who, reply } => {
                if self.held.contains_key(&id) {
                    self.ask(&id, ask, &who, reply);
                } else {
                    self.find(id, vec![(ask, who, reply)]);
                }
            }
            Word::Found { id, found, asks } => self.found(&id, found, asks),
            Word::Known { call, packet, at, found } => self.known(&call, packet, at, found),
            Word::Freed => self.admit(),
        }
    }

    fn act(&mut self, call: &CallId, id: &str, packet: Box<ContextPacket>, at: Instant) {
        let open = self.by_call.get(call.as_str()).and_then(|id| self.held.get(id));
        if open.is_some_and(|held| !held.record.life.state().is_over()) {
            self.repeated(call, id);
            return;
        }
        let outbox = Arc::clone(&self.outbox);
        let now = outbox.now();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let plan = Plan {
            routes: outbox.routes(packet.full.call.queue.as_deref()),
            deadline_ms: millis(outbox.settings.deadline),
            ring_ms: millis(outbox.settings.ring),
            wait_ms: millis(outbox.settings.wait),
        };
        let (context, trigger) = (&packet.full.call, &packet.full.trigger);
        let record = Record {
            call: call.to_string(),
            source: context.source.clone(),
            queue: context.queue.clone(),
            intent: context.intent.clone(),
            cue: trigger.cue,
            probability: trigger.probability,
            why: trigger.words.clone(),
            t: trigger.at_s,
            created_at: now,
            life: Life::new(id, plan, now),
            claimed_by: None,
            claimed_at: None,
            connected_at: None,
            ended_at: None,
            verdict: None,
        };
        lock(&outbox.queue).arrive(id, self.wish(&record));
        let held = Held { decided: Some(at), ..Held::new(record, packet.into()) };
        self.by_call.insert(call.to_string(), id.into());
        self.held.insert(id.into(), held);
        self.alert(id);
        self.admit();
        if self.held.get(id).is_some_and(|held| !held.is_kept) {
            self.step(id, None, Vec::new(), None);
            self.say_state(id);
        }
    }

    /// Tells people beside whatever moves the caller.
    fn alert(&self, id: &str) {
        let Some(offer) = self.offer(id, 1) else { return };
        let queue = offer.packet.full.call.queue.as_deref();
        for alert in self.outbox.alerts.iter().filter(|alert| alert.serves(queue)) {
            tokio::spawn(Arc::clone(&self.outbox).tell_people(Arc::clone(alert), offer.clone()));
        }
    }

    fn repeated(&self, call: &CallId, id: &str) {
        self.outbox.counts.repeated.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%call, transfer = id, "a transfer of this call is under way already");
        let detail = json!({ "transfer": id, "why": "a transfer of this call is under way" });
        self.outbox.audit("repeated", "warmline", Some(call.as_str()), detail);
    }

    fn wish(&self, record: &Record) -> warmline_core::transfer::Wish {
        let policy = lock(&self.outbox.policy);
        let rules = policy.rules_for(record.queue.as_deref(), record.intent.as_deref());
        record.wish(rules.transfers_per_hour_max)
    }

    /// Lets go whom there is a human for.
    fn admit(&mut self) {
        loop {
            let Some(id) = lock(&self.outbox.queue).poll(self.outbox.now()) else { return };
            if let Some(held) = self.held.get_mut(&id) {
                held.has_human = true;
            }
            self.step(&id, Some(Input::Admit), Vec::new(), None);
        }
    }

    fn ended(&mut self, row: CallRow) {
        let detail = json!({
            "duration_s": row.duration_s, "caller_speech_s": row.caller_speech_s, "transfers": row.transfers, "peak": row.peak,
        });
        let entry = Entry {
            at: row.ended_at,
            what: "call_over",
            who: "warmline".into(),
            call: Some(row.call.clone()),
            transfer: None,
            detail,
        };
        let id = self.by_call.remove(&row.call);
        self.outbox.ledger.submit(vec![Change::CallOver(row), Change::Audit(entry)], None);
        if let Some(id) = id {
            if let Some(held) = self.held.get_mut(&id) {
                held.call_is_over = true;
            }
            self.step(&id, Some(Input::CallEnded), Vec::new(), None);
            self.let_go(&id);
        }
    }

    fn ask(&mut self, id: &str, ask: Ask, who: &str, reply: Reply) {
        let now = self.outbox.now();
        let Some(held) = self.held.get_mut(id) else { return };
        let record = &mut held.record;
        let state = record.life.state();
        let refused = |why: String| Err(Refusal::Conflict(why));
        let (input, what, detail) = match ask {
            Ask::Claim => {
                if let Some(by) = record.claimed_by.as_ref().filter(|by| *by != who) {
                    let why =
                        format!("{by} has it since {}", record.claimed_at.map(rfc3339).unwrap_or_default());
                    let _ = reply.send(refused(why));
                    return;
                }
                if state.is_over() && state != State::Connected {
                    let _ = reply.send(refused(format!("it is over: {}", state.name())));
                    return;
                }
                if record.claimed_by.is_none() {
                    (record.claimed_by, record.claimed_at) = (Some(who.into()), Some(now));
                }
                // Whoever takes a transfer that waits is the human it waits for.
                let input = (state == State::Waiting).then_some(Input::Admit);
                lock(&self.outbox.queue).leave(id);
                (input, "claimed", json!({ "by": who }))
            }
            Ask::Outcome(answer) => {
                if !record.life.takes(&answer) {
                    let same = match &answer {
                        Answer::Connected => state == State::Connected,
                        Answer::Accepted => state == State::Accepted,
                        Answer::Ringing => state == State::Ringing,
                        Answer::Declined(_) => state == State::Declined,
                        Answer::NoAnswer => state == State::NoAnswer,
                        Answer::Busy => state == State::Busy,
                        Answer::Voicemail => state == State::Voicemail,
                        Answer::CallerGone => state == State::CallerGone,
                    };
                    let told = self.outbox.tell_of(record);
                    let _ = reply.send(if same {
                        Ok(told)
                    } else {
                        refused(format!("it is over: {}", state.name()))
                    });
                    return;
                }
                lock(&self.outbox.queue).leave(id);
                let detail = json!({ "outcome": answer });
                (Some(Input::Told(answer)), "outcome", detail)
            }
            Ask::Verdict(verdict, note) => {
                let detail = json!({ "verdict": verdict, "note": note });
                record.verdict = Some(VerdictRow { verdict, by: who.into(), at: now, note });
                (None, "verdict", detail)
            }
            Ask::Dismiss(why) => {
                if state.is_over() {
                    let _ = reply.send(refused(format!("it is over: {}", state.name())));
                    return;
                }
                lock(&self.outbox.queue).leave(id);
                let detail = json!({ "reason": why });
                (Some(Input::Dismiss(why)), "dismissed", detail)
            }
        };
        let record = held.record.clone();
        match what {
            "claimed" => self.tell(&record, json!({ "type": "transfer_claimed", "by": who })),
            "verdict" => {
                let verdict = record.verdict.as_ref().map(|row| row.verdict);
                self.tell(&record, json!({ "type": "transfer_verdict", "verdict": verdict, "by": who }));
            }
            _ => {}
        }
        let entry = self.entry(id, what, who, detail);
        self.step(id, input, entry.into_iter().collect(), Some(reply));
    }

    /// A transfer that is not in memory is looked for in the ledger.
    fn find(&self, id: String, asks: Vec<(Ask, String, Reply)>) {
        let outbox = Arc::clone(&self.outbox);
        tokio::spawn(async move {
            let wanted = id.clone();
            let found = outbox.ledger.read(move |connection| {
                let record = Record::find(connection, &wanted)?;
                Ok(record.zip(Record::packet(connection, &wanted)?))
            });
            let found = found.await;
            outbox.say(Word::Found { id, found, asks });
        });
    }

    fn found(
        &mut self,
        id: &str,
        found: Result<Option<(Record, String)>, LedgerError>,
        asks: Vec<(Ask, String, Reply)>,
    ) {
        if !self.held.contains_key(id) {
            let refusal = match found {
                Err(error) => Some(Refusal::Ledger(error)),
                Ok(None) => Some(Refusal::NoTransfer),
                Ok(Some((record, packet))) => match Held::found(record, &packet) {
                    None => Some(Refusal::NoTransfer),
                    Some(held) => {
                        self.held.insert(id.to_owned(), held);
                        None
                    }
                },
            };
            if let Some(refusal) = refusal {
                asks.into_iter().for_each(|(_, _, reply)| drop(reply.send(Err(refusal.clone()))));
                return;
            }
        }
        asks.into_iter().for_each(|(ask, who, reply)| self.ask(id, ask, &who, reply));
        self.let_go(id);
    }

    /// The id of a new transfer is in the ledger already: the call came back after the program ended.
    fn known(&mut self, call: &CallId, packet: Box<ContextPacket>, at: Instant, found: Option<Record>) {
        let id = packet.reference.transfer.clone();
        match found {
            Some(record) if !record.life.state().is_over() || record.life.state() == State::Connected => {
                self.repeated(call, &id);
                if record.life.state() == State::Connected {
                    self.tell_call(call.clone(), Outcome::Connected);
                }
            }
            _ => {
                let again = again(&id);
                let packet = ContextPacket::new(&again, packet.full);
                self.act(call, &again, Box::new(packet), at);
            }
        }
    }

    /// Takes a life one step further, hands the step to the ledger, and keeps what is to be done until it is written.
    fn step(&mut self, id: &str, input: Option<Input>, mut entries: Vec<Entry>, reply: Option<Reply>) {
        let now = self.outbox.now();
        let Some(held) = self.held.get_mut(id) else { return };
        let before = held.record.life.clone();
        let is_timeout = matches!(input, Some(Input::Timeout));
        if let Some(input) = input {
            held.record.life.handle_input(now, input);
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| held.record.life.poll_output()).collect();
        let (state, was) = (held.record.life.state(), before.state());
        if state != was {
            if state == State::Connected {
                held.record.connected_at = Some(now);
            }
            if state.is_over() {
                held.record.ended_at = Some(now);
            }
        }
        let gives_back = state.is_over() && state != State::Connected && std::mem::take(&mut held.has_human);
        let timeout = held.record.life.poll_timeout();
        let queue = held.record.queue.clone();
        let changed = held.record.life != before;
        let is_said = !entries.is_empty() || reply.is_some() || !outputs.is_empty();
        if changed || is_said || !held.is_kept {
            let mut changes = Vec::new();
            if held.is_kept {
                changes.push(Change::Stands(Box::new(held.record.clone())));
            } else {
                held.is_kept = true;
                let packet = serde_json::to_string(&*held.packet).unwrap_or_default();
                changes.push(Change::Decided { record: Box::new(held.record.clone()), packet });
                entries.insert(0, decided(&held.record, &held.packet, now));
            }
            entries.extend(attempts(&held.record, &before, now, &self.outbox.counts));
            if state != was {
                let detail = json!({ "from": was, "to": state, "reason": held.record.life.reason() });
                entries.push(entry(&held.record, now, "state", "warmline", detail));
            }
            changes.extend(entries.into_iter().map(Change::Audit));
            held.steps.push_back(Step { outputs, replies: reply.into_iter().collect() });
            lock(&self.outbox.shown)
                .insert(id.into(), Shown { record: held.record.clone(), packet: Arc::clone(&held.packet) });
            let (outbox, own) = (Arc::clone(&self.outbox), id.to_owned());
            let done = move |result| {
                outbox.say(Word::Written { id: own, result });
            };
            self.outbox.ledger.submit(changes, Some(Box::new(done)));
        }
        if timeout != self.held.get(id).and_then(|held| held.timeout) || is_timeout {
            self.wake(id, timeout);
        }
        if state != State::Waiting {
            lock(&self.outbox.queue).leave(id);
        }
        if gives_back {
            lock(&self.outbox.queue).give_back(queue.as_deref());
            self.outbox.say(Word::Freed);
        }
    }

    fn wake(&mut self, id: &str, at: Option<UnixMillis>) {
        let Some(held) = self.held.get_mut(id) else { return };
        if let Some(at) = held.timeout.take() {
            self.timeouts.remove(&(at, id.to_owned()));
        }
        held.timeout = at;
        if let Some(at) = at {
            self.timeouts.insert((at, id.to_owned()));
        }
    }

    fn written(&mut self, id: &str, result: Result<(), LedgerError>) {
        let Some(held) = self.held.get_mut(id) else { return };
        let Some(step) = held.steps.pop_front() else { return };
        match result {
            Ok(()) => {}
            Err(LedgerError::Exists(_)) => {
                self.collided(id);
                return;
            }
            Err(error) => {
                self.outbox.counts.unwritten.fetch_add(1, Ordering::Relaxed);
                tracing::error!(transfer = id, %error, "acted on before it was written");
            }
        }
        let told = self.outbox.tell_of(&held.record);
        step.replies.into_iter().for_each(|reply| drop(reply.send(Ok(told.clone()))));
        step.outputs.into_iter().for_each(|output| self.perform(id, output));
        self.let_go(id);
    }

    /// The ledger knows this id from before: nothing of this transfer was kept or done.
    fn collided(&mut self, id: &str) {
        let Some(held) = self.held.remove(id) else { return };
        if let Some(at) = held.timeout {
            self.timeouts.remove(&(at, id.to_owned()));
        }
        lock(&self.outbox.queue).leave(id);
        lock(&self.outbox.shown).remove(id);
        self.by_call.remove(&held.record.call);
        let (outbox, wanted) = (Arc::clone(&self.outbox), id.to_owned());
        let call = CallId::new(held.record.call);
        let (packet, at) = (Box::new((*held.packet).clone()), held.decided.unwrap_or_else(Instant::now));
        tokio::spawn(async move {
            let found = outbox.ledger.read(move |connection| Record::find(connection, &wanted)).await;
            outbox.say(Word::Known { call, packet, at, found: found.ok().flatten() });
        });
    }

    /// Forgets a transfer that needs nothing more; the ledger has it.
    fn let_go(&mut self, id: &str) {
        let Some(held) = self.held.get(id) else { return };
        let state = held.record.life.state();
        let is_quiet = state.is_over() || (state == State::Accepted && held.call_is_over);
        if is_quiet && held.steps.is_empty() {
            if let Some(at) = held.timeout {
                self.timeouts.remove(&(at, id.to_owned()));
            }
            if self.by_call.get(&held.record.call).is_some_and(|own| own == id) {
                self.by_call.remove(&held.record.call);
            }
            self.held.remove(id);
            lock(&self.outbox.shown).remove(id);
        }
    }

    fn perform(&mut self, id: &str, output: Output) {
        let Some(held) = self.held.get_mut(id) else { return };
        match output {
            Output::Offer { attempt, route } => {
                if let Some(decided) = held.decided.take() {
                    self.outbox.counts.delayed(decided.elapsed());
                }
                let (outbox, id, offer) = (Arc::clone(&self.outbox), id.to_owned(), self.offer(id, attempt));
                let connector = self.connector(&id, route);
                tokio::spawn(async move {
                    let result = match (connector, offer) {
                        (Some(connector), Some(offer)) => {
                            let most = offer.remaining.clamp(ATTEMPT_MIN, ATTEMPT_MAX);
                            timeout(most, connector.offer(&offer)).await.unwrap_or_else(|_| {
                                Err(Failure::Unknown(format!("no answer within {:.1} s", most.as_secs_f64())))
                            })
                        }
                        _ => Err(Failure::Never("no connector of this name is configured any more".into())),
                    };
                    outbox.say(Word::Answered { id, attempt, result });
                });
            }
            Output::ReadAgain { attempt, route } => {
                let (outbox, id, offer) = (Arc::clone(&self.outbox), id.to_owned(), self.offer(id, attempt));
                let connector = self.connector(&id, route);
                tokio::spawn(async move {
                    let result = match (connector, offer) {
                        (Some(connector), Some(offer)) => timeout(ATTEMPT_MAX, connector.read_again(&offer))
                            .await
                            .unwrap_or_else(|_| Err(Failure::Unknown("no answer to the reading".into()))),
                        _ => Err(Failure::Never("no connector of this name is configured any more".into())),
                    };
                    outbox.say(Word::Read { id, attempt, result });
                });
            }
            Output::Cancel { attempt, route } => {
                if let (Some(connector), Some(offer)) = (self.connector(id, route), self.offer(id, attempt)) {
                    tokio::spawn(async move {
                        let _ = timeout(CANCEL_MAX, connector.cancel(&offer)).await;
                    });
                }
            }
            Output::Became(state) => {
                if state.is_over() {
                    *lock(&self.outbox.counts.ended).entry(state.name()).or_default() += 1;
                }
                self.say_state_as(id, state);
            }
            Output::Tell(outcome) => {
                let call = CallId::new(held.record.call.clone());
                self.tell_call(call, outcome);
            }
        }
    }

    fn connector(&self, id: &str, route: usize) -> Option<Arc<dyn Connector>> {
        let name = self.held.get(id)?.record.life.plan().routes.get(route)?;
        self.outbox.connectors.iter().find(|connector| connector.name() == name).map(Arc::clone)
    }

    fn offer(&self, id: &str, attempt: u32) -> Option<Offer> {
        let held = self.held.get(id)?;
        let remaining = held.record.life.deadline().since(self.outbox.now());
        Some(Offer {
            transfer: id.into(),
            attempt,
            call: held.record.call.clone(),
            source: held.record.source.clone(),
            metadata: held.packet.full.call.metadata.clone(),
            target: None,
            packet: Arc::clone(&held.packet),
            packet_url: self
                .outbox
                .settings
                .public_url
                .as_ref()
                .map(|base| format!("{}/packets/{id}", base.trim_end_matches('/'))),
            remaining: Duration::from_millis(remaining).max(ATTEMPT_MIN),
        })
    }

    /// Says to a call what became of its transfer; one that is over need not know.
    fn tell_call(&self, call: CallId, outcome: Outcome) {
        let Some(board) = self.outbox.board.get().cloned() else { return };
        tokio::spawn(async move {
            for _ in 0..TELL_TRIES {
                let Some(board) = board.upgrade() else { return };
                match board.tell(&call, Command::Outcome(outcome)) {
                    Ok(()) | Err(Untold::NoCall) => return,
                    Err(Untold::Busy) => {
                        drop(board);
                        sleep(TELL_PAUSE).await;
                    }
                }
            }
            tracing::error!(%call, "a call was not told what became of its transfer");
        });
    }

    fn say_state(&self, id: &str) {
        if let Some(held) = self.held.get(id) {
            self.say_state_as(id, held.record.life.state());
        }
    }

    fn say_state_as(&self, id: &str, state: State) {
        let Some(held) = self.held.get(id) else { return };
        let life = &held.record.life;
        let mut line = json!({ "type": "transfer_outcome", "outcome": state });
        if let (Some(map), Some(last)) = (line.as_object_mut(), life.attempts().last()) {
            map.insert("attempt".into(), json!(last.n));
            map.insert("connector".into(), json!(life.plan().routes.get(last.route)));
        }
        if let (Some(map), Some(reason)) = (line.as_object_mut(), life.reason()) {
            map.insert("reason".into(), json!(reason));
        }
        tracing::info!(transfer = id, call = held.record.call, state = state.name(), "transfer");
        self.tell(&held.record, line);
    }

    fn tell(&self, record: &Record, mut line: Value) {
        if let Some(map) = line.as_object_mut() {
            map.insert("call".into(), json!(record.call));
            map.insert("t".into(), json!(record.t));
            map.insert("transfer".into(), json!(record.life.id()));
        }
        (self.outbox.told)(&line);
    }

    fn entry(&self, id: &str, what: &'static str, who: &str, detail: Value) -> Option<Entry> {
        self.held.get(id).map(|held| entry(&held.record, self.outbox.now(), what, who, detail))
    }
}

impl Held {
    fn new(record: Record, packet: Arc<ContextPacket>) -> Self {
        Self {
            record,
            packet,
            steps: VecDeque::new(),
            is_kept: false,
            has_human: false,
            call_is_over: false,
            timeout: None,
            decided: None,
        }
    }

    /// One that the ledger knows.
    fn found(record: Record, packet: &str) -> Option<Self> {
        let packet: ContextPacket = serde_json::from_str(packet).ok()?;
        Some(Self { is_kept: true, call_is_over: true, ..Self::new(record, packet.into()) })
    }
}

impl Counts {
    fn delayed(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let place = DELAYS_MS.iter().position(|end| millis < *end).unwrap_or(DELAYS_MS.len());
        if let Some(count) = self.delays.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.delay_us.fetch_add(u64::try_from(delay.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }
}

/// The decision in the audit: what was permitted, what decided, by which rule, model and policy.
fn decided(record: &Record, packet: &ContextPacket, at: UnixMillis) -> Entry {
    let full = &packet.full;
    let detail = json!({
        "action": "transfer", "cue": record.cue, "t": record.t, "probability": record.probability,
        "threshold": full.trigger.threshold, "notice": full.consent, "policy": full.provenance.policy,
        "model": full.provenance.model, "software": full.provenance.software, "queue": record.queue, "intent": record.intent,
    });
    entry(record, at, "decided", "warmline", detail)
}

/// Attempts that came to something in this step.
fn attempts(record: &Record, before: &Life, at: UnixMillis, counts: &Counts) -> Vec<Entry> {
    let was = |n: u32| before.attempts().iter().find(|a| a.n == n).map(|a| a.outcome);
    let changed = record.life.attempts().iter().filter(|a| was(a.n) != Some(a.outcome));
    changed
        .map(|attempt| {
            let connector = record.life.plan().routes.get(attempt.route).cloned().unwrap_or_default();
            if attempt.outcome != Went::UnderWay {
                *lock(&counts.attempts).entry((connector.clone(), attempt.outcome.name())).or_default() += 1;
            }
            let detail = json!({
                "n": attempt.n, "connector": connector, "outcome": attempt.outcome, "detail": attempt.detail,
            });
            entry(record, at, "attempt", "warmline", detail)
        })
        .collect()
}

fn entry(record: &Record, at: UnixMillis, what: &'static str, who: &str, detail: Value) -> Entry {
    Entry {
        at,
        what,
        who: who.into(),
        call: Some(record.call.clone()),
        transfer: Some(record.life.id().into()),
        detail,
    }
}

/// The id of a further transfer where one is taken: a UUID, the same for the same transfer.
fn again(id: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(format!("{id}/again")).into();
    warmline_core::call::uuid(&digest)
}

/// Unix time that never leaps: read once, counted on by the monotonic clock.
struct Clock {
    unix: UnixMillis,
    since: Instant,
}

impl Clock {
    fn now(&self) -> UnixMillis {
        self.unix.after(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
