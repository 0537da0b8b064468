//! Whether the program runs and takes calls, and what it counts.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::api::{
    Console,
    auth::{AnyRole, Auth, Public, Routes},
    metrics,
    problem::problem,
};

pub(super) fn routes() -> Routes {
    Routes::default().get("/healthz", live).get("/readyz", ready).get("/metrics", figures)
}

async fn live(_: Public) -> &'static str {
    "ok\n"
}

async fn ready(_: Public, State(console): State<Arc<Console>>) -> Response {
    if console.intake.board.is_draining() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "draining", "no new calls are taken");
    }
    if let Some(why) = console.outbox.ledger().failing() {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the ledger is not written", &why);
    }
    "ready\n".into_response()
}

async fn figures(_: Auth<AnyRole>, State(console): State<Arc<Console>>) -> Response {
    ([("content-type", "text/plain; version=0.0.4")], metrics::text(&console)).into_response()
}
