//! Many calls at once say what each says alone: real audio goes in over lines, the scores are the story's.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that panics has failed"
)]

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use common::{fixture, line, lines, options};
use warmline::switchboard::{
    Actions, Assumed, Command, Events, Limits, Line, NotGivenBack, QUEUE_BYTES_MAX, QUEUE_PACKETS_MAX,
    Refused, Score, Switchboard, Untold,
};
use warmline_core::{
    call::{Action, CallConfig, CallId, Event, EventKind},
    media::{Encoding, Format, GapCause, Speaker, TrackFormat},
    policy::{Notice, PauseOwner, Policy, Suspension},
    score::{Model, ScoreError, ScoreRequest, Scores, Stages},
    units::{Pii, SampleRate},
};
use warmline_eval::recording::{CallerChannel, Recording};
use warmline_wire::{Message, Start};

const CALLS: [&str; 4] = ["escalating.wav", "calm.wav", "escalating_mulaw.wav", "hold_music.wav"];

#[test]
fn what_a_call_says_in_company_is_what_replay_says() {
    // The clock stands still, so no score is late however busy the machine is.
    #[allow(clippy::disallowed_methods, reason = "an instant to stand still at")]
    let now = Instant::now();
    let (ear, told) = ear();
    let scorers = (0..2).map(|_| Box::new(Script) as Box<dyn Score>).collect();
    let (config, limits) = (config("version = \"story\""), Limits { calls: 100, calls_per_shard: 100 });
    let board =
        Switchboard::start_on(Arc::new(move || now), scorers, config, limits, 1, ear.clone(), ear).unwrap();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    std::thread::scope(|scope| {
        for (n, file) in CALLS.iter().cycle().take(12).enumerate() {
            let (id, replayed) = replayed(file, n);
            expected.insert(id.clone(), replayed);
            let board = &board;
            scope.spawn(move || play(board, file, &id, 1 + 7 * n as u64));
        }
    });
    let mut ended = 0;
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while ended < 12 {
        let event = told.recv_timeout(Duration::from_secs(60)).unwrap();
        ended += usize::from(matches!(event.what, EventKind::CallEnded { .. }));
        said.entry(event.call.to_string()).or_default().push(line(&event));
    }
    assert!(expected.values().flatten().any(|line| line.contains("\"type\":\"transfer\"")));
    for (id, lines) in &expected {
        for (said, replayed) in said[id].iter().zip(lines) {
            assert_eq!(said, replayed, "{id}");
        }
        assert_eq!(said[id].len(), lines.len(), "{id}");
    }
    assert_eq!(board.live(), 0);
}

#[test]
fn calls_beyond_the_limit_are_refused_with_a_reason_until_one_ends() {
    let (board, told) = board(2, 2);
    let first = open(&board, "a").unwrap();
    let _second = open(&board, "b").unwrap();
    let refused = open(&board, "c").err().unwrap();
    assert_eq!(refused, Refused::Full { live: 2, max: 2 });
    assert!(refused.to_string().contains("limits.calls"));
    drop(first);
    until_ended(&told, "a");
    assert!(open(&board, "c").is_ok());
    assert_eq!(board.counts().refused.lock().unwrap()["full"], 1);
}

#[test]
fn calls_are_spread_over_the_shards() {
    let (board, _told) = board(3, 100);
    let _lines: Vec<Line> = (0..9).map(|n| open(&board, &n.to_string()).unwrap()).collect();
    assert_eq!(board.shards().iter().map(|load| load.calls).collect::<Vec<_>>(), [3, 3, 3]);
}

