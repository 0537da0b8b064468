//! Connectors against receivers that are as strict as the vendor's documents, and against the real thing where it runs here.
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
    clock::SystemClock,
    config::Config,
    connectors::{Answer, Connector, Environment, Failure, HandBack, Offer, Secret, registry::kinds},
};
use warmline_core::{
    packet::{Advice, CallContext, Consent, ContextPacket, Conversation, Full, Provenance, Trend, Trigger},
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
        assert_eq!(twilio.query_status(&offer("q", CALL)).await.map_err(Kind::of), expected, "{status}");
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
    assert_eq!(ari.query_status(&offer("q", "there")).await, Ok(Some(Answer::Accepted)));
    assert_eq!(ari.query_status(&offer("q", "elsewhere")).await, Ok(Some(Answer::CallerGone)));
    let fake = Receiver::ari("there", true).await;
    assert_eq!(fake.connector(ARI).query_status(&offer("q", "there")).await, Ok(None), "still in Stasis");
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
    let environment = Environment { hand_back: Arc::clone(&socket) as Arc<dyn HandBack>, ..environment() };
    let config = Config::parse("[[handoff.connector]]\nkind = \"stream\"").unwrap();
    let stream = config.connectors(&environment).unwrap().remove(0);
    assert_eq!(stream.offer(&offer(&EVIL.repeat(40), "c~2")).await, Ok(Answer::Accepted));
    assert_eq!(stream.offer(&offer("q", "gone")).await, Err(Failure::Never("there is no such call".into())));
    let (call, variables) = socket.0.lock().unwrap().remove(0);
    assert_eq!(call, "c~2", "the switchboard's own name of the call");
    assert_eq!((variables["action"].as_str(), variables["warmline_ref"].as_str()), ("transfer", UUI));
    assert!(serde_json::to_string(&variables).unwrap().len() <= warmline::connectors::stream::VARIABLES_MAX);
    assert!(variables.values().all(|v| v.bytes().all(|b| (0x20..0x7f).contains(&b))), "{variables:?}");
}

// Asterisk's Manager Interface

#[tokio::test]
async fn a_channel_is_redirected_with_its_context_and_others_answers_are_passed_over() {
    let pbx = Pbx::asterisk("PJSIP/trunk-00000001").await;
    let ami = pbx.connector(AMI);
    let mut offer = offer(&EVIL.repeat(20), "an-audiosocket-uuid");
    offer.metadata.insert("channel".into(), "PJSIP/trunk-00000001".into());
    assert_eq!(ami.offer(&offer).await, Ok(Answer::Accepted));
    let said = pbx.said();
    let actions: Vec<&str> = said.iter().map(|message| message["Action"].as_str()).collect();
    assert_eq!(actions, ["Login", "Setvar", "Setvar", "Setvar", "Redirect"]);
    assert_eq!((said[1]["Variable"].as_str(), said[1]["Value"].as_str()), ("__WARMLINE_REF", UUI));
    let context: Value = serde_json::from_slice(&STANDARD.decode(&said[3]["Value"]).unwrap()).unwrap();
    assert_eq!(context["transfer_id"], TRANSFER);
    let to = ["Context", "Exten", "Priority"].map(|key| said[4][key].as_str());
    assert_eq!(to, ["humans", "s", "1"]);
    assert_eq!(ami.query_status(&offer).await, Ok(Some(Answer::Accepted)), "it is where it should go");
}

