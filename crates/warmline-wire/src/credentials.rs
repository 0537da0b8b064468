//! Whether a peer is who it says it is: pure functions of the bytes of its request.
//!
//! Sources: Twilio "Validating requests" and its library's `RequestValidator`; Plivo's `validate_v3_signature`; Genesys "AudioHook: HTTP message signatures"
//! (draft-ietf-httpbis-message-signatures) and its reference server; RFC 7617 (Basic), RFC 6750 (Bearer), RFC 7519 (JWT, of Vonage).
//! Every comparison of a secret takes the same time whatever it is compared with. Nothing here prints a secret.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Count, Quoted, Text};

/// Bytes of the longest header that is looked at; a longer one is wrong.
pub const MAX_HEADER: usize = 4_096;

/// Whether a secret is the one expected; that takes as long whatever its length.
pub fn is_secret(given: &[u8], expected: &[u8]) -> bool {
    Sha256::digest(given).ct_eq(&Sha256::digest(expected)).into()
}

/// Whether an `Authorization` header is `Bearer` with this token.
pub fn is_bearer(authorization: &str, token: &str) -> bool {
    scheme(authorization, "bearer").is_some_and(|given| is_secret(given.as_bytes(), token.as_bytes()))
}

/// Whether an `Authorization` header is `Basic` with this user and password.
pub fn is_basic(authorization: &str, user: &str, password: &str) -> bool {
    let given = scheme(authorization, "basic").and_then(|given| BASE64.decode(given).ok());
    given.is_some_and(|given| is_secret(&given, format!("{user}:{password}").as_bytes()))
}

/// What follows the name of a scheme, in any case.
fn scheme<'a>(authorization: &'a str, name: &str) -> Option<&'a str> {
    let (scheme, rest) = authorization.trim().split_once(' ')?;
    (rest.len() <= MAX_HEADER && scheme.eq_ignore_ascii_case(name)).then_some(rest.trim())
}

/// Whether `X-Twilio-Signature` is right for a request to this URL.
///
/// `url` is the one written in the TwiML, `wss://` and all: build it from the configured public address, never from a `Host`
/// behind a proxy. Its default port may be there or not. `parameters` are those of a POSTed form; an upgrade has none. The
/// signature proves that Twilio was told this URL with this token, no more: there is no nonce.
pub fn is_twilio(token: &str, url: &str, parameters: &[(&str, &str)], signature: &str) -> bool {
    let mut sorted = parameters.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let signed = |url: &str| {
        let mut mac = keyed::<Hmac<Sha1>>(token.as_bytes());
        mac.update(url.as_bytes());
        for (name, value) in &sorted {
            mac.update(name.as_bytes());
            mac.update(value.as_bytes());
        }
        BASE64.encode(mac.finalize().into_bytes())
    };
    let (without, with) = with_and_without_port(url);
    is_secret(signature.as_bytes(), signed(&without).as_bytes())
        | is_secret(signature.as_bytes(), signed(&with).as_bytes())
}

/// Whether `X-Plivo-Signature-V3` is right for a GET of this URL with that `X-Plivo-Signature-V3-Nonce`.
///
/// `url` is the one of the `<Stream>`. What is signed is its query in order of names, a full stop and the nonce. Plivo's libraries write
/// the scheme of a stream's address as they write a webhook's, so that of the URL and its like of HTTP both pass. The header may
/// hold several signatures, of the account and the subaccount.
pub fn is_plivo(token: &str, url: &str, nonce: &str, signatures: &str) -> bool {
    if nonce.is_empty() {
        return false;
    }
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let mut sorted: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    sorted.sort_unstable();
    let query = if sorted.is_empty() { String::new() } else { format!("?{}", sorted.join("&")) };
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let signed = |scheme: &str| {
        let mut mac = keyed::<Hmac<Sha256>>(token.as_bytes());
        mac.update(format!("{scheme}://{rest}{query}.{nonce}").as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
    };
    let expected = ["wss", "https", "ws", "http"].map(signed);
    let given = || signatures.split(',').map(str::trim);
    expected.iter().fold(false, |right, one| {
        given().fold(right, |right, given| right | is_secret(given.as_bytes(), one.as_bytes()))
    })
}

/// The same URL without a port and with one, the default if it names none.
fn with_and_without_port(url: &str) -> (String, String) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.into(), url.into()) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host_from = authority.rfind('@').map_or(0, |at| at + 1);
    let (user, host) = authority.split_at(host_from);
    let port = host.rfind(':').filter(|at| !host.split_at(*at).1.contains(']')); // ':' inside an IPv6 address is none
    let default = if matches!(scheme, "https" | "wss") { 443 } else { 80 };
    match port {
        Some(at) => (format!("{scheme}://{user}{}{path}", host.split_at(at).0), url.into()),
        None => (url.into(), format!("{scheme}://{user}{host}:{default}{path}")),
    }
}

