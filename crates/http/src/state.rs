//! What every handler shares.

use crate::{
    backend::Backend,
    business::Flows,
    counters::Counters,
    known::Names,
    limits::{INGEST_BYTES_IN_FLIGHT_MAX, Limits},
    openapi,
    pace::Paces,
    serve::Seats,
};
use axum::body::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, watch};

/// Bytes of a body that one permit stands for.
pub(crate) const PERMIT_BYTES: usize = 1024;

/// Shared by all handlers of a router.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) flows: Arc<dyn Flows>,
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) seats: Seats,
    /// How fast the sources bring samples.
    pub(crate) paces: Paces,
    /// One permit for each event stream.
    pub(crate) streams: Arc<Semaphore>,
    /// One permit for each [`PERMIT_BYTES`] of bodies in memory.
    pub(crate) bodies: Arc<Semaphore>,
    /// `/openapi.json`.
    pub(crate) openapi: Bytes,
    /// Names of line protocol.
    names: Mutex<Names>,
    /// Turns true when the server stops; event streams end then.
    pub(crate) stopping: watch::Sender<bool>,
}

/// The state as axum passes it.
pub(crate) type App = Arc<Shared>;

impl Shared {
    pub(crate) fn new(backend: Arc<dyn Backend>, flows: Arc<dyn Flows>, limits: Limits) -> App {
        Arc::new(Shared {
            openapi: openapi::text(backend.version()),
            backend,
            flows,
            paces: Paces::default(),
            counters: Counters::default(),
            seats: Seats::default(),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            bodies: Arc::new(Semaphore::new(INGEST_BYTES_IN_FLIGHT_MAX / PERMIT_BYTES)),
            names: Mutex::default(),
            stopping: watch::Sender::new(false),
            limits,
        })
    }

    /// See [`Backend::pause`].
    pub(crate) fn pause(&self) {
        self.backend.pause();
    }

    /// The names of line protocol; held for a few rows and never across an await.
    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        // Whoever panicked while holding them left whole entries.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
