//! Connectors against receivers that are as strict as the vendor's documents, and against the real thing where it runs here.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, Response, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use warmline::{
    config::Config,
    handoff::{Answer, Connector, Failure, HandBack, Offer, World, settings::Secret},
    packet::{CallContext, Consent, ContextPacket, Conversation, Full, Provenance, Trend, Trigger},
    policy::{Cue, Notice},
    units::Probability,
};

const TRANSFER: &str = "018f3a4e-8a2b-8c3d-9e4f-5a6b7c8d9e0f";
const UUI: &str = "018f3a4e8a2b8c3d9e4f5a6b7c8d9e0fcf01";
const CALL: &str = "CA0123456789abcdef0123456789abcdef";
const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

/// What a caller or an integrator may say to break out of wherever it is put.
const EVIL: &str = "\"'</Number></Dial><Hangup/>]]>&amp;;${SHELL(x)}\r\nX-Evil: 1\r\n\r\nAction: Originate\n\n%0d%0a\u{0}\u{1F4A3}";

// Twilio

#[tokio::test]
async fn twilio_dials_a_human_with_the_context_in_sip_headers() {
    let fake = Receiver::twilio("in-progress").await;
    let twilio = fake.connector(&twilio_table("sip:agent@pbx.example;transport=tls", ""));
    assert_eq!(twilio.offer(&offer("billing", CALL)).await, Ok(Answer::Accepted));
    let dialled = Dialled::read(&fake.form()["Twiml"]);
    assert_eq!(dialled.sip.as_deref(), Some("sip:agent@pbx.example;transport=tls"));
    assert_eq!(dialled.headers["User-to-User"], format!("{UUI};encoding=hex"));
    assert_eq!(dialled.headers["X-Warmline-Transfer-Id"], TRANSFER);
    assert_eq!(dialled.headers["X-Warmline-Reason"], "frustration");
    assert_eq!(dialled.headers["X-Warmline-Packet-Url"], "https://warmline.example/packets/1");
}

#[tokio::test]
async fn nothing_a_caller_says_breaks_out_of_twiml_or_its_limits() {
    let targets = [
        "+15550100",
        "sip:agent@pbx.example",
        "queue:humans",
        "workflow:WW0123456789abcdef0123456789abcdef",
        "conference:room",
    ];
    let long = format!("https://agents.example/{}?x=%22&y=1", "w".repeat(900));
    for target in targets {
        for text in [EVIL.to_owned(), "a ".repeat(4_000), EVIL.repeat(50), "&<>\"' ".repeat(300)] {
            let more = format!("whisper = {long:?}\nafterwards = {long:?}");
            let fake = Receiver::twilio("in-progress").await;
            let twilio = fake.connector(&twilio_table(target, &more));
            assert_eq!(twilio.offer(&offer(&text, CALL)).await, Ok(Answer::Accepted), "{target}");
            let read = Dialled::read(&fake.form()["Twiml"]);
            assert_eq!(
                read.verbs,
                [
                    if target.starts_with("queue") || target.starts_with("workflow") {
                        "Enqueue"
                    } else {
                        "Dial"
                    },
                    "Redirect"
                ],
                "{target}"
            );
            if let Some(task) = read.task {
                assert_eq!(task["warmline"]["transfer_id"], TRANSFER);
                assert_eq!(task["warmline_ref"], UUI);
            }
        }
    }
}

#[tokio::test]
async fn what_twilio_answers_says_whether_the_caller_is_there_and_whether_to_try_again() {
    let cases: [(u16, Value, Result<Answer, Kind>); 9] = [
        (200, json!({"status": "in-progress"}), Ok(Answer::Accepted)),
        (200, json!({"status": "completed"}), Ok(Answer::CallerGone)),
        (404, json!({"code": 20404}), Ok(Answer::CallerGone)),
        (400, json!({"code": 21220}), Ok(Answer::CallerGone)),
        (429, json!({"code": 20429}), Err(Kind::Again(Some(2)))),
        (401, json!({"code": 20003}), Err(Kind::Never)),
        (400, json!({"code": 21218}), Err(Kind::Never)),
        (503, json!({}), Err(Kind::Again(Some(2)))),
        (302, json!({}), Err(Kind::Never)),
    ];
    for (status, body, expected) in cases {
        let words = body.to_string();
        let fake = Receiver::start(move |_| answer(status, &body)).await;
        let twilio = fake.connector(&twilio_table("+15550100", ""));
        assert_eq!(twilio.offer(&offer("q", CALL)).await.map_err(Kind::of), expected, "{status} {words}");
        assert_eq!(fake.seen().len(), 1, "{status}: asked once, redirects are not followed");
    }
}

