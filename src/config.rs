//! `warmline.toml` → what the program runs with. A pure function of strings: secrets are read by whoever has an environment.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Range,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::IgnoredAny};
use toml::{Spanned, de::DeTable};

pub use crate::connectors::Secret;
use crate::{
    connectors::{Connector, Environment, registry::ConnectorTable},
    ledger::Place,
    media_in::{Door, Gate, Role, Token, gate::SOURCES, rtp::Port},
    outbox,
    switchboard::Assumed,
};
use warmline_core::policy::{Notice, settings};
use warmline_wire::{credentials::ApiKey, rtp::PayloadTypes};

/// Everything `warmline.toml` says, with what holds where it says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[server]`.
    pub server: Server,
    /// `[media.<protocol>]`.
    pub media: BTreeMap<String, Spanned<Media>>,
    /// `[model]`.
    pub model: Model,
    /// `[policy]`.
    pub policy: PolicyFile,
    /// `[handoff]`.
    pub handoff: Handoff,
    /// `[console]`.
    pub console: ConsoleTable,
    /// `[ledger]`.
    pub ledger: Option<LedgerFile>,
    /// `[retention]`.
    pub retention: Retention,
    /// `[limits]`.
    pub limits: Limits,
}

/// Where the program listens, and to whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address of HTTP and WebSockets.
    pub listen: SocketAddr,
    /// What makes them HTTPS; none: they are plain.
    pub tls: Option<TlsTable>,
    /// `wss://media.example.com`: what peers are told, and what Twilio signs.
    pub public_url: Option<String>,
    /// Threads that calls are pinned to; none: one a core.
    pub shards: Option<u16>,
    /// How long live calls may take to finish when the program is told to end, seconds.
    pub grace_s: u64,
    /// Who may use the HTTP interface.
    pub token: Vec<TokenTable>,
}

impl Default for Server {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        Self { listen, tls: None, public_url: None, shards: None, grace_s: 30, token: Vec::new() }
    }
}

/// `[server.tls]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsTable {
    /// The certificate and those it is signed with, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// `[[server.token]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenTable {
    /// `integrator`, `supervisor`, `agent` or `auditor`.
    pub role: Spanned<String>,
    /// Where the token is.
    pub secret: Secret,
}

/// One protocol.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// Key of `X-Twilio-Signature` (twilio, signalwire).
    pub signing_key: Option<Secret>,
    /// Token of `Authorization: Bearer`, or of `?token=`.
    pub bearer: Option<Secret>,
    /// User of `Authorization: Basic`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Secret of a signed JWT (vonage).
    pub jwt_secret: Option<Secret>,
    /// Clients (audiohook).
    pub key: Vec<KeyTable>,
    /// Address of the TCP listener (audiosocket).
    pub listen: Option<SocketAddr>,
    /// Whether only calls announced by `POST /api/v1/audiosocket/{uuid}` get in (audiosocket).
    pub announced: bool,
    /// Address the ports are on (rtp).
    pub address: Option<IpAddr>,
    /// First and last port, a call each (rtp).
    pub ports: Option<[u16; 2]>,
    /// Whether a call has two ports, the caller's and the agent's (rtp): of every four the first and the third.
    pub pair: bool,
    /// Who may send (rtp) or connect (audiosocket); of rtp a must unless the address is this machine's alone.
    pub sources: Vec<IpAddr>,
    /// Payload types as SDP's `a=rtpmap` writes them (rtp): `118 = "L16/16000"`.
    pub payload_types: BTreeMap<String, String>,
    /// Seconds without a packet after which a call is over (rtp).
    pub silence_s: Option<u64>,
    /// What callers have been told where a call's start does not say it.
    pub notice: Notice,
    /// Their queue, likewise.
    pub queue: Option<String>,
    /// Their intent, likewise.
    pub intent: Option<String>,
}

/// `[[media.audiohook.key]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyTable {
    /// What `X-API-KEY` says.
    pub id: String,
    /// The client secret, base64; none: this client does not sign.
    pub secret: Option<Secret>,
}

/// What scores the voice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Model cards, one for each stage; none: the built-in models.
    pub files: Vec<PathBuf>,
    /// The ONNX Runtime library.
    pub onnxruntime: Option<PathBuf>,
}

