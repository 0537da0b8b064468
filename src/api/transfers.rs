//! Transfers over HTTP: what there are, who takes them, what became of them, whether they were any good; packets and the audit.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Console;
use crate::{
    connectors::Answer,
    ledger::{Filter, LedgerError, Record, Verdict, entries},
    media_in::{Role, http::problem},
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

pub(super) fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/api/v1/transfers", get(list))
        .route("/api/v1/transfers/{id}", get(one))
        .route("/api/v1/transfers/{id}/claim", post(claim))
        .route("/api/v1/transfers/{id}/outcome", post(outcome))
        .route("/api/v1/transfers/{id}/verdict", post(verdict))
        .route("/api/v1/calls/{id}/dismiss", post(dismiss))
        .route("/api/v1/packets/{id}", get(packet))
        .route("/api/v1/missed", post(missed))
        .route("/api/v1/capacity", post(capacity))
        .route("/api/v1/audit", get(audit))
}

async fn list(
    State(console): House,
    Query(asked): Query<BTreeMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = console.role(&uri, &headers) {
        return refused;
    }
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

async fn one(State(console): House, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    if let Err(refused) = console.role(&uri, &headers) {
        return refused;
    }
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
    State(console): House,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (role, said) = match console.said::<Claim>(&uri, &headers, &body, &[Role::Agent, Role::Supervisor]) {
        Ok(said) => said,
        Err(refused) => return refused,
    };
    let who = said.by.map_or_else(|| role.name().to_owned(), |by| short(&by, NAME_MAX));
    answer(console.outbox.request(&id, Request::Claim, &who).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidOutcome {
    outcome: Stands,
    reason: Option<String>,
}

async fn outcome(
    State(console): House,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let roles = [Role::Integrator, Role::Agent, Role::Supervisor];
    let (role, said) = match console.said::<SaidOutcome>(&uri, &headers, &body, &roles) {
        Ok(said) => said,
        Err(refused) => return refused,
    };
    let reason = said.reason.map(|reason| short(&reason, WORDS_MAX)).unwrap_or_default();
    let told = match said.outcome {
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
    answer(console.outbox.request(&id, Request::Outcome(told), role.name()).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidVerdict {
    verdict: Verdict,
    note: Option<String>,
    by: Option<String>,
}

async fn verdict(
    State(console): House,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (role, said) =
        match console.said::<SaidVerdict>(&uri, &headers, &body, &[Role::Agent, Role::Supervisor]) {
            Ok(said) => said,
            Err(refused) => return refused,
        };
    let note = said.note.map(|note| short(&note, WORDS_MAX));
    let who = said.by.map_or_else(|| role.name().to_owned(), |by| short(&by, NAME_MAX));
    answer(console.outbox.request(&id, Request::Verdict(said.verdict, note), &who).await)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
}

/// The call's transfer is called back; without one, the voice alone asks for none until the cool-down is over.
async fn dismiss(
    State(console): House,
    Path(call): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (role, said) = match console.said::<Reason>(&uri, &headers, &body, &[Role::Supervisor]) {
        Ok(said) => said,
        Err(refused) => return refused,
    };
    let reason = said.reason.map(|reason| short(&reason, WORDS_MAX)).unwrap_or_default();
    if let Some(id) = console.outbox.of_call(&call) {
        return answer(console.outbox.request(&id, Request::Dismiss(reason), role.name()).await);
    }
    match console.intake.board.tell(&CallId::new(call.clone()), Command::Outcome(Outcome::CameToNothing)) {
        Ok(()) => {
            console.outbox.audit("dismissed", role.name(), Some(&call), json!({ "reason": reason }));
            StatusCode::ACCEPTED.into_response()
        }
        Err(error @ Untold::NoCall) => problem(StatusCode::NOT_FOUND, "no such call", &error.to_string()),
        Err(error @ Untold::Busy) => problem(StatusCode::SERVICE_UNAVAILABLE, "busy", &error.to_string()),
    }
}

async fn packet(State(console): House, Path(id): Path<String>, uri: Uri, headers: HeaderMap) -> Response {
    match console.role(&uri, &headers) {
        Ok(Role::Auditor) => return forbidden(&[Role::Integrator, Role::Agent, Role::Supervisor]),
        Ok(Role::Integrator | Role::Agent | Role::Supervisor) => {}
        Err(refused) => return refused,
    }
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

async fn missed(State(console): House, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let roles = [Role::Integrator, Role::Agent, Role::Supervisor];
    let (role, said) = match console.said::<Missed>(&uri, &headers, &body, &roles) {
        Ok(said) => said,
        Err(refused) => return refused,
    };
    if said.call.is_empty() || said.call.len() > 256 || said.t.is_some_and(|t| !(0.0..1e6).contains(&t)) {
        let detail = "expected call, an id of 1 to 256 bytes, and t, seconds of its media time";
        return problem(StatusCode::BAD_REQUEST, "not as expected", detail);
    }
    let note = said.note.map(|note| short(&note, WORDS_MAX));
    match console.outbox.missed(&said.call, said.t, note, role.name()).await {
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

async fn capacity(State(console): House, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let roles = [Role::Integrator, Role::Supervisor];
    let (role, said) = match console.said::<Capacity>(&uri, &headers, &body, &roles) {
        Ok(said) => said,
        Err(refused) => return refused,
    };
    match console.outbox.set_free(said.queue, said.free, role.name()) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(refusal) => answer(Err(refusal)),
    }
}

async fn audit(
    State(console): House,
    Query(asked): Query<BTreeMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = console.allowed(&uri, &headers, &[Role::Auditor]) {
        return refused;
    }
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

impl Console {
    /// What somebody of one of these roles says.
    #[allow(clippy::result_large_err, reason = "the error is the response that is sent")]
    fn said<T: DeserializeOwned>(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        body: &Bytes,
        roles: &[Role],
    ) -> Result<(Role, T), Response> {
        let role = self.allowed(uri, headers, roles)?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { body };
        let said = serde_json::from_slice(body)
            .map_err(|error| problem(StatusCode::BAD_REQUEST, "not as expected", &error.to_string()))?;
        Ok((role, said))
    }

    /// The role of whoever asks, if it is one of these. Without tokens everybody on this machine may do everything.
    #[allow(clippy::result_large_err, reason = "the error is the response that is sent")]
    pub(super) fn allowed(&self, uri: &Uri, headers: &HeaderMap, roles: &[Role]) -> Result<Role, Response> {
        let role = self.role(uri, headers)?;
        if self.intake.gate.tokens.is_empty() || roles.contains(&role) {
            Ok(role)
        } else {
            Err(forbidden(roles))
        }
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

fn forbidden(roles: &[Role]) -> Response {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    let detail = format!("this needs a token of one of these roles: {}", names.join(", "));
    problem(StatusCode::FORBIDDEN, "not allowed", &detail)
}

fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
