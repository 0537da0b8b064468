//! Commands to a live call, one handler each, and the announcement of a call to come.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use crate::{
    api::{
        Console,
        auth::{Auth, Integrator, Requester, Routes},
        problem::{Body, invalid, problem},
    },
    media_in::Role,
    switchboard::{Assumed, Command, Untold},
};
use warmline_core::{
    call::{CallId, Transcript as Words},
    media::Speaker,
    policy::{Notice, PauseOwner, Suspension},
    units::{MediaSpan, MediaTime, Pii, Probability},
    words::{BotEvent as Event, BotReport},
};

type App = State<Arc<Console>>;

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/calls/{id}/transfer", transfer)
        .post("/api/v1/calls/{id}/hold", hold)
        .post("/api/v1/calls/{id}/pause", pause)
        .post("/api/v1/calls/{id}/resume", resume)
        .post("/api/v1/calls/{id}/notice", notice)
        .post("/api/v1/calls/{id}/opt-out", opt_out)
        .post("/api/v1/calls/{id}/dtmf", dtmf)
        .post("/api/v1/calls/{id}/transcript", transcript)
        .post("/api/v1/calls/{id}/bot-event", bot_event)
        .post("/api/v1/audiosocket/{uuid}", announce)
}

/// The body of a command without arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    /// Why somebody sends it: for whoever audits, no part of the decision.
    #[serde(rename = "reason")]
    _reason: Option<String>,
}

async fn transfer(
    auth: Auth<Requester>,
    State(console): App,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(_): Body<Plain>,
) -> Response {
    // Without tokens everybody has both roles: the page's request is then a supervisor's.
    let by_page = console.intake.gate.tokens.is_empty() && is_of_the_page(&headers);
    let command = match auth.role {
        Role::Supervisor => Command::Manual,
        Role::Integrator | Role::Agent | Role::Auditor if by_page => Command::Manual,
        Role::Integrator | Role::Agent | Role::Auditor => Command::ExplicitRequest,
    };
    send(&console, id, [command])
}

async fn hold(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(_): Body<Plain>,
) -> Response {
    send(&console, id, [Command::Suspend(Suspension::Hold)])
}

async fn pause(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(_): Body<Plain>,
) -> Response {
    send(&console, id, [Command::Suspend(Suspension::Pause(PauseOwner::Integrator))])
}

async fn resume(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(_): Body<Plain>,
) -> Response {
    send(
        &console,
        id,
        [Command::Lift(Suspension::Hold), Command::Lift(Suspension::Pause(PauseOwner::Integrator))],
    )
}

async fn opt_out(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(_): Body<Plain>,
) -> Response {
    send(&console, id, [Command::Suspend(Suspension::OptedOut)])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    given: Option<Notice>,
}

async fn notice(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(body): Body<Given>,
) -> Response {
    send(&console, id, [Command::Notice(body.given.unwrap_or(Notice::Notice))])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    key: Option<char>,
}

async fn dtmf(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(body): Body<Key>,
) -> Response {
    match body.key {
        Some(key @ ('0'..='9' | '*' | '#' | 'A'..='D')) => send(&console, id, [Command::Dtmf(key)]),
        Some(_) | None => {
            let detail = "send {\"key\":\"0\"}: one of 0-9, *, #, A-D";
            problem(StatusCode::BAD_REQUEST, "no key", detail)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transcript {
    speaker: Option<Speaker>,
    text: Option<Pii<String>>,
    /// Seconds of media time.
    t: Option<f64>,
    #[serde(rename = "final")]
    is_final: Option<bool>,
}

async fn transcript(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(body): Body<Transcript>,
) -> Response {
    let (Some(speaker), Some(text)) = (body.speaker, body.text) else {
        return invalid(
            "send {\"speaker\":\"caller\",\"text\":\"…\",\"t\":12.5}: caller or agent; t, media seconds, may be missing",
        );
    };
    let is_final = body.is_final.unwrap_or(true);
    let words = Words { speaker, text, is_final, at: body.t.map(media_time) };
    send(&console, id, [Command::Transcript(words)])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BotEvent {
    event: Option<String>,
    intent: Option<String>,
    prompt: Option<String>,
    confidence: Option<Probability>,
    /// Seconds of media time.
    t: Option<f64>,
}

async fn bot_event(
    _: Auth<Integrator>,
    State(console): App,
    Path(id): Path<String>,
    Body(body): Body<BotEvent>,
) -> Response {
    let report = match (body.event.as_deref(), body.confidence) {
        (Some("no_match"), _) => BotReport::NoMatch,
        (Some("no_input"), _) => BotReport::NoInput,
        (Some("low_confidence"), Some(confidence)) => BotReport::LowConfidence(confidence),
        (Some("prompt"), _) if body.prompt.is_some() => BotReport::Prompt,
        (Some("escalation_refused"), _) => BotReport::EscalationRefused,
        _ => {
            return invalid(
                "send {\"event\":\"no_match\"}: or no_input, escalation_refused, low_confidence with a confidence from 0 to 1, prompt with a prompt",
            );
        }
    };
    let event = Event { report, intent: body.intent, prompt: body.prompt };
    send(&console, id, [Command::Bot(event, body.t.map(media_time))])
}

fn media_time(t: f64) -> MediaTime {
    MediaTime::ZERO + MediaSpan::from_seconds(t)
}

/// Sends commands to a call, in order: 202 once its queue has them.
fn send(console: &Console, id: String, commands: impl IntoIterator<Item = Command>) -> Response {
    let id = CallId::new(id);
    let sent = commands.into_iter().try_for_each(|command| console.intake.board.tell(&id, command));
    match sent {
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
    _: Auth<Integrator>,
    State(console): App,
    Path(uuid): Path<String>,
    Body(body): Body<Announcement>,
) -> Response {
    let Some(announced) = &console.announced else {
        let detail = "set media.audiosocket.announced = true to let only announced calls in";
        return problem(StatusCode::CONFLICT, "calls need not be announced", detail);
    };
    let known = console.intake.gate.assumed("audiosocket");
    let assumed = Assumed {
        notice: body.notice.unwrap_or(known.notice),
        queue: body.queue.or(known.queue),
        intent: body.intent.or(known.intent),
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
