//! The thresholds that serve a suite best, and how much of that is luck.
//!
//! Every combination of a grid is decided on the traces of one replay. What is best on the very calls that chose it flatters
//! itself, so the same choice is made five times more, each time without a fifth of the speakers, and judged on those.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use sha2::{Digest, Sha256};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::{
    evaluation::{Costs, Question, Thresholds},
    figures::{Figures, SplitMix},
    suite::{Row, Suite},
    trace::Trace,
    verdict::{Judged, Verdict},
};
use warmline_core::{
    packet::rounded,
    policy::{Policy, PolicyError, Rules},
    units::hex,
};

/// Parts the speakers are cut into.
const FOLDS: usize = 5;

/// `enter` runs from 0.10 to 0.98 in steps of 0.02.
const ENTER_STEPS: std::ops::RangeInclusive<u32> = 5..=49;
/// How far `exit` lies below `enter`.
const HYSTERESES: [f64; 4] = [0.0, 0.1, 0.2, 0.3];
/// Seconds of caller speech for which a rise must last.
const SUSTAINS_S: [f64; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0];
/// Seconds of caller speech before anything may fire.
const WARM_UPS_S: [f64; 4] = [2.0, 4.0, 6.0, 8.0];

/// What the thresholds are chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The most callers found, at no more than so many false alarms per hour of caller speech.
    MaxFalseAlarmsPerHour(f64),
    /// The fewest false alarms, with a median delay of no more than so many seconds of media.
    MaxDelayS(f64),
    /// The least cost on the suite.
    Costs(Costs),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxFalseAlarmsPerHour(most) => {
                write!(
                    f,
                    "the most callers found at no more than {most} false alarms per hour of caller speech"
                )
            }
            Self::MaxDelayS(most) => {
                write!(f, "the fewest false alarms with a median delay of no more than {most} s")
            }
            Self::Costs(Costs { false_alarm, missed }) => {
                write!(
                    f,
                    "the least cost, where a false alarm costs {false_alarm} and a missed caller {missed}"
                )
            }
        }
    }
}

/// The thresholds that were chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuned {
    /// What for.
    pub goal: Goal,
    /// The thresholds.
    pub thresholds: Thresholds,
    /// Combinations that were tried.
    pub tried: usize,
    /// The figures on the calls that chose them: they flatter.
    pub in_sample: Figures,
    /// The figures when the thresholds for each caller are chosen without that caller; none with fewer than two speakers.
    pub cross_validated: Option<CrossValidated>,
}

/// What the choice is worth on callers who had no part in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CrossValidated {
    /// Parts the speakers were cut into.
    pub folds: usize,
    /// What each part's speakers were judged by.
    pub thresholds: Vec<Thresholds>,
    /// The figures over all calls.
    pub figures: Figures,
}

/// Why no thresholds were chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TuneError {
    /// No combination keeps the limit.
    #[error("no thresholds give {goal}: the nearest have {false_alarms_per_hour:.2} false alarms per hour and a median delay of {}", delay(*.delay_p50_s))]
    OutOfReach {
        /// What was asked for.
        goal: Goal,
        /// Of the combination that comes nearest.
        false_alarms_per_hour: f64,
        /// Likewise; infinite where fewer than half of the callers are found.
        delay_p50_s: f64,
    },
    /// There is nothing to find, or nothing to be wrong about.
    #[error(
        "the suite has {escalating} calls labelled escalate and {calm} labelled calm: tuning needs some of both"
    )]
    OneSided {
        /// Calls with an onset.
        escalating: usize,
        /// Calls without.
        calm: usize,
    },
}

fn delay(seconds: f64) -> String {
    if seconds.is_finite() { format!("{seconds:.1} s") } else { "never".into() }
}

