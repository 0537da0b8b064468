//! Transfers over HTTP: what there are, who takes them, what became of them, whether they were any good; packets and the audit.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    api::{
        Console,
        auth::{AnyRole, Auditor, Auth, Human, Operator, Requester, Routes, Supervisor},
        problem::Body,
    },
    connectors::Answer,
    ledger::{Filter, LedgerError, Record, Verdict, entries},
    media_in::http::problem,
    outbox::{Refusal, Request},
    switchboard::{Command, Untold},
};
use warmline_core::{
    call::CallId,
    policy::Outcome,
    transfer::{State as Stands, UnixMillis},
};

/// Transfers in one answer, if nothing is said, and at the most.
const LIST: (u32, u32) = (100, 1_000);

/// Entries of the audit in one answer, likewise.
const ENTRIES: (u64, u64) = (100, 1_000);

/// The longest words that are kept of anybody, characters.
const WORDS_MAX: usize = 1_000;

/// The longest name of a person, characters.
const NAME_MAX: usize = 100;

type House = State<Arc<Console>>;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/transfers", list)
        .get("/api/v1/transfers/{id}", one)
        .post("/api/v1/transfers/{id}/claim", claim)
        .post("/api/v1/transfers/{id}/outcome", outcome)
        .post("/api/v1/transfers/{id}/verdict", verdict)
        .post("/api/v1/calls/{id}/dismiss", dismiss)
        .get("/api/v1/packets/{id}", packet)
        .post("/api/v1/missed", missed)
        .post("/api/v1/capacity", capacity)
        .get("/api/v1/audit", audit)
}

async fn list(
    _: Auth<AnyRole>,
    State(console): House,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let filter = match filter(&asked) {
        Ok(filter) => filter,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, "not as expected", &detail),
    };
    // What is under way is newer in memory than in the ledger, and all there is of it while that cannot be written.
    let matches = |record: &Record| {
        filter.state.as_deref().is_none_or(|state| record.life.state().name() == state)
            && filter.since.is_none_or(|since| record.created_at >= since)
            && (filter.queue.is_none() || filter.queue == record.queue)
    };
    let under_way = console.outbox.under_way();
    let wanted = filter.clone();
    let kept = console.outbox.ledger().read(move |connection| Record::list(connection, &wanted)).await;
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) => return unread(&error),
    };
    let is_under_way = |id: &str| under_way.iter().any(|record| record.life.id() == id);
    let mut records: Vec<Record> =
        kept.into_iter().filter(|record| !is_under_way(record.life.id())).collect();
    records.extend(under_way.iter().filter(|record| matches(record)).cloned());
    records.sort_by(|a, b| (b.created_at, a.life.id()).cmp(&(a.created_at, b.life.id())));
    records.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    let told: Vec<Value> = records.iter().map(|record| console.outbox.view(record)).collect();
    Json(json!({ "transfers": told })).into_response()
}

fn filter(asked: &BTreeMap<String, String>) -> Result<Filter, String> {
    let mut filter = Filter { limit: LIST.0, ..Filter::default() };
    for (name, value) in asked {
        match name.as_str() {
            "state" => {
                let known: Result<Stands, _> = serde_json::from_value(json!(value));
                known.map_err(|error| format!("state: {error}"))?;
                filter.state = Some(value.clone());
            }
            "since" => filter.since = Some(date(value)?),
            "queue" => filter.queue = Some(value.clone()),
            "limit" => {
                let limit: u32 =
                    value.parse().map_err(|_| format!("limit is {value:?}: expected a number"))?;
                filter.limit = limit.clamp(1, LIST.1);
            }
            _ => return Err(format!("{name} is not known: expected state, since, queue or limit")),
        }
    }
    Ok(filter)
}

/// A date of RFC 3339.
pub(super) fn date(text: &str) -> Result<UnixMillis, String> {
    let date = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("{text:?} is no date: expected one such as 2026-11-22T10:00:00Z"))?;
    let millis = date.unix_timestamp_nanos() / 1_000_000;
    Ok(UnixMillis(u64::try_from(millis).unwrap_or(0)))
}