/// `[policy]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFile {
    /// The policy; none: the built-in one.
    pub file: Option<PathBuf>,
}

/// `[console]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleTable {
    /// A folder of recorded calls that policies are tried on; none: the bundled ones.
    pub recordings: Option<PathBuf>,
}

/// How much there may be of everything.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls; beyond, new ones are refused.
    pub calls: usize,
    /// Calls on each shard; likewise.
    pub calls_per_shard: usize,
    /// Connections, those of followers and of AudioSocket among them; beyond, new ones are closed at once.
    pub connections: usize,
    /// Silence after which a peer is asked whether it is there, seconds; after as much again it is gone.
    pub idle_s: u64,
    /// How long a request may take to arrive, seconds.
    pub request_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: 1_000, calls_per_shard: 500, connections: 4_096, idle_s: 20, request_s: 10 }
    }
}

/// Where what must not be lost is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerFile {
    /// The SQLite file.
    pub path: PathBuf,
}

impl Default for LedgerFile {
    fn default() -> Self {
        Self { path: "warmline.db".into() }
    }
}

/// How long anything is kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Days after which transfers, packets, calls and what is personal in the audit are erased.
    pub days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { days: 30 }
    }
}

/// How transfers are made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Handoff {
    /// How long a transfer is offered, seconds.
    pub deadline_s: u64,
    /// How long a telephone may ring, seconds.
    pub ring_s: u64,
    /// How long a transfer may wait for a free human, seconds.
    pub wait_s: u64,
    /// `[[handoff.connector]]`, of which serde sees no more than that they are there.
    connector: Vec<IgnoredAny>,
    /// The same, read: the first is tried first, those behind it are its alternates, and alerts are told beside.
    #[serde(skip)]
    pub connectors: Vec<ConnectorTable>,
}

impl Default for Handoff {
    fn default() -> Self {
        Self { deadline_s: 30, ring_s: 60, wait_s: 900, connector: Vec::new(), connectors: Vec::new() }
    }
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Something in the file.
    #[error("configuration line {line}: {reason}")]
    Line {
        /// Line of the file, from 1.
        line: usize,
        /// What was read, what was expected, and how to mend it.
        reason: String,
    },
    /// A secret that is not where the file says.
    #[error("the secret of {what} cannot be read: {why}")]
    Secret {
        /// Which setting.
        what: String,
        /// What is wrong.
        why: String,
    },
}

