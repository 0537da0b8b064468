//! The stream of events (server-sent events). Each line is masked for the role of its reader.

use std::{borrow::Cow, convert::Infallible, sync::Arc};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event as Frame, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;

use crate::api::{
    Console,
    auth::{AnyRole, Auth, Routes},
    events::Next,
    mask::Mask,
};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/events", follow)
}

/// The query of a request for events.
#[derive(Deserialize)]
struct From {
    /// The `Last-Event-ID` of a first connection: a browser sends that header only when it reconnects.
    after: Option<u64>,
}

/// Every event after `Last-Event-ID` that is still held; without that header, events from now on.
async fn follow(
    auth: Auth<AnyRole>,
    State(console): State<Arc<Console>>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Response {
    let mask = Mask::of(auth.role);
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let last = last.or(from.after);
    let follower = console.ring.follow(last);
    let frames = stream::unfold(follower, move |mut follower| async move {
        let frame = match follower.next().await {
            Next::Event(id, line) => {
                let line = mask.map_or(Cow::Borrowed(&*line), |mask| mask.line(&line));
                Frame::default().id(id.to_string()).data(&*line)
            }
            Next::Missed(count) => {
                Frame::default().event("missed").data(json!({ "missed": count }).to_string())
            }
        };
        Some((Ok::<_, Infallible>(frame), follower))
    });
    Sse::new(frames).keep_alive(KeepAlive::default()).into_response()
}