#[test]
fn a_full_queue_drops_the_oldest_of_that_call_alone_and_it_tells_a_gap() {
    let (board, told) = board(1, 100);
    let (mut slow, mut other) = (open(&board, "slow").unwrap(), open(&board, "other").unwrap());
    // While the one shard is busy with hours of this call's audio, its queue fills.
    let hour = vec![0xFFu8; 160];
    other.handle(&Message::Media { track: Speaker::Caller, position: 0, payload: &hour });
    let packets = 40 * QUEUE_PACKETS_MAX as u64;
    for n in 0..packets {
        slow.handle(&Message::Media { track: Speaker::Caller, position: 160 * n, payload: &hour });
    }
    let status = board.call(&CallId::new("slow")).unwrap();
    assert_eq!(status.packets, packets);
    assert!(status.dropped > 0, "a debug build that hears 400 s in the time it takes to copy them?");
    assert_eq!(board.call(&CallId::new("other")).unwrap().dropped, 0);
    drop((slow, other));
    let events = until_ended(&told, "slow");
    assert!(events.iter().any(|event| matches!(event.what, EventKind::Gap { .. })));
}

#[test]
fn commands_reach_their_call_and_no_other() {
    let (board, told) = board(1, 100);
    let (first, second) = (open(&board, "a").unwrap(), open(&board, "b").unwrap());
    board.tell(&CallId::new("a"), Command::Suspend(Suspension::Hold)).unwrap();
    board.tell(&CallId::new("b"), Command::ExplicitRequest).unwrap();
    assert_eq!(board.tell(&CallId::new("c"), Command::Manual), Err(Untold::NoCall));
    drop(first);
    let events = until_ended(&told, "a");
    assert!(events.iter().any(|e| matches!(e.what, EventKind::State { to: "suspended", .. })));
    drop(second);
    let events = until_ended(&told, "b");
    assert!(matches!(events.last().unwrap().what, EventKind::CallEnded { transfers: 1, .. }));
}

#[test]
fn a_second_stream_of_a_call_stands_by_and_goes_on_where_the_first_ends() {
    let (board, told) = board(1, 100);
    let mut first = open(&board, "a").unwrap();
    let mut second = open(&board, "a").unwrap();
    assert!(second.is_joined() && board.live() == 1);
    second_of_audio(&mut first, 0);
    second_of_audio(&mut second, 0);
    second_of_audio(&mut first, 8_000);
    second_of_audio(&mut second, 8_000);
    drop(first);
    second_of_audio(&mut second, 16_000);
    drop(second);
    let events = until_ended(&told, "a");
    let Some(EventKind::CallEnded { duration_s, .. }) = events.last().map(|e| &e.what) else { panic!() };
    assert!((duration_s - 3.0).abs() < 0.1, "{duration_s}: two seconds of the first, one of the second");
    assert!(!events.iter().any(|e| matches!(e.what, EventKind::Gap { .. })));
}

#[test]
fn a_stream_that_takes_over_lifts_no_pause_but_that_of_the_stream_before_it() {
    let check = |pauses: &dyn Fn(&Switchboard, &mut Line, &mut Line), resumed: bool| {
        let (board, told) = board(1, 100);
        let mut first = open(&board, "a").unwrap();
        let mut second = open(&board, "a").unwrap();
        second_of_audio(&mut first, 0);
        pauses(&board, &mut first, &mut second);
        second_of_audio(&mut first, 8_000);
        drop(first);
        second_of_audio(&mut second, 16_000);
        drop(second);
        let events = until_ended(&told, "a");
        assert!(events.iter().any(|e| matches!(e.what, EventKind::State { to: "suspended", .. })));
        let has_resumed = events.iter().any(|e| matches!(e.what, EventKind::State { from: "suspended", .. }));
        assert_eq!(has_resumed, resumed);
    };
    let integrator = |board: &Switchboard, _: &mut Line, _: &mut Line| {
        let pause = Command::Suspend(Suspension::Pause(PauseOwner::Integrator));
        board.tell(&CallId::new("a"), pause).unwrap();
    };
    let first = |_: &Switchboard, first: &mut Line, _: &mut Line| first.handle(&Message::Paused);
    let both = |_: &Switchboard, first: &mut Line, second: &mut Line| {
        first.handle(&Message::Paused);
        second.handle(&Message::Paused);
    };
    check(&integrator, false);
    check(&first, true);
    check(&both, false);
}