/// Chooses thresholds for a suite; those of `rules` win where others are no better.
///
/// # Errors
/// When the suite has calls of one label only, or no thresholds keep the limit.
pub fn tune(
    suite: &Suite,
    traces: &[Trace],
    rules: &Rules,
    goal: Goal,
    question: &Question,
) -> Result<Tuned, TuneError> {
    let escalating = suite.rows.iter().filter(|row| row.label.onset().is_some()).count();
    let calm = suite.rows.len() - escalating;
    if escalating == 0 || calm == 0 {
        return Err(TuneError::OneSided { escalating, calm });
    }
    let folds = folds(&suite.rows, question.bootstrap.seed);
    let parts = folds.iter().max().map_or(0, |last| last + 1);
    let grid = grid(rules.into(), rules.suspect.get());
    let judge = |row: &Row, trace: &Trace, thresholds: &Thresholds| {
        Verdict::of(trace, row.label, &thresholds.rules(rules), question.within)
    };

    // For each combination: its tally over all calls, then over all but each part.
    let tallies: Vec<Vec<Tally>> = grid
        .iter()
        .map(|thresholds| {
            let rules = thresholds.rules(rules);
            let judged = Judged::all(&suite.rows, traces, &rules, question.within);
            let all = Tally::of(judged.iter());
            let without =
                |part| Tally::of(judged.iter().zip(&folds).filter(move |(_, f)| **f != part).map(|(j, _)| j));
            std::iter::once(all).chain((0..parts).map(without)).collect()
        })
        .collect();
    let choose = |set: usize| -> Option<(&Thresholds, &Tally)> {
        let of_set =
            |(thresholds, tallies): (&'_ Thresholds, &'_ Vec<Tally>)| Some((*thresholds, *tallies.get(set)?));
        let best =
            (0..grid.len()).zip(grid.iter().zip(&tallies)).filter_map(|(n, pair)| Some((n, of_set(pair)?)));
        let present = Thresholds::from(rules);
        let (n, _) = best.min_by(|(_, (a, x)), (_, (b, y))| {
            x.compare(y, goal).then_with(|| distance(a, &present).total_cmp(&distance(b, &present)))
        })?;
        grid.get(n).zip(tallies.get(n)?.get(set))
    };

    let (thresholds, tally) = choose(0).ok_or(TuneError::OneSided { escalating, calm })?;
    if tally.excess(goal) > 0.0 {
        let Tally { alarms, hours, p50, .. } = *tally;
        return Err(TuneError::OutOfReach { goal, false_alarms_per_hour: alarms / hours, delay_p50_s: p50 });
    }
    let judged = Judged::all(&suite.rows, traces, &thresholds.rules(rules), question.within);
    let in_sample = question.bootstrap.figures(&judged.iter().collect::<Vec<_>>());
    let cross_validated = (parts > 1).then(|| {
        let chosen: Vec<Thresholds> = (1..=parts).filter_map(|set| choose(set).map(|(t, _)| *t)).collect();
        let of_call = |((row, trace), fold): ((_, _), &usize)| {
            chosen.get(*fold).map(|thresholds| Judged { row, trace, verdict: judge(row, trace, thresholds) })
        };
        let judged: Vec<Judged<'_>> = suite.rows.iter().zip(traces).zip(&folds).filter_map(of_call).collect();
        let figures = question.bootstrap.figures(&judged.iter().collect::<Vec<_>>());
        CrossValidated { folds: parts, thresholds: chosen, figures }
    });
    Ok(Tuned { goal, thresholds: *thresholds, tried: grid.len(), in_sample, cross_validated })
}

/// Every combination, the present one first; `enter` is never below `suspect`, since nothing escalates unconfirmed.
fn grid(present: Thresholds, suspect: f64) -> Vec<Thresholds> {
    let mut grid = vec![present];
    for enter in ENTER_STEPS.map(|step| f64::from(step) / 50.0).filter(|enter| *enter >= suspect) {
        for hysteresis in HYSTERESES {
            for sustain_s in SUSTAINS_S {
                for warm_up_s in WARM_UPS_S {
                    let exit = rounded((enter - hysteresis).max(0.0), 4);
                    grid.push(Thresholds {
                        enter,
                        exit,
                        sustain_s,
                        warm_up_s,
                        cooldown_s: present.cooldown_s,
                    });
                }
            }
        }
    }
    grid
}

