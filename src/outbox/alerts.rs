//! Alerts notify people of a transfer; they do not move the caller.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{ATTEMPT_MAX, metrics::Counts};
use crate::connectors::{Connector, Failure, Offer};

/// How often one alert is tried while its receiver is unavailable.
const TRIES: u32 = 5;

/// The pause between two tries, where the receiver names none: this, times the number of tries so far.
const PAUSE: Duration = Duration::from_secs(1);

/// Sends one alert, and retries while its receiver is unavailable.
pub(super) async fn notify(alert: &dyn Connector, mut offer: Offer, counts: &Counts) {
    while offer.attempt <= TRIES {
        let sent = timeout(ATTEMPT_MAX, alert.offer(&offer)).await;
        let sent = sent.unwrap_or_else(|_| Err(Failure::Unknown("no answer".into())));
        counts.attempt(alert.name(), if sent.is_ok() { "sent" } else { "not_sent" });
        let Err(failure) = sent else { return };
        tracing::warn!(connector = alert.name(), transfer = offer.transfer, %failure, "an alert was not sent");
        let Failure::Again { after, .. } = failure else { return };
        sleep(after.unwrap_or(PAUSE * offer.attempt)).await;
        offer.attempt += 1;
    }
}

/// Notifies everybody who serves the offer's queue, each in a task of its own.
pub(super) fn notify_all(alerts: &[Arc<dyn Connector>], offer: &Offer, counts: &Arc<Counts>) {
    let queue = offer.packet.full.call.queue.as_deref();
    for alert in alerts.iter().filter(|alert| alert.serves(queue)) {
        let (alert, offer, counts) = (Arc::clone(alert), offer.clone(), Arc::clone(counts));
        tokio::spawn(async move { notify(&*alert, offer, &counts).await });
    }
}
