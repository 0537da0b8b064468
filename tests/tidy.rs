//! Keeps the house: what no compiler checks. Each failure names the file, the line and the mend.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    iter::Peekable,
    path::{Path, PathBuf},
    process::Command,
    str::CharIndices,
};

use warmline_core::score::Card;

/// A crate whose modules are listed in `lib.rs` in the order in which data flows through them: a module knows only those above it.
struct Layers {
    /// The folder of its sources.
    folder: &'static str,
    modules: &'static [&'static str],
    /// What the folder holds beside the modules.
    others: &'static [&'static str],
}

const CORE: Layers = Layers {
    folder: "crates/warmline-core/src",
    modules: &["units", "media", "prosody", "score", "policy", "words", "packet", "transfer", "call"],
    others: &["lib"],
};

const SERVER: Layers = Layers {
    folder: "src",
    modules: &["clock", "switchboard", "media_in", "ledger", "connectors", "outbox", "api", "config"],
    others: &["lib", "main", "cli"],
};

/// Where the world may not be touched: no files, no sockets, no threads, no clock, nothing async.
const SANS_IO: [&str; 2] = ["crates/warmline-core/src/", "crates/warmline-wire/src/"];

/// What a source must not name, where it must not, and how to mend it.
const ABSENT: [(&str, &[&str], &str); 8] = [
    (
        "ort",
        &["src/", "crates/warmline-core/", "crates/warmline-wire/", "crates/warmline-eval/"],
        "only warmline-onnx knows ONNX Runtime: go through `Scorer`",
    ),
    (
        "std::fs",
        &["crates/warmline-core/src/", "crates/warmline-wire/src/", "src/switchboard/"],
        "read the file in media_in/ or cli/ and hand its bytes in",
    ),
    (
        "std::net",
        &[
            "crates/warmline-core/src/",
            "crates/warmline-wire/src/",
            "crates/warmline-eval/src/",
            "src/switchboard/",
        ],
        "packets come in as inputs: the socket belongs in media_in/",
    ),
    (
        "tokio",
        &["crates/", "src/switchboard/"],
        "the core is driven from outside: what is async belongs in media_in/",
    ),
    ("std::thread", &SANS_IO, "the core has no threads: whoever drives it may"),
    ("std::time::Instant", &SANS_IO, "date decisions with MediaTime; arrival comes in as CallTime"),
    (
        "std::time::SystemTime",
        &["crates/", "src/switchboard/"],
        "date decisions with MediaTime; arrival comes in as CallTime",
    ),
    (
        "rusqlite",
        &["crates/", "src/switchboard/", "src/media_in/", "src/connectors/", "src/outbox/"],
        "only ledger/ knows SQLite",
    ),
];

/// Crates that the sans-IO core must not depend on, however far down.
const NOT_IN_THE_CORE: [&str; 12] = [
    "tokio",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "hyper",
    "reqwest",
    "ort",
    "ort-sys",
    "time",
    "chrono",
    "rusqlite",
];

#[test]
fn modules_are_listed_in_their_order() {
    for layers in [&CORE, &SERVER] {
        let lib = format!("{}/lib.rs", layers.folder);
        let text = read(&lib);
        let listed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ").or(line.strip_prefix("mod "))?.strip_suffix(';'))
            .collect();
        assert_eq!(listed, layers.modules, "{lib}: list the modules in the order of tests/tidy.rs");
        none(
            names(layers.folder)
                .iter()
                .filter(|name| !layers.modules.iter().chain(layers.others).any(|module| module == name))
                .map(|name| {
                    format!(
                        "{}/{name}: is no module of tests/tidy.rs: add it there and to lib.rs",
                        layers.folder
                    )
                }),
        );
    }
}

#[test]
fn a_module_knows_only_the_modules_above_it() {
    none(sources().iter().flat_map(|(path, text)| arrows_upwards(path, text)));
}

#[test]
fn no_files_know_each_other_in_a_circle() {
    let sources = sources();
    none(circles(&sources).into_iter().map(|circle| {
        format!(
            "{} know each other in a circle: move what they share into a file above them",
            circle.join(", ")
        )
    }));
}

#[test]
fn the_core_has_no_sockets_clocks_threads_or_files() {
    none(sources().iter().flat_map(|(path, text)| out_of_place(path, text)));
}

#[test]
fn the_core_depends_on_no_runtime_socket_clock_or_model_crate() {
    for package in ["warmline-core", "warmline-wire"] {
        let listed = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--edges",
                "normal",
                "--prefix",
                "none",
                "--format",
                "{p}",
                "--package",
                package,
            ])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.lines().any(|line| line.starts_with("serde ")), "{package}: cargo tree lists nothing");
        none(listed.lines().filter_map(|line| {
            let name = line.split(' ').next()?;
            NOT_IN_THE_CORE.contains(&name).then(|| format!("{package} depends on {line}: keep it sans-IO"))
        }));
    }
}

