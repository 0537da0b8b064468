//! Errors as problem documents (RFC 9457), and the bodies that may cause them.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::Response,
};
use serde::de::DeserializeOwned;

pub(super) use crate::media_in::http::problem;

/// A JSON body. An empty body reads as `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            problem(rejection.status(), "the body cannot be read", &rejection.body_text())
        })?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(body).map(Self).map_err(|error| invalid(&error.to_string()))
    }
}

/// 400: the request is not what the endpoint expects.
pub(super) fn invalid(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, "not as expected", detail)
}
