//! Evaluating and tuning, from end to end: what is decided anew without audio is what replay decides with it.
#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and its numbers are exact"
)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{fixture, scripted_trace};
use roxmltree::Document;
use serde_json::Value;
use warmline_core::{
    policy::Policy,
    score::{Model, Stage, Stages},
    units::MediaTime,
};
use warmline_eval::{
    suite::Suite,
    trace::{Trace, decide},
};

fn warmline(arguments: &[&str]) -> Output {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls");
    Command::new(env!("CARGO_BIN_EXE_warmline")).args(arguments).current_dir(fixtures).output().unwrap()
}

/// Standard output of a command that ends with `code`, and standard error.
fn run(arguments: &[&str], code: i32) -> (String, String) {
    let output = warmline(arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
    (String::from_utf8(output.stdout).unwrap(), words)
}

fn evaluate(arguments: &[&str]) -> Value {
    let arguments = [&["evaluate", "suite.csv", "--json", "--bootstrap", "50"], arguments].concat();
    serde_json::from_str(&run(&arguments, 0).0).unwrap()
}

fn policy(settings: &str) -> Policy {
    Policy::parse(&format!("version = \"t\"\n[frustration]\n{settings}")).unwrap()
}

/// Log-odds that wander, differently for each call and stage, and pass any threshold now and then.
fn wandering(salt: f32) -> impl Fn(Stage, f64) -> f32 {
    #[allow(clippy::cast_possible_truncation, reason = "seconds of a call")]
    move |stage, at| {
        let (at, salt) = (at as f32, if stage == Stage::Watch { salt } else { salt + 0.7 });
        2.5 * (at / 3.1 + salt).sin() + 1.5 * (at / 0.9 + 2.0 * salt).sin()
    }
}

/// Decides every call of the bundled suite under every policy, from replays under every other: transfers there were.
fn decide_anew(stages: &Stages, policies: &[Policy]) -> usize {
    let suite = Suite::read(&fixture("suite.csv")).unwrap();
    let mut transfers = 0;
    for (row, salt) in suite.rows.iter().zip([0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) {
        let replayed: Vec<Trace> =
            policies.iter().map(|p| scripted_trace(row, p, stages, wandering(salt))).collect();
        for (policy, own) in policies.iter().zip(&replayed) {
            for trace in &replayed {
                assert_eq!(trace.scores, own.scores, "{}: scores depend on the policy", row.file);
                let alarms = decide(trace, policy.rules_for(None, None), Some(MediaTime::ZERO), |_, _| ());
                let anew: Vec<MediaTime> = alarms.iter().map(|alarm| alarm.at).collect();
                assert_eq!(anew, own.transfers, "{} under {policy:?}", row.file);
            }
            transfers += own.transfers.len();
        }
    }
    transfers
}

#[test]
fn what_is_decided_without_audio_is_what_replay_decides() {
    let policies = [
        "",
        "enter = 0.5\nexit = 0.5\nsustain_s = 0.0\nwarm_up_s = 0.0",
        "enter = 0.6\nexit = 0.1\nsustain_s = 4.0",
        "enter = 0.9\nexit = 0.2\nsustain_s = 1.0\nwarm_up_s = 12.0",
        "enter = 0.0\nexit = 0.0\nsustain_s = 9.0",
    ]
    .map(policy);
    let transfers = decide_anew(&Stages::one(Model::of_features(&["level_dbfs"])), &policies);
    assert!((8..35).contains(&transfers), "{transfers} transfers: the scores must tell the policies apart");
}

#[test]
fn with_two_stages_too_as_long_as_the_policies_suspect_alike() {
    let watch = Model::of_features(&["level_dbfs"]);
    let confirm = Model { stage: Stage::Confirm, ..watch.clone() };
    let policies = [
        "",
        "enter = 0.5\nexit = 0.5\nsustain_s = 0.0\nwarm_up_s = 0.0",
        "enter = 0.6\nexit = 0.1\nsustain_s = 4.0",
        "enter = 0.3\nexit = 0.3\nsustain_s = 6.0",
    ]
    .map(policy);
    let transfers = decide_anew(&Stages { first: watch, confirm: Some(confirm) }, &policies);
    assert!((6..28).contains(&transfers), "{transfers} transfers: the scores must tell the policies apart");
}

#[test]
fn evaluate_finds_the_transfers_that_replay_makes() {
    let folder = tempfile::tempdir().unwrap();
    for enter in ["0.3", "0.5", "0.7"] {
        let path = folder.path().join("policy.toml");
        fs::write(&path, format!("version = \"t\"\n[frustration]\nenter = {enter}\nexit = 0.2\n")).unwrap();
        let path = path.to_str().unwrap();
        let evaluation = evaluate(&["--policy", path]);
        for call in evaluation["outcomes"].as_array().unwrap() {
            let file = call["file"].as_str().unwrap();
            let (lines, _) = run(&["replay", "--json", file, "--policy", path], 0);
            let of_replay = lines
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .find(|event| event["type"] == "transfer")
                .map(|event| event["t"].as_f64().unwrap());
            let alarms = call["false_alarms_s"].as_array().unwrap().iter().chain(call.get("transfer_s"));
            let first = alarms.map(|t| t.as_f64().unwrap()).next();
            assert_eq!(first, of_replay, "{file} at {enter}");
        }
    }
}

#[test]
fn the_same_suite_gives_the_same_bytes_at_any_number_of_jobs() {
    let of = |jobs, seed| {
        run(&["evaluate", "suite.csv", "--json", "--bootstrap", "50", "--jobs", jobs, "--seed", seed], 0).0
    };
    let alone = of("1", "1");
    assert!(of("4", "1") == alone && of("7", "1") == alone);
    assert!(of("1", "2") != alone, "the seed decides the draws");
}

#[test]
fn a_suite_that_makes_no_sense_is_refused_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("calm.wav"), folder.path().join("calm.wav")).unwrap();
    let write = |text: &str| {
        let path = folder.path().join("suite.csv");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (text, says) in [
        ("file,label,onset_s\nabsent.wav,calm,\n", "line 2, file: absent.wav cannot be read"),
        (
            "file,label,onset_s\ncalm.wav,escalate,9999\n",
            "line 2, onset_s: is 9999: expected a moment within the recording",
        ),
        (
            "file,label,onset_s,caller_channel\ncalm.wav,calm,,mono\n",
            "line 2, file: calm.wav has two channels",
        ),
        ("file,label,onset_s\n", "names no call"),
    ] {
        let (out, words) = run(&["evaluate", &write(text)], 2);
        assert!(out.is_empty() && words.contains(says) && words.contains("suite.csv"), "{words}");
    }
    let (_, words) = run(&["evaluate", "nowhere.csv"], 2);
    assert!(words.contains("nowhere.csv: cannot be read"), "{words}");
}

#[test]
fn limits_decide_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("junit.xml");
    let with = |limits: &[&'static str], code| {
        let all = ["evaluate", "suite.csv", "--bootstrap", "0", "--junit", path.to_str().unwrap()];
        let (_, words) = run(&[&all, limits].concat(), code);
        let xml = fs::read_to_string(&path).unwrap();
        let document = Document::parse(&xml).unwrap();
        let limits = document.descendants().filter(|n| n.attribute("classname") == Some("limits"));
        (words, limits.map(|n| n.has_children()).collect::<Vec<_>>())
    };
    assert_eq!(
        with(&["--min-detection-rate", "0", "--max-false-alarms-per-hour", "1e6"], 0).1,
        [false, false]
    );
    let (words, failed) = with(&["--min-detection-rate", "1.1", "--max-false-alarms-per-hour", "1e6"], 1);
    assert!(words.contains("--min-detection-rate 1.1 asks for more"), "{words}");
    assert_eq!(failed, [true, false]);
}

