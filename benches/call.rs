//! What a call costs: the whole core over real-time audio, and its stages a frame.
//!
//! `cargo bench --bench call`. Throughput is in frames of 10 ms: 1 Melem/s is 10,000 times real time. The scores are made
//! up here; `cargo bench --bench score` measures the model.

use std::{hint::black_box, path::Path, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warmline_core::{
    call::{CallConfig, Output},
    media::{Caller, Heard, Track},
    policy::{Notice, Policy},
    prosody::Analyser,
    score::{Model, Scores, Stages},
    units::MediaSpan,
};
use warmline_eval::{
    recording::Recording,
    replay::{ReplayOptions, replay},
};

#[allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot run says why")]
fn call(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls/escalating_mulaw.wav");
    let span = Recording::open(&path).expect("the fixture opens").span();
    let frames = span.0 / 80;
    let mut group = criterion.benchmark_group("call");
    group.throughput(Throughput::Elements(frames));

    let config = Arc::new(CallConfig {
        policy: Policy::default(),
        stages: Some(Stages::one(Model::of_features(&warmline_core::prosody::COLUMNS[22..]))),
    });
    let options = ReplayOptions {
        caller_channel: None,
        packet: MediaSpan(160),
        notice: Notice::Notice,
        notice_at: None,
        queue: None,
        intent: None,
        script: Vec::new(),
    };
    group.bench_function("replay without the model, two tracks of mu-law in 20 ms packets", |bencher| {
        bencher.iter(|| {
            let recording = Recording::open(&path).expect("the fixture opens");
            let mut told = 0;
            replay(
                recording,
                &options,
                Arc::clone(&config),
                1,
                &mut |requests| {
                    requests.iter().map(|_| Ok(Scores { frustration: -2.0, speech: None })).collect()
                },
                &mut |output| told += usize::from(matches!(output, Output::Tell(_))),
            )
            .expect("the fixture replays");
            black_box(told)
        });
    });

    let mut recording = Recording::open(&path).expect("the fixture opens");
    let (format, _, _) = recording.tracks(None).expect("two channels");
    let mut bytes = Vec::new();
    recording.packet(u64::MAX / 8, &mut bytes).expect("the fixture reads");
    group.bench_function("one track and its descriptors", |bencher| {
        bencher.iter(|| {
            let mut track = Track::<Caller>::new(format).expect("8 kHz");
            let mut analyser = Analyser::new();
            let mut speech = 0;
            track
                .push(0, &bytes, |sound| {
                    if let Heard::Frame(frame) = sound {
                        speech += analyser.observe(&frame).is_some_and(|lld| lld.speech) as usize;
                    }
                })
                .expect("in order");
            black_box(speech)
        });
    });
    group.finish();
}

criterion_group!(benches, call);
criterion_main!(benches);
