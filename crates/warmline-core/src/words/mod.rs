//! What is said and what a bot reports → evidence: phrases, repetition, what it is about, redaction. Absent here: media, models, sockets, clocks.

mod advice;
mod bot;
mod content;
mod lexicon;
mod redact;
mod text;

pub use advice::opening;
pub use bot::{BotEvent, BotReport};
pub use content::{Content, problem, sentences};
pub use lexicon::{Hit, Kind, Lexicon, LexiconError};
pub use redact::redacted;
pub use text::{TEXT_MAX, WORDS_MAX, Word, bounded, words};
