//! `[[handoff.connector]]` → connectors. `KINDS` is the only list of kinds.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    Answer, Carries, Connector, Environment, Failure, Kind, Offer, Tier, chat, genesys, jambonz, nats,
    pagerduty, pbx, stream, telnyx, twilio, webhook,
};
use warmline_core::policy::settings::{fault, line_of};

/// Reads the keys of one kind.
type Parse = fn(Spanned<DeValue<'_>>) -> Result<Arc<dyn Kind>, toml::de::Error>;

/// Every kind, in the order of the README.
const KINDS: &[(&str, Parse)] = &[
    ("webhook", parse::<webhook::WebhookTable>),
    ("stream", parse::<stream::StreamTable>),
    ("twilio", parse::<twilio::TwilioTable>),
    ("signalwire", parse::<twilio::SignalwireTable>),
    ("telnyx", parse::<telnyx::TelnyxTable>),
    ("jambonz", parse::<jambonz::JambonzTable>),
    ("genesys", parse::<genesys::GenesysTable>),
    ("ari", parse::<pbx::ari::AriTable>),
    ("ami", parse::<pbx::ami::AmiTable>),
    ("esl", parse::<pbx::esl::EslTable>),
    ("nats", parse::<nats::NatsTable>),
    ("chat", parse::<chat::ChatTable>),
    ("pagerduty", parse::<pagerduty::PagerTable>),
];

fn parse<T: Kind + DeserializeOwned + 'static>(
    table: Spanned<DeValue<'_>>,
) -> Result<Arc<dyn Kind>, toml::de::Error> {
    T::deserialize(ValueDeserializer::from(table)).map(|table| Arc::new(table) as Arc<dyn Kind>)
}

/// The names of all kinds, in the order of the README.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

/// Connectors in a configuration; more are refused.
pub const CONNECTORS_MAX: usize = 32;

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
    pub settings: Arc<dyn Kind>,
}

impl ConnectorTable {
    /// Every `[[handoff.connector]]` of a configuration, in its order: the first is tried first, the ones after it are its
    /// alternates, and alerts are notified beside them.
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
        let all = kinds().collect::<Vec<_>>().join(", ");
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
        let (_, parse) = KINDS
            .iter()
            .find(|(name, _)| *name == kind_name)
            .ok_or_else(|| (kind_line, format!("`kind` is {kind_name:?}: expected one of {all}")))?;
        let settings =
            parse(Spanned::new(span, DeValue::Table(keys))).map_err(|error| fault(source, &error))?;
        settings.check().map_err(|(key, reason)| {
            let at = lines.iter().find(|(name, _)| name == key).map_or(line, |(_, at)| *at);
            (at, format!("`{key}` {reason}"))
        })?;
        Ok(Self { name, kind: kind_name, queue: queue.map(|(queue, _)| queue), line, settings })
    }

    /// The connector, under its name and for its queue.
    ///
    /// # Errors
    /// When a secret cannot be read, or has the wrong form.
    pub fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let connector = self
            .settings
            .connect(environment)
            .map_err(|reason| format!("handoff.connector {}: {reason}", self.name))?;
        let (name, queue, alert) = (self.name.clone(), self.queue.clone(), self.settings.is_alert());
        Ok(Arc::new(Configured { name, queue, alert, connector }))
    }

    /// What it is, where it leads and what it carries, in a sentence.
    pub fn describe(&self) -> String {
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

    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.connector.query_status(offer)
    }

    fn cancel<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, ()> {
        self.connector.cancel(offer)
    }
}
