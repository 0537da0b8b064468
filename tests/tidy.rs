//! Keeps the house: what no compiler checks. Each failure names the file, the line and the mend.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    iter::Peekable,
    path::{Path, PathBuf},
    process::Command,
    str::CharIndices,
};

use warmline_core::score::Card;

/// The rooms in the order in which data flows through them: a room knows only the rooms above it.
const ROOMS: [&str; 17] = [
    "units",
    "wire",
    "media",
    "prosody",
    "score",
    "policy",
    "words",
    "packet",
    "transfer",
    "call",
    "switchboard",
    "ingest",
    "ledger",
    "handoff",
    "console",
    "quality",
    "config",
];

/// The first room that may touch the world; those before it have no files, no sockets and nothing async.
const EDGE: Place = Place::From("ingest");

/// The first room with threads and a clock; those before it are sans-IO.
const THREADS: Place = Place::From("switchboard");

/// What a file of `src` must not name, where it may all the same, and how to mend it.
const ABSENT: [(&str, Place, &str); 7] = [
    ("ort", Place::Room("score"), "only score/ knows ONNX Runtime: go through `Scorer`"),
    ("std::fs", EDGE, "read the file in ingest/ or cli/ and hand its bytes in"),
    ("std::net", EDGE, "packets come in as inputs: the socket belongs in ingest/"),
    ("tokio", EDGE, "the core is driven from outside: what is async belongs in ingest/"),
    ("std::thread", THREADS, "the core has no threads: whoever drives it may"),
    ("std::time::Instant", THREADS, "date decisions with MediaTime; arrival comes in as CallTime"),
    ("std::time::SystemTime", EDGE, "date decisions with MediaTime; arrival comes in as CallTime"),
];

