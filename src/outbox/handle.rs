//! What the rest of the server calls: decisions and requests go in, records and counters come out.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, OnceLock, Weak, atomic::Ordering},
};

use serde_json::{Value, json};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{Counts, Emit, MESSAGES_MAX, Settings, lock};
use crate::{
    clock::Clock,
    connectors::{Answer, Connector, Failure},
    ledger::{CallRow, Change, Entry, Ledger, LedgerError, MissedRow, Record, Verdict},
    switchboard::{Actions, Events, Switchboard},
};
use warmline_core::{
    call::{Action, CallId, Event, EventKind},
    packet::ContextPacket,
    policy::Policy,
    transfer::{QUEUES_MAX, Queue, UnixMillis},
};

/// What somebody asks of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Claim it.
    Claim,
    /// Report what the receiver did with it.
    Outcome(Answer),
    /// Judge it, with a note.
    Verdict(Verdict, Option<String>),
    /// Cancel it, with a reason.
    Dismiss(String),
}

/// Why a request is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No transfer has this id.
    #[error("no transfer has this id")]
    NoTransfer,
    /// The transfer's state does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// [`MESSAGES_MAX`] messages wait.
    #[error("too much waits for the outbox: try again")]
    Busy,
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Takes the decisions of every call and brings each transfer to an end.
pub struct Outbox {
    messages: Mutex<VecDeque<Message>>,
    bell: Notify,
    pub(super) ledger: Arc<Ledger>,
    /// What moves callers, in the order in which they are tried.
    pub(super) connectors: Vec<Arc<dyn Connector>>,
    /// What notifies people beside them.
    pub(super) alerts: Vec<Arc<dyn Connector>>,
    pub(super) settings: Settings,
    clock: Arc<dyn Clock>,
    pub(super) emit: Emit,
    pub(super) board: OnceLock<Weak<Switchboard>>,
    pub(super) policy: Mutex<Policy>,
    pub(super) queue: Mutex<Queue>,
    pub(super) open: Mutex<BTreeMap<String, Open>>,
    calls: Mutex<BTreeMap<CallId, Origin>>,
    pub(super) counts: Arc<Counts>,
}

/// Where a live call comes from.
#[derive(Default)]
struct Origin {
    source: String,
    queue: Option<String>,
    intent: Option<String>,
}

/// A transfer in progress, as the interface shows it.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) record: Record,
    pub(super) packet: Arc<ContextPacket>,
}

/// What the actor receives.
pub(super) enum Message {
    /// A call decided to transfer.
    Decided { call: CallId, id: String, packet: Box<ContextPacket>, at: Instant },
    /// A call ended.
    CallEnded(CallRow),
    /// The ledger wrote the oldest step of a transfer, or could not.
    Written { id: String, result: Result<(), LedgerError> },
    /// A connector answered an offer.
    Answered { id: String, attempt: u32, result: Result<Answer, Failure> },
    /// A connector answered a status query.
    Status { id: String, attempt: u32, result: Result<Option<Answer>, Failure> },
    /// Somebody asks something of a transfer.
    Request { id: String, request: Pending },
    /// The ledger looked up a transfer that a request is about.
    Found { id: String, found: Result<Option<(Record, String)>, LedgerError>, request: Pending },
    /// The ledger already had a transfer of a new decision's id.
    Collided { call: CallId, packet: Box<ContextPacket>, at: Instant, found: Option<Record> },
    /// A human became free.
    Freed,
}

/// A request whose reply is awaited.
pub(super) struct Pending {
    pub(super) request: Request,
    pub(super) who: String,
    pub(super) reply: Reply,
}

pub(super) type Reply = oneshot::Sender<Result<Value, Refusal>>;

impl Outbox {
    /// An outbox that tries these connectors in their order and sends alerts to those of them that only notify people.
    pub fn new(
        ledger: Arc<Ledger>,
        connectors: Vec<Arc<dyn Connector>>,
        settings: Settings,
        policy: Policy,
        clock: Arc<dyn Clock>,
        emit: Emit,
    ) -> Arc<Self> {
        let (alerts, connectors) = connectors.into_iter().partition(|connector| connector.is_alert());
        Arc::new(Self {
            messages: Mutex::default(),
            bell: Notify::new(),
            ledger,
            connectors,
            alerts,
            settings,
            clock,
            emit,
            board: OnceLock::new(),
            policy: Mutex::new(policy),
            queue: Mutex::default(),
            open: Mutex::default(),
            calls: Mutex::default(),
            counts: Arc::default(),
        })
    }

