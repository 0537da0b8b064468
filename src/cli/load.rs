//! `warmline load`: many paced calls against a server, to size a machine with.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, ValueEnum};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket, tcp::OwnedWriteHalf},
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message as Frame, client::IntoClientRequest},
};
use warmline_core::media::{Encoding, g711};
use warmline_eval::recording::Recording;

use super::{
    FAILED,
    jobs::{self, complain},
};

/// Samples of a packet: 20 ms.
const PACKET: usize = 160;

/// Seconds that events may take to come after the last packet.
const TAIL_S: u64 = 3;

/// Opens many paced calls and says how they went: what was sent, how late it was sent, which events came and how late they were.
///
/// An event's lateness counts from the moment its audio was sent; a score's includes the audio that the detectors look ahead.
/// Exit code 2: a call broke off.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where calls go: ws:// or wss://HOST:PORT/v1/media, or HOST:PORT (of RTP the first of as many ports as calls)
    #[arg(value_name = "URL")]
    url: String,
    /// Calls at once
    #[arg(long, value_name = "N", default_value_t = 10)]
    calls: usize,
    /// How they come
    #[arg(long, value_name = "WHICH")]
    protocol: Protocol,
    /// WAV files or folders of them, 8 kHz, 16 bit or µ-law, the caller left or alone; each is played again when it ends
    #[arg(long, value_name = "DIR", required = true)]
    wav: Vec<PathBuf>,
    /// Seconds of audio a call
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// Times real time
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pace: f64,
    /// Where the events come from: HOST:PORT of the HTTP interface [default: that of the URL]
    #[arg(long, value_name = "HOST:PORT")]
    events: Option<String>,
    /// Environment variable with the integrator's token
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
    /// The certificate (PEM) that the server's is signed with, for wss:// and for events behind TLS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// Twilio's framing over a WebSocket, both tracks
    Twilio,
    /// Asterisk's AudioSocket over TCP, the caller alone
    Audiosocket,
    /// RTP over UDP, µ-law, the caller alone
    Rtp,
}

/// A recording: the caller, and the agent if there is one.
type Voices = (Vec<i16>, Option<Vec<i16>>);

/// What happened, over all calls.
#[derive(Default)]
struct Tally {
    connected: AtomicU64,
    broken: AtomicU64,
    packets: AtomicU64,
    sending: Mutex<Lateness>,
    /// When each call's first packet went out, by the name the server gives it.
    began: Mutex<BTreeMap<String, Instant>>,
    events: Mutex<BTreeMap<String, (u64, Lateness)>>,
}

/// How late things were: counts by millisecond.
struct Lateness(Vec<u64>);

impl Default for Lateness {
    fn default() -> Self {
        Self(vec![0; 10_001])
    }
}

impl Lateness {
    fn observe(&mut self, late: Duration) {
        let last = self.0.len() - 1;
        let millis = usize::try_from(late.as_millis()).unwrap_or(last).min(last);
        if let Some(count) = self.0.get_mut(millis) {
            *count += 1;
        }
    }

    /// Milliseconds within which a share of them were; of more than ten seconds, ten.
    fn quantile(&self, per_mille: u64) -> usize {
        let wanted = (self.0.iter().sum::<u64>() * per_mille).div_ceil(1_000);
        let mut so_far = 0;
        self.0
            .iter()
            .take_while(|count| {
                so_far += **count;
                so_far < wanted
            })
            .count()
    }

