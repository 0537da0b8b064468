//! A suite, replayed once and judged: everything `warmline evaluate --json` says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    difference::{Difference, differences},
    figures::{Bin, Bootstrap, Figure, Figures},
    suite::{Dimension, Row, Suite},
    trace::Trace,
    verdict::{Judged, Outcome},
};
use warmline_core::{
    packet::{Named, rounded, seconds},
    policy::{Policy, Rules},
    units::{MediaSpan, Probability},
};

/// The version of the format.
pub const SCHEMA: &str = "warmline.evaluation/1";

/// Values of `enter` that the operating points sweep, from the policy's `suspect` on: below it, what `confirm` would have said
/// is not known.
pub const SWEEP: [f64; 24] = [
    0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85,
    0.90, 0.92, 0.94, 0.96, 0.97, 0.98, 0.99,
];

/// What a group is called whose calls the suite says nothing of.
const NOT_SAID: &str = "not said";

/// The settings of a policy that decide on the voice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Calibrated probability at which frustration begins to rise.
    pub enter: f64,
    /// Calibrated probability below which it has passed.
    pub exit: f64,
    /// Seconds of caller speech for which it must last.
    pub sustain_s: f64,
    /// Seconds of caller speech before the voice alone may decide.
    pub warm_up_s: f64,
    /// Seconds after a transfer that came to nothing.
    pub cooldown_s: f64,
}

impl From<&Rules> for Thresholds {
    fn from(rules: &Rules) -> Self {
        Self {
            enter: rules.enter.get(),
            exit: rules.exit.get(),
            sustain_s: rules.sustain.seconds(),
            warm_up_s: rules.warm_up.seconds(),
            cooldown_s: rules.cooldown.seconds(),
        }
    }
}

impl Thresholds {
    /// `base` with these thresholds.
    pub fn rules(&self, base: &Rules) -> Rules {
        let probability = |p| Probability::new(rounded(p, 4)).unwrap_or_default();
        Rules {
            enter: probability(self.enter),
            exit: probability(self.exit),
            sustain: MediaSpan::from_seconds(self.sustain_s),
            warm_up: MediaSpan::from_seconds(self.warm_up_s),
            cooldown: MediaSpan::from_seconds(self.cooldown_s),
            ..base.clone()
        }
    }

    /// The same with another `enter`, and `exit` as far below it as now.
    pub fn entering_at(self, enter: f64) -> Self {
        let exit = rounded((enter - (self.enter - self.exit)).max(0.0), 4);
        Self { enter, exit, ..self }
    }
}

/// What a mistake costs, in a unit of the reader's choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// One transfer that nobody wanted: too much.
    pub false_alarm: f64,
    /// One caller who got no human in time: too little.
    pub missed: f64,
}

/// A policy, as a reader of figures must know it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyUsed {
    /// The name it gives itself.
    pub name: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// What decides on the voice.
    #[serde(flatten)]
    pub thresholds: Thresholds,
}

impl From<&Policy> for PolicyUsed {
    fn from(policy: &Policy) -> Self {
        Self {
            name: policy.version().into(),
            sha256: policy.sha256().into(),
            thresholds: policy.rules_for(None, None).into(),
        }
    }
}

/// How a suite is judged.
#[derive(Clone, Debug)]
pub struct Question {
    /// Caller speech after the onset within which a transfer is in time.
    pub within: MediaSpan,
    /// How the intervals are made.
    pub bootstrap: Bootstrap,
    /// What mistakes cost.
    pub costs: Costs,
}

/// What the intervals rest on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    /// Share of draws an interval holds.
    pub level: f64,
    /// Draws.
    pub resamples: usize,
    /// What the draws depend on.
    pub seed: u64,
    /// What is drawn: `speakers`, or `calls` where the suite names no speaker.
    pub over: &'static str,
}

/// The figures at one `enter`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// The threshold.
    pub enter: f64,
    /// The one below which a rise has passed: as far below `enter` as in the policy.
    pub exit: f64,
    /// As in [`Figures`].
    pub detection_rate: Figure,
    /// As in [`Figures`].
    pub false_alarms_per_hour: Figure,
    /// Median seconds of media from the onset to the transfer, missed calls infinite.
    pub delay_p50: Figure,
}

