//! The `warmline` program.

fn main() {}
