//! One running OPC UA server: started on a port, fed with values, stopped without a trace.
//!
//! Invariants:
//! - The certificate directory lives in the system's temporary directory and goes when the
//!   server goes, whether it is stopped or dropped.
//! - [`Endpoint::stop`] returns when the port is free, at most [`STOP_LIMIT`] later.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opcua::server::node_manager::memory::InMemoryNodeManagerBuilder;
use opcua::server::{ANONYMOUS_USER_TOKEN_ID, Limits, Server, ServerBuilder, ServerEndpoint, ServerHandle};
use opcua::types::{DataValue, NodeId, StatusCode};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::error::PlantError;

use super::space::{NodeHooks, Space, SpaceBuilder, whole};

/// Longest wait for sessions to say goodbye when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How often subscriptions are looked at, ms; no publishing interval is finer.
const SUBSCRIPTION_POLL_MS: u64 = 10;
const SAMPLING_MS_MIN: f64 = 10.0;
const PUBLISHING_MS_MIN: f64 = 50.0;
/// A load test subscribes to everything in one subscription.
const MONITORED_ITEMS_MAX: usize = 200_000;
const ITEMS_PER_CALL_MAX: usize = 10_000;
const ITEM_QUEUE_MAX: usize = 1_000;
const PENDING_NOTIFICATIONS_MAX: usize = 1_000;
const PENDING_PUBLISH_MAX: usize = 100;
const SESSIONS_MAX: usize = 200;
const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 100;
const ARRAY_LENGTH_MAX: usize = 1_000_000;
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const CHUNKS_MAX: usize = 4_096;

/// What a server is started with.
#[derive(Clone)]
pub(crate) struct Launch {
    /// The part of the plant, for messages.
    pub(crate) what: &'static str,
    /// Where it listens; the endpoint descriptions name this address.
    pub(crate) address: SocketAddr,
    /// Path of the endpoint URL, e.g. `/plant`.
    pub(crate) path: &'static str,
    /// Its nodes.
    pub(crate) hooks: Arc<dyn NodeHooks>,
}

impl Launch {
    /// The endpoint URL (OPC UA Part 6, 7.2).
    pub(crate) fn url(&self) -> String {
        format!("opc.tcp://{}{}", self.address, self.path)
    }

    /// Starts the server on a listener at its address.
    pub(crate) async fn start(&self, listener: TcpListener) -> Result<Endpoint, PlantError> {
        let failed = |detail: String| PlantError::Opcua { what: self.what.to_owned(), endpoint: self.url(), detail };
        let pki =
            tempfile::Builder::new().prefix("plant-pki-").tempdir().map_err(|source| PlantError::TempDir { source })?;
        // Building loads the standard's nodes, thousands of them: off the runtime's thread.
        let (launch, pki_dir) = (self.clone(), pki.path().to_owned());
        let (server, handle) = tokio::task::spawn_blocking(move || launch.builder(&pki_dir).build())
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(failed)?;
        let space = handle
            .node_managers()
            .get_of_type::<Space>()
            .ok_or_else(|| failed("its node manager is missing".to_owned()))?;
        let task = tokio::spawn(run(server, listener, self.what));
        Ok(Endpoint { handle, space, task, _pki: pki })
    }

    fn builder(&self, pki_dir: &Path) -> ServerBuilder {
        let uri = self.hooks.namespace_uri();
        ServerBuilder::new()
            .application_name(format!("plant {}", self.what))
            .application_uri(format!("{uri}:server"))
            .product_uri(uri)
            .create_sample_keypair(false)
            .pki_dir(pki_dir)
            .host(host_text(self.address))
            .port(self.address.port())
            .add_endpoint("none", ServerEndpoint::new_none(self.path, &[ANONYMOUS_USER_TOKEN_ID.to_owned()]))
            .default_endpoint("none")
            .discovery_urls(vec![self.path.to_owned(), "/".to_owned()])
            .subscription_poll_interval_ms(SUBSCRIPTION_POLL_MS)
            .limits(limits())
            .with_node_manager(InMemoryNodeManagerBuilder::new(SpaceBuilder(Arc::clone(&self.hooks))))
    }
}

fn host_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

fn limits() -> Limits {
    let mut limits = Limits {
        max_array_length: ARRAY_LENGTH_MAX,
        max_message_size: MESSAGE_BYTES_MAX,
        max_chunk_count: CHUNKS_MAX,
        max_sessions: SESSIONS_MAX,
        ..Limits::default()
    };
    let subscriptions = &mut limits.subscriptions;
    subscriptions.min_sampling_interval_ms = SAMPLING_MS_MIN;
    subscriptions.min_publishing_interval_ms = PUBLISHING_MS_MIN;
    subscriptions.max_monitored_items_per_sub = MONITORED_ITEMS_MAX;
    subscriptions.max_monitored_item_queue_size = ITEM_QUEUE_MAX;
    subscriptions.max_queued_notifications = PENDING_NOTIFICATIONS_MAX;
    subscriptions.max_pending_publish_requests = PENDING_PUBLISH_MAX;
    subscriptions.max_publish_requests_per_subscription = PENDING_PUBLISH_MAX;
    subscriptions.max_subscriptions_per_session = SUBSCRIPTIONS_PER_SESSION_MAX;
    limits.operational.max_monitored_items_per_call = ITEMS_PER_CALL_MAX;
    limits
}

async fn run(server: Server, listener: TcpListener, what: &'static str) {
    if let Err(error) = server.run_with(listener).await {
        tracing::warn!(what, error, "OPC UA server ended");
    }
}

/// A running server.
pub(crate) struct Endpoint {
    handle: ServerHandle,
    space: Arc<Space>,
    task: JoinHandle<()>,
    _pki: TempDir,
}

impl Endpoint {
    /// Index of the namespace with the given URI on this server.
    pub(crate) fn namespace(&self, uri: &str) -> Option<u16> {
        self.handle.get_namespace_index(uri)
    }

    /// Sets values and tells the subscriptions.
    pub(crate) fn publish<'a>(&self, values: impl Iterator<Item = (&'a NodeId, DataValue)>) -> Result<(), StatusCode> {
        self.space.set_values(self.handle.subscriptions(), values.map(whole))
    }

    /// Closes the sessions and the port.
    pub(crate) async fn stop(mut self) {
        self.handle.cancel();
        if tokio::time::timeout(STOP_LIMIT, &mut self.task).await.is_err() {
            self.task.abort();
            let _aborted = (&mut self.task).await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.handle.cancel();
        self.task.abort();
    }
}
