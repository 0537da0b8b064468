//! Transfers going out: what a connector is, one file for each, and the outbox that sees to every transfer. Absent here: media, models,
//! decisions.

mod connector;
pub mod fit;
pub mod outbox;
mod page;
pub mod settings;
pub mod webhook;

pub use connector::{Carries, Connector, Offer, Tier};
pub use outbox::{Ask, Outbox, Refusal};
pub use page::Page;

pub use crate::transfer::{Answer, Failure};
