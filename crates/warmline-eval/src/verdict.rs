//! One call against its label: what the transfers that a policy makes are worth.

use serde::Serialize;

use super::{
    suite::{Label, Row},
    trace::{Alarm, Trace, decide},
};
use warmline_core::{
    policy::Rules,
    units::{MediaSpan, MediaTime},
};

/// What became of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A transfer within the time allowed after the onset.
    Detected,
    /// A transfer after the onset, but later than that: it counts as missed.
    Late,
    /// No transfer after the onset.
    Missed,
    /// A calm call without a transfer.
    Quiet,
    /// A calm call with at least one.
    FalseAlarm,
}

impl Outcome {
    /// The word of the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::Late => "late",
            Self::Missed => "missed",
            Self::Quiet => "quiet",
            Self::FalseAlarm => "false_alarm",
        }
    }
}

/// How a policy did in one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// Transfers where none was wanted: in a calm call, or before the onset.
    pub false_alarms: Vec<Alarm>,
    /// The first transfer at or after the onset, whether in time or late.
    pub transfer: Option<Alarm>,
    /// From the onset to that transfer: media time, and speech of the caller.
    pub delay: Option<(MediaSpan, MediaSpan)>,
}

impl Verdict {
    /// Decides a call anew under `rules`, and holds it to its label: a transfer within `within` of caller speech after the
    /// onset is a detection.
    pub fn of(trace: &Trace, label: Label, rules: &Rules, within: MediaSpan) -> Self {
        let onset = label.onset();
        let (late, early) = decide(trace, rules, onset, |_, _| ())
            .into_iter()
            .partition::<Vec<_>, _>(|alarm| onset.is_some_and(|onset| alarm.at >= onset));
        let transfer = late.first().copied();
        let delay = onset.zip(transfer).map(|(onset, alarm)| delay(trace, onset, alarm));
        let outcome = match (onset, delay) {
            (None, _) if early.is_empty() => Outcome::Quiet,
            (None, _) => Outcome::FalseAlarm,
            (Some(_), Some((_, speech))) if speech <= within => Outcome::Detected,
            (Some(_), Some(_)) => Outcome::Late,
            (Some(_), None) => Outcome::Missed,
        };
        Self { outcome, false_alarms: early, transfer, delay }
    }

    /// Whether the caller got a human in time.
    pub fn is_detected(&self) -> bool {
        self.outcome == Outcome::Detected
    }

    /// Seconds from the onset to the detection, of media and of caller speech; infinite where it was missed.
    pub fn delay_s(&self) -> (f64, f64) {
        match self.delay {
            Some((media, speech)) if self.is_detected() => (media.seconds(), speech.seconds()),
            _ => (f64::INFINITY, f64::INFINITY),
        }
    }
}

fn delay(trace: &Trace, onset: MediaTime, alarm: Alarm) -> (MediaSpan, MediaSpan) {
    let spoken = alarm.speech.0.saturating_sub(trace.spoken_by(onset).0);
    (alarm.at.since(onset), MediaSpan(spoken))
}

/// A call of a suite with its trace and the verdict on it.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// Its line in the suite.
    pub row: &'a Row,
    /// What its replay left behind.
    pub trace: &'a Trace,
    /// How the policy did.
    pub verdict: Verdict,
}

impl<'a> Judged<'a> {
    /// Every call of a suite under one set of rules.
    pub fn all(rows: &'a [Row], traces: &'a [Trace], rules: &Rules, within: MediaSpan) -> Vec<Self> {
        let judge = |(row, trace): (&'a Row, &'a Trace)| Self {
            row,
            trace,
            verdict: Verdict::of(trace, row.label, rules, within),
        };
        rows.iter().zip(traces).map(judge).collect()
    }
}
