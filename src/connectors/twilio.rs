//! Twilio's Voice API, and SignalWire's compatible one: the live call gets new TwiML, which ends what it was doing.
//! <https://www.twilio.com/docs/voice/api/call-resource#update-a-call-resource>

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use reqwest::{Url, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, Tier,
    http::{Http, Reply, form, join},
    settings::{self, place},
    sip::header_name,
};

/// Characters of TwiML that an update takes; more is never sent.
pub const TWIML_MAX: usize = 4_000;

/// Bytes of the headers behind a SIP address, percent-encoded: Twilio refuses 1,024 and more (error 21227).
pub const SIP_HEADERS_MAX: usize = 1_023;

/// Bytes of a task's attributes (TaskRouter).
pub const TASK_MAX: usize = 3_000;

/// `kind = "twilio"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwilioTable {
    /// The account's SID, `AC…`.
    pub account: String,
    /// The API key's SID, `SK…`; without it the account's own token is used.
    pub key: Option<String>,
    /// The auth token, or the API key's secret.
    pub secret: Secret,
    /// Where callers go: `+15550100`, `sip:…`, `queue:NAME`, `workflow:WW…` or `conference:NAME`.
    pub target: String,
    /// What the human's telephone shows as the caller, if the caller's own number may not be shown.
    pub caller_id: Option<String>,
    /// TwiML that the human hears before the caller is put through (`+…` and `sip:…`); it is asked for with `?transfer=ID`.
    pub whisper: Option<String>,
    /// How long the human's telephone rings, seconds.
    #[serde(default = "ring_s")]
    pub ring_s: u16,
    /// TwiML that the call goes on with if nobody answers; without it the call ends there.
    pub afterwards: Option<String>,
    /// The API: another region's, or a test's.
    #[serde(default = "api")]
    pub url: String,
    /// Whether that may be this machine's or a private network's.
    #[serde(default)]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

/// `kind = "signalwire"`: the same keys; `account` is the project's id and `url` the space's,
/// `https://example.signalwire.com/api/laml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct SignalwireTable(TwilioTable);

fn ring_s() -> u16 {
    20
}

fn api() -> String {
    "https://api.twilio.com".into()
}

/// Where a caller goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Number(String),
    Sip(String),
    Queue(String),
    Workflow(String),
    Conference(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let expected =
            || format!("is {text:?}: expected +15550100, sip:…, queue:NAME, workflow:WW… or conference:NAME");
        let name = |name: &str| {
            let good = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_name);
            good.then(|| name.to_owned()).ok_or_else(expected)
        };
        match text.split_once(':') {
            None => {
                let digits = text.strip_prefix('+').unwrap_or_default();
                let good = (5..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
                if good { Ok(Self::Number(text.into())) } else { Err(expected()) }
            }
            Some(("sip" | "sips", rest)) => {
                let good = rest.contains('@')
                    && rest.len() <= 200
                    && rest.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"?&#".contains(&b));
                if good { Ok(Self::Sip(text.into())) } else { Err(expected()) }
            }
            Some(("queue", rest)) => name(rest).map(Self::Queue),
            Some(("workflow", rest)) => {
                let good = rest.len() == 34
                    && rest.starts_with("WW")
                    && rest.bytes().all(|b| b.is_ascii_alphanumeric());
                if good { Ok(Self::Workflow(rest.into())) } else { Err(expected()) }
            }
            Some(("conference", rest)) => name(rest).map(Self::Conference),
            Some(_) => Err(expected()),
        }
    }

    fn carries(&self) -> Carries {
        match self {
            Self::Number(_) | Self::Queue(_) | Self::Conference(_) => {
                Carries { tier: Tier::Ref, bytes_max: warmline_core::packet::REF_LEN }
            }
            Self::Sip(_) => Carries { tier: Tier::Brief, bytes_max: SIP_HEADERS_MAX },
            Self::Workflow(_) => Carries { tier: Tier::Brief, bytes_max: TASK_MAX },
        }
    }
}

