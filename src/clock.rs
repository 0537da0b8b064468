//! The date, for what outlives the program or is signed. The rest of the server receives a [`Clock`]; only this file reads the
//! system's time.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::Instant;
use warmline_core::transfer::UnixMillis;

/// Gives the date.
pub trait Clock: Send + Sync {
    /// Now, as Unix time.
    fn now(&self) -> UnixMillis;
}

/// The system's time. It can leap when the system's time is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the system's time")]
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A time that never leaps: a date, advanced by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    start: UnixMillis,
    since: Instant,
}

impl SteadyClock {
    /// A clock that shows `start` now.
    pub fn starting_at(start: UnixMillis) -> Self {
        Self { start, since: Instant::now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> UnixMillis {
        self.start.after(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// A date as RFC 3339 writes it, to the millisecond.
pub fn rfc3339(at: UnixMillis) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_is_written_in_utc_to_the_millisecond() {
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UnixMillis(1_735_689_600_250)), "2025-01-01T00:00:00.25Z");
    }

    #[test]
    fn the_systems_clock_shows_this_century() {
        let (begin, end) = (UnixMillis(1_735_689_600_000), UnixMillis(4_102_444_800_000));
        assert!((begin..end).contains(&SystemClock.now()));
    }

    #[test]
    fn a_steady_clock_starts_at_its_date_and_never_goes_back() {
        let clock = SteadyClock { start: UnixMillis(7), since: Instant::now() - Duration::from_secs(2) };
        assert!(clock.now() >= UnixMillis(2_007) && clock.now() < UnixMillis(60_007));
        let (first, second) = (clock.now(), clock.now());
        assert!(second >= first);
    }
}
