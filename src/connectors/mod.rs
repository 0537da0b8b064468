//! Transfers going out: what a connector is, one file for each, and the outbox that sees to every transfer. Absent here: media, models,
//! decisions.

mod connector;

pub mod ami;
pub mod ari;
pub mod chat;
pub mod esl;
pub mod genesys;
pub mod http;
pub mod jambonz;
pub mod nats;
mod page;
pub mod pager;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod telnyx;
pub mod twilio;
pub mod webhook;

pub use connector::{Carries, Connector, Offer, Tier};

pub use page::Page;
pub use settings::{ConnectorTable, World};
pub use stream::HandBack;

pub use warmline_core::transfer::{Answer, Failure};
