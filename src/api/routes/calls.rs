//! Live calls: their status, the wall, a call's story.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    api::{
        Console,
        auth::{AnyRole, Auth, Routes},
        mask::{self, Mask},
        problem::problem,
        story,
    },
    switchboard::{Status, Untold},
};
use warmline_core::call::CallId;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/wall", wall)
        .get("/api/v1/calls", list)
        .get("/api/v1/calls/{id}", one)
        .get("/api/v1/calls/{id}/story", story)
}

async fn list(_: Auth<AnyRole>, State(console): State<Arc<Console>>) -> Response {
    Json(json!({ "calls": console.intake.board.calls() })).into_response()
}

async fn one(_: Auth<AnyRole>, State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    match console.intake.board.call(&CallId::new(id)) {
        Some(status) => Json(status).into_response(),
        None => problem(StatusCode::NOT_FOUND, "no such call", &Untold::NoCall.to_string()),
    }
}

/// Every live call with its latest scores, and the number of the event after which a page follows.
async fn wall(_: Auth<AnyRole>, State(console): State<Arc<Console>>) -> Response {
    #[derive(Serialize)]
    struct Line {
        #[serde(flatten)]
        status: Status,
        #[serde(flatten)]
        glance: story::Glance,
    }
    let after = console.ring.latest();
    let calls = console.intake.board.calls();
    let stories = console.ring.stories();
    let line = |status: Status| Line { glance: stories.glance(&status.call), status };
    let calls: Vec<Line> = calls.into_iter().map(line).collect();
    drop(stories);
    Json(json!({ "after": after, "calls": calls })).into_response()
}

/// Everything that is held of a call, live or over.
async fn story(auth: Auth<AnyRole>, State(console): State<Arc<Console>>, Path(id): Path<String>) -> Response {
    let role = auth.role;
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
