//! PagerDuty's Events API v2: an incident for each call, told beside whatever moves the caller.
//! <https://developer.pagerduty.com/docs/events-api-v2-overview>

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier,
    http::{Http, join},
    settings::{self, place},
};

/// Characters of a summary.
pub const SUMMARY_MAX: usize = 1_024;

/// Bytes of a `dedup_key`; the rest of a call's id is left out.
pub const DEDUP_KEY_MAX: usize = 255;

/// Bytes of the details; PagerDuty takes 512 KB of event.
pub const DETAILS_MAX: usize = 8_000;

/// `kind = "pagerduty"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerTable {
    /// The integration's routing key, 32 characters.
    pub secret: Secret,
    /// How grave it is.
    #[serde(default)]
    pub severity: Severity,
    /// Whether the whole brief is told; it may hold what the caller said.
    #[serde(default)]
    pub personal: bool,
    /// The API: `https://events.eu.pagerduty.com`, or a test's.
    #[serde(default = "api")]
    pub url: String,
    /// Whether that may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

/// How grave an incident is, in PagerDuty's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// `critical`.
    Critical,
    /// `error`.
    Error,
    /// `warning`.
    #[default]
    Warning,
    /// `info`.
    Info,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

fn api() -> String {
    "https://events.pagerduty.com".into()
}

impl Kind for PagerTable {
    fn check(&self) -> Result<(), KeyFault> {
        settings::address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        let personal = if self.personal { ", personal data and all" } else { "" };
        format!("{} incidents by {}{personal}", self.severity.name(), place(&self.url))
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn is_alert(&self) -> bool {
        true
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let (http, url) = settings::http(&self.url, self.allow_private, self.timeout_s)?;
        let key = environment.secret("secret", &self.secret)?;
        let url = join(&url, &["v2", "enqueue"]).map_err(|failure| failure.to_string())?;
        Ok(Arc::new(Pager { table: self.clone(), key, http, url }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: DETAILS_MAX };

/// The service that is paged.
pub struct Pager {
    table: PagerTable,
    key: String,
    http: Http,
    url: Url,
}

impl Pager {
    fn trigger(&self, offer: &Offer) -> Value {
        let size = |brief: &BTreeMap<String, String>| {
            serde_json::to_vec(brief).map_or(usize::MAX, |json| json.len())
        };
        let details = offer.brief_for_alert(self.table.personal, DETAILS_MAX, &size);
        let of = |key: &str| details.get(key).map(String::as_str).unwrap_or_default();
        let summary = format!("A caller is handed over: {} {} {}", of("reason"), of("score"), of("queue"));
        let links =
            details.get("packet_url").map(|url| json!([{ "href": url, "text": "The context packet" }]));
        json!({
            "routing_key": self.key,
            "event_action": "trigger",
            "dedup_key": dedup_key(offer),
            "client": "Warmline",
            "links": links.unwrap_or_else(|| json!([])),
            "payload": {
                "summary": summary.trim_end().chars().take(SUMMARY_MAX).collect::<String>(),
                "source": "warmline",
                "severity": self.table.severity.name(),
                "component": offer.source,
                "custom_details": details,
            },
        })
    }

    async fn enqueue(&self, event: Value, offer: &Offer) -> Result<Answer, Failure> {
        let request = self.http.client().post(self.url.clone()).json(&event);
        let reply = self.http.send(request, offer.remaining).await?;
        if reply.status.is_success() { Ok(Answer::Accepted) } else { Err(reply.failure("PagerDuty")) }
    }
}

/// The call: however often it is told, it is one incident.
fn dedup_key(offer: &Offer) -> String {
    offer.call.chars().filter(char::is_ascii_graphic).take(DEDUP_KEY_MAX).collect()
}

impl Connector for Pager {
    fn name(&self) -> &str {
        "pagerduty"
    }

    fn is_alert(&self) -> bool {
        true
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.enqueue(self.trigger(offer), offer).boxed()
    }

    /// The same `dedup_key` is the same incident, so it is said again.
    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.enqueue(self.trigger(offer), offer).map(|answer| answer.map(Some)).boxed()
    }

    /// Nobody is needed any more.
    fn cancel<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, ()> {
        let event =
            json!({ "routing_key": self.key, "event_action": "resolve", "dedup_key": dedup_key(offer) });
        self.enqueue(event, offer).map(|_| ()).boxed()
    }
}
