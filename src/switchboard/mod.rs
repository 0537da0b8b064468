//! Every live call: shards of one thread each, calls pinned to one of them, scores in batches over a shard's calls, admission,
//! drain. Absent here: sockets, async, models, files.
//!
//! A connection holds a [`Line`] and says what its peer sends; the shard that owns the call hears it in the order in which it was
//! said. Nothing a connection, a listener or another call does blocks a shard, and company changes nothing of what a call says.

mod inbox;
mod line;
mod shard;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

pub use inbox::{HandBack, QUEUE_BYTES_MAX, QUEUE_GAPS_MAX, QUEUE_PACKETS_MAX, QUEUE_WORDS_MAX, Status};
use inbox::{Inbox, Said, Tray};
pub use line::Line;
use shard::Shard;
pub use shard::{SCORING_MAX_US, TURN_EVERY_US, TURN_MAX_US};

pub use warmline_core::call::Command;
use warmline_core::{
    call::{Action, Call, CallConfig, CallId, CallStart, Event},
    media::{DecodeError, Decoder, Format, TrackError},
    policy::Notice,
    score::{ScoreError, ScoreRequest, Scores},
};
use warmline_wire::Start;

/// Streams that may stand by for one call, the one that is heard among them.
pub const STREAMS_MAX: usize = 4;

/// Calls that are remembered when they are over, so that a new one of the same id gets an id of its own.
pub const ENDED_MAX: usize = 4_096;

/// Answers the score requests of a shard's calls: one answer a request, in order, whatever the others are.
pub trait Score: Send {
    /// Scores requests, those of one stage together.
    fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>>;
}

impl Score for warmline_onnx::Scorers {
    fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
        Self::score(self, requests)
    }
}

/// Gets every event, on the shard's thread: it must not wait. Losing an event changes no decision; whoever loses one counts it.
pub trait Events: Send + Sync {
    /// Takes one event.
    fn told(&self, event: &Event);
}

/// Gets every action, on the shard's thread: it must not wait, and must not lose one.
pub trait Actions: Send + Sync {
    /// Takes one action of this call.
    fn act(&self, call: &CallId, action: Action);
}

/// How many calls there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Together.
    pub calls: usize,
    /// On each shard.
    pub calls_per_shard: usize,
}

/// What holds for a stream's call where its start does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// What the callers have been told.
    pub notice: Notice,
    /// The queue they come by.
    pub queue: Option<String>,
    /// Their intent.
    pub intent: Option<String>,
}

/// Why a call is not taken: the reason goes back to the peer in its protocol's own words.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// As many calls as are allowed.
    #[error("{live} calls are live and limits.calls is {max}: send this one elsewhere or raise the limit")]
    Full {
        /// Calls that are live.
        live: usize,
        /// How many may be.
        max: usize,
    },
    /// Every shard has as many calls as it may.
    #[error(
        "each of {shards} shards has {max} calls, its limits.calls_per_shard: send this one elsewhere or raise the limit"
    )]
    ShardsFull {
        /// How many shards there are.
        shards: usize,
        /// Calls a shard may have.
        max: usize,
    },
    /// The calls there are take all the time there is.
    #[error("the machine is overloaded (a turn takes, or scores wait, more than {} ms): send this call elsewhere", TURN_MAX_US / 1_000)]
    Overloaded,
    /// The program is about to end.
    #[error("the program is ending and takes no new calls: send this one elsewhere")]
    Draining,
    /// A further stream of a call that has enough of them.
    #[error("{STREAMS_MAX} streams stand by for this call: no more are taken")]
    Streams,
    /// A further stream of a call, of another kind than the one that is heard.
    #[error(
        "this call is heard from another stream in another format or protocol: send the same, or end that one"
    )]
    Other,
    /// A track that is not read.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// A codec that is not read.
    #[error(transparent)]
    Codec(#[from] DecodeError),
}

impl Refused {
    /// One word, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Full { .. } => "full",
            Self::ShardsFull { .. } => "shards_full",
            Self::Overloaded => "overloaded",
            Self::Draining => "draining",
            Self::Streams => "streams",
            Self::Other => "other_stream",
            Self::Track(_) | Self::Codec(_) => "format",
        }
    }
}

