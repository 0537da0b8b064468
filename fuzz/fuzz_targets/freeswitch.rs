//! Any bytes as the messages of `wire::freeswitch`.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/story.rs"]
mod story;
#[path = "../../crates/warmline-wire/tests/survives/freeswitch.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::freeswitch(bytes));
