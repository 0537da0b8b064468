//! Who gets in: the credentials of each protocol, and the tokens of the HTTP interface.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    switchboard::Assumed,
    wire::credentials::{
        ApiKey, MAX_HEADER, Request, SignatureError, check_audiohook, is_basic, is_bearer, is_secret,
        is_signed_jwt, is_twilio,
    },
};

/// What a stream over a WebSocket may call its source.
pub const SOURCES: [&str; 9] =
    ["twilio", "signalwire", "telnyx", "plivo", "exotel", "vonage", "jambonz", "freeswitch", "asterisk"];

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sends media, says what happens in a call, asks for transfers.
    Integrator,
    /// Watches, asks for transfers, calls them back, says how many humans are free.
    Supervisor,
    /// Watches, takes transfers, says what became of them and whether they were any good.
    Agent,
    /// Watches, and reads the audit.
    Auditor,
}

impl Role {
    /// The name in the configuration and in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integrator => "integrator",
            Self::Supervisor => "supervisor",
            Self::Agent => "agent",
            Self::Auditor => "auditor",
        }
    }

    /// By its name in the configuration.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "integrator" => Some(Self::Integrator),
            "supervisor" => Some(Self::Supervisor),
            "agent" => Some(Self::Agent),
            "auditor" => Some(Self::Auditor),
            _ => None,
        }
    }
}

/// A token of the HTTP interface.
#[derive(Clone)]
pub struct Token {
    /// What it is good for.
    pub role: Role,
    /// The secret.
    pub secret: String,
}

/// One protocol's credentials: any one that is set opens it. Without any, the integrator's token does.
#[derive(Clone, Default)]
pub struct Door {
    /// Key of `X-Twilio-Signature`: Twilio's auth token, SignalWire's signing key.
    pub signing_key: Option<String>,
    /// `Authorization: Bearer …`, or `?token=…` for those who cannot set a header.
    pub bearer: Option<String>,
    /// User and password of `Authorization: Basic …`.
    pub basic: Option<(String, String)>,
    /// Secret of a signed JWT, as Vonage sends it.
    pub jwt_secret: Option<Vec<u8>>,
    /// AudioHook's keys.
    pub keys: Vec<ApiKey>,
    /// What holds for its calls where their start does not say it.
    pub assumed: Assumed,
}

impl Door {
    fn is_locked(&self) -> bool {
        self.signing_key.is_some()
            || self.bearer.is_some()
            || self.basic.is_some()
            || self.jwt_secret.is_some()
            || !self.keys.is_empty()
    }
}

/// The doors of all protocols. Without any credentials at all everybody gets in, which is why the program then binds to
/// loopback alone.
#[derive(Clone, Default)]
pub struct Gate {
    /// Tokens of the HTTP interface.
    pub tokens: Vec<Token>,
    /// By source.
    pub doors: BTreeMap<String, Door>,
    /// `wss://media.example.com`: the address peers are told, which Twilio signs.
    pub public_url: Option<String>,
}

/// A request's head.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Path and query.
    pub target: &'a str,
    /// Names in lower case, and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// Unix time, seconds.
    pub now: u64,
}

impl Head<'_> {
    fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| *value).filter(|value| value.len() <= MAX_HEADER)
    }

    fn query(&self, wanted: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|p| p.1)
    }
}

impl Gate {
    /// The role of whoever asks, if the token is one of ours. Without tokens everybody may do everything, as an integrator and
    /// as a supervisor.
    pub fn role(&self, head: &Head<'_>) -> Option<Role> {
        if self.tokens.is_empty() {
            return Some(Role::Integrator);
        }
        let authorization = head.header("authorization")?;
        self.tokens.iter().find(|token| is_bearer(authorization, &token.secret)).map(|token| token.role)
    }

