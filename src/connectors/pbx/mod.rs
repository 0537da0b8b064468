//! PBXs: the context goes into channel variables, then the channel is transferred to a place in the dialplan.
//!
//! AMI, ARI and ESL differ in how they open a session, send a command, and report where a channel is; `Pbx` and `Session` name these steps. The
//! order of the steps and what their replies mean for the transfer are here, once.

pub mod ami;
pub mod ari;
pub mod esl;

use std::{collections::BTreeMap, fmt::Display, future::Future};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{FutureExt, future::BoxFuture};

use super::{Answer, Carries, Connector, Failure, Offer, Tier};

/// A PBX that is reached by one of its interfaces.
trait Pbx: Send + Sync {
    /// The kind's name in a configuration.
    const KIND: &'static str;

    /// Bytes of the brief as JSON in the context variable.
    const CONTEXT_MAX: usize;

    /// What [`Pbx::open`] gives.
    type Session<'a>: Session
    where
        Self: 'a;

    /// Checks the offer's target and channel, connects, and logs in.
    fn open<'a>(
        &'a self,
        offer: &'a Offer,
    ) -> impl Future<Output = Result<Self::Session<'a>, Failure>> + Send;
}

/// An open conversation about one channel.
trait Session: Send {
    /// The channel variables that carry the offer.
    fn variables(
        &mut self,
        offer: &Offer,
    ) -> impl Future<Output = Result<Vec<(String, String)>, Failure>> + Send;

    /// Sets a channel variable.
    fn set(&mut self, name: &str, value: &str) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// Transfers the channel. [`Failure::Unknown`] if the command may have been carried out.
    fn transfer(&mut self) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// Whether the channel is where the transfer should take it; `None` if the transfer was not carried out.
    fn status(&mut self, offer: &Offer) -> impl Future<Output = Result<Option<Reply>, Failure>> + Send;
}

/// What a PBX replies to a command that it does not refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    /// The command was carried out.
    Done,
    /// The channel does not exist: the caller hung up.
    NoChannel,
}

impl Reply {
    /// What the reply to the last command means for the transfer.
    fn answer(self) -> Answer {
        match self {
            Self::Done => Answer::Accepted,
            Self::NoChannel => Answer::CallerGone,
        }
    }
}

/// A [`Pbx`] as a connector.
struct Adapter<P>(P);

impl<P: Pbx> Connector for Adapter<P> {
    fn name(&self) -> &str {
        P::KIND
    }

    fn carries(&self) -> Carries {
        carries::<P>()
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        async {
            let mut session = self.0.open(offer).await?;
            for (name, value) in session.variables(offer).await.map_err(Failure::repeatable)? {
                // A variable may be set twice: what is not known to be set is set again.
                match session.set(&name, &value).await.map_err(Failure::repeatable)? {
                    Reply::Done => {}
                    Reply::NoChannel => return Ok(Reply::NoChannel.answer()),
                }
            }
            session.transfer().await.map(Reply::answer)
        }
        .boxed()
    }

    fn query_status<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        async {
            let mut session = self.0.open(offer).await?;
            Ok(session.status(offer).await?.map(Reply::answer))
        }
        .boxed()
    }
}

fn carries<P: Pbx>() -> Carries {
    Carries { tier: Tier::Brief, bytes_max: P::CONTEXT_MAX }
}

/// The id of the call's channel, if it has the PBX's form: at most `len_max` of the bytes that `is_good` permits, so that it cannot
/// end a command, and not beginning with `not_first`.
fn channel<'o>(
    offer: &'o Offer,
    channel_from: Option<&str>,
    len_max: usize,
    not_first: char,
    is_good: fn(u8) -> bool,
) -> Result<&'o str, Failure> {
    let channel = carrier_channel(offer, channel_from);
    let good = !channel.is_empty()
        && channel.len() <= len_max
        && channel.bytes().all(is_good)
        && !channel.starts_with(not_first);
    good.then_some(channel).ok_or_else(|| {
        Failure::Never("the call's id is no channel's: name the metadata entry in `channel_from`".into())
    })
}

