//! The HTTP interface: live calls, their events, what may be said about them, metrics. Absent here: decisions, media.

mod events;
mod mask;
mod metrics;
mod openapi;
mod page;
mod policy;
mod session;
mod stats;
mod story;
mod transfers;

use std::{borrow::Cow, convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, Uri},
    middleware::{self, Next},
    response::{
        IntoResponse, Response,
        sse::{Event as Frame, KeepAlive, Sse},
    },
    routing::{get, post},
};
pub use events::{RING_BYTES_MAX, RING_EVENTS_MAX, Ring};
use futures_util::stream;
pub use mask::MASKED_MAX;
use mask::Mask;
pub use policy::{Desk, InForce, POLICIES_MAX, Policies, Tried, TriedCall, TriedSum};
use serde::{Deserialize, Serialize};
use serde_json::json;
pub use session::{
    LOGIN_FAILURES_HELD, LOGIN_FAILURES_MAX, SESSION_FOR, SESSION_IDLE, SESSIONS_MAX, Sessions,
};
pub use story::{STORIES_BYTES_MAX, STORIES_MAX, STORY_EVENTS_MAX, STORY_SCORES_MAX};

use crate::{
    media_in::{Intake, Role, audiosocket::Announced, http::problem, websocket::with_head},
    outbox::Outbox,
    switchboard::{Assumed, Command, Status, Untold},
};
use warmline_core::{
    call::{CallId, Transcript},
    media::Speaker,
    policy::{Notice, PauseOwner, Suspension},
    units::{MediaSpan, MediaTime, Pii, Probability},
    words::{BotEvent, BotReport},
};

/// What the interface speaks for.
pub struct Console {
    /// Where calls come in, and the switchboard behind it.
    pub intake: Arc<Intake>,
    /// The latest events.
    pub ring: Arc<Ring>,
    /// The transfers.
    pub outbox: Arc<Outbox>,
    /// AudioSocket calls that may come, where they must be announced.
    pub announced: Option<Arc<Announced>>,
    /// Who is at the page.
    pub sessions: Sessions,
    /// The policy in force, and those before it.
    pub policies: Policies,
    /// Whether the calls are the bundled ones.
    pub demo: bool,
}

/// The routes of the interface.
pub fn routes(console: Arc<Console>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
        .route("/api/v1/session", get(session::who).post(session::login).delete(session::logout))
        .route("/api/v1/wall", get(wall))
        .route("/api/v1/calls", get(calls))
        .route("/api/v1/calls/{id}/story", get(story))
        .route("/api/v1/calls/{id}", get(call))
        .route("/api/v1/calls/{id}/{what}", post(say))
        .route("/api/v1/audiosocket/{uuid}", post(announce))
        .route("/api/v1/events", get(follow))
        .merge(transfers::routes())
        .merge(stats::routes())
        .merge(openapi::routes())
        .merge(policy::routes())
        .merge(page::routes())
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "no such page", "/openapi.json lists what there is")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&console), masked))
        .layer(middleware::from_fn_with_state(Arc::clone(&console), session::admit))
        .with_state(console)
}

async fn ready(State(console): State<Arc<Console>>) -> Response {
    if console.intake.board.is_draining() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "draining", "no new calls are taken");
    }
    if let Some(why) = console.outbox.ledger().failing() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the ledger is not written", &why);
    }
    "ready\n".into_response()
}

async fn figures(State(console): State<Arc<Console>>, uri: Uri, headers: HeaderMap) -> Response {
    match console.role(&uri, &headers) {
        Ok(_) => ([("content-type", "text/plain; version=0.0.4")], metrics::text(&console)).into_response(),
        Err(refused) => refused,
    }
}

async fn calls(State(console): State<Arc<Console>>, uri: Uri, headers: HeaderMap) -> Response {
    match console.role(&uri, &headers) {
        Ok(_) => Json(json!({ "calls": console.intake.board.calls() })).into_response(),
        Err(refused) => refused,
    }
}

/// Every live call with its latest scores, and the number of the event behind which a page follows.
async fn wall(State(console): State<Arc<Console>>, uri: Uri, headers: HeaderMap) -> Response {
    #[derive(Serialize)]
    struct Line {
        #[serde(flatten)]
        status: Status,
        #[serde(flatten)]
        glance: story::Glance,
    }
    if let Err(refused) = console.role(&uri, &headers) {
        return refused;
    }
    let after = console.ring.latest();
    let calls = console.intake.board.calls();
    let stories = console.ring.stories();
    let line = |status: Status| Line { glance: stories.glance(&status.call), status };
    let calls: Vec<Line> = calls.into_iter().map(line).collect();
    drop(stories);
    Json(json!({ "after": after, "calls": calls })).into_response()
}

