//! The program itself at its edges: RTP in pairs of ports, and whose AudioSocket connections are taken.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that panics has failed; packets are paced in real time"
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use common::fixture;
use serde_json::Value;
use warmline_core::media::g711;
use warmline_eval::recording::Recording;

#[test]
fn a_call_of_two_rtp_ports_says_what_replay_says_of_two_channels() {
    let first = free_ports(3);
    let rtp = format!(
        "[media.rtp]\nports = [{first}, {}]\npair = true\nsilence_s = 1\nnotice = \"consent\"\n",
        first + 2
    );
    let served = Served::start(&rtp);
    let mut recording = Recording::open(&fixture("escalating.wav")).unwrap();
    let mut bytes = Vec::new();
    recording.packet(600 * 8_000, &mut bytes).unwrap();
    let side = |n: usize| -> Vec<u8> {
        let sample = |frame: &[u8]| i16::from_le_bytes([frame[2 * n], frame[2 * n + 1]]);
        bytes.chunks(4).map(|frame| g711::encode_mu(sample(frame))).collect()
    };
    let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    for (n, (caller, agent)) in side(0).chunks(160).zip(side(1).chunks(160)).enumerate() {
        for (side, payload) in [caller, agent].into_iter().enumerate() {
            let (sequence, timestamp) = (u16::try_from(n).unwrap(), 160 * u32::try_from(n).unwrap());
            let ssrc = u8::try_from(side).unwrap();
            let head = [&[0x80, 0][..], &sequence.to_be_bytes(), &timestamp.to_be_bytes(), &[0, 0, 0, ssrc]]
                .concat();
            let port = first + 2 * u16::from(ssrc);
            sockets[side].send_to(&[&head, payload].concat(), ("127.0.0.1", port)).unwrap();
        }
        if n % 25 == 24 {
            sleep(Duration::from_millis(15));
        }
    }
    let live = served.until_ended();
    let replayed = Command::new(env!("CARGO_BIN_EXE_warmline"))
        .args(["replay", "--json", "--notice", "consent", "--stages", "watch"])
        .arg(fixture("escalating.wav"))
        .output()
        .unwrap();
    let replayed: Vec<Value> = replayed
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    for (live, replayed) in live.iter().zip(&replayed) {
        assert_eq!(plain(live), plain(replayed));
    }
    assert_eq!(live.len(), replayed.len());
    assert!(live.iter().any(|event| event["type"] == "transfer"));
    assert!(
        live.iter().any(|event| event["type"] == "turn" && event["speaker"] == "agent"),
        "the agent is heard"
    );
    assert_eq!(live[0]["caller_channel"], "caller");
}

#[test]
fn audiosocket_is_taken_from_the_named_addresses_alone() {
    let audiosocket = |sources: &str| {
        let port = free_ports(1);
        let served = Served::start(&format!(
            "[media.audiosocket]\nlisten = \"127.0.0.1:{port}\"\nsources = {sources}\n"
        ));
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = socket.write_all(&[&[0x01, 0, 16][..], &[7; 16]].concat());
        let fed = matches!(socket.read(&mut [0; 8]), Ok(1..));
        (fed, served.get("/metrics").contains("warmline_unauthorised_total{protocol=\"audiosocket\"} 1"))
    };
    assert_eq!(audiosocket("[\"192.0.2.10\"]"), (false, true), "closed at once, and counted");
    assert_eq!(audiosocket("[\"127.0.0.1\"]"), (true, false), "silence is fed back");
}

/// An event without the names of its call.
fn plain(event: &Value) -> Value {
    let mut event = event.clone();
    for name in ["call", "source", "file", "caller_channel", "cause", "transfer", "packet"] {
        event.as_object_mut().unwrap().remove(name);
    }
    event
}

/// The first of so many UDP ports that are free just now, an even one.
fn free_ports(count: u16) -> u16 {
    let free = |first: u16| (first..first + count).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
    let seed = u16::try_from(std::process::id() % 400).unwrap();
    (0..400).map(|n| 24_100 + 2 * ((seed + n) % 400)).find(|first| free(*first)).unwrap()
}

struct Served {
    program: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("warmline.toml");
        fs::write(&config, format!("[server]\nlisten = \"127.0.0.1:0\"\nshards = 1\n{more}")).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_warmline"))
            .args(["serve", "--stages", "watch", "--config", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(program.stderr.take().unwrap()).lines().map(Result::unwrap);
        let serving = said.find(|line| line.contains("\"message\":\"serving\"")).unwrap();
        std::thread::spawn(move || said.for_each(drop));
        let serving: Value = serde_json::from_str(&serving).unwrap();
        Self { program, address: serving["listen"].as_str().unwrap().parse().unwrap(), _folder: folder }
    }

    fn get(&self, page: &str) -> String {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.write_all(format!("GET {page} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    }

    /// Every event there was, once a call is over.
    fn until_ended(&self) -> Vec<Value> {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket.write_all(b"GET /api/v1/events HTTP/1.0\r\nLast-Event-ID: 0\r\n\r\n").unwrap();
        let mut events = Vec::new();
        for line in BufReader::new(socket).lines().map_while(Result::ok) {
            let Some(event) = line.strip_prefix("data: {\"call\"") else { continue };
            events.push(serde_json::from_str::<Value>(&format!("{{\"call\"{event}")).unwrap());
            if events.last().unwrap()["type"] == "call_ended" {
                return events;
            }
        }
        panic!("no call ended: {events:#?}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
