//! What the words of one turn cost: reading, phrases of every language, redaction; and the built-in phrases themselves, once.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use warmline_core::{
    policy::Redact,
    words::{Content, Kind, Lexicon, TEXT_MAX, problem, redacted, words},
};

const TURN: &str = "It says that I owe four hundred dollars for a blood test, but my insurance already paid for that in August.";

fn bench(c: &mut Criterion) {
    let lexicon = Lexicon::built_in();
    let spoken = words(TURN);
    c.bench_function("words of a turn", |b| b.iter(|| words(black_box(TURN))));
    c.bench_function("phrases in a turn", |b| b.iter(|| lexicon.find(black_box(&spoken))));
    c.bench_function("redaction of a turn", |b| b.iter(|| redacted(black_box(TURN), Redact::ALL)));
    c.bench_function("stems of a turn", |b| b.iter(|| Content::of(black_box(&spoken))));
    let longest = "i want to talk to a person ".repeat(TEXT_MAX / 27);
    c.bench_function("the longest utterance", |b| b.iter(|| lexicon.find(&words(black_box(&longest)))));
    let call = vec![TURN; 32];
    c.bench_function("summary of 64 utterances", |b| {
        b.iter(|| problem(call.iter().copied(), call.iter().copied()).map(str::len))
    });
    let own: Vec<String> = (0..500).map(|n| format!("phrase number {n} of my own")).collect();
    c.bench_function("500 phrases of a policy, made ready", |b| {
        b.iter(|| Lexicon::of_phrases(own.iter().map(|phrase| (Kind::Request, phrase.as_str()))))
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
