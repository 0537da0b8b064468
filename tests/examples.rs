//! `examples/` as far as it can be tried here: every source has one, what each file says is read, and it gets in with the
//! configuration beside it. Secrets stand in the examples as the names of their environment variables.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics has failed"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use warmline::{
    config::{Config, Secret},
    media_in::{
        Gate,
        gate::{Head, SOURCES},
    },
};
use warmline_core::units::CallTime;
use warmline_wire::{Declared, Message, Session, sniff};

#[test]
fn every_source_has_an_example_that_the_index_names() {
    let index = read("README.md");
    for source in SOURCES.into_iter().chain(["audiohook", "audiosocket", "rtp"]) {
        assert!(
            config(source).media.contains_key(source),
            "examples/{source}/warmline.toml: no [media.{source}]"
        );
        assert!(index.contains(&format!("| `{source}/` |")), "examples/README.md does not name {source}/");
        assert!(files(source).len() > 1, "examples/{source}: what the other side needs is missing");
    }
}

#[test]
fn what_the_other_side_is_told_gets_in_with_the_configuration_beside_it() {
    let mut tried = 0;
    for source in SOURCES.into_iter().chain(["audiohook"]) {
        let gate = gate(source);
        for path in files(source) {
            let text = fs::read_to_string(&path).unwrap();
            for address in addresses(&text) {
                tried += 1;
                gets_in(source, &gate, &path, &address, &text);
            }
        }
    }
    assert!(tried >= 10, "only {tried} addresses are found");
}

fn gets_in(source: &str, gate: &Gate, path: &Path, address: &str, text: &str) {
    let place = path.display();
    let (authority, target) = address.split_once('/').unwrap();
    let target = format!("/{target}");
    if source == "audiohook" {
        assert_eq!(target, "/v1/audiohook", "{place}");
        return;
    }
    let (route, query) = target.split_once('?').unwrap_or((&target, ""));
    assert_eq!(route, format!("/v1/media/{source}"), "{place}");
    assert!(sniff::Protocol::of_path(source).is_some());
    Declared::parse(query).unwrap();
    let basic =
        |user: &str, password: &str| format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let url_user = authority.split_once('@').and_then(|(user, _)| user.split_once(':'));
    let authorization = match (source, url_user) {
        (_, Some((user, password))) => basic(user, password),
        ("signalwire", None) => format!("Bearer {}", between(text, "authBearerToken=\"", "\"")),
        ("jambonz", None) => {
            let verbs: Value = serde_json::from_str(text).unwrap();
            let auth = &verbs[0]["listen"]["wsAuth"];
            basic(auth["username"].as_str().unwrap(), auth["password"].as_str().unwrap())
        }
        ("freeswitch", None) if text.contains("MOD_AUDIO_BASIC_AUTH_USERNAME") => {
            let password = between(text, "MOD_AUDIO_BASIC_AUTH_PASSWORD=${", "}");
            basic(&between(text, "MOD_AUDIO_BASIC_AUTH_USERNAME=", "\""), &password)
        }
        ("freeswitch", None) => format!("Bearer {}", between(text, "Bearer ${", "}")),
        ("asterisk", None) => {
            let setting = |name: &str| between(text, &format!("{name} = "), "\n");
            basic(&setting("username"), &setting("password"))
        }
        _ => String::new(),
    };
    let signature = if source == "twilio" {
        let named = format!("wss://{address}");
        twilio_signature("TWILIO_AUTH_TOKEN", &named)
    } else {
        String::new()
    };
    let headers = [("authorization", authorization.as_str()), ("x-twilio-signature", signature.as_str())];
    let allowed = gate.media(Some(source), &Head { target: &target, headers: &headers, now: 0 });
    assert!(allowed.contains(source), "{place}: {target} with {headers:?} does not get in");
    let nobody = Head { target: route, headers: &[], now: 0 };
    assert!(gate.media(Some(source), &nobody).is_empty(), "{place}: anybody gets in");
}

#[test]
fn the_first_message_each_integrator_writes_is_read() {
    let fork = read("freeswitch/mod_audio_fork.xml");
    let stream = read("freeswitch/mod_audio_stream.xml");
    for text in [&fork, &stream] {
        let metadata = between(text, "stereo 8k ", "\"/>").replace("&quot;", "\"").replace("${uuid}", "u-1");
        assert_eq!(begins(&metadata), ("freeswitch".into(), "u-1".into(), true, "notice".into()));
    }
    let verbs: Value = serde_json::from_str(&read("jambonz/listen.json")).unwrap();
    let listen = &verbs[0]["listen"];
    let mut first = listen["metadata"].clone();
    first["callSid"] = "c-1".into();
    first["sampleRate"] = listen["sampleRate"].clone();
    first["mixType"] = listen["mixType"].clone();
    assert_eq!(begins(&first.to_string()), ("jambonz".into(), "c-1".into(), true, "notice".into()));
    let ncco: Value = serde_json::from_str(&read("vonage/ncco.json")).unwrap();
    let endpoint = &ncco[1]["endpoint"][0];
    let mut first = endpoint["headers"].clone();
    first["event"] = "websocket:connected".into();
    first["content-type"] = endpoint["content-type"].clone();
    assert_eq!(begins(&first.to_string()), ("vonage".into(), "CALL_UUID".into(), false, "notice".into()));
}

