//! What each role sees of personal data, decided here and nowhere in the page. Absent here: any other rule about roles.
//!
//! An integrator and a supervisor see everything; an agent, who takes the caller over, everything but numbers in the list of calls; an auditor
//! sees no number, no name and nothing the integrator gave along.

use std::borrow::Cow;

use axum::{
    body::{Body, to_bytes},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::media_in::{Role, http::problem};

/// Bytes of the longest answer that is masked; a longer one is refused (500), never sent as it is.
pub const MASKED_MAX: usize = 32 * 1024 * 1024;

/// Digits from which a string counts as a telephone number.
const NUMBER_LEN: usize = 7;

/// What a role must not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// Numbers.
    Numbers,
    /// Numbers, words, and what the integrator gave along.
    Everything,
}

impl Mask {
    /// What this role must not see; `None`: it may see everything.
    pub(super) fn of(role: Role) -> Option<Self> {
        match role {
            Role::Integrator | Role::Supervisor => None,
            Role::Agent => Some(Self::Numbers),
            Role::Auditor => Some(Self::Everything),
        }
    }

    /// One line of JSON.
    pub(super) fn line<'a>(self, line: &'a str) -> Cow<'a, str> {
        match serde_json::from_str(line) {
            Ok(mut value) => {
                self.value(&mut value);
                Cow::Owned(value.to_string())
            }
            Err(_) => Cow::Borrowed("{}"),
        }
    }

    /// An answer.
    pub(super) async fn response(self, response: Response) -> Response {
        let kind =
            response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.contains("json") {
            return response;
        }
        let (mut head, body) = response.into_parts();
        let Ok(bytes) = to_bytes(body, MASKED_MAX).await else {
            return problem(StatusCode::INTERNAL_SERVER_ERROR, "too long", "ask for less at once");
        };
        let line = String::from_utf8_lossy(&bytes);
        let masked = self.line(&line).into_owned();
        head.headers.remove(axum::http::header::CONTENT_LENGTH);
        (head, Body::from(masked)).into_response()
    }

    fn value(self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(masked) = number(text) {
                    *text = masked;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::Object(entries) => {
                for (name, value) in entries.iter_mut() {
                    match (self, name.as_str()) {
                        (Self::Everything, "metadata" | "conversation" | "advice") => hide(value),
                        (Self::Everything, "text" | "from" | "to" | "caller_name" | "summary" | "note")
                            if value.is_string() =>
                        {
                            *value = Value::String("•••".into());
                        }
                        _ => self.value(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Every value, but not under which name.
fn hide(value: &mut Value) {
    match value {
        Value::Object(entries) => entries.iter_mut().for_each(|(_, value)| hide(value)),
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::String(_) | Value::Number(_) | Value::Bool(_) => *value = Value::String("•••".into()),
        Value::Null => {}
    }
}

/// What stands for a telephone number: the same for the same number, and nobody's.
pub(super) fn number(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_digit() || "+-. ()/".contains(c);
    let (name, at) =
        text.strip_prefix("sip:").unwrap_or(text).split_once('@').map_or((text, ""), |(n, _)| (n, "@"));
    let name = name.strip_prefix("sip:").unwrap_or(name);
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    // A call of the same number as one that is over already has `~2` behind it.
    let (number, again) = name.split_once('~').map_or((name, None), |(number, again)| (number, Some(again)));
    if digits.len() < NUMBER_LEN || !number.chars().all(is_part) || is_date(text) {
        return None;
    }
    let hash = Sha256::digest(number.as_bytes());
    let hash: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let again = again.map(|again| format!("~{again}")).unwrap_or_default();
    Some(format!("number-{hash}{at}{again}"))
}

/// `2026-11-22` is no number to call.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let digits = |part: Option<&str>, len: usize| {
        part.is_some_and(|part| part.len() == len && part.bytes().all(|digit| digit.is_ascii_digit()))
    };
    digits(parts.next(), 4) && digits(parts.next(), 2) && parts.next().is_some_and(|day| day.len() >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_sees_everything_and_an_auditor_nobody() {
        let line = r#"{"call":"+49 30 901820","t":12.25,"metadata":{"name":"Ada","tier":4},"transfer":"7b78c872-d921-83d4-99ad-84fb6568bb3d"}"#;
        assert_eq!(Mask::of(Role::Supervisor), None);
        let agent = Mask::of(Role::Agent).unwrap().line(line).into_owned();
        assert!(!agent.contains("901820") && agent.contains("Ada"), "{agent}");
        let auditor = Mask::of(Role::Auditor).unwrap().line(line).into_owned();
        assert!(
            !auditor.contains("901820") && !auditor.contains("Ada") && auditor.contains("tier"),
            "{auditor}"
        );
        assert!(auditor.contains("7b78c872-d921-83d4-99ad-84fb6568bb3d") && auditor.contains("12.25"));
    }

    #[test]
    fn a_number_is_masked_and_what_only_looks_like_one_is_not() {
        let check = |text: &str, masked: bool| assert_eq!(number(text).is_some(), masked, "{text}");
        check("+15550143210", true);
        check("0049-170-1234567", true);
        check("+15550143210~2", true);
        check("sip:+15550143210@example.net", true);
        check("CA5550143210", false);
        check("7b78c872-d921-83d4-99ad-84fb6568bb3d", false);
        check("2026-11-22T13:54:11Z", false);
        check("2026-11-22", false);
        check("47.0", false);
        assert_eq!(number("+15550143210"), number("+15550143210"));
        assert_ne!(number("+15550143210"), number("+15550143211"));
    }
}
