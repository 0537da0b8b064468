//! Stories of one call: real audio goes in, the scores are the story's, and the lines that come out are the claim.
#![allow(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and its numbers are exact"
)]

mod common;

use std::{collections::VecDeque, sync::Arc};

use common::{fixture, line, lines, options};
use proptest::prelude::*;
use warmline_core::{
    call::{
        Action, Call, CallConfig, CallId, CallStart, Command, Input, Output, SCORE_DEADLINE_US,
        STALL_DEADLINE_US, TimeoutReason, Transcript,
    },
    media::{Encoding, Speaker, TrackFormat},
    packet::ContextPacket,
    policy::{Notice, Outcome, PauseOwner, Policy, Suspension},
    score::{
        Calibration, CallerCalibration, Features, Model, ScoreError, ScoreRequest, Scores, Stage, Stages,
    },
    units::{CallTime, MediaSpan, MediaTime, Pii, SampleRate},
};
use warmline_eval::{
    recording::Recording,
    replay::ReplayOptions,
    script::{self, Told},
};

fn config(policy: &str) -> Arc<CallConfig> {
    with(policy, Stages::one(Model::of_features(&["level_dbfs", "mel_20_db"])))
}

/// The same with a second model, which is given audio and wants to know each caller's first ten seconds of speech.
fn two_stages(policy: &str) -> Arc<CallConfig> {
    let watch = Model::of_features(&["level_dbfs", "mel_20_db"]);
    let caller = CallerCalibration { weight: 0.0, reference: 0.0, opening_s: 10.0 };
    let confirm = Model {
        stage: Stage::Confirm,
        name: "confirm".into(),
        features: Features::LogMel,
        calibration: Calibration { caller: Some(caller), ..watch.calibration.clone() },
        ..watch.clone()
    };
    with(policy, Stages { first: watch, confirm: Some(confirm) })
}

fn with(policy: &str, stages: Stages) -> Arc<CallConfig> {
    let policy = Policy::parse(&format!("version = \"story\"\n{policy}")).unwrap();
    Arc::new(CallConfig { policy, stages: Some(stages) })
}

/// Logit of a probability.
fn scores(p: f32) -> Result<Scores, ScoreError> {
    Ok(Scores { frustration: (p / (1.0 - p)).ln(), speech: None })
}

/// A score that is 0.9 from `from` seconds on and 0.1 before.
fn rising_at(from: f64) -> impl FnMut(&[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
    move |requests| requests.iter().map(|r| scores(if r.at.seconds() >= from { 0.9 } else { 0.1 })).collect()
}

/// The events of a replayed fixture as `t type detail`, without scores and turns.
fn told(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| !["score", "turn", "call_started"].contains(&event["type"].as_str().unwrap()))
        .map(|event| {
            let detail =
                ["to", "cue", "cause", "why"].iter().find_map(|key| event[*key].as_str()).unwrap_or_default();
            format!("{:.1} {} {detail}", event["t"].as_f64().unwrap(), event["type"].as_str().unwrap())
        })
        .collect()
}

fn of_type(lines: &[String], wanted: &str) -> Vec<serde_json::Value> {
    lines
        .iter()
        .map(|l| serde_json::from_str(l).unwrap())
        .filter(|e: &serde_json::Value| e["type"] == wanted)
        .collect()
}

#[test]
fn sustained_frustration_becomes_one_transfer_with_its_packet() {
    let path = fixture("escalating.wav");
    let lines = lines(&path, &options(), config(""), 1, &mut rising_at(35.0));
    let told = told(&lines);
    let transfers = of_type(&lines, "transfer");
    assert_eq!(transfers.len(), 1, "{told:#?}");
    let packet = &transfers[0]["packet"];
    assert_eq!(packet["schema"], "warmline.context-packet/1");
    assert_eq!(packet["full"]["trigger"]["cue"], "frustration");
    let (at, since) =
        (transfers[0]["t"].as_f64().unwrap(), packet["full"]["trigger"]["since_s"].as_f64().unwrap());
    assert!(since >= 35.0 && at - since >= 2.0, "since {since}, at {at}");
    let states: Vec<&str> = told.iter().filter_map(|l| l.split_once("state ").map(|(_, to)| to)).collect();
    assert_eq!(states.first(), Some(&"insufficient"));
    assert_eq!(&states[states.len() - 2..], ["rising", "escalated"]);
    assert_eq!(of_type(&lines, "call_ended")[0]["transfers"], 1);
}

