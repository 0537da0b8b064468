//! What waits for a call, and which calls something waits for.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::Serialize;

use super::{Command, Kind, Load, Refused, STREAMS_MAX, TURN_MAX_US, lock};
use warmline_core::{
    call::{Call, CallId, CallStart, Event, EventKind},
    media::{Format, GapCause, Speaker},
    packet::rounded,
    units::MediaTime,
};

/// Payloads that may wait for one call, 10 s of 20 ms; beyond, the oldest is dropped and the call tells a gap.
pub const QUEUE_PACKETS_MAX: usize = 512;

/// Bytes of payload that may wait for one call; likewise.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024;

/// Words (keys, pauses, commands) that may wait for one call; beyond, a word is refused.
pub const QUEUE_WORDS_MAX: usize = 64;

/// Gaps that may wait for one call; beyond, what is missing shows as lost in the place of what follows.
pub const QUEUE_GAPS_MAX: usize = 64;

/// Buffers a call keeps for the payloads to come.
const SPARE_MAX: usize = 8;

/// Bytes of a buffer that is kept; a longer one is freed.
const SPARE_BYTES_MAX: usize = 4_096;

/// What is known of a live call, for whoever asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Its id.
    pub call: CallId,
    /// The protocol.
    pub source: String,
    /// The caller's track in the protocol's own word.
    pub caller_channel: String,
    /// The queue.
    pub queue: Option<String>,
    /// The intent.
    pub intent: Option<String>,
    /// How its evidence stands.
    pub state: &'static str,
    /// Why it stands so.
    pub why: String,
    /// Calibrated probability of the latest score.
    pub probability: Option<f64>,
    /// The highest.
    pub peak: Option<f64>,
    /// Caller speech heard, seconds.
    pub speech_s: f64,
    /// Media time of the latest event, seconds.
    pub t: f64,
    /// Transfers asked for.
    pub transfers: u32,
    /// Payloads taken.
    pub packets: u64,
    /// Payloads dropped because too much waited.
    pub dropped: u64,
}

impl Status {
    /// A call that begins.
    pub(super) fn of(id: &CallId, start: &CallStart) -> Self {
        Self {
            call: id.clone(),
            source: start.source.clone(),
            caller_channel: start.caller_channel.clone(),
            queue: start.queue.clone(),
            intent: start.intent.clone(),
            state: "unheard",
            why: String::new(),
            probability: None,
            peak: None,
            speech_s: 0.0,
            t: 0.0,
            transfers: 0,
            packets: 0,
            dropped: 0,
        }
    }

    fn observe(&mut self, event: &Event) {
        self.t = rounded(event.at.seconds(), 3);
        match &event.what {
            EventKind::Score { probability, state, speech_s, .. } => {
                let probability = rounded(*probability, 4);
                self.probability = Some(probability);
                self.peak = Some(self.peak.map_or(probability, |peak| peak.max(probability)));
                self.speech_s = rounded(*speech_s, 3);
                self.state = state;
            }
            EventKind::State { to, why, .. } => {
                if event.what.is_opt_out() {
                    (self.probability, self.peak) = (None, None);
                }
                self.state = to;
                self.why.clone_from(why);
            }
            EventKind::Transfer { .. } => self.transfers += 1,
            EventKind::CallStarted { .. }
            | EventKind::ScoreFailed { .. }
            | EventKind::Cue { .. }
            | EventKind::Turn { .. }
            | EventKind::Said { .. }
            | EventKind::TransferOutcome { .. }
            | EventKind::TransferClaimed { .. }
            | EventKind::TransferVerdict { .. }
            | EventKind::Gap { .. }
            | EventKind::Problem { .. }
            | EventKind::CallEnded { .. } => {}
        }
    }
}

/// One thing that was said to a call.
pub(super) enum Said {
    /// Audio of one of its streams.
    Media { stream: u32, track: Speaker, position: u64, payload: Vec<u8> },
    /// Audio of one of its streams that does not come.
    Gap { stream: u32, track: Speaker, cause: GapCause, from: u64, to: u64 },
    /// A word of one of its streams.
    Word(u32, Command),
    /// A further stream stands by.
    Joined(u32),
    /// A stream is over, with the protocol's word for why.
    Left(u32, String),
    /// From outside its streams.
    Command(Command),
}

/// What waits for one call.
pub(super) struct Inbox {
    /// Tells calls of a shard apart.
    pub(super) number: u64,
    /// Which shard owns the call.
    pub(super) shard: usize,
    /// Its id.
    pub(super) id: CallId,
    kind: Kind,
    waiting: Mutex<Waiting>,
    status: Mutex<Status>,
    /// How its streams give the call back, by stream.
    ways_back: Mutex<Vec<(u32, HandBack)>>,
}

/// How a stream gives its call back: takes the variables, must not wait, and tells whether the stream is there.
pub type HandBack = Box<dyn Fn(&BTreeMap<String, String>) -> bool + Send + Sync>;

