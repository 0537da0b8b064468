//! `warmline serve`: live calls.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{Instant, interval, sleep, timeout},
};
use warmline::{
    api::{self, Console, Policies, Ring, Sessions},
    clock::{Clock, SteadyClock, SystemClock},
    config::{Config, Secret},
    connectors::{Environment, HandBack, page::Page},
    ledger::{Ledger, Place},
    media_in::{Intake, Patience, audiosocket, http, rtp, tls::Tls, websocket},
    outbox::Outbox,
    switchboard::{Events, Limits, Score, Switchboard},
};
use warmline_core::{
    call::{CallId, Event},
    transfer::UnixMillis,
};

use super::{
    demo,
    desk::{self, PolicyDesk},
    jobs::default_jobs,
    scoring::ScoringArguments,
};

/// Takes live calls, and treats each exactly as replay does.
///
/// SIGTERM: no new calls; those that are live may finish within server.grace_s. SIGHUP: the policy is read again, for new
/// calls, and the certificate, for new connections.
#[derive(Args)]
pub(super) struct Arguments {
    /// Configuration (TOML); without it: this machine alone, port 8080, no credentials
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    scoring: ScoringArguments,
    /// Play the bundled calls as live ones, over and over: this machine alone, without credentials
    #[arg(long)]
    demo: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let mut config = read(arguments.config.as_ref())?;
    if arguments.demo {
        // Whoever tries it out may look around before they claim a caller.
        (config.handoff.ring_s, config.handoff.deadline_s) = (demo::RING_S, demo::RING_S);
    }
    let scoring = scoring(&arguments.scoring, &config);
    let gate = config.gate(&secret)?;
    if arguments.demo && !gate.is_open() {
        bail!(
            "--demo plays bundled calls for whoever is at this machine: leave the credentials out of its configuration"
        );
    }
    // Whoever makes a TLS client or listener finds it; a second one in a process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let way_back = Arc::new(WayBack::default());
    let mut connectors = config.connectors(&Environment {
        secret: &secret,
        hand_back: Arc::clone(&way_back) as Arc<dyn HandBack>,
        clock: Arc::new(SystemClock),
    })?;
    let tls = tls(&config)?.map(Arc::new);
    let runtime = scoring.runtime()?;
    let (call_config, models) = scoring.call_config(&scoring.policy()?)?;
    let shards = config.server.shards.map_or_else(default_jobs, usize::from).max(1);
    let scorers = (0..shards)
        .map(|_| Ok(Box::new(models.scorers(runtime)?) as Box<dyn Score>))
        .collect::<anyhow::Result<Vec<_>>>()?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    // Differs from one start to the next.
    let start = SystemClock.now();
    let epoch = start.0;
    let ring = Ring::new(epoch);
    let limits = Limits { calls: config.limits.calls, calls_per_shard: config.limits.calls_per_shard };
    let place = config.ledger();
    if place == Place::Memory {
        tracing::warn!(
            "no [ledger] is configured: transfers and the audit are kept in memory, and gone with the program"
        );
    }
    if connectors.iter().all(|connector| connector.is_alert()) {
        tracing::warn!(
            "no [[handoff.connector]] is configured: a transfer is offered to whoever watches the page"
        );
        connectors.push(Arc::new(Page));
    }
    let ledger = Arc::new(Ledger::open(place)?);
    let told = Arc::clone(&ring);
    let outbox = Outbox::new(
        Arc::clone(&ledger),
        connectors,
        config.outbox(),
        call_config.policy.clone(),
        Arc::new(SteadyClock::starting_at(start)),
        Box::new(move |line| told.say(line.to_string())),
    );
    let events = Arc::new(Both(Arc::clone(&ring), Arc::clone(&outbox)));
    let actions = Arc::clone(&outbox);
    let board = Arc::new(Switchboard::start(scorers, call_config, limits, epoch, events, actions)?);
    let _ = way_back.0.set(Arc::downgrade(&board));
    let seconds = Duration::from_secs;
    let patience = Patience {
        request: seconds(config.limits.request_s),
        idle: seconds(config.limits.idle_s),
        ..Patience::default()
    };
    if gate.is_open() {
        tracing::warn!(listen = %config.server.listen, "no credentials are configured: this machine alone is listened to");
    }
    let intake = Arc::new(Intake::new(Arc::clone(&board), gate, patience));
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    tokio.block_on(serve(&config, &scoring, tls, intake, ring, outbox, arguments.demo))?;
    // A follower that is still connected holds nobody up.
    tokio.shutdown_background();
    Ok(0)
}

