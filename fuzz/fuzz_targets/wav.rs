//! Any bytes as a WAVE file.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/wav.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::wav(bytes));
