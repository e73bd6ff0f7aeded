//! One session's connection, driven on a task of its own.
//!
//! The library's event loop reconnects by itself as soon as it is polled. Here it is polled only
//! while the supervisor wants a connection: after each loss it rests until the next [`Link::go`],
//! which keeps the session's token, so that the old session can be reactivated (OPC 10000-4, 6.7).
//!
//! Invariants
//! - J1: at most two events (up, down) follow each `go`; the queue of [`EVENTS_MAX`] is never full.
//! - J2: dropping the link ends its task.

use crate::connect::{self, ConnectError, Target, Timed};
use futures_util::StreamExt;
use opcua::client::{Session, SessionConnectMode, SessionEventLoop, SessionPollResult};
use opcua::types::StatusCode;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Events that may wait to be read: two for a `go`, and as many again.
const EVENTS_MAX: usize = 4;

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The session is active.
    Up {
        /// It is the old one.
        reactivated: bool,
    },
    /// The connection is gone, or could not be made.
    Down {
        /// What the library said.
        status: StatusCode,
    },
}

/// A session and the task that drives it.
pub(crate) struct Link {
    session: Arc<Session>,
    go: mpsc::Sender<()>,
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Finds the endpoint and makes a session; nothing is connected before [`Link::go`].
    ///
    /// # Errors
    /// [`ConnectError`]
    pub(crate) async fn open(target: &Target) -> Result<Link, ConnectError> {
        let (session, event_loop) = connect::session(target).await?;
        let (go, may_go) = mpsc::channel(1);
        let (say, events) = mpsc::channel(EVENTS_MAX);
        let task = tokio::spawn(drive(event_loop, may_go, say));
        Ok(Link { session, go, events, task })
    }

    /// The session, for requests.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Lets the link connect, once.
    pub(crate) fn go(&self) {
        // Full means that it may go already.
        let _ = self.go.try_send(());
    }

    /// The next event; `None` when the link has ended for good.
    pub(crate) async fn next(&mut self) -> Option<LinkEvent> {
        self.events.recv().await
    }
}

async fn drive(event_loop: SessionEventLoop<Timed>, mut may_go: mpsc::Receiver<()>, say: mpsc::Sender<LinkEvent>) {
    let stream = event_loop.enter();
    tokio::pin!(stream);
    while may_go.recv().await.is_some() {
        loop {
            let (event, ended) = match stream.next().await {
                Some(Ok(SessionPollResult::Reconnected(mode))) => {
                    let reactivated = matches!(mode, SessionConnectMode::ReactivatedSession(_));
                    (LinkEvent::Up { reactivated }, false)
                }
                Some(Ok(SessionPollResult::ConnectionLost(status) | SessionPollResult::ReconnectFailed(status))) => {
                    (LinkEvent::Down { status }, false)
                }
                Some(Ok(_)) => continue,
                Some(Err(status)) => (LinkEvent::Down { status }, true),
                None => (LinkEvent::Down { status: StatusCode::BadConnectionClosed }, true),
            };
            if say.send(event).await.is_err() || ended {
                return;
            }
            if matches!(event, LinkEvent::Down { .. }) {
                break;
            }
        }
    }
}
