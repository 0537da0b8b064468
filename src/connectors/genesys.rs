//! Genesys Cloud's Platform API: the context goes into the caller's participant attributes, then the agent's or bot's participant is
//! replaced by a queue, a user or an address. Audio Connector bots need no API: `kind = "stream"` hands back with `outputVariables`.
//! <https://developer.genesys.cloud/commdigital/conversations/>

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{RequestBuilder, Url, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier,
    http::{Http, Reply, form, join},
    settings,
};

/// Bytes of all attributes together, as JSON.
pub const ATTRIBUTES_MAX: usize = 2_000;

/// How long before its end a token is no longer used.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// The attribute that says which participant was to be replaced: it is how an attempt is read again.
const REPLACES: &str = "warmline_replaces";

/// `kind = "genesys"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesysTable {
    /// The region's domain: `mypurecloud.ie`, `usw2.pure.cloud`.
    pub region: String,
    /// The OAuth client's id (client credentials; it needs `conversation:communication:transfer` and `conversation:participant:edit`).
    pub client_id: String,
    /// Its secret.
    pub secret: Secret,
    /// Where callers go: `queue:ID`, `user:ID`, `+15550100` or `sip:…`.
    pub target: String,
    /// Both addresses of the API, for a test.
    pub url: Option<String>,
    /// Whether that may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long each of its requests may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

/// The body of a replacement.
fn target(text: &str) -> Result<Value, String> {
    let id = |id: &str| id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let address = |text: &str| {
        let number = text.strip_prefix('+').is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let sip = text.starts_with("sip:") && text.contains('@');
        let good = |b: u8| b.is_ascii_graphic() && !b"<>\"".contains(&b);
        (number || sip) && (6..=200).contains(&text.len()) && text.bytes().all(good)
    };
    match text.split_once(':') {
        Some(("queue", queue)) if id(queue) => Ok(json!({ "queueId": queue })),
        Some(("user", user)) if id(user) => Ok(json!({ "userId": user })),
        Some(_) | None if address(text) => Ok(json!({ "address": text })),
        Some(_) | None => Err(format!("is {text:?}: expected queue:ID, user:ID, +15550100 or sip:…")),
    }
}

