//! Figures of what was handed over: how often, how well by the verdicts, how fast, and what another threshold would have meant.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::transfers::{date, unread};
use crate::{
    api::{
        Console,
        auth::{AnyRole, Auth, Routes},
    },
    ledger::{Connection, rfc3339},
    media_in::http::problem,
};
use warmline_core::transfer::UnixMillis;

/// Verdicts on acoustic transfers below which no threshold is advised.
const ADVICE_MIN: usize = 20;

/// The days the figures are about if nothing is said.
const DAYS: u64 = 30;

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/stats", stats)
}

async fn stats(
    _: Auth<AnyRole>,
    State(console): State<Arc<Console>>,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let until = console.outbox.now();
    let since = match asked.get("since").map(|text| date(text)).transpose() {
        Ok(since) => since.unwrap_or(UnixMillis(until.0.saturating_sub(DAYS * 86_400_000))),
        Err(detail) => return problem(StatusCode::BAD_REQUEST, "not as expected", &detail),
    };
    let queue = asked.get("queue").cloned();
    match console.outbox.ledger().read(move |connection| Rows::read(connection, since)).await {
        Ok(rows) => Json(rows.told(since, until, queue.as_deref())).into_response(),
        Err(error) => unread(&error),
    }
}

/// What the figures are made of.
#[derive(Default)]
struct Rows {
    /// Queue, seconds of call, seconds of caller speech.
    calls: Vec<(Option<String>, f64)>,
    transfers: Vec<Transfer>,
    /// Queues of calls that were missed.
    missed: Vec<Option<String>>,
}

struct Transfer {
    queue: Option<String>,
    cue: String,
    probability: Option<f64>,
    verdict: Option<String>,
    /// From the decision to a human, seconds.
    to_human_s: Option<f64>,
}

impl Rows {
    fn read(connection: &Connection, since: UnixMillis) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare_cached("SELECT queue, caller_speech_s FROM calls WHERE ended_at >= ?")?;
        let calls = statement
            .query_map([since.0], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut statement = connection.prepare_cached(
            "SELECT queue, cue, probability, verdict, created_at, connected_at FROM transfers WHERE created_at >= ?",
        )?;
        let transfers = statement
            .query_map([since.0], |row| {
                let (created, connected): (f64, Option<f64>) = (row.get(4)?, row.get(5)?);
                Ok(Transfer {
                    queue: row.get(0)?,
                    cue: row.get(1)?,
                    probability: row.get(2)?,
                    verdict: row.get(3)?,
                    to_human_s: connected.map(|at| (at - created) / 1_000.0),
                })
            })?
            .collect::<Result<_, _>>()?;
        let mut statement = connection.prepare_cached("SELECT queue FROM missed WHERE at >= ?")?;
        let missed = statement.query_map([since.0], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Self { calls, transfers, missed })
    }

