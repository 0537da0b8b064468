//! Hands the caller back over the call's own media socket, in its protocol's words: AudioSocket hangs up and the dialplan goes on,
//! AudioHook disconnects with `outputVariables`, FreeSWITCH and jambonz get a JSON message, chan_websocket `HANGUP`.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::{BoxFuture, ready};
use serde::Deserialize;

use super::{Answer, Carries, Connector, Environment, Failure, HandBack, KeyFault, Kind, Offer, Tier};

/// Bytes of variables: Genesys Cloud cuts long `outputVariables`, and a WebSocket message should stay one packet or two.
pub const VARIABLES_MAX: usize = 2_000;

/// `kind = "stream"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamTable {}

impl Kind for StreamTable {
    fn check(&self) -> Result<(), KeyFault> {
        Ok(())
    }

    fn target(&self) -> String {
        "the call's own media socket".into()
    }

    fn carries(&self) -> Carries {
        Carries { tier: Tier::Brief, bytes_max: VARIABLES_MAX }
    }

    fn connect(&self, environment: &Environment<'_>) -> Result<Arc<dyn Connector>, String> {
        Ok(Arc::new(Stream { hand_back: Arc::clone(&environment.hand_back) }))
    }
}

/// The media socket of the call.
pub struct Stream {
    hand_back: Arc<dyn HandBack>,
}

impl Stream {
    /// What is said: `action` = `transfer`, and the brief as `warmline_…`.
    fn variables(offer: &Offer) -> BTreeMap<String, String> {
        let named = |brief: &BTreeMap<String, String>| {
            let mut variables: BTreeMap<String, String> =
                brief.iter().map(|(key, value)| (format!("warmline_{key}"), value.clone())).collect();
            variables.insert("action".into(), "transfer".into());
            variables.insert("warmline_ref".into(), offer.packet.reference.uui.clone());
            variables
        };
        let size = |brief: &BTreeMap<String, String>| {
            serde_json::to_vec(&named(brief)).map_or(usize::MAX, |json| json.len())
        };
        named(&offer.brief_within(VARIABLES_MAX, &size))
    }
}

impl Connector for Stream {
    fn name(&self) -> &str {
        "stream"
    }

    fn carries(&self) -> Carries {
        StreamTable {}.carries()
    }

    fn offer<'a>(&'a self, offer: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        let told = self.hand_back.hand_back(&offer.call, &Self::variables(offer));
        Box::pin(ready(told.map(|()| Answer::Accepted).map_err(Failure::Never)))
    }

    /// What is said here is said or not; there is nothing to read again.
    fn query_status<'a>(&'a self, _offer: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        Box::pin(ready(Ok(None)))
    }
}
