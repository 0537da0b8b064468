//! The policy over HTTP: what is in force and since when, what another would have done, how one goes back. Absent here: files, models.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{OffsetDateTime, serde::rfc3339};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::api::{
    Console,
    auth::{AnyRole, Auth, Routes, Supervisor},
    problem::{Body, problem},
};
use warmline_core::policy::Policy;

/// Policies that are remembered; beyond, the oldest is forgotten.
pub const POLICIES_MAX: usize = 200;

/// How long a request waits for recordings to be replayed; then it is told to come again (503), and they go on.
const TRY_FOR: Duration = Duration::from_secs(8);

/// A policy that is or was in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InForce {
    /// What it calls itself.
    pub version: String,
    /// SHA-256 of its source, hexadecimal.
    pub sha256: String,
    /// TOML.
    pub source: String,
    /// Since when.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
    /// Who put it in force.
    pub by: String,
}

/// One recorded call under two policies.
#[derive(Clone, Debug, Serialize)]
pub struct TriedCall {
    /// The recording.
    pub name: String,
    /// How long it is, seconds.
    pub duration_s: f64,
    /// `escalate` or `calm`, where somebody has said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'static str>,
    /// From when on a transfer is wanted, media seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onset_s: Option<f64>,
    /// Transfers under the policy in force, media seconds.
    pub before: Vec<f64>,
    /// Under the one that is tried.
    pub after: Vec<f64>,
}

/// What a policy does on the recorded calls together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TriedSum {
    /// Transfers.
    pub transfers: usize,
    /// Calls with at least one.
    pub calls_transferred: usize,
    /// Of the calls labelled so, those with a transfer after the onset.
    pub found: usize,
    /// Those without.
    pub missed: usize,
    /// Transfers before the onset, or in a call labelled calm.
    pub false_alarms: usize,
}

/// What a policy would have done.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// What it calls itself.
    pub version: String,
    /// The recorded calls.
    pub calls: Vec<TriedCall>,
    /// Under the policy in force.
    pub before: TriedSum,
    /// Under the one that is tried.
    pub after: TriedSum,
    /// Hours of caller speech.
    pub caller_hours: f64,
}

/// What the interface cannot do itself: it has neither files nor models.
pub trait Desk: Send + Sync {
    /// Puts a policy in force for new calls, and keeps it. Whoever audits is told here.
    ///
    /// # Errors
    /// Why it was not, in a sentence; then the old one holds.
    fn put(&self, policy: &Policy, entry: &InForce) -> Result<(), String>;

    /// Decides recorded calls anew under two policies. May take minutes; runs on a thread of its own, one at a time.
    ///
    /// # Errors
    /// Why it cannot, in a sentence.
    fn tried(&self, before: &Policy, after: &Policy) -> Result<Tried, String>;
}

/// The policy in force, and those before it.
pub struct Policies {
    held: Mutex<VecDeque<InForce>>,
    desk: Arc<dyn Desk>,
    one: Arc<Semaphore>,
}

impl Policies {
    /// Of those that were in force, oldest first; the last is.
    pub fn new(all: impl IntoIterator<Item = InForce>, desk: Arc<dyn Desk>) -> Self {
        let mut held: VecDeque<InForce> = all.into_iter().collect();
        while held.len() > POLICIES_MAX {
            held.pop_front();
        }
        Self { held: Mutex::new(held), desk, one: Arc::new(Semaphore::new(1)) }
    }

    /// Another is in force, by whoever changed the file.
    pub fn changed(&self, entry: InForce) {
        let mut held = self.lock();
        held.push_back(entry);
        if held.len() > POLICIES_MAX {
            held.pop_front();
        }
    }

    /// What is in force.
    pub fn now(&self) -> Option<InForce> {
        self.lock().back().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<InForce>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes of the policy.
pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/policy", now)
        .post("/api/v1/policy", put)
        .post("/api/v1/policy/try", try_it)
        .get("/api/v1/policy/history", history)
        .post("/api/v1/policy/revert", revert)
}

async fn now(_: Auth<AnyRole>, State(console): State<Arc<Console>>) -> Response {
    match console.policies.now() {
        Some(entry) => Json(entry).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no policy", "none is in force"),
    }
}

async fn history(_: Auth<AnyRole>, State(console): State<Arc<Console>>) -> Response {
    let newest_first: Vec<InForce> = console.policies.lock().iter().rev().cloned().collect();
    Json(json!({ "policies": newest_first })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    sha256: String,
}

async fn put(
    _: Auth<Supervisor>,
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    Body(body): Body<Source>,
) -> Response {
    in_force(&console, &headers, body.source).await
}

async fn revert(
    _: Auth<Supervisor>,
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    Body(body): Body<Wanted>,
) -> Response {
    let wanted = body;
    let found = console.policies.lock().iter().rev().find(|entry| entry.sha256 == wanted.sha256).cloned();
    match found {
        Some(entry) => in_force(&console, &headers, entry.source).await,
        None => problem(StatusCode::NOT_FOUND, "no such policy", "none of this SHA-256 was in force"),
    }
}

async fn in_force(console: &Arc<Console>, headers: &HeaderMap, source: String) -> Response {
    let policy = match Policy::parse(&source) {
        Ok(policy) => policy,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "no policy", &error.to_string()),
    };
    if console.policies.now().is_some_and(|now| now.sha256 == policy.sha256()) {
        return problem(StatusCode::CONFLICT, "nothing to do", "this very policy is in force");
    }
    let entry = InForce {
        version: policy.version().to_owned(),
        sha256: policy.sha256().to_owned(),
        source,
        since: crate::api::story::now(),
        by: console.who(headers),
    };
    let (desk, told) = (Arc::clone(&console.policies.desk), entry.clone());
    match spawn_blocking(move || desk.put(&policy, &told)).await {
        Ok(Ok(())) => {
            tracing::info!(version = entry.version, sha256 = entry.sha256, "policy in force");
            console.policies.changed(entry.clone());
            Json(entry).into_response()
        }
        Ok(Err(why)) => problem(StatusCode::SERVICE_UNAVAILABLE, "not in force", &why),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "not in force", "the old policy holds"),
    }
}

async fn try_it(
    _: Auth<Supervisor>,
    State(console): State<Arc<Console>>,
    Body(body): Body<Source>,
) -> Response {
    let source = body.source;
    let after = match Policy::parse(&source) {
        Ok(policy) => policy,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "no policy", &error.to_string()),
    };
    let before = console.policies.now().and_then(|now| Policy::parse(&now.source).ok()).unwrap_or_default();
    let Ok(permit) = Arc::clone(&console.policies.one).try_acquire_owned() else {
        return again("another policy is being tried: one at a time");
    };
    let desk = Arc::clone(&console.policies.desk);
    let trying = spawn_blocking(move || {
        let tried = desk.tried(&before, &after);
        drop(permit);
        tried
    });
    match timeout(TRY_FOR, trying).await {
        Ok(Ok(Ok(tried))) => Json(tried).into_response(),
        Ok(Ok(Err(why))) => problem(StatusCode::CONFLICT, "nothing to try it on", &why),
        Ok(Err(_)) => {
            problem(StatusCode::INTERNAL_SERVER_ERROR, "not tried", "the recordings could not be replayed")
        }
        Err(_) => again("the recordings are being replayed, and what is heard is kept: try again"),
    }
}

fn again(why: &str) -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "not yet", why);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("3"));
    response
}