#[tokio::test]
async fn no_id_or_target_ends_a_line_of_the_manager() {
    let pbx = Pbx::asterisk("there").await;
    let ami = pbx.connector(AMI);
    assert_eq!(ami.offer(&offer("q", "elsewhere")).await, Ok(Answer::CallerGone));
    assert_eq!(ami.query_status(&offer("q", "elsewhere")).await, Ok(Some(Answer::CallerGone)));
    let before = pbx.said().len();
    for channel in [EVIL, "a\r\nAction: Originate", "a\nb", "a b", "a,b", "a*", "/^PJSIP/", "", "\u{e9}"] {
        let mut offer = offer("q", "there");
        offer.call = channel.into();
        assert_eq!(ami.offer(&offer).await.map_err(Kind::of), Err(Kind::Never), "{channel:?}");
        offer.call = "there".into();
        offer.target = Some(format!("{channel},s,1,"));
        assert_eq!(ami.offer(&offer).await.map_err(Kind::of), Err(Kind::Never), "{channel:?}");
    }
    assert_eq!(pbx.said().len(), before, "nothing of it was said");
    let wrong =
        connector(&format!("{AMI}\naddress = \"{}\"", pbx.address).replace("\"warmline\"", "\"other\""));
    assert_eq!(wrong.offer(&offer("q", "there")).await.map_err(Kind::of), Err(Kind::Never), "credentials");
}

#[tokio::test]
async fn a_pbx_that_falls_silent_before_the_last_word_may_be_asked_again_and_after_it_must_be_read() {
    for (kind, table, silent_after, expected) in [
        ("asterisk", AMI, 0, Kind::Again(None)),
        ("asterisk", AMI, 3, Kind::Again(None)),
        ("asterisk", AMI, 4, Kind::Unknown),
        ("freeswitch", ESL, 0, Kind::Again(None)),
        ("freeswitch", ESL, 5, Kind::Again(None)),
        ("freeswitch", ESL, 6, Kind::Unknown),
    ] {
        for close in [true, false] {
            let pbx = Pbx::start(kind, "there", Some((silent_after, close))).await;
            let connector = pbx.connector(&format!("{table}\ntimeout_s = 0.4"));
            let answer = connector.offer(&offer("q", "there")).await.map_err(Kind::of);
            assert_eq!(answer.as_ref(), Err(&expected), "{kind} after {silent_after}, close {close}");
        }
    }
}

// FreeSWITCH's event socket

#[tokio::test]
async fn a_call_is_transferred_by_freeswitch_with_its_context_in_variables() {
    let uuid = "8f7d2a4e-8a2b-4c3d-9e4f-5a6b7c8d9e0f";
    let pbx = Pbx::freeswitch(uuid).await;
    let esl = pbx.connector(ESL);
    assert_eq!(esl.query_status(&offer("q", uuid)).await, Ok(None), "not transferred yet");
    assert_eq!(esl.offer(&offer(&EVIL.repeat(20), uuid)).await, Ok(Answer::Accepted));
    let mut said: Vec<String> = pbx.said().iter().map(|message| message["Command"].clone()).collect();
    said.drain(..3); // What was read before.
    let set = |name: &str, value: &str| format!("api uuid_setvar {uuid} warmline_{name} {value}");
    let history = format!("api uuid_getvar {uuid} transfer_history");
    assert_eq!(said[..4], ["auth s3cret".to_owned(), history, set("before", "1"), set("ref", UUI)]);
    let context = STANDARD.decode(said[4].strip_prefix(&set("context", "")).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&context).unwrap()["reason"], "frustration");
    assert_eq!(said[5..], [set("transfer", TRANSFER), format!("api uuid_transfer {uuid} 5000 XML default")]);
    assert_eq!(esl.query_status(&offer("q", uuid)).await, Ok(Some(Answer::Accepted)));
    assert_eq!(esl.query_status(&offer("q", "gone")).await, Ok(Some(Answer::CallerGone)));
    assert_eq!(esl.offer(&offer("q", "gone")).await, Ok(Answer::CallerGone));
}

#[tokio::test]
async fn no_id_or_target_ends_a_command_of_freeswitch() {
    let pbx = Pbx::freeswitch("there").await;
    let esl = pbx.connector(ESL);
    for word in
        [EVIL, "there\n\napi shutdown", "there;x=1", "a b c d", "-both 5000", "${system(x)}", "a'b", "", " "]
    {
        let mut offer = offer("q", word);
        assert_eq!(esl.offer(&offer).await.map_err(Kind::of), Err(Kind::Never), "{word:?}");
        offer.call = "there".into();
        offer.target = Some(word.into());
        assert_eq!(esl.offer(&offer).await.map_err(Kind::of), Err(Kind::Never), "{word:?}");
    }
    assert!(pbx.said().is_empty());
    let wrong = Environment { secret: &|_| Ok("wrong".into()), ..environment() };
    let source = format!("[[handoff.connector]]\n{ESL}\naddress = \"{}\"", pbx.address);
    let wrong = Config::parse(&source).unwrap().connectors(&wrong).unwrap().remove(0);
    assert_eq!(wrong.offer(&offer("q", "there")).await.map_err(Kind::of), Err(Kind::Never));
}

