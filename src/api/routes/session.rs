//! Who is at the page: a token is exchanged for a cookie that scripts cannot read. Absent here: what a role may do.
//!
//! A session stands for one token of the configuration. The layer puts that token's `Authorization` into each request that brings the
//! cookie, so that everything behind it knows one kind of credential only.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, RETRY_AFTER, SET_COOKIE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use rustls::crypto::ring::default_provider;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::api::{
    Console,
    auth::{AnyRole, Auth, Public, Routes},
    problem::problem,
};
use warmline_wire::credentials::is_secret;

/// Sessions at once; beyond, the one that has been idle longest ends.
pub const SESSIONS_MAX: usize = 1_024;

/// How long a session lasts.
pub const SESSION_FOR: Duration = Duration::from_secs(12 * 3_600);

/// How long it lasts without a request.
pub const SESSION_IDLE: Duration = Duration::from_secs(2 * 3_600);

/// Wrong tokens a minute of one address; beyond, it is told to wait (429).
pub const LOGIN_FAILURES_MAX: usize = 10;

/// Wrong tokens that are remembered; beyond, everybody is told to wait.
pub const LOGIN_FAILURES_HELD: usize = 1_024;

/// How long a wrong token is remembered.
const FAILURE_FOR: Duration = Duration::from_secs(60);

/// Bytes of the longest name somebody may give themselves.
const NAME_MAX: usize = 64;

/// The cookie.
const COOKIE_NAME: &str = "warmline_session";

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/session", who)
        .post("/api/v1/session", login)
        .delete("/api/v1/session", logout)
}

/// Who is at the page.
#[derive(Default)]
pub struct Sessions {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// By the SHA-256 of what the cookie says: neither a log nor the time a search takes gives a session away.
    sessions: BTreeMap<[u8; 32], Session>,
    failures: VecDeque<(IpAddr, Instant)>,
}

/// One browser.
#[derive(Clone)]
struct Session {
    /// Which of the gate's tokens was given.
    token: usize,
    /// What whoever gave it calls themselves.
    name: String,
    since: Instant,
    used: Instant,
}

impl Sessions {
    fn begin(&self, token: usize, name: String, now: Instant) -> Option<String> {
        let mut id = [0; 32];
        default_provider().secure_random.fill(&mut id).ok()?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut held = self.lock();
        held.sessions.retain(|_, session| session.is_alive(now));
        if held.sessions.len() >= SESSIONS_MAX
            && let Some(idlest) = held.sessions.iter().min_by_key(|(_, s)| s.used).map(|(key, _)| *key)
        {
            held.sessions.remove(&idlest);
        }
        held.sessions.insert(key(&id), Session { token, name, since: now, used: now });
        Some(id)
    }

    fn find(&self, id: &str, now: Instant) -> Option<Session> {
        let mut held = self.lock();
        let key = key(id);
        let session = held.sessions.get_mut(&key)?;
        if !session.is_alive(now) {
            held.sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    fn end(&self, id: &str) {
        self.lock().sessions.remove(&key(id));
    }

    /// Whether this address gave so many wrong tokens that it must wait.
    fn must_wait(&self, peer: IpAddr, now: Instant) -> bool {
        let mut held = self.lock();
        while held.failures.front().is_some_and(|(_, at)| now.duration_since(*at) >= FAILURE_FOR) {
            held.failures.pop_front();
        }
        let theirs = held.failures.iter().filter(|(of, _)| *of == peer).count();
        theirs >= LOGIN_FAILURES_MAX || held.failures.len() >= LOGIN_FAILURES_HELD
    }

    fn failed(&self, peer: IpAddr, now: Instant) {
        self.lock().failures.push_back((peer, now));
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_alive(&self, now: Instant) -> bool {
        now.duration_since(self.since) < SESSION_FOR && now.duration_since(self.used) < SESSION_IDLE
    }
}

/// Lets a session's requests through as its token's, and no request that another site's page made.
///
/// Without tokens everybody on this machine is let in, so the request must have been meant for this machine: a name that somebody's
/// DNS points here is not.
pub(in crate::api) async fn admit(
    State(console): State<Arc<Console>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if !headers.contains_key(AUTHORIZATION) {
        let gate = &console.intake.gate;
        if gate.tokens.is_empty() && !is_meant_for_this_machine(headers) {
            let detail = "without tokens only localhost, 127.0.0.1 and [::1] are answered to";
            return problem(StatusCode::MISDIRECTED_REQUEST, "not this machine", detail);
        }
        if !request.method().is_safe() && is_of_another_site(headers) {
            let detail = "this request was made by another site's page";
            return problem(StatusCode::FORBIDDEN, "another site", detail);
        }
        let session = cookie(headers).and_then(|id| console.sessions.find(id, Instant::now()));
        let token = session.as_ref().and_then(|session| gate.tokens.get(session.token));
        if let Some(mut value) =
            token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.secret)).ok())
        {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
    }
    next.run(request).await
}

/// What a login says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
    name: Option<String>,
}