/// A MAC with its key.
#[allow(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104 2)")]
fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("a key of any length")
}

/// A request that may be signed: what the client sent before the protocol begins.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Path and query, as in the request line.
    pub target: &'a str,
    /// Names in any case, and values, in their order.
    pub headers: &'a [(&'a str, &'a str)],
}

/// A client's key.
#[derive(Clone)]
pub struct ApiKey {
    /// What `X-API-KEY` says.
    pub id: String,
    /// The client secret, decoded from base64; empty if this client does not sign.
    pub secret: Vec<u8>,
}

/// Why an AudioHook request is not let in; none of it says what would have been right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header that must be there once.
    #[error("header {0} is missing or empty")]
    Missing(&'static str),
    /// A header that cannot be read.
    #[error("Signature-Input is not of the form sig1=(\"…\" …);keyid=\"…\";…: {0}")]
    Malformed(&'static str),
    /// Something that must be signed is not.
    #[error("{0} is not signed")]
    Unsigned(&'static str),
    /// Something that is signed twice, or that is not known.
    #[error("component or parameter {0} is not expected")]
    Unexpected(Quoted),
    /// The signature's times do not fit the clock.
    #[error("the signature is {0}: is the clock right?")]
    Time(&'static str),
    /// The nonce is too short.
    #[error("a nonce of {0} characters: expected at least {MIN_NONCE}")]
    Nonce(usize),
    /// The same nonce again, or too many to remember.
    #[error("the signature was used before, or too many came at once")]
    Replayed,
    /// The key is not known, or the signature is not made with it.
    #[error("the API key or the signature is not right")]
    Wrong,
}

/// What must be signed.
const REQUIRED: [&str; 6] = [
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
];

/// Characters of a nonce: 128 bit in base64.
pub const MIN_NONCE: usize = 22;

/// A signature may be this old, seconds.
pub const MAX_AGE_S: u64 = 10;

/// Clocks may differ by this much, seconds.
pub const CLOCK_SKEW_S: u64 = 3;

/// Components of one signature that are looked at.
const MAX_COMPONENTS: usize = 32;

/// Checks an AudioHook client's key and signature. `now` is Unix time, seconds. Gives which key it was; a caller that wants no
/// replay within [`MAX_AGE_S`] remembers the nonces. Tell the client no sooner than a fixed time after its request.
///
/// # Errors
/// When anything is missing, unknown, too old or wrong. A request without a signature passes only if its key has no secret.
pub fn check_audiohook<'k>(
    request: &Request<'_>,
    keys: &'k [ApiKey],
    now: u64,
) -> Result<&'k ApiKey, SignatureError> {
    for name in [REQUIRED[2], REQUIRED[3], REQUIRED[4]] {
        request.header(name).ok_or(SignatureError::Missing(name))?;
    }
    let given = request.header("x-api-key").ok_or(SignatureError::Missing("x-api-key"))?;
    let key = keys.iter().find(|key| is_secret(key.id.as_bytes(), given.as_bytes()));
    let (input, signature) = match (request.header("signature-input"), request.header("signature")) {
        (None, None) => {
            return key.filter(|key| key.secret.is_empty()).ok_or(SignatureError::Missing("signature"));
        }
        (Some(input), Some(signature)) => (input, signature),
        _ => return Err(SignatureError::Missing("signature-input or signature")),
    };
    let input = SignatureInput::parse(&input)?;
    let nonce = input.check(&given, now)?;
    debug_assert!(nonce.len() >= MIN_NONCE);
    let base = input.base(request)?;
    // Unknown keys take as long as known ones.
    let secret = key.map_or(&[0x5A; 32][..], |key| &key.secret);
    let mut mac = keyed::<Hmac<Sha256>>(secret);
    mac.update(base.as_bytes());
    let expected = format!("{}=:{}:", input.label, BASE64.encode(mac.finalize().into_bytes()));
    let right = is_secret(signature.trim().as_bytes(), expected.as_bytes());
    key.filter(|key| right && !key.secret.is_empty()).ok_or(SignatureError::Wrong)
}

/// The nonce of an AudioHook request that is signed, for whoever wants no signature to be good twice.
pub fn audiohook_nonce(request: &Request<'_>) -> Option<String> {
    let input = SignatureInput::parse(&request.header("signature-input")?).ok()?;
    input.parameters.into_iter().find_map(|(name, value)| match value {
        Value::Text(nonce) if name == "nonce" => Some(nonce),
        Value::Text(_) | Value::Number(_) => None,
    })
}

impl Request<'_> {
    /// A header's value: trimmed, several joined; nothing of one that is absent, empty or too long.
    fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let values: Vec<&str> = values.map(|(_, value)| value.trim()).collect();
        let joined = values.join(", ");
        (!joined.is_empty() && joined.len() <= MAX_HEADER).then_some(joined)
    }
}

