//! The time that pitch and voice quality take for one frame of 10 ms.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::f32::consts::TAU;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warmline_core::prosody::{pitch::PitchTracker, voice::VoiceQualityTracker};

/// One second: a voice of 130 Hz in the telephone band, silent for its last 300 ms.
fn second() -> Vec<f32> {
    let harmonic = |t: f32, k: f32| (TAU * 130.0 * k * t + k * k).cos();
    let voice = |t: f32| (3..26_u8).map(|k| 0.02 * harmonic(t, f32::from(k))).sum();
    let times = (0..8_000_u16).map(|i| f32::from(i) / 8_000.0);
    times.map(|t| if t < 0.7 { voice(t) } else { 0.0 }).collect()
}

fn pitch(criterion: &mut Criterion) {
    let x: Vec<f32> = [second(), second()].concat();
    let frames: Vec<&[f32; 200]> =
        x.windows(200).step_by(80).take(100).filter_map(|x| x.first_chunk()).collect();
    let mut group = criterion.benchmark_group("pitch");
    group.throughput(Throughput::Elements(100));
    let (mut tracker, mut voice) = (PitchTracker::new(), VoiceQualityTracker::new());
    group.bench_function("pitch", |bencher| {
        bencher.iter(|| frames.iter().filter_map(|frame| tracker.observe(frame)).count());
    });
    group.bench_function("pitch and voice quality", |bencher| {
        bencher.iter(|| {
            let mut answer =
                |frame| tracker.observe(frame).and_then(|p| voice.observe(tracker.around(), p.f0_hz));
            frames.iter().filter_map(|frame| answer(frame)).map(|quality| quality.jitter_local).sum::<f32>()
        });
    });
}

criterion_group!(benches, pitch);
criterion_main!(benches);
