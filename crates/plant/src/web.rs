//! Serving a router over HTTP/1.1, with a door that can be shut in the visitors' faces.
//!
//! Invariants:
//! - While the door does not admit, a connection is accepted and closed at once, unread.
//! - When the door is cut, every open connection is closed within [`CUT_GRACE`]; an answer that
//!   is already being sent may still leave in that time.
//! - A connection that is told to hang up is closed at once, whatever is still to be answered on it.
//! - At most [`CONNECTIONS_MAX`] connections at once; one more is closed at once.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections that one server has open at once.
const CONNECTIONS_MAX: usize = 1_024;
/// What a connection has left when the door is cut.
const CUT_GRACE: Duration = Duration::from_millis(50);
/// How long a visitor may take to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Rest after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who may come in, and until when.
pub(crate) trait Door: Send + Sync + 'static {
    /// Whether the next connection is served; asked once per connection.
    fn admits(&self) -> bool;

    /// Cancelled when the connections that are open now must close.
    fn cut(&self) -> CancellationToken;
}

/// A door that is always open.
pub(crate) struct OpenDoor;

impl Door for OpenDoor {
    fn admits(&self) -> bool {
        true
    }

    fn cut(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

/// Closes the connection that a request came on; every request carries it as an extension.
#[derive(Debug, Clone)]
pub(crate) struct HangUp(CancellationToken);

impl HangUp {
    /// Closes it, now and without an answer.
    pub(crate) fn now(&self) {
        self.0.cancel();
    }
}

/// Serves until the future is dropped; that closes every connection.
pub(crate) async fn serve(listener: TcpListener, router: Router, door: Arc<dyn Door>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _peer)) => {
                if door.admits() && connections.len() < CONNECTIONS_MAX {
                    connections.spawn(converse(stream, router.clone(), door.cut()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; going on");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router, cut: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "HTTP connection keeps its delay");
    }
    let hang_up = HangUp(CancellationToken::new());
    let inner = TowerToHyperService::new(router);
    let carried = hang_up.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(carried.clone());
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => log_end(ended),
        () = hang_up.0.cancelled() => {}
        () = cut.cancelled() => {
            connection.as_mut().graceful_shutdown();
            if let Ok(ended) = tokio::time::timeout(CUT_GRACE, connection).await {
                log_end(ended);
            }
        }
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}
