//! `warmline serve`: live calls.

use std::{
    env, fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use tokio::{
    net::{TcpListener, UdpSocket},
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use warmline::{
    call::{Action, CallId},
    config::{Config, Secret},
    console::{self, Console, Policies, Ring, Sessions},
    ingest::{Intake, Patience, audiosocket, http, rtp, websocket},
    switchboard::{Actions, Limits, Score, Switchboard},
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
/// calls.
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
    let config = read(arguments.config.as_ref())?;
    let scoring = scoring(&arguments.scoring, &config);
    let gate = config.gate(&secret)?;
    if arguments.demo && !gate.is_open() {
        bail!(
            "--demo plays bundled calls for whoever is at this machine: leave the credentials out of its configuration"
        );
    }
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
    let epoch = epoch();
    let ring = Ring::new(epoch);
    let limits = Limits { calls: config.limits.calls, calls_per_shard: config.limits.calls_per_shard };
    let events = Arc::clone(&ring);
    let board = Arc::new(Switchboard::start(scorers, call_config, limits, epoch, events, Arc::new(Log))?);
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
    tokio.block_on(serve(&config, &scoring, intake, ring, arguments.demo))?;
    // A follower that is still connected holds nobody up.
    tokio.shutdown_background();
    Ok(0)
}

async fn serve(
    config: &Config,
    scoring: &ScoringArguments,
    intake: Arc<Intake>,
    ring: Arc<Ring>,
    demo: bool,
) -> anyhow::Result<()> {
    let board = Arc::clone(&intake.board);
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
    if let Some((addresses, port)) = config.rtp() {
        tracing::info!(first = %addresses.first().map(ToString::to_string).unwrap_or_default(), ports = addresses.len(), "rtp");
        for address in addresses {
            let socket =
                UdpSocket::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
            tokio::spawn(rtp::serve(Arc::clone(&intake), socket, port.clone()));
        }
    }
    let desk = Arc::new(PolicyDesk {
        board: Arc::clone(&board),
        scoring: scoring.clone(),
        recordings: config.console.recordings.clone(),
        heard: Mutex::default(),
    });
    let console = Arc::new(Console {
        intake: Arc::clone(&intake),
        ring,
        announced,
        sessions: Sessions::default(),
        policies: Policies::new(desk::in_force(scoring.policy.as_deref(), "the file")?, desk),
        demo,
    });
    if demo {
        demo::play(&intake)?;
    }
    let router = console::routes(Arc::clone(&console)).merge(websocket::routes(Arc::clone(&intake)));
    tokio::spawn(http::serve(intake, listener, router, connections));
    let (mut term, mut interrupt, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    tracing::info!(listen = %address, shards = board.shards().len(), "serving");
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            _ = hup.recv() => match scoring.policy().and_then(|policy| scoring.call_config(&policy)) {
                Ok((config, _)) => {
                    tracing::info!(version = config.policy.version(), "policy read again");
                    board.reload(config);
                    let told = desk::in_force(scoring.policy.as_deref(), "the file");
                    let now = console.policies.now().map(|now| now.sha256);
                    if let Some(entry) = told.ok().and_then(|mut all| all.pop()).filter(|e| Some(&e.sha256) != now.as_ref()) {
                        console.policies.changed(entry);
                    }
                }
                Err(error) => tracing::error!(error = %format!("{error:#}"), "policy not read: the old one holds"),
            },
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

/// What calls want done: told, until there is somebody who does it.
struct Log;

impl Actions for Log {
    fn act(&self, call: &CallId, action: Action) {
        let Action::Transfer { id, .. } = action;
        tracing::info!(%call, transfer = id, "transfer");
    }
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Reads a configuration, or takes what holds without one.
pub(super) fn read(path: Option<&PathBuf>) -> anyhow::Result<Config> {
    let Some(path) = path else { return Ok(Config::parse("")?) };
    let source = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Config::parse(&source).map_err(|error| anyhow!("{}: {error}", path.display()))
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

/// Differs from one start to the next: milliseconds of Unix time.
fn epoch() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "names calls and events, dates nothing")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX / 2))
}
