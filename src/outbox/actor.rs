//! The task that owns every transfer in progress: it receives messages, takes steps, and performs them when the ledger confirms them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};

use super::{
    ATTEMPT_MAX, ATTEMPT_MIN, Outbox, Refusal, Request,
    alerts::notify_all,
    audit::{PROGRAM, entry},
    event::TransferEvent,
    handle::{Message, Open, Pending},
    lock,
    step::{Held, Step},
};
use crate::{
    clock::rfc3339,
    connectors::{Answer, Connector, Failure, Offer},
    ledger::{CallRow, Change, Entry, LedgerError, Record, VerdictRow},
    switchboard::{Command, Switchboard, Untold},
};
use warmline_core::{
    call::CallId,
    packet::ContextPacket,
    policy::Outcome,
    transfer::{Input, Life, Output, Plan, State, UnixMillis, Wish},
};

/// How long a connector may take to cancel an offer.
const CANCEL_MAX: Duration = Duration::from_secs(5);

/// How often an outcome is sent to a call whose queue is full, and the pause between two tries.
const OUTCOME_TRIES: u32 = 50;
const OUTCOME_PAUSE: Duration = Duration::from_millis(100);

/// The least time between two timeouts of a transfer that does not move on, milliseconds.
const TIMEOUT_PAUSE_MS: u64 = 1_000;

impl Outbox {
    /// Resumes unfinished transfers and processes messages until the future is dropped.
    ///
    /// # Errors
    /// When the ledger cannot be read at the start.
    pub async fn run(self: Arc<Self>, board: &Arc<Switchboard>) -> Result<(), LedgerError> {
        let _ = self.board.set(Arc::downgrade(board));
        run(self).await
    }
}

/// Resumes unfinished transfers and processes messages until the future is dropped.
async fn run(outbox: Arc<Outbox>) -> Result<(), LedgerError> {
    let unfinished = outbox.ledger.read(Record::unfinished).await?;
    let mut actor = Actor {
        outbox: Arc::clone(&outbox),
        held: BTreeMap::new(),
        by_call: BTreeMap::new(),
        timeouts: BTreeSet::new(),
    };
    actor.resume(unfinished);
    loop {
        let messages = outbox.receive();
        if messages.is_empty() {
            match actor.poll_timeout() {
                Some(at) => {
                    let wait = Duration::from_millis(at.since(outbox.now()));
                    let _ = timeout(wait, outbox.ready()).await;
                }
                None => outbox.ready().await,
            }
        }
        messages.into_iter().for_each(|message| actor.handle(message));
        actor.handle_timeouts();
    }
}

/// Every transfer in progress, by its id and by its call, and when each wants [`Input::Timeout`].
struct Actor {
    outbox: Arc<Outbox>,
    held: BTreeMap<String, Held>,
    by_call: BTreeMap<String, String>,
    timeouts: BTreeSet<(UnixMillis, String)>,
}

impl Actor {
    fn resume(&mut self, unfinished: Vec<(Record, String)>) {
        let count = unfinished.len();
        for (record, packet) in unfinished {
            let id = record.life.id().to_owned();
            let Some(held) = Held::restored(record, &packet) else {
                tracing::error!(transfer = id, "the packet of a transfer cannot be read: it is not resumed");
                continue;
            };
            if held.record.life.state() == State::Waiting {
                lock(&self.outbox.queue).arrive(&id, self.wish(&held.record));
            }
            self.by_call.insert(held.record.call.clone(), id.clone());
            self.held.insert(id.clone(), held);
            self.step(&id, Some(Input::Resume), Vec::new(), None);
        }
        self.outbox.audit("started", PROGRAM, None, json!({ "unfinished": count }));
        self.admit();
    }

    fn poll_timeout(&self) -> Option<UnixMillis> {
        let of_queue = lock(&self.outbox.queue).poll_timeout();
        let of_transfers = self.timeouts.first().map(|(at, _)| *at);
        of_queue.into_iter().chain(of_transfers).min()
    }