fn is_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"._- ".contains(&b)
}

impl TwilioTable {
    fn common(&self) -> Result<(), KeyFault> {
        if self.account.is_empty() || !self.account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(("account", format!("is {:?}: expected the account's id", self.account)));
        }
        if let Some(key) = self.key.as_ref().filter(|key| !key.bytes().all(|b| b.is_ascii_alphanumeric())) {
            return Err(("key", format!("is {key:?}: expected SK…")));
        }
        Target::parse(&self.target).map_err(|reason| ("target", reason))?;
        if let Some(id) = self.caller_id.as_ref().filter(|id| id.is_empty() || !id.bytes().all(is_caller_id))
        {
            return Err(("caller_id", format!("is {id:?}: expected +15550100")));
        }
        for (key, url) in [("whisper", &self.whisper), ("afterwards", &self.afterwards)] {
            if let Some(url) = url {
                settings::address(url, self.allow_private).map_err(|reason| (key, reason))?;
                if url.len() > 1_000 {
                    return Err((key, format!("has {} bytes: expected at most 1000", url.len())));
                }
            }
        }
        if !(5..=600).contains(&self.ring_s) {
            return Err(("ring_s", format!("is {}: expected 5 to 600", self.ring_s)));
        }
        settings::address(&self.url, self.allow_private).map_err(|reason| ("url", reason))?;
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn connector(&self, name: &'static str, environment: &Environment<'_>) -> Result<Twilio, String> {
        let (http, url) = settings::http(&self.url, self.allow_private, self.timeout_s)?;
        let secret = environment.secret("secret", &self.secret)?;
        let target = Target::parse(&self.target).map_err(|reason| format!("`target` {reason}"))?;
        Ok(Twilio { name, table: self.clone(), target, secret, http, url })
    }
}

fn is_caller_id(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"+@.:-_".contains(&b)
}

impl Kind for TwilioTable {
    fn check(&self) -> Result<(), KeyFault> {
        if !(self.account.starts_with("AC") && self.account.len() == 34) {
            return Err(("account", format!("is {:?}: expected AC and 32 characters", self.account)));
        }
        self.common()
    }

    fn target(&self) -> String {
        format!("{} by {}", self.target, place(&self.url))
    }

    fn carries(&self) -> Carries {
        Target::parse(&self.target).map_or(Carries { tier: Tier::Ref, bytes_max: 0 }, |t| t.carries())
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        Ok(Arc::new(self.connector("twilio", environment)?))
    }
}

impl Kind for SignalwireTable {
    fn check(&self) -> Result<(), KeyFault> {
        if self.0.url == api() {
            return Err((
                "url",
                "is missing: expected the space's, https://example.signalwire.com/api/laml".into(),
            ));
        }
        self.0.common()
    }

    fn target(&self) -> String {
        self.0.target()
    }

    fn carries(&self) -> Carries {
        self.0.carries()
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        Ok(Arc::new(self.0.connector("signalwire", environment)?))
    }
}

/// The account whose live calls are updated.
pub struct Twilio {
    name: &'static str,
    table: TwilioTable,
    target: Target,
    secret: String,
    http: Http,
    url: Url,
}

impl Twilio {
    fn target(&self, offer: &Offer) -> Result<Target, Failure> {
        match &offer.target {
            None => Ok(self.target.clone()),
            Some(text) => Target::parse(text)
                .map_err(|reason| Failure::Never(format!("the transfer's target {reason}"))),
        }
    }