impl Kind for GenesysTable {
    fn check(&self) -> Result<(), KeyFault> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b);
        if !self.region.contains('.') || !self.region.bytes().all(good) {
            return Err(("region", format!("is {:?}: expected a domain, say mypurecloud.ie", self.region)));
        }
        target(&self.target).map_err(|reason| ("target", reason))?;
        if let Some(url) = &self.url {
            settings::address(url, self.allow_private).map_err(|reason| ("url", reason))?;
        }
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("{} in {}", self.target, self.region)
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let at = |host: &str| self.url.clone().unwrap_or_else(|| format!("https://{host}.{}", self.region));
        let (http, api) = settings::http(&at("api"), self.allow_private, self.timeout_s)?;
        let (_, login) = settings::http(&at("login"), self.allow_private, self.timeout_s)?;
        let secret = environment.secret("secret", &self.secret)?;
        Ok(Arc::new(Genesys { table: self.clone(), secret, http, api, login, token: Mutex::new(None) }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: ATTRIBUTES_MAX };

/// The organisation whose conversations are transferred.
pub struct Genesys {
    table: GenesysTable,
    secret: String,
    http: Http,
    api: Url,
    login: Url,
    /// The access token, and until when it is used.
    token: Mutex<Option<(String, Instant)>>,
}

/// The participants that matter, of those that are still there.
struct Conversation {
    caller: Option<Value>,
    /// Whoever talks to the caller: an agent, a bot, a flow.
    other: Option<Value>,
}

fn id(participant: &Value) -> Option<&str> {
    participant.get("id").and_then(Value::as_str)
}

impl Conversation {
    fn read(reply: &Reply) -> Self {
        let body = reply.json();
        let all = body.get("participants").and_then(Value::as_array).cloned().unwrap_or_default();
        let there = |p: &Value| {
            let ended = p.get("endTime").is_some_and(|end| !end.is_null());
            let state = p.get("state").or_else(|| p.pointer("/calls/0/state")).and_then(Value::as_str);
            !ended && !matches!(state, Some("disconnected" | "terminated"))
        };
        let of = |purposes: &[&str]| {
            all.iter()
                .rfind(|p| {
                    there(p)
                        && p.get("purpose").and_then(Value::as_str).is_some_and(|p| purposes.contains(&p))
                })
                .cloned()
        };
        Self {
            caller: of(&["customer", "external"]),
            other: of(&["agent", "user"]).or_else(|| of(&["acd", "ivr", "bot"])),
        }
    }
}

impl Genesys {
    async fn token(&self, offer: &Offer) -> Result<String, Failure> {
        let mut kept = self.token.lock().await;
        if let Some((token, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let request = self
            .http
            .client()
            .post(join(&self.login, &["oauth", "token"])?)
            .basic_auth(&self.table.client_id, Some(&self.secret))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(&[("grant_type", "client_credentials")]));
        // A token may be asked for twice: whatever happens here, no caller was moved.
        let reply = self.http.send(request, offer.remaining).await.map_err(Failure::repeatable)?;
        let answer = reply.json();
        match (answer.get("access_token").and_then(Value::as_str), reply.status.is_success()) {
            (Some(token), true) => {
                let lasts = answer.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
                let lasts = Duration::from_secs(lasts.min(86_400)).saturating_sub(TOKEN_MARGIN);
                *kept = Some((token.to_owned(), Instant::now() + lasts));
                Ok(token.to_owned())
            }
            (None, true) => Err(Failure::Never("Genesys gives no access token".into())),
            (_, false) if reply.status.as_u16() == 400 => {
                Err(Failure::Never("Genesys refuses the OAuth client (400)".into()))
            }
            (_, false) => Err(reply.failure("Genesys").repeatable()),
        }
    }

    /// Sends with a token, and once more with a new one where the old one was refused.
    async fn send(
        &self,
        request: &(dyn Fn() -> RequestBuilder + Sync),
        offer: &Offer,
    ) -> Result<Reply, Failure> {
        let reply = self.http.send(request().bearer_auth(self.token(offer).await?), offer.remaining).await?;
        if reply.status.as_u16() != 401 {
            return Ok(reply);
        }
        *self.token.lock().await = None;
        self.http.send(request().bearer_auth(self.token(offer).await?), offer.remaining).await
    }

    fn url(&self, offer: &Offer, rest: &[&str]) -> Result<Url, Failure> {
        let conversation = offer.carrier_id(&["conversationId"]);
        let mut segments = vec!["api", "v2", "conversations", "calls", conversation];
        segments.extend(rest);
        join(&self.api, &segments)
    }

    async fn conversation(&self, offer: &Offer) -> Result<Option<Conversation>, Failure> {
        let url = self.url(offer, &[])?;
        let reply =
            self.send(&|| self.http.client().get(url.clone()), offer).await.map_err(Failure::repeatable)?;
        match reply.status.as_u16() {
            404 => Ok(None),
            200..=299 => Ok(Some(Conversation::read(&reply))),
            _ => Err(reply.failure("Genesys").repeatable()),
        }
    }

    async fn replace(&self, offer: &Offer) -> Result<Answer, Failure> {
        let body = target(offer.target.as_deref().unwrap_or(&self.table.target))
            .map_err(|reason| Failure::Never(format!("the transfer's target {reason}")))?;
        let Some(Conversation { caller: Some(caller), other }) = self.conversation(offer).await? else {
            return Ok(Answer::CallerGone);
        };
        let (Some(caller), Some(other)) = (id(&caller), other.as_ref().and_then(id)) else {
            return Err(Failure::Never(
                "nobody in the conversation can be replaced: a bot of Audio Connector hands back by kind = \"stream\"".into(),
            ));
        };
        let attributes = json!({ "attributes": attributes(offer, other) });
        let url = self.url(offer, &["participants", caller, "attributes"])?;
        let set = self.send(&|| self.http.client().patch(url.clone()).json(&attributes), offer).await;
        let set = set.map_err(Failure::repeatable)?;
        if !set.status.is_success() {
            return Err(set.failure("Genesys").repeatable());
        }
        let url = self.url(offer, &["participants", other, "replace"])?;
        let reply = self.send(&|| self.http.client().post(url.clone()).json(&body), offer).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Answer::Accepted),
            404 => Ok(Answer::CallerGone),
            _ => Err(reply.failure("Genesys")),
        }
    }

    /// The caller's attributes say who was to be replaced: while they are there, nothing was done.
    async fn read(&self, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let Some(Conversation { caller: Some(caller), other }) = self.conversation(offer).await? else {
            return Ok(Some(Answer::CallerGone));
        };
        let attribute = |name: &str| caller.pointer(&format!("/attributes/{name}")).and_then(Value::as_str);
        if attribute("warmline_transfer_id") != Some(&offer.transfer) {
            return Ok(None);
        }
        Ok(match other {
            Some(other) if attribute(REPLACES) == id(&other) => None,
            Some(other) if matches!(other.get("purpose").and_then(Value::as_str), Some("agent" | "user")) => {
                Some(Answer::Connected)
            }
            Some(_) | None => Some(Answer::Accepted),
        })
    }
}

fn attributes(offer: &Offer, replaces: &str) -> BTreeMap<String, String> {
    let named = |brief: &BTreeMap<String, String>| {
        let pairs = brief.iter().map(|(key, value)| (format!("warmline_{key}"), value.clone()));
        let more = [("warmline_ref", offer.packet.reference.uui.as_str()), (REPLACES, replaces)];
        pairs.chain(more.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect::<BTreeMap<_, _>>()
    };
    let size = |brief: &BTreeMap<String, String>| {
        serde_json::to_vec(&named(brief)).map_or(usize::MAX, |json| json.len())
    };
    named(&offer.brief_within(ATTRIBUTES_MAX, &size))
}

impl Connector for Genesys {
    fn name(&self) -> &str {
        "genesys"
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.replace(offer).boxed()
    }

    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.read(offer).boxed()
    }
}
