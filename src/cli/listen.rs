//! `warmline listen`: a capture device, live.

use clap::Args;

use super::{features::Channel, scoring::ScoringArguments};

/// Listens to a microphone or any other capture device, and says live what replay says of a recording.
///
/// A call is two channels, left the caller and right the agent or bot, or one that holds the caller alone. Nothing is recorded.
/// Ctrl-C ends the call with a summary. Exit code 2: the device was lost and did not come back.
#[derive(Args)]
#[cfg_attr(not(feature = "capture"), allow(dead_code, reason = "the command then says how to get it"))]
pub(super) struct Arguments {
    #[command(flatten)]
    scoring: ScoringArguments,
    /// Say which devices there are
    #[arg(long)]
    list: bool,
    /// Which device: its name or a part of it [default: the system's]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Events, one JSON object a line
    #[arg(long)]
    json: bool,
    /// Which channel is the caller's [default: left of two]
    #[arg(long, value_name = "CHANNEL")]
    caller_channel: Option<Channel>,
    /// What the caller has been told [default: what the policy asks for]
    #[arg(long, value_name = "WHAT")]
    notice: Option<super::replay::Given>,
    /// The queue the call came by, for the policy's overrides
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// The caller's intent, for the policy's overrides
    #[arg(long, value_name = "NAME")]
    intent: Option<String>,
    /// End the call after so long
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u32>,
}

#[cfg(not(feature = "capture"))]
pub(super) fn run(_: &Arguments) -> anyhow::Result<u8> {
    anyhow::bail!(
        "this program was built without audio capture: install ALSA's headers (Debian: libasound2-dev and pkg-config) and \
         build it with --features capture; `make setup build` does both"
    )
}

#[cfg(feature = "capture")]
pub(super) use live::run;