    fn json(&self) -> serde_json::Value {
        json!({ "p50": self.quantile(500), "p99": self.quantile(990), "max": self.quantile(1_000) })
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let files = jobs::files(&arguments.wav)?;
    let voices = files.iter().filter_map(|file| match voices(file) {
        Ok(voices) => Some(Arc::new(voices)),
        Err(error) => {
            complain(&format!("{}: left out: {error:#}", file.display()));
            None
        }
    });
    let voices: Vec<Arc<Voices>> = voices.collect();
    if voices.is_empty() {
        bail!("no file is left to play");
    }
    if !(0.01..=1_000.0).contains(&arguments.pace) {
        bail!("--pace {}: expected 0.01 to 1000", arguments.pace);
    }
    let token = match &arguments.token_env {
        Some(name) => Some(std::env::var(name).with_context(|| format!("{name} is not in the environment"))?),
        None => None,
    };
    let tally = Arc::new(Tally::default());
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    tokio.block_on(play(arguments, &voices, token, &tally))?;
    tokio.shutdown_background();
    let broken = tally.broken.load(Ordering::Relaxed);
    writeln!(io::stdout().lock(), "{}", report(arguments, &tally))?;
    Ok(if broken > 0 { FAILED } else { 0 })
}

fn report(arguments: &Arguments, tally: &Tally) -> serde_json::Value {
    let events = lock(&tally.events);
    let came = |kind: &str| events.get(kind).map_or(0, |(count, _)| *count);
    let by_type: serde_json::Map<String, serde_json::Value> = events
        .iter()
        .map(|(kind, (count, late))| (kind.clone(), json!({ "count": count, "late_ms": late.json() })))
        .collect();
    json!({
        "calls": arguments.calls,
        "connected": tally.connected.load(Ordering::Relaxed),
        "answered": came("call_started"),
        "broken": tally.broken.load(Ordering::Relaxed),
        "packets_sent": tally.packets.load(Ordering::Relaxed),
        "sent_late_ms": lock(&tally.sending).json(),
        "events": by_type,
    })
}

async fn play(
    arguments: &Arguments,
    voices: &[Arc<Voices>],
    token: Option<String>,
    tally: &Arc<Tally>,
) -> anyhow::Result<()> {
    let ca = arguments.ca.as_deref().map(trust).transpose()?;
    let of_url = address_of(&arguments.url).map(|(_, address)| address);
    if arguments.url.starts_with("wss://") && ca.is_none() {
        bail!("wss:// needs --ca FILE: the certificate (PEM) that the server's is signed with");
    }
    if let Some(address) = arguments.events.as_deref().or(of_url) {
        let socket =
            connect(address, ca.as_ref()).await.with_context(|| format!("no events from {address}"))?;
        tokio::spawn(follow(socket, token.clone(), Arc::clone(tally), arguments.pace));
    } else {
        complain("no --events: what the server says is not counted");
    }
    let gap = Duration::from_millis(20).div_f64(arguments.pace);
    let begin = Instant::now() + Duration::from_millis(200);
    let calls: Vec<_> = (0..arguments.calls)
        .zip(voices.iter().cycle())
        .map(|(n, voices)| {
            let (url, token, tally) = (arguments.url.clone(), token.clone(), Arc::clone(tally));
            let ca = ca.clone();
            let (protocol, voices, packets) =
                (arguments.protocol, Arc::clone(voices), 50 * arguments.seconds);
            // Spread over the first second, so that neither connections nor packets come all at once.
            let share = n as f64 / arguments.calls.max(1) as f64;
            let begin = begin + Duration::from_secs(1).mul_f64(share) + gap.mul_f64(share);
            tokio::spawn(async move {
                sleep_until(begin).await;
                let name = format!("load-{}-{n}", std::process::id());
                let called = call(protocol, &url, token, ca, n, &name, &voices, packets, gap, &tally).await;
                if let Err(error) = called {
                    tally.broken.fetch_add(1, Ordering::Relaxed);
                    complain(&format!("call {n}: {error:#}"));
                }
            })
        })
        .collect();
    for call in calls {
        call.await?;
    }
    sleep_until(Instant::now() + Duration::from_secs(TAIL_S)).await;
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "one call's whole circumstances, used once")]
async fn call(
    protocol: Protocol,
    url: &str,
    token: Option<String>,
    ca: Option<TlsConnector>,
    n: usize,
    name: &str,
    (caller, agent): &Voices,
    packets: u64,
    gap: Duration,
    tally: &Tally,
) -> anyhow::Result<()> {
    let (mut peer, id) = Peer::connect(protocol, url, token, ca, n, name).await?;
    tally.connected.fetch_add(1, Ordering::Relaxed);
    let begin = Instant::now();
    lock(&tally.began).insert(id, begin);
    let mut caller = caller.iter().copied().cycle();
    let mut agent = agent.as_ref().map(|agent| agent.iter().copied().cycle());
    let (mut said, mut answered) = ([0; PACKET], [0; PACKET]);
    for n in 0..packets {
        said.iter_mut().zip(&mut caller).for_each(|(to, sample)| *to = sample);
        if let Some(agent) = &mut agent {
            answered.iter_mut().zip(agent).for_each(|(to, sample)| *to = sample);
        }
        // A packet is sent when its last sample has been spoken.
        let due = begin + gap.saturating_mul(u32::try_from(n + 1).unwrap_or(u32::MAX));
        sleep_until(due).await;
        let sent = peer.send(n, &said, agent.is_some().then_some(&answered));
        timeout(Duration::from_secs(5), sent).await.context("the server does not read")??;
        lock(&tally.sending).observe(Instant::now().duration_since(due));
        tally.packets.fetch_add(1, Ordering::Relaxed);
    }
    peer.end().await
}

