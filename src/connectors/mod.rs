//! Transfers going out: what a connector is, and one file for each kind. Absent here: media, models, decisions.
//!
//! This file holds the trait and the types that kinds share. A kind imports this file and the shared helpers ([`http`], `socket`,
//! `settings`, `sip`), never another kind. [`registry`] lists the kinds; nothing else knows them all. To add one, write its file, declare
//! it below, and add its line to the registry.

pub mod http;
pub mod registry;
mod settings;
mod sip;
pub mod socket;

pub mod chat;
pub mod genesys;
pub mod jambonz;
pub mod nats;
pub mod page;
pub mod pagerduty;
pub mod pbx;
pub mod stream;
pub mod telnyx;
pub mod twilio;
pub mod webhook;

use std::{collections::BTreeMap, fmt::Debug, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::Deserialize;

use crate::clock::Clock;
use warmline_core::packet::ContextPacket;
pub use warmline_core::{
    packet::Tier,
    transfer::{Answer, Failure},
};

/// One attempt to hand a caller over: everything that a connector needs. Only [`Offer::attempt`] and [`Offer::remaining`] differ
/// between the attempts of a transfer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The transfer's id, a UUID: the idempotency key where a receiver takes one.
    pub transfer: String,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// The call's id as its carrier knows it (Twilio's `CallSid`, an Asterisk channel, a FreeSWITCH UUID).
    pub call: String,
    /// The protocol that the call came by, or `wav`.
    pub source: String,
    /// The metadata of the call's start: ids of its carrier, the integrator's own entries.
    pub metadata: BTreeMap<String, String>,
    /// Where the caller should go, in the connector's syntax; without it the connector's `target` holds.
    pub target: Option<String>,
    /// The context packet.
    pub packet: Arc<ContextPacket>,
    /// Where the packet can be fetched, if `public_url` is configured.
    pub packet_url: Option<String>,
    /// The time that is left to the transfer.
    pub remaining: Duration,
}

/// The keys of a brief that identify nobody: a channel full of people may read them.
pub const IMPERSONAL: [&str; 7] =
    ["transfer_id", "reason", "score", "queue", "since_s", "at_s", "packet_url"];

impl Offer {
    /// The call's id as its carrier knows it: the first of `keys` that the call's metadata has, or the call's own id without the
    /// `~2` that distinguishes a second call of the same id from the first.
    pub fn carrier_id(&self, keys: &[&str]) -> &str {
        let given = keys.iter().find_map(|key| self.metadata.get(*key)).filter(|id| !id.is_empty());
        given.map_or_else(|| without_repeat(&self.call), String::as_str)
    }

    /// The transfer's target, or else the connector's own, as `parse` reads it.
    ///
    /// # Errors
    /// [`Failure::Never`] when the target cannot be parsed.
    pub fn target<'t, T>(
        &'t self,
        own: &'t str,
        parse: impl FnOnce(&'t str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        parse(self.target.as_deref().unwrap_or(own))
            .map_err(|reason| Failure::Never(format!("the transfer's target {reason}")))
    }

    /// The brief with the packet's address in it, if there is one: what fits `bytes_max` as `size` counts it.
    pub fn brief_within(
        &self,
        bytes_max: usize,
        size: &dyn Fn(&BTreeMap<String, String>) -> usize,
    ) -> BTreeMap<String, String> {
        let Some(url) = self.packet_url.as_ref().filter(|url| url.bytes().all(|b| b.is_ascii_graphic()))
        else {
            return self.packet.brief_within(bytes_max, size);
        };
        let with_url = |brief: &BTreeMap<String, String>| {
            let mut brief = brief.clone();
            brief.insert("packet_url".into(), url.clone());
            brief
        };
        let mut brief = self.packet.brief_within(bytes_max, &|brief| size(&with_url(brief)));
        if brief.is_empty() {
            return self.packet.brief_within(bytes_max, size);
        }
        brief.insert("packet_url".into(), url.clone());
        brief
    }