/// Where something may be named.
#[derive(Clone, Copy)]
enum Place {
    /// In one room alone.
    Room(&'static str),
    /// From this room on, and in the program.
    From(&'static str),
}

#[test]
fn the_rooms_are_listed_in_their_order() {
    let text = read("src/lib.rs");
    let listed: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(listed, ROOMS, "src/lib.rs: list the rooms in the order of ROOMS in tests/tidy.rs");
    let parts = ["cli", "lib", "main"];
    none(names("src").iter().filter(|name| !ROOMS.iter().chain(&parts).any(|r| r == name)).map(|name| {
        format!(
            "src/{name}: is no room: move it into one, or add it to ROOMS in tests/tidy.rs and to src/lib.rs"
        )
    }));
}

#[test]
fn a_room_knows_only_the_rooms_above_it() {
    none(sources().iter().flat_map(|(path, text)| arrows_upwards(path, text)));
}

#[test]
fn the_core_has_no_sockets_clocks_threads_or_files() {
    none(sources().iter().flat_map(|(path, text)| out_of_place(path, text)));
}

#[test]
fn every_parser_has_a_fuzz_target_with_a_corpus_that_is_replayed() {
    let parsers = names("src/wire").into_iter().filter(|name| name != "mod");
    let targets: Vec<String> = parsers.chain(names("fuzz/fuzz_targets")).collect();
    let manifest = read("fuzz/Cargo.toml");
    let tests: String = files("tests").iter().filter(|f| f.ends_with(".rs")).map(|f| read(f)).collect();
    none(targets.iter().flat_map(|name| {
        let corpus = format!("fuzz/corpus/{name}");
        [
            (exists(&format!("fuzz/fuzz_targets/{name}.rs")), format!("write fuzz/fuzz_targets/{name}.rs")),
            (manifest.contains(&format!("name = \"{name}\"")), format!("name {name} in fuzz/Cargo.toml")),
            (exists(&corpus) && !files(&corpus).is_empty(), format!("put some small seeds into {corpus}")),
            (
                exists(&format!("tests/survives/{name}.rs")),
                format!("write what must hold into tests/survives/{name}.rs"),
            ),
            (
                tests.contains(&format!("survives::{name}::")),
                format!("replay {corpus} in tests/{name}.rs with survives::{name}"),
            ),
        ]
        .into_iter()
        .filter_map(move |(holds, mend)| {
            (!holds).then(|| format!("fuzz target {name} is not complete: {mend}"))
        })
    }));
}

#[test]
fn every_fixture_says_where_it_comes_from() {
    let origins = read("fixtures/README.md");
    none(files("fixtures/calls").iter().filter_map(|path| {
        let name = path.rsplit('/').next().unwrap();
        let said = origins.contains(&format!("`{name}`")) || origins.contains(&format!("/{name}`"));
        (!said).then(|| {
            format!("{path}: fixtures/README.md does not name it: say what it is and how it is made")
        })
    }));
}

#[test]
fn every_model_has_its_card() {
    let words = read("models/MODEL_CARD.md");
    none(files("models").iter().filter_map(|path| {
        let stem = path.strip_suffix(".onnx")?;
        let card = fs::read_to_string(root().join(format!("{stem}.json"))).map_err(|e| e.to_string());
        let checked = card.and_then(|json| Card::parse(&json).map_err(|e| e.to_string())).and_then(|card| {
            card.check_file(&fs::read(root().join(path)).unwrap()).map_err(|e| e.to_string())
        });
        let name = stem.strip_prefix("models/").unwrap();
        match checked {
            Err(error) => Some(format!("{path}: {stem}.json: {error}: export model and card together")),
            Ok(()) if !words.contains(name) => {
                Some(format!("{path}: models/MODEL_CARD.md does not mention {name}: say what it is good for"))
            }
            Ok(()) => None,
        }
    }));
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    none(tracked().iter().flat_map(|path| {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        machine_paths(path, &text)
    }));
}

#[test]
fn every_bench_is_named_in_the_manifest() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let benches = manifest["bench"].as_array().unwrap();
    none(names("benches").iter().filter_map(|name| {
        let named = benches.iter().any(|b| {
            b["name"].as_str() == Some(name) && b.get("harness").and_then(toml::Value::as_bool) == Some(false)
        });
        (!named).then(|| {
            format!("benches/{name}.rs: add [[bench]] name = \"{name}\", harness = false to Cargo.toml")
        })
    }));
}

#[test]
fn the_rules_find_what_they_forbid() {
    let check = |path: &str, text: &str, faults: &[&str]| {
        let found: Vec<String> = arrows_upwards(path, text)
            .into_iter()
            .chain(out_of_place(path, text))
            .chain(machine_paths(path, text))
            .collect();
        assert_eq!(found.len(), faults.len(), "{text}: {found:#?}");
        for (found, fault) in found.iter().zip(faults) {
            assert!(found.starts_with(&format!("{path}:{fault}")), "{text}: {found}");
        }
    };
    check("src/media/track.rs", "use crate::{units::MediaTime, wire::Encoding};", &[]);
    check("src/media/track.rs", "\nuse crate::{\n    units::A,\n    prosody::B,\n};", &["4: media"]);
    check("src/media/mod.rs", "fn f() -> warmline_core::call::Call { todo() }", &["1: media"]);
    check(
        "src/media/mod.rs",
        "/// Goes to [`warmline_core::call`].\npub(crate) fn f() {} // warmline_core::call",
        &[],
    );
    check("src/units.rs", "use std::{fmt, time::{Duration, Instant}};", &["1: names `std::time::Instant`"]);
    check("src/wire/rtp.rs", "use std::{\n  fmt,\n  net::IpAddr,\n};", &["3: names `std::net`"]);
    check("src/call/mod.rs", "fn f() {\n    std::thread::yield_now();\n}", &["2: names `std::thread`"]);
    check("src/policy/rules.rs", "let file = std :: fs::read(path);", &["1: names `std::fs`"]);
    check("src/policy/rules.rs", "use super::Instant; support::sort::by(std::fmt::x)", &[]);
    check("src/call/mod.rs", "use ort::session::Session;", &["1: names `ort`"]);
    check("src/switchboard/mod.rs", "use std::{net::UdpSocket, thread};", &["1: names `std::net`"]);
    check("src/score/onnx.rs", "use ort::session::Session;", &[]);
    check(
        "src/ingest/udp.rs",
        "use std::net::UdpSocket; use tokio::net; use warmline_core::call::Call;",
        &[],
    );
    check("src/cli/mod.rs", "use std::fs; use warmline_core::call::Call;", &[]);
    let home = ["", "home", "ada", "x"].join("/");
    check("Makefile", &format!("all:\n\tcp {home} ."), &["2: names a place"]);
    check("Makefile", &format!("all:\n\tcp fixtures{home} ~{home} ."), &[]);
}

/// Paths from a room to one below it.
fn arrows_upwards(path: &str, text: &str) -> Vec<String> {
    let Some(own) = room(path) else { return Vec::new() };
    let place = |name: &str| ROOMS.iter().position(|r| *r == name);
    names_in(text)
        .into_iter()
        .filter_map(|(line, name)| {
            let target = name.strip_prefix("crate::")?.split("::").next()?.to_owned();
            (place(&target) > place(own) || place(&target).is_none()).then(|| {
                format!(
                    "{path}:{line}: {own} names {target}, which is no room above it: hand the value in, or move what is shared up"
                )
            })
        })
        .collect()
}

/// What a file names although it is absent there.
fn out_of_place(path: &str, text: &str) -> Vec<String> {
    let own = room(path);
    let rank = |name: &str| ROOMS.iter().position(|r| *r == name);
    let faults = |(line, name): (usize, String)| {
        let named =
            |absent: &str| name.strip_prefix(absent).is_some_and(|r| r.is_empty() || r.starts_with("::"));
        ABSENT.iter().find_map(|(absent, place, mend)| {
            let allowed = match place {
                Place::Room(room) => own == Some(room),
                Place::From(room) => own.is_none_or(|own| rank(own) >= rank(room)),
            };
            (named(absent) && !allowed).then(|| format!("{path}:{line}: names `{absent}`: {mend}"))
        })
    };
    if path.starts_with("src/") {
        names_in(text).into_iter().filter_map(faults).collect()
    } else {
        Vec::new()
    }
}

/// Absolute paths into a user's or a machine's folders.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let folders = ["work", "root", "home", "tmp"].map(|folder| format!("/{folder}/"));
    let named = |line: &str| {
        folders.iter().any(|folder| {
            let before = |at| line[..at].chars().next_back();
            line.match_indices(folder.as_str())
                .any(|(at, _)| before(at).is_none_or(|c| !c.is_alphanumeric() && !"~._-})/".contains(c)))
        })
    };
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| named(line))
        .map(|(n, line)| {
            format!(
                "{path}:{n}: names a place on one machine: make it relative, or a tempfile: {}",
                line.trim()
            )
        })
        .collect()
}

