//! `WS /v1/media`, `/v1/media/<vendor>` and `/v1/audiohook`: every protocol over a WebSocket.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use axum::{
    Router,
    extract::{
        Path, State,
        ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode, Uri, header::SEC_WEBSOCKET_PROTOCOL},
    response::Response,
    routing::get,
};
use tokio::{select, time::timeout};

use super::{
    Intake,
    gate::Head,
    http::problem,
    intake::{Alarm, Clock, Leg, NotTaken},
};
use warmline_core::units::CallTime;
use warmline_wire::{
    Declared, MAX_MESSAGE, Message, Refusal, Reply, Session, asterisk, audiohook, freeswitch,
    sniff::{self, Protocol},
};

/// Bytes a connection reads at once; a longer message takes what it needs.
const READ_LEN: usize = 2 * 1024;

/// Close codes (RFC 6455 7.4.1, and 1013 of its registry).
const POLICY: u16 = 1008;
const TRY_LATER: u16 = 1013;
const GOING_AWAY: u16 = 1001;

/// The routes of media.
pub fn routes(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/v1/media", get(sniffed))
        .route("/v1/media/{vendor}", get(named))
        .route("/v1/audiohook", get(hooked))
        .with_state(intake)
}

async fn sniffed(
    State(intake): State<Arc<Intake>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    media(intake, None, &uri, &headers, upgrade)
}

async fn named(
    State(intake): State<Arc<Intake>>,
    Path(vendor): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    media(intake, Some(&vendor), &uri, &headers, upgrade)
}

fn media(
    intake: Arc<Intake>,
    vendor: Option<&str>,
    uri: &Uri,
    headers: &HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let protocol = match vendor.map(Protocol::of_path) {
        Some(None) => {
            return problem(
                StatusCode::NOT_FOUND,
                "no such protocol",
                "see README: /v1/media alone tells by the first message",
            );
        }
        Some(protocol) => protocol,
        None => {
            let offered = headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
            offered.and_then(Protocol::of_subprotocol).map(|(protocol, _)| protocol)
        }
    };
    let allowed = with_head(uri, headers, |head| intake.gate.media(vendor, head));
    if allowed.is_empty() {
        intake.unauthorised(vendor.unwrap_or("media"));
        return problem(
            StatusCode::UNAUTHORIZED,
            "wrong credentials",
            "give those of [media] in the configuration",
        );
    }
    let declared = match Declared::parse(uri.query().unwrap_or_default()) {
        Ok(declared) => declared,
        Err(refusal) => return problem(StatusCode::BAD_REQUEST, "wrong parameter", &refusal.to_string()),
    };
    let stream = sniff::Stream::new(protocol, declared);
    upgraded(upgrade, intake, Peer::Media(Box::new(stream)), Some(allowed))
}

async fn hooked(
    State(intake): State<Arc<Intake>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let checked = with_head(&uri, &headers, |head| intake.gate.audiohook(head));
    if checked.is_err() {
        intake.unauthorised("audiohook");
    }
    let session = headers.get("audiohook-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    // That the credentials are wrong is said in the protocol: Genesys shows it to whoever sets it up.
    let stream = audiohook::Stream::new(checked.is_ok(), session);
    upgraded(upgrade, intake, Peer::AudioHook(Box::new(stream)), None)
}

/// Reads a request's head for the gate.
pub(crate) fn with_head<R>(uri: &Uri, headers: &HeaderMap, read: impl FnOnce(&Head<'_>) -> R) -> R {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    read(&Head { target, headers: &headers, now: unix_time() })
}

/// Unix time, seconds.
pub(crate) fn unix_time() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "signatures are dated with the wall clock")]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn upgraded(
    upgrade: WebSocketUpgrade,
    intake: Arc<Intake>,
    peer: Peer,
    allowed: Option<BTreeSet<&'static str>>,
) -> Response {
    let subprotocols = freeswitch::SUBPROTOCOLS.into_iter().chain([asterisk::SUBPROTOCOL]);
    upgrade
        .protocols(subprotocols)
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(READ_LEN)
        .on_upgrade(move |socket| converse(intake, socket, peer, allowed))
}

/// A protocol over a WebSocket.
enum Peer {
    Media(Box<sniff::Stream>),
    AudioHook(Box<audiohook::Stream>),
}

impl Peer {
    fn session(&mut self) -> &mut (dyn Session + Send) {
        match self {
            Self::Media(stream) => &mut **stream,
            Self::AudioHook(stream) => &mut **stream,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Media(_) => "media",
            Self::AudioHook(_) => "audiohook",
        }
    }