struct Waiting {
    said: VecDeque<Said>,
    packets: usize,
    bytes: usize,
    words: usize,
    gaps: usize,
    taken: u64,
    dropped: u64,
    spare: Vec<Vec<u8>>,
    /// Whether the shard knows that something waits.
    rung: bool,
    /// Streams that have not left, and how many there ever were.
    streams: usize,
    streams_ever: u32,
    over: bool,
}

impl Inbox {
    pub(super) fn new(number: u64, shard: usize, status: Status, kind: Kind) -> Self {
        let waiting = Waiting {
            said: VecDeque::new(),
            packets: 0,
            bytes: 0,
            words: 0,
            gaps: 0,
            taken: 0,
            dropped: 0,
            spare: Vec::new(),
            rung: false,
            streams: 1,
            streams_ever: 1,
            over: false,
        };
        let id = status.call.clone();
        Self {
            number,
            shard,
            id,
            kind,
            waiting: Mutex::new(waiting),
            status: Mutex::new(status),
            ways_back: Mutex::default(),
        }
    }

    /// A stream says how it gives the call back.
    pub(super) fn know_way_back(&self, stream: u32, way: HandBack) {
        lock(&self.ways_back).push((stream, way));
    }

    /// A stream is over.
    pub(super) fn forget_way_back(&self, stream: u32) {
        lock(&self.ways_back).retain(|(other, _)| *other != stream);
    }

    /// Has every stream that can give the call back; `false` if none can.
    pub(super) fn hand_back(&self, variables: &BTreeMap<String, String>) -> bool {
        let ways = lock(&self.ways_back);
        ways.iter().filter(|(_, way)| way(variables)).count() > 0
    }

    /// Takes a payload and tells how many older ones it displaced.
    pub(super) fn media(
        self: &Arc<Self>,
        tray: &Tray,
        stream: u32,
        track: Speaker,
        position: u64,
        payload: &[u8],
    ) -> u64 {
        let mut waiting = lock(&self.waiting);
        if waiting.over {
            return 0;
        }
        let before = waiting.dropped;
        while waiting.packets > 0
            && (waiting.packets >= QUEUE_PACKETS_MAX || waiting.bytes + payload.len() > QUEUE_BYTES_MAX)
        {
            waiting.drop_oldest();
        }
        let mut buffer = waiting.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(payload);
        waiting.packets += 1;
        waiting.bytes += payload.len();
        waiting.taken += 1;
        waiting.said.push_back(Said::Media { stream, track, position, payload: buffer });
        let dropped = waiting.dropped - before;
        self.ring(waiting, tray);
        dropped
    }

    /// Takes a gap of the audio, so that its cause is known.
    pub(super) fn gap(self: &Arc<Self>, tray: &Tray, gap: Said) {
        let mut waiting = lock(&self.waiting);
        if waiting.over || waiting.gaps >= QUEUE_GAPS_MAX {
            return;
        }
        waiting.gaps += 1;
        waiting.said.push_back(gap);
        self.ring(waiting, tray);
    }

    /// Takes a word; `false` if too many wait, or the call is over. That a stream left is always taken.
    pub(super) fn say(self: &Arc<Self>, tray: &Tray, said: Said) -> bool {
        let mut waiting = lock(&self.waiting);
        let leaves = matches!(said, Said::Left(..));
        if waiting.over || (waiting.words >= QUEUE_WORDS_MAX && !leaves) {
            return false;
        }
        waiting.streams = waiting.streams.saturating_sub(usize::from(leaves));
        waiting.words += 1;
        waiting.said.push_back(said);
        self.ring(waiting, tray);
        true
    }

    /// Lets a further stream stand by; `None` if the call is just over.
    pub(super) fn join(
        &self,
        source: &'static str,
        caller: Format,
        agent: Option<Format>,
    ) -> Result<Option<u32>, Refused> {
        let mut waiting = lock(&self.waiting);
        if waiting.over || waiting.streams == 0 {
            return Ok(None);
        }
        if self.kind != (source, caller, agent) {
            return Err(Refused::Other);
        }
        if waiting.streams >= STREAMS_MAX {
            return Err(Refused::Streams);
        }
        let stream = waiting.streams_ever;
        waiting.streams_ever = waiting.streams_ever.wrapping_add(1);
        waiting.streams += 1;
        waiting.said.push_back(Said::Joined(stream));
        Ok(Some(stream))
    }

    fn ring(self: &Arc<Self>, mut waiting: std::sync::MutexGuard<'_, Waiting>, tray: &Tray) {
        let rung = std::mem::replace(&mut waiting.rung, true);
        drop(waiting);
        if !rung {
            tray.ring(Arc::clone(self));
        }
    }

    /// Everything that waits, in order; `said` must be empty.
    pub(super) fn take(&self, said: &mut VecDeque<Said>) {
        let mut waiting = lock(&self.waiting);
        std::mem::swap(&mut waiting.said, said);
        (waiting.packets, waiting.bytes, waiting.words, waiting.gaps) = (0, 0, 0, 0);
        waiting.rung = false;
    }

