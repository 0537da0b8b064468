//! The cost of every spectral descriptor of one frame: 10 ms of a call.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use warmline_core::{media::FRAME_LEN, prosody::spectrum::SpectralAnalyser};

fn spectral(c: &mut Criterion) {
    let mut seed = 1u32;
    let frames: [[f32; FRAME_LEN]; 2] = std::array::from_fn(|_| {
        std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from((seed >> 24) as u8) / 256.0 - 0.5
        })
    });
    let mut analyser = SpectralAnalyser::new();
    let mut frames = frames.iter().cycle();
    c.bench_function("spectral descriptors of a frame", |b| {
        b.iter(|| frames.next().map(|frame| black_box(analyser.observe(black_box(frame)))));
    });
}

criterion_group!(benches, spectral);
criterion_main!(benches);
