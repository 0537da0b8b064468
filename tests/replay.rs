//! The program from end to end: real files, the real model, ONNX Runtime.
#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and its numbers are exact"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls")
}

fn warmline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_warmline")).args(arguments).current_dir(fixtures()).output().unwrap()
}

/// Standard output of a command that must succeed.
fn says(arguments: &[&str]) -> String {
    let output = warmline(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A two-channel call of 32-bit float samples, interleaved.
fn write_float(path: &Path, samples: impl Iterator<Item = f32>) {
    let sample_format = hound::SampleFormat::Float;
    let spec = hound::WavSpec { channels: 2, sample_rate: 8_000, bits_per_sample: 32, sample_format };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
}

fn complains(arguments: &[&str], code: i32) -> String {
    let output = warmline(arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
    words
}

#[test]
fn the_demo_call_is_transferred_and_the_calm_one_is_not() {
    says(&["replay", "escalating.wav", "--expect", "transfer"]);
    says(&[
        "replay",
        "calm.wav",
        "loud_but_happy.wav",
        "hold_music.wav",
        "mostly_silence.wav",
        "tones.wav",
        "--expect",
        "none",
    ]);
    assert!(complains(&["replay", "calm.wav", "--expect", "transfer"], 1).contains("not what --expect says"));
}

#[test]
fn the_timeline_tells_the_story_and_the_packet_follows() {
    let story = says(&["replay", "escalating.wav"]);
    for words in [
        "caller",
        "agent",
        "escalated",
        "sounds frustrated",
        "▶ transfer",
        "warmline.context-packet/1",
        "over this caller's baseline",
    ] {
        assert!(story.contains(words), "no {words:?} in\n{story}");
    }
    assert!(!story.contains('\x1b'), "colours in a pipe");
}

#[test]
fn packet_size_threads_and_company_change_no_byte() {
    let alone = says(&["replay", "--json", "escalating.wav", "--jobs", "1"]);
    for milliseconds in ["1", "7", "200", "10000"] {
        assert!(
            says(&["replay", "--json", "escalating.wav", "--packet-ms", milliseconds]) == alone,
            "{milliseconds} ms"
        );
    }
    let many: Vec<&str> = ["escalating.wav", "escalating_de.wav", "calm.wav", "hold_music.wav"].repeat(16);
    let company = says(&[["replay", "--json", "--jobs", "4"].as_slice(), &many].concat());
    let of = |file: &str| says(&["replay", "--json", file]);
    let expected: String = many[..4].iter().map(|file| of(file)).collect::<String>().repeat(16);
    assert!(company == expected, "one file among sixty-four differs from the file alone");
}

#[test]
fn mu_law_and_its_decoded_samples_score_alike() {
    let scores = |file: &str| {
        let lines = says(&["replay", "--json", file]);
        lines
            .lines()
            .filter(|l| l.contains("\"type\":\"score\""))
            .map(|l| l.split_once("\"t\"").unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(scores("escalating.wav"), scores("escalating_mulaw.wav"));
}

#[test]
fn events_are_those_of_the_interface() {
    let lines = says(&["replay", "--json", "escalating.wav"]);
    let events: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.first().unwrap()["type"], "call_started");
    assert_eq!(events.last().unwrap()["type"], "call_ended");
    let required: &[(&str, &[&str])] = &[
        ("call_started", &["source", "file", "caller_channel"]),
        ("score", &["stage", "probability", "raw", "state", "speech_s", "baseline"]),
        ("cue", &["cue", "evidence"]),
        ("state", &["from", "to", "why"]),
        ("transfer", &["transfer", "cue", "probability", "packet"]),
        ("call_ended", &["cause", "duration_s", "caller_speech_s", "transfers", "peak", "seconds_in"]),
    ];
    for (kind, fields) in required {
        let event = events.iter().find(|e| e["type"] == *kind).unwrap_or_else(|| panic!("no {kind}"));
        for field in ["call", "t"].iter().chain(*fields) {
            assert!(!event[*field].is_null(), "{kind} has no {field}: {event}");
        }
    }
}

#[test]
fn a_mixed_mono_call_is_refused_and_the_others_are_replayed() {
    let output = warmline(&["replay", "--json", "mixed_mono.wav", "calm.wav"]);
    assert_eq!(output.status.code(), Some(2));
    let (out, words) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(words.contains("mixed_mono.wav") && words.contains("--caller-channel mono"), "{words}");
    assert!(out.contains("\"type\":\"error\"") && out.contains("\"type\":\"call_ended\""));
    says(&["replay", "mixed_mono.wav", "--caller-channel", "mono"]);
}

#[test]
fn what_cannot_be_read_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let text = file("notes.wav", b"this is no audio, and longer than a header would be, is it not?");
    let empty = file("empty.wav", b"");
    for (path, says) in [(text.as_str(), "RIFF"), (empty.as_str(), "header"), ("nowhere.wav", "No such file")]
    {
        let words = complains(&["replay", path], 2);
        assert!(words.contains(path) && words.contains(says), "{words}");
        assert_eq!(words.lines().count(), 2, "{words}");
    }
}

#[test]
fn odd_recordings_each_behave() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, samples: &[f32]| {
        let path = folder.path().join(name);
        write_float(&path, samples.iter().flat_map(|s| [*s, *s]));
        path.to_str().unwrap().to_owned()
    };
    let speech: Vec<f32> = {
        let mut reader = hound::WavReader::open(fixtures().join("calm.wav")).unwrap();
        reader.samples::<i16>().step_by(2).map(|s| f32::from(s.unwrap()) / 32768.0).collect()
    };
    for (name, samples, scored) in [
        ("zero_length.wav", Vec::new(), false),
        ("one_sample.wav", vec![0.5], false),
        ("silent.wav", vec![0.0; 160_000], false),
        ("offset_only.wav", vec![0.5; 160_000], false),
        ("nan.wav", vec![f32::NAN; 160_000], false),
        ("clipped.wav", speech.iter().map(|s| (s * 50.0).clamp(-1.0, 1.0)).collect(), true),
        ("offset.wav", speech.iter().map(|s| s + 0.3).collect(), true),
    ] {
        let lines = says(&["replay", "--json", &write(name, &samples)]);
        assert!(lines.lines().last().unwrap().contains("\"type\":\"call_ended\""), "{name}");
        assert_eq!(lines.contains("\"type\":\"score\""), scored, "{name}: {lines}");
        assert!(!lines.contains("NaN") && !lines.contains("null,\"raw\""), "{name}");
    }
}

#[test]
fn a_gain_of_twenty_decibels_changes_no_score_beyond_the_eight_bits_confirm_hears() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = hound::WavReader::open(fixtures().join("escalating.wav")).unwrap();
    let samples: Vec<f32> = reader.samples::<i16>().map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let raw = |gain: f32, stages: &[&str]| {
        let path = folder.path().join("call.wav");
        write_float(&path, samples.iter().map(|s| s * gain));
        let lines = says(&[&["replay", "--json", path.to_str().unwrap()], stages].concat());
        let events = lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        events
            .filter(|e| e["type"] == "score")
            .map(|e| (e["t"].to_string(), e["raw"].as_f64().unwrap()))
            .collect::<Vec<_>>()
    };
    // Each is 20 dB from the other; louder than recorded, the fixture would clip.
    for (stages, most) in [(["--stages", "watch"], 2e-3), (["--stages", "confirm"], 0.1)] {
        let (plain, quiet) = (raw(1.0, &stages), raw(0.1, &stages));
        assert!(!plain.is_empty());
        assert_eq!(plain.len(), quiet.len());
        for ((t, p), (u, q)) in plain.iter().zip(&quiet) {
            assert_eq!(t, u);
            assert!((p - q).abs() <= most, "{stages:?} at {t}: {p} and {q}");
        }
    }
}

#[test]
fn features_as_csv_and_as_npy_are_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let csv = says(&["features", "calm.wav"]);
    let dotted = folder.path().join("call_0.25.wav");
    fs::copy(fixtures().join("calm.wav"), &dotted).unwrap();
    says(&["features", dotted.to_str().unwrap(), "--out", out]);
    assert_eq!(fs::read_to_string(folder.path().join("call_0.25.csv")).unwrap(), csv);
    says(&["features", "calm.wav", "--npy", "--out", out]);
    let columns: Value =
        serde_json::from_slice(&fs::read(folder.path().join("columns.json")).unwrap()).unwrap();
    let mut rows = csv.lines();
    let names: Vec<&str> = rows.next().unwrap().split(',').collect();
    assert_eq!(
        columns["columns"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect::<Vec<_>>(),
        names
    );
    assert_eq!(columns["feature_set"], "prosody/1");
    let npy = fs::read(folder.path().join("calm.npy")).unwrap();
    assert_eq!(&npy[..8], b"\x93NUMPY\x01\x00");
    let head = usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    assert_eq!((10 + head) % 64, 0);
    let values: Vec<f32> =
        npy[10 + head..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let of_csv: Vec<f32> =
        rows.flat_map(|row| row.split(',').map(|v| v.parse::<f32>().unwrap()).collect::<Vec<_>>()).collect();
    assert_eq!(values.len(), of_csv.len());
    assert!(String::from_utf8_lossy(&npy[10..10 + head]).contains(&format!(
        "({}, {})",
        values.len() / names.len(),
        names.len()
    )));
    assert!(values.iter().zip(&of_csv).all(|(a, b)| (a - b).abs() <= 1e-3 && a.is_finite()));
}

#[test]
fn check_says_what_is_wrong_and_how_to_mend_it() {
    says(&["check"]);
    let words = String::from_utf8(warmline(&["check", "--onnxruntime", "/nowhere/libonnxruntime.so"]).stdout)
        .unwrap();
    assert!(words.contains("/nowhere/libonnxruntime.so") && words.contains("make setup"), "{words}");
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("libonnxruntime.so");
    fs::write(&wrong, "no library").unwrap();
    let words = complains(&["replay", "calm.wav", "--onnxruntime", wrong.to_str().unwrap()], 2);
    assert!(words.contains("no ONNX Runtime library this program can use"), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
    let policy = folder.path().join("policy.toml");
    fs::write(&policy, "version = \"x\"\n[frustration]\nentr = 0.5\n").unwrap();
    let words = complains(&["replay", "calm.wav", "--policy", policy.to_str().unwrap()], 2);
    assert!(words.contains("line 3") && words.contains("did you mean `enter`"), "{words}");
}

#[test]
fn a_model_that_does_not_fit_its_card_is_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let card: Value = serde_json::from_slice(&fs::read(models.join("watch.json")).unwrap()).unwrap();
    let onnx = fs::read(models.join("watch.onnx")).unwrap();
    let refused = |change: &dyn Fn(&mut Value), onnx: &[u8]| {
        let mut card = card.clone();
        change(&mut card);
        let path = folder.path().join("own.json");
        fs::write(&path, card.to_string()).unwrap();
        fs::write(path.with_extension("onnx"), onnx).unwrap();
        let output = warmline(&["replay", "calm.wav", "--model", path.to_str().unwrap()]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(
        refused(&|_| (), &onnx).0,
        Some(0),
        "the same contract under another name is a user's own model"
    );
    for (change, says) in [
        (
            Box::new(|c: &mut Value| c["feature_set"] = "prosody/9".into()) as Box<dyn Fn(&mut Value)>,
            "prosody/9",
        ),
        (Box::new(|c: &mut Value| c["window_frames"] = 200.into()), "`frames` float32"),
        (
            Box::new(|c: &mut Value| {
                c["features"].as_array_mut().unwrap().pop();
            }),
            "`frames` float32",
        ),
        (Box::new(|c: &mut Value| c["sha256"] = "00".into()), "SHA-256"),
    ] {
        let (code, words) = refused(&*change, &onnx);
        assert_eq!(code, Some(2));
        assert!(words.contains(says), "{words}");
    }
    let (_, words) = refused(&|_| (), b"damaged");
    assert!(words.contains("SHA-256"), "{words}");
}