    /// Says that the call is not taken, in the protocol's words where it has some; `false` where it has none.
    fn refuse(&mut self, now: CallTime, info: &str) -> bool {
        match self {
            Self::Media(_) => false,
            Self::AudioHook(stream) => {
                let (reason, output) = (audiohook::Reason::Error, Vec::new());
                stream.command(now, audiohook::Command::Disconnect { reason, info: info.into(), output });
                true
            }
        }
    }
}

/// Why a conversation ends.
enum End {
    Gone,
    Refused(Refusal),
    NotTaken(u16, String),
    Silent,
    Closed,
}

async fn converse(
    intake: Arc<Intake>,
    mut socket: WebSocket,
    mut peer: Peer,
    allowed: Option<BTreeSet<&'static str>>,
) {
    let mut leg = Leg::new(Arc::clone(&intake), allowed);
    let end = listen(&intake, &mut socket, &mut peer, &mut leg).await;
    peer.session().handle_closed(&mut |message| leg.take(message));
    let frame = match end {
        End::Gone | End::Closed => None,
        End::Silent => {
            intake.silent(peer.name());
            Some((GOING_AWAY, "nothing was heard".to_owned()))
        }
        End::Refused(refusal) => {
            intake.malformed(peer.name(), &refusal);
            Some((POLICY, refusal.to_string()))
        }
        End::NotTaken(code, why) => Some((code, why)),
    };
    let frame = frame.map(|(code, why)| CloseFrame { code, reason: short(&why).into() });
    let _ = timeout(intake.patience.send, socket.send(Frame::Close(frame))).await;
}

async fn listen(intake: &Intake, socket: &mut WebSocket, peer: &mut Peer, leg: &mut Leg) -> End {
    let clock = Clock::start();
    let mut alarm = Alarm::new();
    let mut asked_back = leg.can_hand_back();
    let mut payload = Vec::new();
    let mut heard = clock.now();
    let mut asked = false;
    let mut told_refusal = false;
    let idle = u64::try_from(intake.patience.idle.as_micros()).unwrap_or(u64::MAX);
    loop {
        let due = clock.at(peer.session().poll_timeout());
        let quiet = clock.at(Some(heard.after_micros(if asked { idle.saturating_mul(2) } else { idle })));
        let mut given_back = None;
        let mut take = |message: Message<'_>| leg.take(message);
        let handled = select! {
            frame = socket.recv() => {
                (heard, asked) = (clock.now(), false);
                match frame {
                    Some(Ok(Frame::Text(text))) => {
                        peer.session().handle_text(heard, &text, &mut payload, &mut take)
                    }
                    Some(Ok(Frame::Binary(bytes))) => peer.session().handle_binary(heard, &bytes, &mut take),
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => Ok(()),
                    Some(Ok(Frame::Close(_)) | Err(_)) | None => return End::Gone,
                }
            }
            Some(variables) = asked_back.recv() => {
                given_back = peer.session().hand_back(clock.now(), &variables);
                Ok(())
            }
            () = alarm.until(due.min(quiet)) => if due <= quiet {
                peer.session().handle_timeout(clock.now(), &mut take)
            } else {
                if std::mem::replace(&mut asked, true) {
                    return End::Silent;
                }
                let ping = socket.send(Frame::Ping(Default::default()));
                if timeout(intake.patience.send, ping).await.is_err() {
                    return End::Silent;
                }
                Ok(())
            }
        };
        if let Err(refusal) = handled {
            return End::Refused(refusal);
        }
        if let Some(why) = leg.refused().filter(|_| !told_refusal) {
            told_refusal = true;
            let code = if matches!(why, NotTaken::Unauthorised(_)) { POLICY } else { TRY_LATER };
            let why = why.to_string();
            if !peer.refuse(clock.now(), &why) {
                return End::NotTaken(code, why);
            }
        }
        while let Some(reply) = given_back.take().or_else(|| peer.session().poll_reply()) {
            let frame = match reply {
                Reply::Text(text) => Frame::Text(text.into()),
                Reply::Binary(bytes) => Frame::Binary(bytes.into_owned().into()),
                Reply::Close => return End::Closed,
            };
            match timeout(intake.patience.send, socket.send(frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Gone,
                Err(_) => return End::Silent,
            }
        }
    }
}

/// As much of a sentence as a close frame holds (RFC 6455 5.5: 125 bytes with the code).
fn short(why: &str) -> String {
    let mut end = why.len().min(123);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    why.get(..end).unwrap_or_default().to_owned()
}
