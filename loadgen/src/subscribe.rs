//! `loadgen subscribe`: a client to compare with, subscribed to the same variables.
//!
//! The async-opcua crate as one would use it at its plainest: one subscription, a callback that counts
//! and keeps the last value of each item, no log. It prints nothing: the relay of `loadgen opcua
//! --measure --server-pid` measures it.

use crate::Failure;
use opcua::client::{ClientBuilder, DataChangeCallback, IdentityToken, Session, SessionBuilder};
use opcua::crypto::{CertificateStore, SecurityPolicy};
use opcua::sync::RwLock;
use opcua::types::{
    DataValue, EndpointDescription, MessageSecurityMode, MonitoredItemCreateRequest, MonitoringMode,
    MonitoringParameters, NodeId, ReadValueId, TimestampsToReturn, UserTokenPolicy,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Items of one CreateMonitoredItems call.
const ITEMS_PER_CALL: usize = 1_000;
/// How long the server may take to be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long one call may take.
const CALL_PATIENCE: Duration = Duration::from_secs(30);
/// Elements of an array, bytes and chunks of a message that are taken: what 100,000 values may need.
const ARRAY_MAX: usize = 1_000_000;
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const CHUNKS_MAX: usize = 4_096;
/// Keep-alives, and their number after which the server forgets the subscription.
const KEEP_ALIVE_COUNT: u32 = 10;
const LIFETIME_COUNT: u32 = 600;
const NAMESPACE_URI: &str = "urn:riverside:fleet";

/// Options of the client.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The server, e.g. opc.tcp://127.0.0.1:4840/fleet
    #[arg(long)]
    address: String,
    /// Devices
    #[arg(long, default_value_t = 10)]
    devices: usize,
    /// Tags of each device
    #[arg(long, default_value_t = 100)]
    tags: usize,
    /// How often every variable changes
    #[arg(long, default_value = "100ms", value_parser = crate::args::duration)]
    every: Duration,
    /// Publishing interval; else as --every
    #[arg(long, value_parser = crate::args::duration)]
    publishing: Option<Duration>,
    /// Stop after so many seconds
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 1e6) {
        return Err(Failure::Usage("--seconds must be above 0".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
    runtime.block_on(async {
        let until = Instant::now() + Duration::from_secs_f64(options.seconds);
        let session = connect(options).await?;
        subscribe(options, &session).await?;
        tokio::time::sleep_until(until.into()).await;
        // The server frees the session at once then; that it may be gone already harms nothing.
        let _ = session.disconnect().await;
        Ok(true)
    })
}

async fn connect(options: &Options) -> Result<Arc<Session>, Failure> {
    let config = ClientBuilder::new()
        .application_name("loadgen")
        .application_uri("urn:loadgen")
        .product_uri("urn:loadgen")
        .session_retry_limit(-1)
        .session_retry_initial(PAUSE)
        .session_retry_max(PAUSE * 4)
        .request_timeout(CALL_PATIENCE)
        .max_array_length(ARRAY_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_chunk_count(CHUNKS_MAX)
        .into_config();
    let plain = (
        options.address.as_str(),
        SecurityPolicy::None.to_uri(),
        MessageSecurityMode::None,
        vec![UserTokenPolicy::anonymous()],
    );
    // Without security nothing is read from this directory, and nothing is made there.
    let store = Arc::new(RwLock::new(CertificateStore::new(Path::new("pki"))));
    let (session, event_loop) = SessionBuilder::new(&config)
        .connect_to_endpoint_directly(EndpointDescription::from(plain))
        .and_then(|builder| builder.user_identity_token(IdentityToken::Anonymous).build(store))
        .map_err(Failure::of)?;
    event_loop.spawn();
    match tokio::time::timeout(PATIENCE, session.wait_for_connection()).await {
        Ok(true) => Ok(session),
        _ => Err(Failure::Failed(format!("no session at {} within {PATIENCE:?}", options.address))),
    }
}

async fn subscribe(options: &Options, session: &Session) -> Result<(), Failure> {
    let namespace = session.get_namespace_index(NAMESPACE_URI).await.map_err(Failure::of)?;
    let items: Vec<MonitoredItemCreateRequest> = (0..options.devices)
        .flat_map(|device| (0..options.tags).map(move |tag| format!("d{device}.t{tag}")))
        .zip(1..)
        .map(|(name, client_handle)| MonitoredItemCreateRequest {
            item_to_monitor: ReadValueId::from(NodeId::new(namespace, name)),
            monitoring_mode: MonitoringMode::Reporting,
            requested_parameters: MonitoringParameters {
                client_handle,
                sampling_interval: options.every.as_secs_f64() * 1e3 / 2.0,
                queue_size: 10,
                discard_oldest: true,
                ..MonitoringParameters::default()
            },
        })
        .collect();
    let mut lasts = vec![(0_u64, DataValue::default()); items.len() + 1];
    let callback = DataChangeCallback::new(move |value, item| {
        if let Some((count, last)) = lasts.get_mut(item.client_handle() as usize) {
            *count += 1;
            *last = value;
        }
    });
    let publishing = options.publishing.unwrap_or(options.every);
    let subscription = session
        .create_subscription(publishing, LIFETIME_COUNT, KEEP_ALIVE_COUNT, 0, 0, true, callback)
        .await
        .map_err(Failure::of)?;
    for piece in items.chunks(ITEMS_PER_CALL) {
        let made = session.create_monitored_items(subscription, TimestampsToReturn::Both, piece.to_vec()).await;
        let made = made.map_err(Failure::of)?;
        if let Some(refused) = made.iter().find(|item| item.result.status_code.is_bad()) {
            return Err(Failure::Failed(format!("an item was refused: {}", refused.result.status_code)));
        }
    }
    Ok(())
}
