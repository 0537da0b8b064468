//! An incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat): a line in a channel, told beside whatever moves the
//! caller. <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier, http::Http,
    settings,
};

/// Bytes of a message's text: Slack shows no more of one block.
pub const TEXT_MAX: usize = 3_000;

/// `kind = "chat"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatTable {
    /// The webhook's address, which is itself a secret.
    pub url: Secret,
    /// Whether the whole brief is told; it may hold what the caller said.
    #[serde(default)]
    pub personal: bool,
    /// Whether the address may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

impl Kind for ChatTable {
    fn check(&self) -> Result<(), KeyFault> {
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        if self.personal { "a chat channel, personal data and all".into() } else { "a chat channel".into() }
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn is_alert(&self) -> bool {
        true
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let url = environment.secret("url", &self.url)?;
        let (http, url) = settings::http(&url, self.allow_private, self.timeout_s)
            .map_err(|_| "`url` is secret and no address: expected https://…".to_owned())?;
        Ok(Arc::new(Chat { personal: self.personal, http, url }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: TEXT_MAX };

/// The channel.
pub struct Chat {
    personal: bool,
    http: Http,
    url: Url,
}

/// Slack's own escaping; with it nobody is mentioned (`<!channel>`) and no link is made that is not ours.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace(['*', '_', '~', '`', '|'], " ")
}

fn text(brief: &BTreeMap<String, String>) -> String {
    let of = |key: &str| brief.get(key).map(|value| escaped(value));
    let mut text = format!("A caller is handed over: {}", of("reason").unwrap_or_default().replace('_', " "));
    for (word, value) in [(" (", of("score")), (", queue ", of("queue"))] {
        if let Some(value) = value {
            text += word;
            text += &value;
            text += if word == " (" { ")" } else { "" };
        }
    }
    for (key, value) in brief {
        if !matches!(key.as_str(), "reason" | "score" | "queue" | "packet_url") {
            text += &format!("\n{}: {}", key.replace('_', " "), escaped(value));
        }
    }
    if let Some(url) = brief.get("packet_url") {
        text += &format!("\n<{}|The context packet>", url.replace(['<', '>', '|'], ""));
    }
    text
}

impl Chat {
    async fn post(&self, offer: &Offer) -> Result<Answer, Failure> {
        let text = text(&offer.brief_for_alert(self.personal, TEXT_MAX, &|brief| text(brief).len()));
        let request = self.http.client().post(self.url.clone()).json(&json!({ "text": text }));
        let reply = self.http.send(request, offer.remaining).await?;
        if reply.status.is_success() { Ok(Answer::Accepted) } else { Err(reply.failure("the chat")) }
    }
}

impl Connector for Chat {
    fn name(&self) -> &str {
        "chat"
    }

    fn is_alert(&self) -> bool {
        true
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.post(offer).boxed()
    }

    /// A line that stands there twice does no harm; one that is missing does.
    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.post(offer).map(|answer| answer.map(Some)).boxed()
    }
}
