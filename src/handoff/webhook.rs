//! A webhook signed as Standard Webhooks says (github.com/standard-webhooks/standard-webhooks), the packet in a plain or a CloudEvents
//! 1.0 envelope. The `webhook-id` of a transfer is its id on every attempt, so that a receiver that keeps the ids it has seen
//! carries nothing out twice: that is what makes it safe to offer again what may have arrived.

use std::{
    error::Error as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{
    Client, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use serde_json::json;
use sha2::Sha256;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::{Answer, Carries, Connector, Failure, Offer, Tier, fit::fit};
use crate::{ledger::rfc3339, transfer::UnixMillis};

/// Bytes of the largest body: what Standard Webhooks recommends at the most.
pub const BODY_MAX: usize = 20_000;

/// Bytes of the body around the packet, at the most.
const ENVELOPE_MAX: usize = 2_000;

/// Secrets that sign at once, while one is being replaced.
pub const SECRETS_MAX: usize = 4;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// The longest reason of a receiver that is kept, characters.
const WHY_MAX: usize = 200;

/// What makes a webhook.
#[derive(Clone)]
pub struct Settings {
    /// The connector's name.
    pub name: String,
    /// Where it goes.
    pub url: String,
    /// What signs: `whsec_` and base64 of 24 to 64 bytes. Every one signs, the newest first.
    pub secrets: Vec<String>,
    /// Whether the envelope is a CloudEvent.
    pub cloud_events: bool,
    /// Whether addresses of this machine and of private networks are allowed.
    pub allow_private: bool,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Why settings make no webhook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The address.
    #[error("the url {url:?} is no address of http or https: {why}")]
    Url {
        /// What was read.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A secret.
    #[error("secret {0} is none of Standard Webhooks: expected whsec_ and base64 of 24 to 64 bytes")]
    Secret(usize),
    /// How many secrets.
    #[error("there are {0} secrets: expected 1 to {SECRETS_MAX}")]
    Secrets(usize),
    /// An address that is not allowed.
    #[error(
        "the url's address {0} is of this machine or of a private network: set allow_private = true if that is meant"
    )]
    Private(IpAddr),
    /// TLS or the like.
    #[error("no client: {0}")]
    Client(String),
}

/// A webhook.
pub struct Webhook {
    name: String,
    url: Url,
    secrets: Vec<Vec<u8>>,
    cloud_events: bool,
    client: Client,
    is_gone: AtomicBool,
}

impl Webhook {
    /// A webhook by its settings.
    ///
    /// # Errors
    /// When the settings make none.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let fault = |why: String| SettingsError::Url { url: settings.url.clone(), why };
        let url = Url::parse(&settings.url).map_err(|error| fault(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fault(format!("its scheme is {:?}", url.scheme())));
        }
        if !(1..=SECRETS_MAX).contains(&settings.secrets.len()) {
            return Err(SettingsError::Secrets(settings.secrets.len()));
        }
        let secrets =
            (1..).zip(&settings.secrets).map(|(n, text)| secret(text).ok_or(SettingsError::Secret(n)));
        let secrets = secrets.collect::<Result<_, _>>()?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if let Ok(address) = host.parse::<IpAddr>()
            && !settings.allow_private
            && !is_public(address)
        {
            return Err(SettingsError::Private(address));
        }
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT.min(settings.timeout))
            .timeout(settings.timeout)
            .tcp_nodelay(true)
            .dns_resolver(Guard { allow_private: settings.allow_private })
            .user_agent(concat!("warmline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| SettingsError::Client(words(&error)))?;
        Ok(Self {
            name: settings.name.clone(),
            url,
            secrets,
            cloud_events: settings.cloud_events,
            client,
            is_gone: AtomicBool::new(false),
        })
    }

    /// The `webhook-signature` of a body: one for each secret, the newest first.
    pub fn signature(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signatures = self.secrets.iter().map(|secret| sign(secret, id, timestamp, body));
        signatures.collect::<Vec<_>>().join(" ")
    }

    fn body(&self, kind: &str, id: &str, offer: &Offer, at: UnixMillis) -> String {
        let trigger = &offer.packet.full.trigger;
        let mut data = json!({
            "transfer": offer.transfer, "call": offer.call, "source": offer.source, "cue": trigger.cue, "why": short(&trigger.words),
            "probability": trigger.probability, "target": offer.target, "packet_url": offer.packet_url,
        });
        if let Some(map) = data.as_object_mut() {
            map.retain(|_, value| !value.is_null());
            if kind == REQUESTED {
                map.insert("packet".into(), fit(&offer.packet, self.carries().bytes_max));
            }
        }
        let envelope = if self.cloud_events {
            json!({
                "specversion": "1.0", "id": id, "source": "/warmline", "type": kind, "time": rfc3339(at),
                "subject": offer.call, "datacontenttype": "application/json", "data": data,
            })
        } else {
            json!({ "type": kind, "timestamp": rfc3339(at), "data": data })
        };
        envelope.to_string()
    }

    async fn post(&self, kind: &str, id: &str, offer: &Offer) -> Result<Answer, Failure> {
        if self.is_gone.load(Ordering::Relaxed) {
            return Err(Failure::Never(
                "the receiver said 410: this webhook is off until the program starts again".into(),
            ));
        }
        let at = now();
        let body = self.body(kind, id, offer, at);
        let timestamp = at.0 / 1_000;
        let kind = if self.cloud_events { "application/cloudevents+json" } else { "application/json" };
        let request = self
            .client
            .post(self.url.clone())
            .timeout(offer.remaining)
            .header("content-type", kind)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.signature(id, timestamp, &body))
            .body(body);
        match request.send().await {
            Ok(response) => self.answered(&response),
            // Without a connection nothing was sent; with one, it may have arrived.
            Err(error) if error.is_connect() || error.is_builder() => {
                Err(Failure::Again { after: None, why: words(&error) })
            }
            Err(error) => Err(Failure::Unknown(words(&error))),
        }
    }

    fn answered(&self, response: &Response) -> Result<Answer, Failure> {
        let status = response.status();
        let why = format!("the receiver answered {status}");
        if status.is_success() {
            Ok(Answer::Accepted)
        } else if status == StatusCode::GONE {
            self.is_gone.store(true, Ordering::Relaxed);
            tracing::error!(connector = self.name, "the receiver answered 410 Gone: this webhook is off");
            Err(Failure::Never(why))
        } else if status.is_redirection() {
            Err(Failure::Never(format!("{why}: redirects are not followed, name the address it is at")))
        } else if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
            let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            Err(Failure::Again { after: after.and_then(|text| retry_after(text, now())), why })
        } else {
            Err(Failure::Never(why))
        }
    }
}

