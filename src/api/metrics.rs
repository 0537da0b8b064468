//! What is counted, as Prometheus reads it (text exposition format 0.0.4).

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use super::Console;
use crate::outbox::DELAYS_MS;

/// Every figure.
pub(super) fn text(console: &Console) -> String {
    let board = &console.intake.board;
    let (ours, theirs) = (board.counts(), &console.intake.counts);
    let (followers, missed) = console.ring.figures();
    let mut page = Page::default();
    page.gauge("calls_live", "Calls that are live.", board.live());
    page.gauge("draining", "1 while no new calls are taken.", u8::from(board.is_draining()));
    for (name, help, count) in [
        ("calls_total", "Calls taken.", &ours.calls),
        ("streams_joined_total", "Further streams of a call that was there.", &ours.joined),
        ("packets_total", "Payloads taken.", &ours.packets),
        ("packets_dropped_total", "Payloads dropped because their call's queue was full.", &ours.dropped),
        ("packets_undecoded_total", "Payloads that could not be decoded.", &ours.undecoded),
        ("words_dropped_total", "Keys, pauses and commands dropped because too many waited.", &ours.unheard),
        ("events_total", "Events told.", &ours.events),
        ("actions_total", "Actions asked for.", &ours.actions),
        ("scores_total", "Windows scored.", &ours.scores),
        ("score_batches_total", "Batches they were scored in.", &ours.batches),
        ("late_turns_total", "Turns of a shard that took longer than 250 ms.", &ours.late_turns),
        ("late_scores_total", "Scores not made because their call had waited in vain.", &ours.late_scores),
        ("calls_failed_total", "Calls that were ended because something in them failed.", &ours.failed),
        ("connections_total", "Connections accepted.", &theirs.connections),
        ("connections_turned_away_total", "Connections beyond limits.connections.", &theirs.turned_away),
        ("connections_silent_total", "Connections closed because nothing came.", &theirs.silent),
    ] {
        page.counter(name, help, count.load(Ordering::Relaxed));
    }
    page.gauge("event_followers", "Who follows the events.", followers);
    page.counter("events_missed_total", "Events that followers were too slow for.", missed);
    page.labelled("calls_refused_total", "Calls refused.", "reason", &ours.refused);
    page.labelled("unauthorised_total", "Wrong credentials.", "protocol", &theirs.unauthorised);
    page.labelled(
        "malformed_total",
        "Streams that were not what they should be.",
        "protocol",
        &theirs.malformed,
    );
    handoff(&mut page, console);
    page.head("shard_calls", "gauge", "Calls on a shard.");
    let shards = board.shards();
    for (n, load) in shards.iter().enumerate() {
        page.line("shard_calls", &format!("{{shard=\"{n}\"}}"), load.calls);
    }
    page.head("shard_turn_microseconds", "gauge", "How long a shard's last turn took.");
    for (n, load) in shards.iter().enumerate() {
        page.line("shard_turn_microseconds", &format!("{{shard=\"{n}\"}}"), load.turn_us);
    }
    page.head("shard_behind_microseconds", "gauge", "How long the oldest score still to be made has waited.");
    for (n, load) in shards.iter().enumerate() {
        page.line("shard_behind_microseconds", &format!("{{shard=\"{n}\"}}"), load.behind_us);
    }
    page.0
}

/// Transfers and the ledger.
fn handoff(page: &mut Page, console: &Console) {
    let (outbox, ledger) = (&console.outbox, console.outbox.ledger());
    let (under_way, waiting) = outbox.figures();
    page.gauge("transfers_under_way", "Transfers that are not over.", under_way);
    page.gauge("transfers_waiting", "Transfers that wait for a human.", waiting);
    page.labelled("transfers_ended_total", "Transfers that are over.", "state", &outbox.counts().ended);
    page.head("handoff_attempts_total", "counter", "Attempts that came to something.");
    let attempts = outbox.counts().attempts.lock().unwrap_or_else(PoisonError::into_inner);
    for ((connector, outcome), count) in attempts.iter() {
        let labels = format!("{{connector=\"{}\",outcome=\"{outcome}\"}}", connector.escape_default());
        page.line("handoff_attempts_total", &labels, count);
    }
    drop(attempts);
    page.head("handoff_delay_seconds", "histogram", "From a decision to its first attempt.");
    let mut below = 0;
    for (n, count) in outbox.counts().delays.iter().enumerate() {
        below += count.load(Ordering::Relaxed);
        let end = DELAYS_MS
            .get(n)
            .map_or("+Inf".into(), |millis| format!("{}.{:03}", millis / 1_000, millis % 1_000));
        page.line("handoff_delay_seconds_bucket", &format!("{{le=\"{end}\"}}"), below);
    }
    let micros = outbox.counts().delay_us.load(Ordering::Relaxed);
    page.line("handoff_delay_seconds_sum", "", format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
    page.line("handoff_delay_seconds_count", "", below);
    for (name, help, count) in [
        (
            "transfers_repeated_total",
            "Decisions of a call whose transfer was under way.",
            &outbox.counts().repeated,
        ),
        ("handoff_unwritten_total", "Steps acted on before the ledger had them.", &outbox.counts().unwritten),
        (
            "ended_calls_dropped_total",
            "Ends of calls dropped because too much waited.",
            &outbox.counts().dropped,
        ),
        ("ledger_written_total", "Changes written to the ledger.", &ledger.counts().written),
        ("ledger_commits_total", "Transactions they were written in.", &ledger.counts().commits),
        ("ledger_failed_total", "Transactions that failed.", &ledger.counts().failed),
        ("ledger_lost_total", "Changes given up.", &ledger.counts().lost),
    ] {
        page.counter(name, help, count.load(Ordering::Relaxed));
    }
    page.gauge(
        "ledger_waiting",
        "Changes that wait to be written.",
        ledger.counts().waiting.load(Ordering::Relaxed),
    );
    page.gauge(
        "ledger_failing",
        "1 while the ledger cannot be written.",
        u8::from(ledger.failing().is_some()),
    );
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, "", value);
    }

    fn labelled<K: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: &Mutex<BTreeMap<K, u64>>,
    ) {
        self.head(name, "counter", help);
        for (value, count) in counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let value = value.to_string();
            self.line(name, &format!("{{{label}=\"{}\"}}", value.escape_default()), count);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP warmline_{name} {help}\n# TYPE warmline_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "warmline_{name}{labels} {value}");
    }
}
