//! FreeSWITCH's event socket: the context goes into channel variables, then the call is transferred to an extension of the dialplan.
//! <https://developer.signalwire.com/freeswitch/FreeSWITCH-Explained/Modules/mod_commands_1966741/>

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};
use serde::Deserialize;

use super::{
    Answer, Carries, Connector, Failure, Offer, Tier,
    ari::yes,
    http::Guard,
    settings::{self, KeyFault, Secret, Settings, World},
    socket::{Socket, field, host_and_port},
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
    #[serde(default = "yes")]
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

impl Settings for EslTable {
    fn check(&self) -> Result<(), KeyFault> {
        host_and_port(&self.address).map_err(|reason| ("address", reason))?;
        target(&self.target).map_err(|reason| ("target", reason))?;
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
        Ok(Arc::new(Esl { table: self.clone(), password }))
    }
}

const CARRIES: Carries = Carries { tier: Tier::Brief, bytes_max: CONTEXT_MAX };

/// The switch.
pub struct Esl {
    table: EslTable,
    password: String,
}

/// A conversation after the login.
struct Events(Socket);

impl Events {
    /// The next message of that content type: its fields and its body.
    async fn message(&mut self, kind: &str) -> Result<(Vec<(String, String)>, String), String> {
        for _ in 0..OTHERS_MAX {
            let fields = self.0.fields().await?;
            let length = field(&fields, "Content-Length").unwrap_or("0");
            let length = length.parse().map_err(|_| format!("Content-Length is {length:?}"))?;
            let body = self.0.exactly(length).await?;
            match field(&fields, "Content-Type") {
                Some(found) if found == kind => return Ok((fields, body)),
                Some("text/disconnect-notice") => return Err("the connection was closed".into()),
                Some(_) | None => {}
            }
        }
        Err(format!("{OTHERS_MAX} messages and no {kind} among them"))
    }

    /// Says a command and gives what it answers.
    async fn api(&mut self, words: &[&str]) -> Result<String, String> {
        self.0.send(&format!("api {}\n\n", words.join(" "))).await?;
        let (_, body) = self.message("api/response").await?;
        Ok(body.trim().to_owned())
    }

    /// How often a channel has been transferred to an extension: `transfer_history` has `…:bl_xfer:extension/context/dialplan` of each.
    async fn transfers_to(&mut self, channel: &str, target: &[&str]) -> Result<usize, String> {
        let history = self.api(&["uuid_getvar", channel, "transfer_history"]).await?;
        Ok(history.matches(&format!(":bl_xfer:{}/", target.first().unwrap_or(&""))).count())
    }
}

fn again(why: String) -> Failure {
    Failure::Again { after: None, why: format!("FreeSWITCH: {why}") }
}

/// Whether a command was carried out; `None` if the channel is gone.
fn done(answer: &str) -> Result<Option<()>, Failure> {
    if answer.starts_with("+OK") {
        return Ok(Some(()));
    }
    if answer.to_ascii_lowercase().contains("no such channel") {
        return Ok(None);
    }
    let words: String = answer.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(100).collect();
    Err(Failure::Never(format!("FreeSWITCH refuses: {words}")))
}

impl Esl {
    fn target<'t>(&'t self, offer: &'t Offer) -> Result<Vec<&'t str>, Failure> {
        let text = offer.target.as_deref().unwrap_or(&self.table.target);
        target(text).map_err(|reason| Failure::Never(format!("the transfer's target {reason}")))
    }

    fn channel<'o>(&self, offer: &'o Offer) -> Result<&'o str, Failure> {
        let keys: Vec<&str> = self.table.channel_from.as_deref().into_iter().collect();
        let channel = offer.carrier_id(&keys);
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !channel.is_empty()
            && channel.len() <= 64
            && channel.bytes().all(good)
            && !channel.starts_with('-')
        {
            Ok(channel)
        } else {
            Err(Failure::Never(
                "the call's id is no channel's UUID: name the metadata entry in `channel_from`".into(),
            ))
        }
    }

    async fn login(&self, offer: &Offer) -> Result<Events, Failure> {
        let timeout =
            settings::timeout(self.table.timeout_s).map_or(offer.remaining, |t| t.min(offer.remaining));
        let address = host_and_port(&self.table.address).map_err(Failure::Never)?;
        let guard = Guard { allow_private: self.table.allow_private };
        let mut events = Events(Socket::connect(guard, address, timeout).await?);
        events.message("auth/request").await.map_err(again)?;
        events.0.send(&format!("auth {}\n\n", self.password)).await.map_err(again)?;
        let (fields, _) = events.message("command/reply").await.map_err(again)?;
        if field(&fields, "Reply-Text").is_some_and(|reply| reply.starts_with("+OK")) {
            Ok(events)
        } else {
            Err(Failure::Never("FreeSWITCH refuses the credentials".into()))
        }
    }

    /// `warmline_ref`, `warmline_transfer` and `warmline_context` (base64 of JSON): no value has a space, a `;` or the caller's text.
    /// `warmline_before` is how often the call has been there already, to read the attempt again by.
    async fn transfer(&self, offer: &Offer) -> Result<Answer, Failure> {
        let (target, channel) = (self.target(offer)?, self.channel(offer)?);
        let json = |brief: &BTreeMap<String, String>| serde_json::to_vec(brief).unwrap_or_default();
        let brief = offer.brief_within(CONTEXT_MAX, &|brief| json(brief).len());
        let id: String = offer.transfer.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let mut events = self.login(offer).await?;
        let before = events.transfers_to(channel, &target).await.map_err(again)?;
        let variables = [
            ("warmline_before", before.to_string()),
            ("warmline_ref", offer.packet.reference.uui.clone()),
            ("warmline_context", STANDARD.encode(json(&brief))),
            ("warmline_transfer", id),
        ];
        for (name, value) in &variables {
            let answer = events.api(&["uuid_setvar", channel, name, value]).await.map_err(again)?;
            if done(&answer)?.is_none() {
                return Ok(Answer::CallerGone);
            }
        }
        let words = [vec!["uuid_transfer", channel], target].concat();
        let answer = events.api(&words).await;
        let answer =
            answer.map_err(|why| Failure::Unknown(format!("FreeSWITCH was asked to transfer: {why}")))?;
        Ok(done(&answer)?.map_or(Answer::CallerGone, |()| Answer::Accepted))
    }

    /// A channel knows where it has been transferred to: once more than before, or not.
    async fn read(&self, offer: &Offer) -> Result<Option<Answer>, Failure> {
        let (target, channel) = (self.target(offer)?, self.channel(offer)?);
        let mut events = self.login(offer).await?;
        if events.api(&["uuid_exists", channel]).await.map_err(again)? == "false" {
            return Ok(Some(Answer::CallerGone));
        }
        if events.api(&["uuid_getvar", channel, "warmline_transfer"]).await.map_err(again)? != offer.transfer
        {
            return Ok(None);
        }
        let before = events.api(&["uuid_getvar", channel, "warmline_before"]).await.map_err(again)?;
        let now = events.transfers_to(channel, &target).await.map_err(again)?;
        Ok(before.parse().is_ok_and(|before: usize| now > before).then_some(Answer::Accepted))
    }
}

impl Connector for Esl {
    fn name(&self) -> &str {
        "esl"
    }

    fn carries(&self) -> Carries {
        CARRIES
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.transfer(offer).boxed()
    }

    fn read_again<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        self.read(offer).boxed()
    }
}