    /// Asks something of a transfer; the reply is the transfer as the interface shows it.
    ///
    /// # Errors
    /// When there is no such transfer, its state does not allow the request, or too much waits.
    pub async fn request(&self, id: &str, request: Request, who: &str) -> Result<Value, Refusal> {
        let (reply, answer) = oneshot::channel();
        let request = Pending { request, who: who.into(), reply };
        if !self.send(Message::Request { id: id.into(), request }) {
            return Err(Refusal::Busy);
        }
        answer.await.unwrap_or(Err(Refusal::Busy))
    }

    /// Sets the number of free humans of a queue; without a queue, of all queues that have no number of their own.
    ///
    /// # Errors
    /// When [`QUEUES_MAX`] queues have a number of their own.
    pub fn set_free(&self, queue: Option<String>, free: u32, who: &str) -> Result<(), Refusal> {
        let detail = json!({ "free": free, "queue": queue });
        if !lock(&self.queue).set_free(queue, free) {
            return Err(Refusal::Conflict(format!(
                "{QUEUES_MAX} queues have humans of their own: no more are taken"
            )));
        }
        self.send(Message::Freed);
        self.audit("capacity", who, None, detail);
        Ok(())
    }

    /// Replaces the policy.
    pub fn set_policy(&self, policy: Policy, who: &str) {
        let detail = json!({ "version": policy.version(), "sha256": policy.sha256() });
        *lock(&self.policy) = policy;
        self.audit("policy", who, None, detail);
    }

    /// Adds an entry to the audit.
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
    /// When the report is not on disk yet; the ledger retries.
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

    /// A transfer in progress, as the interface shows it.
    pub fn transfer(&self, id: &str) -> Option<Value> {
        let record = lock(&self.open).get(id).map(|open| open.record.clone())?;
        Some(self.view(&record))
    }

    /// Every transfer in progress.
    pub fn under_way(&self) -> Vec<Record> {
        lock(&self.open).values().map(|open| open.record.clone()).collect()
    }

    /// The id of a call's transfer, unless it is over.
    pub fn of_call(&self, call: &str) -> Option<String> {
        let open = lock(&self.open);
        let of_call = |open: &&Open| open.record.call == call && !open.record.life.state().is_over();
        open.values().find(of_call).map(|open| open.record.life.id().to_owned())
    }

    /// The packet of a transfer in progress.
    pub fn packet(&self, id: &str) -> Option<Arc<ContextPacket>> {
        lock(&self.open).get(id).map(|open| Arc::clone(&open.packet))
    }

    /// A transfer as the interface shows it, with its position in the queue.
    pub fn view(&self, record: &Record) -> Value {
        let now = self.now();
        let position = lock(&self.queue).position(record.life.id(), now);
        record.json(now, None, position)
    }

    /// The ledger behind it.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The counters.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many transfers are in progress, and how many of them wait for a human.
    pub fn figures(&self) -> (usize, usize) {
        (lock(&self.open).len(), lock(&self.queue).len())
    }

    /// The time by the outbox's clock.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Sends a message to the actor; `false` if too many wait.
    pub(super) fn send(&self, message: Message) -> bool {
        let mut messages = lock(&self.messages);
        let is_bounded = match message {
            Message::Request { .. } | Message::CallEnded(_) => true,
            Message::Decided { .. }
            | Message::Written { .. }
            | Message::Answered { .. }
            | Message::Status { .. }
            | Message::Found { .. }
            | Message::Collided { .. }
            | Message::Freed => false,
        };
        if is_bounded && messages.len() >= MESSAGES_MAX {
            return false;
        }
        messages.push_back(message);
        drop(messages);
        self.bell.notify_one();
        true
    }

    /// The messages that wait.
    pub(super) fn receive(&self) -> VecDeque<Message> {
        std::mem::take(&mut *lock(&self.messages))
    }

    /// Waits for a message.
    pub(super) async fn ready(&self) {
        self.bell.notified().await;
    }
}

impl Actions for Outbox {
    fn act(&self, call: &CallId, action: Action) {
        let Action::Transfer { id, packet } = action;
        self.send(Message::Decided { call: call.clone(), id, packet, at: Instant::now() });
    }
}

impl Events for Outbox {
    fn told(&self, event: &Event) {
        if let EventKind::CallStarted { source, queue, intent, .. } = &event.what {
            let origin = Origin { source: source.clone(), queue: queue.clone(), intent: intent.clone() };
            lock(&self.calls).insert(event.call.clone(), origin);
        } else if let EventKind::CallEnded { duration_s, caller_speech_s, transfers, peak, .. } = &event.what
        {
            let Origin { source, queue, intent } = lock(&self.calls).remove(&event.call).unwrap_or_default();
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
            if !self.send(Message::CallEnded(row)) {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