#[tokio::test]
async fn an_update_of_which_twilio_said_nothing_is_read_from_the_call_and_its_children() {
    let cases = [
        ("completed", json!([]), Ok(Some(Answer::CallerGone))),
        ("in-progress", json!([]), Ok(None)),
        ("in-progress", json!([{"status": "ringing"}]), Ok(Some(Answer::Ringing))),
        ("in-progress", json!([{"status": "in-progress"}]), Ok(Some(Answer::Connected))),
        ("in-progress", json!([{"status": "no-answer"}]), Ok(Some(Answer::NoAnswer))),
    ];
    for (status, children, expected) in cases {
        let fake = Receiver::start(move |seen| {
            if seen.path.ends_with("/Calls.json") {
                assert_eq!(seen.query, format!("ParentCallSid={CALL}&To=%2B15550100"));
                answer(200, &json!({"calls": children}))
            } else {
                answer(200, &json!({"status": status}))
            }
        })
        .await;
        let twilio = fake.connector(&twilio_table("+15550100", ""));
        assert_eq!(twilio.read_again(&offer("q", CALL)).await.map_err(Kind::of), expected, "{status}");
    }
}

#[tokio::test]
async fn signalwire_is_twilio_under_another_address() {
    let fake = Receiver::start(|_| answer(200, &json!({"status": "in-progress"}))).await;
    let url = format!("{}api/laml", fake.url);
    let table = format!(
        "kind = \"signalwire\"\naccount = \"b08dacad-0000-4000-8000-3b7e2b1c0d5e\"\nsecret = {{ env = \"S\" }}\ntarget = \"+15550100\"\nallow_private = true\nurl = {url:?}"
    );
    let signalwire = connector(&table);
    // The second call of the same id is the same call to its carrier.
    assert_eq!(signalwire.offer(&offer("q", &format!("{CALL}~2"))).await, Ok(Answer::Accepted));
    let seen = fake.seen();
    let path =
        format!("/api/laml/2010-04-01/Accounts/b08dacad-0000-4000-8000-3b7e2b1c0d5e/Calls/{CALL}.json");
    assert_eq!(seen[0].path, path);
}

// Asterisk's REST interface

const ARI: &str = "kind = \"ari\"\nuser = \"warmline\"\npassword = { env = \"S\" }\ntarget = \"humans,s,1\"";

#[tokio::test]
async fn a_channel_leaves_stasis_with_its_context_in_inherited_variables() {
    let fake = Receiver::ari("1700000000.42", true).await;
    let ari = fake.connector(ARI);
    let offer = offer(EVIL, "1700000000.42");
    assert_eq!(ari.offer(&offer).await, Ok(Answer::Accepted));
    let seen = fake.seen();
    let variables: BTreeMap<String, String> = seen[..3]
        .iter()
        .map(|seen| {
            let body = seen.json();
            (body["variable"].as_str().unwrap().into(), body["value"].as_str().unwrap().into())
        })
        .collect();
    assert_eq!(variables["__WARMLINE_REF"], UUI);
    assert_eq!(variables["__WARMLINE_TRANSFER"], TRANSFER);
    let context: Value =
        serde_json::from_slice(&STANDARD.decode(&variables["__WARMLINE_CONTEXT"]).unwrap()).unwrap();
    assert_eq!(context["transfer_id"], TRANSFER);
    assert_eq!(seen[3].path, "/ari/channels/1700000000.42/continue");
    assert_eq!(seen[3].json(), json!({"context": "humans", "extension": "s", "priority": 1}));
}