/// Where `[media.audiosocket]` listens if it does not say it: where nobody else hears it.
pub const AUDIOSOCKET_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9092);

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// When a key is not known, a value is not one, or it would let anybody in from anywhere.
    pub fn parse(source: &str) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(source).map_err(|error| {
            let (line, reason) = settings::fault(source, &error);
            ConfigError::Line { line, reason }
        })?;
        let at = |range: Range<usize>, reason: String| ConfigError::Line {
            line: settings::line_of(source, range.start),
            reason,
        };
        config.handoff.connectors =
            ConnectorTable::read(source).map_err(|(line, reason)| ConfigError::Line { line, reason })?;
        for (name, media) in &config.media {
            let known = || SOURCES.into_iter().chain(["audiohook", "audiosocket", "rtp"]);
            if !known().any(|source| source == name) {
                let all: Vec<&str> = known().collect();
                let reason = format!("`media.{name}` is no protocol: expected one of {}", all.join(", "));
                return Err(at(media.span(), reason));
            }
        }
        for token in &config.server.token {
            if Role::named(token.role.get_ref()).is_none() {
                let reason = format!(
                    "`role` is {:?}: expected integrator, supervisor, agent or auditor",
                    token.role.get_ref()
                );
                return Err(at(token.role.span(), reason));
            }
        }
        if !config.server.listen.ip().is_loopback() && config.server.token.is_empty() {
            let reason = format!(
                "`server.listen` is {} and there is no [[server.token]], so anybody could listen in: add one, or listen on 127.0.0.1",
                config.server.listen
            );
            return Err(ConfigError::Line { line: line_of_listen(source), reason });
        }
        if let Some(media) = config.media.get("audiosocket")
            && let Some(listen) = media.get_ref().listen.filter(|listen| !listen.ip().is_loopback())
            && !media.get_ref().announced
            && media.get_ref().sources.is_empty()
        {
            let reason = format!(
                "`media.audiosocket.listen` is {listen} and AudioSocket has no credentials: set `announced = true`, name who may connect in `sources`, or listen on 127.0.0.1"
            );
            return Err(at(media.span(), reason));
        }
        if let Some(media) = config.media.get("rtp") {
            rtp(media.get_ref()).map_err(|reason| at(media.span(), reason))?;
        }
        Ok(config)
    }

    /// The ports RTP is listened to on, and how; `None` without `[media.rtp]`.
    pub fn rtp(&self) -> Option<(Vec<SocketAddr>, Port)> {
        rtp(self.media.get("rtp")?.get_ref()).ok()
    }

    /// The same in pairs, the caller's port and the agent's, where that is said.
    pub fn rtp_pairs(&self) -> Option<(Vec<[SocketAddr; 2]>, Port)> {
        let (ports, port) =
            self.rtp().filter(|_| self.media.get("rtp").is_some_and(|rtp| rtp.get_ref().pair))?;
        // Those between are where senders send their reports.
        let pair = |four: &[SocketAddr]| match four {
            [caller, _, agent, ..] => Some([*caller, *agent]),
            _ => None,
        };
        Some((ports.chunks(4).filter_map(pair).collect(), port))
    }

    /// Who gets in. `read` finds the secrets.
    ///
    /// # Errors
    /// When a secret cannot be read, or is empty.
    pub fn gate(&self, read: &dyn Fn(&Secret) -> Result<String, String>) -> Result<Gate, ConfigError> {
        let find = |what: String, secret: &Secret| match read(secret) {
            Ok(text) if text.trim().is_empty() => {
                Err(ConfigError::Secret { what, why: "it is empty".into() })
            }
            Ok(text) => Ok(text.trim().to_owned()),
            Err(why) => Err(ConfigError::Secret { what, why }),
        };
        let mut tokens = Vec::new();
        for table in &self.server.token {
            let role = Role::named(table.role.get_ref()).unwrap_or(Role::Auditor);
            tokens.push(Token { role, secret: find("[[server.token]]".into(), &table.secret)? });
        }
        let mut doors = BTreeMap::new();
        for (name, media) in &self.media {
            let media = media.get_ref();
            let secret = |key: &str, secret: &Option<Secret>| {
                secret.as_ref().map(|secret| find(format!("media.{name}.{key}"), secret)).transpose()
            };
            let mut keys = Vec::new();
            for table in &media.key {
                let what = format!("media.{name}.key {}", table.id);
                let text = secret("key", &table.secret)?.unwrap_or_default();
                let bytes = STANDARD
                    .decode(text)
                    .map_err(|_| ConfigError::Secret { what, why: "it is no base64".into() })?;
                keys.push(ApiKey { id: table.id.clone(), secret: bytes });
            }
            let door = Door {
                signing_key: secret("signing_key", &media.signing_key)?,
                bearer: secret("bearer", &media.bearer)?,
                basic: media.user.clone().zip(secret("password", &media.password)?),
                jwt_secret: secret("jwt_secret", &media.jwt_secret)?.map(String::into_bytes),
                keys,
                nonces: Default::default(),
                sources: media.sources.clone(),
                assumed: Assumed {
                    notice: media.notice,
                    queue: media.queue.clone(),
                    intent: media.intent.clone(),
                },
            };
            doors.insert(name.clone(), door);
        }
        Ok(Gate { tokens, doors, public_url: self.server.public_url.clone() })
    }

    /// Where the ledger is: the file that is named; `warmline.db` in the working directory if transfers go anywhere; else memory.
    pub fn ledger(&self) -> Place {
        match &self.ledger {
            Some(ledger) => Place::File(ledger.path.clone()),
            None if !self.handoff.connectors.is_empty() => Place::File(LedgerFile::default().path),
            None => Place::Memory,
        }
    }

    /// How transfers are made.
    pub fn outbox(&self) -> outbox::Settings {
        let seconds = Duration::from_secs;
        outbox::Settings {
            deadline: seconds(self.handoff.deadline_s),
            ring: seconds(self.handoff.ring_s),
            wait: seconds(self.handoff.wait_s),
            public_url: self.server.public_url.as_ref().map(|url| http_of(url)),
        }
    }

    /// What hands callers over, in the order of the file.
    ///
    /// # Errors
    /// When a secret cannot be read, or is none of its kind.
    pub fn connectors(&self, environment: &Environment<'_>) -> Result<Vec<Arc<dyn Connector>>, ConfigError> {
        let connect = |table: &ConnectorTable| {
            let line = table.line;
            table.connect(environment).map_err(|reason| ConfigError::Line { line, reason })
        };
        self.handoff.connectors.iter().map(connect).collect()
    }

    /// Where AudioSocket is listened for, and whether its calls must be announced; `None` without `[media.audiosocket]`.
    pub fn audiosocket(&self) -> Option<(SocketAddr, bool)> {
        let media = self.media.get("audiosocket")?.get_ref();
        Some((media.listen.unwrap_or(AUDIOSOCKET_LISTEN), media.announced))
    }

    /// Every setting that is not of one protocol: its name, its value, and what it means.
    pub fn explain(&self) -> Vec<(String, String, &'static str)> {
        let Self { server, model, policy, console, limits, handoff, .. } = self;
        let or = |value: Option<String>, else_: &str| value.unwrap_or_else(|| else_.to_owned());
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let files: Vec<String> = model.files.iter().map(|file| file.display().to_string()).collect();
        let mut lines: Vec<(String, String, &'static str)> = vec![
            ("server.listen".into(), server.listen.to_string(), "address of HTTP and WebSockets"),
            (
                "server.tls".into(),
                or(path(&server.tls.as_ref().map(|tls| tls.certificate.clone())), "none: HTTP is plain"),
                "the certificate; read again on SIGHUP",
            ),
            (
                "server.public_url".into(),
                or(server.public_url.clone(), "none"),
                "the address peers are told; Twilio signs it",
            ),
            (
                "server.shards".into(),
                or(server.shards.map(|n| n.to_string()), "one a core"),
                "threads that calls are pinned to",
            ),
            (
                "server.grace_s".into(),
                server.grace_s.to_string(),
                "seconds that live calls may take to finish when the program ends",
            ),
            (
                "server.token".into(),
                format!("{} tokens", server.token.len()),
                "who may use the HTTP interface; none: loopback only",
            ),
            (
                "model.files".into(),
                if files.is_empty() { "built in".into() } else { files.join(", ") },
                "model cards, one for each stage",
            ),
            ("model.onnxruntime".into(), or(path(&model.onnxruntime), "found"), "the ONNX Runtime library"),
            ("policy.file".into(), or(path(&policy.file), "built in"), "when to act; read again on SIGHUP"),
            (
                "console.recordings".into(),
                or(path(&console.recordings), "the bundled calls"),
                "the folder of recorded calls that policies are tried on",
            ),
            ("limits.calls".into(), limits.calls.to_string(), "calls; beyond, new ones are refused"),
            (
                "limits.calls_per_shard".into(),
                limits.calls_per_shard.to_string(),
                "calls on each shard; likewise",
            ),
            (
                "limits.connections".into(),
                limits.connections.to_string(),
                "connections; beyond, new ones are closed at once",
            ),
            (
                "limits.idle_s".into(),
                limits.idle_s.to_string(),
                "seconds of silence after which a peer is asked whether it is there",
            ),
            ("limits.request_s".into(), limits.request_s.to_string(), "seconds a request may take to arrive"),
            (
                "ledger.path".into(),
                match self.ledger() {
                    Place::File(path) => path.display().to_string(),
                    Place::Memory => "in memory: gone with the program".into(),
                },
                "where transfers, verdicts and the audit are kept",
            ),
            (
                "retention.days".into(),
                self.retention.days.to_string(),
                "days after which they are erased; 0: never",
            ),
            ("handoff.deadline_s".into(), handoff.deadline_s.to_string(), "seconds a transfer is offered"),
            ("handoff.ring_s".into(), handoff.ring_s.to_string(), "seconds a telephone may ring"),
            (
                "handoff.wait_s".into(),
                handoff.wait_s.to_string(),
                "seconds a transfer may wait for a free human",
            ),
        ];
        for (name, media) in &self.media {
            let media = media.get_ref();
            let mut says = Vec::new();
            says.extend(media.signing_key.is_some().then_some("signature"));
            says.extend(media.bearer.is_some().then_some("bearer token"));
            says.extend(media.password.is_some().then_some("basic"));
            says.extend(media.jwt_secret.is_some().then_some("JWT"));
            says.extend((!media.key.is_empty()).then_some("API keys"));
            says.extend(media.announced.then_some("announced calls only"));
            let otherwise = match name.as_str() {
                "audiosocket" | "rtp" if !media.sources.is_empty() => "the addresses of `sources`",
                "audiosocket" | "rtp" => "whoever reaches it, on this machine",
                _ => "the integrator's token",
            };
            let how = if says.is_empty() { otherwise.to_owned() } else { says.join(", ") };
            lines.push((format!("media.{name}"), how, "what lets its streams in"));
            let notice = format!("{:?}", media.notice).to_lowercase();
            lines.push((
                format!("media.{name}.notice"),
                notice,
                "what callers have been told where a start does not say it",
            ));
        }
        for connector in &self.handoff.connectors {
            let meaning = "what hands callers over; those behind it are tried if it cannot";
            lines.push((format!("handoff.connector {}", connector.name), connector.describe(), meaning));
        }
        lines
    }
}