#[test]
fn the_reason_is_the_rise_that_decided_and_not_a_stronger_one_that_passed() {
    let mut outburst_then_sustained = |requests: &[ScoreRequest]| {
        requests
            .iter()
            .map(|r| match r.at.seconds() {
                36.5..37.5 => scores(0.95),
                46.0.. => scores(0.8),
                _ => scores(0.1),
            })
            .collect()
    };
    let lines = lines(&fixture("escalating.wav"), &options(), config(""), 1, &mut outburst_then_sustained);
    let transfers = of_type(&lines, "transfer");
    assert_eq!(transfers.len(), 1);
    let full = &transfers[0]["packet"]["full"];
    assert_eq!(full["evidence"].as_array().unwrap().len(), 2, "both are evidence, the stronger first");
    assert_eq!(full["evidence"][0]["probability"], 0.95);
    let words = full["trigger"]["words"].as_str().unwrap();
    assert!(words.starts_with("sounds frustrated (0.80, heard 0:4"), "{words}");
}

/// What was asked of each stage and what was told, when `watch` says this and `confirm` that.
fn staged(
    policy: &str,
    watch: impl Fn(f64) -> f32,
    confirm: impl Fn(f64) -> Result<Scores, ScoreError>,
) -> (Vec<ScoreRequest>, Vec<String>) {
    let mut asked = Vec::new();
    let lines = lines(&fixture("escalating.wav"), &options(), two_stages(policy), 1, &mut |requests| {
        asked.extend_from_slice(requests);
        let answer = |r: &ScoreRequest| match r.stage {
            Stage::Watch => scores(watch(r.at.seconds())),
            Stage::Confirm => confirm(r.at.seconds()),
        };
        requests.iter().map(answer).collect()
    });
    (asked, lines)
}

#[test]
fn confirm_is_asked_about_the_opening_and_on_suspicion_and_its_word_stands() {
    let (asked, lines) = staged("", |t| if t > 40.0 { 0.5 } else { 0.1 }, |_| scores(0.2));
    let (confirmed, heard): (Vec<_>, Vec<_>) =
        of_type(&lines, "score").into_iter().partition(|score| score["stage"] == "confirm");
    for score in &confirmed {
        assert!(
            score["speech_s"].as_f64().unwrap() <= 10.0 || score["t"].as_f64().unwrap() > 40.0,
            "{score}"
        );
        assert_eq!(score["probability"], 0.2);
    }
    for score in &heard {
        assert!(
            score["speech_s"].as_f64().unwrap() > 10.0 && score["t"].as_f64().unwrap() <= 40.0,
            "{score}"
        );
        assert_eq!(score["probability"], 0.1);
    }
    assert!(!confirmed.is_empty() && !heard.is_empty());
    let of = |stage| asked.iter().filter(move |r| r.stage == stage);
    assert_eq!(of(Stage::Confirm).count(), confirmed.len());
    assert_eq!(of(Stage::Watch).count(), confirmed.len() + heard.len());
    for request in of(Stage::Confirm) {
        assert_eq!(request.window.width, warmline_core::prosody::LOG_MEL_BANDS);
        assert!((100..=300).contains(&request.window.len()), "{}", request.window.len());
    }
}

#[test]
fn what_watch_suspects_is_no_transfer_until_confirm_says_so() {
    let transfers = |lines: &[String]| of_type(lines, "transfer").len();
    let (_, unconfirmed) = staged("", |_| 0.99, |_| scores(0.1));
    assert_eq!(transfers(&unconfirmed), 0);
    let (_, failed) = staged("", |_| 0.99, |_| Err(ScoreError::Late));
    assert_eq!(transfers(&failed), 0, "without an answer there is no evidence");
    assert!(of_type(&failed, "score_failed").iter().all(|e| e["stage"] == "confirm"));
    assert!(of_type(&failed, "score").is_empty());
    let (_, confirmed) =
        staged("", |t| if t > 35.0 { 0.4 } else { 0.1 }, |t| scores(if t > 35.0 { 0.9 } else { 0.1 }));
    assert_eq!(transfers(&confirmed), 1, "a mild suspicion is enough to ask");
    assert_eq!(
        of_type(&confirmed, "transfer")[0]["packet"]["full"]["provenance"]["model"]["name"],
        "confirm"
    );
    let (_, unsuspected) =
        staged("[frustration]\nsuspect = 0.5", |_| 0.4, |t| scores(if t > 35.0 { 0.9 } else { 0.1 }));
    assert_eq!(transfers(&unsuspected), 0, "confirm was not asked");
}

