//! Policy files that are no policies: the seeds of the fuzz target `policy`, each with what it is refused for.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, path::PathBuf};

use proptest::prelude::*;
use warmline_core::policy::Policy;

mod survives {
    pub(crate) mod policy;
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/policy");
    let mut seeds: Vec<_> = fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    seeds.sort();
    seeds
}

#[test]
fn the_seeds_are_read_or_refused_with_their_line() {
    let check = |name: &str, line: usize, reason: &str| {
        let (_, bytes) =
            seeds().into_iter().find(|(seed, _)| seed == name).unwrap_or_else(|| panic!("no {name}"));
        match Policy::parse(&String::from_utf8_lossy(&bytes)) {
            Ok(_) => assert_eq!(line, 0, "{name} was read"),
            Err(refused) => {
                assert_eq!(refused.line, line, "{name}: {refused}");
                assert!(refused.reason.contains(reason), "{name}: {refused}");
            }
        }
    };
    check("whole.toml", 0, "");
    check("least.toml", 0, "");
    check("empty.toml", 1, "`version` is missing");
    check("misspelt-key.toml", 3, "did you mean `enter`?");
    check("misspelt-table.toml", 2, "did you mean `frustration`?");
    check("crossed-crlf.toml", 3, "`exit` (0.6) is above `enter` (0.4)");
    check("not-finite.toml", 3, "expected a calibrated probability");
    check("keys.toml", 3, "expected one key");
    check("when-nobody.toml", 2, "neither `queue` nor `intent`");
    check("twice.toml", 2, "duplicate key");
    check("too-large.toml", 6, "");
    check("nested.toml", 2, "");
    check("cut.toml", 2, "");
    check("not-utf8.toml", 3, "is not a setting");
}

#[test]
fn the_corpus_is_survived() {
    assert!(seeds().len() >= 12);
    seeds().iter().for_each(|(_, bytes)| survives::policy::policy(bytes));
}

#[test]
fn a_file_with_any_one_byte_wrong_or_cut_anywhere_is_survived() {
    for (_, mut bytes) in seeds() {
        for at in 0..bytes.len() {
            survives::policy::policy(&bytes[..at]);
            let right = bytes[at];
            for wrong in [0xFF, right ^ 1, b'"', b'\n', b'['] {
                bytes[at] = wrong;
                survives::policy::policy(&bytes);
            }
            bytes[at] = right;
        }
    }
}

proptest! {
    #[test]
    fn settings_in_any_order_with_any_values_are_survived(
        lines in prop::collection::vec(
            r#"(\[\[?(when|frustration|instant|notice|capacity)\]?\]|(version|enter|exit|sustain_s|dtmf|phrases|require|queue|frustration\.exit|instant\.dtmf) ?= ?(-?[0-9]{1,3}(\.[0-9]{1,3})?|"[a-z0-9 ]{0,70}"|\["[0-9A-Z]?"\]|\{\}|nan))"#,
            0..12,
        ),
        named: bool,
    ) {
        let head = if named { "version = \"a\"\n" } else { "" };
        survives::policy::policy(format!("{head}{}", lines.join("\n")).as_bytes());
    }
}
