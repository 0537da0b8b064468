//! What is said and by the bot reported → evidence: phrases, repetition, summary, redaction. Absent here: media, models, sockets, clocks.

mod lexicon;
mod text;

pub use lexicon::{Hit, Kind, Lexicon, LexiconError};
pub use text::{TEXT_MAX, WORDS_MAX, Word, words};