async fn serve(
    config: &Config,
    scoring: &ScoringArguments,
    tls: Option<Arc<Tls>>,
    intake: Arc<Intake>,
    ring: Arc<Ring>,
    outbox: Arc<Outbox>,
    demo: bool,
) -> anyhow::Result<()> {
    let board = Arc::clone(&intake.board);
    let of_outbox = Arc::clone(&board);
    let running = Arc::clone(&outbox);
    let mut handing_off = tokio::spawn(async move { running.run(&of_outbox).await });
    tokio::spawn(retain(Arc::clone(&outbox), config.retention.days));
    let connections = Arc::new(Semaphore::new(config.limits.connections));
    let listener = bind(config.server.listen).await?;
    let address = listener.local_addr()?;
    let announced = match config.audiosocket() {
        Some((listen, announced)) => {
            let listener = bind(listen).await?;
            tracing::info!(listen = %listener.local_addr()?, announced, "audiosocket");
            let announced = announced.then(Arc::default);
            let serving = audiosocket::serve(
                Arc::clone(&intake),
                listener,
                Arc::clone(&connections),
                announced.clone(),
            );
            tokio::spawn(serving);
            announced
        }
        None => None,
    };
    let udp = async |address: SocketAddr| {
        UdpSocket::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    if let Some((pairs, port)) = config.rtp_pairs() {
        tracing::info!(first = %pairs.first().map(|[caller, _]| caller.to_string()).unwrap_or_default(), pairs = pairs.len(), "rtp");
        for [caller, agent] in pairs {
            let (caller, agent) = (udp(caller).await?, udp(agent).await?);
            tokio::spawn(rtp::serve_pair(Arc::clone(&intake), caller, agent, port.clone()));
        }
    } else if let Some((addresses, port)) = config.rtp() {
        tracing::info!(first = %addresses.first().map(ToString::to_string).unwrap_or_default(), ports = addresses.len(), "rtp");
        for address in addresses {
            tokio::spawn(rtp::serve(Arc::clone(&intake), udp(address).await?, port.clone()));
        }
    }
    let desk = Arc::new(PolicyDesk {
        board: Arc::clone(&board),
        outbox: Arc::clone(&outbox),
        scoring: scoring.clone(),
        recordings: config.console.recordings.clone(),
        heard: Mutex::default(),
    });
    let console = Arc::new(Console {
        intake: Arc::clone(&intake),
        ring,
        outbox: Arc::clone(&outbox),
        announced,
        sessions: Sessions::default(),
        policies: Policies::new(desk::in_force(scoring.policy.as_deref(), "the file")?, desk),
        demo,
    });
    if demo {
        demo::play(&intake)?;
    }
    let router = api::routes(Arc::clone(&console)).merge(websocket::routes(Arc::clone(&intake)));
    match &tls {
        Some(tls) => {
            tokio::spawn(http::serve_tls(intake, listener, router, connections, Arc::clone(tls)));
        }
        None => {
            tokio::spawn(http::serve(intake, listener, router, connections));
        }
    }
    let (mut term, mut interrupt, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    tracing::info!(listen = %address, tls = tls.is_some(), shards = board.shards().len(), "serving");
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            ended = &mut handing_off => return Err(match ended {
                Ok(Err(error)) => anyhow!(error).context("transfers cannot be made"),
                Ok(Ok(())) | Err(_) => anyhow!("transfers are not made any more: a bug, please report it"),
            }),
            _ = hup.recv() => {
                match scoring.policy().and_then(|policy| scoring.call_config(&policy)) {
                    Ok((config, _)) => {
                        tracing::info!(version = config.policy.version(), "policy read again");
                        outbox.set_policy(config.policy.clone(), "sighup");
                        board.reload(config);
                        let told = desk::in_force(scoring.policy.as_deref(), "the file");
                        let now = console.policies.now().map(|now| now.sha256);
                        if let Some(entry) = told.ok().and_then(|mut all| all.pop()).filter(|e| Some(&e.sha256) != now.as_ref()) {
                            console.policies.changed(entry);
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = %format!("{error:#}"), "policy not read: the old one holds");
                    }
                }
                match tls.as_ref().map(|tls| tls.reload()) {
                    Some(Ok(())) => tracing::info!("certificate read again"),
                    Some(Err(error)) => tracing::error!(%error, "certificate not read: the old one holds"),
                    None => {}
                }
            }
        }
    }
    board.drain();
    tracing::info!(live = board.live(), grace_s = config.server.grace_s, "draining");
    let until = Instant::now() + Duration::from_secs(config.server.grace_s);
    while board.live() > 0 && Instant::now() < until {
        // A second signal waits no longer.
        let waited = async {
            tokio::select! {
                _ = term.recv() => true,
                _ = interrupt.recv() => true,
                () = sleep(Duration::from_millis(50)) => false,
            }
        };
        if timeout(Duration::from_secs(1), waited).await.unwrap_or(false) {
            break;
        }
    }
    tracing::info!(live = board.live(), "stopping");
    tokio::task::spawn_blocking(move || board.stop()).await?;
    Ok(())
}