    /// Whether no credential is asked of anybody.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && !self.doors.values().any(Door::is_locked)
    }

    /// What holds for the calls of a source.
    pub fn assumed(&self, source: &str) -> Assumed {
        self.doors.get(source).map(|door| door.assumed.clone()).unwrap_or_default()
    }

    /// The sources that a request to `/v1/media` may turn out to be; none: it does not get in.
    pub fn media(&self, vendor: Option<&str>, head: &Head<'_>) -> BTreeSet<&'static str> {
        let asked = |source: &&str| match vendor {
            None => true,
            Some("jambonz" | "freeswitch") => matches!(*source, "jambonz" | "freeswitch"),
            Some(vendor) => *source == vendor,
        };
        SOURCES.into_iter().filter(asked).filter(|source| self.admits(source, head)).collect()
    }

    fn admits(&self, source: &str, head: &Head<'_>) -> bool {
        let integrator = || {
            let authorization = head.header("authorization").unwrap_or_default();
            self.tokens
                .iter()
                .any(|token| token.role == Role::Integrator && is_bearer(authorization, &token.secret))
        };
        let Some(door) = self.doors.get(source).filter(|door| door.is_locked()) else {
            return self.is_open() || integrator();
        };
        let authorization = head.header("authorization").unwrap_or_default();
        let signed = |key: &str| {
            let signature = head.header("x-twilio-signature").unwrap_or_default();
            let url = |base: &String| format!("{}{}", base.trim_end_matches('/'), head.target);
            self.public_url.as_ref().is_some_and(|base| is_twilio(key, &url(base), &[], signature))
        };
        door.signing_key.as_deref().is_some_and(signed)
            || door.bearer.as_deref().is_some_and(|token| {
                let given = head.query("token").unwrap_or_default();
                is_bearer(authorization, token) || is_secret(given.as_bytes(), token.as_bytes())
            })
            || door.basic.as_ref().is_some_and(|(user, password)| is_basic(authorization, user, password))
            || door.jwt_secret.as_deref().is_some_and(|secret| is_signed_jwt(authorization, secret, head.now))
            || integrator()
    }

    /// Whether an AudioHook request gets in.
    ///
    /// # Errors
    /// When its key or its signature is wrong.
    pub fn audiohook(&self, head: &Head<'_>) -> Result<(), SignatureError> {
        match self.doors.get("audiohook").filter(|door| door.is_locked()) {
            None if self.is_open() => Ok(()),
            None => Err(SignatureError::Missing("x-api-key")),
            Some(door) => {
                let request = Request { target: head.target, headers: head.headers };
                check_audiohook(&request, &door.keys, head.now).map(|_| ())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Head<'_> = Head { target: "/v1/media", headers: &[], now: 0 };

    #[test]
    fn without_any_credentials_everybody_gets_in() {
        let gate = Gate::default();
        assert!(gate.is_open() && gate.media(None, &NONE).len() == SOURCES.len());
        assert_eq!(gate.role(&NONE), Some(Role::Integrator));
        assert!(gate.audiohook(&NONE).is_ok());
    }

    #[test]
    fn one_credential_anywhere_closes_every_door() {
        let gate = gate();
        assert!(gate.media(None, &NONE).is_empty());
        assert!(gate.audiohook(&NONE).is_err());
        let token = Gate { tokens: vec![Token { role: Role::Agent, secret: "s".into() }], ..Gate::default() };
        assert!(token.media(None, &NONE).is_empty() && token.audiohook(&NONE).is_err());
        assert_eq!(token.role(&NONE), None);
        let agent = Head { headers: &[("authorization", "Bearer s")], ..NONE };
        assert_eq!(token.role(&agent), Some(Role::Agent));
        assert!(token.media(None, &agent).is_empty(), "an agent sends no media");
    }

    #[test]
    fn a_signature_opens_its_own_protocol_alone() {
        let media = |vendor, signature| {
            let headers = [("x-twilio-signature", signature)];
            gate().media(vendor, &Head { target: "/twilio", headers: &headers, now: 0 })
        };
        let right = "0p9HGYJybIvZY5ER6AdY/msz2PI=";
        assert_eq!(media(None, right), BTreeSet::from(["twilio"]));
        assert_eq!(media(Some("twilio"), right), BTreeSet::from(["twilio"]));
        assert!(media(Some("telnyx"), right).is_empty());
        assert!(media(None, "BTdtATPimKswUJAv/NJAP32rXvk=").is_empty(), "that of another address");
    }

    #[test]
    fn a_token_may_come_in_the_query() {
        let given = |target| Head { target, ..NONE };
        assert_eq!(gate().media(None, &given("/v1/media?rate=8000&token=t")), BTreeSet::from(["telnyx"]));
        assert!(gate().media(None, &given("/v1/media?token=")).is_empty());
        assert!(gate().media(None, &given("/v1/media?token=tt")).is_empty());
    }

    fn gate() -> Gate {
        let twilio = Door { signing_key: Some("12345".into()), ..Door::default() };
        let telnyx = Door { bearer: Some("t".into()), ..Door::default() };
        Gate {
            doors: BTreeMap::from([("twilio".into(), twilio), ("telnyx".into(), telnyx)]),
            public_url: Some("wss://media.example.com/".into()),
            ..Gate::default()
        }
    }
}
