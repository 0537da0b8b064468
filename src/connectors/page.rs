//! Where no receiver is configured, the page rings: whoever watches it claims the transfer and says what became of it.

use futures_util::future::{BoxFuture, ready};

use super::{Answer, Carries, Connector, Failure, Offer, Tier};

/// The page of the supervisors and of the humans who take callers. The packet is read there, whole.
#[derive(Clone, Copy, Debug)]
pub struct Page;

impl Connector for Page {
    fn name(&self) -> &str {
        "page"
    }

    fn carries(&self) -> Carries {
        Carries { tier: Tier::Full, bytes_max: usize::MAX }
    }

    fn offer<'a>(&'a self, _: &'a Offer) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(ready(Ok(Answer::Ringing)))
    }

    fn query_status<'a>(&'a self, _: &'a Offer) -> BoxFuture<'a, Result<Option<Answer>, Failure>> {
        Box::pin(ready(Ok(Some(Answer::Ringing))))
    }
}
