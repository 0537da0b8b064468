//! Who gets in: the credentials of each protocol, and the tokens of the HTTP interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::switchboard::Assumed;
use warmline_wire::credentials::{
    ApiKey, CLOCK_SKEW_S, MAX_AGE_S, MAX_HEADER, Request, SignatureError, audiohook_nonce, check_audiohook,
    is_basic, is_bearer, is_plivo, is_secret, is_signed_jwt, is_twilio,
};

/// Nonces of AudioHook signatures that are remembered, each for as long as its signature is good; beyond, signed requests are refused.
pub const NONCES_MAX: usize = 16_384;

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
    /// Key of `X-Twilio-Signature` or `X-Plivo-Signature-V3`: Twilio's or Plivo's auth token, SignalWire's signing key.
    pub signing_key: Option<String>,
    /// `Authorization: Bearer …`, or `?token=…` for those who cannot set a header.
    pub bearer: Option<String>,
    /// User and password of `Authorization: Basic …`.
    pub basic: Option<(String, String)>,
    /// Secret of a signed JWT, as Vonage sends it.
    pub jwt_secret: Option<Vec<u8>>,
    /// AudioHook's keys.
    pub keys: Vec<ApiKey>,
    /// The nonces of AudioHook's signatures, and until when each is remembered: no signature is good twice.
    pub nonces: Arc<Mutex<BTreeMap<String, u64>>>,
    /// Whose connections are taken, of protocols without credentials (AudioSocket); empty: anybody's.
    pub sources: Vec<IpAddr>,
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

    fn remember(&self, nonce: String, now: u64) -> Result<(), SignatureError> {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        nonces.retain(|_, until| *until >= now);
        if nonces.contains_key(&nonce) || nonces.len() >= NONCES_MAX {
            return Err(SignatureError::Replayed);
        }
        nonces.insert(nonce, now.saturating_add(MAX_AGE_S + CLOCK_SKEW_S));
        Ok(())
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
        let header = |name| head.header(name).unwrap_or_default();
        let signed = |key: &str| {
            let Some(base) = &self.public_url else { return false };
            let url = format!("{}{}", base.trim_end_matches('/'), head.target);
            if source == "plivo" {
                is_plivo(key, &url, header("x-plivo-signature-v3-nonce"), header("x-plivo-signature-v3"))
            } else {
                is_twilio(key, &url, &[], header("x-twilio-signature"))
            }
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
    /// When its key or its signature is wrong, or the signature came before.
    pub fn audiohook(&self, head: &Head<'_>) -> Result<(), SignatureError> {
        match self.doors.get("audiohook").filter(|door| door.is_locked()) {
            None if self.is_open() => Ok(()),
            None => Err(SignatureError::Missing("x-api-key")),
            Some(door) => {
                let request = Request { target: head.target, headers: head.headers };
                check_audiohook(&request, &door.keys, head.now)?;
                audiohook_nonce(&request).map_or(Ok(()), |nonce| door.remember(nonce, head.now))
            }
        }
    }

    /// Whether somebody at this address may connect, of a protocol without credentials.
    pub fn is_source(&self, source: &str, address: IpAddr) -> bool {
        self.doors
            .get(source)
            .is_none_or(|door| door.sources.is_empty() || door.sources.contains(&address.to_canonical()))
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

    #[test]
    fn plivos_signature_opens_plivos_door() {
        let plivo = Door { signing_key: Some("MAtoken".into()), ..Door::default() };
        let gate = Gate { doors: BTreeMap::from([("plivo".into(), plivo)]), ..gate() };
        let media = |signature| {
            let headers = [("x-plivo-signature-v3", signature), ("x-plivo-signature-v3-nonce", "12345")];
            gate.media(None, &Head { target: "/v1/media/plivo", headers: &headers, now: 0 })
        };
        assert_eq!(media("8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0g="), BTreeSet::from(["plivo"]));
        assert!(media("8nJO547ff49HW65+kDgD0BCHzvcsWJKou0T6Cka+s0h=").is_empty());
    }

    #[test]
    fn a_signature_of_audiohook_is_good_once() {
        let door = Door::default();
        let nonce = |n: usize| format!("nonce-{n:020}");
        assert_eq!(door.remember(nonce(0), 1_000), Ok(()));
        assert_eq!(door.remember(nonce(0), 1_000), Err(SignatureError::Replayed));
        assert_eq!(
            door.clone().remember(nonce(0), 1_013),
            Err(SignatureError::Replayed),
            "as long as it is good"
        );
        assert_eq!(door.remember(nonce(0), 1_014), Ok(()), "then its date refuses it");
        for n in 1..NONCES_MAX {
            assert_eq!(door.remember(nonce(n), 1_014), Ok(()));
        }
        assert_eq!(
            door.remember(nonce(NONCES_MAX), 1_014),
            Err(SignatureError::Replayed),
            "there is no more room"
        );
        assert_eq!(door.remember(nonce(NONCES_MAX), 1_100), Ok(()));
        assert_eq!(door.nonces.lock().unwrap().len(), 1, "what is over is forgotten");
    }

    #[test]
    fn a_signed_audiohook_request_gets_in_once() {
        let key = ApiKey {
            id: "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh".into(),
            secret: base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU=",
            )
            .unwrap(),
        };
        let door = Door { keys: vec![key], ..Door::default() };
        let gate = Gate { doors: BTreeMap::from([("audiohook".into(), door)]), ..Gate::default() };
        let headers = [
            ("host", "audiohook.example.com"),
            ("audiohook-organization-id", "d7934305-0972-4844-938e-9060eef73d05"),
            ("audiohook-session-id", "30b0e395-84d3-4570-ac13-9a62d8f514c0"),
            ("audiohook-correlation-id", "e160e428-53e2-487c-977d-96989bf5c99d"),
            ("x-api-key", "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"),
            (
                "signature-input",
                r#"sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" "audiohook-correlation-id" "x-api-key");keyid="SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh";nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created=1641013200;expires=3282026430"#,
            ),
            ("signature", "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:"),
        ];
        let head = |now| Head { target: "/api/v1/voicebiometrics/ws", headers: &headers, now };
        assert_eq!(gate.audiohook(&head(1_641_013_300)), Err(SignatureError::Time("too old")));
        assert_eq!(gate.audiohook(&head(1_641_013_200)), Ok(()));
        assert_eq!(gate.audiohook(&head(1_641_013_205)), Err(SignatureError::Replayed));
    }

    #[test]
    fn only_the_named_addresses_connect() {
        let door = Door { sources: vec!["192.0.2.10".parse().unwrap()], ..Door::default() };
        let gate = Gate { doors: BTreeMap::from([("audiosocket".into(), door)]), ..Gate::default() };
        let is = |source, address: &str| gate.is_source(source, address.parse().unwrap());
        assert!(is("audiosocket", "192.0.2.10") && is("audiosocket", "::ffff:192.0.2.10"));
        assert!(!is("audiosocket", "192.0.2.11") && !is("audiosocket", "::1"));
        assert!(is("other", "192.0.2.11"), "where nobody is named, anybody may");
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
