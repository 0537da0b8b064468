//! Transfers over real HTTP: receivers that are slow, wrong, away, redirecting or hanging, a full disk, a program that ends in the middle,
//! and what people may say about a transfer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    process::Command as Program,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};
use warmline::{
    api::{self, Console, Policies, Ring, Sessions},
    connectors::{Connector, webhook},
    ledger::{Ledger, Place, verify},
    media_in::{Gate, Intake, Patience, Role, Token, http},
    outbox,
    outbox::Outbox,
    switchboard::{Assumed, Command, Events, Limits, Line, Score, Switchboard, TURN_EVERY_US},
};
use warmline_core::{
    call::{CallConfig, CallId, Event},
    media::{Encoding, Format},
    policy::{Notice, Policy},
    score::{ScoreError, ScoreRequest, Scores},
    transfer::UnixMillis,
    units::{Pii, SampleRate},
};
use warmline_wire::Start;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_receiver_does_a_transfer_ends_and_is_executed_at_most_once() {
    // What it does at the first delivery and from then on, the state that comes of it, deliveries, executions, at least so many ms.
    let table = [
        ("ok", "ok", "accepted", 1, 1, 0),
        ("slow", "ok", "accepted", 1, 1, 700),
        ("500", "ok", "accepted", 2, 1, 180),
        ("429", "ok", "accepted", 2, 1, 1_000),
        ("503 date", "ok", "accepted", 2, 1, 0),
        ("hang", "ok", "accepted", 2, 1, 1_000),
        ("hang after", "ok", "accepted", 2, 1, 1_000),
        ("break", "ok", "accepted", 2, 1, 0),
        ("break after", "ok", "accepted", 2, 1, 0),
        ("400", "400", "failed", 1, 0, 0),
        ("410", "ok", "failed", 1, 0, 0),
        ("302", "302", "failed", 1, 0, 0),
        ("500", "500", "expired", 0, 0, 3_000),
        ("garbage", "garbage", "failed", 0, 0, 0),
    ];
    let mut lines = Vec::new();
    for (first, then, expected, deliveries, executions, least_ms) in table {
        let receiver = Receiver::open(first, then).await;
        let house = House::open(&receiver.url(), Place::Memory, Gate::default()).await;
        #[allow(clippy::disallowed_methods, reason = "how long it took is what is shown")]
        let began = Instant::now();
        let id = house.ask("CA1").await;
        let transfer = house.until_over(&id, 25).await;
        let took = began.elapsed();
        let (came, executed) = receiver.figures();
        lines.push(format!(
            "{first:<12} then {then:<8} {:<9} {came:>2} deliveries {executed} executed {:>5} ms  {}",
            transfer["state"].as_str().unwrap(),
            took.as_millis(),
            transfer["attempts"][0]["detail"].as_str().or(transfer["reason"].as_str()).unwrap_or_default()
        ));
        assert_eq!(transfer["state"], expected, "{first}: {transfer:#}");
        assert_eq!(executed, executions, "{first}");
        assert!(deliveries == 0 || came == deliveries, "{first}: {came} deliveries");
        assert!(took >= Duration::from_millis(least_ms), "{first}: {took:?}");
        assert!(receiver.faults().is_empty(), "{:?}", receiver.faults());
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let house = House::open(&url, Place::Memory, Gate::default()).await;
    let id = house.ask("CA1").await;
    let transfer = house.until_over(&id, 10).await;
    assert_eq!(transfer["state"], "expired");
    lines.push(format!("nobody listens             expired   {}", transfer["reason"].as_str().unwrap()));
    print(&lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_this_machine_is_not_called_unless_that_is_allowed() {
    let receiver = Receiver::open("ok", "ok").await;
    let url = receiver.url().replace("127.0.0.1", "localhost");
    let guarded = webhook::Settings { allow_private: false, ..settings("webhook", &url) };
    let house = House::with(vec![connector(&guarded)], Place::Memory, Gate::default(), None).await;
    let id = house.ask("CA1").await;
    let transfer = house.until_over(&id, 10).await;
    assert_eq!(transfer["state"], "failed");
    assert!(transfer["reason"].as_str().unwrap().contains("private network"), "{transfer:#}");
    assert_eq!(receiver.figures(), (0, 0));
    let allowed = House::open(&url, Place::Memory, Gate::default()).await;
    let id = allowed.ask("CA1").await;
    assert_eq!(allowed.until_over(&id, 5).await["state"], "accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_one_receiver_is_away_the_next_has_the_transfer() {
    let (away, there) = (Receiver::open("500", "500").await, Receiver::open("ok", "ok").await);
    let both = [settings("first", &away.url()), settings("second", &there.url())];
    let connectors = both.iter().map(connector).collect();
    let house = House::with(connectors, Place::Memory, Gate::default(), None).await;
    let id = house.ask("CA1").await;
    let transfer = house.until_over(&id, 10).await;
    assert_eq!(transfer["state"], "accepted");
    let tried: Vec<&str> =
        transfer["attempts"].as_array().unwrap().iter().map(|a| a["connector"].as_str().unwrap()).collect();
    assert_eq!(tried, ["first", "first", "first", "second"]);
    assert_eq!((away.figures().1, there.figures().1), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_has_its_packet_its_story_and_its_verdict() {
    let receiver = Receiver::open("ok", "ok").await;
    let house = House::open(&receiver.url(), Place::Memory, Gate::default()).await;
    let id = house.ask("CA1").await;
    house.until_over(&id, 5).await;
    let body = receiver.bodies().pop().unwrap();
    assert_eq!(body["type"], "call.transfer.requested");
    assert_eq!((&body["data"]["transfer"], &body["data"]["call"]), (&json!(id), &json!("CA1")));
    let (status, packet) = house.get(&format!("packets/{id}"), "").await;
    assert_eq!((status, &packet), (200, &body["data"]["packet"]));
    let (status, told) = house.post(&format!("transfers/{id}/claim"), "", r#"{"by":"ada"}"#).await;
    assert_eq!((status, &told["claimed_by"]), (200, &json!("ada")));
    assert_eq!(house.post(&format!("transfers/{id}/claim"), "", r#"{"by":"bob"}"#).await.0, 409);
    assert_eq!(house.post(&format!("transfers/{id}/claim"), "", r#"{"by":"ada"}"#).await.0, 200);
    let (status, told) =
        house.post(&format!("transfers/{id}/outcome"), "", r#"{"outcome":"connected"}"#).await;
    assert_eq!((status, &told["state"]), (200, &json!("connected")));
    assert!(told["ended_at"].is_string());
    let late = house.post(&format!("transfers/{id}/outcome"), "", r#"{"outcome":"busy"}"#).await;
    assert_eq!(late.0, 409);
    assert_eq!(house.post(&format!("transfers/{id}/outcome"), "", r#"{"outcome":"connected"}"#).await.0, 200);
    let verdict = r#"{"verdict":"helpful","note":"was furious"}"#;
    let (status, told) = house.post(&format!("transfers/{id}/verdict"), "", verdict).await;
    assert_eq!((status, &told["verdict"], &told["note"]), (200, &json!("helpful"), &json!("was furious")));
    assert_eq!(house.post("missed", "", r#"{"call":"CA7","t":12.5}"#).await.0, 201);
    assert_eq!(house.post("transfers/none/claim", "", "").await.0, 404);
    assert_eq!(house.post(&format!("transfers/{id}/outcome"), "", r#"{"outcome":"offered"}"#).await.0, 400);
    house.hang_up("CA1");
    for _ in 0..100 {
        if house.get("stats", "").await.1["calls"] == 1 {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let (_, stats) = house.get("stats", "").await;
    assert_eq!(
        (&stats["calls"], &stats["transfers"], &stats["missed_reported"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!((&stats["precision"]["value"], &stats["precision"]["n"]), (&json!(1.0), &json!(1)));
    assert!(stats["time_to_human_s"]["p50"].is_number() && stats["advice"].is_null());
    let (_, audit) = house.get("audit", "").await;
    let what: Vec<&str> =
        audit["entries"].as_array().unwrap().iter().map(|e| e["what"].as_str().unwrap()).collect();
    for expected in
        ["started", "decided", "attempt", "state", "claimed", "outcome", "verdict", "missed", "call_over"]
    {
        assert!(what.contains(&expected), "{expected} is not in {what:?}");
    }
    let decided = audit["entries"].as_array().unwrap().iter().find(|e| e["what"] == "decided").unwrap();
    assert_eq!(decided["detail"]["notice"], json!({ "given": "consent", "required": "notice" }));
    assert!(decided["detail"]["policy"]["sha256"].is_string());
    assert!(house.outbox.ledger().read(|c| Ok(verify(c)?.is_ok())).await.unwrap());
    let types: Vec<String> =
        house.said().iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect();
    for expected in ["transfer_outcome", "transfer_claimed", "transfer_verdict"] {
        assert!(types.iter().any(|kind| kind == expected), "{expected} is not in {types:?}");
    }
    let outcomes = house.said();
    let outcomes: Vec<&str> = outcomes.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["offered", "accepted", "connected"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_say_what_is_its_own_and_no_more() {
    let receiver = Receiver::open("ok", "ok").await;
    let token = |role, secret: &str| Token { role, secret: secret.into() };
    let tokens = vec![
        token(Role::Integrator, "i"),
        token(Role::Agent, "a"),
        token(Role::Supervisor, "s"),
        token(Role::Auditor, "u"),
    ];
    let house = House::open(&receiver.url(), Place::Memory, Gate { tokens, ..Gate::default() }).await;
    let id = house.ask("CA1").await;
    sleep(Duration::from_millis(300)).await;
    let one = format!("transfers/{id}");
    let of = |what: &str| format!("{one}/{what}");
    let verdict = r#"{"verdict":"unneeded"}"#;
    let outcome = r#"{"outcome":"ringing"}"#;
    for (role, claim, out, judge, dismiss, capacity, audit, packet) in [
        ("i", 403, 200, 403, 403, 202, 403, 200),
        ("a", 200, 200, 200, 403, 403, 403, 200),
        ("u", 403, 403, 403, 403, 403, 200, 403),
        ("x", 401, 401, 401, 401, 401, 401, 401),
        ("s", 409, 200, 200, 200, 202, 403, 200),
    ] {
        let by = format!(r#"{{"by":"{role}"}}"#);
        let said = [
            house.post(&of("claim"), role, &by).await.0,
            house.post(&of("outcome"), role, outcome).await.0,
            house.post(&of("verdict"), role, verdict).await.0,
            house.post("calls/CA1/dismiss", role, r#"{"reason":"calm"}"#).await.0,
            house.post("capacity", role, r#"{"free":3}"#).await.0,
            house.get("audit", role).await.0,
            house.get(&format!("packets/{id}"), role).await.0,
        ];
        assert_eq!(said, [claim, out, judge, dismiss, capacity, audit, packet], "{role}");
    }
    assert_eq!(house.get(&one, "u").await.1["state"], "dismissed");
    let cancelled = receiver.bodies().into_iter().filter(|body| body["type"] == "call.transfer.cancelled");
    assert_eq!(cancelled.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_human_is_free_the_caller_waits_in_a_queue_and_hanging_up_leaves_it() {
    let receiver = Receiver::open("ok", "ok").await;
    let house = House::open(&receiver.url(), Place::Memory, Gate::default()).await;
    assert_eq!(house.post("capacity", "", r#"{"free":0}"#).await.0, 202);
    let mut ids = Vec::new();
    for call in ["CA1", "CA2", "CA3"] {
        ids.push(house.ask(call).await);
        // What is asked within a turn of the shard is asked at the same moment.
        sleep(Duration::from_micros(2 * TURN_EVERY_US)).await;
    }
    let places = |told: &Value| -> Vec<(String, u64)> {
        let waiting = told["transfers"].as_array().unwrap().iter().rev();
        waiting.map(|t| (t["call"].as_str().unwrap().into(), t["position"].as_u64().unwrap())).collect()
    };
    let (_, told) = house.get("transfers?state=waiting", "").await;
    let expected = [("CA1", 1), ("CA2", 2), ("CA3", 3)].map(|(call, place)| (call.to_owned(), place));
    assert_eq!(places(&told), expected);
    house.hang_up("CA2");
    assert_eq!(house.until_over(&ids[1], 5).await["state"], "caller_gone");
    assert_eq!(house.get(&format!("transfers/{}", ids[2]), "").await.1["position"], 2);
    house.post("capacity", "", r#"{"free":1}"#).await;
    assert_eq!(house.until_over(&ids[0], 5).await["state"], "accepted");
    assert_eq!(house.get(&format!("transfers/{}", ids[2]), "").await.1["state"], "waiting");
    // Whoever takes it is the human it waits for.
    assert_eq!(house.post(&format!("transfers/{}/claim", ids[2]), "", r#"{"by":"ada"}"#).await.0, 200);
    assert_eq!(house.until_over(&ids[2], 5).await["state"], "accepted");
    assert_eq!(receiver.figures(), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_caller_alone_is_told_and_is_made_good() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::open("ok", "ok").await;
    let place = Place::File(folder.path().join("a.db"));
    let ledger = Ledger::limited(place, Some(24)).unwrap();
    let house = House::with(
        vec![connector(&settings("webhook", &receiver.url()))],
        Place::Memory,
        Gate::default(),
        Some(ledger),
    )
    .await;
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(house.ask(&format!("CA{n}")).await);
    }
    for id in &ids {
        assert_eq!(house.until_over(id, 10).await["state"], "accepted");
    }
    assert_eq!(receiver.figures().1, 12, "every caller is handed over");
    assert!(house.outbox.counts().unwritten.load(Ordering::Relaxed) > 0);
    let (status, said) = house.root("readyz").await;
    assert!(status == 503 && said.contains("disk is full"), "{said}");
    assert!(house.root("metrics").await.1.contains("warmline_ledger_failing 1"));
    house.outbox.ledger().widen(100_000).await.unwrap();
    for _ in 0..100 {
        if house.outbox.ledger().failing().is_none() {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(house.root("readyz").await.0, 200);
    let (_, told) = house.get("transfers?state=accepted", "").await;
    assert_eq!(told["transfers"].as_array().unwrap().len(), 12, "what waited in memory is written");
    assert!(house.outbox.ledger().read(|c| Ok(verify(c)?.is_ok())).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_what_was_not_finished_goes_on_and_nothing_is_executed_twice() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("a.db"));
    let receiver = Receiver::open("hang after", "hang once more").await;
    let house = House::open(&receiver.url(), place.clone(), Gate::default()).await;
    let id = house.ask("CA1").await;
    for _ in 0..200 {
        if receiver.figures().1 == 1 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(receiver.figures(), (1, 1), "it was executed, and nobody heard so");
    house.die();
    // The second start ends in the middle of the reading, and the third finds what the second found.
    let house = House::open(&receiver.url(), place.clone(), Gate::default()).await;
    for _ in 0..200 {
        if receiver.figures().0 == 2 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    house.die();
    let house = House::open(&receiver.url(), place.clone(), Gate::default()).await;
    let transfer = house.until_over(&id, 5).await;
    assert_eq!(transfer["state"], "accepted");
    assert_eq!(receiver.figures(), (3, 1), "it was offered again under the same id, and executed once");
    // The caller's stream comes back after the restart and asks again: that transfer is known.
    house.open_call("CA1");
    house.board.tell(&CallId::new("CA1"), Command::ExplicitRequest).unwrap();
    sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.figures(), (3, 1));
    assert_eq!(house.outbox.counts().repeated.load(Ordering::Relaxed), 1);
    house.die();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_back_after_a_transfer_came_to_nothing_gets_another_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("a.db"));
    let away = Receiver::open("400", "400").await;
    let house = House::open(&away.url(), place.clone(), Gate::default()).await;
    let id = house.ask("CA1").await;
    assert_eq!(house.until_over(&id, 5).await["state"], "failed");
    house.die();
    let there = Receiver::open("ok", "ok").await;
    let house = House::open(&there.url(), place, Gate::default()).await;
    assert_eq!(house.ask("CA1").await, id, "the switchboard does not know the call from before");
    for _ in 0..200 {
        if there.figures().1 == 1 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let (_, told) = house.get("transfers", "").await;
    let states: Vec<&str> =
        told["transfers"].as_array().unwrap().iter().map(|t| t["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["accepted", "failed"]);
    let body = there.bodies().pop().unwrap();
    assert!(body["data"]["transfer"] != json!(id));
    assert_eq!(body["data"]["packet"]["ref"]["transfer"], body["data"]["transfer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_too_long_for_a_webhook_arrives_cut_and_whole() {
    let receiver = Receiver::open("ok", "ok").await;
    let house = House::open(&receiver.url(), Place::Memory, Gate::default()).await;
    let long: BTreeMap<String, String> = (0..64).map(|n| (format!("key-{n}"), "x".repeat(900))).collect();
    house.open_call_with("CA1", long);
    house.board.tell(&CallId::new("CA1"), Command::ExplicitRequest).unwrap();
    for _ in 0..200 {
        if receiver.figures().1 == 1 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    let body = receiver.bodies().pop().unwrap();
    assert!(body.to_string().len() <= webhook::BODY_MAX);
    let kept = body["data"]["packet"]["full"]["call"]["metadata"].as_object().unwrap().len();
    assert!((1..64).contains(&kept), "{kept} of 64 entries of metadata");
    assert!(body["data"]["packet"]["full"]["trigger"].is_object());
}

#[test]
fn killed_at_random_no_transfer_is_lost_and_none_is_executed_twice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let runtime = std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| Path::new(&path).exists());
    if !runtime || Program::new("python3").arg("--version").output().is_err() {
        print(&["skipped: python3 or ONNX Runtime is not here".into()]);
        return;
    }
    let output = Program::new("python3")
        .arg(root.join("scripts/kill_test.py"))
        .args(["--kills", "4", "--port", "8100", "--program", env!("CARGO_BIN_EXE_warmline")])
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// A receiver that checks every signature, executes each `webhook-id` once, and otherwise does as it is told.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

struct Seen {
    first: &'static str,
    then: &'static str,
    deliveries: AtomicUsize,
    executed: Mutex<BTreeSet<String>>,
    bodies: Mutex<Vec<Value>>,
    faults: Mutex<Vec<String>>,
}

impl Receiver {
    async fn open(first: &'static str, then: &'static str) -> Self {
        let seen = Arc::new(Seen {
            first,
            then,
            deliveries: AtomicUsize::new(0),
            executed: Mutex::default(),
            bodies: Mutex::default(),
            faults: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            if first == "garbage" {
                loop {
                    let (mut socket, _) = listener.accept().await.unwrap();
                    let _ =
                        tokio::io::AsyncWriteExt::write_all(&mut socket, b"220 mail.example.com ESMTP\r\n")
                            .await;
                    sleep(Duration::from_millis(20)).await;
                }
            }
            axum::serve(listener, Router::new().route("/", post(take)).with_state(shared)).await.unwrap();
        });
        Self { address, seen, serving }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Deliveries and executions.
    fn figures(&self) -> (usize, usize) {
        (self.seen.deliveries.load(Ordering::SeqCst), self.seen.executed.lock().unwrap().len())
    }

    fn bodies(&self) -> Vec<Value> {
        self.seen.bodies.lock().unwrap().clone()
    }

    fn faults(&self) -> Vec<String> {
        self.seen.faults.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> axum::response::Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let id = header("webhook-id");
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(&SECRET[6..]).unwrap()).unwrap();
    mac.update(format!("{id}.{}.", header("webhook-timestamp")).as_bytes());
    mac.update(&body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    if header("webhook-signature") != expected || id.contains('.') || body.len() > webhook::BODY_MAX {
        seen.faults.lock().unwrap().push(format!("{id}: {}", header("webhook-signature")));
    }
    let said: Value = serde_json::from_slice(&body).unwrap();
    let is_request = said["type"] == "call.transfer.requested";
    seen.bodies.lock().unwrap().push(said);
    let n = if is_request { seen.deliveries.fetch_add(1, Ordering::SeqCst) } else { 1 };
    let execute = || {
        if is_request {
            seen.executed.lock().unwrap().insert(id.clone());
        }
    };
    match if n == 0 { seen.first } else { seen.then } {
        "ok" => {
            execute();
            "".into_response()
        }
        "slow" => {
            sleep(Duration::from_millis(700)).await;
            execute();
            "".into_response()
        }
        "429" => (axum::http::StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
        "503 date" => {
            let past = "Sun, 06 Nov 1994 08:49:37 GMT";
            (axum::http::StatusCode::SERVICE_UNAVAILABLE, [("retry-after", past)]).into_response()
        }
        "302" => (axum::http::StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]).into_response(),
        "hang" => std::future::pending().await,
        "hang once more" if n == 1 => std::future::pending().await,
        "hang once more" => "".into_response(),
        "hang after" => {
            execute();
            std::future::pending().await
        }
        // A body that breaks off breaks the connection off.
        "break" => broken(),
        "break after" => {
            execute();
            broken()
        }
        status => axum::http::StatusCode::from_u16(status.parse().unwrap()).unwrap().into_response(),
    }
}

fn broken() -> axum::response::Response {
    panic!("the connection breaks off")
}

/// A program without a socket for media: calls are opened on the switchboard.
struct House {
    board: Arc<Switchboard>,
    outbox: Arc<Outbox>,
    address: SocketAddr,
    lines: Mutex<BTreeMap<String, Line>>,
    said: Arc<Mutex<Vec<Value>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl House {
    async fn open(url: &str, place: Place, gate: Gate) -> Self {
        Self::with(vec![connector(&settings("webhook", url))], place, gate, None).await
    }

    async fn with(
        connectors: Vec<Arc<dyn Connector>>,
        place: Place,
        gate: Gate,
        ledger: Option<Ledger>,
    ) -> Self {
        let policy = Policy::parse("version = \"story\"").unwrap();
        let ledger = Arc::new(ledger.unwrap_or_else(|| Ledger::open(place).unwrap()));
        let said = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&said);
        let told = Box::new(move |line: &Value| hears.lock().unwrap().push(line.clone()));
        let settings = outbox::Settings { deadline: Duration::from_secs(4), ..outbox::Settings::default() };
        let outbox = Outbox::new(ledger, connectors, settings, policy.clone(), now(), told);
        let config = Arc::new(CallConfig { policy, stages: None });
        let limits = Limits { calls: 300, calls_per_shard: 300 };
        let events = Arc::new(Ear(Arc::clone(&outbox)));
        let scorers = vec![Box::new(Mute) as Box<dyn Score>];
        let actions = Arc::clone(&outbox);
        let board = Arc::new(Switchboard::start(scorers, config, limits, 1, events, actions).unwrap());
        let (running, of_board) = (Arc::clone(&outbox), Arc::clone(&board));
        let hands_off = tokio::spawn(async move { running.run(&of_board).await.unwrap() });
        let intake = Arc::new(Intake::new(Arc::clone(&board), gate, Patience::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let console = Console {
            intake: Arc::clone(&intake),
            ring: Ring::new(0),
            outbox: Arc::clone(&outbox),
            announced: None,
            sessions: Sessions::default(),
            policies: Policies::new([], Arc::new(common::NoDesk)),
            demo: false,
        };
        let router = api::routes(Arc::new(console));
        let serving = tokio::spawn(http::serve(intake, listener, router, Arc::new(Semaphore::new(100))));
        Self { board, outbox, address, lines: Mutex::default(), said, tasks: vec![hands_off, serving] }
    }

    fn open_call(&self, id: &str) {
        self.open_call_with(id, BTreeMap::new());
    }

    fn open_call_with(&self, id: &str, metadata: BTreeMap<String, String>) {
        let start = Start {
            source: "twilio",
            call: Some(id.into()),
            stream: None,
            caller_channel: "inbound",
            caller: Format::mono(Encoding::Pcmu, SampleRate(8_000)),
            agent: None,
            from: None,
            to: None,
            metadata: Pii::new(metadata),
        };
        let assumed = Assumed { notice: Notice::Consent, ..Assumed::default() };
        let line = self.board.open(&start, &assumed).unwrap();
        self.lines.lock().unwrap().insert(id.into(), line);
    }

    /// Opens a call that asks for a person; the transfer's id.
    async fn ask(&self, call: &str) -> String {
        self.open_call(call);
        self.board.tell(&CallId::new(call), Command::ExplicitRequest).unwrap();
        CallId::new(call).transfer(0)
    }

    fn hang_up(&self, call: &str) {
        drop(self.lines.lock().unwrap().remove(call));
    }

    /// What the interface tells of a transfer once nothing more is done for it.
    async fn until_over(&self, id: &str, seconds: u64) -> Value {
        let over = async {
            loop {
                let (_, told) = self.get(&format!("transfers/{id}"), "").await;
                let state = told["state"].as_str().unwrap_or_default();
                if !matches!(state, "" | "waiting" | "offered" | "ringing") {
                    return told;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(seconds), over).await.expect("it does not end")
    }

    fn said(&self) -> Vec<Value> {
        self.said.lock().unwrap().clone()
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let url = format!("http://{}/api/v1/{path}", self.address);
        told(client().get(url).bearer_auth(token)).await
    }

    async fn post(&self, path: &str, token: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}/api/v1/{path}", self.address);
        told(client().post(url).bearer_auth(token).body(body.to_owned())).await
    }

    async fn root(&self, path: &str) -> (u16, String) {
        let answer = client().get(format!("http://{}/{path}", self.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Ends as a program does that is killed: nothing is said to anybody.
    fn die(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn told(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_default())
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn settings(name: &str, url: &str) -> webhook::Settings {
    webhook::Settings {
        name: name.into(),
        url: url.into(),
        secrets: vec![SECRET.into()],
        cloud_events: false,
        allow_private: true,
        timeout: Duration::from_secs(1),
    }
}

fn connector(settings: &webhook::Settings) -> Arc<dyn Connector> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    webhook::connector(settings).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "a test's transfers are dated with the day it runs")]
fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

#[allow(clippy::print_stderr, reason = "the table is what is looked at")]
fn print(lines: &[String]) {
    lines.iter().for_each(|line| eprintln!("{line}"));
}

struct Ear(Arc<Outbox>);

impl Events for Ear {
    fn told(&self, event: &Event) {
        self.0.told(event);
    }
}

/// There is no model: nothing is scored.
struct Mute;

impl Score for Mute {
    fn score(&mut self, requests: &[ScoreRequest]) -> Vec<Result<Scores, ScoreError>> {
        requests.iter().map(|_| Err(ScoreError::NotFinite)).collect()
    }
}
