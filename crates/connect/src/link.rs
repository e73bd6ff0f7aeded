//! One connection that many calls share, made by the first call that needs it.
//!
//! Invariants
//! - N1: at most one connection is being made at a time; who waits for it gets its outcome, too.
//! - N2: after a failure the next try waits: 100 ms, doubling to 2 s. That is short on purpose: the
//!   waits that spare a target are the delivery engine's and its breaker's.
//! - N3: a connection that ended is not used again.
//! - N4: what was sent and not waited for any longer takes room in the client; a connection with
//!   too much of it is ended, so that a peer that never acknowledges holds a bounded number.

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::call::CallError;

/// Wait after the first failure.
const WAIT_FIRST: Duration = Duration::from_millis(100);
/// Doublings of that wait, at most: 100 ms to 1.6 s.
const DOUBLINGS_MAX: u32 = 4;

/// The end of a connection: why, once it ended.
#[derive(Clone, Debug)]
pub(crate) struct End(Arc<watch::Sender<Option<String>>>);

impl End {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// It ended. The first reason stays.
    pub(crate) fn set(&self, why: impl Into<String>) {
        self.0.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(why.into());
            }
            first
        });
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until it ended, and says why.
    pub(crate) async fn wait(&self) -> String {
        let mut end = self.0.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the connection was closed".to_owned(),
        }
    }
}

/// A connection, for as long as somebody holds it.
#[derive(Debug)]
pub(crate) struct Live<C> {
    pub(crate) connection: C,
    pub(crate) end: End,
    unanswered: Lock<usize>,
    unanswered_max: usize,
}

impl<C> Live<C> {
    pub(crate) fn new(connection: C, end: End, unanswered_max: usize) -> Self {
        Self { connection, end, unanswered: Lock::new(0), unanswered_max }
    }

    /// From now on something waits for an acknowledgement.
    pub(crate) fn waiting(&self) -> Waiting<'_, C> {
        Waiting { live: self, answered: false }
    }
}

/// Counts what is given up before it was acknowledged (N4).
pub(crate) struct Waiting<'a, C> {
    live: &'a Live<C>,
    answered: bool,
}

impl<C> Waiting<'_, C> {
    /// It was acknowledged, or its connection ended.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl<C> Drop for Waiting<'_, C> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut unanswered = self.live.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        *unanswered += 1;
        if *unanswered >= self.live.unanswered_max {
            self.live.end.set(format!("{unanswered} messages were not acknowledged in time"));
        }
    }
}

/// The shared connection.
#[derive(Debug)]
pub(crate) struct Link<C> {
    slot: Mutex<Slot<C>>,
}

#[derive(Debug)]
struct Slot<C> {
    live: Option<Arc<Live<C>>>,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: CallError,
    at: Instant,
    times: u32,
}

impl<C> Link<C> {
    pub(crate) fn new() -> Self {
        Self { slot: Mutex::new(Slot { live: None, failed: None }) }
    }

    /// The connection, made now if there is none. Whoever drops this future (at its deadline) lets
    /// the next one try.
    pub(crate) async fn get(
        &self,
        open: impl AsyncFnOnce() -> Result<Live<C>, CallError>,
    ) -> Result<Arc<Live<C>>, CallError> {
        let asked = Instant::now();
        let mut slot = self.slot.lock().await;
        if let Some(live) = &slot.live {
            if !live.end.is_set() {
                return Ok(live.clone());
            }
            slot.live = None;
        }
        let times = match &slot.failed {
            Some(failed) if failed.at >= asked => return Err(failed.error.clone()),
            Some(failed) => {
                let wait = WAIT_FIRST * (1 << failed.times.min(DOUBLINGS_MAX));
                tokio::time::sleep_until(failed.at + wait).await;
                failed.times + 1
            }
            None => 0,
        };
        match open().await {
            Ok(live) => {
                let live = Arc::new(live);
                *slot = Slot { live: Some(live.clone()), failed: None };
                Ok(live)
            }
            Err(error) => {
                slot.failed = Some(Failed { error: error.clone(), at: Instant::now(), times });
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
    }

    #[test]
    fn it_is_made_once_and_made_again_when_it_ended() {
        runtime().block_on(async {
            let (link, made) = (Link::new(), Cell::new(0));
            let open = async || {
                made.set(made.get() + 1);
                tokio::task::yield_now().await;
                Ok(Live::new(made.get(), End::new(), 2))
            };
            let (first, second) = tokio::join!(link.get(open), link.get(open));
            let (first, second) = (first.expect("a connection"), second.expect("a connection"));
            assert_eq!((first.connection, second.connection), (1, 1));
            first.end.set("gone");
            first.end.set("later");
            assert_eq!(second.end.wait().await, "gone");
            assert_eq!(link.get(open).await.expect("a connection").connection, 2);
        });
    }

    #[test]
    fn who_waits_for_a_connection_that_fails_fails_with_it() {
        runtime().block_on(async {
            let (link, tries) = (Link::<()>::new(), Cell::new(0));
            let open = async || {
                tries.set(tries.get() + 1);
                tokio::task::yield_now().await;
                Err(CallError::unreachable("no"))
            };
            let (first, second) = tokio::join!(link.get(open), link.get(open));
            assert_eq!(
                (first.map(drop), second.map(drop)),
                (Err(CallError::unreachable("no")), Err(CallError::unreachable("no")))
            );
            assert_eq!(tries.get(), 1);
            assert!(link.get(open).await.is_err());
            assert_eq!(tries.get(), 2);
        });
    }

    #[test]
    fn a_peer_that_acknowledges_nothing_loses_its_connection() {
        let live = Live::new((), End::new(), 2);
        live.waiting().answered();
        drop(live.waiting());
        assert!(!live.end.is_set());
        drop(live.waiting());
        assert!(live.end.is_set());
    }
}
