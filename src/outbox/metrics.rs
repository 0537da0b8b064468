//! What the outbox counts.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::lock;

/// Upper bounds of the buckets for the time between a decision and its first attempt, milliseconds.
pub const DELAYS_MS: [u64; 8] = [2, 5, 10, 20, 50, 100, 500, 2_000];

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Finished attempts and alerts, by connector and outcome.
    pub attempts: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// Finished transfers, by state.
    pub ended: Mutex<BTreeMap<&'static str, u64>>,
    /// Steps performed although the ledger could not be written.
    pub unwritten: AtomicU64,
    /// Ended calls dropped because [`super::MESSAGES_MAX`] messages waited.
    pub dropped: AtomicU64,
    /// Decisions for a call whose transfer was already in progress.
    pub repeated: AtomicU64,
    /// First attempts by their delay after the decision; the last bucket counts those beyond [`DELAYS_MS`].
    pub delays: [AtomicU64; DELAYS_MS.len() + 1],
    /// Sum of those delays, microseconds.
    pub delay_us: AtomicU64,
}

impl Counts {
    pub(super) fn attempt(&self, connector: &str, outcome: &'static str) {
        *lock(&self.attempts).entry((connector.to_owned(), outcome)).or_default() += 1;
    }

    pub(super) fn end(&self, state: &'static str) {
        *lock(&self.ended).entry(state).or_default() += 1;
    }

    pub(super) fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let bucket = DELAYS_MS.iter().position(|end| millis < *end).unwrap_or(DELAYS_MS.len());
        if let Some(count) = self.delays.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.delay_us.fetch_add(u64::try_from(delay.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_falls_into_the_first_bucket_that_is_larger() {
        let check = |micros: u64, bucket: usize| {
            let counts = Counts::default();
            counts.delay(Duration::from_micros(micros));
            let found: Vec<u64> = counts.delays.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            assert_eq!(found.iter().position(|count| *count == 1), Some(bucket), "{micros} µs");
            assert_eq!(counts.delay_us.load(Ordering::Relaxed), micros);
        };
        check(0, 0);
        check(1_999, 0);
        check(2_000, 1);
        check(499_999, 6);
        check(1_999_999, 7);
        check(2_000_000, 8);
    }
}
