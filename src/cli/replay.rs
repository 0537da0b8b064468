//! `warmline replay`: what would have happened.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::json;
use warmline_core::{
    call::{CallConfig, EventKind, Output},
    policy::Notice,
    units::{MediaSpan, MediaTime},
};
use warmline_eval::{
    recording::{Recording, RecordingError},
    replay::{ReplayOptions, replay},
    script,
};
use warmline_onnx::Scorers;

use super::{
    FAILED, NO,
    features::Channel,
    jobs::{self, complain},
    scoring::ScoringArguments,
    timeline::Timeline,
};

/// The longest packet that can be asked for: ten seconds, well below the scores that may be under way.
const PACKET_MS_MAX: u64 = 10_000;

/// Plays recorded calls through the very code that takes live ones.
///
/// A call is two channels, left the caller and right the agent or bot, or one that holds the caller alone. The same audio,
/// policy and model give the same lines, byte for byte. Exit code 1: a call was not what --expect says; 2: a file could not
/// be replayed.
#[derive(Args)]
pub(super) struct Arguments {
    /// WAV files, folders of them, or @LIST (a file of names)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    scoring: ScoringArguments,
    /// Events, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Which channel is the caller's [default: left of two]
    #[arg(long, value_name = "CHANNEL")]
    caller_channel: Option<Channel>,
    /// Length of the packets in which a call is fed, milliseconds; it changes nothing
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=PACKET_MS_MAX))]
    packet_ms: u64,
    /// Files replayed at once
    #[arg(long, value_name = "N", default_value_t = jobs::default_jobs())]
    jobs: usize,
    /// What the callers had been told when the recording began [default: what the policy asks for]
    #[arg(long, value_name = "WHAT")]
    notice: Option<Given>,
    /// Seconds into the call at which they were told
    #[arg(long, value_name = "SECONDS")]
    notice_at: Option<f64>,
    /// Replay with what was said, JSON lines {"t":12.5,"speaker":"caller","text":"…"}: from FILE, or of each CALL.wav from the
    /// CALL.transcript.ndjson beside it, if there is one
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    transcript: Option<Option<PathBuf>>,
    /// The queue the calls came by, for the policy's overrides
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The callers' intent, for the policy's overrides
    #[arg(long, value_name = "NAME")]
    intent: Option<String>,
    /// Say on standard error how long it took, and how many times real time that is
    #[arg(long)]
    timing: bool,
    /// What every call should lead to: exit code 1 if one does not
    #[arg(long, value_name = "WHAT")]
    expect: Option<Expected>,
}

/// What a caller had been told, on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Given {
    /// Nothing
    None,
    /// That their voice is analysed
    Notice,
    /// They had agreed
    Consent,
}

impl From<Given> for Notice {
    fn from(given: Given) -> Self {
        match given {
            Given::None => Self::None,
            Given::Notice => Self::Notice,
            Given::Consent => Self::Consent,
        }
    }
}

/// What a call should lead to.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Expected {
    /// At least one transfer
    Transfer,
    /// No transfer
    None,
}

/// What became of one file.
enum Replayed {
    Done { transfers: u32, seconds: f64 },
    Failed,
}

/// What a thread keeps from file to file.
struct Worker {
    config: Arc<CallConfig>,
    scorers: Scorers,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let files = jobs::files(&arguments.files)?;
    let (config, models) = arguments.scoring.call_config(&arguments.scoring.policy()?)?;
    let runtime = arguments.scoring.runtime()?;
    let options = options(arguments, &config)?;
    let style = !arguments.json
        && io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    #[allow(clippy::disallowed_methods, reason = "how long the program took is the wall clock's to say")]
    let started = Instant::now();
    let results = jobs::run(
        &files,
        arguments.jobs,
        || Ok(Worker { config: Arc::clone(&config), scorers: models.scorers(runtime)? }),
        |worker, path, output| {
            let words = arguments.transcript.as_ref().map(Option::as_deref);
            replay_file(worker, path, words, &options, arguments.json, style, output)
        },
    )?;
    if arguments.timing {
        let seconds = results
            .iter()
            .map(|r| if let Replayed::Done { seconds, .. } = r { *seconds } else { 0.0 })
            .sum::<f64>();
        let took = started.elapsed().as_secs_f64();
        complain(&format!("{seconds:.1} s of calls in {took:.2} s: {:.0} times real time", seconds / took));
    }
    let failed = results.iter().filter(|r| matches!(r, Replayed::Failed)).count();
    let transferred = results.iter().filter(|r| matches!(r, Replayed::Done { transfers: 1.., .. })).count();
    let done = results.len() - failed;
    if failed > 0 {
        complain(&format!("{failed} of {} files could not be replayed", results.len()));
        return Ok(FAILED);
    }
    let unexpected = match arguments.expect {
        Some(Expected::Transfer) => done - transferred,
        Some(Expected::None) => transferred,
        None => 0,
    };
    if unexpected > 0 {
        complain(&format!("{unexpected} of {done} calls were not what --expect says"));
    }
    Ok(if unexpected > 0 { NO } else { 0 })
}