async fn one(_: Auth<AnyRole>, State(console): House, Path(id): Path<String>) -> Response {
    if let Some(told) = console.outbox.transfer(&id) {
        return Json(told).into_response();
    }
    match console.outbox.ledger().read(move |connection| Record::find(connection, &id)).await {
        Ok(Some(record)) => Json(console.outbox.view(&record)).into_response(),
        Ok(None) => no_transfer(),
        Err(error) => unread(&error),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    by: Option<String>,
}

async fn claim(
    auth: Auth<Human>,
    State(console): House,
    Path(id): Path<String>,
    Body(body): Body<Claim>,
) -> Response {
    let who = body.by.map_or_else(|| auth.role.name().to_owned(), |by| short(&by, NAME_MAX));
    answer(console.outbox.request(&id, Request::Claim, &who).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidOutcome {
    outcome: Stands,
    reason: Option<String>,
}

async fn outcome(
    auth: Auth<Operator>,
    State(console): House,
    Path(id): Path<String>,
    Body(body): Body<SaidOutcome>,
) -> Response {
    let reason = body.reason.map(|reason| short(&reason, WORDS_MAX)).unwrap_or_default();
    let told = match body.outcome {
        Stands::Accepted => Answer::Accepted,
        Stands::Ringing => Answer::Ringing,
        Stands::Connected => Answer::Connected,
        Stands::Declined => Answer::Declined(reason),
        Stands::NoAnswer => Answer::NoAnswer,
        Stands::Busy => Answer::Busy,
        Stands::Voicemail => Answer::Voicemail,
        Stands::CallerGone => Answer::CallerGone,
        Stands::Waiting | Stands::Offered | Stands::Failed | Stands::Expired | Stands::Dismissed => {
            let detail =
                "expected accepted, ringing, connected, declined, no_answer, busy, voicemail or caller_gone";
            return problem(StatusCode::BAD_REQUEST, "no outcome", detail);
        }
    };
    answer(console.outbox.request(&id, Request::Outcome(told), auth.role.name()).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidVerdict {
    verdict: Verdict,
    note: Option<String>,
    by: Option<String>,
}

async fn verdict(
    auth: Auth<Human>,
    State(console): House,
    Path(id): Path<String>,
    Body(body): Body<SaidVerdict>,
) -> Response {
    let note = body.note.map(|note| short(&note, WORDS_MAX));
    let who = body.by.map_or_else(|| auth.role.name().to_owned(), |by| short(&by, NAME_MAX));
    answer(console.outbox.request(&id, Request::Verdict(body.verdict, note), &who).await)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
}

/// The call's transfer is called back; without one, the voice alone asks for none until the cool-down is over.
async fn dismiss(
    auth: Auth<Supervisor>,
    State(console): House,
    Path(call): Path<String>,
    Body(body): Body<Reason>,
) -> Response {
    let reason = body.reason.map(|reason| short(&reason, WORDS_MAX)).unwrap_or_default();
    if let Some(id) = console.outbox.of_call(&call) {
        return answer(console.outbox.request(&id, Request::Dismiss(reason), auth.role.name()).await);
    }
    match console.intake.board.tell(&CallId::new(call.clone()), Command::Outcome(Outcome::CameToNothing)) {
        Ok(()) => {
            console.outbox.audit("dismissed", auth.role.name(), Some(&call), json!({ "reason": reason }));
            StatusCode::ACCEPTED.into_response()
        }
        Err(error @ Untold::NoCall) => problem(StatusCode::NOT_FOUND, "no such call", &error.to_string()),
        Err(error @ Untold::Busy) => problem(StatusCode::SERVICE_UNAVAILABLE, "busy", &error.to_string()),
    }
}

async fn packet(_: Auth<Operator>, State(console): House, Path(id): Path<String>) -> Response {
    if let Some(packet) = console.outbox.packet(&id) {
        return Json(&*packet).into_response();
    }
    match console.outbox.ledger().read(move |connection| Record::packet(connection, &id)).await {
        Ok(Some(packet)) => ([("content-type", "application/json")], packet).into_response(),
        Ok(None) => no_transfer(),
        Err(error) => unread(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Missed {
    call: String,
    t: Option<f64>,
    note: Option<String>,
}

async fn missed(auth: Auth<Operator>, State(console): House, Body(body): Body<Missed>) -> Response {
    if body.call.is_empty() || body.call.len() > 256 || body.t.is_some_and(|t| !(0.0..1e6).contains(&t)) {
        let detail = "expected call, an id of 1 to 256 bytes, and t, seconds of its media time";
        return problem(StatusCode::BAD_REQUEST, "not as expected", detail);
    }
    let note = body.note.map(|note| short(&note, WORDS_MAX));
    match console.outbox.missed(&body.call, body.t, note, auth.role.name()).await {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(error) => unread(&error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capacity {
    free: u32,
    queue: Option<String>,
}

async fn capacity(auth: Auth<Requester>, State(console): House, Body(body): Body<Capacity>) -> Response {
    match console.outbox.set_free(body.queue, body.free, auth.role.name()) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(refusal) => answer(Err(refusal)),
    }
}

async fn audit(
    _: Auth<Auditor>,
    State(console): House,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let number = |name: &str, otherwise: u64| match asked.get(name) {
        None => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| format!("{name} is {text:?}: expected a number")),
    };
    let (after, limit) = match (number("after", 0), number("limit", ENTRIES.0)) {
        // SQLite's integers are signed.
        (Ok(after), Ok(limit)) => (after.min(u64::MAX / 2), limit.clamp(1, ENTRIES.1)),
        (Err(detail), _) | (_, Err(detail)) => {
            return problem(StatusCode::BAD_REQUEST, "not as expected", &detail);
        }
    };
    match console.outbox.ledger().read(move |connection| entries(connection, after, limit)).await {
        Ok(entries) => Json(json!({ "entries": entries })).into_response(),
        Err(error) => unread(&error),
    }
}

fn answer(done: Result<Value, Refusal>) -> Response {
    match done {
        Ok(told) => Json(told).into_response(),
        Err(Refusal::NoTransfer) => no_transfer(),
        Err(error @ Refusal::Conflict(_)) => problem(StatusCode::CONFLICT, "not now", &error.to_string()),
        Err(error @ Refusal::Busy) => problem(StatusCode::SERVICE_UNAVAILABLE, "busy", &error.to_string()),
        Err(Refusal::Ledger(error)) => unread(&error),
    }
}

fn no_transfer() -> Response {
    problem(StatusCode::NOT_FOUND, "no such transfer", &Refusal::NoTransfer.to_string())
}

pub(super) fn unread(error: &LedgerError) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the ledger", &error.to_string())
}

fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
