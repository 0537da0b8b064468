//! The endpoints: one file per resource, one handler per command.

pub(super) mod calls;
pub(super) mod commands;
pub(super) mod events;
pub(super) mod health;
pub(super) mod page;
pub(super) mod policy;
pub(super) mod session;
pub(super) mod stats;
pub(super) mod transfers;

use super::{auth::Routes, openapi};

/// Every endpoint.
pub(super) fn all() -> Routes {
    health::routes()
        .merge(session::routes())
        .merge(calls::routes())
        .merge(commands::routes())
        .merge(events::routes())
        .merge(transfers::routes())
        .merge(stats::routes())
        .merge(policy::routes())
        .merge(openapi::routes())
        .merge(page::routes())
}
