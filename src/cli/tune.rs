//! `warmline tune`: the thresholds that serve a suite best, as a policy file.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;
use warmline_core::policy::{BUILT_IN, Policy};
use warmline_eval::{
    evaluation::{Costs, Evaluation},
    figures::Figures,
    report::report,
    tune::{Goal, TuneError, Tuned, tune, write_policy},
};

use super::{
    NO,
    evaluate::{is_styled, write_file},
    jobs::complain,
    suite::{SuiteArguments, amount, seconds},
    summary::Summary,
};

/// Chooses enter, exit, sustain_s and warm_up_s on labelled calls, writes the policy, and shows what would have changed.
///
/// Calls are replayed once; every combination is decided on their scores. What is best on the calls that chose it flatters itself: beside it
/// stands what the choice is worth on callers who had no part in it. Exit code 1: no thresholds keep the limit.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    calls: SuiteArguments,
    /// Where the policy goes
    #[arg(long, value_name = "POLICY.toml")]
    out: PathBuf,
    /// Find the most callers at no more false alarms per hour of caller speech
    #[arg(long, value_name = "N", value_parser = amount, conflicts_with_all = ["max_delay", "cost_missed", "cost_false_alarm"])]
    max_false_alarms_per_hour: Option<f64>,
    /// Make the fewest false alarms with a median delay of no more seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with_all = ["cost_missed", "cost_false_alarm"])]
    max_delay: Option<f64>,
    /// What one transfer that nobody wanted costs: too much
    #[arg(long, value_name = "COST", value_parser = amount, requires = "cost_missed")]
    cost_false_alarm: Option<f64>,
    /// What one caller costs who got no human in time: too little
    #[arg(long, value_name = "COST", value_parser = amount, requires = "cost_false_alarm")]
    cost_missed: Option<f64>,
    /// Everything, as one JSON object
    #[arg(long)]
    json: bool,
    /// The evaluation of the tuned policy, as one self-contained page
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let (goal, costs) = goal(arguments)?;
    let question = arguments.calls.question(costs)?;
    let source = source(arguments)?;
    let played = arguments.calls.play()?;
    let rules = played.policy.rules_for(None, None);
    let tuned = match tune(&played.suite, &played.traces, rules, goal, &question) {
        Ok(tuned) => tuned,
        Err(error @ TuneError::OutOfReach { .. }) => {
            complain(&error.to_string());
            return Ok(NO);
        }
        Err(error) => return Err(error.into()),
    };
    let text = write_policy(&source, &tuned.thresholds, &head(arguments, &tuned))?;
    let policy = Policy::parse(&text).map_err(|error| anyhow!("{error}"))?;
    write_file(&arguments.out, &text)?;
    let mut evaluation =
        Evaluation::new(&played.suite, &played.traces, &policy, played.models.clone(), &question);
    evaluation.set_against(&played.policy, &played.traces, &policy, &played.traces, &played.suite, &question);
    if let Some(path) = &arguments.report {
        let name = arguments.calls.suite.display().to_string();
        let page = report(
            &name,
            &played.suite,
            &played.traces,
            policy.rules_for(None, None),
            &evaluation,
            Some(&tuned),
        );
        write_file(path, &page)?;
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        let all = json!({
            "schema": "warmline.tuning/1",
            "policy_file": arguments.out.display().to_string(),
            "tuned": tuned,
            "evaluation": evaluation,
        });
        writeln!(out, "{all}")?;
        return Ok(0);
    }
    let mut summary = Summary { style: is_styled(), out: &mut out };
    let present = evaluation.against.as_ref().map_or(&evaluation.figures, |against| &against.figures);
    summary.tuned(&tuned, present, &evaluation)?;
    writeln!(summary.out)?;
    if let Some(against) = &evaluation.against {
        summary.against(against, &evaluation)?;
    }
    writeln!(summary.out, "\n{:>20}  {}", "written", arguments.out.display())?;
    Ok(0)
}

/// What to choose for, and what mistakes cost on the cost curve.
fn goal(arguments: &Arguments) -> anyhow::Result<(Goal, Costs)> {
    let usual = Costs { false_alarm: 1.0, missed: 5.0 };
    let Arguments { max_false_alarms_per_hour, max_delay, cost_false_alarm, cost_missed, .. } = arguments;
    match (max_false_alarms_per_hour, max_delay, cost_false_alarm.zip(*cost_missed)) {
        (Some(most), ..) => Ok((Goal::MaxFalseAlarmsPerHour(*most), usual)),
        (None, Some(most), _) => Ok((Goal::MaxDelayS(*most), usual)),
        (None, None, Some((false_alarm, missed))) => {
            let costs = Costs { false_alarm, missed };
            Ok((Goal::Costs(costs), costs))
        }
        (None, None, None) => bail!(
            "what should the thresholds be chosen for? say --max-false-alarms-per-hour N, --max-delay SECONDS, or --cost-false-alarm A --cost-missed B"
        ),
    }
}

/// The policy file whose thresholds are tuned.
fn source(arguments: &Arguments) -> anyhow::Result<String> {
    match &arguments.calls.scoring.policy {
        Some(path) => fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display())),
        // Its first line says that it is the built-in one.
        None => Ok(BUILT_IN.lines().skip(1).map(|line| format!("{line}\n")).collect()),
    }
}

fn head(arguments: &Arguments, tuned: &Tuned) -> String {
    let asked = match tuned.goal {
        Goal::MaxFalseAlarmsPerHour(most) => format!("--max-false-alarms-per-hour {most}"),
        Goal::MaxDelayS(most) => format!("--max-delay {most}"),
        Goal::Costs(Costs { false_alarm, missed }) => {
            format!("--cost-false-alarm {false_alarm} --cost-missed {missed}")
        }
    };
    let suite =
        arguments.calls.suite.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let words = |figures: &Figures| {
        let Figures { detection_rate, false_alarms_per_hour, .. } = figures;
        format!(
            "{:.0} % of the callers found, {:.2} false alarms per hour of caller speech",
            100.0 * detection_rate.value,
            false_alarms_per_hour.value
        )
    };
    let Figures { calls, speakers, .. } = &tuned.in_sample;
    let honest = tuned.cross_validated.as_ref().map_or_else(String::new, |c| {
        format!("\nOn callers who had no part in the choice: {}.", words(&c.figures))
    });
    format!(
        "Written by `warmline tune {} {asked}` on {calls} calls of {speakers} speakers.\nOn those calls: {}.{honest}",
        suite.replace(char::is_control, ""),
        words(&tuned.in_sample)
    )
}
