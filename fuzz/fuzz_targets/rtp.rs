//! Any bytes as datagrams of RTP.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/story.rs"]
mod story;
#[path = "../../crates/warmline-wire/tests/survives/rtp.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(survives::rtp(bytes)));
