//! Any bytes as a policy file.
#![no_main]

#[path = "../../crates/warmline-core/tests/survives/policy.rs"]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::policy(bytes));