/// The entry of the call's metadata that `channel_from` names, or the call's own id.
fn carrier_channel<'o>(offer: &'o Offer, channel_from: Option<&str>) -> &'o str {
    let keys: Vec<&str> = channel_from.into_iter().collect();
    offer.carrier_id(&keys)
}

/// The values of the variables that carry an offer: the ref in hexadecimal, the transfer's id, the brief as base64 of JSON. None holds
/// the caller's own text, which a dialplan would evaluate.
struct Values {
    reference: String,
    transfer: String,
    context: String,
}

impl Values {
    fn new(offer: &Offer, context_max: usize) -> Self {
        let json = |brief: &BTreeMap<String, String>| serde_json::to_vec(brief).unwrap_or_default();
        let brief = offer.brief_within(context_max, &|brief| json(brief).len());
        Self {
            reference: offer.packet.reference.uui.clone(),
            transfer: transfer_id(offer),
            context: STANDARD.encode(json(&brief)),
        }
    }

    /// As Asterisk's channel variables. `__`: inherited by the legs that the channel dials, and by theirs.
    fn asterisk(self) -> Vec<(String, String)> {
        let named = [
            ("__WARMLINE_REF", self.reference),
            ("__WARMLINE_TRANSFER", self.transfer),
            ("__WARMLINE_CONTEXT", self.context),
        ];
        named.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// The transfer's id, of which nothing can end a line.
fn transfer_id(offer: &Offer) -> String {
    offer.transfer.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

/// A place in Asterisk's dialplan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    context: String,
    extension: String,
    priority: u32,
}

impl Place {
    /// `context,extension,priority`, of which nothing can end a line, a field or a dialplan expression.
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("is {text:?}: expected context,extension,priority");
        let good = |name: &&str| {
            !name.is_empty()
                && name.len() <= 79
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+*#.".contains(&b))
        };
        let mut parts = text.split(',');
        let (context, extension) = (parts.next().filter(good), parts.next().filter(good));
        let priority = parts.next().unwrap_or("1").parse().ok().filter(|priority| *priority > 0);
        match (context, extension, priority, parts.next()) {
            (Some(context), Some(extension), Some(priority), None) => {
                Ok(Self { context: context.into(), extension: extension.into(), priority })
            }
            _ => Err(expected()),
        }
    }
}

/// The conversation broke off before the transfer was requested.
fn unavailable(pbx: &str, error: impl Display) -> Failure {
    Failure::Again { after: None, why: format!("{pbx}: {error}") }
}

/// The PBX refused a command; its reason is cut to 100 printable characters.
fn refused(pbx: &str, reason: &str) -> Failure {
    let reason: String = reason.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(100).collect();
    Failure::Never(format!("{pbx} refuses: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_context_an_extension_and_a_priority_from_1() {
        let place = |priority| Place { context: "humans".into(), extension: "s".into(), priority };
        assert_eq!(Place::parse("humans,s"), Ok(place(1)));
        assert_eq!(Place::parse("humans,s,3"), Ok(place(3)));
        for text in ["humans", "humans,s,0", "humans,s,1,x", "humans,${EVIL},1", "a\r\nAction: x,s,1", ",s,1"]
        {
            assert!(Place::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_reason_is_one_printable_line_of_100_characters() {
        let failure = refused("Asterisk", &format!("no\r\nway {}", "x".repeat(200)));
        assert_eq!(failure, Failure::Never(format!("Asterisk refuses: noway {}", "x".repeat(94))));
    }

    #[test]
    fn a_channel_that_is_gone_means_that_the_caller_hung_up() {
        assert_eq!(Reply::NoChannel.answer(), Answer::CallerGone);
        assert_eq!(Reply::Done.answer(), Answer::Accepted);
    }
}
