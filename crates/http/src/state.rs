//! What every handler shares.

use crate::{
    backend::Backend,
    counters::Counters,
    limits::{INGEST_BYTES_IN_FLIGHT_MAX, Limits},
    serve::Seats,
};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Ingest bytes that one permit stands for.
pub(crate) const PERMIT_BYTES: usize = 1024;

/// Shared by all handlers of a router.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) seats: Seats,
    /// One permit for each event stream.
    pub(crate) streams: Arc<Semaphore>,
    /// One permit for each [`PERMIT_BYTES`] of ingest bodies in memory.
    pub(crate) ingest: Arc<Semaphore>,
    /// Turns true when the server stops; event streams end then.
    pub(crate) stopping: watch::Sender<bool>,
}

/// The state as axum passes it.
pub(crate) type App = Arc<Shared>;

impl Shared {
    pub(crate) fn new(backend: Arc<dyn Backend>, limits: Limits) -> App {
        Arc::new(Shared {
            backend,
            counters: Counters::default(),
            seats: Seats::default(),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            ingest: Arc::new(Semaphore::new(INGEST_BYTES_IN_FLIGHT_MAX / PERMIT_BYTES)),
            stopping: watch::Sender::new(false),
            limits,
        })
    }
}