#[test]
fn once_confirm_is_suspicious_it_goes_on_listening() {
    // Watch has one moment of suspicion; confirm hears frustration from then on.
    let (_, lines) = staged(
        "",
        |t| if (40.0..41.0).contains(&t) { 0.5 } else { 0.1 },
        |t| scores(if t >= 40.0 { 0.9 } else { 0.1 }),
    );
    assert_eq!(of_type(&lines, "transfer").len(), 1);
}

#[test]
fn a_caller_who_scores_low_is_not_transferred() {
    let lines = lines(&fixture("calm.wav"), &options(), config(""), 1, &mut rising_at(f64::INFINITY));
    assert!(of_type(&lines, "transfer").is_empty());
    assert!(!of_type(&lines, "score").is_empty());
}

#[test]
fn tones_are_never_scored() {
    let lines = lines(&fixture("tones.wav"), &options(), config(""), 1, &mut rising_at(0.0));
    assert_eq!(of_type(&lines, "score").len(), 0);
    assert_eq!(of_type(&lines, "call_ended")[0]["transfers"], 0);
}

#[test]
fn nothing_is_scored_before_the_notice_and_everything_after_it_is() {
    let at = |notice, seconds: Option<f64>| ReplayOptions {
        notice,
        notice_at: seconds.map(|s| MediaTime::ZERO + MediaSpan::from_seconds(s)),
        ..options()
    };
    let play = |options: &ReplayOptions| {
        lines(&fixture("escalating.wav"), options, config(""), 1, &mut rising_at(0.0))
    };
    let never = play(&at(Notice::None, None));
    assert!(of_type(&never, "score").is_empty() && of_type(&never, "transfer").is_empty());
    assert_eq!(of_type(&never, "call_ended")[0]["caller_speech_s"], 0.0);
    let late = play(&at(Notice::Notice, Some(30.0)));
    let first = of_type(&late, "score")[0].clone();
    assert!(first["t"].as_f64().unwrap() > 30.0);
    assert!(first["speech_s"].as_f64().unwrap() < 4.0, "speech from before the notice was counted: {first}");
}

#[test]
fn the_agents_voice_changes_no_score() {
    let path = fixture("escalating.wav");
    let mut recording = Recording::open(&path).unwrap();
    let mut bytes = Vec::new();
    recording.packet(u64::MAX / 8, &mut bytes).unwrap();
    let windows = |agent: &dyn Fn(&[u8]) -> Vec<u8>| {
        let mut windows = Vec::new();
        let mut call = stereo_call(config(""));
        for (n, packet) in bytes.chunks(640).enumerate() {
            let position = 160 * n as u64;
            for (track, payload) in [(Speaker::Caller, packet.to_vec()), (Speaker::Agent, agent(packet))] {
                call.handle_input(CallTime::ZERO, Input::Media { track, position, payload: &payload });
            }
            while let Some(output) = call.poll_output() {
                if let Output::Score(request) = output {
                    call.handle_input(CallTime::ZERO, Input::Scored(request.stage, request.at, scores(0.1)));
                    windows.push(request);
                }
            }
        }
        windows
    };
    let plain = windows(&|packet| packet.to_vec());
    // The agent now says what the caller says, and shouts it.
    let shouting = windows(&|packet| {
        packet
            .chunks(4)
            .flat_map(|s| i16::from_le_bytes([s[0], s[1]]).saturating_mul(8).to_le_bytes().repeat(2))
            .collect()
    });
    assert!(!plain.is_empty());
    assert_eq!(plain, shouting);
}

