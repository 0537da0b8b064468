//! jambonz's REST interface: the live call fetches new verbs from a hook of yours, which is told the transfer.
//! <https://docs.jambonz.org/reference/rest-call-control/calls/update-call>

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier,
    http::{Http, join},
    settings::{self, place},
};
use warmline_core::packet::REF_LEN;

/// `kind = "jambonz"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JambonzTable {
    /// The API up to `/v1`: `https://jambonz.example/api`.
    pub url: String,
    /// The account's SID.
    pub account: String,
    /// The API key.
    pub secret: Secret,
    /// The hook that answers with verbs; it is asked with `?transfer=ID&ref=HEX`.
    pub target: String,
    /// Whether the two may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

impl Kind for JambonzTable {
    fn check(&self) -> Result<(), KeyFault> {
        settings::address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        settings::address(&self.target, self.allow_private).map_err(|reason| ("target", reason))?;
        if self.account.is_empty() || !self.account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(("account", format!("is {:?}: expected the account's SID", self.account)));
        }
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("the hook at {} by {}", place(&self.target), place(&self.url))
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let (http, url) = settings::http(&self.url, self.allow_private, self.timeout_s)?;
        let secret = environment.secret("secret", &self.secret)?;
        Ok(Arc::new(Jambonz { table: self.clone(), secret, http, url }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Ref, bytes_max: REF_LEN };

/// The account whose live calls are updated.
pub struct Jambonz {
    table: JambonzTable,
    secret: String,
    http: Http,
    url: Url,
}

impl Jambonz {
    fn call(&self, offer: &Offer) -> Result<Url, Failure> {
        let call = offer.carrier_id(&["callSid"]);
        join(&self.url, &["v1", "Accounts", &self.table.account, "Calls", call])
    }

    async fn update(&self, offer: &Offer) -> Result<Answer, Failure> {
        let hook = offer.target.as_deref().unwrap_or(&self.table.target);
        let mut hook = settings::address(hook, self.table.allow_private)
            .map_err(|reason| Failure::Never(format!("the transfer's target {reason}")))?;
        hook.query_pairs_mut()
            .append_pair("transfer", &offer.transfer)
            .append_pair("ref", &offer.packet.reference.uui);
        let body = json!({ "call_hook": { "url": hook.as_str(), "method": "POST" } });
        let request = self.http.client().put(self.call(offer)?).bearer_auth(&self.secret).json(&body);
        let reply = self.http.send(request, offer.remaining).await?;
        match reply.status.as_u16() {
            200..=299 => Ok(Answer::Accepted),
            404 => Ok(Answer::CallerGone),
            _ => Err(reply.failure("jambonz")),
        }
    }

    async fn read(&self, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let request = self.http.client().get(self.call(offer)?).bearer_auth(&self.secret);
        let reply = self.http.send(request, offer.remaining).await?;
        match reply.status.as_u16() {
            404 => Ok(Some(Answer::CallerGone)),
            200..=299 => match reply.json().get("call_status").and_then(Value::as_str) {
                Some("completed" | "failed" | "no-answer" | "busy") => Ok(Some(Answer::CallerGone)),
                Some(_) | None => Err(Failure::Unknown(
                    "the call is in progress; jambonz does not say which hook it follows".into(),
                )),
            },
            _ => Err(reply.failure("jambonz")),
        }
    }
}

impl Connector for Jambonz {
    fn name(&self) -> &str {
        "jambonz"
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.update(offer).boxed()
    }

    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.read(offer).boxed()
    }
}
