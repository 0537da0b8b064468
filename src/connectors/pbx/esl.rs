//! FreeSWITCH's event socket: the context goes into channel variables, then the call is transferred to an extension of the dialplan.
//! <https://developer.signalwire.com/freeswitch/FreeSWITCH-Explained/Modules/mod_commands_1966741/>

use std::sync::Arc;

use serde::Deserialize;

use super::{
    super::{
        Carries, Connector, Environment, Failure, KeyFault, Kind, Offer, Secret, settings,
        socket::{Socket, SocketError, field, host_and_port},
    },
    Adapter, Pbx, Reply, Session, Values, carries, channel, refused, unavailable,
};

/// Bytes of the brief as JSON in `warmline_context`, which holds it as base64.
pub const CONTEXT_MAX: usize = 2_000;

/// Messages that are passed over while an answer is awaited.
pub const OTHERS_MAX: usize = 100;

/// `kind = "esl"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EslTable {
    /// `freeswitch:8021`.
    pub address: String,
    /// The password of `event_socket.conf.xml`.
    pub password: Secret,
    /// Where callers go: `extension`, `extension dialplan` or `extension dialplan context`.
    pub target: String,
    /// The entry of the call's metadata that holds the channel's UUID, where the call's own id is another.
    pub channel_from: Option<String>,
    /// Whether the switch may be on this machine or in a private network.
    #[serde(default = "settings::yes")]
    pub allow_private: bool,
    /// How long one attempt may take, seconds.
    #[serde(default = "settings::timeout_s")]
    pub timeout_s: f64,
}

/// The words of a target, of which nothing can end a command or be evaluated.
fn target(text: &str) -> Result<Vec<&str>, String> {
    let words: Vec<&str> = text.split(' ').collect();
    let good = |word: &&str| {
        !word.is_empty()
            && word.len() <= 128
            && !word.starts_with('-')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+*#.@:/".contains(&b))
    };
    if words.len() <= 3 && words.iter().all(good) {
        Ok(words)
    } else {
        Err(format!("is {text:?}: expected \"extension dialplan context\", say \"5000 XML default\""))
    }
}

impl Kind for EslTable {
    fn check(&self) -> Result<(), KeyFault> {
        host_and_port(&self.address).map_err(|reason| ("address", reason))?;
        target(&self.target).map_err(|reason| ("target", reason))?;
        settings::timeout(self.timeout_s).map(|_| ())
    }

    fn target(&self) -> String {
        format!("{} at {}", self.target, self.address)
    }

    fn carries(&self) -> Carries {
        carries::<Esl>()
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        let password = environment.secret("password", &self.password)?;
        Ok(Arc::new(Adapter(Esl { table: self.clone(), password })))
    }
}

/// The switch.
struct Esl {
    table: EslTable,
    password: String,
}

/// A session after the login.
struct Channel<'a> {
    socket: Socket,
    target: Vec<&'a str>,
    channel: &'a str,
}

impl Channel<'_> {
    /// The next message of that content type: its fields and its body.
    async fn message(&mut self, kind: &str) -> Result<(Vec<(String, String)>, String), SocketError> {
        for _ in 0..OTHERS_MAX {
            let fields = self.socket.fields().await?;
            let length = field(&fields, "Content-Length").unwrap_or("0");
            let length = length.parse().map_err(|_| SocketError::Length(length.to_owned()))?;
            let body = self.socket.exactly(length).await?;
            match field(&fields, "Content-Type") {
                Some(found) if found == kind => return Ok((fields, body)),
                Some("text/disconnect-notice") => return Err(SocketError::Closed),
                Some(_) | None => {}
            }
        }
        Err(SocketError::Missing { messages: OTHERS_MAX, expected: kind.into() })
    }

    /// Sends a command and returns its response.
    async fn command(&mut self, words: &[&str]) -> Result<String, SocketError> {
        self.socket.send(&format!("api {}\n\n", words.join(" "))).await?;
        let (_, body) = self.message("api/response").await?;
        Ok(body.trim().to_owned())
    }

    /// The value of a channel variable.
    async fn variable(&mut self, name: &str) -> Result<String, Failure> {
        let channel = self.channel;
        let value = self.command(&["uuid_getvar", channel, name]).await;
        value.map_err(|error| unavailable("FreeSWITCH", error))
    }

    /// How often the channel has been transferred to the target: `transfer_history` has `…:bl_xfer:extension/context/dialplan` of each.
    async fn transfers_so_far(&mut self) -> Result<usize, Failure> {
        let history = self.variable("transfer_history").await?;
        Ok(history.matches(&format!(":bl_xfer:{}/", self.target.first().unwrap_or(&""))).count())
    }
}