/// What a call has said so far, or did before it was over.
async fn story(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let role = match console.role(&uri, &headers) {
        Ok(role) => role,
        Err(refused) => return refused,
    };
    let stories = console.ring.stories();
    let asked = CallId::new(id);
    // Who sees no numbers asks by what stands for one.
    let meant = Mask::of(role)
        .and_then(|_| stories.ids().find(|id| mask::number(id.as_str()).as_deref() == Some(asked.as_str())));
    match stories.told(meant.unwrap_or(&asked)) {
        Some(told) => Json(told).into_response(),
        None => problem(
            StatusCode::NOT_FOUND,
            "no such call",
            "it never was, or is over so long that it is forgotten",
        ),
    }
}

/// Masks what leaves the interface for a role that must not see all of it. The events are masked line by line.
async fn masked(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mask = with_head(request.uri(), request.headers(), |head| console.intake.gate.role(head))
        .and_then(Mask::of)
        .filter(|_| request.uri().path().starts_with("/api/"))
        // An agent reads a packet because they take its caller.
        .filter(|mask| *mask != Mask::Numbers || !request.uri().path().starts_with("/api/v1/packets/"));
    let response = next.run(request).await;
    match mask {
        Some(mask) => mask.response(response).await,
        None => response,
    }
}

async fn call(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match console.role(&uri, &headers) {
        Ok(_) => match console.intake.board.call(&CallId::new(id)) {
            Some(status) => Json(status).into_response(),
            None => problem(StatusCode::NOT_FOUND, "no such call", &Untold::NoCall.to_string()),
        },
        Err(refused) => refused,
    }
}

/// What a command may carry.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    key: Option<char>,
    given: Option<Notice>,
    speaker: Option<Speaker>,
    text: Option<Pii<String>>,
    /// Seconds of media time.
    t: Option<f64>,
    #[serde(rename = "final")]
    is_final: Option<bool>,
    event: Option<String>,
    intent: Option<String>,
    prompt: Option<String>,
    confidence: Option<Probability>,
    /// Why a supervisor asks: for whoever audits, no part of the decision.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

impl Said {
    /// When it was said, if that is told.
    fn at(&self) -> Option<MediaTime> {
        self.t.map(|t| MediaTime::ZERO + MediaSpan::from_seconds(t))
    }

    /// The words, or how to send them.
    fn transcript(self) -> Result<Command, &'static str> {
        let at = self.at();
        match (self.speaker, self.text) {
            (Some(speaker), Some(text)) => {
                let is_final = self.is_final.unwrap_or(true);
                Ok(Command::Transcript(Transcript { speaker, text, is_final, at }))
            }
            _ => Err(
                "send {\"speaker\":\"caller\",\"text\":\"…\",\"t\":12.5}: caller or agent; t, media seconds, may be missing",
            ),
        }
    }

    /// The report, or how to send it.
    fn bot_event(self) -> Result<Command, &'static str> {
        let at = self.at();
        let report = match (self.event.as_deref(), self.confidence) {
            (Some("no_match"), _) => BotReport::NoMatch,
            (Some("no_input"), _) => BotReport::NoInput,
            (Some("low_confidence"), Some(confidence)) => BotReport::LowConfidence(confidence),
            (Some("prompt"), _) if self.prompt.is_some() => BotReport::Prompt,
            (Some("escalation_refused"), _) => BotReport::EscalationRefused,
            _ => {
                return Err(
                    "send {\"event\":\"no_match\"}: or no_input, escalation_refused, low_confidence with a confidence from 0 to 1, prompt with a prompt",
                );
            }
        };
        Ok(Command::Bot(BotEvent { report, intent: self.intent, prompt: self.prompt }, at))
    }
}