#[test]
fn a_key_that_asks_for_a_person_wins_at_once_and_a_second_time_changes_nothing() {
    let mut call = stereo_call(config("[instant]\ndtmf = [\"0\"]"));
    for key in ['5', '0', '0'] {
        call.handle_input(CallTime::ZERO, Input::Command(Command::Dtmf(key)));
    }
    let transfers =
        outputs(&mut call).into_iter().filter(|o| matches!(o, Output::Act(Action::Transfer { .. }))).count();
    assert_eq!(transfers, 1);
}

#[test]
fn an_explicit_request_waits_behind_a_score_no_longer_than_its_deadline() {
    let mut call = stereo_call(config(""));
    let asked = feed_until_asked(&mut call);
    call.handle_input(CallTime(1_000), Input::Command(Command::ExplicitRequest));
    assert!(!has_transfer(&outputs(&mut call)), "the score before it is still on its way");
    let (deadline, reason) = call.poll_timeout().unwrap();
    assert_eq!((deadline, reason), (CallTime(SCORE_DEADLINE_US), TimeoutReason::ScoreLate));
    call.handle_input(deadline, Input::Timeout);
    assert!(has_transfer(&outputs(&mut call)));
    call.handle_input(deadline, Input::Scored(asked.stage, asked.at, scores(0.99)));
    assert!(outputs(&mut call).is_empty(), "a late answer changes nothing");
}

#[test]
fn on_hold_nothing_is_heard_and_the_span_is_absent() {
    let mut call = stereo_call(config(""));
    feed_until_asked(&mut call);
    call.handle_input(
        CallTime::ZERO,
        Input::Command(Command::Suspend(Suspension::Pause(PauseOwner::Integrator))),
    );
    let held = feed(&mut call, 20.0..40.0);
    call.handle_input(CallTime(SCORE_DEADLINE_US), Input::Timeout);
    let paused: Vec<Output> = held.into_iter().chain(outputs(&mut call)).collect();
    assert!(!paused.iter().any(|o| matches!(o, Output::Score(_))), "something was scored in a pause");
    call.handle_input(
        CallTime::ZERO,
        Input::Command(Command::Lift(Suspension::Pause(PauseOwner::Integrator))),
    );
    let told: Vec<String> = feed(&mut call, 40.0..41.0).iter().filter_map(tell).collect();
    assert!(told.iter().any(|l| l.contains("\"type\":\"gap\"") && l.contains("\"paused\"")), "{told:#?}");
}

#[test]
fn a_transfer_that_came_to_nothing_may_be_asked_for_again() {
    let mut call = stereo_call(config(""));
    call.handle_input(CallTime::ZERO, Input::Command(Command::ExplicitRequest));
    call.handle_input(CallTime::ZERO, Input::Command(Command::Outcome(Outcome::CameToNothing)));
    call.handle_input(CallTime::ZERO, Input::Command(Command::ExplicitRequest));
    let ids: Vec<String> = outputs(&mut call)
        .into_iter()
        .filter_map(|o| if let Output::Act(Action::Transfer { id, .. }) = o { Some(id) } else { None })
        .collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_track_that_stops_sending_is_given_up_and_the_call_goes_on() {
    let mut call = stereo_call(config(""));
    let packets = caller_packets();
    let mut asked = 0;
    for (n, packet) in packets.iter().enumerate().take(2_000) {
        let now = CallTime(20_000 * n as u64);
        if let Some((_, TimeoutReason::TrackStalled)) = call.poll_timeout().filter(|(at, _)| *at <= now) {
            call.handle_input(now, Input::Timeout);
        }
        call.handle_input(
            now,
            Input::Media { track: Speaker::Caller, position: 160 * n as u64, payload: packet },
        );
        while let Some(output) = call.poll_output() {
            if let Output::Score(request) = output {
                asked += 1;
                call.handle_input(now, Input::Scored(request.stage, request.at, scores(0.9)));
            }
        }
    }
    assert!(asked > 0);
    call.handle_input(CallTime(100_000_000), Input::Ended("hangup"));
    let last = outputs(&mut call).iter().filter_map(tell).next_back().unwrap();
    assert!(last.contains("\"transfers\":1"), "{last}");
}

/// An utterance, dated or not.
fn said(speaker: Speaker, text: &str, at: Option<f64>) -> Input<'static> {
    let at = at.map(|s| MediaTime::ZERO + MediaSpan::from_seconds(s));
    Input::Command(Command::Transcript(Transcript {
        speaker,
        text: Pii::new(text.into()),
        is_final: true,
        at,
    }))
}

