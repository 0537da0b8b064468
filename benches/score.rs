//! What a score costs: one batch of each stage through ONNX Runtime on one thread, and `confirm`'s front end.
//!
//! `make bench`, or `ORT_DYLIB_PATH=… cargo bench --bench score`.

use std::{env, fs, hint::black_box, path::Path, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use warmline_core::{
    prosody::log_mel,
    score::{Card, Window},
};
use warmline_onnx::{Runtime, Scorer};

#[allow(clippy::expect_used, reason = "a bench that cannot run says why")]
fn score(criterion: &mut Criterion) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = env::var_os("ORT_DYLIB_PATH")
        .map_or_else(|| root.join(".warmline/lib/libonnxruntime.so"), Into::into);
    let runtime = Runtime::open(&[library]).expect("`make setup` fetches ONNX Runtime");
    for name in ["watch", "confirm"] {
        let json = fs::read_to_string(root.join(format!("models/{name}.json"))).expect("the card is there");
        let card = Arc::new(Card::parse(&json).expect("the card fits"));
        let onnx = fs::read(root.join(format!("models/{name}.onnx"))).expect("the model is there");
        let mut scorer = Scorer::load(runtime, Arc::clone(&card), &onnx).expect("the model loads");
        let window = Window {
            frames: vec![-5.0; card.window_frames * card.features.len()].into(),
            width: card.features.len(),
        };
        let batch = vec![&window; card.lanes];
        criterion.bench_function(&format!("score a batch of `lanes` windows, {name}"), |bencher| {
            bencher.iter(|| black_box(scorer.score(&batch)));
        });
    }
    let speech: Vec<u8> = (0..=u8::MAX).cycle().take(302 * 80).collect();
    criterion.bench_function("log-mel of three seconds of speech", |bencher| {
        bencher.iter(|| black_box(log_mel(&speech)));
    });
}

criterion_group!(benches, score);
criterion_main!(benches);
