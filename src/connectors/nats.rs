//! A transfer as a message of NATS: `calls.<id>.<cue>`, told beside whatever moves the caller. With JetStream it is durable, and
//! `Nats-Msg-Id` makes a repeated one count once. <https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive>

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, HeaderMap,
    jetstream::{self, context::PublishErrorKind},
};
use futures_util::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier, settings,
    socket::host_and_port,
};

/// Bytes of a message, below the server's own default of 1 MiB.
pub const MESSAGE_MAX: usize = 512 * 1024;

/// Bytes of the call's id in a subject; the rest is left out.
pub const SUBJECT_ID_MAX: usize = 128;

/// `kind = "nats"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsTable {
    /// `nats.example:4222`.
    pub address: String,
    /// Whether the connection is TLS.
    #[serde(default)]
    pub tls: bool,
    /// A user; its password is `secret`.
    pub user: Option<String>,
    /// The user's password, or without a user the token.
    pub secret: Option<Secret>,
    /// What subjects begin with.
    #[serde(default = "prefix")]
    pub subject: String,
    /// Whether a stream must have taken the message; without it nobody knows who heard.
    #[serde(default = "settings::yes")]
    pub jetstream: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

fn prefix() -> String {
    "calls".into()
}

impl Kind for NatsTable {
    fn check(&self) -> Result<(), KeyFault> {
        host_and_port(&self.address).map_err(|reason| ("address", reason))?;
        if self.user.is_some() && self.secret.is_none() {
            return Err(("user", "has no `secret` beside it".into()));
        }
        let token =
            |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if !self.subject.split('.').all(token) || self.subject.len() > 64 {
            return Err((
                "subject",
                format!("is {:?}: expected words of a subject, say calls", self.subject),
            ));
        }
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("{}.<call>.<cue> at {}", self.subject, self.address)
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn is_alert(&self) -> bool {
        true
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let secret = self.secret.as_ref().map(|secret| environment.secret("secret", secret)).transpose()?;
        let timeout =
            settings::timeout(self.timeout_s).map_err(|(key, reason)| format!("`{key}` {reason}"))?;
        Ok(Arc::new(Nats { table: self.clone(), secret, timeout, client: Mutex::new(None) }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Full, bytes_max: MESSAGE_MAX };

/// The broker.
pub struct Nats {
    table: NatsTable,
    secret: Option<String>,
    timeout: Duration,
    /// Made when it is first needed; it reconnects by itself.
    client: Mutex<Option<Client>>,
}

fn again(why: &str) -> Failure {
    Failure::Again { after: None, why: format!("NATS: {why}") }
}

impl Nats {
    async fn client(&self) -> Result<Client, Failure> {
        let mut kept = self.client.lock().await;
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let options = match (&self.table.user, &self.secret) {
            (Some(user), Some(password)) => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
            (None, Some(token)) => ConnectOptions::with_token(token.clone()),
            (_, None) => ConnectOptions::new(),
        };
        let options = options.name("warmline").require_tls(self.table.tls).connection_timeout(self.timeout);
        let client = options.connect(&self.table.address).await.map_err(|error| {
            let kind = error.kind();
            if matches!(kind, ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation) {
                Failure::Never("NATS refuses the credentials".into())
            } else {
                again(&error.to_string())
            }
        })?;
        *kept = Some(client.clone());
        Ok(client)
    }

    /// `calls.<id>.<cue>`; what no word of a subject holds becomes `_`.
    fn subject(&self, offer: &Offer) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let id: String = offer.carrier_id(&[]).chars().map(word).take(SUBJECT_ID_MAX).collect();
        let id = if id.is_empty() { "_".to_owned() } else { id };
        format!("{}.{id}.{}", self.table.subject, offer.packet.full.trigger.cue.name())
    }

    async fn publish(&self, offer: &Offer) -> Result<Answer, Failure> {
        let until = Instant::now() + self.timeout.min(offer.remaining);
        let client = timeout_at(until, self.client()).await.map_err(|_| again("no connection in time"))??;
        let room = client.server_info().max_payload.min(MESSAGE_MAX);
        let packet = serde_json::to_vec(&offer.packet.fit(Tier::Full, room))
            .map_err(|error| Failure::Never(format!("the packet is no JSON: {error}")))?;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", offer.transfer.as_str());
        let unknown = |why: &str| Failure::Unknown(format!("NATS: {why}"));
        let subject = self.subject(offer);
        if !self.table.jetstream {
            let sent = async {
                client
                    .publish_with_headers(subject, headers, packet.into())
                    .await
                    .map_err(|e| e.to_string())?;
                client.flush().await.map_err(|e| e.to_string())
            };
            let sent = timeout_at(until, sent).await.map_err(|_| unknown("not sent in time"))?;
            return sent.map(|()| Answer::Accepted).map_err(|why| unknown(&why));
        }
        let acknowledged = async {
            let context = jetstream::new(client.clone());
            context.publish_with_headers(subject, headers, packet.into()).await?.await
        };
        match timeout_at(until, acknowledged).await {
            Err(_) => Err(unknown("no acknowledgement in time")),
            Ok(Ok(_)) => Ok(Answer::Accepted),
            Ok(Err(error)) if error.kind() == PublishErrorKind::StreamNotFound => {
                Err(Failure::Never(format!(
                    "NATS: no stream takes {}.>: create one, or set `jetstream = false`",
                    self.table.subject
                )))
            }
            Ok(Err(error)) => Err(unknown(&error.to_string())),
        }
    }
}

impl Connector for Nats {
    fn name(&self) -> &str {
        "nats"
    }

    fn is_alert(&self) -> bool {
        true
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.publish(offer).boxed()
    }

    /// JetStream counts the same `Nats-Msg-Id` once, so it is said again.
    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.publish(offer).map(|answer| answer.map(Some)).boxed()
    }
}
