//! Telnyx's call control: `actions/transfer`, whose `command_id` it carries out once.
//! <https://developers.telnyx.com/api/call-control/transfer-call>

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier,
    http::{Http, join},
    settings::{self, place},
    sip::header_name,
};

/// Bytes of all custom headers, names and values: a SIP message should stay in one datagram.
pub const HEADERS_MAX: usize = 900;

/// `kind = "telnyx"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelnyxTable {
    /// The API key, `KEY…`.
    pub secret: Secret,
    /// Where callers go: `+15550100` or `sip:…`.
    pub target: String,
    /// What the human's telephone shows as the caller, if the caller's own number may not be shown.
    pub caller_id: Option<String>,
    /// How long the human's telephone rings, seconds.
    #[serde(default = "ring_s")]
    pub ring_s: u16,
    /// The API, or a test's.
    #[serde(default = "api")]
    pub url: String,
    /// Whether that may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

fn ring_s() -> u16 {
    20
}

fn api() -> String {
    "https://api.telnyx.com".into()
}

/// A number or a SIP address.
fn target(text: &str) -> Result<&str, String> {
    let number = text
        .strip_prefix('+')
        .is_some_and(|digits| (5..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()));
    let good = |b: u8| b.is_ascii_graphic() && !b"<>\"?&#".contains(&b);
    let sip = (text.starts_with("sip:") || text.starts_with("sips:")) && text.contains('@');
    if number || sip && text.len() <= 200 && text.bytes().all(good) {
        Ok(text)
    } else {
        Err(format!("is {text:?}: expected +15550100 or sip:…"))
    }
}

impl Kind for TelnyxTable {
    fn check(&self) -> Result<(), KeyFault> {
        target(&self.target).map_err(|reason| ("target", reason))?;
        if let Some(id) = &self.caller_id {
            target(id).map_err(|reason| ("caller_id", reason))?;
        }
        if !(5..=600).contains(&self.ring_s) {
            return Err(("ring_s", format!("is {}: expected 5 to 600", self.ring_s)));
        }
        settings::address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("{} by {}", self.target, place(&self.url))
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let (http, url) = settings::http(&self.url, self.allow_private, self.timeout_s)?;
        let secret = environment.secret("secret", &self.secret)?;
        Ok(Arc::new(Telnyx { table: self.clone(), secret, http, url }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: HEADERS_MAX };

/// The account whose live calls are transferred.
pub struct Telnyx {
    table: TelnyxTable,
    secret: String,
    http: Http,
    url: Url,
}

impl Telnyx {
    async fn transfer(&self, offer: &Offer) -> Result<Answer, Failure> {
        let to = target(offer.target.as_deref().unwrap_or(&self.table.target))
            .map_err(|reason| Failure::Never(format!("the transfer's target {reason}")))?;
        let call = offer.carrier_id(&["call_control_id"]);
        let url = join(&self.url, &["v2", "calls", call, "actions", "transfer"])?;
        let mut body = json!({
            "to": to,
            "timeout_secs": self.table.ring_s,
            "custom_headers": headers(offer),
            "client_state": STANDARD.encode(&offer.transfer),
            "command_id": format!("{}-{}", offer.transfer, offer.attempt),
        });
        if let (Some(body), Some(from)) = (body.as_object_mut(), &self.table.caller_id) {
            body.insert("from".into(), json!(from));
        }
        let request = self.http.client().post(url).bearer_auth(&self.secret).json(&body);
        let reply = self.http.send(request, offer.remaining).await?;
        if reply.status.is_success() {
            return Ok(Answer::Accepted);
        }
        let answer = reply.json();
        let code = answer.pointer("/errors/0/code").and_then(Value::as_str);
        match (code, reply.status.as_u16()) {
            // The call has ended, or there is none.
            (Some("90018"), _) | (_, 404) => Ok(Answer::CallerGone),
            (Some(code), 422) => {
                let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
                Err(Failure::Never(format!("Telnyx refuses the transfer, error {code}")))
            }
            (Some(_) | None, _) => Err(reply.failure("Telnyx")),
        }
    }
}

/// `User-to-User` (RFC 7433) with the ref, then the brief as `X-Warmline-…`.
fn headers(offer: &Offer) -> Vec<Value> {
    let uui = format!("{};encoding=hex", offer.packet.reference.uui);
    let pairs = |brief: &BTreeMap<String, String>| {
        let mut pairs = vec![("User-to-User".to_owned(), uui.clone())];
        pairs.extend(
            brief.iter().map(|(key, value)| (format!("X-Warmline-{}", header_name(key)), value.clone())),
        );
        pairs
    };
    // Each header costs `: ` and a line end beside its name and value.
    let size = |brief: &BTreeMap<String, String>| -> usize {
        pairs(brief).iter().map(|(name, value)| name.len() + value.len() + 4).sum()
    };
    let brief = offer.brief_within(HEADERS_MAX, &size);
    pairs(&brief).into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

impl Connector for Telnyx {
    fn name(&self) -> &str {
        "telnyx"
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.transfer(offer).boxed()
    }

    /// The same `command_id` is not carried out twice, so it is said again.
    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.transfer(offer).map(|answer| answer.map(Some)).boxed()
    }
}
