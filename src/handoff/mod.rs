//! Transfers going out: what a connector is, and one file for each. Absent here: media, models, decisions.

mod connector;

pub mod ari;
pub mod http;
pub mod settings;
pub mod stream;
pub mod twilio;

pub use connector::{Answer, Carries, Connector, Failure, Offer, Tier};
pub use settings::{ConnectorTable, World};
pub use stream::HandBack;