/// Why a command did not reach its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// There is no such call, or it is over.
    #[error("no live call has this id")]
    NoCall,
    /// Too much waits to be heard by it.
    #[error("{QUEUE_WORDS_MAX} commands wait for this call: try again")]
    Busy,
}

/// Why a call was not given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGivenBack {
    /// There is no such call, or it is over.
    #[error("no live call has this id")]
    NoCall,
    /// Its stream's protocol has no word for it.
    #[error("this call's stream cannot give the call back: move it by its carrier's API")]
    NoWay,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls taken.
    pub calls: AtomicU64,
    /// Streams that joined a call that was there.
    pub joined: AtomicU64,
    /// Calls refused, by [`Refused::reason`].
    pub refused: Mutex<BTreeMap<&'static str, u64>>,
    /// Payloads taken.
    pub packets: AtomicU64,
    /// Payloads dropped because their call's queue was full: the oldest go.
    pub dropped: AtomicU64,
    /// Payloads that could not be decoded.
    pub undecoded: AtomicU64,
    /// What peers and integrators said beyond audio that was dropped because too much waited.
    pub unheard: AtomicU64,
    /// Events told.
    pub events: AtomicU64,
    /// Actions asked for.
    pub actions: AtomicU64,
    /// Windows scored.
    pub scores: AtomicU64,
    /// Batches they were scored in.
    pub batches: AtomicU64,
    /// Turns that took longer than [`TURN_MAX_US`].
    pub late_turns: AtomicU64,
    /// Scores that were not made because their call had waited for them in vain.
    pub late_scores: AtomicU64,
    /// Calls that were ended because something in them failed; the others went on.
    pub failed: AtomicU64,
}

/// How a shard fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Calls on it.
    pub calls: usize,
    /// How long its last turn took, microseconds.
    pub turn_us: u64,
    /// How long the oldest score it has still to make has waited, microseconds.
    pub behind_us: u64,
}

/// Which calls there are.
#[derive(Default)]
struct Register {
    live: BTreeMap<CallId, Arc<Inbox>>,
    /// The latest of those that are over.
    ended: VecDeque<CallId>,
    /// Calls and streams so far.
    count: u64,
}

/// What shards and connections share.
struct Shared {
    register: Mutex<Register>,
    counts: Counts,
    events: Arc<dyn Events>,
    actions: Arc<dyn Actions>,
}

/// Every live call.
pub struct Switchboard {
    shared: Arc<Shared>,
    trays: Vec<Arc<Tray>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    limits: Limits,
    config: Mutex<Arc<CallConfig>>,
    draining: AtomicBool,
    /// Tells calls apart whose peers give them no id, from one start of the program to the next.
    epoch: u64,
}

/// The arrival clock of live calls.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