    fn handle_timeouts(&mut self) {
        let now = self.outbox.now();
        while let Some((_, id)) = self.timeouts.first().filter(|(at, _)| *at <= now).cloned() {
            let before = self.held.get(&id).and_then(|held| held.timeout);
            self.step(&id, Some(Input::Timeout), Vec::new(), None);
            let after = self.held.get(&id).and_then(|held| held.timeout);
            if after.is_some() && after == before {
                self.set_timeout(&id, Some(now.after(TIMEOUT_PAUSE_MS)));
            }
        }
        if lock(&self.outbox.queue).poll_timeout().is_some_and(|at| at <= now) {
            self.admit();
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Decided { call, id, packet, at } => self.handle_decision(&call, &id, packet, at),
            Message::CallEnded(row) => self.handle_call_ended(row),
            Message::Written { id, result } => self.handle_written(&id, result),
            Message::Answered { id, attempt, result } => {
                self.step(&id, Some(Input::Answered(attempt, result)), Vec::new(), None);
            }
            Message::Status { id, attempt, result } => {
                self.step(&id, Some(Input::Read(attempt, result)), Vec::new(), None);
            }
            Message::Request { id, request } => {
                if self.held.contains_key(&id) {
                    self.handle_request(&id, request);
                } else {
                    self.find(id, request);
                }
            }
            Message::Found { id, found, request } => self.handle_found(&id, found, request),
            Message::Collided { call, packet, at, found } => self.handle_collision(&call, packet, at, found),
            Message::Freed => self.admit(),
        }
    }

    fn handle_decision(&mut self, call: &CallId, id: &str, packet: Box<ContextPacket>, at: Instant) {
        let open = self.by_call.get(call.as_str()).and_then(|id| self.held.get(id));
        if open.is_some_and(|held| !held.record.life.state().is_over()) {
            self.repeated(call, id);
            return;
        }
        let record = self.record(call, id, &packet);
        lock(&self.outbox.queue).arrive(id, self.wish(&record));
        let held = Held { decided: Some(at), ..Held::new(record, packet.into()) };
        self.by_call.insert(call.to_string(), id.into());
        self.held.insert(id.into(), held);
        if let Some(offer) = self.offer(id, 1) {
            notify_all(&self.outbox.alerts, &offer, &self.outbox.counts);
        }
        self.admit();
        if self.held.get(id).is_some_and(|held| !held.is_kept) {
            self.step(id, None, Vec::new(), None);
            self.emit_state(id, State::Waiting);
        }
    }

    /// The record of a new transfer.
    fn record(&self, call: &CallId, id: &str, packet: &ContextPacket) -> Record {
        let now = self.outbox.now();
        let settings = &self.outbox.settings;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let (context, trigger) = (&packet.full.call, &packet.full.trigger);
        let connectors = self.outbox.connectors.iter();
        let serving = connectors.filter(|connector| connector.serves(context.queue.as_deref()));
        let plan = Plan {
            routes: serving.map(|connector| connector.name().to_owned()).collect(),
            deadline_ms: millis(settings.deadline),
            ring_ms: millis(settings.ring),
            wait_ms: millis(settings.wait),
        };
        Record {
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
        }
    }