/// `POST /api/v1/session`: a token for a cookie.
async fn login(
    _: Public,
    State(console): State<Arc<Console>>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    body: Bytes,
) -> Response {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |axum::Extension(ConnectInfo(peer))| peer.ip());
    let now = Instant::now();
    if console.sessions.must_wait(peer, now) {
        let mut response =
            problem(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens", "wait a minute and try again");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
        return response;
    }
    let login: Login = match serde_json::from_slice(&body) {
        Ok(login) => login,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "not as expected", &error.to_string()),
    };
    let name = login.name.unwrap_or_default().trim().to_owned();
    if name.len() > NAME_MAX || name.chars().any(char::is_control) {
        let detail = format!("a name has at most {NAME_MAX} bytes and no control characters");
        return problem(StatusCode::BAD_REQUEST, "no name", &detail);
    }
    let gate = &console.intake.gate;
    let given = login.token.trim().as_bytes();
    let token = gate.tokens.iter().position(|token| is_secret(given, token.secret.as_bytes()));
    let Some(token) = token else {
        console.intake.unauthorised("login");
        console.sessions.failed(peer, now);
        let detail = "this is no token of [[server.token]]";
        return problem(StatusCode::UNAUTHORIZED, "wrong credentials", detail);
    };
    let Some(id) = console.sessions.begin(token, name, now) else {
        let detail = "the machine gives no random numbers";
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "no session", detail);
    };
    answer(&console, &id, SESSION_FOR)
}

/// `DELETE /api/v1/session`: the cookie is worth nothing any more.
async fn logout(_: Public, State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    if let Some(id) = cookie(&headers) {
        console.sessions.end(id);
    }
    answer(&console, "", Duration::ZERO)
}

/// `GET /api/v1/session`: who asks, and what they may do.
async fn who(auth: Auth<AnyRole>, State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let gate = &console.intake.gate;
    let open = gate.tokens.is_empty();
    let roles = if open { vec!["integrator", "supervisor"] } else { vec![auth.role.name()] };
    let session = cookie(&headers).and_then(|id| console.sessions.find(id, Instant::now()));
    let name = session.map(|session| session.name).filter(|name| !name.is_empty());
    Json(json!({
        "roles": roles,
        "name": name,
        "open": open,
        "demo": console.demo,
        "version": env!("CARGO_PKG_VERSION"),
    }))
    .into_response()
}

impl Console {
    /// Who asks, in a word for colleagues and for the audit: the name they gave at login, else their role.
    pub(in crate::api) fn who(&self, headers: &HeaderMap) -> String {
        let session = cookie(headers).and_then(|id| self.sessions.find(id, Instant::now()));
        let named = session.map(|session| session.name).filter(|name| !name.is_empty());
        let role = || match self.role_of(&Uri::from_static("/"), headers) {
            Some(_) if self.intake.gate.tokens.is_empty() => "this machine".to_owned(),
            Some(role) => role.name().to_owned(),
            None => "nobody".to_owned(),
        };
        named.unwrap_or_else(role)
    }
}