/// `sig1=("a" "b");keyid="k";created=1`: one signature's inner list and its parameters, in the sender's order.
#[derive(Debug, PartialEq, Eq)]
struct SignatureInput {
    label: String,
    components: Vec<String>,
    parameters: Vec<(String, Value)>,
}

/// A parameter's value (RFC 8941 3.3), of the kinds signatures use.
#[derive(Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u64),
}

impl SignatureInput {
    fn parse(text: &str) -> Result<Self, SignatureError> {
        let malformed = SignatureError::Malformed;
        let (label, rest) = text.trim().split_once('=').ok_or(malformed("no label"))?;
        let (mut rest, mut components) =
            (rest.strip_prefix('(').ok_or(malformed("no inner list"))?, Vec::new());
        loop {
            rest = rest.trim_start_matches(' ');
            if let Some(after) = rest.strip_prefix(')') {
                rest = after;
                break;
            }
            let (component, after) = quoted(rest).ok_or(malformed("a component is no string"))?;
            if components.contains(&component) {
                return Err(SignatureError::Unexpected(Quoted::new(&component)));
            }
            if components.len() >= MAX_COMPONENTS {
                return Err(malformed("too many components"));
            }
            components.push(component);
            rest = after;
        }
        let mut parameters = Vec::new();
        while let Some(after) = rest.strip_prefix(';') {
            let (name, after) = after
                .trim_start_matches(' ')
                .split_once('=')
                .ok_or(malformed("a parameter without a value"))?;
            if parameters.iter().any(|(known, _)| known == name) || parameters.len() >= MAX_COMPONENTS {
                return Err(SignatureError::Unexpected(Quoted::new(name)));
            }
            let (value, after) = if after.starts_with('"') {
                let (text, after) = quoted(after).ok_or(malformed("a parameter is no string"))?;
                (Value::Text(text), after)
            } else {
                let (digits, after) = after.split_at(after.find(';').unwrap_or(after.len()));
                (Value::Number(digits.parse().map_err(|_| malformed("a parameter is no number"))?), after)
            };
            parameters.push((name.to_owned(), value));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(malformed("something follows the parameters"));
        }
        Ok(Self { label: label.to_owned(), components, parameters })
    }

