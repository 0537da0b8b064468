//! What several families of tests share.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::expect_used, reason = "a test that panics has failed")]

use std::{path::PathBuf, sync::Arc};

use warmline_core::{
    call::{CallConfig, Event, Output},
    policy::{Notice, Policy},
    score::{ScoreRequest, Scores, Stage, Stages},
    units::MediaSpan,
};
use warmline_eval::{
    recording::Recording,
    replay::{ReplayOptions, Score, replay},
    suite::Row,
    trace::Trace,
};

/// A file of `fixtures/calls`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls").join(name)
}

/// A call of which everything is known.
pub fn options() -> ReplayOptions {
    ReplayOptions {
        caller_channel: None,
        packet: MediaSpan(160),
        notice: Notice::Consent,
        notice_at: None,
        queue: None,
        intent: None,
        script: Vec::new(),
    }
}

/// One event a line, as `replay --json` prints them.
pub fn line(event: &Event) -> String {
    serde_json::to_string(event).expect("an event is JSON")
}

/// What a replay of a suite's call leaves behind under scores that no model made: log-odds by stage and second.
pub fn scripted_trace(
    row: &Row,
    policy: &Policy,
    stages: &Stages,
    logit: impl Fn(Stage, f64) -> f32,
) -> Trace {
    let mut trace = Trace::new(MediaSpan(80 * stages.first.hop_frames as u64));
    let options = ReplayOptions { caller_channel: row.caller_channel, ..options() };
    let config = Arc::new(CallConfig { policy: policy.clone(), stages: Some(stages.clone()) });
    let score = |request: &ScoreRequest| {
        Ok(Scores { frustration: logit(request.stage, request.at.seconds()), speech: None })
    };
    replay(
        Recording::open(&row.path).expect("the fixture opens"),
        &options,
        config,
        1,
        &mut |requests| requests.iter().map(score).collect(),
        &mut |output| {
            if let Output::Tell(event) = output {
                trace.observe(&event);
            }
        },
    )
    .expect("the fixture replays");
    trace
}

/// The lines of a replayed file.
pub fn lines(
    path: &std::path::Path,
    options: &ReplayOptions,
    config: std::sync::Arc<warmline_core::call::CallConfig>,
    lanes: usize,
    score: &mut Score<'_>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let recording = Recording::open(path).expect("the fixture opens");
    replay(recording, options, config, lanes, score, &mut |output| {
        if let warmline_core::call::Output::Tell(event) = output {
            lines.push(line(&event));
        }
    })
    .expect("the fixture replays");
    lines
}

/// Nobody changes policies here.
pub struct NoDesk;

impl warmline::api::Desk for NoDesk {
    fn put(&self, _: &Policy, _: &warmline::api::InForce) -> Result<(), String> {
        Err("no desk".into())
    }

    fn tried(&self, _: &Policy, _: &Policy) -> Result<warmline::api::Tried, String> {
        Err("no desk".into())
    }
}