/// The line that says where the server listens; the first, should it be said nowhere.
fn line_of_listen(source: &str) -> usize {
    let span = DeTable::parse(source).ok().and_then(|root| {
        let server = root.get_ref().get("server")?.get_ref().as_table()?;
        Some(server.get("listen")?.span())
    });
    settings::line_of(source, span.unwrap_or_default().start)
}

/// The `http` URL of the address that peers know as a `ws` URL.
fn http_of(url: &str) -> String {
    match (url.strip_prefix("wss://"), url.strip_prefix("ws://")) {
        (Some(rest), _) => format!("https://{rest}"),
        (None, Some(rest)) => format!("http://{rest}"),
        (None, None) => url.to_owned(),
    }
}

/// Ports that may be listened to.
const PORTS_MAX: usize = 2_000;

fn rtp(media: &Media) -> Result<(Vec<SocketAddr>, Port), String> {
    let address = media.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let [first, last] = media.ports.ok_or("`media.rtp.ports` is missing: say [first, last]")?;
    let ports: Vec<SocketAddr> = (first..=last).map(|port| SocketAddr::new(address, port)).collect();
    if ports.is_empty() || ports.len() > PORTS_MAX {
        return Err(format!("`media.rtp.ports` is [{first}, {last}]: expected 1 to {PORTS_MAX} ports"));
    }
    if media.pair && ports.len() < 3 {
        return Err(format!(
            "`media.rtp.ports` is [{first}, {last}] and `pair` takes the first and the third of every four: expected at least 3 ports"
        ));
    }
    if !address.is_loopback() && media.sources.is_empty() {
        return Err(format!(
            "`media.rtp.address` is {address} and RTP has no credentials: name who may send in `sources`, or listen on 127.0.0.1"
        ));
    }
    let mut types = PayloadTypes::new();
    for (number, rtpmap) in &media.payload_types {
        let number = number.parse().map_err(|_| format!("payload type {number}: expected 0 to 127"))?;
        types.declare(number, rtpmap).map_err(|error| error.to_string())?;
    }
    let silence = Duration::from_secs(media.silence_s.unwrap_or(RTP_SILENCE_S));
    Ok((ports, Port { types, sources: media.sources.clone(), silence }))
}