/// How far two sets of thresholds lie apart, a step of the grid counting one: of equals, the nearer surprises less.
fn distance(a: &Thresholds, b: &Thresholds) -> f64 {
    (a.enter - b.enter).abs() / 0.02
        + (a.exit - b.exit).abs() / 0.1
        + (a.sustain_s - b.sustain_s).abs()
        + (a.warm_up_s - b.warm_up_s).abs() / 2.0
}

/// Which part each call's speaker belongs to; calls without a speaker stand alone.
fn folds(rows: &[Row], seed: u64) -> Vec<usize> {
    let mut speakers: BTreeMap<(Option<&str>, usize), usize> = BTreeMap::new();
    let key = |(n, row): (usize, &'_ Row)| -> (Option<String>, usize) {
        (row.speaker.clone(), if row.speaker.is_some() { 0 } else { n })
    };
    let keys: Vec<(Option<String>, usize)> = rows.iter().enumerate().map(key).collect();
    for (speaker, n) in &keys {
        speakers.insert((speaker.as_deref(), *n), 0);
    }
    // Fisher & Yates' shuffle of the parts to be dealt.
    let mut deal: Vec<usize> = (0..speakers.len()).map(|n| n % FOLDS).collect();
    let mut random = SplitMix(seed);
    for n in (1..deal.len()).rev() {
        deal.swap(n, random.below(n + 1));
    }
    speakers.values_mut().zip(deal).for_each(|(part, dealt)| *part = dealt);
    keys.iter()
        .map(|(speaker, n)| speakers.get(&(speaker.as_deref(), *n)).copied().unwrap_or_default())
        .collect()
}

/// What a set of calls comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tally {
    detected: f64,
    missed: f64,
    alarms: f64,
    hours: f64,
    p50: f64,
}

impl Tally {
    fn of<'a>(calls: impl Iterator<Item = &'a Judged<'a>>) -> Self {
        let mut tally = Self { detected: 0.0, missed: 0.0, alarms: 0.0, hours: 0.0, p50: f64::INFINITY };
        let mut delays = Vec::new();
        for call in calls {
            tally.alarms += call.verdict.false_alarms.len() as f64;
            tally.hours += call.trace.speech.seconds() / 3600.0;
            if call.row.label.onset().is_some() {
                *(if call.verdict.is_detected() { &mut tally.detected } else { &mut tally.missed }) += 1.0;
                delays.push(call.verdict.delay_s().0);
            }
        }
        delays.sort_by(f64::total_cmp);
        tally.p50 = delays.get(delays.len().saturating_sub(1) / 2).copied().unwrap_or(f64::INFINITY);
        tally
    }

    /// By how much it breaks the limit; zero where it keeps it.
    fn excess(&self, goal: Goal) -> f64 {
        match goal {
            Goal::MaxFalseAlarmsPerHour(most) => (self.alarms / self.hours - most).max(0.0),
            Goal::MaxDelayS(most) => (self.p50 - most).max(0.0),
            Goal::Costs(_) => 0.0,
        }
    }

    /// Which serves the goal better: the lesser.
    fn compare(&self, other: &Self, goal: Goal) -> std::cmp::Ordering {
        let key = |tally: &Self| match goal {
            Goal::MaxFalseAlarmsPerHour(_) => [tally.excess(goal), tally.missed, tally.alarms, tally.p50],
            Goal::MaxDelayS(_) => [tally.excess(goal), tally.alarms, tally.missed, tally.p50],
            Goal::Costs(costs) => {
                let cost = costs.false_alarm * tally.alarms + costs.missed * tally.missed;
                [cost, tally.missed, tally.alarms, tally.p50]
            }
        };
        key(self)
            .into_iter()
            .zip(key(other))
            .map(|(a, b)| a.total_cmp(&b))
            .find(|o| o.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }
}

