//! Judged calls as JUnit XML: one test case a call, so that CI shows which ones fail.

use std::fmt::Write as _;

use super::{
    clock,
    evaluation::{CallOutcome, Evaluation},
    figures::Figures,
    suite::{Dimension, Row, Suite},
    verdict::Outcome,
};

/// The class of calls of which the suite says neither scenario nor corpus.
const CLASS: &str = "calls";

/// A limit on the figures of the whole suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What was asked for.
    pub name: String,
    /// Why it is not kept, if it is not.
    pub failure: Option<String>,
}

/// A `testsuite` of the calls: a missed and a falsely alarmed call fail, and say why; so does
/// a limit that is not kept.
pub fn junit(name: &str, suite: &Suite, evaluation: &Evaluation, limits: &[Limit]) -> String {
    let Figures { calls, hours, detection_rate, false_alarms_per_hour, caller_speech_hours, .. } =
        &evaluation.figures;
    let failures: Vec<Option<String>> =
        evaluation.outcomes.iter().map(|call| failure(call, evaluation.within_s)).collect();
    let failed = failures.iter().chain(limits.iter().map(|limit| &limit.failure)).flatten().count();
    let tests = calls + limits.len();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites>\n<testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">\n<properties>",
        escaped(name)
    );
    for (name, value) in [
        ("software", evaluation.software.to_owned()),
        ("policy", evaluation.policy.name.clone()),
        ("model", evaluation.model_names()),
        ("within_s", evaluation.within_s.to_string()),
        ("hours", hours.to_string()),
        ("caller_speech_hours", caller_speech_hours.to_string()),
        ("detection_rate", format!("{:.4}", detection_rate.value)),
        ("false_alarms_per_hour", format!("{:.4}", false_alarms_per_hour.value)),
    ] {
        let _ = writeln!(xml, "<property name=\"{name}\" value=\"{}\"/>", escaped(&value));
    }
    xml.push_str("</properties>\n");
    for ((call, row), failure) in evaluation.outcomes.iter().zip(&suite.rows).zip(failures) {
        case(&mut xml, &call.file, class(row), failure.map(|words| (call.outcome.name(), words)));
    }
    for Limit { name, failure } in limits {
        case(&mut xml, name, "limits", failure.clone().map(|words| ("limit", words)));
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

fn case(xml: &mut String, name: &str, class: &str, failure: Option<(&str, String)>) {
    let _ = write!(xml, "<testcase name=\"{}\" classname=\"{}\"", escaped(name), escaped(class));
    match failure {
        None => xml.push_str("/>\n"),
        Some((kind, words)) => {
            let words = escaped(&words);
            let _ = writeln!(xml, ">\n<failure type=\"{kind}\" message=\"{words}\"/>\n</testcase>");
        }
    }
}

fn class(row: &Row) -> &str {
    let group = |dimension| row.groups.get(&dimension).map(String::as_str);
    group(Dimension::Scenario).or_else(|| group(Dimension::Corpus)).unwrap_or(CLASS)
}

/// Why a call fails, if it does.
fn failure(call: &CallOutcome, within_s: f64) -> Option<String> {
    let alarms: Vec<String> = call.false_alarms_s.iter().map(|s| clock(*s)).collect();
    let alarms = alarms.join(", ");
    let early = if alarms.is_empty() { String::new() } else { format!("; false alarm at {alarms}") };
    let onset = call.onset_s.map_or_else(String::new, clock);
    match call.outcome {
        Outcome::Quiet => None,
        Outcome::Detected if alarms.is_empty() => None,
        Outcome::Detected => {
            Some(format!("a transfer before the caller sounds frustrated at {onset}: at {alarms}"))
        }
        Outcome::FalseAlarm => Some(format!("a transfer in a calm call: at {alarms}")),
        Outcome::Missed => {
            Some(format!("no transfer, though the caller sounds frustrated from {onset}{early}"))
        }
        Outcome::Late => {
            let (at, spoken) =
                (call.transfer_s.map_or_else(String::new, clock), call.delay_speech_s.unwrap_or_default());
            Some(format!(
                "transferred at {at}, {spoken:.1} s of caller speech after {onset}: later than {within_s} s{early}"
            ))
        }
    }
}

/// Text as it stands in XML and HTML, in an attribute too; what XML 1.0 forbids becomes U+FFFD.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
