//! `warmline evaluate`: how good a policy and a model are on labelled calls.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::Args;
use warmline_core::policy::Policy;
use warmline_eval::{
    evaluation::{Costs, Evaluation},
    figures::Figures,
    junit::{Limit, junit},
    report::report,
};

use super::{
    NO,
    jobs::complain,
    suite::{SuiteArguments, amount},
    summary::Summary,
};

/// Misses, false alarms per hour, delay, precision and calibration on labelled calls.
///
/// Every call is replayed once, by the code that takes live ones. Each figure has a 95 % interval from resampling speakers. The same
/// suite, policy, model and seed give the same output, byte for byte. Exit code 1: a limit asked for was not kept; 2: the
/// suite could not be evaluated.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    calls: SuiteArguments,
    /// Everything, as one JSON object
    #[arg(long)]
    json: bool,
    /// One test case a call, for CI; a missed or falsely alarmed call fails
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
    /// One self-contained page: curves, groups, the worst calls with their timelines
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Say call by call what the policy does differently from this one
    #[arg(long, value_name = "POLICY.toml")]
    against: Option<PathBuf>,
    /// What one transfer that nobody wanted costs, for the cost curve
    #[arg(long, value_name = "COST", default_value_t = 1.0, value_parser = amount)]
    cost_false_alarm: f64,
    /// What one caller costs who got no human in time
    #[arg(long, value_name = "COST", default_value_t = 5.0, value_parser = amount)]
    cost_missed: f64,
    /// Exit code 1 if a smaller share of the callers is detected
    #[arg(long, value_name = "SHARE", value_parser = amount)]
    min_detection_rate: Option<f64>,
    /// Exit code 1 if there are more false alarms per hour of caller speech
    #[arg(long, value_name = "N", value_parser = amount)]
    max_false_alarms_per_hour: Option<f64>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let against = arguments.against.as_deref().map(read_policy).transpose()?;
    let costs = Costs { false_alarm: arguments.cost_false_alarm, missed: arguments.cost_missed };
    let question = arguments.calls.question(costs)?;
    let played = arguments.calls.play()?;
    let mut evaluation =
        Evaluation::new(&played.suite, &played.traces, &played.policy, played.models.clone(), &question);
    if let Some(other) = &against {
        let before = arguments.calls.play_under(other, &played)?;
        evaluation.set_against(other, &before, &played.policy, &played.traces, &played.suite, &question);
    }
    let limits = limits(arguments, &evaluation);
    let name = arguments.calls.suite.display().to_string();
    if let Some(path) = &arguments.junit {
        write_file(path, &junit(&name, &played.suite, &evaluation, &limits))?;
    }
    if let Some(path) = &arguments.report {
        let rules = played.policy.rules_for(None, None);
        write_file(path, &report(&name, &played.suite, &played.traces, rules, &evaluation, None))?;
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &evaluation)?;
        writeln!(out)?;
    } else {
        Summary { style: is_styled(), out: &mut out }.evaluation(&name, &evaluation)?;
    }
    let broken: Vec<&str> = limits.iter().filter_map(|limit| limit.failure.as_deref()).collect();
    broken.iter().for_each(|words| complain(words));
    Ok(if broken.is_empty() { 0 } else { NO })
}

/// The limits that were asked for, and why those fail that are not kept. What the suite cannot say keeps no limit.
fn limits(arguments: &Arguments, evaluation: &Evaluation) -> Vec<Limit> {
    let Figures { detection_rate, false_alarms_per_hour, .. } = &evaluation.figures;
    let least = arguments.min_detection_rate.map(|least| {
        let (name, found) = (format!("--min-detection-rate {least}"), detection_rate.value);
        let broken = found < least || found.is_nan();
        Limit {
            failure: broken.then(|| format!("{found:.3} of the callers are found: {name} asks for more")),
            name,
        }
    });
    let most = arguments.max_false_alarms_per_hour.map(|most| {
        let (name, found) = (format!("--max-false-alarms-per-hour {most}"), false_alarms_per_hour.value);
        let broken = found > most || found.is_nan();
        Limit {
            failure: broken.then(|| format!("{found:.2} false alarms per hour: {name} allows no more")),
            name,
        }
    });
    least.into_iter().chain(most).collect()
}

/// Whether standard output is a terminal that wants colours.
pub(super) fn is_styled() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

pub(super) fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Reads a policy file.
fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let source = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Policy::parse(&source).map_err(|error| anyhow!("{}: {error}", path.display()))
}