/// Everybody who is told of events.
struct Both(Arc<Ring>, Arc<Outbox>);

impl Events for Both {
    fn told(&self, event: &Event) {
        self.0.told(event);
        self.1.told(event);
    }
}

/// Erases what is older than so many days, at the start and every hour.
async fn retain(outbox: Arc<Outbox>, days: u32) {
    const DAY_MS: u64 = 86_400_000;
    let mut hours = interval(Duration::from_secs(3_600));
    if days == 0 {
        return;
    }
    loop {
        hours.tick().await;
        let now = outbox.now();
        let before = UnixMillis(now.0.saturating_sub(DAY_MS * u64::from(days)));
        match outbox.ledger().purge(before, now).await {
            Ok(receipt) => tracing::info!(transfers = receipt.transfers, calls = receipt.calls, "retention"),
            Err(error) => tracing::error!(%error, "what is too old was not erased"),
        }
    }
}

/// The switchboard, which is there only after the connectors that give calls back over it.
#[derive(Default)]
struct WayBack(OnceLock<Weak<Switchboard>>);

impl HandBack for WayBack {
    fn hand_back(&self, call: &str, variables: &BTreeMap<String, String>) -> Result<(), String> {
        let board = self.0.get().and_then(Weak::upgrade).ok_or("the program is ending")?;
        board.hand_back(&CallId::new(call), variables).map_err(|error| error.to_string())
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Reads a configuration, or takes what holds without one.
pub(super) fn read(path: Option<&PathBuf>) -> anyhow::Result<Config> {
    let Some(path) = path else { return Ok(Config::parse("")?) };
    let source = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Config::parse(&source).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// The certificate that the configuration names.
pub(super) fn tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let table = config.server.tls.as_ref();
    table.map(|table| Tls::open(&table.certificate, &table.key)).transpose().context("[server.tls]")
}

/// The command line's files, and the configuration's where it names none.
pub(super) fn scoring(arguments: &ScoringArguments, config: &Config) -> ScoringArguments {
    let mut scoring = arguments.clone();
    scoring.policy = scoring.policy.or_else(|| config.policy.file.clone());
    scoring.onnxruntime = scoring.onnxruntime.or_else(|| config.model.onnxruntime.clone());
    if scoring.models.is_empty() {
        scoring.models.clone_from(&config.model.files);
    }
    scoring
}

/// Finds a secret.
pub(super) fn secret(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Env(name) => env::var(name).map_err(|_| format!("{name} is not in the environment")),
        Secret::File(path) => {
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}