/// A suite whose names hold what XML and HTML must not take as their own, under a policy that transfers any voice.
fn hostile(folder: &Path) -> (String, String) {
    let name = "<b>\"calm\" & 'co'.wav";
    fs::copy(fixture("calm.wav"), folder.join(name)).unwrap();
    fs::copy(fixture("escalating.wav"), folder.join("e.wav")).unwrap();
    let suite = folder.join("suite.csv");
    let quoted = name.replace('"', "\"\"");
    let rows = format!(
        "file,label,onset_s,speaker,scenario,gender\n\"{quoted}\",calm,,<script>a</script>,<i>calm</i>,x\ne.wav,escalate,35.78,b,up & down,y\n"
    );
    fs::write(&suite, rows).unwrap();
    let policy = folder.join("policy.toml");
    fs::write(&policy, "version = \"<u>any</u>\"\n[frustration]\nenter = 0.0\nexit = 0.0\n").unwrap();
    (suite.to_str().unwrap().to_owned(), policy.to_str().unwrap().to_owned())
}

#[test]
fn junit_is_well_formed_and_names_what_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (suite, policy) = hostile(folder.path());
    let path = folder.path().join("junit.xml");
    run(&["evaluate", &suite, "--policy", &policy, "--bootstrap", "0", "--junit", path.to_str().unwrap()], 0);
    let xml = fs::read_to_string(path).unwrap();
    let document = Document::parse(&xml).unwrap();
    let suite = document.descendants().find(|n| n.has_tag_name("testsuite")).unwrap();
    assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("2"), Some("2")));
    let cases: Vec<_> = document.descendants().filter(|n| n.has_tag_name("testcase")).collect();
    assert_eq!(cases[0].attribute("name"), Some("<b>\"calm\" & 'co'.wav"));
    assert_eq!(cases[0].attribute("classname"), Some("<i>calm</i>"));
    let failure = |n: usize| cases[n].first_element_child().unwrap().attribute("message").unwrap().to_owned();
    assert!(failure(0).starts_with("a transfer in a calm call: at 0:"), "{}", failure(0));
    assert!(failure(1).contains("0:35.7"), "{}", failure(1));
    let property = |name: &str| {
        let named = document.descendants().find(|n| n.attribute("name") == Some(name));
        named.and_then(|n| n.attribute("value")).unwrap().to_owned()
    };
    assert_eq!((property("policy"), property("within_s")), ("<u>any</u>".into(), "10".into()));
}

