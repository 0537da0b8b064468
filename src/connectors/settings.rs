//! `[[handoff.connector]]` → connectors. Each kind's own keys are in its file; here is what they have in common.

use std::{collections::BTreeSet, fmt::Debug, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::Url;
use serde::{Deserialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    Answer, Carries, Connector, Failure, HandBack, Offer, Tier, ami, ari, chat, esl, genesys,
    http::{Guard, Http},
    jambonz, nats, pager, stream, telnyx, twilio, webhook,
};
use warmline_core::policy::settings::{fault, line_of};

/// Where a secret is; never the secret itself, so that a configuration may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// In an environment variable.
    Env(String),
    /// In a file, less the white space around it.
    File(PathBuf),
}

/// Connectors in a configuration; more are refused.
pub const CONNECTORS_MAX: usize = 32;

/// What a key of a table says that it should not: the key, and the reason.
pub type KeyFault = (&'static str, String);

/// The keys of one kind of connector.
pub trait Settings: Debug + Send + Sync {
    /// Looks at what types alone do not say.
    ///
    /// # Errors
    /// The key that is wrong: what was read, and what was expected.
    fn check(&self) -> Result<(), KeyFault>;

    /// Where it sends callers or messages, without credentials.
    fn target(&self) -> String;

    /// What it can carry.
    fn carries(&self) -> Carries;

    /// Whether it only tells people.
    fn is_alert(&self) -> bool {
        false
    }

    /// The connector.
    ///
    /// # Errors
    /// When a secret cannot be read, or is none of its kind.
    fn connect(&self, world: &World<'_>) -> Result<Arc<dyn Connector>, String>;
}

/// What connectors need that no file can give.
pub struct World<'a> {
    /// Finds a secret.
    pub secret: &'a dyn Fn(&Secret) -> Result<String, String>,
    /// Hands a call back over its own media socket.
    pub hand_back: Arc<dyn HandBack>,
}

impl World<'_> {
    /// The secret of `key`, less the white space around it.
    ///
    /// # Errors
    /// When it is not there, or empty, or of several lines.
    pub fn secret(&self, key: &str, secret: &Secret) -> Result<String, String> {
        let text =
            (self.secret)(secret).map_err(|why| format!("the secret of `{key}` cannot be read: {why}"))?;
        match text.trim() {
            "" => Err(format!("the secret of `{key}` cannot be read: it is empty")),
            text if text.contains(['\r', '\n', '\0']) => {
                Err(format!("the secret of `{key}` has several lines: expected one"))
            }
            text => Ok(text.to_owned()),
        }
    }
}

/// One `[[handoff.connector]]`.
#[derive(Clone, Debug)]
pub struct ConnectorTable {
    /// `name`; without it the kind.
    pub name: String,
    /// `kind`.
    pub kind: String,
    /// `queue`: the only queue whose callers it takes.
    pub queue: Option<String>,
    /// The line it begins on.
    pub line: usize,
    /// The kind's own keys.
    pub settings: Arc<dyn Settings>,
}

/// Every kind, in the order of the README.
pub const KINDS: [&str; 13] = [
    "webhook",
    "stream",
    "twilio",
    "signalwire",
    "telnyx",
    "jambonz",
    "genesys",
    "ari",
    "ami",
    "esl",
    "nats",
    "chat",
    "pagerduty",
];

fn kind(name: &str, table: Spanned<DeValue<'_>>) -> Option<Result<Arc<dyn Settings>, toml::de::Error>> {
    fn read<T: Settings + DeserializeOwned + 'static>(
        table: Spanned<DeValue<'_>>,
    ) -> Result<Arc<dyn Settings>, toml::de::Error> {
        T::deserialize(ValueDeserializer::from(table)).map(|table| Arc::new(table) as Arc<dyn Settings>)
    }
    Some(match name {
        "webhook" => read::<WebhookTable>(table),
        "stream" => read::<stream::StreamTable>(table),
        "twilio" => read::<twilio::TwilioTable>(table),
        "signalwire" => read::<twilio::SignalwireTable>(table),
        "telnyx" => read::<telnyx::TelnyxTable>(table),
        "jambonz" => read::<jambonz::JambonzTable>(table),
        "genesys" => read::<genesys::GenesysTable>(table),
        "ari" => read::<ari::AriTable>(table),
        "ami" => read::<ami::AmiTable>(table),
        "esl" => read::<esl::EslTable>(table),
        "nats" => read::<nats::NatsTable>(table),
        "chat" => read::<chat::ChatTable>(table),
        "pagerduty" => read::<pager::PagerTable>(table),
        _ => return None,
    })
}

impl ConnectorTable {
    /// Every `[[handoff.connector]]` of a configuration, in its order: the first is tried first, those behind it are its
    /// alternates, and alerts are told beside.
    ///
    /// # Errors
    /// The line, from 1, and what was read there, what was expected, and how to mend it.
    pub fn read(source: &str) -> Result<Vec<Self>, (usize, String)> {
        let mut root = DeTable::parse(source).map_err(|error| fault(source, &error))?.into_inner();
        let Some(DeValue::Table(mut handoff)) = root.remove("handoff").map(Spanned::into_inner) else {
            return Ok(Vec::new());
        };
        let Some(connectors) = handoff.remove("connector") else { return Ok(Vec::new()) };
        let at = line_of(source, connectors.span().start);
        let DeValue::Array(connectors) = connectors.into_inner() else {
            return Err((at, "`handoff.connector` is no list: write [[handoff.connector]]".into()));
        };
        if connectors.len() > CONNECTORS_MAX {
            return Err((at, format!("{} connectors: expected at most {CONNECTORS_MAX}", connectors.len())));
        }
        let mut names = BTreeSet::new();
        let mut tables = Vec::new();
        for table in connectors {
            let table = Self::one(source, table)?;
            if !names.insert(table.name.clone()) {
                let reason = format!(
                    "a connector before this one is called {:?} too: give each its own `name`",
                    table.name
                );
                return Err((table.line, reason));
            }
            tables.push(table);
        }
        Ok(tables)
    }