#[test]
fn a_gap_keeps_the_cause_that_its_protocol_gives() {
    let (board, told) = board(1, 100);
    let mut stream = open(&board, "a").unwrap();
    let causes = [GapCause::Dtx, GapCause::Discarded, GapCause::Paused, GapCause::Lost];
    let mut at = 0;
    for cause in causes {
        second_of_audio(&mut stream, at);
        stream.handle(&Message::Gap { track: Speaker::Caller, cause, from: at + 8_000, to: at + 12_000 });
        at += 12_000;
    }
    second_of_audio(&mut stream, at);
    drop(stream);
    let events = until_ended(&told, "a");
    let gaps = events.iter().filter_map(|event| match event.what {
        EventKind::Gap { cause, seconds, .. } => Some((cause, seconds)),
        _ => None,
    });
    assert_eq!(gaps.collect::<Vec<_>>(), causes.map(|cause| (cause, 0.5)));
}

#[test]
fn a_call_of_an_id_that_is_over_gets_an_id_of_its_own() {
    let (board, told) = board(1, 100);
    drop(open(&board, "a").unwrap());
    until_ended(&told, "a");
    assert_eq!(open(&board, "a").unwrap().id().as_str(), "a~2");
}

#[test]
fn draining_refuses_new_calls_and_stopping_ends_the_live_ones() {
    let (board, told) = board(2, 100);
    let live = open(&board, "a").unwrap();
    board.drain();
    assert_eq!(open(&board, "b").err(), Some(Refused::Draining));
    assert!(open(&board, "a").is_ok(), "a further stream of a live call still joins");
    board.stop();
    let events = until_ended(&told, "a");
    assert!(
        matches!(&events.last().unwrap().what, EventKind::CallEnded { cause, .. } if cause == "server_stopped")
    );
    drop(live);
}

#[test]
fn a_new_policy_holds_for_new_calls_alone() {
    let (board, told) = board(1, 100);
    let before = open(&board, "before").unwrap();
    board.reload(config("version = \"new\"\n[instant]\nexplicit_request = false"));
    let after = open(&board, "after").unwrap();
    for id in ["before", "after"] {
        board.tell(&CallId::new(id), Command::ExplicitRequest).unwrap();
    }
    for (id, line, expected) in [("before", before, 1), ("after", after, 0)] {
        drop(line);
        let events = until_ended(&told, id);
        let Some(EventKind::CallEnded { transfers, .. }) = events.last().map(|e| &e.what) else { panic!() };
        assert_eq!(*transfers, expected, "{id}");
    }
}

