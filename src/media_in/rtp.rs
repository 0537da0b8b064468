//! RTP without signalling: a range of UDP ports, a call a port or a call two ports, the payload types declared in the configuration.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::UdpSocket, select};

use super::{
    Intake,
    intake::{Alarm, Clock, Leg},
    websocket::unix_time,
};
use warmline_core::{
    media::{Format, Speaker, TrackFormat},
    units::{CallTime, Pii},
};
use warmline_wire::{
    Message, Start,
    rtp::{self, PayloadTypes, Receiver},
};

const PROTOCOL: &str = "rtp";

/// Bytes of the longest datagram that is read whole: 40 ms of linear samples at 48 kHz. A longer one is cut.
pub const DATAGRAM_MAX: usize = 4_096;

/// How a port is listened to.
#[derive(Clone, Debug)]
pub struct Port {
    /// What each payload type means.
    pub types: PayloadTypes,
    /// Who may send; empty: anybody who reaches the port, which then is on loopback.
    pub sources: Vec<IpAddr>,
    /// Silence after which the call is over: RTP has no word for it but a rare `BYE`.
    pub silence: Duration,
}

/// Takes one call after the other from a port, the caller's alone, until the future is dropped. A call begins with its first audio.
pub async fn serve(intake: Arc<Intake>, socket: UdpSocket, port: Port) {
    listen(intake, Ears::new(socket, None), port).await;
}

/// The same from two ports, one of the caller and one of the agent. Both send at the same rate; the call ends with the caller.
pub async fn serve_pair(intake: Arc<Intake>, caller: UdpSocket, agent: UdpSocket, port: Port) {
    listen(intake, Ears::new(caller, Some(agent)), port).await;
}

async fn listen(intake: Arc<Intake>, mut ears: Ears, port: Port) {
    loop {
        // Nobody is listened to before there is something to hear.
        let Some((track, from)) = ears.hear().await else { continue };
        if !port.admits(&intake, from) {
            continue;
        }
        if let Err(error) = rtp::parse(ears.datagram()) {
            intake.malformed(PROTOCOL, &error);
            continue;
        }
        converse(&intake, &mut ears, &port, (track, from)).await;
    }
}

/// One call, from its first datagram to its end.
async fn converse(intake: &Arc<Intake>, ears: &mut Ears, port: &Port, first: (Speaker, SocketAddr)) {
    let clock = Clock::start();
    let mut alarm = Alarm::new();
    let side = |role| {
        let receiver = Receiver::new(role, port.types.clone());
        Side { receiver, began: CallTime::ZERO, unfit: false }
    };
    let mut call = Call {
        caller: side(Speaker::Caller),
        agent: ears.agent.is_some().then(|| side(Speaker::Agent)),
        leg: Leg::new(Arc::clone(intake), None),
        port: ears.caller.local_addr().map_or(0, |address| address.port()),
        format: None,
        over: false,
    };
    let silence = u64::try_from(port.silence.as_micros()).unwrap_or(u64::MAX);
    let (mut heard, (track, from)) = (clock.now(), first);
    call.hear(track, CallTime::ZERO, from, ears.datagram());
    while !call.over {
        let (due, quiet) = (clock.at(call.poll_timeout()), clock.at(Some(heard.after_micros(silence))));
        select! {
            received = ears.hear() => {
                let Some((track, from)) = received else { continue };
                if !port.admits(intake, from) {
                    continue;
                }
                heard = clock.now();
                call.hear(track, heard, from, ears.datagram());
            }
            () = alarm.until(due.min(quiet)) => {
                let now = clock.now();
                if quiet < due {
                    call.take(Speaker::Caller, now, |receiver, _, told| receiver.stop("silent", told));
                    continue;
                }
                for track in [Speaker::Caller, Speaker::Agent] {
                    call.take(track, now, |receiver, now, told| receiver.handle_timeout(now, told));
                }
            }
        }
    }
    if call.format.is_none() {
        intake.malformed(PROTOCOL, &"what came was no audio of a declared payload type");
    }
}

/// The sockets of a call, and the datagram that came last.
struct Ears {
    caller: UdpSocket,
    agent: Option<UdpSocket>,
    datagrams: [Vec<u8>; 2],
    last: (Speaker, usize),
}

impl Ears {
    fn new(caller: UdpSocket, agent: Option<UdpSocket>) -> Self {
        let datagrams = [vec![0; DATAGRAM_MAX], vec![0; if agent.is_some() { DATAGRAM_MAX } else { 0 }]];
        Self { caller, agent, datagrams, last: (Speaker::Caller, 0) }
    }

    /// Waits for a datagram: whose, and where from.
    async fn hear(&mut self) -> Option<(Speaker, SocketAddr)> {
        let Self { caller, agent, datagrams: [of_caller, of_agent], last } = self;
        let from_agent = async {
            match agent {
                Some(agent) => agent.recv_from(of_agent).await,
                None => std::future::pending().await,
            }
        };
        let (role, received) = select! {
            received = caller.recv_from(of_caller) => (Speaker::Caller, received),
            received = from_agent => (Speaker::Agent, received),
        };
        let (len, from) = received.ok()?;
        *last = (role, len);
        Some((role, from))
    }

