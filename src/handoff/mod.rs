//! Transfers going out: what a connector is, and one file for each. Absent here: media, models, decisions.

mod connector;

pub mod ami;
pub mod ari;
pub mod chat;
pub mod esl;
pub mod genesys;
pub mod http;
pub mod jambonz;
pub mod nats;
pub mod pager;
pub mod settings;
pub mod socket;
pub mod stream;
pub mod telnyx;
pub mod twilio;

pub use connector::{Answer, Carries, Connector, Failure, Offer, Tier};
pub use settings::{ConnectorTable, World};
pub use stream::HandBack;
