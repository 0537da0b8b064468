//! What the interface is, for programs: the OpenAPI document and the schemas it refers to.

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};

const DOCUMENT: &str = include_str!("../../schemas/openapi.json");
const EVENT: &str = include_str!("../../schemas/event-1.schema.json");
const PACKET: &str = include_str!("../../schemas/context-packet-1.schema.json");

/// The routes of the document; its references are relative, so the schemas are beside it.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let json = |text: &'static str| {
        move || async move { ([(CONTENT_TYPE, "application/json")], text).into_response() }
    };
    Router::new()
        .route("/openapi.json", get(json(DOCUMENT)))
        .route("/event-1.schema.json", get(json(EVENT)))
        .route("/context-packet-1.schema.json", get(json(PACKET)))
}