    fn told(&self, since: UnixMillis, until: UnixMillis, queue: Option<&str>) -> Value {
        let of = |wanted: &str, own: &Option<String>| own.as_deref() == Some(wanted);
        let mut told = self.figures(&|own| queue.is_none_or(|queue| of(queue, own)));
        let mut queues: Vec<&String> = self.calls.iter().filter_map(|(queue, _)| queue.as_ref()).collect();
        queues.extend(self.transfers.iter().filter_map(|transfer| transfer.queue.as_ref()));
        queues.sort();
        queues.dedup();
        let by_queue: BTreeMap<&String, Value> =
            queues.into_iter().map(|name| (name, self.figures(&|own| of(name, own)))).collect();
        if let Some(map) = told.as_object_mut() {
            map.insert("since".into(), json!(rfc3339(since)));
            map.insert("until".into(), json!(rfc3339(until)));
            if queue.is_none() {
                map.insert("by_queue".into(), json!(by_queue));
            }
        }
        told
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn figures(&self, wanted: &dyn Fn(&Option<String>) -> bool) -> Value {
        let speech: Vec<f64> =
            self.calls.iter().filter(|(queue, _)| wanted(queue)).map(|call| call.1).collect();
        let transfers: Vec<&Transfer> = self.transfers.iter().filter(|t| wanted(&t.queue)).collect();
        let missed = self.missed.iter().filter(|queue| wanted(queue)).count();
        let count =
            |verdict: &str| transfers.iter().filter(|t| t.verdict.as_deref() == Some(verdict)).count();
        let (helpful, unneeded, too_late) = (count("helpful"), count("unneeded"), count("too_late"));
        let judged = helpful + unneeded + too_late;
        let hours = speech.iter().sum::<f64>() / 3_600.0;
        let precision = wilson(helpful + too_late, judged).map(|(low, high)| {
            let value = (helpful + too_late) as f64 / judged as f64;
            json!({ "value": rounded(value), "low": rounded(low), "high": rounded(high), "n": judged })
        });
        let mut waits: Vec<f64> = transfers.iter().filter_map(|t| t.to_human_s).collect();
        waits.sort_by(f64::total_cmp);
        let waits = (!waits.is_empty())
            .then(|| json!({ "p50": rounded(quantile(&waits, 0.5)), "p90": rounded(quantile(&waits, 0.9)) }));
        // Those that were not judged are taken to be as good as those that were.
        let false_alarms = (hours > 0.0 && judged > 0)
            .then(|| rounded(transfers.len() as f64 * unneeded as f64 / judged as f64 / hours));
        let rate = (!speech.is_empty()).then(|| rounded(transfers.len() as f64 / speech.len() as f64));
        json!({
            "calls": speech.len(), "caller_hours": rounded(hours), "transfers": transfers.len(), "escalation_rate": rate,
            "verdicts": { "helpful": helpful, "unneeded": unneeded, "too_late": too_late }, "missed_reported": missed,
            "precision": precision, "time_to_human_s": waits, "false_alarms_per_caller_hour": false_alarms,
            "advice": advice(&transfers),
        })
    }
}

/// The threshold that would have left out the most unneeded transfers and hardly any that were needed.
fn advice(transfers: &[&Transfer]) -> Option<Value> {
    let judged: Vec<(f64, bool)> = transfers
        .iter()
        .filter(|t| t.cue == "frustration")
        .filter_map(|t| Some((t.probability?, t.verdict.as_deref()? == "unneeded")))
        .collect();
    if judged.len() < ADVICE_MIN {
        return None;
    }
    let unneeded = judged.iter().filter(|(_, unneeded)| *unneeded).count();
    let needed = judged.len() - unneeded;
    let below = |threshold: f64| {
        let avoids = judged.iter().filter(|(p, bad)| *bad && *p < threshold).count();
        let misses = judged.iter().filter(|(p, bad)| !*bad && *p < threshold).count();
        (avoids, misses)
    };
    // At most one in twenty of those that were needed is given up.
    let (threshold, avoids, misses) = (50..100)
        .map(|percent| f64::from(percent) / 100.0)
        .map(|threshold| (threshold, below(threshold)))
        .filter(|(_, (avoids, misses))| *avoids > 0 && 20 * misses <= needed)
        .map(|(threshold, (avoids, misses))| (threshold, avoids, misses))
        .max_by(|a, b| a.1.cmp(&b.1).then(b.2.cmp(&a.2)).then(b.0.total_cmp(&a.0)))?;
    let words = format!(
        "frustration.enter = {threshold:.2} would have avoided {avoids} of {unneeded} transfers that were judged unneeded, and missed {misses} of {needed} others"
    );
    Some(json!({
        "threshold": threshold, "avoids": avoids, "of_unneeded": unneeded, "misses": misses, "words": words,
    }))
}

/// The 95 % interval of a share by E. B. Wilson (1927).
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn wilson(hits: usize, of: usize) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_964;
    if of == 0 {
        return None;
    }
    let (n, p) = (of as f64, hits as f64 / of as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some((((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0)))
}

/// Of sorted values the one below which a share of them lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a length is an index"
    )]
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn rounded(value: f64) -> f64 {
    (10_000.0 * value).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611.
        let check = |hits, of, expected: (f64, f64)| {
            let (low, high) = wilson(hits, of).unwrap();
            assert!((low - expected.0).abs() < 1e-4 && (high - expected.1).abs() < 1e-4, "{low} {high}");
        };
        check(81, 263, (0.2553, 0.3662));
        check(0, 20, (0.0, 0.1611));
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn advice_gives_up_at_most_one_in_twenty_that_were_needed() {
        let transfer = |p: f64, verdict: &str| Transfer {
            queue: None,
            cue: "frustration".into(),
            probability: Some(p),
            verdict: Some(verdict.into()),
            to_human_s: None,
        };
        let mut rows: Vec<Transfer> = (0..20).map(|_| transfer(0.9, "helpful")).collect();
        rows.extend((0..6).map(|_| transfer(0.72, "unneeded")));
        rows.push(transfer(0.75, "helpful"));
        let told = advice(&rows.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((told["threshold"].as_f64(), told["avoids"].as_u64()), (Some(0.73), Some(6)));
        assert_eq!(told["misses"], 0);
        assert!(advice(&rows.iter().take(10).collect::<Vec<_>>()).is_none());
    }

    #[test]
    fn figures_are_of_the_queue_that_is_asked_for() {
        let transfer = |queue: &str, verdict: Option<&str>, to_human_s| Transfer {
            queue: Some(queue.into()),
            cue: "explicit_request".into(),
            probability: None,
            verdict: verdict.map(str::to_owned),
            to_human_s,
        };
        let rows = Rows {
            calls: vec![(Some("a".into()), 1_800.0), (Some("b".into()), 1_800.0), (None, 3_600.0)],
            transfers: vec![
                transfer("a", Some("helpful"), Some(10.0)),
                transfer("a", Some("unneeded"), Some(20.0)),
                transfer("b", None, None),
            ],
            missed: vec![Some("b".into())],
        };
        let all = rows.told(UnixMillis(0), UnixMillis(1_000), None);
        assert_eq!((all["calls"].as_u64(), all["transfers"].as_u64()), (Some(3), Some(3)));
        assert_eq!(all["caller_hours"], 2.0);
        assert_eq!(all["precision"]["value"], 0.5);
        assert_eq!(all["by_queue"]["a"]["false_alarms_per_caller_hour"], 2.0);
        assert_eq!(all["by_queue"]["a"]["time_to_human_s"], json!({ "p50": 10.0, "p90": 20.0 }));
        let b = rows.told(UnixMillis(0), UnixMillis(1_000), Some("b"));
        assert_eq!((b["missed_reported"].as_u64(), b["precision"].is_null()), (Some(1), true));
        assert!(b["by_queue"].is_null());
    }
}