fn packets(outputs: &[Output]) -> Vec<&ContextPacket> {
    let packet = |o: &'_ Output| matches!(o, Output::Act(_));
    outputs
        .iter()
        .filter(|o| packet(o))
        .map(|o| match o {
            Output::Act(Action::Transfer { packet, .. }) => &**packet,
            Output::Tell(_) | Output::Score(_) => unreachable!("filtered"),
        })
        .collect()
}

/// Feeds the fixture's seconds `span`, every score being `p`; answers with what came out but the requests.
fn feed_scored(call: &mut Call, span: std::ops::Range<f64>, p: f32) -> Vec<Output> {
    let mut all = Vec::new();
    for (n, payload) in
        caller_packets().iter().enumerate().filter(|(n, _)| span.contains(&(*n as f64 / 50.0)))
    {
        for track in [Speaker::Caller, Speaker::Agent] {
            call.handle_input(CallTime::ZERO, Input::Media { track, position: 160 * n as u64, payload });
        }
        while let Some(output) = call.poll_output() {
            match output {
                Output::Score(request) => {
                    call.handle_input(CallTime::ZERO, Input::Scored(request.stage, request.at, scores(p)));
                }
                other @ (Output::Act(_) | Output::Tell(_)) => all.push(other),
            }
        }
    }
    all
}

fn script_of(name: &str) -> Vec<script::Line> {
    let path = fixture(name).with_extension("transcript.ndjson");
    script::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_cue_of_a_call_with_words_is_told_where_it_belongs() {
    let check = |name: &str, expected: &[&str]| {
        let options = ReplayOptions { script: script_of(name), ..options() };
        let policy = "[frustration]\nenter = 1.0\n[cues]\nenter = 1.0";
        let lines = lines(&fixture(name), &options, config(policy), 1, &mut rising_at(f64::INFINITY));
        let cues: Vec<String> = of_type(&lines, "cue")
            .iter()
            .map(|e| {
                format!(
                    "{:.0} {} {}",
                    e["t"].as_f64().unwrap(),
                    e["cue"].as_str().unwrap(),
                    e["evidence"].as_str().unwrap()
                )
            })
            .collect();
        assert_eq!(cues, expected, "{name}");
        assert_eq!(
            of_type(&lines, "said").len(),
            options.script.iter().filter(|l| matches!(l.told, Told::Said(..))).count()
        );
    };
    check(
        "escalating.wav",
        &[
            "41 no_progress the bot understood nothing",
            "50 negative_phrase said \"not listening\", \"I have called three times\", \"nobody fixes\"",
            "54 barge_in the caller talked over the other side at 0:53.1",
            "58 negative_phrase said \"This is ridiculous\"",
            "58 no_progress the bot understood nothing, 2 times now",
            "66 explicit_request said \"talk to a person\", \"A real person\"",
            "66 negative_phrase said \"sick of\"",
        ],
    );
    check(
        "escalating_de.wav",
        &[
            "19 negative_phrase said \"habe ich schon zweimal gemacht\"",
            "29 repetition the other side asked the same as at 0:13.0",
            "34 negative_phrase said \"habe ich schon gemacht\", \"Hören Sie mir doch endlich zu\"",
            "37 repetition the other side asked the same as at 0:21.7",
            "41 negative_phrase said \"habe ich Ihnen gerade gesagt\", \"Das ist doch eine Frechheit\"",
            "41 no_progress the bot understood nothing",
            "48 explicit_request said \"will sofort einen Menschen sprechen\"",
        ],
    );
    check("calm.wav", &[]);
}

#[test]
fn words_alone_transfer_before_the_notice_and_nothing_is_scored() {
    let start = CallStart { notice: Notice::None, ..start(stereo(0), Some(stereo(1))) };
    let mut call = Call::new(CallId::new("c"), start, config("")).unwrap();
    let mut all = feed(&mut call, 0.0..12.0);
    call.handle_input(CallTime::ZERO, said(Speaker::Agent, "I want to speak to an agent", None));
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "I don't want an agent", None));
    all.extend(outputs(&mut call));
    assert!(!has_transfer(&all), "nobody asked");
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "I want to speak to an agent", None));
    all.extend(outputs(&mut call));
    assert!(!all.iter().any(|o| matches!(o, Output::Score(_))), "something was scored before the notice");
    let packets = packets(&all);
    assert_eq!(packets.len(), 1);
    assert_eq!(packets[0].full.trigger.words, "said \"speak to an agent\"");
    assert_eq!((packets[0].full.trigger.probability, packets[0].full.trend.peak), (None, None));
}