/// What a transfer is called in the envelope, and its being called back.
const REQUESTED: &str = "call.transfer.requested";
const CANCELLED: &str = "call.transfer.cancelled";

impl Connector for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn carries(&self) -> Carries {
        Carries { tier: Tier::Full, bytes_max: BODY_MAX - ENVELOPE_MAX }
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(self.post(REQUESTED, &offer.transfer, offer))
    }

    fn read_again<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        Box::pin(async { self.post(REQUESTED, &offer.transfer, offer).await.map(Some) })
    }

    fn cancel<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let id = format!("{}-cancelled", offer.transfer);
            if let Err(failure) = self.post(CANCELLED, &id, offer).await {
                tracing::warn!(connector = self.name, transfer = offer.transfer, %failure, "not called back");
            }
        })
    }
}

/// Bytes of a secret as Standard Webhooks writes it.
fn secret(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text.trim().strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

/// `v1,` and HMAC-SHA256 over `id.timestamp.body`, base64.
fn sign(secret: &[u8], id: &str, timestamp: u64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str, now: UnixMillis) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?;
    let at = u64::try_from(date.unix_timestamp()).ok()?.saturating_mul(1_000);
    Some(Duration::from_millis(at.saturating_sub(now.0)))
}

/// Resolves names, and leaves out addresses that are not allowed: a name that leads to this machine or a private network leads nowhere.
struct Guard {
    allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let count = found.len();
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| allow_private || is_public(address.ip())).collect();
            if allowed.is_empty() && count > 0 {
                return Err("it leads to this machine or a private network: set allow_private = true if that is meant".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the internet: not of this machine, a link, a private network, a test, a group (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_broadcast()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    let segments = address.segments();
    match segments {
        // What is translated to IPv4 leads where that leads (RFC 6052, RFC 3056).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        // Of what is given out, less documentation (RFC 3849) and Teredo (RFC 4380).
        [0x2001, 0x0db8, ..] | [0x2001, 0, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// An error with what led to it, and without the address, which may hold a secret.
fn words(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the request broke off"
    };
    short(&std::iter::once(what.to_owned()).chain(causes).collect::<Vec<_>>().join(": "))
}

fn short(text: &str) -> String {
    text.chars().take(WHY_MAX).collect()
}

#[allow(clippy::disallowed_methods, reason = "a signature is dated with the moment it is sent")]
fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A connector of these settings.
///
/// # Errors
/// When the settings make none.
pub fn connector(settings: &Settings) -> Result<Arc<dyn Connector>, SettingsError> {
    Ok(Arc::new(Webhook::new(settings)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_that_of_the_vendors_example() {
        let body = "{\"test\": 2432232314}";
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(sign(&secret(SECRET).unwrap(), id, 1_614_265_330, body), expected);
        let two = [SECRET, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
        let rotated = webhook("https://example.com/", &two).unwrap().signature(id, 1_614_265_330, body);
        let (first, second) = rotated.split_once(' ').unwrap();
        assert_eq!(first, expected);
        assert!(second.starts_with("v1,") && second != expected);
    }

    #[test]
    fn a_secret_is_24_to_64_bytes_behind_its_prefix() {
        let of = |len: usize| format!("whsec_{}", STANDARD.encode(vec![7; len]));
        for (text, good) in [(of(24), true), (of(64), true), (of(23), false), (of(65), false)] {
            assert_eq!(webhook("https://example.com/", &[&text]).is_ok(), good, "{text}");
        }
        let error = webhook("https://example.com/", &["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).err().unwrap();
        assert_eq!(error, SettingsError::Secret(1));
        assert_eq!(webhook("https://example.com/", &[]).err().unwrap(), SettingsError::Secrets(0));
    }

    #[test]
    fn an_address_that_is_not_of_the_internet_is_refused() {
        for (address, public) in [
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("198.18.0.1", false),
            ("93.184.215.14", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:93.184.215.14", true),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::5db8:d70e", true),
            ("2002:a00:1::", false),
            ("2001:db8::1", false),
            ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", true),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
        for url in ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/x", "http://2130706433/"] {
            assert!(matches!(webhook(url, &[SECRET]).err(), Some(SettingsError::Private(_))), "{url}");
        }
        assert!(matches!(webhook("file:///etc/passwd", &[SECRET]).err(), Some(SettingsError::Url { .. })));
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let now = UnixMillis(784_111_777_000);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:27 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    fn webhook(url: &str, secrets: &[&str]) -> Result<Webhook, SettingsError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Webhook::new(&Settings {
            name: "webhook".into(),
            url: url.into(),
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            cloud_events: false,
            allow_private: false,
            timeout: Duration::from_secs(3),
        })
    }
}
