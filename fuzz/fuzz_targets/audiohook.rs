//! Any bytes as the messages of `wire::audiohook`.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/story.rs"]
mod story;
#[path = "../../crates/warmline-wire/tests/survives/audiohook.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::audiohook(bytes));
