//! Any bytes as credentials.
#![no_main]

#[path = "../../crates/warmline-wire/tests/survives/credentials.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::credentials(bytes));