fn answer(console: &Console, id: &str, lasts: Duration) -> Response {
    let secure = match &console.intake.gate.public_url {
        Some(url) if url.starts_with("wss:") || url.starts_with("https:") => "; Secure",
        _ => "",
    };
    let cookie =
        format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}", lasts.as_secs());
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, id)| id)
}

/// Whether a page of another site made this request: browsers say so themselves (Fetch Metadata), and older ones name the origin.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = said("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = said(ORIGIN.as_str()) else { return false };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_none() || host != said(HOST.as_str())
}

/// Whether `Host` names this machine as only this machine does; a request without one comes from no browser.
fn is_meant_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|digit| digit.is_ascii_digit()) { name } else { host }
    });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn key(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_it_is_idle_old_or_told_to() {
        let sessions = Sessions::default();
        let begin = || sessions.begin(0, String::new(), Instant::now()).unwrap();
        let (idle, told) = (begin(), begin());
        assert_eq!((idle.len(), idle == told), (64, false));
        sessions.end(&told);
        assert!(sessions.find(&told, Instant::now()).is_none());
        tokio::time::advance(SESSION_IDLE - Duration::from_secs(1)).await;
        assert!(sessions.find(&idle, Instant::now()).is_some());
        tokio::time::advance(SESSION_IDLE).await;
        assert!(sessions.find(&idle, Instant::now()).is_none());
        let old = begin();
        for _ in 0..12 {
            assert!(sessions.find(&old, Instant::now()).is_some());
            tokio::time::advance(Duration::from_secs(3_600)).await;
        }
        assert!(sessions.find(&old, Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_sessions_and_the_idlest_goes() {
        let sessions = Sessions::default();
        let first = sessions.begin(0, String::new(), Instant::now()).unwrap();
        for _ in 0..SESSIONS_MAX {
            tokio::time::advance(Duration::from_millis(1)).await;
            sessions.begin(0, String::new(), Instant::now()).unwrap();
        }
        assert!(sessions.find(&first, Instant::now()).is_none());
        assert_eq!(sessions.lock().sessions.len(), SESSIONS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_tokens_waits() {
        let (sessions, peer) = (Sessions::default(), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..LOGIN_FAILURES_MAX {
            assert!(!sessions.must_wait(peer, Instant::now()));
            sessions.failed(peer, Instant::now());
        }
        assert!(sessions.must_wait(peer, Instant::now()));
        assert!(!sessions.must_wait(IpAddr::from([192, 0, 2, 2]), Instant::now()));
        tokio::time::advance(FAILURE_FOR).await;
        assert!(!sessions.must_wait(peer, Instant::now()));
    }

    #[test]
    fn another_sites_page_says_so_itself() {
        let check = |pairs: &[(&'static str, &str)], other: bool| {
            let headers = headers(pairs);
            assert_eq!(is_of_another_site(&headers), other, "{pairs:?}");
        };
        check(&[], false);
        check(&[("sec-fetch-site", "same-origin")], false);
        check(&[("sec-fetch-site", "cross-site")], true);
        check(&[("sec-fetch-site", "same-site")], true);
        check(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")], false);
        check(&[("origin", "http://evil.example"), ("host", "127.0.0.1:8080")], true);
        check(&[("origin", "null"), ("host", "127.0.0.1:8080")], true);
    }

    #[test]
    fn a_name_that_points_here_is_not_this_machine() {
        let check = |host: &str, meant: bool| {
            assert_eq!(is_meant_for_this_machine(&headers(&[("host", host)])), meant, "{host}");
        };
        check("127.0.0.1:8080", true);
        check("localhost", true);
        check("[::1]:8080", true);
        check("rebound.example:8080", false);
        check("192.0.2.1:8080", false);
        assert!(is_meant_for_this_machine(&HeaderMap::new()));
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }
}
