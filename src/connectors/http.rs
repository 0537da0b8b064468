//! The one HTTP client of all connectors: no redirects, no proxy, bounded answers, addresses that are looked at before they are called.

use std::{
    error::Error,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, RequestBuilder, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, RETRY_AFTER},
    redirect, retry,
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::Failure;

/// Bytes of an answer that are read; the rest is left.
pub const BODY_MAX: usize = 64 * 1024;

/// The longest `Retry-After` that is believed; a longer one counts as this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Which addresses may be called. Names are resolved first and their addresses looked at, so that a name cannot lead elsewhere than
/// an address may (server-side request forgery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Whether this machine and private networks may be called. Link-local addresses, where clouds keep credentials, never may.
    pub allow_private: bool,
}

impl Guard {
    /// Whether an address may be called.
    pub fn permits(self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                let never = v4.is_link_local()
                    || v4.is_unspecified()
                    || v4.is_multicast()
                    || v4.is_broadcast()
                    || a == 0
                    || a >= 240;
                // Carrier-grade NAT (RFC 6598), benchmarks (RFC 2544), protocol assignments (RFC 6890).
                let shared = a == 100 && (64..128).contains(&b);
                let special = shared || a == 198 && matches!(b, 18 | 19) || (a, b, c) == (192, 0, 0);
                !never && (self.allow_private || !(v4.is_private() || v4.is_loopback() || special))
            }
            IpAddr::V6(v6) => match embedded(v6) {
                Some(v4) => self.permits(IpAddr::V4(v4)),
                None => {
                    let never = v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
                    !never && (self.allow_private || !(v6.is_loopback() || v6.is_unique_local()))
                }
            },
        }
    }

    /// Whether the address of a socket may be called; for connectors that speak TCP themselves.
    ///
    /// # Errors
    /// When no address of the host may be.
    pub async fn resolve(self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(|error| Failure::Again { after: None, why: format!("{host} is not found: {error}") })?
            .collect();
        let permitted: Vec<SocketAddr> = found.iter().copied().filter(|a| self.permits(a.ip())).collect();
        match (permitted.is_empty(), found.first()) {
            (true, Some(first)) => Err(forbidden(first.ip())),
            (true, None) => Err(Failure::Again { after: None, why: format!("{host} has no address") }),
            (false, _) => Ok(permitted),
        }
    }
}

/// The IPv4 address inside an IPv6 one: mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`), NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn embedded(v6: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = v6.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        std::net::Ipv4Addr::new(a, b, c, d)
    };
    match [s0, s1, s2, s3, s4, s5] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(of(s6, s7)),
        [0, 0, 0, 0, 0, 0] if s6 != 0 || s7 > 1 => Some(of(s6, s7)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// An address that may not be called.
#[derive(Debug, thiserror::Error)]
#[error("{0} is an address of this machine, of a private network or of a cloud's own")]
struct Forbidden(IpAddr);

fn forbidden(ip: IpAddr) -> Failure {
    Failure::Never(format!(
        "{} and is not called: set `allow_private = true` if it is your own network",
        Forbidden(ip)
    ))
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted: Vec<SocketAddr> =
                found.iter().copied().filter(|a| guard.permits(a.ip())).collect();
            match found.first() {
                Some(first) if permitted.is_empty() => Err(Forbidden(first.ip()).into()),
                Some(_) | None => Ok(Box::new(permitted.into_iter()) as Addrs),
            }
        })
    }
}

/// What sends requests.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    guard: Guard,
    timeout: Duration,
}

impl Http {
    /// A client whose every request ends within `timeout`.
    ///
    /// # Errors
    /// When the system has no certificates to trust.
    pub fn new(guard: Guard, timeout: Duration) -> Result<Self, String> {
        // Another part of the program may have chosen the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("warmline/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .dns_resolver(Arc::new(guard))
            .connect_timeout(timeout.mul_f32(0.75))
            .build()
            .map_err(|error| format!("no HTTP client: {}", chain(&error)))?;
        Ok(Self { client, guard, timeout })
    }