#[tokio::test]
async fn what_asterisk_answers_says_what_became_of_the_channel() {
    let fake = Receiver::ari("there", false).await;
    let ari = fake.connector(ARI);
    assert_eq!(ari.offer(&offer("q", "elsewhere")).await, Ok(Answer::CallerGone));
    assert_eq!(ari.offer(&offer("q", "there")).await.map_err(Kind::of), Err(Kind::Never), "409");
    assert_eq!(ari.read_again(&offer("q", "there")).await, Ok(Some(Answer::Accepted)));
    assert_eq!(ari.read_again(&offer("q", "elsewhere")).await, Ok(Some(Answer::CallerGone)));
    let fake = Receiver::ari("there", true).await;
    assert_eq!(fake.connector(ARI).read_again(&offer("q", "there")).await, Ok(None), "still in Stasis");
    for (status, expected) in
        [(412, Kind::Again(None)), (422, Kind::Never), (401, Kind::Never), (500, Kind::Again(Some(2)))]
    {
        let fake = Receiver::start(move |_| answer(status, &json!({}))).await;
        assert_eq!(fake.connector(ARI).offer(&offer("q", "there")).await.map_err(Kind::of), Err(expected));
    }
}

#[tokio::test]
async fn a_channel_may_be_named_by_metadata_and_redirected() {
    let fake = Receiver::ari("1700000000.42", true).await;
    let ari = fake.connector(&format!("{ARI}\nchannel_from = \"channel\""));
    let mut offer = offer("q", "an-audiosocket-uuid");
    offer.metadata.insert("channel".into(), "1700000000.42".into());
    offer.target = Some("redirect:PJSIP/human".into());
    assert_eq!(ari.offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(fake.seen()[3].json(), json!({"endpoint": "PJSIP/human"}));
    for target in ["humans,s,1,x", "a b,s,1", "${EVIL},s,1", "redirect:PJSIP/a\r\nb", "humans,s,0", ""] {
        offer.target = Some(target.into());
        assert_eq!(ari.offer(&offer).await.map_err(Kind::of), Err(Kind::Never), "{target}");
    }
    offer.target = None;
    offer.metadata.insert("channel".into(), "../applications/x?y".into());
    assert_eq!(ari.offer(&offer).await, Ok(Answer::CallerGone), "the fake knows no such channel");
    assert_eq!(fake.seen().last().unwrap().path, "/ari/channels/..%2Fapplications%2Fx%3Fy/variable");
}

// The call's own media socket

#[tokio::test]
async fn a_media_socket_hands_back_with_the_brief_as_variables() {
    struct Socket(Mutex<Vec<(String, BTreeMap<String, String>)>>);
    impl HandBack for Socket {
        fn hand_back(&self, call: &str, variables: &BTreeMap<String, String>) -> Result<(), String> {
            if call == "gone" {
                return Err("there is no such call".into());
            }
            self.0.lock().unwrap().push((call.into(), variables.clone()));
            Ok(())
        }
    }
    let socket = Arc::new(Socket(Mutex::default()));
    let world = World { secret: &secret, hand_back: Arc::clone(&socket) as Arc<dyn HandBack> };
    let config = Config::parse("[[handoff.connector]]\nkind = \"stream\"").unwrap();
    let stream = config.connectors(&world).unwrap().remove(0);
    assert_eq!(stream.offer(&offer(&EVIL.repeat(40), "c~2")).await, Ok(Answer::Accepted));
    assert_eq!(stream.offer(&offer("q", "gone")).await, Err(Failure::Never("there is no such call".into())));
    let (call, variables) = socket.0.lock().unwrap().remove(0);
    assert_eq!(call, "c~2", "the switchboard's own name of the call");
    assert_eq!((variables["action"].as_str(), variables["warmline_ref"].as_str()), ("transfer", UUI));
    assert!(serde_json::to_string(&variables).unwrap().len() <= warmline::handoff::stream::VARIABLES_MAX);
    assert!(variables.values().all(|v| v.bytes().all(|b| (0x20..0x7f).contains(&b))), "{variables:?}");
}

// What all have in common

#[tokio::test]
async fn a_receiver_that_is_not_there_hangs_or_is_somewhere_private_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let table = twilio_table("+15550100", &format!("url = \"http://{closed}\""));
    assert_eq!(connector(&table).offer(&offer("q", CALL)).await.map_err(Kind::of), Err(Kind::Again(None)));
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("url = \"http://{}\"\ntimeout_s = 0.3", hanging.local_addr().unwrap());
    let asked = connector(&twilio_table("+15550100", &url)).offer(&offer("q", CALL)).await;
    assert_eq!(asked.map_err(Kind::of), Err(Kind::Unknown));
    for url in ["https://127.0.0.1:1", "https://localhost:1", "https://[::1]:1", "https://169.254.169.254"] {
        let table = twilio_table("+15550100", &format!("url = {url:?}"))
            .replace("allow_private = true", "allow_private = false");
        let Err(Failure::Never(why)) = connector(&table).offer(&offer("q", CALL)).await else {
            panic!("{url}")
        };
        assert!(why.contains("is not called"), "{why}");
    }
}

