//! `warmline check`: what a deployment has, what is wrong with it, and how to mend it.

use std::io::{self, Write};

use clap::Args;
use serde_json::{Value, json};

use super::{FAILED, scoring::ScoringArguments};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    scoring: ScoringArguments,
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
    let scoring = &arguments.scoring;
    let policy = scoring.policy().map(|p| {
        let place = scoring.policy.as_ref().map_or_else(|| "built in".into(), |p| p.display().to_string());
        format!("version {}, {place}", p.version())
    });
    let model = scoring.model();
    let runtime = scoring.runtime();
    let session = match (&model, &runtime) {
        (Ok(model), Ok(runtime)) => Some(model.scorer(runtime).map(|scorer| {
            let card = scorer.card();
            format!(
                "{} features in {} frames, {} lanes: a test window was scored",
                card.features.len(),
                card.window_frames,
                card.lanes
            )
        })),
        _ => None,
    };
    let mut findings = vec![
        Finding { what: "policy", result: policy },
        Finding {
            what: "model",
            result: model.map(|m| format!("{} {} ({})", m.card.name, m.card.version, m.card.feature_set)),
        },
        Finding { what: "onnxruntime", result: runtime.map(|r| r.library().display().to_string()) },
    ];
    findings.extend(session.map(|result| Finding { what: "session", result }));
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

impl Finding {
    fn json(&self) -> Value {
        let (ok, words) = match &self.result {
            Ok(words) => (true, words.clone()),
            Err(error) => (false, format!("{error:#}")),
        };
        json!({ "what": self.what, "ok": ok, "words": words })
    }
}
