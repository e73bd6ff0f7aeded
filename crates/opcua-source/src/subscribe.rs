//! Subscriptions and their monitored items (OPC 10000-4, 5.13.2 and 5.14.2).
//!
//! The requests go out by the library's builders over the session's channel, without the session's
//! own subscription bookkeeping: so its publish loop stays still and ours decides what is
//! acknowledged, and when.
//!
//! Invariants
//! - U1: a queue of at least two values is asked for, oldest discarded first: with one value the
//!   server may not tell of a loss (OPC 10000-4, 5.13.1.5).
//! - U2: items above what one subscription takes go to further ones, up to [`SUBSCRIPTIONS_MAX`].

use crate::chunks::{Chunks, is_too_large};
use crate::describe;
use crate::items::{Item, Status};
use crate::limits::Limits;
use crate::prepare::{Bench, Entry, PrepareError, Prepared, service};
use config::OpcuaSource;
use model::ValueKind;
use opcua::client::services::{CreateMonitoredItems, CreateSubscription, DeleteSubscriptions};
use opcua::client::{Session, UARequest};
use opcua::types::{
    AttributeId, DataChangeFilter, DataChangeTrigger, DeadbandType, Error, ExtensionObject, MonitoredItemCreateRequest,
    MonitoringMode, MonitoringParameters, StatusCode, TimestampsToReturn,
};
use std::time::Duration;

/// Subscriptions of one source, at most; servers commonly allow ten for a session.
const SUBSCRIPTIONS_MAX: usize = 8;
/// Values of one message, at most: a message is decoded and taken in one go, about a microsecond a value, and
/// telemetry waits meanwhile. No fewer, because a server may keep few messages that wait for a Publish request:
/// the 20 of async-opcua's hold 100,000 values.
const VALUES_PER_MESSAGE_MAX: u32 = 5_000;
/// A subscription outlives this much silence of ours, so that a short loss of the network costs nothing.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// Lifetime over keep-alive interval, at least (OPC 10000-4, 5.14.2.2).
const LIFETIME_PER_KEEP_ALIVE: u32 = 3;

/// A subscription as the server made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// Its id.
    pub(crate) id: u32,
    /// Longest time without any message, as the server revised it, in nanoseconds.
    pub(crate) keep_alive_ns: u64,
    /// It is deleted when it has no Publish request for this long, in nanoseconds.
    pub(crate) lifetime_ns: u64,
}

/// Makes monitored items of all described entries, on as many subscriptions as it takes.
pub(crate) async fn subscribe(bench: &Bench, limits: &Limits, prepared: &mut Prepared) -> Result<(), PrepareError> {
    let mut todo: Vec<usize> =
        (0..prepared.entries.len()).filter(|at| prepared.entries[*at].1.status == Status::New).collect();
    let mut fresh = false;
    if prepared.subscriptions.is_empty() {
        // Made even without an item: its keep-alives show that the server lives.
        let made = create_subscription(bench).await.map_err(service("making a subscription"))?;
        prepared.subscriptions.push(made);
    }
    while !todo.is_empty() {
        if fresh {
            match create_subscription(bench).await {
                Ok(subscription) => prepared.subscriptions.push(subscription),
                // A further subscription is a courtesy; without it the items stay refused.
                Err(_) => break,
            }
        }
        let Some(subscription) = prepared.subscriptions.last().copied() else { break };
        let asked = todo.len();
        todo = create_items(bench, limits, subscription.id, &mut prepared.entries, todo, true).await?;
        let hopeless = fresh && todo.len() == asked;
        if hopeless || prepared.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            break;
        }
        fresh = true;
    }
    Ok(())
}

async fn create_subscription(bench: &Bench) -> Result<Subscription, Error> {
    let settings = &bench.plan.settings;
    let publishing = settings.publishing.max(Duration::from_millis(1));
    let times = |of: Duration| u32::try_from(of.as_nanos() / publishing.as_nanos()).unwrap_or(u32::MAX).max(1);
    let keep_alives = times(settings.keep_alive);
    let lifetime =
        times(LIFETIME_MIN.max(settings.watchdog * 3)).max(keep_alives.saturating_mul(LIFETIME_PER_KEEP_ALIVE));
    let made = CreateSubscription::new(&bench.session)
        .publishing_interval(publishing)
        .max_keep_alive_count(keep_alives)
        .max_lifetime_count(lifetime)
        .max_notifications_per_publish(VALUES_PER_MESSAGE_MAX)
        .send(bench.session.channel())
        .await?;
    let interval_ns = (made.revised_publishing_interval.max(1.0) * 1e6) as u64;
    let subscription = Subscription {
        id: made.subscription_id,
        keep_alive_ns: interval_ns.saturating_mul(u64::from(made.revised_max_keep_alive_count.max(1))),
        lifetime_ns: interval_ns.saturating_mul(u64::from(made.revised_lifetime_count.max(1))),
    };
    tracing::info!(
        address = %settings.address,
        subscription = subscription.id,
        publishing_ms = publishing.as_millis() as u64,
        publishing_revised_ms = made.revised_publishing_interval,
        keep_alive_revised_ms = subscription.keep_alive_ns / 1_000_000,
        lifetime_revised_ms = subscription.lifetime_ns / 1_000_000,
        "OPC UA subscription made"
    );
    Ok(subscription)
}

