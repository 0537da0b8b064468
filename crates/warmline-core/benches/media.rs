//! What 10 ms of one track cost.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench has no readers but its numbers"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warmline_core::media::Encoding;
use warmline_core::media::encoding::decode;
use warmline_core::media::resample::Resampler;
use warmline_core::media::{Caller, FRAME_STEP, Framer, Heard, Track, TrackFormat};
use warmline_core::units::SampleRate;

/// 10 ms of a payload whose bytes are no pattern.
fn payload(encoding: Encoding, rate: u32) -> Vec<u8> {
    let len = encoding.bytes_per_sample() * rate as usize / 100;
    (0..len).map(|k| (k * k).to_le_bytes()[0]).collect()
}

fn ten_ms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("10 ms");
    group.throughput(Throughput::Elements(1));

    for (name, encoding) in [("decode µ-law", Encoding::Pcmu), ("decode L16", Encoding::L16Le)] {
        let payload = payload(encoding, 8_000);
        let mut samples = Vec::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(encoding, 1, 0, black_box(&payload), &mut samples));
        });
    }

    for rate in [16_000, 44_100, 48_000] {
        let samples = vec![0.25; rate as usize / 100];
        let mut resampler = Resampler::new(SampleRate(rate)).unwrap();
        group.bench_function(format!("resample {rate} Hz"), |bencher| {
            bencher.iter(|| resampler.push(black_box(&samples), |samples| _ = black_box(samples)));
        });
    }

    let mut framer = Framer::<Caller>::new();
    group.bench_function("frame", |bencher| {
        bencher.iter(|| framer.push(black_box(&[0.25; FRAME_STEP]), |frame| _ = black_box(frame)));
    });

    for (name, encoding, rate) in [
        ("track µ-law 8 kHz", Encoding::Pcmu, 8_000),
        ("track L16 8 kHz", Encoding::L16Le, 8_000),
        ("track L16 48 kHz", Encoding::L16Le, 48_000),
    ] {
        let payload = payload(encoding, rate);
        let mut track = Track::<Caller>::new(TrackFormat::mono(encoding, SampleRate(rate))).unwrap();
        let mut position = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let received = track.push(position, black_box(&payload), |heard| match heard {
                    Heard::Frame(frame) => _ = black_box(frame),
                    Heard::Gap(gap) => _ = black_box(gap),
                });
                position += received.unwrap().samples;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ten_ms);
criterion_main!(benches);