/// Seconds without a packet after which an RTP call is over, if nothing is said.
const RTP_SILENCE_S: u64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_at_all_is_a_configuration_for_this_machine_alone() {
        let config = Config::parse("").unwrap();
        assert!(config.server.listen.ip().is_loopback() && config.audiosocket().is_none());
        assert!(config.gate(&|_| Err("no secrets".into())).unwrap().is_open());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        check(
            "[server]\nlisten = \"127.0.0.1:80\"\ngrace = 3",
            "line 3: `grace` is not a setting: did you mean `grace_s`?",
        );
        check("[limit]", "line 1: `limit` is not a setting: did you mean `limits`?");
        check(
            "[media.twilio]\nsigning_kee = { env = \"A\" }",
            "line 2: `signing_kee` is not a setting: did you mean `signing_key`?",
        );
        check("[media.twillio]\n", "`media.twillio` is no protocol: expected one of twilio, signalwire");
        check(
            "[[server.token]]\nrole = \"king\"\nsecret = { env = \"A\" }",
            "line 2: `role` is \"king\": expected integrator",
        );
    }

    #[test]
    fn a_public_listener_without_a_token_is_reported_where_it_stands() {
        let error =
            Config::parse("# a comment\n[limits]\ncalls = 5\n[server]\nlisten = \"0.0.0.0:80\"").unwrap_err();
        assert!(error.to_string().contains("line 5: `server.listen`"), "{error}");
    }

    #[test]
    fn a_mistyped_table_or_key_is_answered_with_the_one_that_was_meant() {
        check("[consoel]", "did you mean `console`?");
        check("[console]\nrecording = \"calls\"", "did you mean `recordings`?");
    }

    #[test]
    fn only_the_scheme_of_the_public_url_changes() {
        for (public_url, expected) in [
            ("wss://media.example.com", "https://media.example.com"),
            ("ws://localhost:8080/a", "http://localhost:8080/a"),
            ("https://news.example/ws", "https://news.example/ws"),
        ] {
            let config = Config::parse(&format!("[server]\npublic_url = {public_url:?}")).unwrap();
            assert_eq!(config.outbox().public_url.as_deref(), Some(expected));
        }
    }

    #[test]
    fn who_listens_to_the_world_says_who_may_speak() {
        check("[server]\nlisten = \"0.0.0.0:80\"", "there is no [[server.token]]");
        check("[media.audiosocket]\nlisten = \"0.0.0.0:9092\"", "set `announced = true`");
        check("[media.rtp]\naddress = \"0.0.0.0\"\nports = [22000, 22009]", "name who may send in `sources`");
        check("[media.rtp]\nports = [2, 1]", "expected 1 to 2000 ports");
        check("[media.rtp]\nports = [1, 2]\npair = true", "expected at least 3 ports");
        check(
            "[media.rtp]\nports = [1, 2]\npayload_types = { 118 = \"L17/8000\" }",
            "rtpmap \"L17/8000\" is not read",
        );
        let good =
            "[server]\nlisten = \"0.0.0.0:80\"\n[[server.token]]\nrole = \"agent\"\nsecret = { env = \"A\" }";
        assert!(Config::parse(good).is_ok());
    }

    #[test]
    fn pairs_leave_a_port_for_reports_behind_each_of_theirs() {
        let config = Config::parse("[media.rtp]\nports = [22000, 22006]\npair = true").unwrap();
        let pairs: Vec<[u16; 2]> =
            config.rtp_pairs().unwrap().0.iter().map(|pair| pair.map(|address| address.port())).collect();
        assert_eq!(pairs, [[22000, 22002], [22004, 22006]]);
        assert!(Config::parse("[media.rtp]\nports = [22000, 22006]").unwrap().rtp_pairs().is_none());
    }

    #[test]
    fn secrets_are_found_where_the_file_says_and_are_never_in_it() {
        let source = "[[server.token]]\nrole = \"agent\"\nsecret = { env = \"A\" }\n[media.twilio]\nsigning_key = { file = \"key\" }";
        let config = Config::parse(source).unwrap();
        let gate = config
            .gate(&|secret| match secret {
                Secret::Env(name) => Ok(format!("value of {name}")),
                Secret::File(path) => Ok(format!(" value of {} \n", path.display())),
            })
            .unwrap();
        assert_eq!(gate.tokens[0].secret, "value of A");
        assert_eq!(gate.doors["twilio"].signing_key.as_deref(), Some("value of key"));
        let error = config.gate(&|_| Ok(" \n".into())).err().unwrap();
        assert_eq!(error.to_string(), "the secret of [[server.token]] cannot be read: it is empty");
    }

    fn check(source: &str, expected: &str) {
        let error = Config::parse(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
