//! What hands a caller over: one attempt at one receiver.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use warmline_core::packet::Tier;
use warmline_core::{
    packet::ContextPacket,
    transfer::{Answer, Failure},
};

/// One attempt to hand a caller over: everything a connector needs, the same on every attempt but for [`Offer::attempt`].
#[derive(Clone, Debug)]
pub struct Offer {
    /// The transfer's id, a UUID: the idempotency key wherever a receiver takes one.
    pub transfer: String,
    /// Counts from 1.
    pub attempt: u32,
    /// The call's id in the words of whoever carries it (Twilio's `CallSid`, an Asterisk channel, a FreeSWITCH UUID).
    pub call: String,
    /// The protocol the call came by, or `wav`.
    pub source: String,
    /// What its start said beside its audio: the ids of its carrier, the integrator's own metadata.
    pub metadata: BTreeMap<String, String>,
    /// Where the caller should go, in the connector's words; without it the connector's own setting holds.
    pub target: Option<String>,
    /// Everything the human needs to know.
    pub packet: Arc<ContextPacket>,
    /// Where the packet can be read, if the program knows its own address.
    pub packet_url: Option<String>,
    /// What is left of the transfer's time.
    pub remaining: Duration,
}

impl Offer {
    /// The call's id as its carrier knows it: the first of `keys` that the call's metadata has, or else the call's own id, without the
    /// `~2` that tells a second call of the same id from the first.
    pub fn carrier_id(&self, keys: &[&str]) -> &str {
        let given = keys.iter().find_map(|key| self.metadata.get(*key)).filter(|id| !id.is_empty());
        given.map_or_else(|| without_repeat(&self.call), String::as_str)
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
    /// Bytes of it; a packet beyond is cut to fit, never sent broken.
    pub bytes_max: usize,
}

/// One way to hand a caller over.
pub trait Connector: Send + Sync {
    /// The name it has in the configuration, in events and in metrics.
    fn name(&self) -> &str;

    /// Whether it takes callers of this queue.
    fn serves(&self, _queue: Option<&str>) -> bool {
        true
    }

    /// Whether it only tells people, beside whatever moves the caller.
    fn is_alert(&self) -> bool {
        false
    }

    /// What it can carry.
    fn carries(&self) -> Carries;

    /// Tries once. It must end within [`Offer::remaining`] and within its own time-out.
    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>>;

    /// Asks the receiver what became of an attempt whose answer never came; `None` if it was not carried out. A connector whose
    /// receiver recognises the idempotency key may simply offer again.
    fn read_again<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>>;

    /// Calls an offer back because the caller has hung up or it was dismissed; most receivers need no word.
    fn cancel<'a>(&'a self, _offer: &'a Offer) -> BoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}