    /// The brief for an alert: unless `personal`, only its [`IMPERSONAL`] keys.
    pub fn brief_for_alert(
        &self,
        personal: bool,
        bytes_max: usize,
        size: &dyn Fn(&BTreeMap<String, String>) -> usize,
    ) -> BTreeMap<String, String> {
        let may = |brief: &BTreeMap<String, String>| {
            let mut brief = brief.clone();
            brief.retain(|key, _| personal || IMPERSONAL.contains(&key.as_str()));
            brief
        };
        may(&self.brief_within(bytes_max, &|brief| size(&may(brief))))
    }
}

fn without_repeat(call: &str) -> &str {
    match call.rsplit_once('~') {
        Some((id, n)) if !id.is_empty() && !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => id,
        Some(_) | None => call,
    }
}

/// What a connector can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carries {
    /// The largest tier.
    pub tier: Tier,
    /// Its largest size, bytes; a larger packet is shortened to fit, never sent broken.
    pub bytes_max: usize,
}

/// One way to hand a caller over.
pub trait Connector: Send + Sync {
    /// Its name in the configuration, in events and in metrics.
    fn name(&self) -> &str;

    /// Whether it takes callers of this queue.
    fn serves(&self, _queue: Option<&str>) -> bool {
        true
    }

    /// Whether it only notifies people, beside the connector that moves the caller.
    fn is_alert(&self) -> bool {
        false
    }

    /// What it can carry.
    fn carries(&self) -> Carries;

    /// Makes one attempt. It must end within [`Offer::remaining`] and within its own time-out.
    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>>;

    /// Asks the receiver for the status of an attempt whose outcome is unknown; `None` if the attempt was not carried out. A
    /// connector whose receiver recognises the idempotency key may offer again instead.
    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>>;

    /// Cancels an offer because the caller hung up or a supervisor dismissed it. Most receivers need no notice.
    fn cancel<'a>(&'a self, _offer: &'a Offer) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Where a secret is. The secret itself is never here, so that a configuration may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// In an environment variable.
    Env(String),
    /// In a file, without the white space around it.
    File(PathBuf),
}

/// A key whose value is not acceptable, and the reason: what was read, and what was expected.
pub type KeyFault = (&'static str, String);

/// One kind of connector: the keys of its table, and how to build it.
pub trait Kind: Debug + Send + Sync {
    /// Checks what the types of the keys alone do not.
    ///
    /// # Errors
    /// The key that is wrong.
    fn check(&self) -> Result<(), KeyFault>;

    /// Where it sends callers or messages, without credentials.
    fn target(&self) -> String;

    /// What it can carry.
    fn carries(&self) -> Carries;

    /// Whether it only notifies people.
    fn is_alert(&self) -> bool {
        false
    }

    /// Builds the connector.
    ///
    /// # Errors
    /// When a secret cannot be read, or has the wrong form.
    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String>;
}

/// What connectors need that no configuration file can give.
pub struct Environment<'a> {
    /// Reads a secret.
    pub secret: &'a dyn Fn(&Secret) -> Result<String, String>,
    /// Hands a call back over its own media socket.
    pub hand_back: Arc<dyn HandBack>,
    /// Dates what is signed.
    pub clock: Arc<dyn Clock>,
}

impl Environment<'_> {
    /// The secret of `key`, without the white space around it.
    ///
    /// # Errors
    /// When the secret cannot be read, is empty, or has several lines.
    pub fn secret(&self, key: &str, secret: &Secret) -> Result<String, String> {
        let text =
            (self.secret)(secret).map_err(|why| format!("the secret of `{key}` cannot be read: {why}"))?;
        match text.trim() {
            "" => Err(format!("the secret of `{key}` cannot be read: it is empty")),
            text if text.contains(['\r', '\n', '\0']) => {
                Err(format!("the secret of `{key}` has several lines: expected one"))
            }
            text => Ok(text.to_owned()),
        }
    }
}

/// Hands a call back over its own media socket.
pub trait HandBack: Send + Sync {
    /// Asks the peer of `call` to take the caller back, with these variables if its protocol carries any.
    ///
    /// # Errors
    /// The reason, when the call is gone or its protocol has no such message.
    fn hand_back(&self, call: &str, variables: &BTreeMap<String, String>) -> Result<(), String>;
}
