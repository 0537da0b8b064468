//! Transfers going out: what a connector is, and one file for each. Absent here: media, models, decisions.

mod connector;

pub use connector::{Answer, Carries, Connector, Failure, Offer, Tier};