    /// The document that the call goes on with.
    fn twiml(&self, target: &Target, offer: &Offer) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>");
        let table = &self.table;
        let caller_id = table.caller_id.iter().fold(String::new(), |mut out, id| {
            let _ = write!(out, " callerId=\"{}\"", escaped(id));
            out
        });
        let dial = format!("<Dial timeout=\"{}\"{caller_id} answerOnBridge=\"true\">", table.ring_s);
        let whisper = table.whisper.as_ref().and_then(|url| Url::parse(url).ok()).map(|mut url| {
            url.query_pairs_mut().append_pair("transfer", &offer.transfer);
            format!(" url=\"{}\"", escaped(url.as_str()))
        });
        let whisper = whisper.unwrap_or_default();
        let rest = match &table.afterwards {
            Some(url) => format!("<Redirect method=\"POST\">{}</Redirect></Response>", escaped(url)),
            None => "</Response>".into(),
        };
        match target {
            Target::Number(number) => {
                xml += &format!("{dial}<Number{whisper}>{}</Number></Dial>", escaped(number));
            }
            Target::Sip(uri) => {
                let headers = sip_headers(offer);
                xml += &format!("{dial}<Sip{whisper}>{}?{}</Sip></Dial>", escaped(uri), escaped(&headers));
            }
            Target::Queue(name) => xml += &format!("<Enqueue>{}</Enqueue>", escaped(name)),
            Target::Workflow(sid) => {
                let head = format!("<Enqueue workflowSid=\"{}\"><Task>", escaped(sid));
                let tail = "</Task></Enqueue>";
                let room = TWIML_MAX.saturating_sub(xml.len() + head.len() + tail.len() + rest.len());
                xml += &format!("{head}{}{tail}", task(offer, room.min(TASK_MAX)));
            }
            Target::Conference(name) => {
                xml += &format!(
                    "{dial}<Conference startConferenceOnEnter=\"true\" endConferenceOnExit=\"true\">{}</Conference></Dial>",
                    escaped(name)
                );
            }
        }
        xml + &rest
    }

    fn call(&self, offer: &Offer) -> Result<(String, Url), Failure> {
        let id = offer.carrier_id(&["CallSid", "callSid"]);
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(Failure::Never(format!("{} has no call of that id", self.name)));
        }
        let file = format!("{id}.json");
        let url = join(&self.url, &["2010-04-01", "Accounts", &self.table.account, "Calls", &file])?;
        Ok((id.to_owned(), url))
    }

    fn user(&self) -> &str {
        self.table.key.as_deref().unwrap_or(&self.table.account)
    }

    async fn get(&self, url: Url, offer: &Offer) -> Result<Reply, Failure> {
        let request = self.http.client().get(url).basic_auth(self.user(), Some(&self.secret));
        self.http.send(request, offer.remaining).await
    }

    async fn update(&self, offer: &Offer) -> Result<Answer, Failure> {
        let (_, url) = self.call(offer)?;
        let twiml = self.twiml(&self.target(offer)?, offer);
        if twiml.chars().count() > TWIML_MAX {
            return Err(Failure::Never(format!(
                "TwiML of {} characters: at most {TWIML_MAX} are taken",
                twiml.len()
            )));
        }
        let request = self
            .http
            .client()
            .post(url)
            .basic_auth(self.user(), Some(&self.secret))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(&[("Twiml", &twiml)]));
        let reply = self.http.send(request, offer.remaining).await?;
        if reply.status.is_success() {
            let over = matches!(status(&reply.json()), Status::Over);
            return Ok(if over { Answer::CallerGone } else { Answer::Accepted });
        }
        self.refused(&reply)
    }

    /// What its error codes say: <https://www.twilio.com/docs/api/errors>.
    fn refused(&self, reply: &Reply) -> Result<Answer, Failure> {
        let code = reply.json().get("code").and_then(Value::as_u64);
        match (code, reply.status.as_u16()) {
            // No such call, or one that is not in progress any more.
            (Some(20_404 | 21_220), _) | (None, 404) => Ok(Answer::CallerGone),
            (Some(20_429), _) => Err(Failure::Again {
                after: reply.retry_after,
                why: format!("{} has too many requests (20429)", self.name),
            }),
            (Some(20_003), _) => {
                Err(Failure::Never(format!("{} refuses the credentials (20003)", self.name)))
            }
            (Some(code), _) => Err(match reply.failure(self.name) {
                Failure::Never(why) => Failure::Never(format!("{why}, error {code}")),
                Failure::Again { after, why } => {
                    Failure::Again { after, why: format!("{why}, error {code}") }
                }
                Failure::Unknown(why) => Failure::Unknown(format!("{why}, error {code}")),
            }),
            (None, _) => Err(reply.failure(self.name)),
        }
    }

    /// A call says whether it is over, and its children say whether somebody was dialled. What it waits in, it does not say.
    async fn read(&self, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let (id, url) = self.call(offer)?;
        let reply = self.get(url, offer).await?;
        if !reply.status.is_success() {
            return self.refused(&reply).map(Some);
        }
        if matches!(status(&reply.json()), Status::Over) {
            return Ok(Some(Answer::CallerGone));
        }
        let (Target::Number(to) | Target::Sip(to)) = self.target(offer)? else {
            return Err(Failure::Unknown(format!(
                "the call is in progress; {} does not say what it waits in",
                self.name
            )));
        };
        let mut url = join(&self.url, &["2010-04-01", "Accounts", &self.table.account, "Calls.json"])?;
        url.query_pairs_mut().append_pair("ParentCallSid", &id).append_pair("To", &to);
        let reply = self.get(url, offer).await?;
        if !reply.status.is_success() {
            return Err(reply.failure(self.name));
        }
        let children = reply.json();
        let newest = children.get("calls").and_then(Value::as_array).and_then(|calls| calls.first());
        Ok(newest.map(|call| match status(call) {
            Status::Ringing => Answer::Ringing,
            Status::Talking => Answer::Connected,
            Status::Busy => Answer::Busy,
            Status::NoAnswer => Answer::NoAnswer,
            Status::Over => Answer::Accepted,
        }))
    }
}

