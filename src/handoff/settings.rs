//! `[[handoff.connector]]` → connectors. A stand-in that knows the webhook alone.

use std::{sync::Arc, time::Duration};

use super::{Connector, webhook};

/// One `[[handoff.connector]]`, its secrets read.
#[derive(Clone)]
pub struct Table {
    /// `webhook`.
    pub kind: String,
    /// The connector's name; none: its kind.
    pub name: Option<String>,
    /// Where it goes.
    pub url: String,
    /// What signs, the newest first.
    pub secrets: Vec<String>,
    /// Whether the envelope is a CloudEvent.
    pub cloud_events: bool,
    /// Whether addresses of this machine and of private networks are allowed.
    pub allow_private: bool,
    /// Seconds an answer may take.
    pub timeout_s: Option<u64>,
}

/// The connectors of these tables, in their order.
///
/// # Errors
/// When a table makes none: what was read, what was expected.
pub fn connectors(tables: &[Table]) -> Result<Vec<Arc<dyn Connector>>, String> {
    let each = tables.iter().map(|table| {
        let name = table.name.clone().unwrap_or_else(|| table.kind.clone());
        if table.kind != "webhook" {
            return Err(format!("[[handoff.connector]] kind is {:?}: expected webhook", table.kind));
        }
        let settings = webhook::Settings {
            name: name.clone(),
            url: table.url.clone(),
            secrets: table.secrets.clone(),
            cloud_events: table.cloud_events,
            allow_private: table.allow_private,
            timeout: Duration::from_secs(table.timeout_s.unwrap_or(3)),
        };
        webhook::connector(&settings).map_err(|error| format!("[[handoff.connector]] {name}: {error}"))
    });
    each.collect()
}
