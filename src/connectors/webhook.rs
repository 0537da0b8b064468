//! A webhook signed as Standard Webhooks says (github.com/standard-webhooks/standard-webhooks), the packet in a plain or a CloudEvents
//! 1.0 envelope. The `webhook-id` of a transfer is its id on every attempt, so that a receiver that keeps the ids it has seen
//! carries nothing out twice: that is what makes it safe to offer again what may have arrived.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier,
    http::{Guard, Http, Reply},
    settings,
};
use crate::clock::{Clock, rfc3339};
use warmline_core::transfer::UnixMillis;

/// Bytes of the largest body: what Standard Webhooks recommends at the most.
pub const BODY_MAX: usize = 20_000;

/// Bytes of the packet in it; the rest is the envelope's.
pub const PACKET_MAX: usize = BODY_MAX - 2_000;

/// Secrets that sign at once, while one is being replaced.
pub const SECRETS_MAX: usize = 4;

/// The longest reason of a receiver that is kept, characters.
const WHY_MAX: usize = 200;

/// `kind = "webhook"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookTable {
    /// Where it is posted to.
    pub url: String,
    /// What signs it; several while a key is rotated, the new one first.
    pub secrets: Vec<Secret>,
    /// How it is wrapped.
    #[serde(default)]
    pub envelope: Envelope,
    /// Whether the address may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

/// How a webhook's body is wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Envelope {
    /// As Standard Webhooks writes it: `type`, `timestamp`, `data`.
    #[default]
    Standard,
    /// As CloudEvents 1.0 writes it, in structured mode.
    CloudEvents,
}

impl Kind for WebhookTable {
    fn check(&self) -> Result<(), KeyFault> {
        settings::address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        if self.secrets.is_empty() {
            return Err(("secrets", "is empty: expected at least one".into()));
        }
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        settings::place(&self.url)
    }

    fn carries(&self) -> Carries {
        Carries { tier: Tier::Full, bytes_max: PACKET_MAX }
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let secrets: Result<_, _> =
            self.secrets.iter().map(|secret| environment.secret("secrets", secret)).collect();
        let settings = Settings {
            name: "webhook".into(),
            url: self.url.clone(),
            secrets: secrets?,
            cloud_events: self.envelope == Envelope::CloudEvents,
            allow_private: self.allow_private,
            timeout: settings::timeout(self.timeout_s)
                .map_err(|(key, reason)| format!("`{key}` {reason}"))?,
        };
        Ok(Arc::new(
            Webhook::new(&settings, Arc::clone(&environment.clock)).map_err(|error| error.to_string())?,
        ))
    }
}

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
    http: Http,
    clock: Arc<dyn Clock>,
    is_gone: AtomicBool,
}

impl Webhook {
    /// A webhook with these settings; `clock` dates each signature.
    ///
    /// # Errors
    /// When the settings make none.
    pub fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
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
        let guard = Guard { allow_private: settings.allow_private };
        if let Ok(address) = host.parse::<IpAddr>()
            && !guard.permits(address)
        {
            return Err(SettingsError::Private(address));
        }
        let http = Http::new(guard, settings.timeout).map_err(SettingsError::Client)?;
        Ok(Self {
            name: settings.name.clone(),
            url,
            secrets,
            cloud_events: settings.cloud_events,
            http,
            clock,
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
                map.insert("packet".into(), json!(offer.packet.fit(Tier::Full, self.carries().bytes_max)));
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
        let at = self.clock.now();
        let body = self.body(kind, id, offer, at);
        let timestamp = at.0 / 1_000;
        let kind = if self.cloud_events { "application/cloudevents+json" } else { "application/json" };
        let request = self.http.client().post(self.url.clone());
        let request = request
            .header("content-type", kind)
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.signature(id, timestamp, &body))
            .body(body);
        self.answered(&self.http.send(request, offer.remaining).await?)
    }

    fn answered(&self, reply: &Reply) -> Result<Answer, Failure> {
        if reply.status.is_success() {
            return Ok(Answer::Accepted);
        }
        if reply.status == StatusCode::GONE {
            self.is_gone.store(true, Ordering::Relaxed);
            tracing::error!(connector = self.name, "the receiver answered 410 Gone: this webhook is off");
        }
        Err(reply.failure("the receiver"))
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
        Carries { tier: Tier::Full, bytes_max: PACKET_MAX }
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(self.post(REQUESTED, &offer.transfer, offer))
    }

    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
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

fn short(text: &str) -> String {
    text.chars().take(WHY_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

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
        for url in ["http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/x", "http://2130706433/"] {
            assert!(matches!(webhook(url, &[SECRET]).err(), Some(SettingsError::Private(_))), "{url}");
        }
        assert!(matches!(webhook("file:///etc/passwd", &[SECRET]).err(), Some(SettingsError::Url { .. })));
    }

    fn webhook(url: &str, secrets: &[&str]) -> Result<Webhook, SettingsError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = Settings {
            name: "webhook".into(),
            url: url.into(),
            secrets: secrets.iter().map(|secret| (*secret).to_owned()).collect(),
            cloud_events: false,
            allow_private: false,
            timeout: Duration::from_secs(3),
        };
        Webhook::new(&settings, Arc::new(SystemClock))
    }
}
