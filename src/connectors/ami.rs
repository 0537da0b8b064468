//! Asterisk's Manager Interface: the context goes into channel variables that dialled legs inherit, then the channel is redirected to a
//! place in the dialplan, whatever it was doing. <https://docs.asterisk.org/Configuration/Interfaces/Asterisk-Manager-Interface-AMI/>

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use serde::Deserialize;

use super::{
    Answer, Carries, Connector, Failure, Offer, Tier,
    ari::{Place, variables, yes},
    http::Guard,
    settings::{self, KeyFault, Secret, Settings, World},
    socket::{Socket, field, host_and_port},
};

/// Bytes of the brief as JSON in `WARMLINE_CONTEXT`: as base64 it must fit a line, of which Asterisk reads 1,024 bytes (`manager.c`).
pub const CONTEXT_MAX: usize = 700;

/// Messages that are passed over while the answer is awaited: events, answers to others.
pub const OTHERS_MAX: usize = 1_000;

/// `kind = "ami"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AmiTable {
    /// `pbx:5038`.
    pub address: String,
    /// User of `manager.conf`; it needs `write = call`, and `reporting` to be read again.
    pub user: String,
    /// Its secret.
    pub password: Secret,
    /// Where callers go: `context,extension,priority`.
    pub target: String,
    /// The entry of the call's metadata that holds the channel's name or unique id, where the call's own id is another.
    pub channel_from: Option<String>,
    /// Whether the PBX may be on this machine or in a private network.
    #[serde(default = "yes")]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