    fn repeated(&self, call: &CallId, id: &str) {
        self.outbox.counts.repeated.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%call, transfer = id, "a transfer of this call is in progress already");
        let detail = json!({ "transfer": id, "why": "a transfer of this call is under way" });
        self.outbox.audit("repeated", PROGRAM, Some(call.as_str()), detail);
    }

    fn wish(&self, record: &Record) -> Wish {
        let policy = lock(&self.outbox.policy);
        let rules = policy.rules_for(record.queue.as_deref(), record.intent.as_deref());
        record.wish(rules.transfers_per_hour_max)
    }

    /// Admits the transfers for which humans are free.
    fn admit(&mut self) {
        loop {
            let Some(id) = lock(&self.outbox.queue).poll(self.outbox.now()) else { return };
            if let Some(held) = self.held.get_mut(&id) {
                held.has_human = true;
            }
            self.step(&id, Some(Input::Admit), Vec::new(), None);
        }
    }

    fn handle_call_ended(&mut self, row: CallRow) {
        let detail = json!({
            "duration_s": row.duration_s, "caller_speech_s": row.caller_speech_s, "transfers": row.transfers, "peak": row.peak,
        });
        let entry = Entry {
            at: row.ended_at,
            what: "call_over",
            who: PROGRAM.into(),
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
            self.release(&id);
        }
    }

    fn handle_request(&mut self, id: &str, Pending { request, who, reply }: Pending) {
        let now = self.outbox.now();
        let Some(held) = self.held.get_mut(id) else { return };
        let record = &mut held.record;
        let state = record.life.state();
        let is_over = || Refusal::Conflict(format!("it is over: {}", state.name()));
        let (input, what, detail) = match request {
            Request::Claim => {
                if let Some(by) = record.claimed_by.as_ref().filter(|by| **by != who) {
                    let since = record.claimed_at.map(rfc3339).unwrap_or_default();
                    let _ = reply.send(Err(Refusal::Conflict(format!("{by} has it since {since}"))));
                    return;
                }
                if state.is_over() && state != State::Connected {
                    let _ = reply.send(Err(is_over()));
                    return;
                }
                if record.claimed_by.is_none() {
                    (record.claimed_by, record.claimed_at) = (Some(who.clone()), Some(now));
                }
                // Whoever claims a transfer that waits is the human it waits for.
                let input = (state == State::Waiting).then_some(Input::Admit);
                (self.outbox.emit)(&TransferEvent::Claimed { by: &who }.json(record));
                (input, "claimed", json!({ "by": who }))
            }
            Request::Outcome(answer) => {
                if !record.life.takes(&answer) {
                    let same = is_state_of(&answer, state);
                    let _ = reply.send(if same { Ok(self.outbox.view(record)) } else { Err(is_over()) });
                    return;
                }
                let detail = json!({ "outcome": answer });
                (Some(Input::Told(answer)), "outcome", detail)
            }
            Request::Verdict(verdict, note) => {
                let detail = json!({ "verdict": verdict, "note": note });
                record.verdict = Some(VerdictRow { verdict, by: who.clone(), at: now, note });
                (self.outbox.emit)(&TransferEvent::Verdict { verdict, by: &who }.json(record));
                (None, "verdict", detail)
            }
            Request::Dismiss(why) => {
                if state.is_over() {
                    let _ = reply.send(Err(is_over()));
                    return;
                }
                let detail = json!({ "reason": why });
                (Some(Input::Dismiss(why)), "dismissed", detail)
            }
        };
        if what != "verdict" {
            lock(&self.outbox.queue).leave(id);
        }
        let entry = entry(record, now, what, &who, detail);
        self.step(id, input, vec![entry], Some(reply));
    }

    /// Looks a transfer up in the ledger that is not in memory.
    fn find(&self, id: String, request: Pending) {
        let outbox = Arc::clone(&self.outbox);
        tokio::spawn(async move {
            let wanted = id.clone();
            let found = outbox.ledger.read(move |connection| {
                let record = Record::find(connection, &wanted)?;
                Ok(record.zip(Record::packet(connection, &wanted)?))
            });
            let found = found.await;
            outbox.send(Message::Found { id, found, request });
        });
    }

    fn handle_found(
        &mut self,
        id: &str,
        found: Result<Option<(Record, String)>, LedgerError>,
        request: Pending,
    ) {
        if !self.held.contains_key(id) {
            let restored = match found {
                Err(error) => Err(Refusal::Ledger(error)),
                Ok(found) => found
                    .and_then(|(record, packet)| Held::restored(record, &packet))
                    .ok_or(Refusal::NoTransfer),
            };
            match restored {
                Ok(held) => drop(self.held.insert(id.to_owned(), held)),
                Err(refusal) => {
                    let _ = request.reply.send(Err(refusal));
                    return;
                }
            }
        }
        self.handle_request(id, request);
        self.release(id);
    }

    /// The ledger has the id of a new transfer already: the program restarted and the call decided anew.
    fn handle_collision(
        &mut self,
        call: &CallId,
        packet: Box<ContextPacket>,
        at: Instant,
        found: Option<Record>,
    ) {
        let id = packet.reference.transfer.clone();
        let state = found.map(|record| record.life.state());
        match state.filter(|state| !state.is_over() || *state == State::Connected) {
            Some(state) => {
                self.repeated(call, &id);
                if state == State::Connected {
                    self.send_outcome(call.clone(), Outcome::Connected);
                }
            }
            None => {
                let further = further_id(&id);
                let packet = ContextPacket::new(&further, packet.full);
                self.handle_decision(call, &further, Box::new(packet), at);
            }
        }
    }

    /// Takes a step, hands its changes to the ledger, and keeps its outputs until they are written.
    fn step(
        &mut self,
        id: &str,
        input: Option<Input>,
        entries: Vec<Entry>,
        reply: Option<super::handle::Reply>,
    ) {
        let Some(held) = self.held.get_mut(id) else { return };
        let is_timeout = matches!(input, Some(Input::Timeout));
        let advance = held.advance(self.outbox.now(), input, entries, reply.is_some());
        let (state, timeout) = (held.record.life.state(), held.record.life.poll_timeout());
        let (queue, is_moved) = (held.record.queue.clone(), timeout != held.timeout);
        for (connector, outcome) in advance.finished {
            self.outbox.counts.attempt(&connector, outcome);
        }
        if !advance.changes.is_empty() {
            held.steps.push_back(Step { outputs: advance.outputs, reply });
            let open = Open { record: held.record.clone(), packet: Arc::clone(&held.packet) };
            lock(&self.outbox.open).insert(id.into(), open);
            let (outbox, own) = (Arc::clone(&self.outbox), id.to_owned());
            let done = move |result| {
                outbox.send(Message::Written { id: own, result });
            };
            self.outbox.ledger.submit(advance.changes, Some(Box::new(done)));
        }
        if is_moved || is_timeout {
            self.set_timeout(id, timeout);
        }
        if state != State::Waiting {
            lock(&self.outbox.queue).leave(id);
        }
        if advance.frees_human {
            lock(&self.outbox.queue).give_back(queue.as_deref());
            self.outbox.send(Message::Freed);
        }
    }

    fn set_timeout(&mut self, id: &str, at: Option<UnixMillis>) {
        let Some(held) = self.held.get_mut(id) else { return };
        if let Some(at) = std::mem::replace(&mut held.timeout, at) {
            self.timeouts.remove(&(at, id.to_owned()));
        }
        if let Some(at) = at {
            self.timeouts.insert((at, id.to_owned()));
        }
    }

    fn handle_written(&mut self, id: &str, result: Result<(), LedgerError>) {
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
                tracing::error!(transfer = id, %error, "a step is performed before it is written");
            }
        }
        if let Some(reply) = step.reply {
            let _ = reply.send(Ok(self.outbox.view(&held.record)));
        }
        step.outputs.into_iter().for_each(|output| self.perform(id, output));
        self.release(id);
    }

    /// The ledger refused a new transfer because it has its id: nothing of it was kept or performed.
    fn collided(&mut self, id: &str) {
        let Some(held) = self.held.remove(id) else { return };
        if let Some(at) = held.timeout {
            self.timeouts.remove(&(at, id.to_owned()));
        }
        lock(&self.outbox.queue).leave(id);
        lock(&self.outbox.open).remove(id);
        self.by_call.remove(&held.record.call);
        let (outbox, wanted) = (Arc::clone(&self.outbox), id.to_owned());
        let call = CallId::new(held.record.call);
        let (packet, at) = (Box::new((*held.packet).clone()), held.decided.unwrap_or_else(Instant::now));
        tokio::spawn(async move {
            let found = outbox.ledger.read(move |connection| Record::find(connection, &wanted)).await;
            outbox.send(Message::Collided { call, packet, at, found: found.ok().flatten() });
        });
    }

    /// Removes a transfer from memory if nothing is left to do; the ledger has it.
    fn release(&mut self, id: &str) {
        let Some(held) = self.held.get(id).filter(|held| held.is_done()) else { return };
        if let Some(at) = held.timeout {
            self.timeouts.remove(&(at, id.to_owned()));
        }
        if self.by_call.get(&held.record.call).is_some_and(|own| own == id) {
            self.by_call.remove(&held.record.call);
        }
        self.held.remove(id);
        lock(&self.outbox.open).remove(id);
    }

    fn perform(&mut self, id: &str, output: Output) {
        let Some(held) = self.held.get_mut(id) else { return };
        match output {
            Output::Offer { attempt, route } => {
                if let Some(decided) = held.decided.take() {
                    self.outbox.counts.delay(decided.elapsed());
                }
                let (outbox, receiver) = (Arc::clone(&self.outbox), self.receiver(id, attempt, route));
                let id = id.to_owned();
                tokio::spawn(async move {
                    let result = match receiver {
                        Ok((connector, offer)) => {
                            let most = offer.remaining.clamp(ATTEMPT_MIN, ATTEMPT_MAX);
                            timeout(most, connector.offer(&offer)).await.unwrap_or_else(|_| {
                                Err(Failure::Unknown(format!("no answer within {:.1} s", most.as_secs_f64())))
                            })
                        }
                        Err(failure) => Err(failure),
                    };
                    outbox.send(Message::Answered { id, attempt, result });
                });
            }
            Output::ReadAgain { attempt, route } => {
                let (outbox, receiver) = (Arc::clone(&self.outbox), self.receiver(id, attempt, route));
                let id = id.to_owned();
                tokio::spawn(async move {
                    let result = match receiver {
                        Ok((connector, offer)) => {
                            timeout(ATTEMPT_MAX, connector.query_status(&offer)).await.unwrap_or_else(|_| {
                                Err(Failure::Unknown("no answer to the status query".into()))
                            })
                        }
                        Err(failure) => Err(failure),
                    };
                    outbox.send(Message::Status { id, attempt, result });
                });
            }
            Output::Cancel { attempt, route } => {
                if let Ok((connector, offer)) = self.receiver(id, attempt, route) {
                    tokio::spawn(async move {
                        let _ = timeout(CANCEL_MAX, connector.cancel(&offer)).await;
                    });
                }
            }
            Output::Became(state) => {
                if state.is_over() {
                    self.outbox.counts.end(state.name());
                }
                self.emit_state(id, state);
            }
            Output::Tell(outcome) => {
                let call = CallId::new(held.record.call.clone());
                self.send_outcome(call, outcome);
            }
        }
    }

    /// The connector of a route, and what it is offered.
    fn receiver(&self, id: &str, attempt: u32, route: usize) -> Result<(Arc<dyn Connector>, Offer), Failure> {
        let connector = self.held.get(id).and_then(|held| {
            let name = held.record.life.plan().routes.get(route)?;
            self.outbox.connectors.iter().find(|connector| connector.name() == name).map(Arc::clone)
        });
        connector
            .zip(self.offer(id, attempt))
            .ok_or_else(|| Failure::Never("no connector of this name is configured any more".into()))
    }

    fn offer(&self, id: &str, attempt: u32) -> Option<Offer> {
        let held = self.held.get(id)?;
        let remaining = held.record.life.deadline().since(self.outbox.now());
        let base = self.outbox.settings.public_url.as_ref();
        Some(Offer {
            transfer: id.into(),
            attempt,
            call: held.record.call.clone(),
            source: held.record.source.clone(),
            metadata: held.packet.full.call.metadata.clone(),
            target: None,
            packet: Arc::clone(&held.packet),
            packet_url: base.map(|base| format!("{}/packets/{id}", base.trim_end_matches('/'))),
            remaining: Duration::from_millis(remaining).max(ATTEMPT_MIN),
        })
    }

    /// Sends a call the outcome of its transfer; a call that is over does not need it.
    fn send_outcome(&self, call: CallId, outcome: Outcome) {
        let Some(board) = self.outbox.board.get().cloned() else { return };
        tokio::spawn(async move {
            for _ in 0..OUTCOME_TRIES {
                let Some(board) = board.upgrade() else { return };
                match board.tell(&call, Command::Outcome(outcome)) {
                    Ok(()) | Err(Untold::NoCall) => return,
                    Err(Untold::Busy) => {
                        drop(board);
                        sleep(OUTCOME_PAUSE).await;
                    }
                }
            }
            tracing::error!(%call, "a call did not receive the outcome of its transfer");
        });
    }

    fn emit_state(&self, id: &str, state: State) {
        let Some(Held { record, .. }) = self.held.get(id) else { return };
        tracing::info!(transfer = id, call = record.call, state = state.name(), "transfer");
        (self.outbox.emit)(&TransferEvent::outcome(record, state).json(record));
    }
}

/// Whether a transfer in this state has had this answer.
fn is_state_of(answer: &Answer, state: State) -> bool {
    match answer {
        Answer::Connected => state == State::Connected,
        Answer::Accepted => state == State::Accepted,
        Answer::Ringing => state == State::Ringing,
        Answer::Declined(_) => state == State::Declined,
        Answer::NoAnswer => state == State::NoAnswer,
        Answer::Busy => state == State::Busy,
        Answer::Voicemail => state == State::Voicemail,
        Answer::CallerGone => state == State::CallerGone,
    }
}

/// The id of a further transfer where one is taken: a UUID, always the same for the same transfer.
fn further_id(id: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(format!("{id}/again")).into();
    warmline_core::call::uuid(&digest)
}