#[test]
fn a_call_in_which_something_fails_ends_and_no_other_notices() {
    let (sender, told) = channel();
    let ear = Arc::new(Ear(std::sync::Mutex::new(sender)));
    let limits = Limits { calls: 100, calls_per_shard: 100 };
    let board = Switchboard::start(
        vec![Box::new(Script)],
        config("version = \"story\""),
        limits,
        1,
        ear.clone(),
        Arc::new(Faulty),
    )
    .unwrap();
    let (faulty, sound) = (open(&board, "faulty").unwrap(), open(&board, "sound").unwrap());
    board.tell(&CallId::new("faulty"), Command::Manual).unwrap();
    let events = until_ended(&told, "faulty");
    assert!(matches!(&events.last().unwrap().what, EventKind::CallEnded { cause, .. } if cause == "failed"));
    assert_eq!((board.live(), board.shards()[0].calls), (1, 1));
    board.tell(&CallId::new("sound"), Command::ExplicitRequest).unwrap();
    drop((faulty, sound));
    let events = until_ended(&told, "sound");
    assert!(matches!(&events.last().unwrap().what, EventKind::CallEnded { cause, .. } if cause == "closed"));
    assert_eq!(board.counts().failed.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_model_that_is_too_slow_costs_scores_and_no_audio() {
    let (sender, told) = channel();
    let ear = Arc::new(Ear(std::sync::Mutex::new(sender)));
    let limits = Limits { calls: 100, calls_per_shard: 100 };
    let config = config("version = \"story\"");
    let board = Switchboard::start(vec![Box::new(Slow)], config, limits, 1, ear.clone(), ear).unwrap();
    std::thread::scope(|scope| {
        for n in 0..3 {
            let board = &board;
            scope.spawn(move || play(board, "escalating.wav", &format!("slow-{n}"), 160));
        }
    });
    let mut ended = 0;
    let mut not_made = 0;
    while ended < 3 {
        let event = told.recv_timeout(Duration::from_secs(60)).unwrap();
        ended += usize::from(matches!(event.what, EventKind::CallEnded { .. }));
        not_made += usize::from(matches!(event.what, EventKind::ScoreFailed { .. }));
        assert!(!matches!(event.what, EventKind::Gap { .. }), "audio was lost");
    }
    assert!(not_made > 0);
    assert!(board.counts().late_scores.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

#[test]
fn a_call_is_given_back_by_a_stream_that_can_and_by_no_other() {
    let (board, _told) = board(1, 100);
    let (can, cannot) = (open(&board, "can").unwrap(), open(&board, "cannot").unwrap());
    let (sender, given_back) = channel();
    let sender = std::sync::Mutex::new(sender);
    can.on_hand_back(Box::new(move |variables| sender.lock().unwrap().send(variables.clone()).is_ok()));
    let variables = BTreeMap::from([("action".to_owned(), "transfer".to_owned())]);
    assert_eq!(board.hand_back(&CallId::new("can"), &variables), Ok(()));
    assert_eq!(given_back.recv().unwrap(), variables);
    assert_eq!(board.hand_back(&CallId::new("cannot"), &variables), Err(NotGivenBack::NoWay));
    assert_eq!(board.hand_back(&CallId::new("nobody"), &variables), Err(NotGivenBack::NoCall));
    drop((can, cannot));
}

/// Fails whenever something is to be done.
struct Faulty;

impl Actions for Faulty {
    fn act(&self, call: &CallId, _: Action) {
        assert_ne!(call.as_str(), "faulty", "a fault that a test wants");
    }
}

/// Takes 30 ms for every score.
struct Slow;

impl Score for Slow {
    fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
        #[allow(clippy::disallowed_methods, reason = "a model that is slow takes its time")]
        std::thread::sleep(Duration::from_millis(30) * u32::try_from(requests.len()).unwrap());
        requests.iter().map(scripted).collect()
    }
}

/// A listener that passes every event on.
struct Ear(std::sync::Mutex<Sender<Event>>);

impl Events for Ear {
    fn told(&self, event: &Event) {
        let _ = self.0.lock().unwrap().send(event.clone());
    }
}

impl Actions for Ear {
    fn act(&self, _: &CallId, _: Action) {}
}

/// 0.9 from 35 s of a call on, 0.1 before.
struct Script;

impl Score for Script {
    fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
        requests.iter().map(scripted).collect()
    }
}

fn scripted(request: &ScoreRequest) -> Result<Scores, ScoreError> {
    let p: f32 = if request.at.seconds() >= 35.0 { 0.9 } else { 0.1 };
    Ok(Scores { frustration: (p / (1.0 - p)).ln(), speech: None })
}

fn config(policy: &str) -> Arc<CallConfig> {
    let stages = Stages::one(Model::of_features(&["level_dbfs", "mel_20_db"]));
    Arc::new(CallConfig { policy: Policy::parse(policy).unwrap(), stages: Some(stages) })
}

fn ear() -> (Arc<Ear>, Receiver<Event>) {
    let (sender, told) = channel();
    (Arc::new(Ear(std::sync::Mutex::new(sender))), told)
}

fn board(shards: usize, calls: usize) -> (Switchboard, Receiver<Event>) {
    let (ear, told) = ear();
    let scorers = (0..shards).map(|_| Box::new(Script) as Box<dyn Score>).collect();
    let limits = Limits { calls, calls_per_shard: calls };
    let board =
        Switchboard::start(scorers, config("version = \"story\""), limits, 1, ear.clone(), ear).unwrap();
    (board, told)
}

fn start(id: &str, caller: TrackFormat, agent: Option<TrackFormat>) -> Start {
    Start {
        source: "wav",
        call: Some(id.into()),
        stream: None,
        caller_channel: "left",
        caller: Format::Samples(caller),
        agent: agent.map(Format::Samples),
        from: None,
        to: None,
        metadata: Pii::new(BTreeMap::from([("notice".into(), "consent".into())])),
    }
}

fn open(board: &Switchboard, id: &str) -> Result<Line, Refused> {
    let mulaw = TrackFormat::mono(Encoding::Pcmu, SampleRate(8_000));
    board.open(&start(id, mulaw, None), &Assumed { notice: Notice::Consent, ..Assumed::default() })
}

/// A second of the caller's audio from this sample on.
fn second_of_audio(line: &mut Line, from: u64) {
    let payload = [0x55; 8_000];
    line.handle(&Message::Media { track: Speaker::Caller, position: from, payload: &payload });
}

/// Plays a file over a line, in packets of so many samples, as fast as the shard hears it.
fn play(board: &Switchboard, file: &str, id: &str, samples: u64) {
    let mut recording = Recording::open(&fixture(file)).unwrap();
    let (caller, agent, _) = recording.tracks(None).unwrap();
    let mut line = board.open(&start(id, caller, agent), &Assumed::default()).unwrap();
    let (mut packet, mut position) = (Vec::new(), 0);
    loop {
        recording.packet(40 * samples, &mut packet).unwrap();
        if packet.is_empty() {
            break;
        }
        for track in [Speaker::Caller, Speaker::Agent] {
            while line.waiting() > (QUEUE_BYTES_MAX / 4 / packet.len()).clamp(2, QUEUE_PACKETS_MAX / 4) {
                std::thread::yield_now();
            }
            line.handle(&Message::Media { track, position, payload: &packet });
        }
        position += (packet.len() / caller.bytes_per_sample()) as u64;
    }
    line.handle(&Message::Stopped("end_of_recording".into()));
}

/// What replay says of a file, as the `n`-th call would: with its id, and without a file's name.
fn replayed(file: &str, n: usize) -> (String, Vec<String>) {
    let content = Recording::open(&fixture(file)).unwrap().call_id(CallerChannel::Left).unwrap();
    let id = CallId::new(format!("call-{n}"));
    let said = lines(&fixture(file), &options(), config("version = \"story\""), 1, &mut |requests| {
        requests.iter().map(scripted).collect()
    });
    let ours = |line: &String| {
        let mut line = line.replace(&format!("\"file\":\"{file}\","), "");
        for n in 0..4 {
            let (theirs, ours) = (content.transfer(n), id.transfer(n));
            line = line.replace(&theirs, &ours).replace(&theirs.replace('-', ""), &ours.replace('-', ""));
        }
        line = line.replace(content.as_str(), id.as_str());
        line
    };
    (id.to_string(), said.iter().map(ours).collect())
}

/// The events of a call until it is over.
fn until_ended(told: &Receiver<Event>, id: &str) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = told.recv_timeout(Duration::from_secs(60)).unwrap();
        let over = matches!(event.what, EventKind::CallEnded { .. });
        if event.call.as_str() == id {
            events.push(event);
            if over {
                return events;
            }
        }
    }
}
