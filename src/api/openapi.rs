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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_every_path_of_it_is_a_route() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            // One route takes all commands.
            let command =
                path.strip_prefix("/api/v1/calls/{id}/").filter(|what| !["story", "dismiss"].contains(what));
            let path = if command.is_some() { "/api/v1/calls/{id}/{what}" } else { path };
            described.extend(operations.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
        }
        let routed: BTreeSet<String> = sources().iter().flat_map(|text| routes(text)).collect();
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

    fn sources() -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console");
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect()
    }

    /// `get /healthz` of `.route("/healthz", get(…))`, and each method that is chained to it.
    fn routes(text: &str) -> Vec<String> {
        let before_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
        let named = before_tests.split(".route(").skip(1).filter_map(|rest| {
            let (path, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
            let end = rest.find(".route(").unwrap_or(rest.len());
            let methods = ["get", "post", "delete"];
            let called = rest[..end].split(';').next()?;
            let found = methods.iter().filter(move |method| {
                [format!(", {method}("), format!(").{method}("), format!("\n            {method}(")]
                    .iter()
                    .any(|call| called.contains(call))
            });
            Some(found.map(move |method| format!("{method} {path}")).collect::<Vec<_>>())
        });
        named.flatten().collect()
    }
}
