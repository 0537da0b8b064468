//! What the console asks of the policy that takes files and models: putting one in force, and trying one on recorded calls.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, bail};
use serde::Deserialize;
use warmline::{
    api::{Desk, InForce, Tried, TriedCall, TriedSum},
    outbox::Outbox,
    switchboard::Switchboard,
};
use warmline_core::{
    call::Output,
    media::FRAME_STEP,
    policy::{BUILT_IN, Policy},
    units::{MediaSpan, MediaTime},
};
use warmline_eval::{
    recording::Recording,
    replay::{ReplayOptions, replay},
    trace::{Trace, decide},
};

use super::{demo, scoring::ScoringArguments};

/// Recorded calls a policy is tried on; of more, the first by name.
const RECORDINGS_MAX: usize = 500;

/// Sets of traces that are kept, one for each `suspect` that was tried; beyond, all are made again.
const TRACES_MAX: usize = 4;

/// Puts policies in force at a switchboard, and tries them.
pub(super) struct PolicyDesk {
    pub(super) board: Arc<Switchboard>,
    /// Who audits, and hands over by the capacity that the policy names.
    pub(super) outbox: Arc<Outbox>,
    pub(super) scoring: ScoringArguments,
    /// Where the recorded calls are; none: the bundled ones.
    pub(super) recordings: Option<PathBuf>,
    /// What was heard in them, by the `suspect` they were heard under (in hundredths of a per cent).
    pub(super) heard: Mutex<BTreeMap<u64, Arc<Vec<Heard>>>>,
}

/// A recorded call, replayed.
pub(super) struct Heard {
    name: String,
    label: Option<&'static str>,
    onset: Option<MediaTime>,
    trace: Trace,
}

impl Desk for PolicyDesk {
    fn put(&self, policy: &Policy, entry: &InForce) -> Result<(), String> {
        let (config, _) = self.scoring.call_config(policy).map_err(|error| format!("{error:#}"))?;
        if let Some(file) = &self.scoring.policy {
            // What was before goes into the history first: the file is never the only copy of anything.
            remember(file, entry)
                .and_then(|()| replace(file, &entry.source))
                .map_err(|error| format!("{}: {error}: nothing has changed", file.display()))?;
        }
        self.board.reload(config);
        self.outbox.set_policy(policy.clone(), &entry.by);
        Ok(())
    }

    fn tried(&self, before: &Policy, after: &Policy) -> Result<Tried, String> {
        let of = |policy: &Policy| self.heard(policy).map_err(|error| format!("{error:#}"));
        let (old, new) = (of(before)?, of(after)?);
        let (mut sums, mut calls) = ([TriedSum::default(); 2], Vec::new());
        for (old, new) in old.iter().zip(new.iter()) {
            let [was, is] = [(old, before, 0), (new, after, 1)].map(|(heard, policy, n)| {
                let alarms = decide(&heard.trace, policy.rules_for(None, None), heard.onset, |_, _| ());
                let at: Vec<f64> = alarms.iter().map(|alarm| alarm.at.seconds()).collect();
                if let Some(sum) = sums.get_mut(n) {
                    add(sum, heard, &at);
                }
                at
            });
            calls.push(TriedCall {
                name: new.name.clone(),
                duration_s: new.trace.duration.seconds(),
                label: new.label,
                onset_s: new.onset.map(MediaTime::seconds),
                before: was,
                after: is,
            });
        }
        let [before, after_sum] = sums;
        let caller_hours = new.iter().map(|heard| heard.trace.speech.seconds()).sum::<f64>() / 3_600.0;
        Ok(Tried { version: after.version().to_owned(), calls, before, after: after_sum, caller_hours })
    }
}

impl PolicyDesk {
    /// The recorded calls as they are heard under this policy: another threshold changes nothing but `suspect`, which moments are
    /// heard by the second stage.
    fn heard(&self, policy: &Policy) -> anyhow::Result<Arc<Vec<Heard>>> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a probability in ten-thousandths"
        )]
        let key = (policy.rules_for(None, None).suspect.get() * 10_000.0).round() as u64;
        let held = || self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(heard) = held().get(&key) {
            return Ok(Arc::clone(heard));
        }
        let heard = Arc::new(self.replayed(policy)?);
        let mut all = held();
        if all.len() >= TRACES_MAX {
            all.clear();
        }
        all.insert(key, Arc::clone(&heard));
        Ok(heard)
    }

    fn replayed(&self, policy: &Policy) -> anyhow::Result<Vec<Heard>> {
        let (config, files) = self.scoring.call_config(policy)?;
        let mut scorers = files.scorers(self.scoring.runtime()?)?;
        let first = config.stages.as_ref().map(|stages| &stages.first);
        let hop = first.map_or(MediaSpan::ZERO, |model| MediaSpan((model.hop_frames * FRAME_STEP) as u64));
        let labels = self.labels()?;
        let mut all = Vec::new();
        for (name, recording) in self.recordings()? {
            let options = ReplayOptions {
                caller_channel: None,
                packet: MediaSpan::from_seconds(0.02),
                notice: policy.rules_for(None, None).notice.0,
                notice_at: None,
                queue: None,
                intent: None,
                script: Vec::new(),
            };
            let mut trace = Trace::new(hop);
            let lanes = scorers.lanes();
            let told = replay(
                recording,
                &options,
                Arc::clone(&config),
                lanes,
                &mut |asked| scorers.score(asked),
                &mut |told| {
                    if let Output::Tell(event) = told {
                        trace.observe(&event);
                    }
                },
            );
            // A recording of one channel may mix caller and agent: it is no call to try a policy on.
            if let Err(error) = told {
                tracing::info!(recording = name, %error, "left out");
                continue;
            }
            let label = labels.get(&name);
            all.push(Heard {
                label: label.map(|(label, _)| *label),
                onset: label.and_then(|(_, onset)| *onset),
                name,
                trace,
            });
        }
        if all.is_empty() {
            bail!(
                "there is no recorded call of two channels: put some WAV files into the folder of console.recordings"
            );
        }
        Ok(all)
    }

    fn recordings(&self) -> anyhow::Result<Vec<(String, Recording)>> {
        let Some(folder) = &self.recordings else {
            return demo::bundled()
                .map(|(name, bytes)| Ok((name.clone(), Recording::of_bytes(&name, bytes)?)))
                .collect();
        };
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .with_context(|| format!("{}: cannot be read", folder.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("wav")))
            .collect();
        paths.sort();
        paths.truncate(RECORDINGS_MAX);
        let named = |path: &Path| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        // What cannot be opened is left out; `warmline evaluate` says why.
        Ok(paths.iter().filter_map(|path| Some((named(path), Recording::open(path).ok()?))).collect())
    }

    /// What `suite.csv` beside the recordings says of them, if there is one.
    fn labels(&self) -> anyhow::Result<BTreeMap<String, (&'static str, Option<MediaTime>)>> {
        #[derive(Deserialize)]
        struct Line {
            file: String,
            label: String,
            onset_s: Option<f64>,
        }
        let source = match &self.recordings {
            None => demo::suite(),
            Some(folder) => fs::read_to_string(folder.join("suite.csv")).ok(),
        };
        let source = source.unwrap_or_default();
        let mut labels = BTreeMap::new();
        for line in csv::Reader::from_reader(source.as_bytes()).deserialize::<Line>() {
            let line = line.context("suite.csv")?;
            let onset = line.onset_s.map(|onset| MediaTime::ZERO + MediaSpan::from_seconds(onset));
            let label = if line.label == "escalate" { "escalate" } else { "calm" };
            labels.insert(line.file, (label, onset));
        }
        Ok(labels)
    }
}