fn reply(response: &str) -> Result<Reply, Failure> {
    if response.starts_with("+OK") {
        return Ok(Reply::Done);
    }
    if response.to_ascii_lowercase().contains("no such channel") {
        return Ok(Reply::NoChannel);
    }
    Err(refused("FreeSWITCH", response))
}

impl Pbx for Esl {
    const KIND: &'static str = "esl";
    const CONTEXT_MAX: usize = CONTEXT_MAX;

    type Session<'a> = Channel<'a>;

    async fn open<'a>(&'a self, offer: &'a Offer) -> Result<Channel<'a>, Failure> {
        let table = &self.table;
        let target = offer.target(&table.target, target)?;
        let is_good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let channel = channel(offer, table.channel_from.as_deref(), 64, '-', is_good)?;
        let socket = Socket::open(&table.address, table.allow_private, table.timeout_s, offer).await?;
        let mut session = Channel { socket, target, channel };
        let unavailable = |error| unavailable("FreeSWITCH", error);
        session.message("auth/request").await.map_err(unavailable)?;
        session.socket.send(&format!("auth {}\n\n", self.password)).await.map_err(unavailable)?;
        let (fields, _) = session.message("command/reply").await.map_err(unavailable)?;
        if field(&fields, "Reply-Text").is_some_and(|reply| reply.starts_with("+OK")) {
            Ok(session)
        } else {
            Err(Failure::Never("FreeSWITCH refuses the credentials".into()))
        }
    }
}

impl Session for Channel<'_> {
    /// `warmline_ref`, `warmline_transfer` and `warmline_context`. `warmline_before` is how often the channel has been transferred to
    /// the target already: [`Session::status`] compares with it.
    async fn variables(&mut self, offer: &Offer) -> Result<Vec<(String, String)>, Failure> {
        let Values { reference, transfer, context } = Values::new(offer, CONTEXT_MAX);
        let named = [
            ("warmline_before", self.transfers_so_far().await?.to_string()),
            ("warmline_ref", reference),
            ("warmline_context", context),
            ("warmline_transfer", transfer),
        ];
        Ok(named.map(|(name, value)| (name.to_owned(), value)).into())
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<Reply, Failure> {
        let channel = self.channel;
        let response = self.command(&["uuid_setvar", channel, name, value]).await;
        reply(&response.map_err(|error| unavailable("FreeSWITCH", error))?)
    }

    async fn transfer(&mut self) -> Result<Reply, Failure> {
        let words = [vec!["uuid_transfer", self.channel], self.target.clone()].concat();
        let response = self.command(&words).await;
        reply(
            &response
                .map_err(|error| Failure::Unknown(format!("FreeSWITCH was asked to transfer: {error}")))?,
        )
    }

    /// A channel knows where it has been transferred to: once more than before, or not.
    async fn status(&mut self, offer: &Offer) -> Result<Option<Reply>, Failure> {
        let channel = self.channel;
        let exists = self.command(&["uuid_exists", channel]).await;
        if exists.map_err(|error| unavailable("FreeSWITCH", error))? == "false" {
            return Ok(Some(Reply::NoChannel));
        }
        if self.variable("warmline_transfer").await? != offer.transfer {
            return Ok(None);
        }
        let before = self.variable("warmline_before").await?;
        let now = self.transfers_so_far().await?;
        Ok(before.parse().is_ok_and(|before: usize| now > before).then_some(Reply::Done))
    }
}
