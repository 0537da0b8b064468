//! Asterisk's Manager Interface: the context goes into channel variables that dialled legs inherit, then the channel is redirected to a
//! place in the dialplan, whatever it was doing. <https://docs.asterisk.org/Configuration/Interfaces/Asterisk-Manager-Interface-AMI/>

use std::sync::Arc;

use serde::Deserialize;

use super::{
    super::{
        Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, settings,
        socket::{Socket, SocketError, field, host_and_port},
    },
    Adapter, Pbx, Place, Reply, Session, Values, carries, channel, refused, transfer_id, unavailable,
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
    #[serde(default = "settings::yes")]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

impl Kind for AmiTable {
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
        carries::<Ami>()
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let password = environment.secret("password", &self.password)?;
        Ok(Arc::new(Adapter(Ami { table: self.clone(), password })))
    }
}

/// The PBX.
struct Ami {
    table: AmiTable,
    password: String,
}

/// A session after the login.
struct Channel<'a> {
    socket: Socket,
    target: Place,
    channel: &'a str,
    transfer: String,
    /// Actions sent so far; they number the `ActionID`.
    actions: u32,
}

impl Channel<'_> {
    /// Sends an action and waits for the response with its `ActionID`.
    async fn send(
        &mut self,
        action: &str,
        fields: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, SocketError> {
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
        Err(SocketError::Missing { messages: OTHERS_MAX, expected: "answer".into() })
    }

    /// The event that follows the response to an action.
    async fn event(&mut self, name: &str) -> Result<Vec<(String, String)>, SocketError> {
        for _ in 0..OTHERS_MAX {
            let message = self.socket.fields().await?;
            if field(&message, "Event").is_some_and(|event| event.eq_ignore_ascii_case(name)) {
                return Ok(message);
            }
        }
        Err(SocketError::Missing { messages: OTHERS_MAX, expected: name.into() })
    }
}

fn reply(message: &[(String, String)]) -> Result<Reply, Failure> {
    if field(message, "Response").is_some_and(|response| response.eq_ignore_ascii_case("Success")) {
        return Ok(Reply::Done);
    }
    let reason = field(message, "Message").unwrap_or("no reason given").to_ascii_lowercase();
    if reason.contains("no such channel") || reason.contains("channel does not exist") {
        return Ok(Reply::NoChannel);
    }
    Err(refused("Asterisk", &reason))
}

impl Pbx for Ami {
    const KIND: &'static str = "ami";
    const CONTEXT_MAX: usize = CONTEXT_MAX;

    type Session<'a> = Channel<'a>;

    async fn open<'a>(&'a self, offer: &'a Offer) -> Result<Channel<'a>, Failure> {
        let table = &self.table;
        let target = offer.target(&table.target, Place::parse)?;
        // A name that begins with `/` is a pattern of many channels.
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b"/-_.@:;+#".contains(&b);
        let channel = channel(offer, table.channel_from.as_deref(), 255, '/', is_good)?;
        let mut socket = Socket::open(&table.address, table.allow_private, table.timeout_s, offer).await?;
        let greeting = socket.line().await.map_err(|error| unavailable("Asterisk", error))?;
        if !greeting.starts_with("Asterisk Call Manager/") {
            return Err(Failure::Never(format!("{} is no Asterisk manager", table.address)));
        }
        let mut session = Channel { socket, target, channel, transfer: transfer_id(offer), actions: 0 };
        let login = [("Username", table.user.as_str()), ("Secret", &self.password), ("Events", "off")];
        let response = session.send("Login", &login).await.map_err(|error| unavailable("Asterisk", error))?;
        match reply(&response) {
            Ok(Reply::Done) => Ok(session),
            Ok(Reply::NoChannel) | Err(_) => Err(Failure::Never("Asterisk refuses the credentials".into())),
        }
    }
}

impl Session for Channel<'_> {
    async fn variables(&mut self, offer: &Offer) -> Result<Vec<(String, String)>, Failure> {
        Ok(Values::new(offer, CONTEXT_MAX).asterisk())
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<Reply, Failure> {
        let fields = [("Channel", self.channel), ("Variable", name), ("Value", value)];
        let response = self.send("Setvar", &fields).await;
        reply(&response.map_err(|error| unavailable("Asterisk", error))?)
    }

    async fn transfer(&mut self) -> Result<Reply, Failure> {
        let Place { context, extension, priority } = self.target.clone();
        let fields = [
            ("Channel", self.channel),
            ("Context", &context),
            ("Exten", &extension),
            ("Priority", &priority.to_string()),
        ];
        let response = self.send("Redirect", &fields).await;
        reply(
            &response
                .map_err(|error| Failure::Unknown(format!("Asterisk was asked to redirect: {error}")))?,
        )
    }

    /// A channel reports its place in the dialplan.
    async fn status(&mut self, _: &Offer) -> Result<Option<Reply>, Failure> {
        let unavailable = |error| unavailable("Asterisk", error);
        let fields = [("Channel", self.channel)];
        let response = self.send("Status", &fields).await.map_err(unavailable)?;
        if reply(&response)? == Reply::NoChannel {
            return Ok(Some(Reply::NoChannel));
        }
        let status = self.event("Status").await.map_err(unavailable)?;
        match (field(&status, "Context"), field(&status, "Application")) {
            (Some(context), _) if context == self.target.context => Ok(Some(Reply::Done)),
            (_, Some("AudioSocket" | "Stasis")) => Ok(None),
            (_, application) => Err(Failure::Unknown(format!(
                "the channel is in {}, neither where it was nor where it should go",
                application.unwrap_or("no application")
            ))),
        }
    }
}