/// Every path a Rust source names, with its line; the braces of a `use` are multiplied out.
fn names_in(text: &str) -> Vec<(usize, String)> {
    let code: String =
        text.lines().map(|l| l.split_once("//").map_or(l, |(code, _)| code)).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = code.char_indices().peekable();
    while let Some(&(_, c)) = rest.peek() {
        if is_name(c) {
            tree(&mut rest, "", &mut found);
        } else {
            rest.next();
        }
    }
    found.into_iter().map(|(at, name)| (1 + code[..at].matches('\n').count(), name)).collect()
}

/// One path and what it branches into: `a::b::{c, d::e}` gives `a::b::c` and `a::b::d::e`.
fn tree(rest: &mut Peekable<CharIndices<'_>>, above: &str, found: &mut Vec<(usize, String)>) {
    let at = rest.peek().map_or(0, |(at, _)| *at);
    let mut name = above.to_owned();
    while let Some((_, c)) = rest.next_if(|(_, c)| is_name(*c)) {
        name.push(c);
    }
    let spaces =
        |rest: &mut Peekable<CharIndices<'_>>| while rest.next_if(|(_, c)| c.is_whitespace()).is_some() {};
    spaces(rest);
    if rest.next_if(|(_, c)| *c == ':').is_none() || rest.next_if(|(_, c)| *c == ':').is_none() {
        found.push((at, name));
        return;
    }
    spaces(rest);
    match rest.peek() {
        Some((_, '{')) => loop {
            rest.next();
            spaces(rest);
            if rest.peek().is_some_and(|(_, c)| is_name(*c)) {
                tree(rest, &format!("{name}::"), found);
            }
            if rest.peek().is_none_or(|(_, c)| *c == '}') {
                rest.next();
                return;
            }
        },
        Some((_, c)) if is_name(*c) => tree(rest, &format!("{name}::"), found),
        _ => found.push((at, name)),
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The room a file of `src` belongs to; the program belongs to none.
fn room(path: &str) -> Option<&'static str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    ROOMS.into_iter().find(|room| first.strip_suffix(".rs").unwrap_or(first) == *room)
}

/// The sources, each with its text.
fn sources() -> Vec<(String, String)> {
    let sources = files("src").into_iter().filter(|path| path.ends_with(".rs"));
    sources.map(|path| (path.clone(), read(&path))).collect()
}

fn none(faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The files that are kept under version control; none where there is no git.
#[allow(clippy::print_stderr, reason = "says which test did nothing")]
fn tracked() -> Vec<String> {
    match Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output() {
        Ok(listed) if listed.status.success() => {
            let listed = String::from_utf8(listed.stdout).unwrap();
            listed.split_terminator('\0').map(str::to_owned).collect()
        }
        _ => {
            eprintln!("skipped: this is no checkout");
            Vec::new()
        }
    }
}

/// The files in a folder and its folders, in order, as they are called from the root.
fn files(folder: &str) -> Vec<String> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
        .iter()
        .flat_map(|path| {
            let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() { files(&name) } else { vec![name] }
        })
        .collect()
}

/// What the sources directly in a folder are called, without `.rs`; a folder of sources counts as one.
fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
