//! Asterisk's REST interface: the context goes into channel variables that dialled legs inherit, then the channel leaves Stasis for the
//! dialplan, or is redirected by its own technology (SIP 302 or REFER).
//! <https://docs.asterisk.org/Latest_API/API_Documentation/Asterisk_REST_Interface/Channels_REST_API/>

use std::sync::Arc;

use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret,
        http::{Http, join},
        settings::{self, place},
    },
    Adapter, Pbx, Place, Reply, Session, Values, carrier_channel, carries,
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
    #[serde(default = "settings::yes")]
    pub allow_private: bool,
    /// How long each of its requests may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
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

impl Kind for AriTable {
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
        carries::<Ari>()
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let (http, url) = settings::http(&self.url, self.allow_private, self.timeout_s)?;
        let password = environment.secret("password", &self.password)?;
        Ok(Arc::new(Adapter(Ari { table: self.clone(), password, http, url })))
    }
}

/// The PBX.
struct Ari {
    table: AriTable,
    password: String,
    http: Http,
    url: Url,
}

/// Requests about one channel; HTTP needs no login.
struct Channel<'a> {
    ari: &'a Ari,
    offer: &'a Offer,
    target: Target,
}

impl Channel<'_> {
    fn url(&self, rest: &[&str]) -> Result<Url, Failure> {
        let mut segments =
            vec!["channels", carrier_channel(self.offer, self.ari.table.channel_from.as_deref())];
        segments.extend(rest);
        join(&self.ari.url, &segments)
    }

    async fn post(&self, operation: &str, body: &Value) -> Result<Reply, Failure> {
        let Ari { table, password, http, .. } = self.ari;
        let request = http.client().post(self.url(&[operation])?);
        let request = request.basic_auth(&table.user, Some(password)).json(body);
        let reply = http.send(request, self.offer.remaining).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Reply::Done),
            404 => Ok(Reply::NoChannel),
            409 => Err(Failure::Never(
                "the channel is not in the Stasis application: it has left it, or never was in it (kind = \"ami\" reaches it)".into(),
            )),
            412 => Err(Failure::Again { after: None, why: "the channel is not up yet (412)".into() }),
            422 => Err(Failure::Never("the channel's technology cannot redirect to that endpoint (422)".into())),
            _ => Err(reply.failure("Asterisk")),
        }
    }
}

impl Pbx for Ari {
    const KIND: &'static str = "ari";
    const CONTEXT_MAX: usize = CONTEXT_MAX;

    type Session<'a> = Channel<'a>;

    async fn open<'a>(&'a self, offer: &'a Offer) -> Result<Channel<'a>, Failure> {
        Ok(Channel { ari: self, offer, target: offer.target(&self.table.target, Target::parse)? })
    }
}

impl Session for Channel<'_> {
    async fn variables(&mut self, offer: &Offer) -> Result<Vec<(String, String)>, Failure> {
        Ok(Values::new(offer, CONTEXT_MAX).asterisk())
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<Reply, Failure> {
        self.post("variable", &json!({ "variable": name, "value": value })).await
    }

    async fn transfer(&mut self) -> Result<Reply, Failure> {
        match &self.target {
            Target::Continue(Place { context, extension, priority }) => {
                let body = json!({ "context": context, "extension": extension, "priority": priority });
                self.post("continue", &body).await
            }
            Target::Redirect(endpoint) => self.post("redirect", &json!({ "endpoint": endpoint })).await,
        }
    }

    /// A channel reports its application: while that is Stasis, the transfer was not carried out.
    async fn status(&mut self, offer: &Offer) -> Result<Option<Reply>, Failure> {
        let Ari { table, password, http, .. } = self.ari;
        let request = http.client().get(self.url(&[])?).basic_auth(&table.user, Some(password));
        let reply = http.send(request, offer.remaining).await?;
        match reply.status.as_u16() {
            404 => Ok(Some(Reply::NoChannel)),
            200..=299 => {
                let channel = reply.json();
                let application = channel.pointer("/dialplan/app_name").and_then(Value::as_str);
                Ok((application != Some("Stasis")).then_some(Reply::Done))
            }
            _ => Err(reply.failure("Asterisk")),
        }
    }
}