/// The policies that were in force, oldest first, with the one that is: what the history beside the file says, and the file.
pub(super) fn in_force(file: Option<&Path>, by: &str) -> anyhow::Result<Vec<InForce>> {
    let (source, mut all) = match file {
        None => (BUILT_IN.to_owned(), Vec::new()),
        Some(file) => {
            let source =
                fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
            let lines = fs::read_to_string(history(file)).unwrap_or_default();
            (source, lines.lines().filter_map(|line| serde_json::from_str::<InForce>(line).ok()).collect())
        }
    };
    let policy = Policy::parse(&source)?;
    if all.last().is_none_or(|last| last.sha256 != policy.sha256()) {
        #[allow(clippy::disallowed_methods, reason = "says since when a policy is in force, dates nothing")]
        let since = std::time::SystemTime::now().into();
        let (version, sha256) = (policy.version().to_owned(), policy.sha256().to_owned());
        let by = file.map_or("the program, which has it built in", |_| by).to_owned();
        let entry = InForce { version, sha256, source, since, by };
        if let Some(file) = file
            && let Err(error) = remember(file, &entry)
        {
            tracing::warn!(%error, "the policy's history is not kept");
        }
        all.push(entry);
    }
    Ok(all)
}

fn add(sum: &mut TriedSum, heard: &Heard, at: &[f64]) {
    sum.transfers += at.len();
    sum.calls_transferred += usize::from(!at.is_empty());
    let onset = heard.onset.map(MediaTime::seconds);
    let wanted = at.iter().filter(|at| onset.is_some_and(|onset| **at >= onset)).count();
    match (heard.label, onset) {
        (Some(_), Some(_)) => {
            sum.found += usize::from(wanted > 0);
            sum.missed += usize::from(wanted == 0);
            sum.false_alarms += at.len() - wanted;
        }
        (Some(_), None) => sum.false_alarms += at.len(),
        (None, _) => {}
    }
}

/// `policy.toml` → `policy.history.ndjson`.
fn history(file: &Path) -> PathBuf {
    file.with_extension("history.ndjson")
}

fn remember(file: &Path, entry: &InForce) -> std::io::Result<()> {
    let mut log = fs::OpenOptions::new().create(true).append(true).open(history(file))?;
    writeln!(log, "{}", serde_json::to_string(entry)?)?;
    log.sync_data()
}

/// Written beside its place first, then renamed: a crash leaves the old policy or the new one, never half of one.
fn replace(file: &Path, source: &str) -> std::io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = fs::File::create(&beside)?;
    new.write_all(source.as_bytes())?;
    new.sync_data()?;
    fs::rename(beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_force_is_found_again_and_a_changed_file_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        fs::write(&file, "version = \"1\"").unwrap();
        assert_eq!(in_force(Some(&file), "the file").unwrap().len(), 1);
        assert_eq!(in_force(Some(&file), "the file").unwrap().len(), 1);
        let mut entry = in_force(Some(&file), "the file").unwrap().remove(0);
        (entry.version, entry.source, entry.by) = ("2".into(), "version = \"2\"".into(), "Ada".into());
        entry.sha256 = Policy::parse(&entry.source).unwrap().sha256().to_owned();
        remember(&file, &entry).unwrap();
        replace(&file, &entry.source).unwrap();
        let all = in_force(Some(&file), "the file").unwrap();
        assert_eq!(all.iter().map(|e| e.by.as_str()).collect::<Vec<_>>(), ["the file", "Ada"]);
        fs::write(&file, "version = \"3\"").unwrap();
        let all = in_force(Some(&file), "the file").unwrap();
        assert_eq!((all.len(), all[2].version.as_str()), (3, "3"));
    }
}