#[test]
fn an_opt_out_erases_what_was_derived_of_the_voice_and_keeps_words_and_keys() {
    let mut call = stereo_call(config("[frustration]\nenter = 0.9\nsustain_s = 3600.0"));
    let mut before = feed_scored(&mut call, 0.0..20.0, 0.1);
    before.extend(feed_scored(&mut call, 20.0..40.0, 0.95));
    call.handle_input(CallTime::ZERO, Input::Command(Command::Dtmf('5')));
    call.handle_input(
        CallTime::ZERO,
        said(Speaker::Caller, "The bill is wrong, my insurance paid it.", Some(40.0)),
    );
    assert!(
        before.iter().filter_map(tell).any(|l| l.contains("\"state\":\"rising\"")),
        "there was something to erase"
    );
    call.handle_input(CallTime::ZERO, Input::Command(Command::Suspend(Suspension::OptedOut)));
    let after = feed(&mut call, 40.0..58.0);
    let told: Vec<String> = after.iter().filter_map(tell).collect();
    assert!(told.iter().any(|l| l.contains("\"why\":\"opted out\"")), "{told:#?}");
    assert!(
        !after.iter().any(|o| matches!(o, Output::Score(_)))
            && !told.iter().any(|l| l.contains("\"type\":\"score\""))
    );
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "Give me a person", None));
    let asked = outputs(&mut call);
    let full = &packets(&asked)[0].full;
    assert_eq!((full.evidence.len(), full.trend.peak, full.trigger.probability), (0, None, None));
    assert!(
        full.trend.scores.iter().all(Option::is_none) && full.trend.slope_per_s.is_none(),
        "{:?}",
        full.trend
    );
    assert_eq!(full.conversation.key_presses.len(), 1);
    let worded = full.conversation.turns.iter().filter_map(|t| t.words.as_ref()).count();
    assert_eq!(worded, 2);
    let json = serde_json::to_string(packets(&asked)[0]).unwrap();
    assert!(!json.contains("baseline\":") && !json.contains("over this caller's baseline"), "{json}");
    call.handle_input(CallTime::ZERO, Input::Ended("hangup"));
    let last = outputs(&mut call).iter().filter_map(tell).next_back().unwrap();
    assert!(last.contains("\"peak\":null"), "{last}");
}

#[test]
fn what_is_said_or_keyed_in_a_pause_is_absent_even_if_it_comes_later() {
    let mut call = stereo_call(config("[instant]\ndtmf = [\"0\"]"));
    let mut all = feed_scored(&mut call, 0.0..5.0, 0.1);
    call.handle_input(
        CallTime::ZERO,
        Input::Command(Command::Suspend(Suspension::Pause(PauseOwner::Integrator))),
    );
    all.extend(feed_scored(&mut call, 5.0..10.0, 0.1));
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "secret one, give me an agent", None));
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "secret two", Some(7.0)));
    call.handle_input(CallTime::ZERO, Input::Command(Command::Dtmf('0')));
    call.handle_input(
        CallTime::ZERO,
        Input::Command(Command::Lift(Suspension::Pause(PauseOwner::Integrator))),
    );
    all.extend(feed_scored(&mut call, 10.0..15.0, 0.1));
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "secret three", Some(9.0)));
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "heard", Some(12.0)));
    call.handle_input(CallTime::ZERO, Input::Command(Command::Manual));
    all.extend(outputs(&mut call));
    let told: Vec<String> = all.iter().filter_map(tell).collect();
    assert!(!told.iter().any(|l| l.contains("secret")), "{told:#?}");
    assert!(told.iter().any(|l| l.contains("heard")));
    assert!(packets(&all)[0].full.conversation.key_presses.is_empty());
}