/// A policy file with other thresholds: everything else of `source` stays, its comments too.
///
/// Its version derives from its content. `head` stands above it as a comment.
///
/// # Errors
/// When `source` is no policy.
pub fn write_policy(source: &str, thresholds: &Thresholds, head: &str) -> Result<String, PolicyError> {
    let mut document: DocumentMut = source
        .parse()
        .map_err(|error: toml_edit::TomlError| PolicyError { line: 1, reason: error.message().to_owned() })?;
    let table = document.entry("frustration").or_insert_with(|| Item::Table(Table::new()));
    if let Some(table) = table.as_table_like_mut() {
        let Thresholds { enter, exit, sustain_s, warm_up_s, .. } = *thresholds;
        for (key, value) in
            [("enter", enter), ("exit", exit), ("sustain_s", sustain_s), ("warm_up_s", warm_up_s)]
        {
            set(table, key, rounded(value, 4).into());
        }
    }
    set(document.as_table_mut(), "version", "tuned".into());
    let version =
        format!("tuned-{}", hex(&Sha256::digest(document.to_string())).get(..12).unwrap_or_default());
    set(document.as_table_mut(), "version", version.into());
    let head: String = head.lines().map(|line| format!("# {line}\n")).collect();
    let text = format!("{head}{document}");
    Policy::parse(&text)?;
    Ok(text)
}