/// Of a call: <https://www.twilio.com/docs/voice/api/call-resource#call-status-values>.
enum Status {
    Ringing,
    Talking,
    Busy,
    NoAnswer,
    Over,
}

fn status(call: &Value) -> Status {
    match call.get("status").and_then(Value::as_str) {
        Some("busy") => Status::Busy,
        Some("no-answer") => Status::NoAnswer,
        Some("queued" | "initiated" | "ringing") => Status::Ringing,
        Some("completed" | "failed" | "canceled") => Status::Over,
        Some(_) | None => Status::Talking,
    }
}

impl Connector for Twilio {
    fn name(&self) -> &str {
        self.name
    }

    fn carries(&self) -> Carries {
        self.target.carries()
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.update(offer).boxed()
    }

    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.read(offer).boxed()
    }
}

/// `User-to-User` (RFC 7433) with the ref, then the brief as `X-Warmline-…`: names Twilio lets through begin with `X-`.
fn sip_headers(offer: &Offer) -> String {
    let written = |brief: &BTreeMap<String, String>| {
        let mut headers = format!("User-to-User={}%3Bencoding%3Dhex", offer.packet.reference.uui);
        for (key, value) in brief {
            let _ = write!(headers, "&X-Warmline-{}={}", header_name(key), percent_encoded(value));
        }
        headers
    };
    written(&offer.brief_within(SIP_HEADERS_MAX, &|brief| written(brief).len()))
}

/// Everything but RFC 3986's unreserved characters becomes `%XX`: `&`, `;`, `?` and line ends would end a header.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

/// The attributes of a task as XML text; `workflow` expressions read `warmline.reason`.
fn task(offer: &Offer, chars_max: usize) -> String {
    let written = |brief: &BTreeMap<String, String>| {
        escaped(&json!({ "warmline": brief, "warmline_ref": offer.packet.reference.uui }).to_string())
    };
    written(&offer.brief_within(chars_max, &|brief| written(brief).len()))
}

/// Text inside XML, in an element or an attribute; what XML 1.0 cannot hold becomes a space.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push(' '),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}