#[test]
fn the_report_is_one_page_that_asks_for_nothing_and_escapes_what_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let (suite, policy) = hostile(folder.path());
    let path = folder.path().join("report.html");
    run(
        &["evaluate", &suite, "--policy", &policy, "--bootstrap", "20", "--report", path.to_str().unwrap()],
        0,
    );
    let page = fs::read_to_string(path).unwrap();
    for asked in ["<script", "http:", "https:", "src=", "@import", "<link", "<iframe", "onload"] {
        assert!(!page.contains(asked), "the page has {asked}");
    }
    for given in ["<b>\"calm\"", "<i>calm</i>", "<u>any", "up & down"] {
        assert!(!page.contains(given), "{given} stands in the page as it is");
    }
    assert!(page.contains("&lt;i&gt;calm&lt;/i&gt;") && page.contains("up &amp; down"));
    assert!(!page.contains(" angry") && page.contains("sounds frustrated"));
    let drawings: Vec<&str> =
        page.split("<svg").skip(1).map(|part| part.split_once("</svg>").unwrap().0).collect();
    assert!(drawings.len() > 6, "{}", drawings.len());
    for drawing in drawings {
        let svg = format!("<svg{drawing}</svg>");
        Document::parse(&svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn a_tuned_policy_does_on_the_suite_what_tuning_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let out = file("policy.toml");
    let tune = [
        "tune",
        "suite.csv",
        "--out",
        &out,
        "--max-false-alarms-per-hour",
        "40",
        "--bootstrap",
        "20",
        "--json",
    ];
    let tuned: Value = serde_json::from_str(&run(&tune, 0).0).unwrap();
    let written = fs::read_to_string(&out).unwrap();
    assert!(
        written.starts_with("# Written by `warmline tune suite.csv --max-false-alarms-per-hour 40`"),
        "{written}"
    );
    let evaluation = evaluate(&["--policy", &out, "--against", &file("present.toml")][..2]);
    for figure in ["detected", "missed", "false_alarms", "early", "late"] {
        assert_eq!(evaluation[figure], tuned["tuned"]["in_sample"][figure], "{figure}");
    }
    assert_eq!(evaluation["policy"]["enter"], tuned["tuned"]["thresholds"]["enter"]);
    assert!(tuned["tuned"]["cross_validated"]["figures"]["calls"] == 7);
    let present = PathBuf::from(file("present.toml"));
    fs::write(&present, "version = \"present\"\n").unwrap();
    let against = evaluate(&["--policy", &out, "--against", present.to_str().unwrap()]);
    assert_eq!(against["against"]["changes"], tuned["evaluation"]["against"]["changes"]);
    assert_eq!(against["against"]["policy"]["name"], "present");
    let (_, words) = run(&["tune", "suite.csv", "--out", &out], 2);
    assert!(words.contains("--max-false-alarms-per-hour N, --max-delay SECONDS"), "{words}");
    let reach = ["tune", "suite.csv", "--out", &out, "--max-delay", "0.001", "--bootstrap", "0"];
    assert!(run(&reach, 1).1.contains("no thresholds give the fewest false alarms"));
}
