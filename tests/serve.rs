//! Real sockets on loopback: what a live call says is what replay says of the same audio, and nobody disturbs anybody.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

mod common;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use common::{NoDesk, fixture, line, lines, options};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};
use warmline::{
    api::{self, Console, LOGIN_FAILURES_MAX, Policies, Ring, Sessions},
    clock::SteadyClock,
    ledger::{Ledger, Place},
    media_in::{
        Door, Gate, Intake, Patience, Role, Token,
        audiosocket::{self, Announced},
        http, rtp, websocket,
    },
    outbox::Outbox,
    switchboard::{Actions, Assumed, Events, Limits, Score, Switchboard},
};
use warmline_core::{
    call::{Action, CallConfig, CallId, Event, EventKind},
    media::g711,
    policy::{Notice, Policy},
    score::{Model, ScoreError, ScoreRequest, Scores, Stages},
    transfer::UnixMillis,
};
use warmline_eval::{
    recording::{CallerChannel, Recording},
    replay::ReplayOptions,
};
use warmline_wire::rtp::PayloadTypes;

const SECOND: u64 = 8_000;
const UUID: [u8; 16] = *b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10";
const UUID_TEXT: &str = "01020304-0506-0708-090a-0b0c0d0e0f10";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_twilio_says_what_replay_says() {
    let house = House::open(Gate::default(), false).await;
    twilio(house.http, "CA1", "escalating_mulaw.wav").await;
    let said = house.until_ended("CA1").await;
    let replayed =
        Replayed { file: "escalating_mulaw.wav", source: "twilio", channel: "inbound", cause: "stop" };
    same(&said, &replayed.lines("CA1", &fixture("escalating_mulaw.wav"), None));
    assert!(said.iter().any(|line| line.contains("\"type\":\"transfer\"")));
    assert_eq!(house.get("/metrics", "").await.1.matches("warmline_packets_dropped_total 0").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_audiosocket_says_what_replay_says() {
    let house = House::open(Gate::default(), false).await;
    let caller = left("escalating.wav");
    let mut socket = TcpStream::connect(house.audiosocket).await.unwrap();
    socket.write_all(&frame(0x01, &UUID)).await.unwrap();
    for (n, samples) in caller.chunks(160).enumerate() {
        let payload: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        socket.write_all(&frame(0x10, &payload)).await.unwrap();
        breathe(n).await;
    }
    let mut heard = [0; 323];
    socket.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard[..3], [0x10, 1, 64], "silence is fed back");
    // Asterisk reads what it is sent; who closes with something unread resets the connection.
    socket.shutdown().await.unwrap();
    timeout(Duration::from_secs(10), socket.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    let said = house.until_ended(UUID_TEXT).await;
    let folder = tempfile::tempdir().unwrap();
    let path = mono(folder.path(), &caller);
    let replayed = Replayed { file: "mono.wav", source: "audiosocket", channel: "mono", cause: "closed" };
    same(&said, &replayed.lines(UUID_TEXT, &path, Some(CallerChannel::Mono)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_rtp_says_what_replay_says_of_its_decoded_samples() {
    let house = House::open(Gate::default(), false).await;
    let codes: Vec<u8> = left("escalating.wav").into_iter().map(g711::encode_mu).collect();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (n, payload) in codes.chunks(160).enumerate() {
        let sequence = 65_000u16.wrapping_add(u16::try_from(n).unwrap());
        let timestamp = (u32::MAX - 8_000).wrapping_add(160 * u32::try_from(n).unwrap());
        let head =
            [&[0x80, 0][..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, 7]].concat();
        socket.send_to(&[&head, payload].concat(), house.rtp).await.unwrap();
        breathe(n).await;
    }
    socket.send_to(&[0x81, 203, 0, 1, 0, 0, 0, 7], house.rtp).await.unwrap();
    let id = house.first_id().await;
    let said = house.until_ended(&id).await;
    let folder = tempfile::tempdir().unwrap();
    let decoded: Vec<i16> = codes.into_iter().map(g711::decode_mu).collect();
    let path = mono(folder.path(), &decoded);
    let replayed = Replayed { file: "mono.wav", source: "rtp", channel: "mono", cause: "bye" };
    same(&said, &replayed.lines(&id, &path, Some(CallerChannel::Mono)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_given_back_over_its_own_socket_in_its_protocols_words() {
    let house = House::open(Gate::default(), false).await;
    let variables = BTreeMap::from([("action".to_owned(), "transfer".to_owned())]);
    let give_back = async |call: &str| {
        for _ in 0..100 {
            if house.board.hand_back(&CallId::new(call), &variables).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("{call} cannot be given back");
    };

    let mut socket = TcpStream::connect(house.audiosocket).await.unwrap();
    socket.write_all(&[frame(0x01, &UUID), frame(0x10, &[0; 320])].concat()).await.unwrap();
    give_back(UUID_TEXT).await;
    let mut heard = Vec::new();
    timeout(Duration::from_secs(10), socket.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard[heard.len() - 3..], [0, 0, 0], "the dialplan goes on with its next step");

    let url = format!("ws://{}/v1/media?rate=8000&mix=mono", house.http);
    let (mut forked, _) = connect_async(url).await.unwrap();
    forked.send(Frame::text("{\"uuid\":\"FS1\"}")).await.unwrap();
    give_back("FS1").await;
    let told = timeout(Duration::from_secs(10), forked.next()).await.unwrap().unwrap().unwrap();
    let told: serde_json::Value = serde_json::from_str(told.to_text().unwrap()).unwrap();
    assert_eq!(told, serde_json::json!({"type": "transfer", "data": {"action": "transfer"}}));

    let (mut connected, _) = connect_async(format!("ws://{}/v1/media/twilio", house.http)).await.unwrap();
    let start = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}"#;
    connected.send(Frame::text(start)).await.unwrap();
    give_back("CA1").await;
    let told = timeout(Duration::from_secs(10), connected.next()).await.unwrap();
    assert!(
        matches!(told, Some(Ok(Frame::Close(_)))),
        "TwiML goes on behind a stream that is closed: {told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_half_open_and_killed_streams_leave_other_calls_alone() {
    let house = House::open(Gate::default(), false).await;
    let (address, audiosocket, rtp) = (house.http, house.audiosocket, house.rtp);
    let call = tokio::spawn(async move { twilio(address, "CA1", "calm.wav").await });
    let _half_open = TcpStream::connect(address).await.unwrap();
    let _silent = TcpStream::connect(audiosocket).await.unwrap();
    for n in 0..20u8 {
        for port in [address, audiosocket] {
            let mut socket = TcpStream::connect(port).await.unwrap();
            let _ = socket.write_all(&[n; 700]).await;
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&[n; 300], rtp).await.unwrap();
        let mut killed = TcpStream::connect(audiosocket).await.unwrap();
        let mut uuid = UUID;
        uuid[0] = n;
        killed
            .write_all(&[frame(0x01, &uuid), frame(0x10, &[0; 320])[..100].to_vec()].concat())
            .await
            .unwrap();
        drop(killed);
        let (mut garbled, _) = connect_async(format!("ws://{address}/v1/media")).await.unwrap();
        let text = if n % 2 == 0 { "{\"event\":\"connected\"}" } else { "no JSON at all" };
        garbled.send(Frame::text(text)).await.unwrap();
        let _ = garbled.send(Frame::binary(vec![n; 100])).await;
        drop(garbled);
    }
    call.await.unwrap();
    let said = house.until_ended("CA1").await;
    let replayed = Replayed { file: "calm.wav", source: "twilio", channel: "inbound", cause: "stop" };
    let mulaw = tempfile::tempdir().unwrap();
    let path = as_mulaw_decoded(mulaw.path(), "calm.wav");
    same(&said, &replayed.lines("CA1", &path, None));
    let metrics = house.get("/metrics", "").await.1;
    assert!(metrics.contains("warmline_malformed_total{protocol=\"audiosocket\"}"), "{metrics}");
    assert!(metrics.contains("warmline_malformed_total{protocol=\"media\"}"), "{metrics}");
    assert!(metrics.contains("warmline_malformed_total{protocol=\"rtp\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_get_in_nowhere_and_are_counted() {
    let twilio = Door { signing_key: Some("12345".into()), ..Door::default() };
    let token = |role, secret: &str| Token { role, secret: secret.into() };
    let gate = Gate {
        tokens: vec![token(Role::Integrator, "i"), token(Role::Auditor, "a")],
        doors: BTreeMap::from([("twilio".into(), twilio)]),
        public_url: Some("wss://media.example.com".into()),
    };
    let house = House::open(gate, true).await;
    let refused = |path: &str, header: (&'static str, &str)| {
        let mut request = format!("ws://{}{path}", house.http).into_client_request().unwrap();
        request.headers_mut().insert(header.0, header.1.parse().unwrap());
        async move { connect_async(request).await.err().map(|error| error.to_string()) }
    };
    for path in ["/v1/media", "/v1/media/twilio", "/v1/media/telnyx"] {
        let why = refused(path, ("x-twilio-signature", "AAAA")).await.unwrap();
        assert!(why.contains("401"), "{path}: {why}");
    }
    assert_eq!(refused("/v1/media/telnyx", ("authorization", "Bearer i")).await, None);
    assert!(refused("/v1/media/telnyx", ("authorization", "Bearer a")).await.is_some());
    // AudioHook says it in its own words.
    let (mut hook, _) = connect_async(format!("ws://{}/v1/audiohook", house.http)).await.unwrap();
    let open = r#"{"version":"2","id":"s","type":"open","seq":1,"serverseq":0,"position":"PT0S","parameters":{"organizationId":"o","conversationId":"c","participant":{"id":"p","ani":"","aniName":"","dnis":""},"media":[{"type":"audio","format":"PCMU","channels":["external"],"rate":8000}]}}"#;
    hook.send(Frame::text(open)).await.unwrap();
    let answer = timeout(Duration::from_secs(5), hook.next()).await.unwrap().unwrap().unwrap();
    assert!(answer.to_text().unwrap().contains("unauthorized"), "{answer}");
    // A UUID that was not announced.
    let mut socket = TcpStream::connect(house.audiosocket).await.unwrap();
    socket.write_all(&[frame(0x01, &UUID), frame(0x10, &[0; 320])].concat()).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await.unwrap();
    for (path, authorization) in [
        ("/api/v1/calls", ""),
        ("/api/v1/calls", "Bearer x"),
        ("/metrics", ""),
        ("/api/v1/events", "Basic i"),
    ] {
        let (head, body) = house.get(path, authorization).await;
        assert!(head.starts_with("HTTP/1.1 401") && head.contains("application/problem+json"), "{head}");
        assert!(body.contains("wrong credentials"));
    }
    assert!(house.get("/healthz", "").await.0.starts_with("HTTP/1.1 200"));
    assert!(house.post("/api/v1/calls/c/transfer", "Bearer a", "").await.0.starts_with("HTTP/1.1 403"));
    assert_eq!(house.board.live(), 0);
    let metrics = house.get("/metrics", "Bearer a").await.1;
    for (protocol, count) in
        [("twilio", 1), ("telnyx", 2), ("media", 1), ("audiohook", 1), ("audiosocket", 1), ("api", 4)]
    {
        let expected = format!("warmline_unauthorised_total{{protocol=\"{protocol}\"}} {count}\n");
        assert!(metrics.contains(&expected), "{expected} in {metrics}");
    }
    // Announced, it comes in, once.
    let announced =
        house.post(&format!("/api/v1/audiosocket/{UUID_TEXT}"), "Bearer i", "{\"queue\":\"billing\"}").await;
    assert!(announced.0.starts_with("HTTP/1.1 201"), "{announced:?}");
    let mut socket = TcpStream::connect(house.audiosocket).await.unwrap();
    socket.write_all(&[frame(0x01, &UUID), frame(0x10, &[0; 320])].concat()).await.unwrap();
    assert_eq!(house.first_id().await, UUID_TEXT);
    let (_, body) = house.get(&format!("/api/v1/calls/{UUID_TEXT}"), "Bearer a").await;
    assert!(body.contains("\"queue\":\"billing\""), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_token_and_another_sites_page_gets_nothing_done() {
    let tokens = vec![Token { role: Role::Supervisor, secret: "open sesame".into() }];
    let house = House::open(Gate { tokens, ..Gate::default() }, false).await;
    let login = |token: &str| format!("{{\"token\":\"{token}\",\"name\":\"Ada\"}}");
    let (head, _) = house.raw("POST /api/v1/session", "", &login("guess")).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    let (head, _) = house
        .raw("POST /api/v1/session", "Origin: https://elsewhere.example\r\n", &login("open sesame"))
        .await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let (head, _) = house.raw("POST /api/v1/session", "", &login("open sesame")).await;
    assert!(head.starts_with("HTTP/1.1 204") && head.contains("HttpOnly; SameSite=Strict"), "{head}");
    let cookie = head.split_once("set-cookie: ").unwrap().1.split(';').next().unwrap();
    let cookie = format!("Cookie: a=b; {cookie}\r\n");
    let (head, who) = house.raw("GET /api/v1/session", &cookie, "").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && who.contains("\"Ada\"") && who.contains("supervisor"),
        "{who}"
    );
    let forged = format!("{cookie}Sec-Fetch-Site: cross-site\r\n");
    let (head, _) = house.raw("POST /api/v1/calls/c/transfer", &forged, "").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let own = format!("{cookie}Sec-Fetch-Site: same-origin\r\n");
    let (head, _) = house.raw("POST /api/v1/calls/c/transfer", &own, "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "allowed, but there is no such call: {head}");
    let (head, _) = house.raw("DELETE /api/v1/session", &own, "").await;
    assert!(head.contains("Max-Age=0"), "{head}");
    let (head, _) = house.raw("GET /api/v1/wall", &cookie, "").await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    for _ in 0..LOGIN_FAILURES_MAX {
        house.raw("POST /api/v1/session", "", &login("guess")).await;
    }
    let (head, _) = house.raw("POST /api/v1/session", "", &login("open sesame")).await;
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after: 60"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_a_name_that_points_here_is_not_answered_to() {
    let house = House::open(Gate::default(), false).await;
    let (head, _) = house.raw("GET /api/v1/wall", "", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (head, _) = house.raw("GET /api/v1/wall", "X: y\r\nHost: rebound.example\r\n", "").await;
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_over_the_interface_reaches_the_call_and_events_are_resumed() {
    let house = House::open(Gate::default(), false).await;
    let mut socket = TcpStream::connect(house.audiosocket).await.unwrap();
    socket.write_all(&[frame(0x01, &UUID), frame(0x10, &[0; 320])].concat()).await.unwrap();
    house.first_id().await;
    let say = |what: &'static str, body: &'static str| {
        let path = format!("/api/v1/calls/{UUID_TEXT}/{what}");
        let house = &house;
        async move { house.post(&path, "", body).await.0 }
    };
    assert!(say("hold", "").await.starts_with("HTTP/1.1 202"));
    assert!(say("resume", "").await.starts_with("HTTP/1.1 202"));
    assert!(say("notice", "{\"given\":\"consent\"}").await.starts_with("HTTP/1.1 202"));
    for (what, body, status) in [
        ("transcript", "{\"speaker\":\"agent\",\"text\":\"How can I help?\",\"t\":0.0}", 202),
        ("transcript", "{\"speaker\":\"caller\",\"text\":\"I don't want an ag\",\"final\":false}", 202),
        ("transcript", "{\"speaker\":\"caller\"}", 400),
        ("bot-event", "{\"event\":\"no_match\",\"intent\":\"pay\"}", 202),
        ("bot-event", "{\"event\":\"low_confidence\"}", 400),
        ("bot-event", "{\"event\":\"low_confidence\",\"confidence\":7}", 400),
        ("bot-event", "{\"event\":\"escalation_refused\"}", 202),
    ] {
        let answer = say(what, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
    }
    assert!(say("dtmf", "{\"key\":\"0\"}").await.starts_with("HTTP/1.1 202"));
    assert!(say("dtmf", "{\"key\":\"x\"}").await.starts_with("HTTP/1.1 400"));
    assert!(say("sing", "").await.starts_with("HTTP/1.1 404"));
    assert!(house.post("/api/v1/calls/nobody/hold", "", "").await.0.starts_with("HTTP/1.1 404"));
    drop(socket);
    let said = house.until_ended(UUID_TEXT).await;
    assert!(
        said.iter().any(|l| l.contains("\"type\":\"transfer\"") && l.contains("explicit_request")),
        "{said:#?}"
    );
    assert!(
        said.iter().any(|l| l.contains("\"text\":\"How can I help?\""))
            && !said.iter().any(|l| l.contains(" ag\""))
    );
    assert!(said.iter().any(|l| l.contains("\"cue\":\"no_progress\"")), "{said:#?}");
    let followed = house.follow(0, said.len()).await;
    assert_eq!(followed, said, "every event since the first");
    assert_eq!(house.follow(2, said.len() - 2).await, said[2..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let patience = Patience {
        request: Duration::from_millis(200),
        idle: Duration::from_millis(200),
        ..Patience::default()
    };
    let house = House::with(Gate::default(), false, patience).await;
    let mut slow = TcpStream::connect(house.http).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), slow.read_to_end(&mut rest))
        .await
        .expect("a slow head is cut off")
        .unwrap();
    let mut socket = TcpStream::connect(house.audiosocket).await.unwrap();
    socket.write_all(&[frame(0x01, &UUID), frame(0x10, &[0; 320])].concat()).await.unwrap();
    house.until_ended(UUID_TEXT).await;
    assert!(house.get("/metrics", "").await.1.contains("warmline_connections_silent_total 1"));
}

/// The program itself: it says where it listens, and when it is told to end it takes no new call and ends with the last.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_drains_when_it_is_told_to_end() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("warmline.toml");
    std::fs::write(&config, "[server]\nlisten = \"127.0.0.1:0\"\nshards = 1\n").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_warmline"))
        .args(["serve", "--config", config.to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap);
    let serving = said.find(|line| line.contains("\"message\":\"serving\"")).expect("it serves");
    let serving: serde_json::Value = serde_json::from_str(&serving).unwrap();
    let address = serving["listen"].as_str().unwrap();
    let (mut live, _) = connect_async(format!("ws://{address}/v1/media")).await.unwrap();
    let start = r#"{"event":"start","streamSid":"MZ1","start":{"streamSid":"MZ1","callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}}}"#;
    live.send(Frame::text(start)).await.unwrap();
    assert!(said.any(|line| line.contains("stream started") && line.contains("CA1")));
    let kill = Command::new("kill").args(["-TERM", &program.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(said.any(|line| line.contains("draining") && line.contains("\"live\":1")));
    let (mut late, _) = connect_async(format!("ws://{address}/v1/media")).await.unwrap();
    late.send(Frame::text(start.replace("CA1", "CA2"))).await.unwrap();
    let Some(Ok(Frame::Close(Some(close)))) = late.next().await else { panic!("it is refused") };
    assert_eq!(u16::from(close.code), 1013, "try again later: {}", close.reason);
    live.send(Frame::text(r#"{"event":"stop","streamSid":"MZ1"}"#)).await.unwrap();
    let rest: Vec<String> = said.collect();
    assert!(rest.iter().any(|line| line.contains("stopping") && line.contains("\"live\":0")), "{rest:#?}");
    assert!(program.wait().unwrap().success());
}

/// A server of which everything is known: scores are scripted, ports are free ones.
struct House {
    http: SocketAddr,
    audiosocket: SocketAddr,
    rtp: SocketAddr,
    board: Arc<Switchboard>,
    told: Mutex<Receiver<Event>>,
    heard: Mutex<Vec<Event>>,
}

impl House {
    async fn open(gate: Gate, announced: bool) -> Self {
        Self::with(gate, announced, Patience::default()).await
    }

    async fn with(mut gate: Gate, announced: bool, patience: Patience) -> Self {
        for source in ["audiosocket", "rtp"] {
            let assumed = Assumed { notice: Notice::Consent, ..Assumed::default() };
            gate.doors.insert(source.into(), Door { assumed, ..Door::default() });
        }
        let stages = Stages::one(Model::of_features(&["level_dbfs", "mel_20_db"]));
        let policy = Policy::parse("version = \"story\"").unwrap();
        let config = Arc::new(CallConfig { policy, stages: Some(stages) });
        let (sender, told) = channel();
        let ring = Ring::new(0);
        let ear = Arc::new(Ear(Mutex::new(sender), Arc::clone(&ring)));
        let scorers = (0..2).map(|_| Box::new(Script) as Box<dyn Score>).collect();
        let limits = Limits { calls: 100, calls_per_shard: 100 };
        let board = Arc::new(Switchboard::start(scorers, config, limits, 1, ear.clone(), ear).unwrap());
        let intake = Arc::new(Intake::new(Arc::clone(&board), gate, patience));
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (web, asterisk) = (bind().await.unwrap(), bind().await.unwrap());
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let house = Self {
            http: web.local_addr().unwrap(),
            audiosocket: asterisk.local_addr().unwrap(),
            rtp: udp.local_addr().unwrap(),
            board,
            told: Mutex::new(told),
            heard: Mutex::default(),
        };
        let connections = Arc::new(Semaphore::new(200));
        let announced = announced.then(|| Arc::new(Announced::default()));
        let ledger = Arc::new(Ledger::open(Place::Memory).unwrap());
        let policy = Policy::parse("version = \"story\"").unwrap();
        let told = Box::new(|_: &serde_json::Value| {});
        let clock = Arc::new(SteadyClock::starting_at(UnixMillis(0)));
        let outbox = Outbox::new(ledger, Vec::new(), Default::default(), policy, clock, told);
        let console = Console {
            intake: Arc::clone(&intake),
            ring,
            outbox,
            announced: announced.clone(),
            sessions: Sessions::default(),
            policies: Policies::new([], Arc::new(NoDesk)),
            demo: false,
        };
        let router = api::routes(Arc::new(console)).merge(websocket::routes(Arc::clone(&intake)));
        tokio::spawn(http::serve(Arc::clone(&intake), web, router, Arc::clone(&connections)));
        tokio::spawn(audiosocket::serve(Arc::clone(&intake), asterisk, connections, announced));
        let port =
            rtp::Port { types: PayloadTypes::new(), sources: Vec::new(), silence: Duration::from_secs(5) };
        tokio::spawn(rtp::serve(intake, udp, port));
        house
    }

    /// The lines of a call, once it is over.
    async fn until_ended(&self, id: &str) -> Vec<String> {
        for _ in 0..3_000 {
            if let Some(lines) = self.lines_of(id) {
                return lines;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{id} does not end: {:?}", self.heard.lock().unwrap());
    }

    fn lines_of(&self, id: &str) -> Option<Vec<String>> {
        let mut heard = self.heard.lock().unwrap();
        heard.extend(self.told.lock().unwrap().try_iter());
        let of_call = || heard.iter().filter(|event| event.call.as_str() == id);
        let over = of_call().any(|event| matches!(event.what, EventKind::CallEnded { .. }));
        over.then(|| of_call().map(line).collect())
    }

    /// The id of the first call there is or was.
    async fn first_id(&self) -> String {
        for _ in 0..500 {
            self.heard.lock().unwrap().extend(self.told.lock().unwrap().try_iter());
            if let Some(event) = self.heard.lock().unwrap().first() {
                return event.call.to_string();
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no call came");
    }

    async fn get(&self, path: &str, authorization: &str) -> (String, String) {
        self.request("GET", path, authorization, "").await
    }

    async fn post(&self, path: &str, authorization: &str, body: &str) -> (String, String) {
        self.request("POST", path, authorization, body).await
    }

    async fn request(&self, method: &str, path: &str, authorization: &str, body: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.http).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// A request as a browser makes it, without `Authorization`.
    async fn raw(&self, line: &str, headers: &str, body: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.http).await.unwrap();
        let host = if headers.contains("Host:") { "" } else { "Host: 127.0.0.1\r\n" };
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\n{host}Connection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), socket.read_to_string(&mut answer)).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// So many events behind this number, over server-sent events.
    async fn follow(&self, last: u64, count: usize) -> Vec<String> {
        let mut socket = TcpStream::connect(self.http).await.unwrap();
        let request = format!("GET /api/v1/events HTTP/1.0\r\nLast-Event-ID: {last}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let (mut text, mut buffer) = (String::new(), [0; 4_096]);
        loop {
            let data: Vec<String> =
                text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect();
            if data.len() >= count && text.ends_with("\n\n") {
                return data;
            }
            let n = timeout(Duration::from_secs(5), socket.read(&mut buffer)).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
    }
}

/// Plays a file's two channels as Twilio does, the caller inbound.
async fn twilio(address: SocketAddr, id: &str, file: &str) {
    let [inbound, outbound] = mulaw(file);
    let (mut socket, _) = connect_async(format!("ws://{address}/v1/media")).await.unwrap();
    let mut sequence = 0;
    let mut message = |body: String| {
        sequence += 1;
        Frame::text(body.replace("$", &sequence.to_string()))
    };
    let connected = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;
    socket.send(Frame::text(connected)).await.unwrap();
    let start = format!(
        r#"{{"event":"start","sequenceNumber":"$","streamSid":"MZ1","start":{{"accountSid":"AC1","streamSid":"MZ1","callSid":"{id}","tracks":["inbound","outbound"],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}},"customParameters":{{"notice":"consent"}}}}}}"#
    );
    socket.send(message(start)).await.unwrap();
    for (n, (caller, agent)) in inbound.chunks(160).zip(outbound.chunks(160)).enumerate() {
        for (track, payload) in [("inbound", caller), ("outbound", agent)] {
            let media = format!(
                r#"{{"event":"media","sequenceNumber":"$","streamSid":"MZ1","media":{{"track":"{track}","chunk":"{}","timestamp":"{}","payload":"{}"}}}}"#,
                n + 1,
                20 * n,
                STANDARD.encode(payload)
            );
            socket.send(message(media)).await.unwrap();
        }
        breathe(n).await;
    }
    let stop = r#"{"event":"stop","sequenceNumber":"$","streamSid":"MZ1","stop":{"accountSid":"AC1","callSid":"x"}}"#;
    socket.send(message(stop.to_owned())).await.unwrap();
    socket.close(None).await.unwrap();
}

/// Every second of audio takes 20 ms: more than real time, and less than would fill a queue.
async fn breathe(n: usize) {
    if n % 50 == 49 {
        sleep(Duration::from_millis(20)).await;
    }
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

/// The caller's and the agent's channel of a two-channel fixture, µ-law.
fn mulaw(file: &str) -> [Vec<u8>; 2] {
    let bytes = bytes(file);
    let side = |channel: usize| {
        if file.contains("mulaw") {
            bytes.chunks(2).map(|pair| pair[channel]).collect()
        } else {
            let sample = |f: &[u8]| i16::from_le_bytes([f[2 * channel], f[2 * channel + 1]]);
            bytes.chunks(4).map(|frame| g711::encode_mu(sample(frame))).collect()
        }
    };
    [side(0), side(1)]
}

fn bytes(file: &str) -> Vec<u8> {
    let mut recording = Recording::open(&fixture(file)).unwrap();
    let mut bytes = Vec::new();
    recording.packet(600 * SECOND, &mut bytes).unwrap();
    bytes
}

/// The caller's channel of a two-channel fixture of 16 bits.
fn left(file: &str) -> Vec<i16> {
    bytes(file).chunks(4).map(|frame| i16::from_le_bytes([frame[0], frame[1]])).collect()
}

fn mono(folder: &Path, samples: &[i16]) -> std::path::PathBuf {
    write(folder.join("mono.wav"), 1, samples.iter().copied())
}

/// A two-channel fixture after µ-law.
fn as_mulaw_decoded(folder: &Path, file: &str) -> std::path::PathBuf {
    let [left, right] = mulaw(file);
    let samples = left.into_iter().zip(right).flat_map(|(l, r)| [g711::decode_mu(l), g711::decode_mu(r)]);
    write(folder.join(file), 2, samples)
}

fn write(path: std::path::PathBuf, channels: u16, samples: impl Iterator<Item = i16>) -> std::path::PathBuf {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels, sample_rate: 8_000, bits_per_sample: 16, sample_format };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
    path
}

/// What replay says, in the words that must differ.
struct Replayed {
    file: &'static str,
    source: &'static str,
    channel: &'static str,
    cause: &'static str,
}

impl Replayed {
    fn lines(&self, id: &str, path: &Path, channel: Option<CallerChannel>) -> Vec<String> {
        let options = ReplayOptions { caller_channel: channel, ..options() };
        let side = channel.unwrap_or(CallerChannel::Left);
        let content = Recording::open(path).unwrap().call_id(side).unwrap();
        let ours = CallId::new(id);
        let stages = Stages::one(Model::of_features(&["level_dbfs", "mel_20_db"]));
        let policy = Policy::parse("version = \"story\"").unwrap();
        let config = Arc::new(CallConfig { policy, stages: Some(stages) });
        let said = lines(path, &options, config, 1, &mut |requests| requests.iter().map(scripted).collect());
        let translate = |line: &String| {
            let mut line = line
                .replace(&format!("\"file\":\"{}\",", self.file), "")
                .replace("\"source\":\"wav\"", &format!("\"source\":\"{}\"", self.source))
                .replace(
                    &format!("\"caller_channel\":\"{}\"", side.name()),
                    &format!("\"caller_channel\":\"{}\"", self.channel),
                )
                .replace("\"cause\":\"end_of_recording\"", &format!("\"cause\":\"{}\"", self.cause));
            for n in 0..4 {
                let (a, b) = (content.transfer(n), ours.transfer(n));
                line = line.replace(&a, &b).replace(&a.replace('-', ""), &b.replace('-', ""));
            }
            line.replace(content.as_str(), id)
        };
        said.iter().map(translate).collect()
    }
}

fn same(said: &[String], replayed: &[String]) {
    for (said, replayed) in said.iter().zip(replayed) {
        assert_eq!(said, replayed);
    }
    assert_eq!(said.len(), replayed.len());
}

struct Ear(Mutex<Sender<Event>>, Arc<Ring>);

impl Events for Ear {
    fn told(&self, event: &Event) {
        let _ = self.0.lock().unwrap().send(event.clone());
        self.1.told(event);
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
