//! Any bytes as the messages of `wire::asterisk`.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/story.rs"]
mod story;
#[path = "../../crates/warmline-wire/tests/survives/asterisk.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::asterisk(bytes));
