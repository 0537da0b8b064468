//! The listener of everything that is HTTP: how many connections, and how long they may take.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

use super::{Intake, tls::Tls};

/// Bytes of the longest body that is read.
pub const MAX_BODY: usize = 16 * 1024;

/// Bytes of the longest head that is read.
const MAX_HEAD: usize = 32 * 1024;

/// Serves until the future is dropped. A connection beyond `connections` is closed at once and counted.
pub async fn serve(intake: Arc<Intake>, listener: TcpListener, router: Router, connections: Arc<Semaphore>) {
    listen(intake, listener, router, connections, None).await;
}

/// The same over TLS. Who does not finish the handshake within [`super::Patience::request`] is closed and counted, and has a
/// connection's place until then.
pub async fn serve_tls(
    intake: Arc<Intake>,
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    tls: Arc<Tls>,
) {
    listen(intake, listener, router, connections, Some(tls)).await;
}

async fn listen(
    intake: Arc<Intake>,
    listener: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    tls: Option<Arc<Tls>>,
) {
    let patience = intake.patience;
    let router = router.layer(DefaultBodyLimit::max(MAX_BODY)).layer(middleware::from_fn(
        move |request: Request, next: Next| async move {
            match timeout(patience.request, next.run(request)).await {
                Ok(response) => response,
                Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
            }
        },
    ));
    loop {
        let Some((stream, peer, permit)) = accept(&intake, &listener, &connections).await else { continue };
        let router = router.clone().layer(axum::Extension(ConnectInfo(peer)));
        let (intake, tls) = (Arc::clone(&intake), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => converse(stream, router, patience.request).await,
                Some(tls) => match tls.accept(stream, patience.request).await {
                    Some(Ok(stream)) => converse(stream, router, patience.request).await,
                    Some(Err(error)) => intake.malformed("tls", &error),
                    None => intake.silent("tls"),
                },
            }
            drop(permit);
        });
    }
}

/// Answers one connection's requests.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    patience: Duration,
) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    // A peer that breaks off has said so itself.
    let _ = connection.await;
}

/// The next connection, if there is room for it.
pub(crate) async fn accept(
    intake: &Intake,
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let (stream, peer) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            // No file descriptors, most likely: the next may come when one is free.
            tracing::warn!(%error, "cannot accept");
            tokio::time::sleep(Duration::from_millis(50)).await;
            return None;
        }
    };
    let Ok(permit) = Arc::clone(connections).try_acquire_owned() else {
        intake.counts.turned_away.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    intake.counts.connections.fetch_add(1, Ordering::Relaxed);
    let _ = stream.set_nodelay(true);
    Some((stream, peer, permit))
}

/// An error as everybody reads it (RFC 9457).
pub fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}