/// Makes monitored items; answers those for which the subscription has no room.
async fn create_items(
    bench: &Bench,
    limits: &Limits,
    subscription: u32,
    entries: &mut [Entry],
    todo: Vec<usize>,
    with_filter: bool,
) -> Result<Vec<usize>, PrepareError> {
    let requests: Vec<MonitoredItemCreateRequest> =
        todo.iter().map(|at| request(&bench.plan.settings, &entries[*at], with_filter)).collect();
    let results = call(bench, limits, subscription, &requests).await.map_err(service("making monitored items"))?;
    let mut no_room = Vec::new();
    let mut no_filter = Vec::new();
    for (at, (status, queue)) in todo.into_iter().zip(results) {
        let item = &mut entries[at].1;
        item.status = if status.is_bad() { Status::Refused(status) } else { Status::Live { queue } };
        if status == StatusCode::BadTooManyMonitoredItems {
            no_room.push(at);
        } else if with_filter && has_filter(item) && is_filter_refusal(status) {
            no_filter.push(at);
        }
    }
    if !no_filter.is_empty() {
        // The pass applies the deadband itself; the server's filter only saves the network.
        let more = Box::pin(create_items(bench, limits, subscription, entries, no_filter, false)).await?;
        no_room.extend(more);
    }
    Ok(no_room)
}

/// CreateMonitoredItems in pieces; answers each item's status and revised queue size. A server may
/// say that there is no room by item, or refuse the call as a whole: then less is tried, and what
/// does not fit even alone has no room.
async fn call(
    bench: &Bench,
    limits: &Limits,
    subscription: u32,
    requests: &[MonitoredItemCreateRequest],
) -> Result<Vec<(StatusCode, u32)>, Error> {
    let mut results = Vec::with_capacity(requests.len());
    let mut chunks = Chunks::new(requests.len(), limits.items);
    while let Some(piece) = chunks.piece() {
        let answer = CreateMonitoredItems::new(subscription, &bench.session)
            .timestamps_to_return(TimestampsToReturn::Both)
            .items_to_create(requests[piece].to_vec())
            .send(bench.session.channel())
            .await;
        match answer {
            Ok(answer) => {
                let created = answer.results.into_iter().map(|item| item.result);
                results.extend(created.map(|result| (result.status_code, result.revised_queue_size)));
                chunks.done();
            }
            Err(error) if is_too_large(error.status()) && chunks.shrink() => {}
            Err(error) if error.status() == StatusCode::BadTooManyMonitoredItems => {
                if !chunks.shrink() {
                    results.resize(requests.len(), (StatusCode::BadTooManyMonitoredItems, 0));
                    return Ok(results);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(results)
}

/// Deletes subscriptions as far as the server still knows them.
pub(crate) async fn delete(session: &Session, subscriptions: Vec<u32>) {
    if !subscriptions.is_empty() {
        let request = DeleteSubscriptions::new(session).subscription_ids(subscriptions);
        // Those that cannot be deleted die of age.
        let _ = request.send(session.channel()).await;
    }
}

fn request(settings: &OpcuaSource, (handle, item): &Entry, with_filter: bool) -> MonitoredItemCreateRequest {
    let filter = if with_filter && has_filter(item) {
        ExtensionObject::from_message(DataChangeFilter {
            trigger: DataChangeTrigger::StatusValue,
            deadband_type: DeadbandType::Absolute as u32,
            deadband_value: item.deadband,
        })
    } else {
        ExtensionObject::null()
    };
    MonitoredItemCreateRequest {
        item_to_monitor: describe::attribute(&item.id.clone().unwrap_or_default(), AttributeId::Value),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: *handle,
            sampling_interval: settings.sampling.as_secs_f64() * 1e3,
            filter,
            queue_size: settings.queue.max(2),
            discard_oldest: true,
        },
    }
}

/// A server-side deadband is for numbers only (OPC 10000-4, 7.22.2).
fn has_filter(item: &Item) -> bool {
    item.deadband > 0.0 && matches!(item.tag, Some((_, ValueKind::F64 | ValueKind::I64)))
}

fn is_filter_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadFilterNotAllowed
            | StatusCode::BadMonitoredItemFilterInvalid
            | StatusCode::BadMonitoredItemFilterUnsupported
            | StatusCode::BadDeadbandFilterInvalid
    )
}