#[cfg(feature = "capture")]
mod live {
    use std::{
        cell::RefCell,
        collections::BTreeMap,
        io::{self, IsTerminal, Write},
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use anyhow::bail;
    use serde_json::json;
    use tokio::{
        select,
        signal::unix::{SignalKind, signal},
        time::{Instant, MissedTickBehavior, interval},
    };
    use warmline::media_in::capture::{self, Capture};
    use warmline_core::{
        call::{Call, CallConfig, CallId, CallStart, Event, EventKind, Input, Output},
        media::Speaker,
    };
    use warmline_eval::{recording::CallerChannel, replay::Player};
    use warmline_onnx::Scorers;

    use super::{
        super::{FAILED, jobs::complain, timeline::Timeline},
        Arguments,
    };

    /// How often the device is read.
    const TICK: Duration = Duration::from_millis(20);
    /// How often the meter is drawn.
    const METER: Duration = Duration::from_millis(100);
    /// Without a sample for so long, a device counts as lost: one that is silent sends zeros.
    const LOST_AFTER: Duration = Duration::from_secs(2);
    /// How often a lost device is looked for.
    const RETRY: Duration = Duration::from_secs(1);
    /// How long a lost device is waited for; then the call ends.
    const WAIT_FOR: Duration = Duration::from_secs(30);

    pub(in super::super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
        if arguments.list {
            return list(arguments.json);
        }
        let (config, models) = arguments.scoring.call_config(&arguments.scoring.policy()?)?;
        let mut scorers = models.scorers(arguments.scoring.runtime()?)?;
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio.block_on(listen(arguments, &config, &mut scorers))
    }

    fn list(as_json: bool) -> anyhow::Result<u8> {
        let mut out = io::stdout().lock();
        let devices = capture::devices()?;
        if devices.is_empty() && !as_json {
            bail!("there is no capture device");
        }
        for device in devices {
            if as_json {
                let (low, high) = device.rates;
                let line = json!({
                    "device": device.id, "name": device.name, "default": device.is_default, "channels": device.channels,
                    "rates_hz": [low, high],
                });
                writeln!(out, "{line}")?;
            } else {
                let sign = if device.is_default { "*" } else { " " };
                writeln!(out, "{sign} {:24}  {}  ({device})", device.id, device.name)?;
            }
        }
        Ok(0)
    }

    async fn listen(
        arguments: &Arguments,
        config: &Arc<CallConfig>,
        scorers: &mut Scorers,
    ) -> anyhow::Result<u8> {
        let side = arguments.caller_channel.map_or(CallerChannel::Left, Into::into);
        let channels = if side == CallerChannel::Mono { 1 } else { 2 };
        let wanted = arguments.device.as_deref();
        let mut device = Some(Capture::open(wanted, channels)?);
        let Some(opened) = &device else { bail!("there is no capture device") };
        let (id, rate) = (opened.device().id.clone(), opened.track(0).rate);
        let call = call(arguments, config, opened, side)?;
        let told = RefCell::new(Vec::new());
        let lanes = scorers.lanes();
        let (mut score, mut tell) =
            (|requests: &_| scorers.score(requests), |output: Output| told.borrow_mut().push(output));
        let mut player = Player::new(call, lanes, &mut score, &mut tell);
        let mut paper = Paper::new(arguments.json, &id);
        paper.head(&format!("{} at {} Hz", if channels == 1 { "mono" } else { "stereo" }, rate.0), config)?;
        if !arguments.json {
            complain("listening; Ctrl-C ends");
        }

        let (mut interrupt, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut position, mut payload) = (0, Vec::new());
        let (mut heard, mut sought) = (Instant::now(), Instant::now());
        let cause = loop {
            select! {
                _ = interrupt.recv() => break "interrupted",
                _ = term.recv() => break "interrupted",
                _ = tick.tick() => {}
            }
            while let Some(capture) = &device {
                let came = capture.read(&mut payload);
                position += came.missing;
                if came == capture::Heard::default() {
                    break;
                }
                heard = Instant::now();
                paper.level(&payload, channels);
                player.input(Input::Media { track: Speaker::Caller, position, payload: &payload });
                if channels == 2 {
                    player.input(Input::Media { track: Speaker::Agent, position, payload: &payload });
                }
                position += came.samples;
                player.drain(true);
                paper.take(told.borrow_mut().drain(..))?;
            }
            paper.meter(position as f64 / f64::from(rate.0), METER);
            let silent = heard.elapsed();
            if let Some(capture) = &device
                && (capture.fault().is_some() || silent > LOST_AFTER)
            {
                let why = capture.fault().unwrap_or("nothing comes from it any more");
                paper.say(&format!("{id} is lost: {why}; it is waited for"));
                (device, sought) = (None, Instant::now());
            }
            if device.is_none() && sought.elapsed() > RETRY {
                sought = Instant::now();
                match Capture::open(Some(&id), channels).map(|found| (found.track(0).rate, found)) {
                    Ok((same, found)) if same == rate => {
                        // What was said meanwhile is missing.
                        position += samples(silent, rate.0);
                        heard = Instant::now();
                        paper.say(&format!("{id} is back"));
                        device = Some(found);
                    }
                    Ok((other, _)) => {
                        paper.say(&format!("{id} is back with {} Hz instead of {}", other.0, rate.0));
                        break "device_lost";
                    }
                    Err(error) if silent > WAIT_FOR => {
                        paper.say(&format!("{id} does not come back: {error}"));
                        break "device_lost";
                    }
                    Err(_) => {}
                }
            }
            if arguments.seconds.is_some_and(|most| position >= u64::from(most) * u64::from(rate.0)) {
                break "time_is_up";
            }
        };
        drop(device);
        player.input(Input::Ended(cause));
        player.drain(true);
        paper.take(told.borrow_mut().drain(..))?;
        paper.end()?;
        Ok(if cause == "device_lost" { FAILED } else { 0 })
    }

    fn call(
        arguments: &Arguments,
        config: &Arc<CallConfig>,
        capture: &Capture,
        side: CallerChannel,
    ) -> anyhow::Result<Call> {
        let rules = config.policy.rules_for(arguments.queue.as_deref(), arguments.intent.as_deref());
        let (caller, agent) = match side {
            CallerChannel::Mono => (0, None),
            CallerChannel::Left => (0, Some(1)),
            CallerChannel::Right => (1, Some(0)),
        };
        let start = CallStart {
            source: "device".into(),
            file: None,
            caller_channel: side.name().into(),
            caller: capture.track(caller),
            agent: agent.map(|channel| capture.track(channel)),
            queue: arguments.queue.clone(),
            intent: arguments.intent.clone(),
            notice: arguments.notice.map_or(rules.notice.0, Into::into),
            metadata: BTreeMap::from([("device".into(), capture.device().id.clone())]),
        };
        #[allow(clippy::disallowed_methods, reason = "names the call, dates nothing")]
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Call::new(CallId::new(format!("device-{}", since.as_millis())), start, Arc::clone(config))?)
    }