#[test]
fn a_wrong_table_names_the_line_what_was_read_and_what_was_expected() {
    let check = |table: &str, expected: &str| {
        let source = format!("[server]\n[[handoff.connector]]\n{table}\n");
        let error = Config::parse(&source).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let twilio = twilio_table("+15550100", "");
    check("kind = \"twillio\"", "line 3: `kind` is \"twillio\": expected one of webhook, twilio");
    check("queue = \"a\"", "line 2: `kind` is missing: expected one of");
    check("kind = 3", "line 3: `kind` is a integer: expected a string");
    check(&format!("{twilio}\nrings = 3"), "`rings` is not a setting: did you mean `ring_s`?");
    check(&twilio.replace("+1555", "1555"), "line 6: `target` is \"15550100\": expected +15550100, sip:");
    check(&twilio.replace(ACCOUNT, "AC1"), "line 4: `account` is \"AC1\": expected AC and 32 characters");
    check(&format!("{twilio}\nurl = \"ftp://x\""), "line 9: `url` is \"ftp://x\": expected https://");
    check(&format!("{twilio}\nurl = \"https://u:p@x\""), "line 9: `url` has credentials in it");
    check(&format!("{twilio}\ntimeout_s = 90"), "line 9: `timeout_s` is 90: expected 0.1 to 60");
    check(&format!("{twilio}\nsecret = \"abc\""), "line 9: duplicate key");
    check(
        "kind = \"stream\"\n[[handoff.connector]]\nkind = \"stream\"",
        "line 4: a connector before this one is called",
    );
    let webhook = "kind = \"webhook\"\nsecrets = [{ env = \"A\" }]";
    check(
        &format!("{webhook}\nurl = \"http://x.example\""),
        "`url` is \"http://x.example\": expected https://…; http:// only",
    );
    check(
        &format!("{webhook}\nurl = \"https://x.example\"\nenvelope = \"soap\""),
        "line 6: unknown variant `soap`",
    );
    check("kind = \"webhook\"\nsecrets = []\nurl = \"https://x.example\"", "line 4: `secrets` is empty");
}

#[test]
fn connectors_keep_their_order_their_names_and_their_queues() {
    let source = format!(
        "[[handoff.connector]]\nname = \"billing\"\nqueue = \"billing\"\n{}\n[[handoff.connector]]\nkind = \"stream\"",
        twilio_table("queue:humans", "")
    );
    let config = Config::parse(&source).unwrap();
    let connectors = config.connectors(&world()).unwrap();
    let names: Vec<&str> = connectors.iter().map(|c| c.name()).collect();
    assert_eq!(names, ["billing", "stream"]);
    let serve = |queue| connectors.iter().map(|c| c.serves(queue)).collect::<Vec<_>>();
    assert_eq!(
        (serve(Some("billing")), serve(Some("sales")), serve(None)),
        (vec![true, true], vec![false, true], vec![false, true])
    );
    let explained = config.explain();
    let words =
        explained.iter().map(|(name, value, _)| format!("{name} = {value}")).collect::<Vec<_>>().join("\n");
    assert!(words.contains("handoff.connector billing = twilio → queue:humans by api.twilio.com, ref packet of at most 36 bytes, callers of billing only"), "{words}");
    let none = World { secret: &|_| Err("no such variable".into()), ..world() };
    let error = config.connectors(&none).err().unwrap().to_string();
    assert_eq!(
        error,
        "configuration line 1: handoff.connector billing: the secret of `secret` cannot be read: no such variable"
    );
}

fn twilio_table(target: &str, more: &str) -> String {
    format!(
        "kind = \"twilio\"\naccount = \"{ACCOUNT}\"\nsecret = {{ env = \"S\" }}\ntarget = {target:?}\nallow_private = true\n{more}"
    )
}

/// What a failure allows, without its words.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Again(Option<u64>),
    Unknown,
    Never,
}

