//! `warmline check`: what a deployment has, what is wrong with it, and how to mend it.

use std::io::{self, Write};
use std::{collections::BTreeMap, sync::Arc};

use clap::Args;
use serde_json::{Value, json};
use warmline::{
    clock::SystemClock,
    connectors::{Environment, HandBack},
};
use warmline_core::score::Card;

use super::{FAILED, scoring::ScoringArguments};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scoring: ScoringArguments,
    /// Configuration of `warmline serve` (TOML): every setting is explained
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    result: anyhow::Result<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut findings = Vec::new();
    let scoring = &configured(arguments, &mut findings);
    let policy = scoring.policy().map(|p| {
        let place = scoring.policy.as_ref().map_or_else(|| "built in".into(), |p| p.display().to_string());
        format!("version {}, {place}", p.version())
    });
    let models = scoring.models();
    let runtime = scoring.runtime();
    findings.push(Finding { what: "policy", result: policy });
    let mut sessions = Vec::new();
    match models {
        Ok(models) => {
            for file in models.all() {
                let card = &file.card;
                let words = format!("{} {} ({})", card.name, card.version, card.feature_set);
                findings.push(Finding { what: "model", result: Ok(words) });
                sessions.extend(
                    runtime
                        .as_ref()
                        .ok()
                        .map(|runtime| file.scorer(runtime).map(|scorer| session(scorer.card()))),
                );
            }
        }
        Err(error) => findings.push(Finding { what: "model", result: Err(error) }),
    }
    findings
        .push(Finding { what: "onnxruntime", result: runtime.map(|r| r.library().display().to_string()) });
    findings.extend(sessions.into_iter().map(|result| Finding { what: "session", result }));
    let good = findings.iter().all(|finding| finding.result.is_ok());
    let mut out = io::stdout().lock();
    if arguments.json {
        let all: Vec<Value> = findings.iter().map(Finding::json).collect();
        writeln!(out, "{}", json!({ "ok": good, "findings": all }))?;
    } else {
        for Finding { what, result } in &findings {
            match result {
                Ok(words) => writeln!(out, "ok     {what:12} {words}")?,
                Err(error) => writeln!(out, "WRONG  {what:12} {error:#}")?,
            }
        }
    }
    Ok(if good { 0 } else { FAILED })
}

/// What the configuration says, and which policy and models it names.
fn configured(arguments: &Arguments, findings: &mut Vec<Finding>) -> ScoringArguments {
    let Some(path) = &arguments.config else { return arguments.scoring.clone() };
    match super::serve::read(Some(path)) {
        Ok(config) => {
            for (name, value, meaning) in config.explain() {
                let words = format!("{name} = {value}: {meaning}");
                findings.push(Finding { what: "setting", result: Ok(words) });
            }
            let gate = config.gate(&super::serve::secret);
            let words = |open| if open { "nothing is asked of anybody: loopback only" } else { "read" };
            let result = gate.map(|gate| words(gate.is_open()).to_owned()).map_err(Into::into);
            findings.push(Finding { what: "credentials", result });
            if config.server.tls.is_some() {
                let result = super::serve::tls(&config).map(|_| "certificate and key belong together".into());
                findings.push(Finding { what: "tls", result });
            }
            let environment = Environment {
                secret: &super::serve::secret,
                hand_back: Arc::new(NoCalls),
                clock: Arc::new(SystemClock),
            };
            for table in &config.handoff.connectors {
                let result =
                    table.connect(&environment).map(|_| format!("{}: its secrets are read", table.name));
                findings.push(Finding { what: "connector", result: result.map_err(anyhow::Error::msg) });
            }
            super::serve::scoring(&arguments.scoring, &config)
        }
        Err(error) => {
            findings.push(Finding { what: "config", result: Err(error) });
            arguments.scoring.clone()
        }
    }
}

/// A check has no calls to hand back.
struct NoCalls;

impl HandBack for NoCalls {
    fn hand_back(&self, _: &str, _: &BTreeMap<String, String>) -> Result<(), String> {
        Err("a check has no calls".into())
    }
}

fn session(card: &Card) -> String {
    let (features, frames, lanes) = (card.features.len(), card.window_frames, card.lanes);
    format!("{features} features in {frames} frames, {lanes} lanes: a test window was scored")
}

impl Finding {
    fn json(&self) -> Value {
        let (ok, words) = match &self.result {
            Ok(words) => (true, words.clone()),
            Err(error) => (false, format!("{error:#}")),
        };
        json!({ "what": self.what, "ok": ok, "words": words })
    }
}