// Genesys Cloud

#[tokio::test]
async fn genesys_gets_the_context_on_the_caller_and_replaces_the_agent() {
    let fake = Receiver::genesys(Arc::default()).await;
    let genesys = fake.connector(GENESYS);
    let offer = offer(&EVIL.repeat(20), CONVERSATION);
    assert_eq!(genesys.query_status(&offer).await, Ok(None));
    assert_eq!(genesys.offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(genesys.query_status(&offer).await, Ok(Some(Answer::Accepted)));
    let seen = fake.seen();
    let asked: Vec<String> = seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    let base = format!("/api/v2/conversations/calls/{CONVERSATION}");
    let expected = [
        "POST /oauth/token".to_owned(),
        format!("GET {base}"),
        format!("GET {base}"),
        format!("PATCH {base}/participants/caller-1/attributes"),
        format!("POST {base}/participants/agent-1/replace"),
        format!("GET {base}"),
    ];
    assert_eq!(asked, expected, "one token for all");
    assert_eq!(seen[4].json(), json!({"queueId": "11111111-2222-4333-8444-555555555555"}));
}

#[tokio::test]
async fn a_token_that_genesys_refuses_is_asked_for_anew_and_a_429_waits() {
    let refused: Arc<Mutex<Vec<u16>>> = Arc::new(Mutex::new(vec![401]));
    let fake = Receiver::genesys(Arc::clone(&refused)).await;
    assert_eq!(fake.connector(GENESYS).offer(&offer("q", CONVERSATION)).await, Ok(Answer::Accepted));
    assert_eq!(fake.seen().iter().filter(|seen| seen.path == "/oauth/token").count(), 2);
    for (status, expected) in [(429, Kind::Again(Some(2))), (403, Kind::Never), (504, Kind::Again(None))] {
        *refused.lock().unwrap() = vec![status];
        let asked = fake.connector(GENESYS).offer(&offer("q", CONVERSATION)).await;
        assert_eq!(asked.map_err(Kind::of), Err(expected), "{status}");
    }
    let genesys = fake.connector(GENESYS);
    assert_eq!(
        genesys.offer(&offer("q", "99999999-2222-4333-8444-555555555555")).await,
        Ok(Answer::CallerGone)
    );
}

// Telnyx and jambonz

const TELNYX: &str =
    "kind = \"telnyx\"\nsecret = { env = \"S\" }\ntarget = \"+15550100\"\nallow_private = true";

#[tokio::test]
async fn telnyx_carries_out_a_command_once_however_often_it_is_told() {
    let ids: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&ids);
    let fake = Receiver::start(move |seen| {
        assert_eq!(
            (seen.method.as_str(), seen.path.as_str()),
            ("POST", "/v2/calls/v3:abc-_1/actions/transfer")
        );
        if !seen.bearer("s3cret") {
            return answer(401, &json!({"errors": [{"code": "10009"}]}));
        }
        let body = seen.json();
        let headers = body["custom_headers"].as_array().unwrap();
        let mut bytes = 0;
        for header in headers {
            let (name, value) = (header["name"].as_str().unwrap(), header["value"].as_str().unwrap());
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
            assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{value:?}");
            bytes += name.len() + value.len() + 4;
        }
        assert!(bytes <= 1_024, "{bytes}");
        assert_eq!(headers[0], json!({"name": "User-to-User", "value": format!("{UUI};encoding=hex")}));
        let id = body["command_id"].as_str().unwrap().to_owned();
        let mut kept = kept.lock().unwrap();
        if !kept.contains(&id) {
            kept.push(id);
        }
        answer(200, &json!({"data": {"result": "ok"}}))
    })
    .await;
    let telnyx = fake.connector(TELNYX);
    let mut offer = offer(&EVIL.repeat(30), "v3:abc-_1");
    assert_eq!(telnyx.offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(telnyx.query_status(&offer).await, Ok(Some(Answer::Accepted)));
    assert_eq!(ids.lock().unwrap().len(), 1, "told twice, carried out once");
    offer.attempt = 2;
    assert_eq!(telnyx.offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(ids.lock().unwrap().len(), 2, "another attempt is another command");
    for (status, code, expected) in [
        (422, "90018", Ok(Answer::CallerGone)),
        (404, "10005", Ok(Answer::CallerGone)),
        (422, "90015", Err(Kind::Never)),
        (401, "10009", Err(Kind::Never)),
        (429, "10011", Err(Kind::Again(Some(2)))),
    ] {
        let fake = Receiver::start(move |_| answer(status, &json!({"errors": [{"code": code}]}))).await;
        assert_eq!(fake.connector(TELNYX).offer(&offer).await.map_err(Kind::of), expected, "{code}");
    }
}

#[tokio::test]
async fn a_jambonz_call_fetches_new_verbs_from_a_hook_that_knows_the_transfer() {
    let table = "kind = \"jambonz\"\naccount = \"acc-1\"\nsecret = { env = \"S\" }\ntarget = \"https://hooks.example/humans?lang=de\"\nallow_private = true";
    let fake = Receiver::start(|seen| {
        if !seen.bearer("s3cret") || seen.path != "/v1/Accounts/acc-1/Calls/call-1" {
            return answer(404, &json!({}));
        }
        match seen.method.as_str() {
            "PUT" => answer(202, &Value::Null),
            _ => answer(200, &json!({"call_status": "completed"})),
        }
    })
    .await;
    let jambonz = fake.connector(table);
    assert_eq!(jambonz.offer(&offer(EVIL, "call-1")).await, Ok(Answer::Accepted));
    let hook = format!("https://hooks.example/humans?lang=de&transfer={TRANSFER}&ref={UUI}");
    assert_eq!(fake.seen()[0].json(), json!({"call_hook": {"url": hook, "method": "POST"}}));
    assert_eq!(jambonz.offer(&offer(EVIL, "../call-1")).await, Ok(Answer::CallerGone));
    assert_eq!(jambonz.query_status(&offer("q", "call-1")).await, Ok(Some(Answer::CallerGone)));
}

// NATS, against the server itself

#[tokio::test]
async fn jetstream_keeps_a_transfer_once_however_often_it_is_told() {
    let Some(server) = Nats::start(&["-js"]).await else { return };
    let client = server.client().await;
    let context = async_nats::jetstream::new(client.clone());
    let table = format!("kind = \"nats\"\naddress = \"{}\"", server.address);
    let nats = connector(&table);
    assert!(nats.is_alert());
    let nobody = nats.offer(&offer("q", "c")).await;
    assert_eq!(nobody.map_err(Kind::of), Err(Kind::Never), "no stream takes it");
    let config = async_nats::jetstream::stream::Config {
        name: "calls".into(),
        subjects: vec!["calls.>".into()],
        allow_direct: true,
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    let offer = offer(EVIL, "a.b > *\r\nPUB x 0");
    assert_eq!(nats.offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(nats.query_status(&offer).await, Ok(Some(Answer::Accepted)));
    let message = stream.direct_get(1).await.unwrap();
    assert_eq!(message.subject.as_str(), "calls.a_b______PUB_x_0.frustration");
    assert_eq!(message.headers.get("Nats-Msg-Id").unwrap().as_str(), TRANSFER);
    let packet: ContextPacket = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(packet, *offer.packet);
    assert_eq!(context.get_stream("calls").await.unwrap().get_info().await.unwrap().state.messages, 1);
}

#[tokio::test]
async fn nats_without_a_stream_tells_whoever_listens_and_refuses_a_wrong_token() {
    use futures_util::StreamExt;
    let Some(server) = Nats::start(&["--auth", "s3cret"]).await else { return };
    let mut heard = server.client().await.subscribe("calls.*.frustration").await.unwrap();
    let table = format!(
        "kind = \"nats\"\njetstream = false\nsecret = {{ env = \"S\" }}\naddress = \"{}\"",
        server.address
    );
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(connector(&table).offer(&offer("q", "c~2")).await, Ok(Answer::Accepted));
    assert_eq!(heard.next().await.unwrap().subject.as_str(), "calls.c.frustration");
    let wrong = Environment { secret: &|_| Ok("wrong".into()), ..environment() };
    let config = Config::parse(&format!("[[handoff.connector]]\n{table}")).unwrap();
    let wrong = config.connectors(&wrong).unwrap().remove(0);
    assert_eq!(wrong.offer(&offer("q", "c")).await.map_err(Kind::of), Err(Kind::Never));
}

// Alerts

#[tokio::test]
async fn a_chat_message_mentions_nobody_and_tells_nothing_personal() {
    let fake = Receiver::start(|seen| {
        let body = seen.json();
        let text = body["text"].as_str().unwrap();
        assert!(text.len() <= 3_000 && !text.contains("<!") && !text.contains("<@"), "{text}");
        let ours = text.matches("<https://warmline.example/packets/1|The context packet>").count();
        assert_eq!((text.matches('<').count(), ours), (1, 1), "{text}");
        (200, Vec::new(), "ok".into())
    })
    .await;
    let table = |more: &str| {
        let source = format!(
            "[[handoff.connector]]\nkind = \"chat\"\nurl = {{ env = \"S\" }}\nallow_private = true\n{more}"
        );
        let url = format!("{}services/T0/B0/x", fake.url);
        let environment = Environment { secret: &|_| Ok(url.clone()), ..environment() };
        Config::parse(&source).unwrap().connectors(&environment).unwrap().remove(0)
    };
    let text = "<!channel> <https://evil.example|click> *bold*";
    let mut offer = offer(text, "CA-personal");
    assert_eq!(table("").offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(table("personal = true").offer(&offer).await, Ok(Answer::Accepted));
    offer.packet = Arc::new(ContextPacket::new(TRANSFER, {
        let mut full = offer.packet.full.clone();
        full.call.queue = Some("&<>".repeat(4_000));
        full
    }));
    assert_eq!(table("personal = true").offer(&offer).await, Ok(Answer::Accepted));
    let said: Vec<String> =
        fake.seen().iter().map(|seen| seen.json()["text"].as_str().unwrap().to_owned()).collect();
    assert!(!said[0].contains("CA-personal") && !said[0].contains("reason text"), "{}", said[0]);
    assert!(
        said[1].contains("CA-personal") && said[1].contains("reason text: sounds frustrated"),
        "{}",
        said[1]
    );
}

#[tokio::test]
async fn pagerduty_opens_one_incident_a_call_and_resolves_it() {
    let fake = Receiver::start(|seen| {
        let body = seen.json();
        assert_eq!((seen.path.as_str(), body["routing_key"].as_str()), ("/v2/enqueue", Some("s3cret")));
        let key = body["dedup_key"].as_str().unwrap();
        assert!(key.len() <= 255);
        if body["event_action"] == "trigger" {
            let payload = &body["payload"];
            let (summary, severity) =
                (payload["summary"].as_str().unwrap(), payload["severity"].as_str().unwrap());
            assert!(
                summary.chars().count() <= 1_024
                    && ["critical", "error", "warning", "info"].contains(&severity)
            );
            assert!(payload["source"].is_string());
        }
        answer(202, &json!({"status": "success", "dedup_key": key}))
    })
    .await;
    let table =
        "kind = \"pagerduty\"\nsecret = { env = \"S\" }\nallow_private = true\nseverity = \"critical\"";
    let pager = fake.connector(table);
    let mut offer = offer(&EVIL.repeat(100), "CA-1");
    offer.call = "C".repeat(400);
    assert_eq!(pager.offer(&offer).await, Ok(Answer::Accepted));
    assert_eq!(pager.query_status(&offer).await, Ok(Some(Answer::Accepted)));
    pager.cancel(&offer).await;
    let seen: Vec<Value> = fake.seen().iter().map(Seen::json).collect();
    let of = |key: &str| seen.iter().map(|body| body[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("event_action"), ["trigger", "trigger", "resolve"]);
    assert!(of("dedup_key").windows(2).all(|pair| pair[0] == pair[1]));
    let details = seen[0]["payload"]["custom_details"].as_object().unwrap();
    assert!(
        details.contains_key("transfer_id")
            && !details.contains_key("call_id")
            && !details.contains_key("reason_text")
    );
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
    check("kind = \"twillio\"", "line 3: `kind` is \"twillio\": expected one of webhook, stream, twilio");
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
    let connectors = config.connectors(&environment()).unwrap();
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
    let none = Environment { secret: &|_| Err("no such variable".into()), ..environment() };
    let error = config.connectors(&none).err().unwrap().to_string();
    assert_eq!(
        error,
        "configuration line 1: handoff.connector billing: the secret of `secret` cannot be read: no such variable"
    );
}

const AMI: &str = "kind = \"ami\"\nuser = \"warmline\"\npassword = { env = \"S\" }\ntarget = \"humans,s,1\"\nchannel_from = \"channel\"";
const ESL: &str = "kind = \"esl\"\npassword = { env = \"S\" }\ntarget = \"5000 XML default\"";
const GENESYS: &str = "kind = \"genesys\"\nregion = \"mypurecloud.ie\"\nclient_id = \"client\"\nsecret = { env = \"S\" }\ntarget = \"queue:11111111-2222-4333-8444-555555555555\"\nallow_private = true";
const CONVERSATION: &str = "aaaaaaaa-2222-4333-8444-555555555555";

#[test]
fn every_example_is_read_and_every_kind_has_one() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/handoff");
    let mut configured = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let config = Config::parse(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!config.handoff.connectors.is_empty(), "{}", path.display());
        configured.extend(config.handoff.connectors.into_iter().map(|table| table.kind));
    }
    let all: std::collections::BTreeSet<String> = kinds().map(str::to_owned).collect();
    assert_eq!(configured, all);
    let readme = include_str!("../README.md");
    assert!(kinds().all(|kind| readme.contains(&format!("`{kind}`"))), "the README names every kind");
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
            combined: None,
            since_s: Some(38.0),
            words: format!("sounds frustrated {text}"),
        },
        evidence: Vec::new(),
        cues: Vec::new(),
        trend: Trend::default(),
        conversation: Conversation::default(),
        advice: Advice::default(),
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

fn environment() -> Environment<'static> {
    Environment { secret: &secret, hand_back: Arc::new(Nowhere), clock: Arc::new(SystemClock) }
}

fn connector(table: &str) -> Arc<dyn Connector> {
    let config = Config::parse(&format!("[[handoff.connector]]\n{table}")).unwrap();
    config.connectors(&environment()).unwrap().remove(0)
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

    fn bearer(&self, token: &str) -> bool {
        self.headers.get("authorization").is_some_and(|value| value == format!("Bearer {token}").as_str())
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

impl Receiver {
    /// Genesys Cloud with one conversation of a caller and an agent; `refused` is what its API answers first.
    async fn genesys(refused: Arc<Mutex<Vec<u16>>>) -> Self {
        let attributes: Mutex<Value> = Mutex::new(json!({}));
        let (attributes, replaced) = (Arc::new(attributes), Arc::new(Mutex::new(false)));
        Self::start(move |seen| {
            if seen.path == "/oauth/token" {
                assert!(seen.basic("client"));
                assert_eq!(seen.form(), BTreeMap::from([("grant_type".into(), "client_credentials".into())]));
                return answer(200, &json!({"access_token": "t0ken", "expires_in": 86_400}));
            }
            assert!(seen.bearer("t0ken"));
            if let Some(status) = refused.lock().unwrap().pop() {
                return answer(status, &json!({"message": "no"}));
            }
            let base = format!("/api/v2/conversations/calls/{CONVERSATION}");
            match (seen.method.as_str(), seen.path.strip_prefix(&base)) {
                ("GET", Some("")) => {
                    let agent = if *replaced.lock().unwrap() { "disconnected" } else { "connected" };
                    answer(200, &json!({"id": CONVERSATION, "participants": [
                        {"id": "caller-1", "purpose": "customer", "state": "connected", "attributes": *attributes.lock().unwrap()},
                        {"id": "agent-0", "purpose": "agent", "state": "disconnected"},
                        {"id": "agent-1", "purpose": "agent", "state": agent},
                    ]}))
                }
                ("PATCH", Some("/participants/caller-1/attributes")) => {
                    let body = seen.json();
                    let given = body["attributes"].as_object().unwrap();
                    assert!(given.values().all(Value::is_string) && body["attributes"].to_string().len() <= 2_000);
                    *attributes.lock().unwrap() = body["attributes"].clone();
                    answer(200, &json!({}))
                }
                ("POST", Some("/participants/agent-1/replace")) => {
                    *replaced.lock().unwrap() = true;
                    answer(202, &Value::Null)
                }
                _ => answer(404, &json!({"code": "not.found"})),
            }
        })
        .await
    }
}

/// A PBX on a TCP port: it reads message by message, and refuses what the vendor's would.
struct Pbx {
    address: std::net::SocketAddr,
    said: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    serving: JoinHandle<()>,
}

impl Drop for Pbx {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Pbx {
    async fn asterisk(channel: &'static str) -> Self {
        Self::start("asterisk", channel, None).await
    }

    async fn freeswitch(channel: &'static str) -> Self {
        Self::start("freeswitch", channel, None).await
    }

    /// `silent`: after how many messages nothing is said any more, and whether the connection is closed then.
    async fn start(kind: &'static str, channel: &'static str, silent: Option<(usize, bool)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let said: Arc<Mutex<Vec<BTreeMap<String, String>>>> = Arc::default();
        let list = Arc::clone(&said);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Self::talk(kind, channel, silent, stream, Arc::clone(&list)));
            }
        });
        Self { address, said, serving }
    }

    fn connector(&self, table: &str) -> Arc<dyn Connector> {
        connector(&format!("{table}\naddress = \"{}\"", self.address))
    }

    fn said(&self) -> Vec<BTreeMap<String, String>> {
        self.said.lock().unwrap().clone()
    }

    async fn talk(
        kind: &str,
        channel: &str,
        silent: Option<(usize, bool)>,
        stream: tokio::net::TcpStream,
        list: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    ) {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let mut stream = BufReader::new(stream);
        let greeting = if kind == "asterisk" {
            "Asterisk Call Manager/9.0.0\r\n"
        } else {
            "Content-Type: auth/request\n\n"
        };
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut messages = 0;
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return;
                }
                assert!(line.len() < 1_025 || kind != "asterisk", "a line of {} bytes is cut", line.len());
                match line.trim_end_matches(['\r', '\n']) {
                    "" => break,
                    line => lines.push(line.to_owned()),
                }
            }
            let message: BTreeMap<String, String> = if kind == "asterisk" {
                lines
                    .iter()
                    .map(|line| line.split_once(": ").unwrap())
                    .map(|(k, v)| (k.into(), v.into()))
                    .collect()
            } else {
                assert_eq!(lines.len(), 1, "a command is one line");
                BTreeMap::from([("Command".to_owned(), lines[0].clone())])
            };
            assert!(lines.len() == message.len(), "no key twice: {lines:?}");
            list.lock().unwrap().push(message.clone());
            match silent {
                Some((after, true)) if messages == after => return,
                Some((after, false)) if messages == after => return std::future::pending().await,
                _ => {}
            }
            messages += 1;
            let answer = if kind == "asterisk" {
                manager(&message, channel)
            } else {
                switch(&lines[0], channel, &list)
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

/// What Asterisk's manager answers, with events and another's answer before it.
fn manager(message: &BTreeMap<String, String>, channel: &str) -> String {
    let id = &message["ActionID"];
    let answer = |response: &str, words: &str| {
        format!(
            "Event: FullyBooted\r\nStatus: Fully Booted\r\n\r\nResponse: Error\r\nActionID: another\r\nMessage: No such channel\r\n\r\nResponse: {response}\r\nActionID: {id}\r\nMessage: {words}\r\n\r\n"
        )
    };
    let there = message.get("Channel").is_none_or(|name| name == channel);
    match message["Action"].as_str() {
        "Login" if message["Username"] == "warmline" && message["Secret"] == "s3cret" => {
            answer("Success", "Authentication accepted")
        }
        "Login" => answer("Error", "Authentication failed"),
        "Setvar" if there => {
            let value = &message["Value"];
            assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-".contains(&b)), "{value}");
            answer("Success", "Variable Set")
        }
        "Redirect" if there => answer("Success", "Redirect successful"),
        "Redirect" => answer("Error", "Channel does not exist"),
        "Status" if there => {
            let status = format!(
                "Event: Status\r\nActionID: {id}\r\nChannel: {channel}\r\nContext: humans\r\nApplication: Dial\r\n\r\n"
            );
            answer("Success", "Channel status will follow") + &status
        }
        "Setvar" | "Status" => answer("Error", "No such channel"),
        other => panic!("Asterisk was told to {other}"),
    }
}

/// What FreeSWITCH's event socket answers.
fn switch(command: &str, channel: &str, said: &Arc<Mutex<Vec<BTreeMap<String, String>>>>) -> String {
    let api = |body: &str| format!("Content-Type: api/response\nContent-Length: {}\n\n{body}", body.len());
    let words: Vec<&str> = command.split(' ').collect();
    let there = words.get(2) == Some(&channel);
    match words.as_slice() {
        ["auth", password] => {
            let reply = if *password == "s3cret" { "+OK accepted" } else { "-ERR invalid" };
            format!(
                "Content-Type: command/reply\nReply-Text: {reply}\n\nContent-Type: text/event-plain\nContent-Length: 5\n\nx: y\n"
            )
        }
        ["api", "uuid_exists", _] => api(if there { "true" } else { "false" }),
        ["api", "uuid_setvar" | "uuid_transfer" | "uuid_getvar", ..] if !there => {
            api("-ERR No such channel!\n")
        }
        ["api", "uuid_setvar", _, name, value] => {
            assert!(name.starts_with("warmline_"));
            assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-".contains(&b)), "{value}");
            api("+OK\n")
        }
        // It had been there once before this story.
        ["api", "uuid_getvar", _, "transfer_history"] => {
            let told = said.lock().unwrap().iter().filter(|m| m["Command"].contains("uuid_transfer")).count();
            api(&vec!["1700000000:x:bl_xfer:5000/default/XML"; 1 + told].join("|:"))
        }
        ["api", "uuid_getvar", _, name] => {
            let set = format!("api uuid_setvar {channel} {name} ");
            let said = said.lock().unwrap();
            let value = said.iter().rev().find_map(|m| m["Command"].strip_prefix(&set));
            api(value.unwrap_or("_undef_"))
        }
        ["api", "uuid_transfer", _, "5000", "XML", "default"] => api("+OK\n"),
        other => panic!("FreeSWITCH was told to {other:?}"),
    }
}

/// A `nats-server` of this test.
struct Nats {
    address: String,
    process: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Nats {
    #[allow(clippy::print_stderr, reason = "says which test did nothing")]
    async fn start(arguments: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let spawned = std::process::Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-sd", folder.path().to_str().unwrap()])
            .args(arguments)
            .stderr(std::process::Stdio::null())
            .spawn();
        let Ok(process) = spawned else {
            eprintln!("SKIPPED: there is no nats-server (Debian: apt-get install nats-server)");
            return None;
        };
        let address = format!("127.0.0.1:{port}");
        let server = Self { address, process, _folder: folder };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(&server.address).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(server)
    }

    async fn client(&self) -> async_nats::Client {
        async_nats::ConnectOptions::with_token("s3cret".into()).connect(&self.address).await.unwrap()
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