/// Whether a WebSocket's URL is one over TLS, and its HOST:PORT.
fn address_of(url: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let address = rest.split('/').next()?;
    match scheme {
        "ws" => Some((false, address)),
        "wss" => Some((true, address)),
        _ => None,
    }
}

/// A connection, over TLS or not.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Socket = Box<dyn Duplex>;

async fn connect(address: &str, ca: Option<&TlsConnector>) -> anyhow::Result<Socket> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let Some(tls) = ca else { return Ok(Box::new(socket)) };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).with_context(|| format!("{host} is no host"))?;
    Ok(Box::new(tls.connect(name, socket).await?))
}

/// What trusts the certificates of this file, and no others.
fn trust(file: &Path) -> anyhow::Result<TlsConnector> {
    let named = || file.display().to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(named)? {
        roots.add(certificate.with_context(named)?).with_context(named)?;
    }
    if roots.is_empty() {
        bail!("{}: there is no certificate in it: expected PEM", file.display());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One call's connection.
enum Peer {
    Twilio(Box<SplitSink<WebSocketStream<Socket>, Frame>>),
    AudioSocket(OwnedWriteHalf),
    Rtp(UdpSocket, u32),
}

impl Peer {
    /// Connects, and tells by which name the server will speak of the call.
    async fn connect(
        protocol: Protocol,
        url: &str,
        token: Option<String>,
        ca: Option<TlsConnector>,
        n: usize,
        name: &str,
    ) -> anyhow::Result<(Self, String)> {
        match protocol {
            Protocol::Twilio => {
                let mut request = url.into_client_request()?;
                if let Some(token) = token {
                    request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
                }
                let (tls, address) = address_of(url).context("expected ws:// or wss://HOST:PORT/…")?;
                let socket = connect(address, ca.as_ref().filter(|_| tls)).await?;
                let (socket, _) = client_async(request, socket).await?;
                let (mut sink, mut stream) = socket.split();
                // Reading answers the server's pings.
                tokio::spawn(async move { while let Some(Ok(_)) = stream.next().await {} });
                let start = json!({
                    "event": "start", "sequenceNumber": "1", "streamSid": name,
                    "start": {
                        "accountSid": "AC0", "streamSid": name, "callSid": name, "tracks": ["inbound", "outbound"],
                        "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
                        "customParameters": { "notice": "consent" },
                    },
                });
                let connected = json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" });
                sink.send(Frame::text(connected.to_string())).await?;
                sink.send(Frame::text(start.to_string())).await?;
                Ok((Self::Twilio(Box::new(sink)), name.to_owned()))
            }
            Protocol::Audiosocket => {
                let (mut reader, mut writer) = TcpStream::connect(url).await?.into_split();
                tokio::spawn(async move {
                    let mut silence = [0; 4_096];
                    while let Ok(1..) = reader.read(&mut silence).await {}
                });
                let (program, call) = (std::process::id(), u32::try_from(n)?);
                let tail = [program.to_be_bytes(), call.to_be_bytes()].concat();
                writer.write_all(&[&[0x01, 0, 16][..], b"warmload", &tail].concat()).await?;
                let id =
                    format!("7761726d-6c6f-6164-{:04x}-{:04x}{call:08x}", program >> 16, program & 0xFFFF);
                Ok((Self::AudioSocket(writer), id))
            }
            Protocol::Rtp => {
                let (host, port) = url.rsplit_once(':').context("expected HOST:PORT")?;
                let port = port.parse::<u16>()?.checked_add(u16::try_from(n)?).context("no such port")?;
                let socket = UdpSocket::bind("0.0.0.0:0").await?;
                socket.connect((host, port)).await?;
                Ok((Self::Rtp(socket, u32::try_from(n)?), format!("rtp-{port}")))
            }
        }
    }

    async fn send(&mut self, n: u64, caller: &[i16], agent: Option<&[i16; PACKET]>) -> anyhow::Result<()> {
        let mulaw = |samples: &[i16]| samples.iter().map(|s| g711::encode_mu(*s)).collect::<Vec<u8>>();
        match self {
            Self::Twilio(sink) => {
                let tracks = [("inbound", Some(caller)), ("outbound", agent.map(|agent| &agent[..]))];
                for (track, samples) in tracks {
                    let Some(samples) = samples else { continue };
                    let media = format!(
                        r#"{{"event":"media","sequenceNumber":"{}","streamSid":"MZ","media":{{"track":"{track}","chunk":"{}","timestamp":"{}","payload":"{}"}}}}"#,
                        n + 2,
                        n + 1,
                        20 * n,
                        STANDARD.encode(mulaw(samples))
                    );
                    sink.send(Frame::text(media)).await?;
                }
            }
            Self::AudioSocket(writer) => {
                let mut frame = vec![0x10, 1, 64];
                frame.extend(caller.iter().flat_map(|sample| sample.to_le_bytes()));
                writer.write_all(&frame).await?;
            }
            Self::Rtp(socket, ssrc) => {
                let [.., s0, s1] = n.to_be_bytes();
                let [.., t0, t1, t2, t3] = (n * PACKET as u64).to_be_bytes();
                let [r0, r1, r2, r3] = ssrc.to_be_bytes();
                let mut datagram = vec![0x80, 0, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];
                datagram.extend(mulaw(caller));
                socket.send(&datagram).await?;
            }
        }
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Twilio(mut sink) => {
                sink.send(Frame::text(json!({ "event": "stop", "streamSid": "MZ" }).to_string())).await?;
                sink.close().await?;
            }
            Self::AudioSocket(mut writer) => writer.shutdown().await?,
            Self::Rtp(socket, ssrc) => {
                let [r0, r1, r2, r3] = ssrc.to_be_bytes();
                socket.send(&[0x81, 203, 0, 1, r0, r1, r2, r3]).await?; // RFC 3550 6.6
            }
        }
        Ok(())
    }
}

/// Counts the events of our calls and how late they are.
async fn follow(
    mut socket: Socket,
    token: Option<String>,
    tally: Arc<Tally>,
    pace: f64,
) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Line {
        call: String,
        t: f64,
        r#type: String,
    }
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    // A response to HTTP/1.0 comes as it is, in no chunks.
    socket.write_all(format!("GET /api/v1/events HTTP/1.0\r\n{authorization}\r\n").as_bytes()).await?;
    let mut lines = BufReader::new(socket).lines();
    while let Some(line) = lines.next_line().await? {
        let Some(line) = line.strip_prefix("data: ") else { continue };
        let Ok(event) = serde_json::from_str::<Line>(line) else { continue };
        // An RTP call is named by its port and the second it began.
        let port = event.call.strip_prefix("rtp-").and_then(|rest| rest.split('-').next());
        let name = port.map_or_else(|| event.call.clone(), |port| format!("rtp-{port}"));
        let Some(began) = lock(&tally.began).get(&name).copied() else { continue };
        let spoken = began + Duration::from_secs_f64(event.t.max(0.0) / pace);
        let late = Instant::now().saturating_duration_since(spoken);
        let mut events = lock(&tally.events);
        let (count, lateness) = events.entry(event.r#type).or_default();
        *count += 1;
        lateness.observe(late);
    }
    Ok(())
}

fn voices(file: &Path) -> anyhow::Result<Voices> {
    let mut recording = Recording::open(file)?;
    let wav = recording.wav();
    let (encoding, channels) = (wav.encoding, usize::from(wav.channels));
    if wav.rate.0 != 8_000 || !(1..=2).contains(&channels) {
        bail!("expected one or two channels at 8 kHz");
    }
    let mut bytes = Vec::new();
    recording.packet(u64::MAX / 64, &mut bytes)?;
    let samples: Vec<i16> = if encoding == Encoding::L16Le {
        bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
    } else if encoding == Encoding::Pcmu {
        bytes.iter().map(|code| g711::decode_mu(*code)).collect()
    } else {
        bail!("expected 16 bit or µ-law")
    };
    if samples.len() < channels * PACKET {
        bail!("there is nothing in it");
    }
    let side = |n: usize| samples.iter().skip(n).step_by(channels).copied().collect::<Vec<i16>>();
    Ok((side(0), (channels == 2).then(|| side(1))))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
