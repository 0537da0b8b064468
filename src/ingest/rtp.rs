//! RTP without signalling: a range of UDP ports, one call a port, the payload types declared in the configuration.

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
use crate::{
    media::Receiver,
    units::{CallTime, Pii},
    wire::{
        Format, Message, Role, Start,
        rtp::{self, PayloadTypes},
    },
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

/// Takes one call after the other from a port, until the future is dropped. A call begins with its first audio.
pub async fn serve(intake: Arc<Intake>, socket: UdpSocket, port: Port) {
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        // Nobody is listened to before there is something to hear.
        let Ok((n, from)) = socket.recv_from(&mut datagram).await else { continue };
        let first = datagram.get(..n).unwrap_or_default().to_vec();
        if !port.admits(&intake, from) {
            continue;
        }
        if let Err(error) = rtp::parse(&first) {
            intake.malformed(PROTOCOL, &error);
            continue;
        }
        listen(&intake, &socket, &port, &mut datagram, (&first, from)).await;
    }
}

/// One call, from its first datagram to its end.
async fn listen(
    intake: &Arc<Intake>,
    socket: &UdpSocket,
    port: &Port,
    datagram: &mut [u8],
    (first, from): (&[u8], SocketAddr),
) {
    let clock = Clock::start();
    let mut alarm = Alarm::new();
    let mut call = Call {
        receiver: Receiver::new(Role::Caller, port.types.clone()),
        leg: Leg::new(Arc::clone(intake), None),
        port: socket.local_addr().map_or(0, |address| address.port()),
        begun: false,
        over: false,
    };
    let silence = u64::try_from(port.silence.as_micros()).unwrap_or(u64::MAX);
    let mut heard = clock.now();
    call.take(|receiver, told| receiver.handle_datagram(CallTime::ZERO, from, first, told));
    while !call.over {
        let due = clock.at(call.receiver.poll_timeout());
        let quiet = clock.at(Some(heard.after_micros(silence)));
        select! {
            received = socket.recv_from(datagram) => {
                let Ok((n, from)) = received else { continue };
                if !port.admits(intake, from) {
                    continue;
                }
                heard = clock.now();
                let bytes = datagram.get(..n).unwrap_or_default();
                call.take(|receiver, told| receiver.handle_datagram(heard, from, bytes, told));
            }
            () = alarm.until(due.min(quiet)) => call.take(|receiver, told| {
                if due <= quiet { receiver.handle_timeout(clock.now(), told) } else { receiver.stop("silent", told) }
            }),
        }
    }
    if !call.begun {
        intake.malformed(PROTOCOL, &"what came was no audio of a declared payload type");
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

/// A receiver and the call it brings.
struct Call {
    receiver: Receiver<SocketAddr>,
    leg: Leg,
    /// The port, for the call's name.
    port: u16,
    begun: bool,
    over: bool,
}

impl Call {
    /// Lets the receiver tell and the leg take. The first audio says how the call sounds, so it waits until that is known.
    fn take(&mut self, tell: impl FnOnce(&mut Receiver<SocketAddr>, &mut dyn FnMut(Message<'_>))) {
        let Self { receiver, leg, port, begun, over } = self;
        let mut early: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut stopped = None;
        tell(receiver, &mut |message| match message {
            Message::Stopped(cause) => stopped = Some(cause),
            message if *begun => leg.take(message),
            Message::Media { position, payload, .. } => early.push((position, payload.to_vec())),
            Message::Started(_)
            | Message::Gap { .. }
            | Message::Dtmf(_)
            | Message::Paused
            | Message::Resumed
            | Message::Mark(_)
            | Message::Problem(_) => {}
        });
        if let Some(format) = receiver.format().filter(|_| !early.is_empty()) {
            *begun = true;
            leg.take(Message::Started(Box::new(start(*port, Format::Samples(format)))));
            for (position, payload) in &early {
                leg.take(Message::Media { track: Role::Caller, position: *position, payload });
            }
        }
        if let Some(cause) = stopped {
            *over = true;
            leg.take(Message::Stopped(cause));
        }
    }
}

/// Nothing on the wire says which call it is: the port and the moment do.
fn start(port: u16, caller: Format) -> Start {
    Start {
        source: PROTOCOL,
        call: Some(format!("rtp-{port}-{}", unix_time())),
        stream: None,
        caller_channel: "mono",
        caller,
        agent: None,
        from: None,
        to: None,
        metadata: Pii::new(Default::default()),
    }
}