    fn datagram(&self) -> &[u8] {
        let [of_caller, of_agent] = &self.datagrams;
        let (role, len) = self.last;
        let whole = if role == Speaker::Caller { of_caller } else { of_agent };
        whole.get(..len).unwrap_or_default()
    }
}

impl Port {
    fn admits(&self, intake: &Intake, from: SocketAddr) -> bool {
        let admitted = self.sources.is_empty() || self.sources.contains(&from.ip());
        if !admitted {
            intake.unauthorised(PROTOCOL);
        }
        admitted
    }
}

/// The receivers of a call, and where what they hear goes.
struct Call {
    caller: Side,
    agent: Option<Side>,
    leg: Leg,
    /// The caller's port, for the call's name.
    port: u16,
    /// What both sides' samples are; the first audio says it, and that the call begins.
    format: Option<TrackFormat>,
    over: bool,
}

/// One track.
struct Side {
    receiver: Receiver<SocketAddr>,
    /// When its first datagram came.
    began: CallTime,
    /// Whether it was said that its audio does not fit the call's.
    unfit: bool,
}

impl Side {
    /// The receiver's own time: its stream begins on a grid of 20 ms, so that two senders that begin together do begin together.
    fn local(&self, now: CallTime) -> CallTime {
        CallTime(now.0.saturating_sub(self.began.0).saturating_add(on_grid(self.began)))
    }

    fn poll_timeout(&self) -> Option<CallTime> {
        let local = self.receiver.poll_timeout()?;
        Some(CallTime(local.0.saturating_add(self.began.0).saturating_sub(on_grid(self.began))))
    }
}

impl Call {
    fn poll_timeout(&self) -> Option<CallTime> {
        let sides = [Some(&self.caller), self.agent.as_ref()];
        sides.into_iter().flatten().filter_map(Side::poll_timeout).min()
    }

    fn hear(&mut self, track: Speaker, now: CallTime, from: SocketAddr, datagram: &[u8]) {
        if track == Speaker::Agent
            && let Some(agent) = self.agent.as_mut().filter(|agent| agent.receiver.format().is_none())
        {
            agent.began = now;
        }
        self.take(track, now, |receiver, now, told| receiver.handle_datagram(now, from, datagram, told));
    }

    /// Lets a track's receiver tell and the leg take. The first audio says how the call sounds, so it waits until that is known.
    fn take(
        &mut self,
        track: Speaker,
        now: CallTime,
        tell: impl FnOnce(&mut Receiver<SocketAddr>, CallTime, &mut dyn FnMut(Message<'_>)),
    ) {
        let Self { caller, agent, leg, port, format, over } = self;
        let is_pair = agent.is_some();
        let Some(side) = (if track == Speaker::Caller { Some(caller) } else { agent.as_mut() }) else {
            return;
        };
        let mut early: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut stopped = None;
        let known = side.receiver.format().zip(*format);
        let fits = known.is_some_and(|(own, of_call)| own == of_call);
        let now = side.local(now);
        tell(&mut side.receiver, now, &mut |message| match message {
            // The caller's end is the call's; the agent may come again.
            Message::Stopped(cause) => stopped = Some(cause).filter(|_| track == Speaker::Caller),
            Message::Media { .. } if fits => leg.take(message),
            Message::Media { .. } if known.is_some() => {}
            Message::Media { position, payload, .. } => early.push((position, payload.to_vec())),
            message if format.is_some() && track == Speaker::Caller => leg.take(message),
            Message::Started(_)
            | Message::Gap { .. }
            | Message::Dtmf(_)
            | Message::Paused
            | Message::Resumed
            | Message::Mark(_)
            | Message::Problem(_) => {}
        });
        if let Some(own) = side.receiver.format().filter(|_| !early.is_empty()) {
            let of_call = *format.get_or_insert_with(|| {
                let agent = is_pair.then_some(Format::Samples(own));
                leg.take(Message::Started(Box::new(start(*port, Format::Samples(own), agent))));
                own
            });
            if own == of_call {
                for (position, payload) in &early {
                    leg.take(Message::Media { track, position: *position, payload });
                }
            } else if !std::mem::replace(&mut side.unfit, true) {
                let (is, was) = (own.rate.0, of_call.rate.0);
                let problem =
                    format!("one side sends at {is} Hz and the call began at {was}: it is left out");
                leg.take(Message::Problem(problem.into()));
            }
        }
        if let Some(cause) = stopped {
            *over = true;
            leg.take(Message::Stopped(cause));
        }
    }
}

/// The moment on a grid of 20 ms that is nearest.
fn on_grid(at: CallTime) -> u64 {
    (at.0.saturating_add(10_000) / 20_000).saturating_mul(20_000)
}

/// Nothing on the wire says which call it is: the port and the moment do.
fn start(port: u16, caller: Format, agent: Option<Format>) -> Start {
    Start {
        source: PROTOCOL,
        call: Some(format!("rtp-{port}-{}", unix_time())),
        stream: None,
        caller_channel: if agent.is_some() { "caller" } else { "mono" },
        caller,
        agent,
        from: None,
        to: None,
        metadata: Pii::new(Default::default()),
    }
}