/// Sources of `warmline-wire` that parse nothing from a peer.
const NO_PARSER: [&str; 1] = ["lib"];

#[test]
fn every_parser_has_a_fuzz_target_with_a_corpus_that_is_replayed() {
    let parsers =
        names("crates/warmline-wire/src").into_iter().filter(|name| !NO_PARSER.contains(&name.as_str()));
    let targets: Vec<String> = parsers.chain(names("fuzz/fuzz_targets")).collect();
    let manifest = read("fuzz/Cargo.toml");
    let tests: String = ["crates/warmline-core/tests", "crates/warmline-wire/tests"]
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|f| f.ends_with(".rs"))
        .map(|f| read(&f))
        .collect();
    none(targets.iter().flat_map(|name| {
        let corpus = format!("fuzz/corpus/{name}");
        [
            (exists(&format!("fuzz/fuzz_targets/{name}.rs")), format!("write fuzz/fuzz_targets/{name}.rs")),
            (manifest.contains(&format!("name = \"{name}\"")), format!("name {name} in fuzz/Cargo.toml")),
            (exists(&corpus) && !files(&corpus).is_empty(), format!("put some small seeds into {corpus}")),
            (
                ["core", "wire"]
                    .iter()
                    .any(|c| exists(&format!("crates/warmline-{c}/tests/survives/{name}.rs"))),
                format!("write what must hold into tests/survives/{name}.rs of its crate"),
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
fn every_bench_is_named_in_its_manifest() {
    let packages = ["crates/warmline-core/", "crates/warmline-wire/", ""];
    none(packages.iter().flat_map(|package| {
        let manifest: toml::Table = read(&format!("{package}Cargo.toml")).parse().unwrap();
        let benches = manifest["bench"].as_array().unwrap().clone();
        names(&format!("{package}benches")).into_iter().filter_map(move |name| {
            let named = benches.iter().any(|b| {
                b["name"].as_str() == Some(&name) && b.get("harness").and_then(toml::Value::as_bool) == Some(false)
            });
            (!named).then(|| {
                format!(
                    "{package}benches/{name}.rs: add [[bench]] name = \"{name}\", harness = false to {package}Cargo.toml"
                )
            })
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
    let core = "crates/warmline-core/src";
    check(&format!("{core}/prosody/a.rs"), "use crate::{units::MediaTime, media::Encoding};", &[]);
    check(&format!("{core}/media/a.rs"), "\nuse crate::{\n    units::A,\n    prosody::B,\n};", &["4: media"]);
    check(&format!("{core}/media/mod.rs"), "fn f() -> crate::call::Call { todo() }", &["1: media"]);
    check(&format!("{core}/media/mod.rs"), "/// Goes to [`crate::call`].\npub fn f() {} // crate::call", &[]);
    check(
        &format!("{core}/units.rs"),
        "use std::{fmt, time::{Duration, Instant}};",
        &["1: names `std::time::Instant`"],
    );
    check(
        "crates/warmline-wire/src/rtp/packet.rs",
        "use std::{\n  fmt,\n  net::IpAddr,\n};",
        &["3: names `std::net`"],
    );
    check(
        &format!("{core}/call/mod.rs"),
        "fn f() {\n    std::thread::yield_now();\n}",
        &["2: names `std::thread`"],
    );
    check(&format!("{core}/policy/rules.rs"), "let file = std :: fs::read(path);", &["1: names `std::fs`"]);
    check(&format!("{core}/policy/rules.rs"), "use super::Instant; support::sort::by(std::fmt::x)", &[]);
    check(&format!("{core}/call/mod.rs"), "use ort::session::Session;", &["1: names `ort`"]);
    check("src/switchboard/mod.rs", "use std::{net::UdpSocket, thread};", &["1: names `std::net`"]);
    check("src/media_in/rtp.rs", "use crate::outbox::Outbox;", &["1: media_in"]);
    check("crates/warmline-onnx/src/lib.rs", "use ort::session::Session;", &[]);
    check(
        "src/media_in/udp.rs",
        "use std::net::UdpSocket; use tokio::net; use warmline_core::call::Call;",
        &[],
    );
    check("src/cli/mod.rs", "use std::fs; use warmline::switchboard::Line;", &[]);
    let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let a = source("src/x/a.rs", "use super::b::B;");
    let b = source("src/x/b.rs", "use crate::x::c::C;");
    let c = source("src/x/c.rs", "fn f() { super::a::f() }");
    assert_eq!(circles(&[a.clone(), b.clone(), c]), [["src/x/a.rs", "src/x/b.rs", "src/x/c.rs"]]);
    assert!(circles(&[a, b, source("src/x/c.rs", "use crate::y::a::f;")]).is_empty());
    let home = ["", "home", "ada", "x"].join("/");
    check("Makefile", &format!("all:\n\tcp {home} ."), &["2: names a place"]);
    check("Makefile", &format!("all:\n\tcp fixtures{home} ~{home} ."), &[]);
}

/// Paths from a module to one below it.
fn arrows_upwards(path: &str, text: &str) -> Vec<String> {
    let Some((layers, own)) = module(path) else { return Vec::new() };
    let place = |name: &str| layers.modules.iter().position(|module| *module == name);
    names_in(text)
        .into_iter()
        .filter_map(|(line, name)| {
            let target = name.strip_prefix("crate::")?.split("::").next()?.to_owned();
            (place(&target) > place(own) || place(&target).is_none() && target.starts_with(char::is_lowercase)).then(
                || {
                    format!(
                        "{path}:{line}: {own} names {target}, which is no module above it: hand the value in, or move what is shared up"
                    )
                },
            )
        })
        .collect()
}

/// Groups of files that reach each other by the paths they name.
///
/// A folder's `mod.rs` and a crate's `lib.rs` stand for what is below them and are no files of a circle.
fn circles(sources: &[(String, String)]) -> Vec<Vec<String>> {
    let modules: BTreeMap<String, usize> =
        (0..).zip(sources).filter_map(|(n, (path, _))| Some((module_path(path)?, n))).collect();
    let arrows: Vec<BTreeSet<usize>> = sources
        .iter()
        .map(|(path, text)| {
            let Some(own) = module_path(path) else { return BTreeSet::new() };
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            names_in(text)
                .into_iter()
                .filter_map(|(_, name)| target(&own, &name, &modules))
                .filter(|to| modules.get(&own) != Some(to))
                .collect()
        })
        .collect();
    let reached: Vec<BTreeSet<usize>> = (0..sources.len())
        .map(|from| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
            while let Some(at) = next.pop() {
                next.extend(arrows[at].iter().filter(|to| seen.insert(**to)));
            }
            seen
        })
        .collect();
    let groups: BTreeSet<Vec<usize>> = (0..sources.len())
        .filter(|n| reached[*n].contains(n))
        .map(|n| reached[n].iter().copied().filter(|m| reached[*m].contains(&n)).collect())
        .collect();
    groups.into_iter().map(|group| group.into_iter().map(|n| sources[n].0.clone()).collect()).collect()
}

/// `crates/warmline-core/src/media/track.rs` as `crates/warmline-core/src::media::track`; none of a `mod.rs` or `lib.rs`.
fn module_path(path: &str) -> Option<String> {
    let (krate, inside) = path.split_once("src/")?;
    let inside = inside.strip_suffix(".rs")?;
    let is_folder = inside.ends_with("/mod") || ["lib", "main", "mod"].contains(&inside);
    (!is_folder).then(|| format!("{krate}src::{}", inside.replace('/', "::")))
}

/// The file that a path named in the module `own` leads to.
fn target(own: &str, name: &str, modules: &BTreeMap<String, usize>) -> Option<usize> {
    let (krate, _) = own.split_once("::")?;
    let mut absolute: Vec<&str> = match name.split("::").next()? {
        "crate" => vec![krate],
        "super" | "self" => own.split("::").collect(),
        _ => return None,
    };
    for part in name.split("::") {
        match part {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            part => absolute.push(part),
        }
    }
    (2..=absolute.len()).rev().find_map(|len| modules.get(&absolute[..len].join("::"))).copied()
}

/// What a file names although it is absent there.
fn out_of_place(path: &str, text: &str) -> Vec<String> {
    let fault = |(line, name): (usize, String)| {
        let named =
            |absent: &str| name.strip_prefix(absent).is_some_and(|r| r.is_empty() || r.starts_with("::"));
        ABSENT.iter().find_map(|(absent, folders, mend)| {
            let forbidden = folders.iter().any(|folder| path.starts_with(folder)) && path.contains("src/");
            (named(absent) && forbidden).then(|| format!("{path}:{line}: names `{absent}`: {mend}"))
        })
    };
    names_in(text).into_iter().filter_map(fault).collect()
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

/// The module a source belongs to, and the layers it is one of; the program belongs to none.
fn module(path: &str) -> Option<(&'static Layers, &'static str)> {
    [&CORE, &SERVER].into_iter().find_map(|layers| {
        let first = path.strip_prefix(layers.folder)?.strip_prefix('/')?.split('/').next()?;
        let stem = first.strip_suffix(".rs").unwrap_or(first);
        Some((layers, layers.modules.iter().copied().find(|module| *module == stem)?))
    })
}

/// The sources of the program and of every crate, each with its text.
fn sources() -> Vec<(String, String)> {
    let crates = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| format!("crates/{}/src", entry.unwrap().file_name().to_str().unwrap()));
    let sources = crates.chain(["src".to_owned()]).flat_map(|folder| files(&folder));
    sources.filter(|path| path.ends_with(".rs")).map(|path| (path.clone(), read(&path))).collect()
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