impl Kind {
    fn of(failure: Failure) -> Self {
        assert!(!failure.to_string().contains("s3cret"), "{failure}");
        match failure {
            Failure::Again { after, .. } => Self::Again(after.map(|after| after.as_secs())),
            Failure::Unknown(_) => Self::Unknown,
            Failure::Never(_) => Self::Never,
        }
    }
}

fn offer(text: &str, call: &str) -> Offer {
    let full = Full {
        call: CallContext {
            id: call.into(),
            source: "twilio".into(),
            queue: Some(text.into()),
            intent: Some(text.into()),
            metadata: BTreeMap::from([(text.into(), text.into())]),
        },
        trigger: Trigger {
            cue: Cue::Frustration,
            at_s: 41.5,
            probability: Probability::new(0.81).ok(),
            threshold: None,
            since_s: Some(38.0),
            words: format!("sounds frustrated {text}"),
        },
        evidence: Vec::new(),
        trend: Trend::default(),
        conversation: Conversation::default(),
        consent: Consent { given: Notice::Notice, required: Notice::Notice },
        provenance: Provenance::default(),
    };
    Offer {
        transfer: TRANSFER.into(),
        attempt: 1,
        call: call.into(),
        source: "twilio".into(),
        metadata: BTreeMap::new(),
        target: None,
        packet: Arc::new(ContextPacket::new(TRANSFER, full)),
        packet_url: Some("https://warmline.example/packets/1".into()),
        remaining: Duration::from_secs(10),
    }
}

fn secret(_: &Secret) -> Result<String, String> {
    Ok(" s3cret\n".into())
}

struct Nowhere;

impl HandBack for Nowhere {
    fn hand_back(&self, _: &str, _: &BTreeMap<String, String>) -> Result<(), String> {
        Err("there is no media socket here".into())
    }
}

fn world() -> World<'static> {
    World { secret: &secret, hand_back: Arc::new(Nowhere) }
}

fn connector(table: &str) -> Arc<dyn Connector> {
    let config = Config::parse(&format!("[[handoff.connector]]\n{table}")).unwrap();
    config.connectors(&world()).unwrap().remove(0)
}

/// A request as a receiver saw it.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Seen {
    fn json(&self) -> Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    fn form(&self) -> BTreeMap<String, String> {
        assert_eq!(self.headers["content-type"], "application/x-www-form-urlencoded");
        let query = String::from_utf8(self.body.to_vec()).unwrap();
        let url = Url::parse(&format!("http://x/?{query}")).unwrap();
        url.query_pairs().into_owned().collect()
    }

    fn basic(&self, user: &str) -> bool {
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:s3cret")));
        self.headers.get("authorization").is_some_and(|value| value == expected.as_str())
    }
}

