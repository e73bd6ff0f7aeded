//! The accept loop: connections in, each served by a future that the caller spawns.
//!
//! The caller spawns, because a connection belongs to the request lane of its shard: its future is
//! polled there within that lane's budget, after telemetry.
//!
//! Invariants
//! - V1: connections are bounded in all and by address; some are kept for loopback, so that the
//!   machine's own operator gets in through a flood.
//! - V2: a peer that sends its head slowly, idles, or takes nothing of its answer is closed in time.
//! - V3: after the stop no connection is taken, event streams end, running answers are finished
//!   within the stop timeout.

use crate::{
    guard::LocalAddress,
    io::Patient,
    limits::{CONNECTIONS_RESERVED, HEAD_BYTES_MAX, HEADERS_MAX},
    router::Service,
    state::App,
};
use axum::extract::Request;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A connection's life, to be polled by whoever spawns it.
pub type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Waits after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves connections until `stop` resolves, then finishes those that run.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    spawn: impl Fn(Connection),
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted; trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match Seat::take(&service.app, peer.ip()) {
            Some(seat) => spawn(connection(stream, service.clone(), (seat, alive.clone()))),
            None => refuse(&stream),
        }
    }
    drop(listener);
    service.app.stopping.send_replace(true);
    drop(alive);
    // Nothing is ever sent: this resolves once every connection has dropped its end.
    if tokio::time::timeout(service.app.limits.stop_timeout, ended.recv()).await.is_err() {
        tracing::warn!("some connections did not finish in time and are dropped");
    }
}

/// Serves one connection. `held` is dropped when it ends.
fn connection(stream: TcpStream, service: Service, held: impl Send + 'static) -> Connection {
    Box::pin(async move {
        let _held = held;
        let app = service.app.clone();
        let Ok(local) = stream.local_addr() else { return };
        drop(stream.set_nodelay(true));
        let io = Patient::new(TokioIo::new(stream), app.clone());
        let router = service.router;
        let handle = service_fn(move |request: hyper::Request<Incoming>| answer(router.clone(), local, request));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(app.limits.header_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(io, handle);
        let mut served = pin!(served);
        let mut stopping = app.stopping.subscribe();
        let ended = tokio::select! {
            outcome = &mut served => Some(outcome),
            _ = stopping.wait_for(|stopping| *stopping) => None,
        };
        let outcome = match ended {
            Some(outcome) => outcome,
            None => {
                served.as_mut().graceful_shutdown();
                tokio::time::timeout(app.limits.stop_timeout, served).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = outcome {
            if error.is_timeout() {
                app.counters.limit("header-time");
            }
            tracing::debug!(%error, "a connection ended early");
        }
    })
}

async fn answer(
    router: axum::Router,
    local: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    let mut request: Request = request.map(axum::body::Body::new);
    request.extensions_mut().insert(LocalAddress(local));
    // Reading a request, answering it and writing the answer are a poll each: telemetry waits for
    // no more than one of them.
    tokio::task::yield_now().await;
    let answer = TowerToHyperService::new(router).call(request).await;
    tokio::task::yield_now().await;
    answer
}

/// Tells a peer that there is no room, without waiting for it.
fn refuse(stream: &TcpStream) {
    const BODY: &str = r#"{"type":"urn:millstream:problem:connections","title":"Too many connections are open","status":503,"detail":"all connections are taken; close some, or try again in a few seconds"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
         Content-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    drop(stream.try_write(answer.as_bytes()));
}

/// Who sits where: open connections by address.
#[derive(Default)]
pub(crate) struct Seats(Mutex<HashMap<IpAddr, usize>>);

/// The place of one connection; given back when dropped.
struct Seat {
    app: App,
    peer: IpAddr,
}

impl Seat {
    fn take(app: &App, peer: IpAddr) -> Option<Seat> {
        let limits = &app.limits;
        let peer = peer.to_canonical();
        let mut taken = app.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let of_peer = taken.get(&peer).copied().unwrap_or_default();
        let (max, of_peer_max) = if peer.is_loopback() {
            (limits.connections_max, limits.connections_max)
        } else {
            (limits.connections_max.saturating_sub(CONNECTIONS_RESERVED), limits.connections_per_address_max)
        };
        if all >= max || of_peer >= of_peer_max {
            app.counters.limit(if all >= max { "connections" } else { "connections-per-address" });
            return None;
        }
        taken.insert(peer, of_peer + 1);
        app.counters.add(|sums| {
            sums.connections += 1;
            sums.connections_open += 1;
        });
        Some(Seat { app: app.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.app.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
        self.app.counters.add(|sums| sums.connections_open -= 1);
    }
}
