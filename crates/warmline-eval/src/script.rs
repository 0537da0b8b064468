//! What was said in a recorded call: a file of JSON lines beside the recording, in the shape of the API.

use serde::Deserialize;

use warmline_core::{
    media::Speaker,
    units::{MediaSpan, MediaTime, Pii, Probability},
    words::{BotEvent, BotReport},
};

/// Lines of one file, at the most.
pub const LINES_MAX: usize = 10_000;

/// One line: when, and what.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it had been said.
    pub at: MediaTime,
    /// What.
    pub told: Told,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Somebody said something.
    Said(Speaker, Pii<String>),
    /// The bot reports of itself.
    Bot(BotEvent),
}

/// Why a file of words was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ScriptError {
    /// Which line, from 1.
    pub line: usize,
    /// What was read, and what was expected.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    t: f64,
    speaker: Option<Speaker>,
    text: Option<Pii<String>>,
    #[serde(rename = "final", default = "yes")]
    is_final: bool,
    event: Option<Reported>,
    intent: Option<String>,
    prompt: Option<String>,
    confidence: Option<Probability>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reported {
    NoMatch,
    NoInput,
    LowConfidence,
    Prompt,
    EscalationRefused,
}

/// Reads JSON lines: `{"t":12.5,"speaker":"caller","text":"…"}` or `{"t":14.0,"event":"no_match"}`; what is not final is left out.
///
/// # Errors
/// When a line is neither, has no time, or there are more than [`LINES_MAX`].
pub fn parse(source: &str) -> Result<Vec<Line>, ScriptError> {
    let mut lines = Vec::new();
    for (line, text) in (1..).zip(source.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let refuse = |reason: String| ScriptError { line, reason };
        let written: Written = serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
        if !(0.0..=86_400.0).contains(&written.t) {
            return Err(refuse(format!("`t` is {}: expected seconds from 0 to 86400", written.t)));
        }
        if lines.len() == LINES_MAX {
            return Err(refuse(format!("expected {LINES_MAX} lines at the most")));
        }
        let at = MediaTime::ZERO + MediaSpan::from_seconds(written.t);
        let bot = |report| {
            Told::Bot(BotEvent { report, intent: written.intent.clone(), prompt: written.prompt.clone() })
        };
        let told = match (written.speaker, &written.text, written.event, written.confidence) {
            (Some(speaker), Some(text), None, _) => Told::Said(speaker, text.clone()),
            (None, None, Some(Reported::NoMatch), _) => bot(BotReport::NoMatch),
            (None, None, Some(Reported::NoInput), _) => bot(BotReport::NoInput),
            (None, None, Some(Reported::LowConfidence), Some(p)) => bot(BotReport::LowConfidence(p)),
            (None, None, Some(Reported::Prompt), _) if written.prompt.is_some() => bot(BotReport::Prompt),
            (None, None, Some(Reported::EscalationRefused), _) => bot(BotReport::EscalationRefused),
            _ => {
                let expected = "expected `speaker` and `text`, or `event` (low_confidence with `confidence`, prompt with `prompt`)";
                return Err(refuse(expected.into()));
            }
        };
        if written.is_final {
            lines.push(Line { at, told });
        }
    }
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_the_order_of_their_moments() {
        let source = "{\"t\":2.0,\"event\":\"no_match\",\"intent\":\"pay\"}\n\n{\"t\":1.5,\"speaker\":\"caller\",\"text\":\"hello\"}\n\
                      {\"t\":1.7,\"speaker\":\"caller\",\"text\":\"hel\",\"final\":false}\n";
        let lines = parse(source).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].told, Told::Said(Speaker::Caller, Pii::new("hello".into())));
        assert_eq!(lines[1].at, MediaTime(16_000));
    }

    #[test]
    fn a_line_that_is_none_is_refused_with_its_number() {
        for (source, reason) in [
            ("{\"t\":1,\"speaker\":\"bot\",\"text\":\"\"}", "unknown variant"),
            ("{\"t\":-1,\"speaker\":\"caller\",\"text\":\"\"}", "expected seconds"),
            ("{\"t\":1,\"speaker\":\"caller\"}", "expected `speaker` and `text`"),
            ("{\"t\":1,\"event\":\"low_confidence\"}", "low_confidence with `confidence`"),
            ("{\"t\":1,\"event\":\"low_confidence\",\"confidence\":2}", "is not a probability"),
            ("hello", "expected"),
        ] {
            let refused = parse(&format!("{{\"t\":0,\"event\":\"no_input\"}}\n{source}")).unwrap_err();
            assert_eq!(refused.line, 2, "{source}: {refused}");
            assert!(refused.reason.contains(reason), "{source}: {refused}");
        }
    }

    #[test]
    fn any_text_at_all_is_survived() {
        proptest::proptest!(|(text in "\\PC{0,200}")| {
            let _ = parse(&text);
        });
    }
}