async fn say(
    State(console): State<Arc<Console>>,
    Path((id, what)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let role = match console.role(&uri, &headers) {
        // Without tokens everybody is both: what the page asks is a supervisor's word.
        Ok(Role::Integrator)
            if what == "transfer" && console.intake.gate.tokens.is_empty() && is_of_the_page(&headers) =>
        {
            Role::Supervisor
        }
        Ok(role) => role,
        Err(refused) => return refused,
    };
    let said = if body.is_empty() { Ok(Said::default()) } else { serde_json::from_slice(&body) };
    let said: Said = match said {
        Ok(said) => said,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "not as expected", &error.to_string()),
    };
    let command = match (what.as_str(), role) {
        ("transfer", Role::Supervisor) => Command::Manual,
        (_, Role::Supervisor | Role::Agent | Role::Auditor) => {
            return problem(StatusCode::FORBIDDEN, "not allowed", "this token's role may not say this");
        }
        ("transfer", Role::Integrator) => Command::ExplicitRequest,
        ("hold", Role::Integrator) => Command::Suspend(Suspension::Hold),
        ("pause", Role::Integrator) => Command::Suspend(Suspension::Pause(PauseOwner::Integrator)),
        ("resume", Role::Integrator) => Command::Lift(Suspension::Hold),
        ("opt-out", Role::Integrator) => Command::Suspend(Suspension::OptedOut),
        ("notice", Role::Integrator) => Command::Notice(said.given.unwrap_or(Notice::Notice)),
        ("dtmf", Role::Integrator) => match said.key {
            Some(key @ ('0'..='9' | '*' | '#' | 'A'..='D')) => Command::Dtmf(key),
            _ => {
                let detail = "send {\"key\":\"0\"}: one of 0-9, *, #, A-D";
                return problem(StatusCode::BAD_REQUEST, "no key", detail);
            }
        },
        ("transcript" | "bot-event", Role::Integrator) => {
            let told = if what == "transcript" { said.transcript() } else { said.bot_event() };
            match told {
                Ok(command) => command,
                Err(detail) => return problem(StatusCode::BAD_REQUEST, "not as expected", detail),
            }
        }
        _ => {
            let detail =
                "expected transfer, hold, pause, resume, notice, opt-out, dtmf, transcript or bot-event";
            return problem(StatusCode::NOT_FOUND, "no such command", detail);
        }
    };
    let id = CallId::new(id);
    let told = match (what.as_str(), command) {
        ("resume", command) => {
            let board = &console.intake.board;
            board
                .tell(&id, command)
                .and_then(|()| board.tell(&id, Command::Lift(Suspension::Pause(PauseOwner::Integrator))))
        }
        (_, command) => console.intake.board.tell(&id, command),
    };
    match told {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error @ Untold::NoCall) => problem(StatusCode::NOT_FOUND, "no such call", &error.to_string()),
        Err(error @ Untold::Busy) => problem(StatusCode::SERVICE_UNAVAILABLE, "busy", &error.to_string()),
    }
}

/// Whether our own page made this request: a browser says so (Fetch Metadata).
fn is_of_the_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
}

/// What is known of a call that is announced.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Announcement {
    queue: Option<String>,
    intent: Option<String>,
    notice: Option<Notice>,
}

async fn announce(
    State(console): State<Arc<Console>>,
    Path(uuid): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match console.role(&uri, &headers) {
        Ok(Role::Integrator) => {}
        Ok(_) => return problem(StatusCode::FORBIDDEN, "not allowed", "this needs an integrator's token"),
        Err(refused) => return refused,
    }
    let said = if body.is_empty() { Ok(Announcement::default()) } else { serde_json::from_slice(&body) };
    let said = match said {
        Ok(said) => said,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "not as expected", &error.to_string()),
    };
    let Some(announced) = &console.announced else {
        let detail = "set media.audiosocket.announced = true to let only announced calls in";
        return problem(StatusCode::CONFLICT, "calls need not be announced", detail);
    };
    let known = console.intake.gate.assumed("audiosocket");
    let assumed = Assumed {
        notice: said.notice.unwrap_or(known.notice),
        queue: said.queue.or(known.queue),
        intent: said.intent.or(known.intent),
    };
    if announced.announce(&uuid, assumed) {
        return StatusCode::CREATED.into_response();
    }
    problem(
        StatusCode::BAD_REQUEST,
        "not announced",
        "it is no UUID, or too many calls are announced and did not come",
    )
}

/// What a request for the events may ask.
#[derive(Deserialize)]
struct From {
    /// What `Last-Event-ID` says to begin with: a browser sends that header only when it connects again.
    after: Option<u64>,
}

/// Every event from the one after `Last-Event-ID` on, as far as it is still held; else from now on.
async fn follow(
    State(console): State<Arc<Console>>,
    Query(from): Query<From>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mask = match console.role(&uri, &headers) {
        Ok(role) => Mask::of(role),
        Err(refused) => return refused,
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let last = last.or(from.after);
    let follower = console.ring.follow(last);
    let frames = stream::unfold(follower, move |mut follower| async move {
        let frame = match follower.next().await {
            events::Next::Event(id, line) => {
                let line = mask.map_or(Cow::Borrowed(&*line), |mask| mask.line(&line));
                Frame::default().id(id.to_string()).data(&*line)
            }
            events::Next::Missed(count) => {
                Frame::default().event("missed").data(json!({ "missed": count }).to_string())
            }
        };
        Some((Ok::<_, Infallible>(frame), follower))
    });
    Sse::new(frames).keep_alive(KeepAlive::default()).into_response()
}

impl Console {
    /// The role of whoever asks, or the answer to somebody who is nobody.
    #[allow(clippy::result_large_err, reason = "the error is the response that is sent")]
    fn role(&self, uri: &Uri, headers: &HeaderMap) -> Result<Role, Response> {
        with_head(uri, headers, |head| self.intake.gate.role(head)).ok_or_else(|| {
            self.intake.unauthorised("api");
            let detail = "send Authorization: Bearer with a token of [[server.token]]";
            problem(StatusCode::UNAUTHORIZED, "wrong credentials", detail)
        })
    }
}