    /// The rules of the reference server but for the signature itself; gives the nonce.
    fn check(&self, api_key: &str, now: u64) -> Result<&str, SignatureError> {
        if let Some(missing) = REQUIRED.into_iter().find(|name| !self.components.iter().any(|c| c == name)) {
            return Err(SignatureError::Unsigned(missing));
        }
        let (mut nonce, mut created, mut expires, mut keyid) = (None, None, None, None);
        for (name, value) in &self.parameters {
            match (name.as_str(), value) {
                ("keyid", Value::Text(id)) => keyid = Some(id),
                ("nonce", Value::Text(text)) => nonce = Some(text),
                ("alg", Value::Text(alg)) if alg == "hmac-sha256" => {}
                ("created", Value::Number(at)) => created = Some(*at),
                ("expires", Value::Number(at)) => expires = Some(*at),
                _ => return Err(SignatureError::Unexpected(Quoted::new(name))),
            }
        }
        let keyid = keyid.ok_or(SignatureError::Unsigned("keyid"))?;
        if !is_secret(keyid.as_bytes(), api_key.as_bytes()) {
            return Err(SignatureError::Wrong);
        }
        let created = created.ok_or(SignatureError::Unsigned("created"))?;
        if created > now.saturating_add(CLOCK_SKEW_S) {
            return Err(SignatureError::Time("from the future"));
        }
        if now.saturating_sub(created) > MAX_AGE_S {
            return Err(SignatureError::Time("too old"));
        }
        if expires.is_some_and(|expires| expires < now.saturating_add(CLOCK_SKEW_S)) {
            return Err(SignatureError::Time("about to expire, or expired"));
        }
        let nonce = nonce.ok_or(SignatureError::Unsigned("nonce"))?;
        if nonce.len() < MIN_NONCE { Err(SignatureError::Nonce(nonce.len())) } else { Ok(nonce) }
    }

    /// The signature base: a line a component, and what is signed and how.
    fn base(&self, request: &Request<'_>) -> Result<String, SignatureError> {
        let mut base = String::new();
        for name in &self.components {
            let value = match name.as_str() {
                "@request-target" => Some(request.target.to_owned()),
                "@authority" => request.header("host").map(|host| authority(&host)),
                name if name.starts_with('@') => None,
                name => request.header(name),
            };
            let value = value.ok_or_else(|| SignatureError::Unexpected(Quoted::new(name)))?;
            _ = writeln!(base, "{}: {value}", escaped(name));
        }
        base.push_str("\"@signature-params\": (");
        base.push_str(&self.components.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(" "));
        base.push(')');
        for (name, value) in &self.parameters {
            _ = match value {
                Value::Text(text) => write!(base, ";{name}={}", escaped(text)),
                Value::Number(number) => write!(base, ";{name}={number}"),
            };
        }
        Ok(base)
    }
}

/// A host in lower case, without the port a secure connection has anyway.
fn authority(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(":443").map(str::to_owned).unwrap_or(host)
}

/// A string (RFC 8941 3.3.3) and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut read = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((read, chars.as_str())),
            '\\' => read.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c @ ' '..='~' => read.push(c),
            _ => return None,
        }
    }
}

