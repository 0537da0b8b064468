//! The HTTP interface: live calls, their events, commands to them, transfers, metrics. Absent here: decisions, media.
//!
//! `auth` decides who may use an endpoint, `mask` which personal data each role sees, `routes` holds one file per resource.

mod auth;
mod events;
mod mask;
mod metrics;
mod openapi;
mod problem;
mod routes;
mod story;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
};
pub use events::{RING_BYTES_MAX, RING_EVENTS_MAX, Ring};
pub use mask::MASKED_MAX;
use mask::Mask;
use problem::problem;
pub use routes::policy::{Desk, InForce, POLICIES_MAX, Policies, Tried, TriedCall, TriedSum};
use routes::session;
pub use routes::session::{
    LOGIN_FAILURES_HELD, LOGIN_FAILURES_MAX, SESSION_FOR, SESSION_IDLE, SESSIONS_MAX, Sessions,
};
pub use story::{STORIES_BYTES_MAX, STORIES_MAX, STORY_EVENTS_MAX, STORY_SCORES_MAX};

use crate::{
    media_in::{Intake, audiosocket::Announced},
    outbox::Outbox,
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
    routes::all()
        .into_router()
        .fallback(|| async {
            problem(StatusCode::NOT_FOUND, "no such page", "/openapi.json lists what there is")
        })
        .method_not_allowed_fallback(|| async {
            let detail = "/openapi.json lists the methods of each path";
            problem(StatusCode::METHOD_NOT_ALLOWED, "no such method", detail)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&console), masked))
        .layer(middleware::from_fn_with_state(Arc::clone(&console), session::admit))
        .with_state(console)
}

/// Masks what leaves the interface for a role that must not see all of it. The events are masked line by line.
async fn masked(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mask = console
        .role_of(request.uri(), request.headers())
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