#[test]
fn words_wait_for_their_moment_and_no_longer_than_their_deadline() {
    let mut call = stereo_call(config(""));
    feed_scored(&mut call, 0.0..5.0, 0.1);
    call.handle_input(CallTime::ZERO, said(Speaker::Caller, "agent please", Some(6.0)));
    assert!(!has_transfer(&outputs(&mut call)), "that moment has not come");
    let told = feed_scored(&mut call, 5.0..7.0, 0.1);
    assert_eq!(packets(&told)[0].full.trigger.at_s, 6.0);

    let mut call = stereo_call(config(""));
    call.handle_input(CallTime(7), said(Speaker::Caller, "agent please", Some(60.0)));
    assert_eq!(call.poll_timeout(), Some((CallTime(7 + STALL_DEADLINE_US), TimeoutReason::WordsEarly)));
    call.handle_input(CallTime(7 + STALL_DEADLINE_US), Input::Timeout);
    assert!(has_transfer(&outputs(&mut call)), "a wrong clock must not keep a caller from a person");
}

#[test]
fn a_caller_on_hold_has_waited_long_once() {
    let mut call = stereo_call(config("[cues]\nlong_wait_after_s = 5.0\nwithout_words = true"));
    feed_scored(&mut call, 0.0..5.0, 0.1);
    call.handle_input(CallTime::ZERO, Input::Command(Command::Suspend(Suspension::Hold)));
    let told: Vec<String> = feed_scored(&mut call, 5.0..20.0, 0.1).iter().filter_map(tell).collect();
    let waits: Vec<&String> = told.iter().filter(|l| l.contains("long_wait")).collect();
    assert_eq!(waits.len(), 1, "{told:#?}");
    assert!(waits[0].contains("the caller has been on hold for 5 s"), "{}", waits[0]);
}

/// What a call says when `packets` samples come at a time and every answer comes `late` packets after its question.
fn say(packet: u64, late: usize, agent_first: bool, words: bool, config: Arc<CallConfig>) -> Vec<String> {
    let mut recording = Recording::open(&fixture("escalating_mulaw.wav")).unwrap();
    let mut bytes = Vec::new();
    recording.packet(8_000 * 50, &mut bytes).unwrap();
    let mut call = mulaw_call(config);
    let mut answers: VecDeque<(usize, Stage, MediaTime)> = VecDeque::new();
    let mut said = Vec::new();
    let size = usize::try_from(2 * packet).unwrap();
    let tracks =
        if agent_first { [Speaker::Agent, Speaker::Caller] } else { [Speaker::Caller, Speaker::Agent] };
    let mut script: VecDeque<script::Line> =
        if words { script_of("escalating.wav").into() } else { VecDeque::new() };
    for (n, payload) in bytes.chunks(size).enumerate() {
        let end = MediaTime((packet * (n as u64 + 1)).min(8_000 * 50));
        while let Some(line) = script.pop_front_if(|line| line.at < end) {
            call.handle_input(
                CallTime::ZERO,
                match line.told {
                    Told::Said(speaker, text) => Input::Command(Command::Transcript(Transcript {
                        speaker,
                        text,
                        is_final: true,
                        at: Some(line.at),
                    })),
                    Told::Bot(event) => Input::Command(Command::Bot(event, Some(line.at))),
                },
            );
        }
        for track in tracks {
            call.handle_input(CallTime::ZERO, Input::Media { track, position: packet * n as u64, payload });
        }
        while let Some((_, stage, at)) = answers.pop_front_if(|(asked, ..)| *asked + late <= n) {
            call.handle_input(CallTime::ZERO, Input::Scored(stage, at, story(at)));
        }
        collect(&mut call, n, &mut answers, &mut said);
    }
    call.handle_input(CallTime::ZERO, Input::Ended("end_of_recording"));
    collect(&mut call, 0, &mut answers, &mut said);
    while let Some((_, stage, at)) = answers.pop_front() {
        call.handle_input(CallTime::ZERO, Input::Scored(stage, at, story(at)));
        collect(&mut call, 0, &mut answers, &mut said);
    }
    said
}

fn story(at: MediaTime) -> Result<Scores, ScoreError> {
    scores(if at.seconds() > 30.0 { 0.95 } else { 0.2 })
}

