//! AudioSocket of Asterisk: a TCP listener.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    select,
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{
    Intake,
    http::accept,
    intake::{Alarm, Clock, Leg},
};
use crate::switchboard::Assumed;
use warmline_wire::{
    Message, Reply,
    audiosocket::{AudioSocketError, Stream, Uuid},
};

/// Bytes read at once: a quarter of a second at 8 kHz.
const READ_LEN: usize = 4 * 1024;

/// Calls that may be announced and not have come yet; beyond, an announcement is refused.
pub const ANNOUNCED_MAX: usize = 4_096;

/// How long an announced call may take to come.
pub const ANNOUNCED_FOR: Duration = Duration::from_secs(120);

const PROTOCOL: &str = "audiosocket";

/// The UUIDs that may come, each once, where they must be announced; the protocol has no other credential.
#[derive(Default)]
pub struct Announced {
    calls: Mutex<BTreeMap<String, (Instant, Assumed)>>,
}

impl Announced {
    /// Lets the call of this UUID come once; `false` if too many are announced, or it is no UUID.
    pub fn announce(&self, uuid: &str, assumed: Assumed) -> bool {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        calls.retain(|_, (until, _)| *until > now);
        let dashes = |(n, c): (usize, char)| (c == '-') == matches!(n, 8 | 13 | 18 | 23);
        let is_uuid = uuid.len() == 36
            && uuid.chars().enumerate().all(dashes)
            && uuid.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
        if !is_uuid || calls.len() >= ANNOUNCED_MAX {
            return false;
        }
        calls.insert(uuid.to_ascii_lowercase(), (now + ANNOUNCED_FOR, assumed));
        true
    }

    /// Takes an announcement: it is good once.
    fn take(&self, uuid: Uuid) -> Option<Assumed> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, assumed) = calls.remove(&uuid.to_string())?;
        (until > Instant::now()).then_some(assumed)
    }
}

/// Serves until the future is dropped. With `announced`, only calls that were announced get in.
pub async fn serve(
    intake: Arc<Intake>,
    listener: TcpListener,
    connections: Arc<Semaphore>,
    announced: Option<Arc<Announced>>,
) {
    loop {
        let Some((stream, peer, permit)) = accept(&intake, &listener, &connections).await else { continue };
        if !intake.gate.is_source(PROTOCOL, peer.ip()) {
            intake.unauthorised(PROTOCOL);
            continue;
        }
        let (intake, announced) = (Arc::clone(&intake), announced.clone());
        tokio::spawn(async move {
            converse(intake, stream, announced).await;
            drop(permit);
        });
    }
}

/// Why a conversation ends.
enum End {
    Gone,
    Refused(AudioSocketError),
    NotTaken,
    Silent,
}

async fn converse(intake: Arc<Intake>, mut socket: TcpStream, announced: Option<Arc<Announced>>) {
    let mut leg = Leg::new(Arc::clone(&intake), None);
    let mut stream = Stream::new();
    let end = listen(&intake, &mut socket, &mut stream, &mut leg, announced.as_deref()).await;
    stream.handle_closed(&mut |message| leg.take(message));
    match end {
        End::Gone => {}
        // Closing gives the call back to the dialplan's next step: that is the refusal Asterisk understands.
        End::NotTaken => {}
        End::Silent => intake.silent(PROTOCOL),
        End::Refused(error) => intake.malformed(PROTOCOL, &error),
    }
    let _ = timeout(intake.patience.send, socket.shutdown()).await;
}

async fn listen(
    intake: &Intake,
    socket: &mut TcpStream,
    stream: &mut Stream,
    leg: &mut Leg,
    announced: Option<&Announced>,
) -> End {
    let clock = Clock::start();
    let mut alarm = Alarm::new();
    let mut asked_back = leg.can_hand_back();
    let mut bytes = vec![0; READ_LEN];
    let mut heard = clock.now();
    let mut checked = announced.is_none();
    let idle = u64::try_from(intake.patience.idle.as_micros()).unwrap_or(u64::MAX).saturating_mul(2);
    loop {
        let (due, quiet) = (clock.at(stream.poll_timeout()), clock.at(Some(heard.after_micros(idle))));
        // Until its UUID is known to be announced, nothing behind it is heard.
        let most = if checked { bytes.len() } else { 19 };
        let room = bytes.get_mut(..most).unwrap_or_default();
        let mut take = |message: Message<'_>| leg.take(message);
        let handled = select! {
            read = socket.read(room) => match read {
                Ok(0) | Err(_) => return End::Gone,
                Ok(n) => {
                    heard = clock.now();
                    stream.handle_bytes(heard, bytes.get(..n).unwrap_or_default(), &mut take)
                }
            },
            // The protocol has no place for variables: the dialplan fetches the packet by the call's UUID.
            Some(_) = asked_back.recv() => {
                stream.hand_back();
                Ok(())
            }
            () = alarm.until(due.min(quiet)) => if due <= quiet {
                stream.handle_timeout(clock.now())
            } else {
                return End::Silent;
            },
        };
        if let Err(error) = handled {
            return End::Refused(error);
        }
        if let (Some(announced), false, Some(uuid)) = (announced, checked, stream.id()) {
            let Some(assumed) = announced.take(uuid) else {
                intake.unauthorised(PROTOCOL);
                return End::NotTaken;
            };
            leg.assume(assumed);
            checked = true;
        }
        if leg.refused().is_some() {
            return End::NotTaken;
        }
        while let Some(reply) = stream.poll_reply() {
            let bytes: &[u8] = match &reply {
                Reply::Binary(bytes) => bytes,
                Reply::Text(_) => &[],
                Reply::Close => return End::Gone,
            };
            match timeout(intake.patience.send, socket.write_all(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Gone,
                Err(_) => return End::Silent,
            }
        }
    }
}