    /// Samples of this much time.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole samples, none below zero"
    )]
    fn samples(span: Duration, rate: u32) -> u64 {
        (span.as_secs_f64() * f64::from(rate)).round() as u64
    }

    /// Where the call is written down: rows and a meter for a person, or lines of JSON.
    struct Paper {
        timeline: Option<Timeline>,
        /// Whether the meter is drawn, and since when the last one stands.
        meter: Option<Instant>,
        /// Highest sample of each channel since the meter was drawn.
        peaks: [f32; 2],
        /// What the last score came to.
        score: Option<(f64, &'static str)>,
    }

    impl Paper {
        fn new(as_json: bool, device: &str) -> Self {
            let terminal = !as_json && io::stdout().is_terminal();
            let style = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            let timeline = (!as_json).then(|| Timeline::new(device.as_ref(), style));
            let meter = (terminal && io::stderr().is_terminal()).then(Instant::now);
            Self { timeline, meter, peaks: [0.0; 2], score: None }
        }

        fn head(&mut self, audio: &str, config: &CallConfig) -> io::Result<()> {
            let Some(timeline) = &mut self.timeline else { return Ok(()) };
            timeline.head(audio, config);
            timeline.write_head(&mut io::stdout().lock())
        }

        fn take(&mut self, outputs: impl Iterator<Item = Output>) -> io::Result<()> {
            let mut out = io::stdout().lock();
            let mut wrote = false;
            for output in outputs {
                let Output::Tell(event) = output else { continue };
                self.note(&event);
                if let Some(timeline) = &mut self.timeline {
                    timeline.take(&event);
                    continue;
                }
                serde_json::to_writer(&mut out, &event)?;
                out.write_all(b"\n")?;
                wrote = true;
            }
            if self.timeline.as_ref().is_some_and(Timeline::has_rows) {
                self.wipe();
                if let Some(timeline) = &mut self.timeline {
                    timeline.write_rows(&mut out)?;
                    wrote = true;
                }
            }
            if wrote { out.flush() } else { Ok(()) }
        }

        fn note(&mut self, event: &Event) {
            if let EventKind::Score { probability, state, .. } = &event.what {
                self.score = Some((*probability, state));
            }
        }

        fn level(&mut self, payload: &[u8], channels: u16) {
            for frame in payload.as_chunks::<4>().0.chunks(usize::from(channels)) {
                for (peak, sample) in self.peaks.iter_mut().zip(frame) {
                    *peak = peak.max(f32::from_le_bytes(*sample).abs());
                }
            }
        }

        /// Draws the meter, if it is time to.
        fn meter(&mut self, seconds: f64, every: Duration) {
            let Some(drawn) = self.meter.filter(|drawn| drawn.elapsed() >= every) else { return };
            debug_assert!(drawn <= Instant::now());
            self.meter = Some(Instant::now());
            let bars = self.peaks.map(bar);
            self.peaks = [0.0; 2];
            let score = self.score.map_or(String::new(), |(p, state)| format!(" {p:.2} {state}"));
            let _ = write!(io::stderr(), "\r\x1b[K{seconds:7.1}  {}{score}", bars.join(" "));
        }

        fn wipe(&self) {
            if self.meter.is_some() {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        }

        fn say(&self, words: &str) {
            self.wipe();
            complain(words);
        }

        fn end(self) -> io::Result<()> {
            self.wipe();
            match self.timeline {
                Some(timeline) => timeline.write_end(&mut io::stdout().lock()),
                None => Ok(()),
            }
        }
    }

    /// A level from -60 dB to full scale, in twelve steps.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the steps there are"
    )]
    fn bar(peak: f32) -> String {
        let dbfs = 20.0 * peak.max(1e-6).log10();
        let steps = ((dbfs + 60.0) / 5.0).clamp(0.0, 12.0) as usize;
        format!("{}{}", "█".repeat(steps), "·".repeat(12 - steps))
    }
}