/// The string as it is written.
fn escaped(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether an `Authorization` header is `Bearer` with a JWT that this secret signed (HS256) and whose time is now, as Vonage sends
/// it. `now` is Unix time, seconds; a token without `exp` may be five minutes old.
pub fn is_signed_jwt(authorization: &str, secret: &[u8], now: u64) -> bool {
    #[derive(Deserialize)]
    struct Header<'a> {
        #[serde(borrow)]
        alg: Text<'a>,
    }
    #[derive(Deserialize)]
    struct Claims {
        iat: Option<Count>,
        exp: Option<Count>,
        nbf: Option<Count>,
    }
    const MAX_JWT_AGE_S: u64 = 300;
    let checked = || {
        let token = scheme(authorization, "bearer")?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let mut mac = keyed::<Hmac<Sha256>>(secret);
        mac.update(signed.as_bytes());
        let right: bool = mac.finalize().into_bytes().ct_eq(&URL_SAFE_NO_PAD.decode(signature).ok()?).into();
        let header = URL_SAFE_NO_PAD.decode(header).ok()?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let soon = now.saturating_add(CLOCK_SKEW_S);
        let begun = [claims.iat, claims.nbf].into_iter().flatten().all(|Count(at)| at <= soon);
        let end = claims
            .exp
            .map(|Count(at)| at)
            .or(claims.iat.map(|Count(at)| at.saturating_add(MAX_JWT_AGE_S)))?;
        Some(right && header.alg.0 == "HS256" && begun && now <= end)
    };
    !secret.is_empty() && checked().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fixtures/wire/twilio/signatures.json` is what Twilio's own library computes.
    #[test]
    fn signatures_are_twilios() {
        #[derive(Deserialize)]
        struct Vector {
            token: String,
            url: String,
            parameters: Vec<(String, String)>,
            signature: String,
        }
        let vectors = include_str!("../../../fixtures/wire/twilio/signatures.json");
        let vectors: Vec<Vector> = serde_json::from_str(vectors).unwrap();
        assert!(vectors.len() >= 8);
        for Vector { token, url, parameters, signature } in &vectors {
            let parameters: Vec<_> = parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert!(is_twilio(token, url, &parameters, signature), "{url}");
            assert!(!is_twilio("other", url, &parameters, signature), "{url}");
            assert!(!is_twilio(token, &format!("{url}x"), &parameters, signature), "{url}");
            assert!(!is_twilio(token, url, &[("a", "b")], signature), "{url}");
        }
    }

    #[test]
    fn a_default_port_may_be_there_or_not() {
        let signed = "0p9HGYJybIvZY5ER6AdY/msz2PI="; // wss://media.example.com/twilio
        assert!(is_twilio("12345", "wss://media.example.com/twilio", &[], signed));
        assert!(is_twilio("12345", "wss://media.example.com:443/twilio", &[], signed));
        assert!(is_twilio("12345", "wss://media.example.com/twilio", &[], "B6J/runvKkMsTaKqj5J0B9283+E="));
        assert!(
            !is_twilio("12345", "wss://media.example.com/twilio/", &[], signed),
            "a slash signs differently"
        );
        assert!(
            !is_twilio("12345", "https://media.example.com/twilio", &[], signed),
            "it is wss that is signed"
        );
    }

    /// Computed with `plivo.utils.signature_v3` of Plivo's Python library, 4.63.0.
    #[test]
    fn plivos_own_signatures_pass() {
        let check = |url: &str, signature: &str| is_plivo("MAtoken", url, "12345", signature);
        assert!(check(
            "wss://media.example.com/v1/media/plivo",
            "8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0g="
        ));
        assert!(
            check("wss://media.example.com/v1/media/plivo", "sWB/Kfz9PrN3VNu4qX9/wXw4tWnNrsWKsSntuwOohCs="),
            "as of a webhook"
        );
        assert!(
            check(
                "wss://media.example.com/v1/media/plivo?tracks=both&queue=billing",
                "AAAA,qLL27Bq0PxsxtsWPCsjqR7h4BwAmWw+zNwz99J07m0s="
            ),
            "the query in order, the second of two"
        );
        assert!(!check(
            "wss://media.example.org/v1/media/plivo",
            "8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0g="
        ));
        assert!(!check("wss://media.example.com/v1/media/plivo", ""));
        assert!(!is_plivo(
            "MAtoken",
            "wss://media.example.com/v1/media/plivo",
            "54321",
            "8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0g="
        ));
        assert!(!is_plivo(
            "MAother",
            "wss://media.example.com/v1/media/plivo",
            "12345",
            "8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0g="
        ));
        assert!(!is_plivo(
            "MAtoken",
            "wss://media.example.com/v1/media/plivo",
            "",
            "8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0g="
        ));
    }

    #[test]
    fn ports_are_found_where_they_are() {
        let check = |url: &str, without: &str, with: &str| {
            assert_eq!(with_and_without_port(url), (without.into(), with.into()));
        };
        check("wss://a/b?c=d:e", "wss://a/b?c=d:e", "wss://a:443/b?c=d:e");
        check("ws://a:8080", "ws://a", "ws://a:8080");
        check("https://u:p@[::1]/x", "https://u:p@[::1]/x", "https://u:p@[::1]:443/x");
        check("https://u:p@[::1]:8443/x", "https://u:p@[::1]/x", "https://u:p@[::1]:8443/x");
        check("no url", "no url", "no url");
    }

    #[test]
    fn the_reference_signatures_of_audiohook_pass() {
        for (component, signature) in [
            ("@authority", "NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4="),
            ("host", "zupMJUMfd/kMuvKc5zhRyfJPE3jTROuz1S1hn8SCTpE="),
        ] {
            let input = INPUT.replace("@authority", component);
            let parsed = SignatureInput::parse(&input).unwrap();
            assert_eq!(signed(&parsed.base(&request(&headers(&input, ""))).unwrap(), SECRET), signature);
        }
        let headers = headers(INPUT, "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:");
        assert_eq!(check(&headers, CREATED), Ok(KEY.to_owned()));
    }

    /// draft-ietf-httpbis-message-signatures B.2.5.
    #[test]
    fn the_drafts_own_vector_passes() {
        let input =
            r#"sig1=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
        let headers = [
            ("Host", "Example.com:443"),
            ("Date", " Tue, 20 Apr 2021 02:07:55 GMT"),
            ("Content-Type", "application/json"),
        ];
        let base = SignatureInput::parse(input).unwrap().base(&Request { target: "/foo", headers: &headers });
        let key = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
        assert_eq!(signed(&base.unwrap(), key), "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
    }

    #[test]
    fn whatever_differs_from_what_was_signed_is_refused() {
        let right = "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:";
        let refused = |input: &str, signature: &str, now| check(&headers(input, signature), now).unwrap_err();
        assert_eq!(refused(INPUT, "sig1=:AAAA:", CREATED), SignatureError::Wrong);
        assert_eq!(refused(&INPUT.replace("VGhpc0lz", "VGhpc0lx"), right, CREATED), SignatureError::Wrong);
        assert_eq!(refused(INPUT, right, CREATED + 11), SignatureError::Time("too old"));
        assert_eq!(refused(INPUT, right, CREATED - 4), SignatureError::Time("from the future"));
        let expires = &INPUT.replace("3282026430", "1641013201");
        assert_eq!(refused(expires, right, CREATED), SignatureError::Time("about to expire, or expired"));
        assert_eq!(
            refused(&INPUT.replace(" \"x-api-key\"", ""), right, CREATED),
            SignatureError::Unsigned("x-api-key")
        );
        let twice = &INPUT.replace("\"x-api-key\"", "\"x-api-key\" \"x-api-key\"");
        assert_eq!(refused(twice, right, CREATED), SignatureError::Unexpected(Quoted::new("x-api-key")));
        let unknown = &INPUT.replace(";alg", ";tag=\"x\";alg");
        assert_eq!(refused(unknown, right, CREATED), SignatureError::Unexpected(Quoted::new("tag")));
        let short = &INPUT.replace("VGhpc0lzQVVuaXF1ZU5vbmNl", "short");
        assert_eq!(refused(short, right, CREATED), SignatureError::Nonce(5));
        let other_key = &INPUT.replace(KEY, "other");
        assert_eq!(refused(other_key, right, CREATED), SignatureError::Wrong);
    }

    #[test]
    fn an_unsigned_request_passes_only_if_its_key_has_no_secret() {
        let headers: Vec<_> =
            headers(INPUT, "x").into_iter().filter(|(name, _)| !name.starts_with("Signature")).collect();
        let keys = |secret: &[u8]| [ApiKey { id: KEY.into(), secret: secret.into() }];
        assert!(check_audiohook(&request(&headers), &keys(b""), CREATED).is_ok());
        let refused = check_audiohook(&request(&headers), &keys(b"secret"), CREATED).err();
        assert_eq!(refused, Some(SignatureError::Missing("signature")));
        assert!(check_audiohook(&request(&headers), &[], CREATED).is_err());
    }

    #[test]
    fn basic_and_bearer_are_compared_whole() {
        assert!(is_basic("Basic dXNlcjpwYXNz", "user", "pass"));
        assert!(is_basic("basic  dXNlcjpwYXNz ", "user", "pass"));
        assert!(!is_basic("Basic dXNlcjpwYXNz", "user", "pas"));
        assert!(!is_basic("Bearer dXNlcjpwYXNz", "user", "pass"));
        assert!(!is_basic("Basic !", "user", "pass"));
        assert!(is_bearer("Bearer token", "token"));
        assert!(!is_bearer("Bearer toke", "token") && !is_bearer("token", "token") && !is_bearer("", ""));
    }

    #[test]
    fn a_jwt_is_checked_with_its_time() {
        let token = |header: &str, claims: &str| {
            let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
            let signed = format!("{}.{}", part(header), part(claims));
            let mut mac = keyed::<Hmac<Sha256>>(b"secret");
            mac.update(signed.as_bytes());
            format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
        };
        let hs256 = r#"{"alg":"HS256","typ":"JWT"}"#;
        let good = token(hs256, r#"{"iat":1000,"exp":1100,"jti":"x"}"#);
        assert!(is_signed_jwt(&good, b"secret", 1_050));
        assert!(!is_signed_jwt(&good, b"secret", 1_101) && !is_signed_jwt(&good, b"secret", 900));
        assert!(!is_signed_jwt(&good, b"other", 1_050) && !is_signed_jwt(&good, b"", 1_050));
        assert!(!is_signed_jwt(&token(r#"{"alg":"none"}"#, r#"{"exp":1100}"#), b"secret", 1_050));
        assert!(is_signed_jwt(&token(hs256, r#"{"iat":1000}"#), b"secret", 1_300));
        assert!(!is_signed_jwt(&token(hs256, r#"{"iat":1000}"#), b"secret", 1_301));
        assert!(!is_signed_jwt(&token(hs256, "{}"), b"secret", 1_000));
    }

    const SECRET: &str = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=";
    const KEY: &str = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh";
    const CREATED: u64 = 1_641_013_200;
    const INPUT: &str = r#"sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" "audiohook-correlation-id" "x-api-key");keyid="SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created=1641013200;expires=3282026430"#;

    fn headers<'a>(input: &'a str, signature: &'a str) -> Vec<(&'static str, &'a str)> {
        vec![
            ("Host", "audiohook.example.com"),
            ("Audiohook-Organization-Id", "d7934305-0972-4844-938e-9060eef73d05"),
            ("Audiohook-Session-Id", "30b0e395-84d3-4570-ac13-9a62d8f514c0"),
            ("Audiohook-Correlation-Id", "e160e428-53e2-487c-977d-96989bf5c99d"),
            ("X-API-KEY", KEY),
            ("Signature-Input", input),
            ("Signature", signature),
        ]
    }

    fn request<'a>(headers: &'a [(&'a str, &'a str)]) -> Request<'a> {
        Request { target: "/api/v1/voicebiometrics/ws", headers }
    }

    fn check(headers: &[(&str, &str)], now: u64) -> Result<String, SignatureError> {
        let keys = [ApiKey { id: KEY.into(), secret: BASE64.decode(SECRET).unwrap() }];
        check_audiohook(&request(headers), &keys, now).map(|key| key.id.clone())
    }

    fn signed(base: &str, secret: &str) -> String {
        let mut mac = keyed::<Hmac<Sha256>>(&BASE64.decode(secret).unwrap());
        mac.update(base.as_bytes());
        BASE64.encode(mac.finalize().into_bytes())
    }
}