/// What mistakes cost over the thresholds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostCurve {
    /// What each costs.
    #[serde(flatten)]
    pub costs: Costs,
    /// One for each operating point.
    pub points: Vec<CostPoint>,
}

/// What mistakes cost at one threshold, per hundred calls of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostPoint {
    /// The threshold.
    pub enter: f64,
    /// Of false alarms.
    pub too_much: f64,
    /// Of missed callers.
    pub too_little: f64,
    /// Both together.
    pub cost: f64,
}

/// What became of one call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallOutcome {
    /// As the suite names it.
    pub file: String,
    /// `escalate` or `calm`.
    pub label: &'static str,
    /// Where the caller first sounds frustrated, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onset_s: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
    /// Where the transfers lie that nobody wanted, seconds.
    pub false_alarms_s: Vec<f64>,
    /// Where the first transfer at or after the onset lies, in time or late, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_s: Option<f64>,
    /// Seconds of media from the onset to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
    /// Seconds of caller speech from the onset to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_speech_s: Option<f64>,
    /// The highest probability of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
}

/// The same calls under another policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// The other policy.
    pub policy: PolicyUsed,
    /// How well it did.
    pub figures: Figures,
    /// What the evaluated policy does differently, call by call.
    pub changes: Vec<Difference>,
}

/// Everything there is to say of a suite under one policy and one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// This program and its version.
    pub software: &'static str,
    /// The policy.
    pub policy: PolicyUsed,
    /// What scored the voice, in the order in which they are asked.
    pub models: Vec<Named>,
    /// Seconds of caller speech after the onset within which a transfer is in time.
    pub within_s: f64,
    /// What the intervals rest on.
    pub intervals: Intervals,
    /// Over the whole suite.
    #[serde(flatten)]
    pub figures: Figures,
    /// Probability of a score against the share of such scores that come after the onset.
    pub reliability: Vec<Bin>,
    /// The sweep of `enter`.
    pub operating_points: Vec<OperatingPoint>,
    /// What mistakes cost over the sweep.
    pub cost_curve: CostCurve,
    /// The figures of groups of calls: dimension → group → figures.
    pub slices: BTreeMap<&'static str, BTreeMap<String, Figures>>,
    /// Windows that could not be scored.
    pub scores_failed: usize,
    /// Columns of the suite that say nothing to this program.
    pub columns_ignored: Vec<String>,
    /// Call by call, in the order of the suite.
    pub outcomes: Vec<CallOutcome>,
    /// The same calls under another policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

impl Evaluation {
    /// The names of what scored the voice.
    pub fn model_names(&self) -> String {
        let names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        if names.is_empty() { "none".into() } else { names.join(" + ") }
    }

    /// Judges the replayed calls of `suite`.
    pub fn new(
        suite: &Suite,
        traces: &[Trace],
        policy: &Policy,
        models: Vec<Named>,
        question: &Question,
    ) -> Self {
        let rules = policy.rules_for(None, None);
        let judged = judge(suite, traces, rules, question);
        let all: Vec<&Judged<'_>> = judged.iter().collect();
        let bootstrap = question.bootstrap;
        let (operating_points, cost_points) = sweep(suite, traces, rules, question);
        Self {
            schema: SCHEMA,
            software: concat!("warmline ", env!("CARGO_PKG_VERSION")),
            policy: policy.into(),
            models,
            within_s: question.within.seconds(),
            intervals: Intervals {
                level: 0.95,
                resamples: bootstrap.resamples,
                seed: bootstrap.seed,
                over: if suite.names_speakers() { "speakers" } else { "calls" },
            },
            figures: bootstrap.figures(&all),
            reliability: bootstrap.reliability(&all),
            operating_points,
            cost_curve: CostCurve { costs: question.costs, points: cost_points },
            slices: slices(&all, bootstrap),
            scores_failed: traces.iter().map(|trace| trace.failed).sum(),
            columns_ignored: suite.ignored.clone(),
            outcomes: judged.iter().map(outcome).collect(),
            against: None,
        }
    }

    /// The groups of calls, dimensions in the order of reports.
    pub fn slices(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<String, Figures>)> {
        Dimension::ALL.iter().filter_map(|d| Some((d.name(), self.slices.get(d.name())?)))
    }