impl Settings for AmiTable {
    fn check(&self) -> Result<(), KeyFault> {
        host_and_port(&self.address).map_err(|reason| ("address", reason))?;
        if self.user.is_empty() || !self.user.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(("user", format!("is {:?}: expected a user of manager.conf", self.user)));
        }
        Place::parse(&self.target).map_err(|reason| ("target", reason))?;
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("{} at {}", self.target, self.address)
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn connect(&self, world: &World<'_>) -> Result<Arc<dyn Connector>, String> {
        let password = world.secret("password", &self.password)?;
        let target = Place::parse(&self.target).map_err(|reason| format!("`target` {reason}"))?;
        Ok(Arc::new(Ami { table: self.clone(), target, password }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: CONTEXT_MAX };

/// The PBX.
pub struct Ami {
    table: AmiTable,
    target: Place,
    password: String,
}

/// A conversation after the login.
struct Manager {
    socket: Socket,
    transfer: String,
    actions: u32,
}

impl Manager {
    /// Says an action and awaits its answer by its `ActionID`.
    async fn act(&mut self, action: &str, fields: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        self.actions += 1;
        let id = format!("warmline-{}-{}", self.transfer, self.actions);
        let mut text = format!("Action: {action}\r\nActionID: {id}\r\n");
        for (key, value) in fields {
            text += &format!("{key}: {value}\r\n");
        }
        text += "\r\n";
        self.socket.send(&text).await?;
        for _ in 0..OTHERS_MAX {
            let message = self.socket.fields().await?;
            if field(&message, "ActionID") == Some(&id) && field(&message, "Response").is_some() {
                return Ok(message);
            }
        }
        Err(format!("{OTHERS_MAX} messages and no answer among them"))
    }

    /// The event that follows an action's answer.
    async fn event(&mut self, name: &str) -> Result<Vec<(String, String)>, String> {
        for _ in 0..OTHERS_MAX {
            let message = self.socket.fields().await?;
            if field(&message, "Event").is_some_and(|event| event.eq_ignore_ascii_case(name)) {
                return Ok(message);
            }
        }
        Err(format!("{OTHERS_MAX} messages and no {name} among them"))
    }
}

fn again(why: String) -> Failure {
    Failure::Again { after: None, why: format!("Asterisk: {why}") }
}

/// Whether an action was carried out; `None` if the channel is gone.
fn done(message: &[(String, String)]) -> Result<Option<()>, Failure> {
    if field(message, "Response").is_some_and(|response| response.eq_ignore_ascii_case("Success")) {
        return Ok(Some(()));
    }
    let words = field(message, "Message").unwrap_or("no reason given").to_ascii_lowercase();
    if words.contains("no such channel") || words.contains("channel does not exist") {
        return Ok(None);
    }
    let words: String = words.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(100).collect();
    Err(Failure::Never(format!("Asterisk refuses: {words}")))
}

impl Ami {
    fn target(&self, offer: &Offer) -> Result<Place, Failure> {
        match &offer.target {
            None => Ok(self.target.clone()),
            Some(text) => {
                Place::parse(text).map_err(|reason| Failure::Never(format!("the transfer's target {reason}")))
            }
        }
    }

    /// The channel's name, of which nothing can end a line.
    fn channel<'o>(&self, offer: &'o Offer) -> Result<&'o str, Failure> {
        let keys: Vec<&str> = self.table.channel_from.as_deref().into_iter().collect();
        let channel = offer.carrier_id(&keys);
        // What begins with `/` is a pattern of many channels.
        let good = |b: u8| b.is_ascii_alphanumeric() || b"/-_.@:;+#".contains(&b);
        if !channel.is_empty()
            && channel.len() <= 255
            && channel.bytes().all(good)
            && !channel.starts_with('/')
        {
            Ok(channel)
        } else {
            Err(Failure::Never(
                "the call's id is no channel's: name the metadata entry in `channel_from`".into(),
            ))
        }
    }

    async fn login(&self, offer: &Offer) -> Result<Manager, Failure> {
        let timeout =
            settings::timeout(self.table.timeout_s).map_or(offer.remaining, |t| t.min(offer.remaining));
        let address = host_and_port(&self.table.address).map_err(Failure::Never)?;
        let guard = Guard { allow_private: self.table.allow_private };
        let mut socket = Socket::connect(guard, address, timeout).await?;
        let greeting = socket.line().await.map_err(again)?;
        if !greeting.starts_with("Asterisk Call Manager/") {
            return Err(Failure::Never(format!("{} is no Asterisk manager", self.table.address)));
        }
        let transfer = offer.transfer.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let mut manager = Manager { socket, transfer, actions: 0 };
        let login = [("Username", self.table.user.as_str()), ("Secret", &self.password), ("Events", "off")];
        match done(&manager.act("Login", &login).await.map_err(again)?) {
            Ok(Some(())) => Ok(manager),
            Ok(None) | Err(_) => Err(Failure::Never("Asterisk refuses the credentials".into())),
        }
    }

    async fn redirect(&self, offer: &Offer) -> Result<Answer, Failure> {
        let (target, channel) = (self.target(offer)?, self.channel(offer)?);
        let mut manager = self.login(offer).await?;
        for (name, value) in variables(offer, CONTEXT_MAX) {
            // `__`: inherited by the legs this channel dials, and by theirs.
            let fields = [("Channel", channel), ("Variable", &format!("__{name}")), ("Value", &value)];
            if done(&manager.act("Setvar", &fields).await.map_err(again)?)?.is_none() {
                return Ok(Answer::CallerGone);
            }
        }
        let fields = [
            ("Channel", channel),
            ("Context", target.context.as_str()),
            ("Exten", &target.extension),
            ("Priority", &target.priority.to_string()),
        ];
        let answer = manager.act("Redirect", &fields).await;
        let answer =
            answer.map_err(|why| Failure::Unknown(format!("Asterisk was asked to redirect: {why}")))?;
        Ok(done(&answer)?.map_or(Answer::CallerGone, |()| Answer::Accepted))
    }

    /// A channel says where in the dialplan it is.
    async fn read(&self, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let (target, channel) = (self.target(offer)?, self.channel(offer)?);
        let mut manager = self.login(offer).await?;
        if done(&manager.act("Status", &[("Channel", channel)]).await.map_err(again)?)?.is_none() {
            return Ok(Some(Answer::CallerGone));
        }
        let status = manager.event("Status").await.map_err(again)?;
        match (field(&status, "Context"), field(&status, "Application")) {
            (Some(context), _) if context == target.context => Ok(Some(Answer::Accepted)),
            (_, Some("AudioSocket" | "Stasis")) => Ok(None),
            (_, application) => Err(Failure::Unknown(format!(
                "the channel is in {}, neither where it was nor where it should go",
                application.unwrap_or("no application")
            ))),
        }
    }
}

impl Connector for Ami {
    fn name(&self) -> &str {
        "ami"
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.redirect(offer).boxed()
    }

    fn read_again<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.read(offer).boxed()
    }
}
