//! Any bytes as an AudioSocket connection.
#![no_main]

#[path = "../../tests/survives/story.rs"]
mod story;
#[path = "../../tests/survives/audiosocket.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(survives::audiosocket(bytes)));
