//! What several families of tests share.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]
#![allow(clippy::expect_used, reason = "a test that panics has failed")]

use std::path::PathBuf;

use warmline::{
    call::Event,
    ingest::{
        recording::Recording,
        replay::{ReplayOptions, Score, replay},
    },
    policy::Notice,
    units::MediaSpan,
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
    }
}

/// One event a line, as `replay --json` prints them.
pub fn line(event: &Event) -> String {
    serde_json::to_string(event).expect("an event is JSON")
}

/// The lines of a replayed file.
pub fn lines(
    path: &std::path::Path,
    options: &ReplayOptions,
    config: std::sync::Arc<warmline::call::CallConfig>,
    lanes: usize,
    score: &mut Score<'_>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let recording = Recording::open(path).expect("the fixture opens");
    replay(recording, options, config, lanes, score, &mut |output| {
        if let warmline::call::Output::Tell(event) = output {
            lines.push(line(&event));
        }
    })
    .expect("the fixture replays");
    lines
}