    /// The client to make a request with; [`Http::send`] sends it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request within the time-out and `remaining`. Any status is an answer; [`Reply::failure`] says what it means.
    ///
    /// # Errors
    /// [`Failure::Again`] where no connection was made, [`Failure::Unknown`] where the answer did not come,
    /// [`Failure::Never`] where the address may not be called.
    pub async fn send(&self, request: RequestBuilder, remaining: Duration) -> Result<Reply, Failure> {
        let timeout = self.timeout.min(remaining);
        let request = request.timeout(timeout).build();
        let request = request.map_err(|error| Failure::Never(format!("no request: {}", chain(&error))))?;
        // A literal address is not resolved, so the resolver does not see it.
        let host = request.url().host_str().unwrap_or_default().trim_matches(['[', ']']);
        if let Ok(ip) = host.parse::<IpAddr>()
            && !self.guard.permits(ip)
        {
            return Err(forbidden(ip));
        }
        let answer = self.client.execute(request).await;
        let mut answer = answer.map_err(|error| unanswered(error.without_url(), timeout))?;
        let (status, after) = (answer.status(), retry_after(answer.headers()));
        let mut body = Vec::new();
        while body.len() < BODY_MAX {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                // The status has been said; what is lost of the body is lost.
                Err(_) => break,
            }
        }
        body.truncate(BODY_MAX);
        Ok(Reply { status, retry_after: after, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// What a receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Its body, at most [`BODY_MAX`] bytes.
    pub body: String,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// What a status means that is no success. 408, 425, 429, 500, 501 and 503 say that nothing was done; 502, 504 and what else begins
    /// with 5 come from between, and leave it open; a redirect is not followed; the others are final.
    pub fn failure(&self, who: &str) -> Failure {
        let status = self.status;
        let why = format!("{who} answers {}", status.as_u16());
        match status.as_u16() {
            408 | 425 | 429 | 500 | 501 | 503 => Failure::Again { after: self.retry_after, why },
            500..=599 => Failure::Unknown(why),
            300..=399 => {
                Failure::Never(format!("{why}: redirects are not followed; configure the final address"))
            }
            401 | 403 => Failure::Never(format!("{why}: the credentials are refused")),
            _ => Failure::Never(why),
        }
    }
}

/// `base` with path segments behind its own, each percent-encoded.
///
/// # Errors
/// When a segment is empty or a step (`.`, `..`): an id must not lead elsewhere.
pub fn join(base: &Url, segments: &[&str]) -> Result<Url, Failure> {
    let mut url = base.clone();
    if let Some(segment) = segments.iter().find(|s| matches!(**s, "" | "." | "..")) {
        return Err(Failure::Never(format!("{segment:?} is no id")));
    }
    url.path_segments_mut()
        .map_err(|()| Failure::Never(format!("{} takes no path", base.scheme())))?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

/// `application/x-www-form-urlencoded`.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form.invalid/").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.as_ref().and_then(Url::query).unwrap_or_default().to_owned()
}

fn unanswered(error: reqwest::Error, timeout: Duration) -> Failure {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(Forbidden(ip)) = inner.downcast_ref::<Forbidden>() {
            return forbidden(*ip);
        }
        source = inner.source();
    }
    if error.is_connect() {
        Failure::Again { after: None, why: format!("no connection: {}", chain(&error)) }
    } else if error.is_builder() {
        Failure::Never(format!("no request: {}", chain(&error)))
    } else if error.is_timeout() {
        Failure::Unknown(format!("no answer within {timeout:.1?}"))
    } else {
        Failure::Unknown(format!("no answer: {}", chain(&error)))
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    words
}

/// `Retry-After` (RFC 9110 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = OffsetDateTime::parse(&value.replace("GMT", "+0000"), &Rfc2822).ok()?;
            Duration::try_from(at - OffsetDateTime::now_utc()).unwrap_or_default()
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_is_called_only_if_that_is_allowed_and_a_clouds_own_never() {
        let check = |ip: &str, public: bool, private: bool| {
            let ip: IpAddr = ip.parse().unwrap();
            let permits = |allow_private| Guard { allow_private }.permits(ip);
            assert_eq!((permits(false), permits(true)), (public, private), "{ip}");
        };
        for ip in ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"] {
            check(ip, true, true);
        }
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:c0a8:1::1",
        ] {
            check(ip, false, true);
        }
        for ip in
            ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"]
        {
            check(ip, false, false);
        }
    }

    #[test]
    fn a_status_says_whether_it_was_done() {
        let reply = |status: u16| Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: Some(Duration::from_secs(7)),
            body: String::new(),
        };
        for status in [408, 429, 500, 503] {
            let Failure::Again { after, .. } = reply(status).failure("it") else { panic!("{status}") };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
        for status in [502, 504, 520] {
            assert!(matches!(reply(status).failure("it"), Failure::Unknown(_)), "{status}");
        }
        for status in [302, 307, 400, 401, 404, 410] {
            assert!(matches!(reply(status).failure("it"), Failure::Never(_)), "{status}");
        }
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_a_path() {
        let base = Url::parse("https://pbx.example/ari/").unwrap();
        let url = join(&base, &["channels", "a/../b?c#d\r\n", "continue"]).unwrap();
        assert_eq!(url.as_str(), "https://pbx.example/ari/channels/a%2F..%2Fb%3Fc%23d/continue");
        assert!(join(&base, &["channels", ".."]).is_err() && join(&base, &[""]).is_err());
        assert_eq!(form(&[("a", "1&b=2\r\n"), ("c", "+ü")]), "a=1%26b%3D2%0D%0A&c=%2B%C3%BC");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_years() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("99999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(read("Fri, 31 Dec 2999 23:59:59 GMT"), Some(RETRY_AFTER_MAX));
        assert_eq!(read("soon"), None);
    }
}
