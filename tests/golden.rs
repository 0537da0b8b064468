//! What others read: events, context packets and model cards, held to their golden files and to `schemas/`.
//!
//! `UPDATE_GOLDEN=1 cargo test --test golden` writes the golden files anew; the difference belongs into the change that
//! made it, with a line in `CHANGELOG.md`.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test that panics has failed")]

mod common;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use common::{fixture, line, scripted_trace};
use jsonschema::{Registry, Validator};
use serde_json::{Value, json};
use warmline_core::{
    call::{self, Action, Call, CallConfig, CallStart, Input, Output, Transcript},
    media::Speaker,
    packet::{ContextPacket, Named},
    policy::{Notice, Outcome, PauseOwner, Policy, Suspension},
    score::{Model, ScoreError, Scores, Stages},
    units::{CallTime, MediaSpan, MediaTime, Pii},
};
use warmline_eval::{
    evaluation::{Costs, Evaluation, Question},
    figures::Bootstrap,
    recording::Recording,
    script::{self, Told},
    suite::Suite,
    trace::Trace,
};

const PACKET: &str = "context-packet-1.schema.json";
const EVENT: &str = "event-1.schema.json";
const CARD: &str = "model-card-1.schema.json";
const EVALUATION: &str = "evaluation-1.schema.json";

/// Samples of a packet: 20 ms at 8 kHz.
const PACKET_LEN: u64 = 160;

const POLICY: &str = r#"version = "story.1"

[frustration]
enter = 0.70
exit = 0.50
sustain_s = 2.0
warm_up_s = 4.0

[instant]
dtmf = ["0"]

[notice]
require = "notice"
"#;

/// What is told during the call, by the second at which it is told.
fn script() -> Vec<(f64, Input<'static>)> {
    vec![
        (3.0, Input::Command(call::Command::Notice(Notice::Notice))),
        (12.0, Input::Command(call::Command::Dtmf('2'))),
        (18.0, Input::Command(call::Command::Suspend(Suspension::Pause(PauseOwner::Integrator)))),
        (20.0, Input::Command(call::Command::Lift(Suspension::Pause(PauseOwner::Integrator)))),
        (23.0, Input::Media { track: Speaker::Agent, position: 184_000, payload: &[0xFF; 3] }),
        (52.0, Input::Command(call::Command::Dtmf('0'))),
        (56.0, Input::Command(call::Command::Outcome(Outcome::Connected))),
    ]
}

