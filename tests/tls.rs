//! The program behind TLS, and clients that are not ours: who knows the certificate gets in, who does not finish a handshake goes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that panics has failed; one that cannot run says so; handshakes take real time"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

#[test]
fn who_knows_the_certificate_gets_in_and_nobody_else() {
    let served = Served::start("");
    let Some(fetched) = served.curl(&["--cacert", served.path("cert.pem").to_str().unwrap()]) else { return };
    assert_eq!(String::from_utf8_lossy(&fetched.stdout), "ok\n", "{fetched:?}");
    assert_eq!(served.curl(&[]).unwrap().status.code(), Some(60), "curl: the certificate is not known");
    let other = served.folder.path().join("other.pem");
    fs::write(&other, generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem()).unwrap();
    assert_eq!(served.curl(&["--cacert", other.to_str().unwrap()]).unwrap().status.code(), Some(60));
    let plain =
        Command::new("curl").args(["-s", &format!("http://localhost:{}/healthz", served.port)]).output();
    assert!(!plain.unwrap().status.success(), "plain HTTP is not answered");
}

#[test]
fn handshakes_that_do_not_end_are_closed_in_time_and_fill_no_more_than_their_places() {
    let served = Served::start("[limits]\nconnections = 4\nrequest_s = 2\n");
    if served.curl(&["-k"]).is_none() {
        return;
    }
    thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    let mut half_open: Vec<TcpStream> = (0..4).map(|_| served.connect()).collect();
    // The head of a TLS record and of a ClientHello that never comes.
    half_open[1].write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3]).unwrap();
    thread::sleep(Duration::from_millis(200));
    let turned_away = served.connect();
    turned_away.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert!(matches!((&turned_away).read(&mut [0; 8]), Ok(0) | Err(_)), "there is no fifth place");
    assert!(began.elapsed() < Duration::from_millis(1_500), "it is closed at once");
    for socket in &mut half_open {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert!((2..6).contains(&began.elapsed().as_secs()), "closed after {:?}", began.elapsed());
    let mut garbage = served.connect();
    garbage.write_all(&[b'x'; 400]).unwrap();
    let _ = garbage.read_to_end(&mut Vec::new());
    let metrics = served.get("metrics");
    for line in [
        "warmline_connections_turned_away_total 1",
        "warmline_connections_silent_total 4",
        "warmline_malformed_total{protocol=\"tls\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn a_hang_up_reads_the_certificate_again_and_a_bad_one_leaves_the_old() {
    let served = Served::start("");
    let Some(before) = served.fingerprint() else { return };
    served.certify();
    assert_eq!(served.fingerprint().unwrap(), before, "not before it is told");
    served.hang_up();
    served.until("certificate read again");
    let after = served.fingerprint().unwrap();
    assert_ne!(after, before);
    fs::write(served.path("key.pem"), "hello").unwrap();
    served.hang_up();
    let line = served.until("certificate not read");
    assert!(line.contains("key.pem: nothing of the kind is in it"), "{line}");
    assert_eq!(served.fingerprint().unwrap(), after);
}

#[test]
fn a_server_without_its_certificate_does_not_start_and_says_which_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("warmline.toml");
    fs::write(&config, "[server.tls]\ncertificate = \"nowhere.pem\"\nkey = \"nowhere.key\"\n").unwrap();
    let run = |command: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_warmline"));
        program.args([command, "--config", config.to_str().unwrap()]).output().unwrap()
    };
    let (serve, check) = (run("serve"), run("check"));
    assert_eq!(serve.status.code(), Some(2));
    let said = String::from_utf8(serve.stderr).unwrap();
    assert!(said.contains("[server.tls]: nowhere.pem: cannot be read"), "{said}");
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.code() == Some(2) && said.contains("WRONG  tls"), "{said}");
}

#[test]
fn calls_come_in_over_wss() {
    let served = Served::start("");
    let run = |more: &[&str]| {
        let url = format!("wss://localhost:{}/v1/media", served.port);
        let wav = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls/calm.wav");
        let mut program = Command::new(env!("CARGO_BIN_EXE_warmline"));
        program.args(["load", "--calls", "2", "--protocol", "twilio", "--seconds", "2", &url, "--wav"]);
        program.arg(wav).args(more).output().unwrap()
    };
    let certificate = served.path("cert.pem");
    let played = run(&["--ca", certificate.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_slice(&played.stdout).unwrap();
    assert_eq!((&report["answered"], &report["broken"]), (&2.into(), &0.into()), "{report}");
    let refused = run(&[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("wss:// needs --ca FILE"));
    let key = served.path("key.pem");
    let refused = String::from_utf8(run(&["--ca", key.to_str().unwrap()]).stderr).unwrap();
    assert!(refused.contains("key.pem: there is no certificate in it"), "{refused}");
}

/// The program with a certificate of its own, on a free port.
struct Served {
    folder: TempDir,
    program: Child,
    port: u16,
    said: Receiver<String>,
}

impl Served {
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        certify(&certificate, &key);
        let config = folder.path().join("warmline.toml");
        let tls = format!("[server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n");
        fs::write(&config, format!("[server]\nlisten = \"127.0.0.1:0\"\nshards = 1\n{tls}{more}")).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_warmline"))
            .args(["serve", "--stages", "watch", "--config", config.to_str().unwrap()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(program.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, said) = channel();
        thread::spawn(move || lines.for_each(|line| _ = sender.send(line)));
        let mut served = Self { folder, program, port: 0, said };
        let line: serde_json::Value = serde_json::from_str(&served.until("\"serving\"")).unwrap();
        assert_eq!(line["tls"], true);
        served.port = line["listen"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        served
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another certificate in the same place.
    fn certify(&self) {
        certify(&self.path("cert.pem"), &self.path("key.pem"));
    }

    fn hang_up(&self) {
        assert!(
            Command::new("kill").args(["-HUP", &self.program.id().to_string()]).status().unwrap().success()
        );
    }

    /// The next line of the log with these words.
    fn until(&self, words: &str) -> String {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(30)).unwrap();
            if line.contains(words) {
                return line;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    fn get(&self, page: &str) -> String {
        let url = format!("https://localhost:{}/{page}", self.port);
        String::from_utf8(Command::new("curl").args(["-sk", &url]).output().unwrap().stdout).unwrap()
    }

    /// What curl makes of `/healthz`; `None` where there is none.
    fn curl(&self, more: &[&str]) -> Option<Output> {
        let url = format!("https://localhost:{}/healthz", self.port);
        let output = Command::new("curl").args(["-s", "--max-time", "10", &url]).args(more).output();
        output.inspect_err(|_| eprintln!("skipped: there is no curl")).ok()
    }

    /// The fingerprint of the certificate that `openssl s_client` is shown; `None` where there is no openssl.
    fn fingerprint(&self) -> Option<String> {
        let address = format!("localhost:{}", self.port);
        let client = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", "localhost"])
            .stdin(Stdio::null())
            .output()
            .inspect_err(|_| eprintln!("skipped: there is no openssl"))
            .ok()?;
        let text = String::from_utf8_lossy(&client.stdout).into_owned();
        let from = text.find("-----BEGIN CERTIFICATE-----").expect("a certificate is shown");
        let to = text.find("-----END CERTIFICATE-----").unwrap();
        assert!(text.contains("TLSv1.3"), "{text}");
        Some(text[from..to].to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn certify(certificate: &Path, key: &Path) {
    let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(certificate, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
}
