//! Captures of every protocol, played: what is told of them is what stands beside them, and whatever else comes is survived.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use proptest::prelude::*;
use survives::story::Story;
use warmline_wire::{Declared, asterisk, audiohook, freeswitch, sniff, twilio, vonage};

mod survives {
    pub(crate) mod asterisk;
    pub(crate) mod audiohook;
    pub(crate) mod audiosocket;
    pub(crate) mod credentials;
    pub(crate) mod freeswitch;
    pub(crate) mod rtp;
    pub(crate) mod sniff;
    pub(crate) mod story;
    pub(crate) mod twilio;
    pub(crate) mod vonage;
}

/// `UPDATE_GOLDEN=1 cargo test --test wire` writes them anew.
#[test]
fn a_capture_tells_what_stands_beside_it() {
    let mut seen = 0;
    for path in captures() {
        let capture = fs::read(&path).unwrap();
        let told = told(&protocol(&path), &capture).join("\n") + "\n";
        let golden = path.with_extension("told");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        let kept =
            fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        assert_eq!(told, kept, "{}", path.display());
        assert!(!told.contains("555"), "{}: a number was told", path.display());
        seen += 1;
    }
    assert!(seen >= 12, "{seen} captures");
}

#[test]
fn the_first_message_tells_every_protocol_apart() {
    for path in captures() {
        let protocol = protocol(&path);
        if ["twilio", "vonage", "freeswitch"].contains(&protocol.as_str()) {
            let capture = fs::read(&path).unwrap();
            let known = told(&protocol, &capture);
            let sniffed = Story::of(&mut sniff::Stream::new(None, Declared::default()), &capture).lines;
            assert_eq!(known, sniffed, "{}", path.display());
        }
    }
}

/// `UPDATE_SEEDS=1 cargo test --test wire` writes them anew.
#[test]
fn the_seeds_of_the_fuzz_targets_are_the_captures() {
    for path in captures() {
        let capture = fs::read(&path).unwrap();
        let protocol = protocol(&path);
        let sniffed = ["twilio", "vonage", "freeswitch", "asterisk"].contains(&protocol.as_str());
        for target in [Some(protocol.as_str()), sniffed.then_some("sniff")].into_iter().flatten() {
            let name = if target == "sniff" {
                format!("{protocol}-{}", path.file_name().unwrap().display())
            } else {
                path.file_name().unwrap().display().to_string()
            };
            let seed = corpus(target).join(name);
            if env::var_os("UPDATE_SEEDS").is_some() {
                fs::create_dir_all(seed.parent().unwrap()).unwrap();
                fs::write(&seed, &capture).unwrap();
            }
            assert!(fs::read(&seed).is_ok_and(|kept| kept == capture), "{} differs", seed.display());
        }
    }
}

#[test]
fn the_corpus_is_survived() {
    for (target, survives) in TARGETS {
        for entry in fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("{target}: {error}")) {
            survives(&fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn captures_with_bytes_wrong_lines_missing_and_lines_twice_are_survived(
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        twice in any::<prop::sample::Index>(),
        missing in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        for path in captures() {
            let mut lines: Vec<Vec<u8>> =
                fs::read(&path).unwrap().split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            let again = twice.get(&lines).clone();
            lines.insert(cut.index(lines.len()), again);
            lines.remove(missing.index(lines.len()));
            let mut capture = lines.join(&b'\n');
            for (at, byte) in &wrong {
                let at = at.index(capture.len());
                capture[at] = *byte;
            }
            let protocol = protocol(&path);
            let (_, survives) = TARGETS.iter().find(|(target, _)| *target == protocol).unwrap();
            survives(&capture);
            survives::sniff::sniff(&capture);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for (_, survives) in TARGETS {
            survives(&bytes);
        }
    }
}

/// A protocol, and what must hold of any bytes it reads.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("asterisk", survives::asterisk::asterisk),
    ("audiohook", survives::audiohook::audiohook),
    ("audiosocket", |bytes| _ = survives::audiosocket::audiosocket(bytes)),
    ("credentials", survives::credentials::credentials),
    ("freeswitch", survives::freeswitch::freeswitch),
    ("rtp", |bytes| _ = survives::rtp::rtp(bytes)),
    ("sniff", survives::sniff::sniff),
    ("twilio", survives::twilio::twilio),
    ("vonage", survives::vonage::vonage),
];

fn told(protocol: &str, capture: &[u8]) -> Vec<String> {
    let declared = Declared::default();
    let of = |session: &mut dyn warmline_wire::Session| Story::of(session, capture).lines;
    match protocol {
        "asterisk" => of(&mut asterisk::Stream::new()),
        "audiohook" => of(&mut audiohook::Stream::new(true, None)),
        "audiosocket" => survives::audiosocket::audiosocket(capture),
        "freeswitch" => of(&mut freeswitch::Stream::new(declared)),
        "rtp" => survives::rtp::rtp(capture),
        "twilio" => of(&mut twilio::Stream::new(None, declared)),
        "vonage" => of(&mut vonage::Stream::new(declared)),
        other => panic!("{other}: say here how its captures are played"),
    }
}

/// The captures under `fixtures/wire`, in order.
fn captures() -> Vec<PathBuf> {
    let folders = fs::read_dir(root().join("fixtures/wire")).unwrap().map(|entry| entry.unwrap().path());
    let mut captures: Vec<PathBuf> = folders
        .filter(|path| path.is_dir())
        .flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "capture"))
        .collect();
    captures.sort();
    captures
}

fn protocol(capture: &Path) -> String {
    capture.parent().unwrap().file_name().unwrap().display().to_string()
}

fn corpus(target: &str) -> PathBuf {
    root().join("fuzz/corpus").join(target)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
