//! What a bot reports of itself.

use crate::units::Probability;

/// One report of a bot.
#[derive(Clone, Debug, PartialEq)]
pub struct BotEvent {
    /// What happened.
    pub report: BotReport,
    /// What the bot takes the caller to want, if it says so.
    pub intent: Option<String>,
    /// What the bot asked, in its words or by a name of its own.
    pub prompt: Option<String>,
}

/// What happened to a bot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BotReport {
    /// It understood words and made nothing of them.
    NoMatch,
    /// It heard nothing.
    NoInput,
    /// It made something of them, and says how sure it is.
    LowConfidence(Probability),
    /// It asks something.
    Prompt,
    /// The caller asked it for a person, and it refused.
    EscalationRefused,
}
