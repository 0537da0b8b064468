//! What activity, speech detection and syllable rate cost per 10 ms frame.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use warmline_core::{
    media::activity::Activity,
    prosody::{
        MEL_BANDS,
        rate::{RateCues, SyllableRate},
        speech::{SpeechCues, SpeechDetector},
    },
};

fn per_frame(c: &mut Criterion) {
    let mel_db: [f32; MEL_BANDS] = std::array::from_fn(|band| if band % 7 < 3 { -40.0 } else { -55.0 });
    let cues = SpeechCues { level_dbfs: -30.0, mel_db: &mel_db, voicing: 0.8, f0_hz: 140.0 };
    let quiet = SpeechCues { level_dbfs: -70.0, ..cues };

    let mut activity = Activity::new();
    c.bench_function("activity", |b| b.iter(|| activity.observe(black_box(-30.0))));

    let mut detector = SpeechDetector::new();
    let mut frame = 0_u32;
    c.bench_function("speech", |b| {
        b.iter(|| {
            frame = frame.wrapping_add(1);
            detector.observe(black_box(if frame % 50 < 10 { &quiet } else { &cues }))
        });
    });

    let mut rate = SyllableRate::new();
    let syllable = RateCues { speech: true, voiced: true, mel_db: &mel_db };
    c.bench_function("syllable_rate", |b| b.iter(|| rate.observe(black_box(&syllable))));
}

criterion_group!(benches, per_frame);
criterion_main!(benches);