fn options(arguments: &Arguments, config: &CallConfig) -> anyhow::Result<ReplayOptions> {
    let rules = config.policy.rules_for(arguments.queue.as_deref(), arguments.intent.as_deref());
    let notice = arguments.notice.map_or(rules.notice.0, Into::into);
    let notice_at = match arguments.notice_at {
        Some(seconds) if !(0.0..=86_400.0).contains(&seconds) => {
            bail!("--notice-at {seconds}: expected seconds from 0 to 86400")
        }
        seconds => seconds.map(|s| MediaTime::ZERO + MediaSpan::from_seconds(s)),
    };
    Ok(ReplayOptions {
        caller_channel: arguments.caller_channel.map(Into::into),
        packet: MediaSpan(8 * arguments.packet_ms),
        notice,
        notice_at,
        queue: arguments.queue.clone(),
        intent: arguments.intent.clone(),
        script: Vec::new(),
    })
}

/// What is known of a recording before its first sample.
fn audio(recording: &Recording) -> String {
    let wav = recording.wav();
    let channels = if wav.channels == 1 { "mono" } else { "stereo" };
    let length = MediaTime::ZERO + recording.span();
    format!("{length} · {channels} {} at {} Hz", wav.encoding, wav.rate.0)
}

/// What was said in a call, if that is asked for: from the file that is named, or the one beside the recording.
fn words_of(recording: &Path, asked: Option<Option<&Path>>) -> Result<Vec<script::Line>, RecordingError> {
    let beside = recording.with_extension("transcript.ndjson");
    let named = asked.and_then(|named| named.or(beside.is_file().then_some(&*beside)));
    let Some(path) = named else { return Ok(Vec::new()) };
    let wrong =
        |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    let source = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Ok(script::parse(&source).map_err(|error| wrong(error.to_string()))?)
}

fn replay_file(
    worker: &mut Worker,
    path: &Path,
    words: Option<Option<&Path>>,
    options: &ReplayOptions,
    as_json: bool,
    style: bool,
    output: &mut dyn Write,
) -> Replayed {
    let (mut transfers, mut seconds) = (0, 0.0);
    let mut timeline = (!as_json).then(|| Timeline::new(path, style));
    let mut played = Recording::open(path).and_then(|recording| {
        let options = &ReplayOptions { script: words_of(path, words)?, ..options.clone() };
        if let Some(timeline) = &mut timeline {
            timeline.head(&audio(&recording), &worker.config);
        }
        let lanes = worker.scorers.lanes();
        let (config, scorers) = (Arc::clone(&worker.config), &mut worker.scorers);
        replay(recording, options, config, lanes, &mut |requests| scorers.score(requests), &mut |told| {
            let Output::Tell(event) = told else { return };
            if let EventKind::CallEnded { transfers: n, duration_s, .. } = &event.what {
                (transfers, seconds) = (*n, *duration_s);
            }
            match &mut timeline {
                Some(timeline) => timeline.take(&event),
                None => {
                    let _ = serde_json::to_writer(&mut *output, &event).map(|()| output.write_all(b"\n"));
                }
            }
        })
    });
    if let Some(timeline) = timeline.filter(|_| played.is_ok())
        && let Err(error) = timeline.write(output)
    {
        played = Err(error.into());
    }
    match played {
        Ok(()) => Replayed::Done { transfers, seconds },
        Err(error) => {
            complain(&format!("{}: {error}", path.display()));
            if as_json {
                let failed = json!({ "type": "error", "file": path.display().to_string(), "error": error.to_string() });
                let _ = writeln!(output, "{failed}");
            }
            Replayed::Failed
        }
    }
}