#[test]
fn parameters_are_ones_that_are_read() {
    for path in all().into_iter().filter(|path| path.extension().is_some_and(|e| e == "xml")) {
        let text = fs::read_to_string(&path).unwrap();
        let document =
            roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for parameter in document.descendants().filter(|node| node.has_tag_name("Parameter")) {
            let name = parameter.attribute("name").unwrap();
            assert!(["queue", "intent", "notice"].contains(&name), "{}: {name}", path.display());
        }
    }
}

#[test]
fn dialplans_and_scripts_are_well_formed() {
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        let place = path.display();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => {
                _ = serde_json::from_str::<Value>(&text).unwrap_or_else(|e| panic!("{place}: {e}"))
            }
            Some("conf") => assert_eq!(faults(&text), [""; 0], "{place}"),
            Some("sh") => match Command::new("sh").arg("-n").arg(&path).output() {
                Ok(read) => {
                    assert!(read.status.success(), "{place}: {}", String::from_utf8_lossy(&read.stderr))
                }
                Err(_) => eprintln!("skipped: there is no sh"),
            },
            _ => {}
        }
    }
    assert_eq!(
        faults("[a]\nexten => 1,1,Answer()\n same => n,Dial(x/y(z)\n"),
        ["line 3: parentheses do not match"]
    );
    assert_eq!(faults("exten => 1,1,Answer()\n"), ["line 1: stands in no context"]);
    assert_eq!(faults("[a]\n same => n,Answer()\n"), ["line 2: `same` follows no `exten`"]);
    assert_eq!(
        faults("[a]\nexten => 1,Answer()\n"),
        ["line 2: expected exten => NUMBER,PRIORITY,APPLICATION(…)"]
    );
}

/// What is wrong with an Asterisk configuration.
fn faults(text: &str) -> Vec<String> {
    let (mut found, mut section, mut exten) = (Vec::new(), false, false);
    for (n, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let mut fault = |words: &str| found.push(format!("line {n}: {words}"));
        if line.starts_with('[') && line.ends_with(']') {
            (section, exten) = (true, false);
            continue;
        }
        if !section {
            fault("stands in no context");
        } else if let Some(rest) = line.strip_prefix("exten => ") {
            exten = true;
            let mut parts = rest.splitn(3, ',');
            let (_, priority, application) = (parts.next(), parts.next(), parts.next());
            let is_priority = priority.is_some_and(|p| p == "n" || p.parse::<u32>().is_ok());
            if !is_priority || !application.is_some_and(|a| a.contains('(')) {
                fault("expected exten => NUMBER,PRIORITY,APPLICATION(…)");
            }
        } else if line.starts_with(" same => ") {
            if !exten {
                fault("`same` follows no `exten`");
            }
            if !line.starts_with(" same => n,") {
                fault("expected same => n,APPLICATION(…)");
            }
        } else if !line.contains(" = ") {
            fault("expected NAME = VALUE");
        }
        let count = |c| line.matches(c).count();
        if count('(') != count(')') || count('{') != count('}') {
            fault("parentheses do not match");
        }
    }
    found
}

/// What a stream's first message comes to: its source, its call, whether the agent comes too, and the notice.
fn begins(first: &str) -> (String, String, bool, String) {
    let mut stream = sniff::Stream::new(None, Declared::default());
    let mut began = None;
    let mut told = |message: Message<'_>| {
        if let Message::Started(start) = message {
            let notice = start.metadata.expose().get("notice").cloned().unwrap_or_default();
            began = Some((start.source.into(), start.call.clone().unwrap(), start.agent.is_some(), notice));
        }
    };
    stream.handle_text(CallTime::ZERO, first, &mut Vec::new(), &mut told).unwrap();
    began.unwrap_or_else(|| panic!("no call begins with {first}"))
}

/// `wss://` or `ws://` addresses, without their scheme.
fn addresses(text: &str) -> Vec<String> {
    let text = text.replace("&amp;", "&");
    let ends = |c: char| c.is_whitespace() || "\"<".contains(c);
    let found = text
        .match_indices("://")
        .filter(|(at, _)| text[..*at].ends_with("ws") || text[..*at].ends_with("wss"));
    found
        .map(|(at, _)| text[at + 3..].split(ends).next().unwrap().to_owned())
        .filter(|address| address.contains("/v1/"))
        .collect()
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}"));
    rest.split(after).next().unwrap().trim().to_owned()
}

fn twilio_signature(token: &str, url: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = <Hmac<sha1::Sha1> as KeyInit>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(url.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn config(folder: &str) -> Config {
    let path = format!("{folder}/warmline.toml");
    Config::parse(&read(&path)).unwrap_or_else(|error| panic!("examples/{path}: {error}"))
}

/// Who gets in where every secret is the name of its variable.
fn gate(folder: &str) -> Gate {
    let name = |secret: &Secret| match secret {
        Secret::Env(name) if folder == "audiohook" => Ok(STANDARD.encode(name)),
        Secret::Env(name) => Ok(name.clone()),
        Secret::File(path) => Err(path.display().to_string()),
    };
    config(folder).gate(&name).unwrap()
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|e| panic!("examples/{folder}: {e}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn all() -> Vec<PathBuf> {
    let folders =
        fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.flat_map(|path| files(path.file_name().unwrap().to_str().unwrap())).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("examples/{path}: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}
