//! Asterisk's REST interface: the context goes into channel variables that dialled legs inherit, then the channel leaves Stasis for the
//! dialplan, or is redirected by its own technology (SIP 302 or REFER).
//! <https://docs.asterisk.org/Latest_API/API_Documentation/Asterisk_REST_Interface/Channels_REST_API/>

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Carries, Connector, Failure, Offer, Tier,
    http::{Http, join},
    settings::{self, KeyFault, Secret, Settings, World, place},
};

/// Bytes of the brief as JSON in `WARMLINE_CONTEXT`; as base64 a third longer, and below what the dialplan's functions take.
pub const CONTEXT_MAX: usize = 2_000;

/// `kind = "ari"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AriTable {
    /// `http://pbx:8088/ari`.
    pub url: String,
    /// User of `ari.conf`.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Where callers go: `context,extension,priority`, or `redirect:PJSIP/…`.
    pub target: String,
    /// The entry of the call's metadata that holds the channel's id, where the call's own id is another (AudioSocket).
    pub channel_from: Option<String>,
    /// Whether the PBX may be on this machine or in a private network.
    #[serde(default = "yes")]
    pub allow_private: bool,
    /// How long each of its requests may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

pub(super) fn yes() -> bool {
    true
}

/// A place in the dialplan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) context: String,
    pub(super) extension: String,
    pub(super) priority: u32,
}

impl Place {
    /// `context,extension,priority`, of which nothing can end a line, a field or a dialplan expression.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("is {text:?}: expected context,extension,priority");
        let good = |name: &&str| {
            !name.is_empty()
                && name.len() <= 79
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+*#.".contains(&b))
        };
        let mut parts = text.split(',');
        let (context, extension) = (parts.next().filter(good), parts.next().filter(good));
        let priority = parts.next().unwrap_or("1").parse().ok().filter(|priority| *priority > 0);
        match (context, extension, priority, parts.next()) {
            (Some(context), Some(extension), Some(priority), None) => {
                Ok(Self { context: context.into(), extension: extension.into(), priority })
            }
            _ => Err(expected()),
        }
    }
}

/// Where a channel goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Continue(Place),
    Redirect(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(endpoint) = text.strip_prefix("redirect:") else {
            return Place::parse(text)
                .map(Self::Continue)
                .map_err(|why| format!("{why} or redirect:PJSIP/…"));
        };
        let good = endpoint.contains('/')
            && endpoint.len() <= 255
            && endpoint.bytes().all(|b| b.is_ascii_alphanumeric() || b"/@.:_-+".contains(&b));
        if good {
            Ok(Self::Redirect(endpoint.into()))
        } else {
            Err(format!("is {text:?}: expected redirect:PJSIP/…"))
        }
    }
}

