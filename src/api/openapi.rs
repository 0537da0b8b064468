//! What the interface is, for programs: the OpenAPI document and the schemas it refers to.

use axum::{http::header::CONTENT_TYPE, response::IntoResponse};

use super::auth::{Public, Routes};

const DOCUMENT: &str = include_str!("../../schemas/openapi.json");
const EVENT: &str = include_str!("../../schemas/event-1.schema.json");
const PACKET: &str = include_str!("../../schemas/context-packet-1.schema.json");

/// The routes of the document; its references are relative, so the schemas are beside it.
pub(super) fn routes() -> Routes {
    let json = |text: &'static str| {
        move |_: Public| async move { ([(CONTENT_TYPE, "application/json")], text).into_response() }
    };
    Routes::default()
        .get("/openapi.json", json(DOCUMENT))
        .get("/event-1.schema.json", json(EVENT))
        .get("/context-packet-1.schema.json", json(PACKET))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::routes;

    #[test]
    fn every_route_is_in_the_document_and_every_path_of_it_is_a_route() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            described.extend(operations.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
        }
        let routed: BTreeSet<String> = routes::all().registered().iter().cloned().collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_error_is_a_problem() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let content = response["content"].as_object();
                    let is_problem =
                        content.is_some_and(|kinds| kinds.keys().eq(["application/problem+json"]));
                    assert_eq!(status.starts_with(['4', '5']), is_problem, "{method} {path} {status}");
                }
            }
        }
    }
}
