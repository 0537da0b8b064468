//! Plays the calls of a suite, each once, and keeps what is needed to judge them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Args;
use warmline_core::{
    call::{CallConfig, Output},
    media::FRAME_STEP,
    packet::Named,
    policy::Policy,
    units::MediaSpan,
};
use warmline_eval::{
    evaluation::{Costs, Question},
    figures::Bootstrap,
    recording::Recording,
    replay::{ReplayOptions, replay},
    suite::{Row, Suite},
    trace::Trace,
};
use warmline_onnx::Scorers;

use super::{
    jobs::{self, complain},
    scoring::ScoringArguments,
};

/// Length of the packets in which calls are fed; it changes nothing.
const PACKET: MediaSpan = MediaSpan(8_000);

#[derive(Args)]
pub(super) struct SuiteArguments {
    /// Labelled calls: a CSV file with the columns file, label, onset_s and any of caller_channel, speaker, gender,
    /// language, corpus, scenario, models (cards that score this call, in place of --model); files are relative to it
    #[arg(value_name = "SUITE.csv")]
    pub(super) suite: PathBuf,
    #[command(flatten)]
    pub(super) scoring: ScoringArguments,
    /// Seconds of caller speech after the onset within which a transfer is in time
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    within: f64,
    /// Draws for the 95 % intervals; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    bootstrap: u64,
    /// What the draws depend on
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Files replayed at once
    #[arg(long, value_name = "N", default_value_t = jobs::default_jobs())]
    jobs: usize,
}

/// Reads a number of seconds from 0 to an hour.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0 to 3600".into()),
    }
}

/// Reads a number that is not negative.
pub(super) fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if amount >= 0.0 && amount.is_finite() => Ok(amount),
        _ => Err("expected a number that is not negative".into()),
    }
}

/// A suite that has been replayed.
pub(super) struct Played {
    pub(super) suite: Suite,
    pub(super) traces: Vec<Trace>,
    pub(super) policy: Policy,
    pub(super) models: Vec<Named>,
}

/// What a thread keeps from file to file.
struct Worker {
    config: Arc<CallConfig>,
    scorers: Scorers,
}

impl SuiteArguments {
    /// How the calls are judged, when mistakes cost this.
    pub(super) fn question(&self, costs: Costs) -> anyhow::Result<Question> {
        Ok(Question {
            within: MediaSpan::from_seconds(self.within),
            bootstrap: Bootstrap { resamples: usize::try_from(self.bootstrap)?, seed: self.seed },
            costs,
        })
    }

    /// Reads the suite and replays every call of it.
    pub(super) fn play(&self) -> anyhow::Result<Played> {
        let suite = Suite::read(&self.suite).with_context(|| self.suite.display().to_string())?;
        let policy = self.scoring.policy()?;
        let (traces, models) = self.traces(&suite, &policy)?;
        Ok(Played { suite, traces, policy, models })
    }

    /// The traces of the same calls under another policy: the same ones, unless a second stage would have been asked of
    /// other moments.
    pub(super) fn play_under(&self, other: &Policy, played: &Played) -> anyhow::Result<Vec<Trace>> {
        let suspect = |policy: &Policy| policy.rules_for(None, None).suspect;
        if played.models.len() < 2 || suspect(other) == suspect(&played.policy) {
            return Ok(played.traces.clone());
        }
        Ok(self.traces(&played.suite, other)?.0)
    }

    /// Replays every call, by the models that its line names or else the command line's; gives the models along.
    fn traces(&self, suite: &Suite, policy: &Policy) -> anyhow::Result<(Vec<Trace>, Vec<Named>)> {
        let runtime = self.scoring.runtime()?;
        let mut sets = BTreeMap::new();
        for row in &suite.rows {
            if !sets.contains_key(&row.models) {
                sets.insert(row.models.clone(), self.scoring.with_models(&row.models).call_config(policy)?);
            }
        }
        let paths: Vec<PathBuf> = suite.rows.iter().map(|row| row.path.clone()).collect();
        let rows: BTreeMap<&Path, &Row> = suite.rows.iter().map(|row| (row.path.as_path(), row)).collect();
        let results = jobs::run(
            &paths,
            self.jobs,
            || Ok(BTreeMap::new()),
            |workers, path, _| {
                let played = rows.get(path).and_then(|row| Some((row, sets.get(&row.models)?))).map(
                    |(row, (config, files))| {
                        let worker = match workers.entry(row.models.clone()) {
                            Entry::Occupied(worker) => worker.into_mut(),
                            Entry::Vacant(place) => place.insert(Worker {
                                config: Arc::clone(config),
                                scorers: files.scorers(runtime)?,
                            }),
                        };
                        play(worker, row)
                    },
                );
                played?.map_err(|error| complain(&format!("{}: {error:#}", path.display()))).ok()
            },
        )?;
        let traces: Vec<Trace> = results.into_iter().flatten().collect();
        if traces.len() < paths.len() {
            bail!("{} of {} calls could not be replayed", paths.len() - traces.len(), paths.len());
        }
        let stages = sets.values().filter_map(|(config, _)| config.stages.as_ref());
        let models = stages.flat_map(|stages| std::iter::once(&stages.first).chain(&stages.confirm));
        let named = models.map(|m| Named { name: m.name.clone(), sha256: m.sha256.clone() });
        Ok((traces, named.collect()))
    }
}

fn play(worker: &mut Worker, row: &Row) -> anyhow::Result<Trace> {
    let options = ReplayOptions {
        caller_channel: row.caller_channel,
        packet: PACKET,
        notice: worker.config.policy.rules_for(None, None).notice.0,
        notice_at: None,
        queue: None,
        intent: None,
        script: Vec::new(),
    };
    let first = worker.config.stages.as_ref().map(|stages| &stages.first);
    let hop = first.map_or(MediaSpan::ZERO, |model| MediaSpan((model.hop_frames * FRAME_STEP) as u64));
    let mut trace = Trace::new(hop);
    let lanes = worker.scorers.lanes();
    let (config, scorers) = (Arc::clone(&worker.config), &mut worker.scorers);
    let recording = Recording::open(&row.path)?;
    replay(recording, &options, config, lanes, &mut |requests| scorers.score(requests), &mut |told| {
        if let Output::Tell(event) = told {
            trace.observe(&event);
        }
    })?;
    Ok(trace)
}