/// Sets a value and keeps the comment behind it.
fn set(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(present) => {
            let decor = present.decor().clone();
            *present = value;
            *present.decor_mut() = decor;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact by construction")]
mod tests {
    use super::*;
    use crate::{figures::Bootstrap, suite::Label, trace::tests::spoken};
    use warmline_core::{
        policy::BUILT_IN,
        units::{MediaSpan, MediaTime},
    };

    const THRESHOLDS: Thresholds =
        Thresholds { enter: 0.62, exit: 0.42, sustain_s: 3.0, warm_up_s: 6.0, cooldown_s: 30.0 };

    #[test]
    fn a_tuned_policy_keeps_everything_else_and_its_version_is_its_content() {
        let source = "# ours\nversion = \"a\" # first\n[frustration]\nenter = 0.7 # high\n[[when]]\nqueue = \"vip\"\nfrustration.enter = 0.9\n";
        let text = write_policy(source, &THRESHOLDS, "Written by hand\nfor a test").unwrap();
        assert!(text.starts_with("# Written by hand\n# for a test\n# ours\nversion = \"tuned-"), "{text}");
        for kept in ["# first", "enter = 0.62 # high", "queue = \"vip\"", "frustration.enter = 0.9"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        let policy = Policy::parse(&text).unwrap();
        let read = Thresholds::from(policy.rules_for(None, None));
        assert_eq!(read, THRESHOLDS);
        assert_eq!(policy.rules_for(Some("vip"), None).enter.get(), 0.9);
        let again = write_policy(source, &THRESHOLDS, "another head").unwrap();
        let other = write_policy(source, &Thresholds { enter: 0.64, ..THRESHOLDS }, "").unwrap();
        let version = |text: &str| Policy::parse(text).unwrap().version().to_owned();
        assert_eq!(version(&again), version(&text));
        assert_ne!(version(&other), version(&text));
    }

    #[test]
    fn the_built_in_policy_and_an_empty_one_can_be_tuned() {
        for source in
            [BUILT_IN, "version = \"least\"\n", "version = \"inline\"\nfrustration = { exit = 0.1 }\n"]
        {
            let policy = Policy::parse(&write_policy(source, &THRESHOLDS, "").unwrap()).unwrap();
            assert_eq!(Thresholds::from(policy.rules_for(None, None)), THRESHOLDS);
        }
    }

    const QUESTION: Question = Question {
        within: MediaSpan(80_000),
        bootstrap: Bootstrap { resamples: 20, seed: 1 },
        costs: Costs { false_alarm: 1.0, missed: 5.0 },
    };

    /// Twenty speakers with two calls each: one that rises to 0.8 at its onset, and a calm one that stands at `calm`.
    fn suite(calm: f64) -> (Suite, Vec<Trace>) {
        let row = |n: usize, label| Row {
            models: Vec::new(),
            file: format!("{n}.wav"),
            path: format!("{n}.wav").into(),
            label,
            caller_channel: None,
            speaker: Some(format!("{}", n / 2)),
            groups: BTreeMap::new(),
        };
        let onset = MediaTime::ZERO + MediaSpan::from_seconds(30.0);
        let rows = (0..40)
            .map(|n| row(n, if n.is_multiple_of(2) { Label::Escalate { onset } } else { Label::Calm }))
            .collect();
        let score =
            |t: f64, n: usize| if n.is_multiple_of(2) { if t > 30.0 { 0.8 } else { 0.1 } } else { calm };
        let trace = |n| {
            let times = (1..=120).map(|k| f64::from(k) / 2.0);
            spoken(60.0, &times.map(|t| (t, score(t, n))).collect::<Vec<_>>())
        };
        (Suite { rows, ignored: Vec::new() }, (0..40).map(trace).collect())
    }

    fn rules(enter: f64) -> Rules {
        let policy = format!("version = \"t\"\n[frustration]\nenter = {enter}\nexit = {}", enter - 0.1);
        Policy::parse(&policy).unwrap().rules_for(None, None).clone()
    }

    #[test]
    fn tuning_finds_thresholds_between_what_is_calm_and_what_is_not_and_they_hold_for_unseen_callers() {
        let (suite, traces) = suite(0.6);
        for (goal, found) in [
            (Goal::MaxFalseAlarmsPerHour(0.0), 1.0),
            (Goal::MaxDelayS(5.0), 1.0),
            (Goal::Costs(Costs { false_alarm: 1.0, missed: 1.0 }), 1.0),
        ] {
            for enter in [0.95, 0.3] {
                let tuned = tune(&suite, &traces, &rules(enter), goal, &QUESTION).unwrap();
                assert!(tuned.thresholds.enter > 0.6 && tuned.thresholds.enter <= 0.8, "{tuned:?}");
                assert_eq!((tuned.in_sample.detection_rate.value, tuned.in_sample.false_alarms), (found, 0));
                let honest = tuned.cross_validated.unwrap();
                assert_eq!((honest.folds, honest.thresholds.len()), (5, 5));
                assert_eq!((honest.figures.calls, honest.figures.detection_rate.value), (40, found));
            }
        }
    }

    #[test]
    fn thresholds_that_serve_already_are_kept() {
        let (suite, traces) = suite(0.6);
        let tuned = tune(&suite, &traces, &rules(0.72), Goal::Costs(QUESTION.costs), &QUESTION).unwrap();
        let present = Thresholds::from(&rules(0.72));
        assert!(tuned.thresholds.enter > 0.6 && tuned.tried > 1_000);
        let delay = |t: &Thresholds| {
            let judged = Judged::all(&suite.rows, &traces, &t.rules(&rules(0.72)), QUESTION.within);
            Tally::of(judged.iter())
        };
        assert!(delay(&tuned.thresholds).compare(&delay(&present), Goal::Costs(QUESTION.costs)).is_le());
    }

    #[test]
    fn a_limit_that_nothing_keeps_is_said_with_what_comes_nearest() {
        let (mut suite, traces) = suite(0.8);
        let error = tune(&suite, &traces, &rules(0.7), Goal::MaxDelayS(0.0), &QUESTION).unwrap_err();
        assert!(
            error.to_string().contains(
                "no thresholds give the fewest false alarms with a median delay of no more than 0 s"
            ),
            "{error}"
        );
        suite.rows.retain(|row| row.label.onset().is_some());
        let error = tune(&suite, &traces, &rules(0.7), Goal::MaxDelayS(5.0), &QUESTION).unwrap_err();
        assert_eq!(error, TuneError::OneSided { escalating: 20, calm: 0 });
    }

    #[test]
    fn a_speaker_is_never_in_two_parts() {
        let (suite, _) = suite(0.6);
        let folds = folds(&suite.rows, 1);
        assert!(folds.chunks(2).all(|pair| pair[0] == pair[1]));
        assert!((0..FOLDS).all(|part| folds.iter().filter(|f| **f == part).count() == 8), "{folds:?}");
    }
}
