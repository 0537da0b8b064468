//! The latest events, for everybody who follows them at their own pace.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::story::Stories;
use crate::switchboard::Events;
use warmline_core::call::{Event, EventKind};

/// Events that are held; beyond, the oldest is forgotten, and whoever had not read it is told how many they missed.
pub const RING_EVENTS_MAX: usize = 16_384;

/// Bytes of events that are held; likewise.
pub const RING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Holds the latest events. Taking one costs a shard a line of JSON and two short locks, however many follow and however slowly.
pub struct Ring {
    held: Mutex<Held>,
    stories: Mutex<Stories>,
    latest: watch::Sender<u64>,
    followers: AtomicU64,
    missed: AtomicU64,
}

#[derive(Default)]
struct Held {
    /// Number of the first line that is held; numbers begin with 1.
    first: u64,
    lines: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Ring {
    /// A ring that holds nothing. Numbers begin behind `epoch`, so that one of an earlier start of the program names no other event.
    pub fn new(epoch: u64) -> Arc<Self> {
        let first = epoch + 1;
        Arc::new(Self {
            held: Mutex::new(Held { first, ..Held::default() }),
            stories: Mutex::default(),
            latest: watch::Sender::new(epoch),
            followers: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        })
    }

    /// Follows the events behind `last`; without it those to come.
    pub(super) fn follow(self: &Arc<Self>, last: Option<u64>) -> Follower {
        let latest = *self.latest.borrow();
        // A number beyond ours is no number of ours.
        let last = last.filter(|last| *last <= latest).unwrap_or(latest);
        self.followers.fetch_add(1, Ordering::Relaxed);
        Follower { ring: Arc::clone(self), bell: self.latest.subscribe(), next: last.saturating_add(1) }
    }

    /// The number of the latest event.
    pub(super) fn latest(&self) -> u64 {
        *self.latest.borrow()
    }

    /// What each call has said so far.
    pub(super) fn stories(&self) -> MutexGuard<'_, Stories> {
        self.stories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who follows now, and how many events they missed together.
    pub fn figures(&self) -> (u64, u64) {
        (self.followers.load(Ordering::Relaxed), self.missed.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events for Ring {
    fn told(&self, event: &Event) {
        // The outbox says the same with all there is to say.
        if matches!(event.what, EventKind::TransferOutcome { .. }) {
            return;
        }
        if let Ok(line) = serde_json::to_string(event) {
            let line: Arc<str> = line.into();
            self.stories().take(event, &line);
            self.hold(line);
        }
    }
}

impl Ring {
    /// Takes a line of JSON that is no event of a call's own: what became of its transfers.
    pub fn say(&self, line: String) {
        let line: Arc<str> = line.into();
        self.stories().add(&line);
        self.hold(line);
    }

    fn hold(&self, line: Arc<str>) {
        let mut held = self.lock();
        held.bytes += line.len();
        held.lines.push_back(line);
        while held.lines.len() > RING_EVENTS_MAX || held.bytes > RING_BYTES_MAX {
            let gone = held.lines.pop_front().map_or(0, |line| line.len());
            held.bytes -= gone;
            held.first += 1;
        }
        let latest = held.first + held.lines.len() as u64 - 1;
        drop(held);
        self.latest.send_modify(|number| *number = latest.max(*number));
    }
}

/// Reads a ring at its own pace.
pub(super) struct Follower {
    ring: Arc<Ring>,
    bell: watch::Receiver<u64>,
    next: u64,
}

/// What comes next.
pub(super) enum Next {
    /// An event with its number.
    Event(u64, Arc<str>),
    /// So many are forgotten already.
    Missed(u64),
}

impl Follower {
    pub(super) async fn next(&mut self) -> Next {
        loop {
            if let Some(next) = self.held() {
                return next;
            }
            if self.bell.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn held(&mut self) -> Option<Next> {
        self.bell.mark_unchanged();
        let held = self.ring.lock();
        if self.next < held.first {
            let missed = held.first - self.next;
            self.next = held.first;
            self.ring.missed.fetch_add(missed, Ordering::Relaxed);
            return Some(Next::Missed(missed));
        }
        let line = held.lines.get(usize::try_from(self.next - held.first).ok()?)?;
        self.next += 1;
        Some(Next::Event(self.next - 1, Arc::clone(line)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.ring.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warmline_core::{call::CallId, units::MediaTime};

    #[tokio::test]
    async fn events_are_read_in_order_from_where_one_left_off() {
        let ring = Ring::new(100);
        let mut early = ring.follow(None);
        (0..3).for_each(|n| ring.told(&event(n)));
        assert_eq!(numbers(&mut early, 3).await, [101, 102, 103]);
        assert_eq!(numbers(&mut ring.follow(Some(101)), 2).await, [102, 103]);
        let mut unknown = ring.follow(Some(9_999));
        ring.told(&event(3));
        assert_eq!(numbers(&mut unknown, 1).await, [104]);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_many_were_missed() {
        let ring = Ring::new(0);
        let mut slow = ring.follow(Some(0));
        let many = RING_EVENTS_MAX as u64 + 10;
        (0..many).for_each(|n| ring.told(&event(n)));
        assert!(matches!(slow.next().await, Next::Missed(10)));
        assert_eq!(numbers(&mut slow, 2).await, [11, 12]);
        assert_eq!(ring.figures(), (1, 10));
    }

    async fn numbers(follower: &mut Follower, count: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            if let Next::Event(number, _) = follower.next().await {
                numbers.push(number);
            }
        }
        numbers
    }

    fn event(n: u64) -> Event {
        let what = EventKind::Cue { cue: warmline_core::policy::Cue::Manual, evidence: String::new() };
        Event { call: CallId::new("a"), at: MediaTime(n), what }
    }
}
