//! Keys that several kinds have: addresses and time-outs.

use std::time::Duration;

use reqwest::Url;

use super::{
    KeyFault,
    http::{Guard, Http},
};

/// The default of switches that are on.
pub(super) fn yes() -> bool {
    true
}

/// The default time-out of one attempt, seconds: a caller is waiting.
pub(super) fn timeout_s() -> f64 {
    3.0
}

/// `timeout_s` as a duration.
pub(super) fn timeout(seconds: f64) -> Result<Duration, KeyFault> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(timeout) if (0.1..=60.0).contains(&seconds) => Ok(timeout),
        Ok(_) | Err(_) => Err(("timeout_s", format!("is {seconds}: expected 0.1 to 60"))),
    }
}

/// An address to call: HTTPS, or HTTP in one's own network.
pub(super) fn address(text: &str, allow_private: bool) -> Result<Url, String> {
    let expected = |what: &str| format!("is {text:?}: expected {what}");
    let url = Url::parse(text).map_err(|error| expected(&format!("https://… ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials in it: name them as a secret".into());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_private => Ok(url),
        "http" => Err(expected("https://…; http:// only with `allow_private = true`, in your own network")),
        _ => Err(expected("https://…")),
    }
}

/// The client for an address that [`address`] has read.
pub(super) fn http(url: &str, allow_private: bool, timeout_s: f64) -> Result<(Http, Url), String> {
    let url = address(url, allow_private).map_err(|reason| format!("`url` {reason}"))?;
    let timeout = timeout(timeout_s).map_err(|(key, reason)| format!("`{key}` {reason}"))?;
    Ok((Http::new(Guard { allow_private }, timeout)?, url))
}

/// An address without its query, path or credentials, which may be secret.
pub(super) fn place(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("nowhere");
    let port = url.as_ref().and_then(Url::port).map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}")
}