    /// Gives a payload's buffer back.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut waiting = lock(&self.waiting);
        if waiting.spare.len() < SPARE_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            waiting.spare.push(buffer);
        }
    }

    /// Payloads that wait.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.waiting).packets
    }

    /// The call is over: nothing more is taken. `false` if it was over already.
    pub(super) fn close(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.said.clear();
        !std::mem::replace(&mut waiting.over, true)
    }

    /// The end of a call in which something failed: what was last known of it.
    pub(super) fn failed(&self, at: MediaTime) -> Event {
        let status = lock(&self.status);
        let what = EventKind::CallEnded {
            cause: "failed".into(),
            duration_s: at.seconds(),
            caller_speech_s: status.speech_s,
            transfers: status.transfers,
            peak: status.peak,
            seconds_in: BTreeMap::new(),
        };
        Event { call: self.id.clone(), at, what }
    }

    pub(super) fn observe(&self, event: &Event) {
        lock(&self.status).observe(event);
    }

    pub(super) fn status(&self) -> Status {
        let (packets, dropped) = {
            let waiting = lock(&self.waiting);
            (waiting.taken, waiting.dropped)
        };
        Status { packets, dropped, ..lock(&self.status).clone() }
    }
}

impl Waiting {
    /// Drops the oldest payload that waits; words stay.
    fn drop_oldest(&mut self) {
        let oldest = self.said.iter().position(|said| matches!(said, Said::Media { .. }));
        self.packets -= 1;
        self.dropped += 1;
        if let Some(Said::Media { mut payload, .. }) = oldest.and_then(|n| self.said.remove(n)) {
            self.bytes = self.bytes.saturating_sub(payload.len());
            payload.clear();
            self.spare.push(payload);
        }
    }
}

/// What waits for one shard.
#[derive(Default)]
pub(super) struct Tray {
    state: Mutex<TrayState>,
    bell: Condvar,
    /// Calls on this shard.
    pub(super) calls: AtomicUsize,
    /// How long the last turn took, microseconds; zero while nothing is to be done.
    pub(super) last_turn_us: AtomicU64,
    /// How long the oldest score that is still to be made had waited after the last turn, microseconds.
    pub(super) behind_us: AtomicU64,
}

#[derive(Default)]
struct TrayState {
    opened: Vec<Opened>,
    rung: Vec<Arc<Inbox>>,
    stop: bool,
    /// Whether the shard waits for the bell: only then is ringing it worth a system call.
    asleep: bool,
}

/// A call that is new to its shard.
pub(super) struct Opened {
    pub(super) call: Box<Call>,
    pub(super) inbox: Arc<Inbox>,
    /// Samples a second of the caller's and the agent's track.
    pub(super) rates: [u64; 2],
}

impl Tray {
    pub(super) fn open(&self, call: Box<Call>, inbox: Arc<Inbox>, rates: [u64; 2]) {
        self.calls.fetch_add(1, Ordering::AcqRel);
        let mut state = lock(&self.state);
        state.opened.push(Opened { call, inbox, rates });
        self.wake(state);
    }

    fn ring(&self, inbox: Arc<Inbox>) {
        let mut state = lock(&self.state);
        state.rung.push(inbox);
        self.wake(state);
    }

    fn wake(&self, mut state: std::sync::MutexGuard<'_, TrayState>) {
        let asleep = std::mem::replace(&mut state.asleep, false);
        drop(state);
        if asleep {
            self.bell.notify_one();
        }
    }

    pub(super) fn stop(&self) {
        lock(&self.state).stop = true;
        self.bell.notify_one();
    }

    /// Whether the last turn took too long, or scores wait too long.
    pub(super) fn is_late(&self) -> bool {
        self.last_turn_us.load(Ordering::Relaxed).max(self.behind_us.load(Ordering::Relaxed)) > TURN_MAX_US
    }

    pub(super) fn load(&self) -> Load {
        Load {
            calls: self.calls.load(Ordering::Relaxed),
            turn_us: self.last_turn_us.load(Ordering::Relaxed),
            behind_us: self.behind_us.load(Ordering::Relaxed),
        }
    }

    /// Lets what comes gather for so long; only being told to stop ends it early.
    pub(super) fn gather(&self, long: Duration) {
        let waited = self.bell.wait_timeout_while(lock(&self.state), long, |state| !state.stop);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until there is something to do, at most `most`; takes it, and tells whether to stop.
    pub(super) fn wait(
        &self,
        most: Option<Duration>,
        opened: &mut Vec<Opened>,
        rung: &mut Vec<Arc<Inbox>>,
    ) -> bool {
        let mut state = lock(&self.state);
        let idle = |state: &mut TrayState| state.opened.is_empty() && state.rung.is_empty() && !state.stop;
        if idle(&mut state) {
            self.last_turn_us.store(0, Ordering::Relaxed);
            state.asleep = true;
            state = match most {
                Some(most) => {
                    let woken = self.bell.wait_timeout_while(state, most, idle);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            };
            state.asleep = false;
        }
        std::mem::swap(&mut state.opened, opened);
        std::mem::swap(&mut state.rung, rung);
        state.stop
    }
}
