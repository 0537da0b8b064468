//! What the connections of every protocol share: the switchboard, who gets in, how long they may be silent.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

use super::Gate;
use crate::switchboard::{Assumed, Line, Refused, Switchboard};
use warmline_core::units::CallTime;
use warmline_wire::{Message, Start};

/// How long connections are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a request's head, and for what follows it.
    pub request: Duration,
    /// Silence after which a peer is asked whether it is there; after as much again without an answer it is gone.
    pub idle: Duration,
    /// For a peer that does not take what is sent to it.
    pub send: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { request: seconds(10), idle: seconds(20), send: seconds(5) }
    }
}

/// What came in, by protocol.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections beyond `limits.connections`: closed at once.
    pub turned_away: AtomicU64,
    /// Wrong credentials, by protocol.
    pub unauthorised: Mutex<BTreeMap<String, u64>>,
    /// Streams that were not what their protocol says, by protocol.
    pub malformed: Mutex<BTreeMap<&'static str, u64>>,
    /// Connections that fell silent.
    pub silent: AtomicU64,
}

/// Where streams come in.
pub struct Intake {
    /// Where calls go.
    pub board: Arc<Switchboard>,
    /// Who gets in.
    pub gate: Gate,
    /// How long connections are waited for.
    pub patience: Patience,
    /// What came in.
    pub counts: Counts,
}

impl Intake {
    /// Streams come in for this switchboard.
    pub fn new(board: Arc<Switchboard>, gate: Gate, patience: Patience) -> Self {
        Self { board, gate, patience, counts: Counts::default() }
    }

    /// Counts wrong credentials and says so. Nothing of what was given is logged.
    pub(crate) fn unauthorised(&self, protocol: &str) {
        let mut counts = self.counts.unauthorised.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(protocol.to_owned()).or_default() += 1;
        tracing::warn!(protocol, "wrong credentials");
    }

    /// Counts a stream that was not what its protocol says.
    pub(crate) fn malformed(&self, protocol: &'static str, why: &dyn std::fmt::Display) {
        let mut counts = self.counts.malformed.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(protocol).or_default() += 1;
        tracing::warn!(protocol, %why, "stream refused");
    }

    /// Counts a peer that fell silent.
    pub(crate) fn silent(&self, protocol: &'static str) {
        self.counts.silent.fetch_add(1, Ordering::Relaxed);
        tracing::info!(protocol, "peer fell silent");
    }
}

/// One stream on its way into its call: a protocol's messages go in, and what must be said to a peer that is refused comes out.
pub(crate) struct Leg {
    intake: Arc<Intake>,
    line: Option<Line>,
    /// What the stream may turn out to be; `None`: what it says.
    allowed: Option<std::collections::BTreeSet<&'static str>>,
    assumed: Option<Assumed>,
    refused: Option<NotTaken>,
    /// Where it is told that the call must be given back, if its protocol can.
    way_back: Option<mpsc::Sender<Variables>>,
    span: tracing::Span,
}

/// What a call that is given back takes along.
pub(crate) type Variables = BTreeMap<String, String>;

/// Why a stream did not become a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// Its credentials are another protocol's.
    #[error("the credentials are not those of {0}")]
    Unauthorised(&'static str),
    /// The switchboard does not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Leg {
    pub(crate) fn new(
        intake: Arc<Intake>,
        allowed: Option<std::collections::BTreeSet<&'static str>>,
    ) -> Self {
        Self {
            intake,
            line: None,
            allowed,
            assumed: None,
            refused: None,
            way_back: None,
            span: tracing::Span::none(),
        }
    }

    /// Says that the protocol can give its call back, and hears when it must: once.
    pub(crate) fn can_hand_back(&mut self) -> mpsc::Receiver<Variables> {
        let (sender, receiver) = mpsc::channel(1);
        self.way_back = Some(sender);
        receiver
    }

    /// The same with what holds for this stream alone.
    pub(crate) fn assume(&mut self, assumed: Assumed) {
        self.assumed = Some(assumed);
    }

    /// Takes a message.
    pub(crate) fn take(&mut self, message: Message<'_>) {
        match (message, &mut self.line) {
            (Message::Started(start), None) if self.refused.is_none() => match self.open(&start) {
                Ok(line) => {
                    let call = line.id().to_string();
                    self.span = tracing::info_span!("call", call, source = start.source);
                    self.span.in_scope(|| tracing::info!(joined = line.is_joined(), "stream started"));
                    if let Some(way) = self.way_back.take() {
                        line.on_hand_back(Box::new(move |variables| way.try_send(variables.clone()).is_ok()));
                    }
                    self.line = Some(line);
                }
                Err(refused) => self.refused = Some(refused),
            },
            (message, Some(line)) => {
                if let Message::Problem(problem) = &message {
                    self.span.in_scope(|| tracing::warn!(%problem, "problem"));
                } else if let Message::Stopped(cause) = &message {
                    self.span.in_scope(|| tracing::info!(%cause, "stream stopped"));
                }
                line.handle(&message);
            }
            (_, None) => {}
        }
    }

    fn open(&self, start: &Start) -> Result<Line, NotTaken> {
        if self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(start.source)) {
            self.intake.unauthorised(start.source);
            return Err(NotTaken::Unauthorised(start.source));
        }
        let assumed = self.assumed.clone().unwrap_or_else(|| self.intake.gate.assumed(start.source));
        let opened = self.intake.board.open(start, &assumed);
        opened.map_err(|refused| {
            tracing::warn!(source = start.source, reason = refused.reason(), %refused, "call refused");
            refused.into()
        })
    }

    /// Why the stream did not become a call.
    pub(crate) fn refused(&self) -> Option<&NotTaken> {
        self.refused.as_ref()
    }
}

/// Wakes a connection. It is set anew only when it has rung or must ring sooner: every packet puts off when its peer counts as
/// silent, and hardly one needs a timer for it.
pub(crate) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    /// Waits until then.
    pub(crate) async fn until(&mut self, at: Instant) {
        loop {
            if at < self.0.deadline() || self.0.is_elapsed() {
                self.0.as_mut().reset(at);
            }
            self.0.as_mut().await;
            if Instant::now() >= at {
                return;
            }
        }
    }
}

/// A connection's own clock.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the connection was accepted.
    pub(crate) fn now(self) -> CallTime {
        CallTime(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The moment as tokio counts it; a far one for none.
    pub(crate) fn at(self, time: Option<CallTime>) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400);
        self.0 + time.map_or(self.0.elapsed() + FAR, |time| Duration::from_micros(time.0).min(30 * FAR))
    }
}