fn collect(
    call: &mut Call,
    n: usize,
    answers: &mut VecDeque<(usize, Stage, MediaTime)>,
    said: &mut Vec<String>,
) {
    for output in outputs(call) {
        if let Output::Score(request) = &output {
            answers.push_back((n, request.stage, request.at));
        }
        said.extend(tell(&output));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn neither_packets_nor_lateness_nor_interleaving_change_a_byte(
        packet in 1_u64..4_000,
        late in 0_usize..400,
        agent_first: bool,
    ) {
        static PLAIN: std::sync::OnceLock<[Vec<String>; 3]> = std::sync::OnceLock::new();
        let stories = || [(false, config("")), (false, two_stages("")), (true, config(""))];
        let plain = PLAIN.get_or_init(|| stories().map(|(words, config)| say(160, 0, false, words, config)));
        // No more than SCORES_UNDER_WAY_MAX half seconds may go by before an answer; `confirm` is asked one hop at a time.
        for ((plain, (words, config)), seconds) in plain.iter().zip(stories()).zip([30.0, 0.4, 30.0]) {
            prop_assert!(plain.iter().any(|l| l.contains("\"type\":\"transfer\"")), "the story has no transfer");
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
            let late = late.min((seconds * 8_000.0 / packet as f64) as usize);
            prop_assert_eq!(&say(packet, late, agent_first, words, config), plain);
        }
    }
}

fn outputs(call: &mut Call) -> Vec<Output> {
    std::iter::from_fn(|| call.poll_output()).collect()
}

fn tell(output: &Output) -> Option<String> {
    if let Output::Tell(event) = output { Some(line(event)) } else { None }
}

fn has_transfer(outputs: &[Output]) -> bool {
    outputs.iter().any(|o| matches!(o, Output::Act(Action::Transfer { .. })))
}

fn start(caller: TrackFormat, agent: Option<TrackFormat>) -> CallStart {
    CallStart {
        source: "test".into(),
        file: None,
        caller_channel: "left".into(),
        caller,
        agent,
        queue: None,
        intent: None,
        notice: Notice::Consent,
        metadata: Default::default(),
    }
}

/// One track of a two-channel recording.
fn stereo(channel: u16) -> TrackFormat {
    TrackFormat { encoding: Encoding::L16Le, rate: SampleRate(8_000), channels: 2, channel }
}

fn stereo_call(config: Arc<CallConfig>) -> Call {
    Call::new(CallId::new("c"), start(stereo(0), Some(stereo(1))), config).unwrap()
}

fn mulaw_call(config: Arc<CallConfig>) -> Call {
    let track =
        |channel| TrackFormat { encoding: Encoding::Pcmu, rate: SampleRate(8_000), channels: 2, channel };
    Call::new(CallId::new("c"), start(track(0), Some(track(1))), config).unwrap()
}

fn caller_packets() -> Vec<Vec<u8>> {
    let mut recording = Recording::open(&fixture("escalating.wav")).unwrap();
    let mut bytes = Vec::new();
    recording.packet(u64::MAX / 8, &mut bytes).unwrap();
    bytes.chunks(640).map(<[u8]>::to_vec).collect()
}

/// Feeds the fixture's seconds `span` to both tracks.
fn feed(call: &mut Call, span: std::ops::Range<f64>) -> Vec<Output> {
    let mut all = Vec::new();
    for (n, payload) in
        caller_packets().iter().enumerate().filter(|(n, _)| span.contains(&(*n as f64 / 50.0)))
    {
        for track in [Speaker::Caller, Speaker::Agent] {
            call.handle_input(CallTime::ZERO, Input::Media { track, position: 160 * n as u64, payload });
        }
        all.extend(outputs(call));
    }
    all
}

/// Feeds the fixture until a score is asked for.
fn feed_until_asked(call: &mut Call) -> ScoreRequest {
    for (n, payload) in caller_packets().iter().enumerate() {
        for track in [Speaker::Caller, Speaker::Agent] {
            call.handle_input(CallTime::ZERO, Input::Media { track, position: 160 * n as u64, payload });
        }
        while let Some(output) = call.poll_output() {
            if let Output::Score(request) = output {
                return request;
            }
        }
    }
    panic!("nothing was asked");
}
