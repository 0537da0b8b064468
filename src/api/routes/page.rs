//! The page: files that are part of the program, and what a browser may do with them. Absent here: what is on it.

use axum::{
    extract::Path,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use rust_embed::Embed;

use crate::api::{
    auth::{Public, Routes},
    problem::problem,
};

/// What `make page` has built, as it was when the program was; a debug build reads the folder each time.
#[derive(Embed)]
#[folder = "console-ui/dist"]
#[allow_missing = true]
struct Files;

/// What the page may do: its own scripts and styles, its own server, nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is shown where there is no page.
const MISSING: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Warmline</title>\
    <h1>Warmline is running</h1>\
    <p>This program was built without its page. With Node 20 or later, in a checkout: <code>make page</code>, then build again.</p>\
    <p>The interface is there all the same: <a href=\"/openapi.json\">/openapi.json</a>.</p></html>";

/// The routes of the page. Everybody may have its files: there is nothing of a call in them.
pub(super) fn routes() -> Routes {
    Routes::default().get("/", wall).get("/packets/{id}", packet).get("/assets/{name}", asset)
}

async fn wall(_: Public, headers: HeaderMap) -> Response {
    file("index.html", &headers)
}

async fn packet(_: Public, headers: HeaderMap) -> Response {
    file("packet.html", &headers)
}

async fn asset(_: Public, Path(name): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{name}"), &headers)
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let is_page = name.ends_with(".html");
    let Some(file) = Files::get(name) else {
        let mut response = if is_page {
            (StatusCode::OK, MISSING).into_response()
        } else {
            problem(StatusCode::NOT_FOUND, "no such file", "the page has no file of this name")
        };
        if is_page {
            guard(&mut response, "text/html; charset=utf-8");
        }
        return response;
    };
    let tag: String = file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let mut response = if known.is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    guard(&mut response, kind(name));
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    // What is built carries its hash in its name; a page does not.
    let caching = if is_page { "no-cache" } else { "public, max-age=31536000, immutable" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

fn guard(response: &mut Response, kind: &'static str) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_runs_no_inline_script_and_asks_nobody_else() {
        let response = file("index.html", &HeaderMap::new());
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'")
                && !policy.contains("unsafe")
                && !policy.contains("http")
        );
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn a_file_that_is_not_there_is_not_there() {
        assert_eq!(file("assets/../index.html.bak", &HeaderMap::new()).status(), StatusCode::NOT_FOUND);
    }
}
