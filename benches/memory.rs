//! What a live call holds, in bytes of heap: the call itself with both built-in models' memories, and what the switchboard adds.
//!
//! `cargo bench --bench memory`. Sockets are not in it: `warmline load` prints what a server takes a call, everything included.

use std::{path::Path, sync::Arc};

use warmline::switchboard::{Actions, Assumed, Events, Limits, Score, Switchboard};
use warmline_core::{
    call::{Action, CallConfig, CallId, Event},
    media::{Format, Speaker},
    policy::{Notice, Policy},
    score::{Card, Model, ScoreError, ScoreRequest, Scores, Stages},
    units::Pii,
};
use warmline_eval::recording::Recording;
use warmline_wire::{Message, Start};

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const CALLS: usize = 50;

#[allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench that cannot run says why, and prints"
)]
fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let heap = || dhat::HeapStats::get().curr_bytes / CALLS;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls/escalating_mulaw.wav");
    let card = |json: &str| Card::parse(json).and_then(|card| card.model()).expect("a built-in card is read");
    let first: Model = card(include_str!("../models/watch.json"));
    let confirm: Model = card(include_str!("../models/confirm.json"));
    let stages = Some(Stages { first, confirm: Some(confirm) });
    let config = Arc::new(CallConfig { policy: Policy::default(), stages });
    let limits = Limits { calls: CALLS, calls_per_shard: CALLS };
    let nobody = Arc::new(Nobody);
    let board = Switchboard::start(vec![Box::new(Calm)], config, limits, 1, nobody.clone(), nobody)
        .expect("the switchboard starts");
    let mut recording = Recording::open(&path).expect("the fixture opens");
    let (caller, agent, _) = recording.tracks(None).expect("the fixture has two tracks");
    let before = heap();
    let start = |n: usize| Start {
        source: "wav",
        call: Some(format!("call-{n}")),
        stream: None,
        caller_channel: "left",
        caller: Format::Samples(caller),
        agent: agent.map(Format::Samples),
        from: None,
        to: None,
        metadata: Pii::new(Default::default()),
    };
    let assumed = Assumed { notice: Notice::Consent, ..Assumed::default() };
    let mut lines: Vec<_> =
        (0..CALLS).map(|n| board.open(&start(n), &assumed).expect("there is room")).collect();
    let settle = || std::thread::sleep(std::time::Duration::from_millis(100));
    settle();
    println!("{:>9} B  a call that is open", heap() - before);
    let (mut packet, mut position) = (Vec::new(), 0);
    let mut seconds = 0;
    loop {
        recording.packet(160, &mut packet).expect("the fixture is read");
        if packet.is_empty() {
            break;
        }
        for line in &mut lines {
            while line.waiting() > 64 {
                std::thread::yield_now();
            }
            for track in [Speaker::Caller, Speaker::Agent] {
                line.handle(&Message::Media { track, position, payload: &packet });
            }
        }
        position += (packet.len() / caller.bytes_per_sample()) as u64;
        if position / 8_000 >= seconds + 15 {
            seconds += 15;
            settle();
            println!("{:>9} B  after {seconds} s of both tracks", heap() - before);
        }
    }
    println!("{:>9} B  at the most", dhat::HeapStats::get().max_bytes / CALLS - before);
}

/// Makes every window calm, without a model.
struct Calm;

impl Score for Calm {
    fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
        requests.iter().map(|_| Ok(Scores { frustration: -2.0, speech: None })).collect()
    }
}

/// Nobody listens.
struct Nobody;

impl Events for Nobody {
    fn told(&self, _: &Event) {}
}

impl Actions for Nobody {
    fn act(&self, _: &CallId, _: Action) {}
}