impl Settings for AriTable {
    fn check(&self) -> Result<(), KeyFault> {
        settings::address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        if self.user.is_empty() || self.user.contains(':') {
            return Err((
                "user",
                format!("is {:?}: expected a user of ari.conf, without a colon", self.user),
            ));
        }
        Target::parse(&self.target).map_err(|reason| ("target", reason))?;
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("{} at {}", self.target, place(&self.url))
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn connect(&self, world: &World<'_>) -> Result<Arc<dyn Connector>, String> {
        let (http, url) = settings::http(&self.url, self.allow_private, self.timeout_s)?;
        let password = world.secret("password", &self.password)?;
        let target = Target::parse(&self.target).map_err(|reason| format!("`target` {reason}"))?;
        Ok(Arc::new(Ari { table: self.clone(), target, password, http, url }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: CONTEXT_MAX };

/// The channel variables that carry an offer: the ref in hexadecimal, the transfer's id, the brief as base64 of JSON. None holds the
/// caller's text, which a dialplan would evaluate.
pub(super) fn variables(offer: &Offer, context_max: usize) -> [(&'static str, String); 3] {
    let json = |brief: &BTreeMap<String, String>| serde_json::to_vec(brief).unwrap_or_default();
    let brief = offer.brief_within(context_max, &|brief| json(brief).len());
    let id = offer.transfer.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    [
        ("WARMLINE_REF", offer.packet.reference.uui.clone()),
        ("WARMLINE_TRANSFER", id),
        ("WARMLINE_CONTEXT", STANDARD.encode(json(&brief))),
    ]
}

/// The PBX.
pub struct Ari {
    table: AriTable,
    target: Target,
    password: String,
    http: Http,
    url: Url,
}

impl Ari {
    fn target(&self, offer: &Offer) -> Result<Target, Failure> {
        match &offer.target {
            None => Ok(self.target.clone()),
            Some(text) => Target::parse(text)
                .map_err(|reason| Failure::Never(format!("the transfer's target {reason}"))),
        }
    }

    fn channel(&self, offer: &Offer, what: &[&str]) -> Result<Url, Failure> {
        let keys: Vec<&str> = self.table.channel_from.as_deref().into_iter().collect();
        let mut segments = vec!["channels", offer.carrier_id(&keys)];
        segments.extend(what);
        join(&self.url, &segments)
    }

    async fn post(&self, url: Url, body: &Value, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let request =
            self.http.client().post(url).basic_auth(&self.table.user, Some(&self.password)).json(body);
        let reply = self.http.send(request, offer.remaining).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(None),
            404 => Ok(Some(Answer::CallerGone)),
            409 => Err(Failure::Never(
                "the channel is not in the Stasis application: it has left it, or never was in it (kind = \"ami\" reaches it)".into(),
            )),
            412 => Err(Failure::Again { after: None, why: "the channel is not up yet (412)".into() }),
            422 => Err(Failure::Never("the channel's technology cannot redirect to that endpoint (422)".into())),
            _ => Err(reply.failure("Asterisk")),
        }
    }

    async fn hand_over(&self, offer: &Offer) -> Result<Answer, Failure> {
        let target = self.target(offer)?;
        for (name, value) in variables(offer, CONTEXT_MAX) {
            // `__`: inherited by the legs this channel dials, and by theirs.
            let body = json!({ "variable": format!("__{name}"), "value": value });
            let set = self.post(self.channel(offer, &["variable"])?, &body, offer).await;
            // A variable may be set twice: what is not known to be set is set again.
            let set = set.map_err(|failure| match failure {
                Failure::Unknown(why) => Failure::Again { after: None, why },
                Failure::Again { .. } | Failure::Never(_) => failure,
            });
            if let Some(answer) = set? {
                return Ok(answer);
            }
        }
        let gone = match target {
            Target::Continue(Place { context, extension, priority }) => {
                let body = json!({ "context": context, "extension": extension, "priority": priority });
                self.post(self.channel(offer, &["continue"])?, &body, offer).await?
            }
            Target::Redirect(endpoint) => {
                let body = json!({ "endpoint": endpoint });
                self.post(self.channel(offer, &["redirect"])?, &body, offer).await?
            }
        };
        Ok(gone.unwrap_or(Answer::Accepted))
    }

    /// A channel says in which application it is: while that is Stasis, nothing was done.
    async fn read(&self, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let request = self
            .http
            .client()
            .get(self.channel(offer, &[])?)
            .basic_auth(&self.table.user, Some(&self.password));
        let reply = self.http.send(request, offer.remaining).await?;
        match reply.status.as_u16() {
            404 => Ok(Some(Answer::CallerGone)),
            200..=299 => {
                let channel = reply.json();
                let application = channel.pointer("/dialplan/app_name").and_then(Value::as_str);
                Ok((application != Some("Stasis")).then_some(Answer::Accepted))
            }
            _ => Err(reply.failure("Asterisk")),
        }
    }
}

impl Connector for Ari {
    fn name(&self) -> &str {
        "ari"
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.hand_over(offer).boxed()
    }

    fn read_again<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.read(offer).boxed()
    }
}