impl Switchboard {
    /// Starts one shard for each of `scorers`. `epoch` is any number that differs from one start of the program to the next.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        scorers: Vec<Box<dyn Score>>,
        config: Arc<CallConfig>,
        limits: Limits,
        epoch: u64,
        events: Arc<dyn Events>,
        actions: Arc<dyn Actions>,
    ) -> io::Result<Self> {
        Self::start_on(Arc::new(shard::monotonic), scorers, config, limits, epoch, events, actions)
    }

    /// The same on an arrival clock that is handed in: it decides deadlines and how long a turn may take, and dates nothing.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start_on(
        clock: Clock,
        scorers: Vec<Box<dyn Score>>,
        config: Arc<CallConfig>,
        limits: Limits,
        epoch: u64,
        events: Arc<dyn Events>,
        actions: Arc<dyn Actions>,
    ) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { register: Mutex::default(), counts: Counts::default(), events, actions });
        let mut board = Self {
            shared,
            trays: Vec::new(),
            threads: Mutex::default(),
            limits,
            config: Mutex::new(config),
            draining: AtomicBool::new(false),
            epoch,
        };
        for (n, scorer) in scorers.into_iter().enumerate() {
            let tray = Arc::new(Tray::default());
            board.trays.push(Arc::clone(&tray));
            let shard = Shard::new(tray, Arc::clone(&board.shared), scorer, Arc::clone(&clock));
            let thread = thread::Builder::new().name(format!("shard-{n}")).spawn(move || shard.run())?;
            lock(&board.threads).push(thread);
        }
        Ok(board)
    }

    /// Takes the call that a stream brings, or joins the stream to the call it says it belongs to.
    ///
    /// Of several streams of one call one is heard; the others stand by, and the first of them goes on where that one ends.
    ///
    /// # Errors
    /// When the call is refused; it is counted.
    pub fn open(&self, start: &Start, assumed: &Assumed) -> Result<Line, Refused> {
        self.admit(start, assumed).inspect_err(|refused| {
            *lock(&self.shared.counts.refused).entry(refused.reason()).or_default() += 1;
        })
    }

    fn admit(&self, start: &Start, assumed: &Assumed) -> Result<Line, Refused> {
        let caller = Decoder::new(start.caller)?;
        let agent = start.agent.map(Decoder::new).transpose()?;
        let mut register = lock(&self.shared.register);
        let named = start.call.clone().map(CallId::new);
        if let Some(inbox) = named.as_ref().and_then(|id| register.live.get(id)).map(Arc::clone)
            && let Some(stream) = inbox.join(start.source, start.caller, start.agent)?
        {
            self.shared.counts.joined.fetch_add(1, Ordering::Relaxed);
            return Ok(self.line(inbox, stream, caller, agent));
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(Refused::Draining);
        }
        let live = register.live.len();
        if live >= self.limits.calls {
            return Err(Refused::Full { live, max: self.limits.calls });
        }
        let shard = self.least_loaded()?;
        register.count += 1;
        let id = register.name(named, || format!("{}-{:x}-{}", start.source, self.epoch, register.count));
        let call_start = call_start(start, assumed, &caller, agent.as_ref());
        let status = Status::of(&id, &call_start);
        let call = Box::new(Call::new(id.clone(), call_start, Arc::clone(&lock(&self.config)))?);
        let inbox =
            Arc::new(Inbox::new(register.count, shard, status, (start.source, start.caller, start.agent)));
        register.live.insert(id, Arc::clone(&inbox));
        self.shared.counts.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(tray) = self.trays.get(shard) {
            tray.open(call, Arc::clone(&inbox), [Some(&caller), agent.as_ref()].map(rate));
        }
        Ok(self.line(inbox, 0, caller, agent))
    }

    fn line(&self, inbox: Arc<Inbox>, stream: u32, caller: Decoder, agent: Option<Decoder>) -> Line {
        let tray = self.trays.get(inbox.shard).map(Arc::clone).unwrap_or_default();
        Line::new(inbox, tray, Arc::clone(&self.shared), stream, caller, agent)
    }

    fn least_loaded(&self) -> Result<usize, Refused> {
        let free = |tray: &Tray| tray.calls.load(Ordering::Acquire) < self.limits.calls_per_shard;
        if !self.trays.iter().any(|tray| free(tray)) {
            let max = self.limits.calls_per_shard;
            return Err(Refused::ShardsFull { shards: self.trays.len(), max });
        }
        let candidates = self.trays.iter().enumerate().filter(|(_, tray)| free(tray) && !tray.is_late());
        candidates
            .min_by_key(|(_, tray)| tray.calls.load(Ordering::Acquire))
            .map(|(n, _)| n)
            .ok_or(Refused::Overloaded)
    }

    /// Says something about a call.
    ///
    /// # Errors
    /// When there is no such call, or too much waits for it already.
    pub fn tell(&self, id: &CallId, command: Command) -> Result<(), Untold> {
        let inbox = lock(&self.shared.register).live.get(id).map(Arc::clone).ok_or(Untold::NoCall)?;
        let tray = self.trays.get(inbox.shard).ok_or(Untold::NoCall)?;
        if inbox.say(tray, Said::Command(command)) {
            return Ok(());
        }
        self.shared.counts.unheard.fetch_add(1, Ordering::Relaxed);
        Err(Untold::Busy)
    }

    /// Has the call's own stream give the call back to whoever sent it, with these variables where its protocol carries any.
    ///
    /// # Errors
    /// When there is no such call, or its stream cannot.
    pub fn hand_back(&self, id: &CallId, variables: &BTreeMap<String, String>) -> Result<(), NotGivenBack> {
        let inbox = lock(&self.shared.register).live.get(id).map(Arc::clone).ok_or(NotGivenBack::NoCall)?;
        if inbox.hand_back(variables) { Ok(()) } else { Err(NotGivenBack::NoWay) }
    }

    /// What is known of every live call, by id.
    pub fn calls(&self) -> Vec<Status> {
        let inboxes: Vec<Arc<Inbox>> = lock(&self.shared.register).live.values().map(Arc::clone).collect();
        inboxes.iter().map(|inbox| inbox.status()).collect()
    }

    /// What is known of one live call.
    pub fn call(&self, id: &CallId) -> Option<Status> {
        lock(&self.shared.register).live.get(id).map(Arc::clone).map(|inbox| inbox.status())
    }

    /// How many calls are live.
    pub fn live(&self) -> usize {
        lock(&self.shared.register).live.len()
    }

    /// How every shard fares.
    pub fn shards(&self) -> Vec<Load> {
        self.trays.iter().map(|tray| tray.load()).collect()
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// What holds for calls from now on; those that are live keep what they began with.
    pub fn reload(&self, config: Arc<CallConfig>) {
        *lock(&self.config) = config;
    }

    /// Takes no new call any more. Further streams of live calls still join.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether new calls are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Ends every call that is still live with the cause `server_stopped`, and waits for the shards.
    pub fn stop(&self) {
        self.drain();
        self.trays.iter().for_each(|tray| tray.stop());
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Register {
    /// The id of a new call: its peer's, with a number if a call of that id is over already; without one, a name of our own.
    fn name(&self, named: Option<CallId>, own: impl FnOnce() -> String) -> CallId {
        let Some(id) = named else { return CallId::new(own()) };
        let taken = |id: &CallId| self.live.contains_key(id) || self.ended.contains(id);
        let numbered = (2..).map(|n: u32| CallId::new(format!("{id}~{n}")));
        std::iter::once(id.clone()).chain(numbered).find(|id| !taken(id)).unwrap_or(id)
    }

    fn end(&mut self, id: &CallId) {
        self.live.remove(id);
        if self.ended.len() >= ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(id.clone());
    }
}

/// Entries of a start's metadata that say what [`Assumed`] says; the others are the integrator's own.
const OWN_METADATA: [&str; 3] = ["queue", "intent", "notice"];

fn call_start(start: &Start, assumed: &Assumed, caller: &Decoder, agent: Option<&Decoder>) -> CallStart {
    let metadata = start.metadata.expose();
    let said = |name: &str| metadata.get(name).filter(|value| !value.is_empty()).cloned();
    let notice = match said("notice").as_deref() {
        Some("none") => Notice::None,
        Some("notice") => Notice::Notice,
        Some("consent") => Notice::Consent,
        _ => assumed.notice,
    };
    let others = metadata.iter().filter(|(name, _)| !OWN_METADATA.contains(&name.as_str()));
    CallStart {
        source: start.source.into(),
        file: None,
        caller_channel: start.caller_channel.into(),
        caller: caller.format(),
        agent: agent.map(Decoder::format),
        queue: said("queue").or_else(|| assumed.queue.clone()),
        intent: said("intent").or_else(|| assumed.intent.clone()),
        notice,
        metadata: others.map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// Samples a second of what a decoder gives.
fn rate(decoder: Option<&Decoder>) -> u64 {
    decoder.map_or(0, |decoder| u64::from(decoder.format().rate.0))
}

/// What tells streams of one call apart from those of another.
type Kind = (&'static str, Format, Option<Format>);

/// A lock whose holder panicked holds what it held: every value behind one is sound at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