type Reply = (u16, Vec<(&'static str, String)>, String);

fn answer(status: u16, body: &Value) -> Reply {
    let headers = vec![
        ("retry-after", "2".to_owned()),
        ("content-type", "application/json".into()),
        ("location", "/elsewhere".into()),
    ];
    (status, headers, body.to_string())
}

/// An HTTP receiver.
struct Receiver {
    url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    async fn start(reply: impl Fn(&Seen) -> Reply + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let list = Arc::clone(&seen);
        let routes = Router::new().fallback(move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let seen = Seen {
                method: parts.method.to_string(),
                path: parts.uri.path().into(),
                query: parts.uri.query().unwrap_or_default().into(),
                headers: parts.headers,
                body: to_bytes(body, 1 << 20).await.unwrap(),
            };
            let (status, headers, body) = reply(&seen);
            list.lock().unwrap().push(seen);
            let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(body).unwrap()
        });
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, seen, serving }
    }

    /// A connector whose table leads here.
    fn connector(&self, table: &str) -> Arc<dyn Connector> {
        let path = if table.contains("\"ari\"") { "ari" } else { "" };
        connector(&format!("{table}\nurl = \"{}{path}\"", self.url))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn form(&self) -> BTreeMap<String, String> {
        self.seen().last().unwrap().form()
    }

    /// Twilio's `Calls/{CallSid}.json`, with its limits on TwiML.
    async fn twilio(status: &'static str) -> Self {
        Self::start(move |seen| {
            if !seen.basic(ACCOUNT) {
                return answer(401, &json!({"code": 20003}));
            }
            if seen.path != format!("/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json") {
                return answer(404, &json!({"code": 20404}));
            }
            let form = seen.form();
            assert_eq!((seen.method.as_str(), form.len()), ("POST", 1));
            assert!(form["Twiml"].chars().count() <= 4_000, "21620: Twiml is too long");
            Dialled::read(&form["Twiml"]);
            answer(200, &json!({"status": status}))
        })
        .await
    }

    /// Asterisk's `channels/{id}`, of one channel.
    async fn ari(id: &'static str, in_stasis: bool) -> Self {
        Self::start(move |seen| {
            if !seen.basic("warmline") {
                return answer(401, &json!({"message": "Authentication required"}));
            }
            let channel = format!("/ari/channels/{id}");
            match (seen.method.as_str(), seen.path.strip_prefix(&channel)) {
                ("GET", Some("")) => {
                    let application = if in_stasis { "Stasis" } else { "Dial" };
                    answer(200, &json!({"id": id, "dialplan": {"app_name": application}}))
                }
                ("POST", Some("/variable")) => {
                    let body = seen.json();
                    let value = body["value"].as_str().unwrap();
                    assert!(body["variable"].as_str().unwrap().starts_with("__WARMLINE_"));
                    assert!(value.len() <= 4_000);
                    assert!(
                        value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-".contains(&b)),
                        "{value}"
                    );
                    answer(204, &Value::Null)
                }
                ("POST", Some("/continue" | "/redirect")) if !in_stasis => {
                    answer(409, &json!({"message": "Channel not in Stasis application"}))
                }
                ("POST", Some("/continue" | "/redirect")) => answer(204, &Value::Null),
                _ => answer(404, &json!({"message": "Channel not found"})),
            }
        })
        .await
    }
}

/// TwiML, read as Twilio reads it.
struct Dialled {
    verbs: Vec<String>,
    sip: Option<String>,
    headers: BTreeMap<String, String>,
    task: Option<Value>,
}

impl Dialled {
    fn read(twiml: &str) -> Self {
        let document =
            roxmltree::Document::parse(twiml).unwrap_or_else(|error| panic!("12100: {error}: {twiml}"));
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "Response");
        let mut read = Self { verbs: Vec::new(), sip: None, headers: BTreeMap::new(), task: None };
        for node in root.descendants().skip(1).filter(roxmltree::Node::is_element) {
            let (name, above) = (node.tag_name().name(), node.parent().unwrap().tag_name().name());
            let attributes: Vec<&str> = node.attributes().map(|a| a.name()).collect();
            let (may_be_in, may_have): (&str, &[&str]) = match name {
                "Dial" => ("Response", &["timeout", "callerId", "answerOnBridge"]),
                "Number" | "Sip" => ("Dial", &["url"]),
                "Conference" => ("Dial", &["startConferenceOnEnter", "endConferenceOnExit"]),
                "Enqueue" => ("Response", &["workflowSid"]),
                "Task" => ("Enqueue", &[]),
                "Redirect" => ("Response", &["method"]),
                _ => panic!("12200: {name} is no verb: {twiml}"),
            };
            assert_eq!(above, may_be_in, "12200: {name} in {above}");
            assert!(attributes.iter().all(|a| may_have.contains(a)), "12200: {attributes:?} of {name}");
            let text = node.text().unwrap_or_default();
            match name {
                "Dial" | "Enqueue" | "Redirect" => read.verbs.push(name.into()),
                "Sip" => {
                    let (uri, headers) = text.split_once('?').unwrap();
                    assert!(headers.len() < 1_024, "21227: {} characters of headers", headers.len());
                    read.sip = Some(uri.into());
                    read.headers = Url::parse(&format!("http://x/?{headers}"))
                        .unwrap()
                        .query_pairs()
                        .into_owned()
                        .collect();
                    for (name, value) in &read.headers {
                        let known =
                            ["User-to-User", "Remote-Party-ID", "P-Preferred-Identity", "P-Called-Party-ID"];
                        assert!(
                            name.to_lowercase().starts_with("x-") || known.contains(&name.as_str()),
                            "13252: {name}"
                        );
                        assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{name}: {value:?}");
                    }
                }
                "Task" => {
                    assert!(text.len() <= 4_096, "task attributes of {} bytes", text.len());
                    read.task = Some(serde_json::from_str(text).unwrap());
                }
                _ => {}
            }
        }
        read
    }
}