/// The same with what was said, and a number that must not be kept.
fn script_with_words() -> Vec<(f64, Input<'static>)> {
    let said = |speaker, text: &str, at: f64| {
        let at = Some(MediaTime::ZERO + MediaSpan::from_seconds(at));
        Input::Command(call::Command::Transcript(Transcript {
            speaker,
            text: Pii::new(text.into()),
            is_final: true,
            at,
        }))
    };
    let source = fs::read_to_string(fixture("escalating.transcript.ndjson")).unwrap();
    let lines = script::parse(&source).unwrap().into_iter().map(|line| {
        let input = match line.told {
            Told::Said(speaker, text) => Input::Command(call::Command::Transcript(Transcript {
                speaker,
                text,
                is_final: true,
                at: Some(line.at),
            })),
            Told::Bot(event) => Input::Command(call::Command::Bot(event, Some(line.at))),
        };
        (line.at.seconds(), input)
    });
    let asked = [
        (15.6, said(Speaker::Agent, "Please tell me your account number.", 15.6)),
        (22.5, said(Speaker::Caller, "It is 555 0100, and I paid with 4111 1111 1111 1111.", 22.5)),
    ];
    let mut all: Vec<(f64, Input<'static>)> = script().into_iter().chain(lines).chain(asked).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all
}

/// The seconds whose packets never come.
const LOST: std::ops::Range<f64> = 27.0..27.4;

/// The scores of the story, by the second at which a window ends.
fn score(at: MediaTime) -> Result<Scores, ScoreError> {
    let logit = |frustration| Ok(Scores { frustration, speech: Some(3.0) });
    match at.seconds() {
        8.0..8.4 => Err(ScoreError::Late),
        ..37.0 => logit(-2.0),
        37.0..40.0 => logit(0.5),
        _ => logit(2.5),
    }
}

/// A call of which every kind of event is told: real audio, and scores that no model made.
fn story(script: Vec<(f64, Input<'static>)>) -> (Vec<String>, Vec<ContextPacket>) {
    let mut recording = Recording::open(&fixture("escalating_mulaw.wav")).unwrap();
    let (caller, agent, channel) = recording.tracks(None).unwrap();
    let id = recording.call_id(channel).unwrap();
    let start = CallStart {
        source: "wav".into(),
        file: Some("escalating_mulaw.wav".into()),
        caller_channel: channel.name().into(),
        caller,
        agent,
        queue: Some("billing".into()),
        intent: Some("disputed_medical_bill".into()),
        notice: Notice::None,
        metadata: [("account_tier".into(), "gold".into())].into(),
    };
    let model = Model {
        name: "scripted 1".into(),
        sha256: "5c".repeat(32),
        ..Model::of_features(&["level_dbfs", "mel_20_db"])
    };
    let config = CallConfig { policy: Policy::parse(POLICY).unwrap(), stages: Some(Stages::one(model)) };
    let mut call = Call::new(id, start, Arc::new(config)).unwrap();

    let (mut lines, mut packets) = (Vec::new(), Vec::new());
    let mut tell = |call: &mut Call, input: Input<'_>| {
        call.handle_input(CallTime::ZERO, input);
        while let Some(output) = call.poll_output() {
            match output {
                Output::Score(request) => {
                    call.handle_input(
                        CallTime::ZERO,
                        Input::Scored(request.stage, request.at, score(request.at)),
                    );
                }
                Output::Act(Action::Transfer { packet, .. }) => packets.push(*packet),
                Output::Tell(event) => lines.push(line(&event)),
            }
        }
    };
    let mut script = script.into_iter().peekable();
    let mut payload = Vec::new();
    for position in (0..).step_by(usize::try_from(PACKET_LEN).unwrap()) {
        recording.packet(PACKET_LEN, &mut payload).unwrap();
        if payload.is_empty() {
            break;
        }
        let second = MediaTime(position).seconds();
        while let Some((_, input)) = script.next_if(|(at, _)| *at <= second) {
            tell(&mut call, input);
        }
        if !LOST.contains(&second) {
            for track in [Speaker::Caller, Speaker::Agent] {
                tell(&mut call, Input::Media { track, position, payload: &payload });
            }
        }
    }
    tell(&mut call, Input::Ended("hangup"));
    (lines, packets)
}

#[test]
fn the_story_is_told_as_its_golden_lines_tell_it() {
    let (lines, _) = story(script());
    check("call.ndjson", &(lines.join("\n") + "\n"));
    let (lines, _) = story(script_with_words());
    check("call-with-words.ndjson", &(lines.join("\n") + "\n"));
}

#[test]
fn the_storys_packet_is_its_golden_packet() {
    for (script, golden) in
        [(script(), "context-packet.json"), (script_with_words(), "context-packet-with-words.json")]
    {
        let (_, packets) = story(script);
        assert_eq!(packets.len(), 1, "a story of one transfer");
        let json = serde_json::to_string_pretty(&packets[0]).unwrap() + "\n";
        assert!(!json.contains("1111"), "a card number is in the packet");
        check(golden, &json);
    }
}

#[test]
fn the_golden_lines_and_packet_are_what_the_schemas_describe() {
    let lines = golden("call.ndjson") + &golden("call-with-words.ndjson");
    valid_lines(&lines);
    let told: BTreeSet<String> = lines.lines().map(|l| kind(&parse(l))).collect();
    let mut described: BTreeSet<String> = schema(EVENT)["$defs"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(|def| Some(def["properties"]["type"]["const"].as_str()?.to_owned()))
        .collect();
    for (kind, who) in
        [("error", "the program"), ("transfer_claimed", "the outbox"), ("transfer_verdict", "the outbox")]
    {
        assert!(described.remove(kind), "{who} tells of {kind}, no call does");
    }
    assert_eq!(told, described, "the story must tell every kind of event");
    valid(&validator(PACKET), &parse(&golden("context-packet.json")));
    valid(&validator(PACKET), &parse(&golden("context-packet-with-words.json")));
}

#[test]
fn what_the_program_prints_is_what_the_schema_describes() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.toml");
    // Any voice is transferred: what the lines look like must not rest on the model.
    fs::write(&policy, "version = \"any\"\n[frustration]\nenter = 0.0\nexit = 0.0\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_warmline"))
        .args(["replay", "--json", "escalating.wav", "mixed_mono.wav", "--policy"])
        .arg(&policy)
        .current_dir(root().join("fixtures/calls"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    let lines = String::from_utf8(output.stdout).unwrap();
    let kinds: BTreeSet<String> = lines.lines().map(|l| kind(&parse(l))).collect();
    for wanted in ["call_started", "score", "turn", "state", "cue", "transfer", "call_ended", "error"] {
        assert!(kinds.contains(wanted), "no {wanted} among {kinds:?}\n{words}");
    }
    valid_lines(&lines);
}

#[test]
fn the_cards_of_models_are_what_the_schema_describes() {
    let validator = validator(CARD);
    for entry in fs::read_dir(root().join("models")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "json") {
            valid(&validator, &parse(&fs::read_to_string(path).unwrap()));
        }
    }
}

#[test]
fn a_packet_that_lacks_a_field_or_has_one_too_many_is_refused() {
    let packet = parse(&golden("context-packet.json"));
    refused(PACKET, &packet, "/full/consent", "given", None);
    refused(PACKET, &packet, "/ref", "uui", None);
    refused(PACKET, &packet, "", "caller_name", Some(json!("Ada")));
    refused(PACKET, &packet, "/full/trigger", "emotion", Some(json!("anger")));
    refused(PACKET, &packet, "/full/trigger", "cue", Some(json!("shouting")));
    refused(PACKET, &packet, "/full/trigger", "probability", Some(json!(1.2)));
    refused(PACKET, &packet, "/full/provenance/model", "sha256", Some(json!("5c")));
    refused(PACKET, &packet, "/brief", "queue", Some(json!("bill\r\nX-Evil: 1")));
    refused(PACKET, &packet, "/full/conversation/turns/0", "speaker", Some(json!("bot")));
    let packet = parse(&golden("context-packet-with-words.json"));
    refused(PACKET, &packet, "/full/advice", "opening", None);
    refused(PACKET, &packet, "/full/cues/0", "cue", Some(json!("shouting")));
    refused(PACKET, &packet, "/full/conversation/summary", "mood", Some(json!("bad")));
    refused(PACKET, &packet, "", "schema", Some(json!("warmline.context-packet/2")));
}

#[test]
fn an_event_or_a_card_that_is_not_described_is_refused() {
    let lines = golden("call.ndjson");
    let event = |wanted: &str| lines.lines().map(parse).find(|e| kind(e) == wanted).unwrap();
    refused(EVENT, &event("score"), "", "raw", None);
    refused(EVENT, &event("score"), "", "state", Some(json!("angry")));
    refused(EVENT, &event("score"), "", "words", Some(json!("spoken")));
    refused(EVENT, &event("state"), "", "type", Some(json!("states")));
    refused(EVENT, &event("transfer"), "/packet/full", "evidence", None);
    refused(EVENT, &event("call_ended"), "/seconds_in", "angry", Some(json!(1.0)));
    refused(EVENT, &event("gap"), "", "track", Some(json!("bot")));
    let card = parse(&fs::read_to_string(root().join("models/watch.json")).unwrap());
    refused(CARD, &card, "", "sha256", None);
    refused(CARD, &card, "", "heads", Some(json!(["speech"])));
    refused(CARD, &card, "/calibration", "slope", Some(json!(0)));
    refused(CARD, &card, "", "author", Some(json!("")));
}

/// The bundled suite under scores that no model made: 0.8 from each call's second half on in some, 0.2 elsewhere.
fn evaluation() -> Value {
    let suite = Suite::read(&fixture("suite.csv")).unwrap();
    let model =
        Model { name: "scripted 1".into(), sha256: "5c".repeat(32), ..Model::of_features(&["level_dbfs"]) };
    let named = Named { name: model.name.clone(), sha256: model.sha256.clone() };
    let stages = Stages::one(model);
    let policy = Policy::parse(POLICY).unwrap();
    let traces: Vec<Trace> = suite
        .rows
        .iter()
        .map(|row| {
            let rises = row.file.contains("escalating") || row.file.contains("happy");
            scripted_trace(row, &policy, &stages, |_, at| if rises && at > 30.0 { 1.4 } else { -1.4 })
        })
        .collect();
    let question = Question {
        within: MediaSpan::from_seconds(10.0),
        bootstrap: Bootstrap { resamples: 40, seed: 1 },
        costs: Costs { false_alarm: 1.0, missed: 5.0 },
    };
    let mut evaluation = Evaluation::new(&suite, &traces, &policy, vec![named], &question);
    let other = Policy::parse("version = \"other\"\n[frustration]\nsustain_s = 4.0\n").unwrap();
    evaluation.set_against(&other, &traces, &policy, &traces, &suite, &question);
    serde_json::to_value(&evaluation).unwrap()
}

#[test]
fn the_evaluation_of_the_bundled_suite_is_its_golden_evaluation() {
    let evaluation = evaluation();
    // A line for each property.
    let lines = evaluation.as_object().unwrap().iter().map(|(name, value)| format!("\"{name}\": {value}"));
    check("evaluation.json", &format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n")));
    valid(&validator(EVALUATION), &evaluation);
    valid(&validator(EVALUATION), &parse(&golden("evaluation.json")));
}

#[test]
fn what_evaluate_prints_is_what_the_schema_describes() {
    let output = Command::new(env!("CARGO_BIN_EXE_warmline"))
        .args(["evaluate", "suite.csv", "--json", "--bootstrap", "20"])
        .current_dir(root().join("fixtures/calls"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let evaluation = parse(&String::from_utf8(output.stdout).unwrap());
    refused(EVALUATION, &evaluation, "", "detection_rate", None);
    refused(EVALUATION, &evaluation, "/detection_rate", "low", Some(json!("none")));
    refused(EVALUATION, &evaluation, "/outcomes/0", "outcome", Some(json!("angry")));
    refused(EVALUATION, &evaluation, "/slices", "mood", Some(json!({})));
    refused(EVALUATION, &evaluation, "", "calls", Some(json!(0)));
}

#[test]
fn every_property_is_described_and_every_object_of_ours_is_closed() {
    for name in [PACKET, EVENT, CARD, EVALUATION] {
        let schema = schema(name);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        let objects = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for object in objects.filter(|o| o["properties"].is_object()) {
            let properties = object["properties"].as_object().unwrap();
            assert_eq!(object["additionalProperties"], false, "{name}: {properties:?}");
            for (property, what) in properties {
                let words = what["description"].as_str().unwrap_or_default();
                assert!(words.ends_with('.'), "{name}: `{property}` is not described in a sentence");
                let timed = property.ends_with("_s") || property == "t";
                assert!(!timed || words.contains("seconds"), "{name}: `{property}` has no unit: {words}");
            }
        }
    }
}

#[test]
fn one_unit_in_the_last_place_is_alike_and_nothing_else_is() {
    let golden = r#"{"t":3.05,"transfers":1,"heard":"pitch +5.3 st"}"#;
    for (other, alike) in [
        (r#"{"t":3.05,"transfers":1,"heard":"pitch +5.3 st"}"#, true),
        (r#"{"t":3.06,"transfers":1,"heard":"pitch +5.2 st"}"#, true),
        (r#"{"t":3.0,"transfers":1,"heard":"pitch +5.3 st"}"#, false),
        (r#"{"t":3.05,"transfers":2,"heard":"pitch +5.3 st"}"#, false),
        (r#"{"t":3.05,"transfers":1,"heard":"pitch -5.3 st"}"#, false),
        (r#"{"t":3.05,"transfers":1,"heard":"pitch +5.3 dB"}"#, false),
        (r#"{"t":3.05,"transfers":1}"#, false),
    ] {
        assert_eq!(is_alike(golden, other), alike, "{other}");
    }
}

/// Compares with a golden file, or writes it.
fn check(name: &str, found: &str) {
    let path = root().join("tests/golden").join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let golden = golden(name);
    for (n, (golden, found)) in golden.lines().zip(found.lines()).enumerate() {
        assert!(
            is_alike(golden, found),
            "tests/golden/{name}:{}\n golden: {golden}\n  found: {found}\nIf that is meant: UPDATE_GOLDEN=1",
            n + 1
        );
    }
    assert_eq!(golden.lines().count(), found.lines().count(), "lines of tests/golden/{name}");
}

/// Whether two lines differ in nothing but the last place of decimal fractions, by one: a value just at a rounding
/// boundary falls to the other side on a machine whose FFT sums in another order. Whole numbers and words must be equal.
fn is_alike(golden: &str, found: &str) -> bool {
    let (golden, found) = (pieces(golden), pieces(found));
    golden.len() == found.len()
        && golden.iter().zip(&found).all(|(g, f)| {
            let places = |piece: &str| piece.split_once('.').map_or(0, |(_, places)| places.len());
            let places = (places(g), places(f));
            g == f
                || places.0.min(places.1) > 0
                    && g.parse::<f64>().ok().zip(f.parse::<f64>().ok()).is_some_and(|(g, f)| {
                        let unit = 0.1_f64.powi(i32::try_from(places.0.max(places.1)).unwrap());
                        (g - f).abs() < 1.5 * unit
                    })
        })
}

/// A line cut where numerals begin and end; joined, the pieces are the line.
fn pieces(line: &str) -> Vec<&str> {
    let numeral = |c: char| c.is_ascii_digit() || c == '.';
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| numeral(c) != numeral(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Asserts that `document` is valid, and no longer is with `field` of the object at `pointer` changed, or taken out.
fn refused(schema: &str, document: &Value, pointer: &str, field: &str, value: Option<Value>) {
    let validator = validator(schema);
    valid(&validator, document);
    let mut broken = document.clone();
    let object = broken.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(object.insert(field.into(), value)),
        None => assert!(object.remove(field).is_some(), "{pointer} has no {field}"),
    }
    assert!(!validator.is_valid(&broken), "{schema} lets pass: {pointer} {field}");
}

fn valid_lines(lines: &str) {
    let validator = validator(EVENT);
    lines.lines().for_each(|l| valid(&validator, &parse(l)));
}

fn valid(validator: &Validator, document: &Value) {
    let errors: Vec<String> =
        validator.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A schema, with the others beside it where its references look for them.
fn validator(name: &str) -> Validator {
    const BESIDE: &str = "file:///schemas/";
    let registry = Registry::new()
        .add(format!("{BESIDE}{PACKET}"), schema(PACKET))
        .and_then(|registry| registry.prepare())
        .unwrap();
    jsonschema::options()
        .with_registry(&registry)
        .with_base_uri(format!("{BESIDE}{name}"))
        .build(&schema(name))
        .unwrap_or_else(|error| panic!("{name} is no schema: {error}"))
}

fn schema(name: &str) -> Value {
    parse(&fs::read_to_string(root().join("schemas").join(name)).unwrap())
}

fn golden(name: &str) -> String {
    let path = root().join("tests/golden").join(name);
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}; UPDATE_GOLDEN=1 writes it"))
}

fn kind(event: &Value) -> String {
    event["type"].as_str().unwrap().to_owned()
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