    fn one(source: &str, table: Spanned<DeValue<'_>>) -> Result<Self, (usize, String)> {
        let span = table.span();
        let line = line_of(source, span.start);
        let DeValue::Table(mut keys) = table.into_inner() else {
            return Err((line, "`handoff.connector` is no table: write [[handoff.connector]]".into()));
        };
        let mut text = |key: &str| match keys.remove(key) {
            None => Ok(None),
            Some(value) => {
                let line = line_of(source, value.span().start);
                let text = value.get_ref().as_str().ok_or_else(|| {
                    (line, format!("`{key}` is a {}: expected a string", value.get_ref().type_str()))
                });
                text.map(|text| Some((text.to_owned(), line)))
            }
        };
        let all = KINDS.join(", ");
        let (name, queue) = (text("name")?, text("queue")?);
        let (kind_name, kind_line) =
            text("kind")?.ok_or_else(|| (line, format!("`kind` is missing: expected one of {all}")))?;
        let (name, name_line) = name.unwrap_or_else(|| (kind_name.clone(), kind_line));
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            let reason = format!("`name` is {name:?}: expected 1 to 64 printable characters without spaces");
            return Err((name_line, reason));
        }
        let lines: Vec<(String, usize)> = keys
            .iter()
            .map(|(key, _)| (key.get_ref().to_string(), line_of(source, key.span().start)))
            .collect();
        let settings = kind(&kind_name, Spanned::new(span, DeValue::Table(keys)))
            .ok_or_else(|| (kind_line, format!("`kind` is {kind_name:?}: expected one of {all}")))?
            .map_err(|error| fault(source, &error))?;
        settings.check().map_err(|(key, reason)| {
            let at = lines.iter().find(|(name, _)| name == key).map_or(line, |(_, at)| *at);
            (at, format!("`{key}` {reason}"))
        })?;
        Ok(Self { name, kind: kind_name, queue: queue.map(|(queue, _)| queue), line, settings })
    }

    /// The connector, under its name and for its queue.
    ///
    /// # Errors
    /// When a secret cannot be read, or is none of its kind.
    pub fn connect(&self, world: &World<'_>) -> Result<Arc<dyn Connector>, String> {
        let connector = self
            .settings
            .connect(world)
            .map_err(|reason| format!("handoff.connector {}: {reason}", self.name))?;
        let (name, queue, alert) = (self.name.clone(), self.queue.clone(), self.settings.is_alert());
        Ok(Arc::new(Configured { name, queue, alert, connector }))
    }

    /// What it is, where it leads and what it carries, in a sentence.
    pub fn words(&self) -> String {
        let Carries { tier, bytes_max } = self.settings.carries();
        let tier = match tier {
            Tier::Ref => "ref",
            Tier::Brief => "brief",
            Tier::Full => "full",
        };
        let queue = self.queue.as_ref().map(|queue| format!(", callers of {queue} only")).unwrap_or_default();
        let beside = if self.settings.is_alert() { ", beside the others" } else { "" };
        format!(
            "{} → {}, {tier} packet of at most {bytes_max} bytes{queue}{beside}",
            self.kind,
            self.settings.target()
        )
    }
}

/// A connector under its configured name.
struct Configured {
    name: String,
    queue: Option<String>,
    alert: bool,
    connector: Arc<dyn Connector>,
}

impl Connector for Configured {
    fn name(&self) -> &str {
        &self.name
    }

    fn serves(&self, queue: Option<&str>) -> bool {
        self.queue.is_none() || self.queue.as_deref() == queue
    }

    fn is_alert(&self) -> bool {
        self.alert
    }

    fn carries(&self) -> Carries {
        self.connector.carries()
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.connector.offer(offer)
    }

    fn read_again<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.connector.read_again(offer)
    }

    fn cancel<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, ()> {
        self.connector.cancel(offer)
    }
}

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
    #[serde(default = "timeout_s")]
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

impl Settings for WebhookTable {
    fn check(&self) -> Result<(), KeyFault> {
        address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        if self.secrets.is_empty() {
            return Err(("secrets", "is empty: expected at least one".into()));
        }
        timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        place(&self.url)
    }

    fn carries(&self) -> Carries {
        Carries { tier: Tier::Full, bytes_max: webhook::PACKET_MAX }
    }

    fn connect(&self, world: &World<'_>) -> Result<Arc<dyn Connector>, String> {
        let secrets: Result<_, _> =
            self.secrets.iter().map(|secret| world.secret("secrets", secret)).collect();
        let settings = webhook::Settings {
            name: "webhook".into(),
            url: self.url.clone(),
            secrets: secrets?,
            cloud_events: self.envelope == Envelope::CloudEvents,
            allow_private: self.allow_private,
            timeout: timeout(self.timeout_s).map_err(|(key, reason)| format!("`{key}` {reason}"))?,
        };
        webhook::connector(&settings).map_err(|error| error.to_string())
    }
}

/// How long an attempt may take if nothing is said, seconds: a caller is waiting.
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