    /// Sets the evaluated policy against `other` on the same calls. A score depends on no threshold but `suspect`: where that
    /// differs and there are two stages, `before` must be of replays under `other`.
    pub fn set_against(
        &mut self,
        other: &Policy,
        before: &[Trace],
        policy: &Policy,
        after: &[Trace],
        suite: &Suite,
        question: &Question,
    ) {
        let before = judge(suite, before, other.rules_for(None, None), question);
        let after = judge(suite, after, policy.rules_for(None, None), question);
        let all: Vec<&Judged<'_>> = before.iter().collect();
        let changes = differences(&before, &after);
        self.against =
            Some(Against { policy: other.into(), figures: question.bootstrap.figures(&all), changes });
    }
}

/// Every call of a suite under `rules`.
pub fn judge<'a>(
    suite: &'a Suite,
    traces: &'a [Trace],
    rules: &Rules,
    question: &Question,
) -> Vec<Judged<'a>> {
    Judged::all(&suite.rows, traces, rules, question.within)
}

fn sweep(
    suite: &Suite,
    traces: &[Trace],
    rules: &Rules,
    question: &Question,
) -> (Vec<OperatingPoint>, Vec<CostPoint>) {
    let point = |enter: f64| {
        let thresholds = Thresholds::from(rules).entering_at(enter);
        let judged = judge(suite, traces, &thresholds.rules(rules), question);
        let all: Vec<&Judged<'_>> = judged.iter().collect();
        let [detection_rate, false_alarms_per_hour, delay_p50] = question.bootstrap.point(&all);
        let exit = thresholds.exit;
        let point = OperatingPoint { enter, exit, detection_rate, false_alarms_per_hour, delay_p50 };
        (point, cost(enter, &judged, question.costs))
    };
    SWEEP.into_iter().filter(|enter| *enter >= rules.suspect.get()).map(point).unzip()
}

fn cost(enter: f64, judged: &[Judged<'_>], costs: Costs) -> CostPoint {
    let alarms: usize = judged.iter().map(|call| call.verdict.false_alarms.len()).sum();
    let missed =
        judged.iter().filter(|call| call.row.label.onset().is_some() && !call.verdict.is_detected()).count();
    let per_hundred = |n: usize, cost: f64| rounded(100.0 * cost * n as f64 / judged.len() as f64, 4);
    let (too_much, too_little) = (per_hundred(alarms, costs.false_alarm), per_hundred(missed, costs.missed));
    CostPoint { enter, too_much, too_little, cost: rounded(too_much + too_little, 4) }
}

fn slices(all: &[&Judged<'_>], bootstrap: Bootstrap) -> BTreeMap<&'static str, BTreeMap<String, Figures>> {
    let said = |dimension: &Dimension| all.iter().any(|call| call.row.groups.contains_key(dimension));
    let group = |row: &Row, dimension| row.groups.get(&dimension).map_or(NOT_SAID, String::as_str).to_owned();
    let slice = |dimension: Dimension| {
        let mut groups: BTreeMap<String, Vec<&Judged<'_>>> = BTreeMap::new();
        for call in all {
            groups.entry(group(call.row, dimension)).or_default().push(call);
        }
        let figures = |(name, calls): (String, Vec<&Judged<'_>>)| (name, bootstrap.figures(&calls));
        (dimension.name(), groups.into_iter().map(figures).collect())
    };
    Dimension::ALL.into_iter().filter(said).map(slice).collect()
}

fn outcome(call: &Judged<'_>) -> CallOutcome {
    let verdict = &call.verdict;
    CallOutcome {
        file: call.row.file.clone(),
        label: call.row.label.name(),
        onset_s: call.row.label.onset().map(seconds),
        outcome: verdict.outcome,
        false_alarms_s: verdict.false_alarms.iter().map(|alarm| seconds(alarm.at)).collect(),
        transfer_s: verdict.transfer.map(|alarm| seconds(alarm.at)),
        delay_s: verdict.delay.map(|(media, _)| rounded(media.seconds(), 3)),
        delay_speech_s: verdict.delay.map(|(_, speech)| rounded(speech.seconds(), 3)),
        peak: call.trace.peak().map(|p| rounded(p.get(), 4)),
    }
}
