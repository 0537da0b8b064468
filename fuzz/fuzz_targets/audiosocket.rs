//! Any bytes as an AudioSocket connection.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/story.rs"]
mod story;
#[path = "../../crates/warmline-wire/tests/survives/audiosocket.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(survives::audiosocket(bytes)));
