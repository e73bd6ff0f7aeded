//! Reaching a device: its commands go to the shard that its source runs on.

use crate::server::site::Site;
use env::Clock;
use model::device::{Commander, DeviceAnswer, DeviceCommand, DeviceError};
use shard::{Lane, ShardContext};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::oneshot;
use uring::clock::SystemClock;

thread_local! {
    static DEVICES: RefCell<HashMap<String, Commander>> = RefCell::default();
}

/// Makes a source of this shard reachable.
pub fn register(source: &str, commander: Commander) {
    DEVICES.with(|devices| drop(devices.borrow_mut().insert(source.to_owned(), commander)));
}

/// Asks a source's device; answers within the time, or says that it did not.
pub async fn ask(
    site: &Site,
    source: &str,
    command: DeviceCommand,
    time: Duration,
) -> Result<DeviceAnswer, DeviceError> {
    let (reply, answer) = oneshot::channel();
    let shard = site.shard_of_source(source);
    let sender = site.shards()[shard.0 as usize].sender().ok_or(DeviceError::Closed)?;
    let source = source.to_owned();
    let job = move |context: &ShardContext| {
        let commander = DEVICES.with(|devices| devices.borrow().get(&source).cloned());
        let Some(commander) = commander else {
            let why = format!("the source {source} takes no commands");
            return drop(reply.send(Err(DeviceError::NotConnected { why })));
        };
        let deadline_ns = SystemClock.monotonic_ns().saturating_add(time.as_nanos() as u64);
        let answering = commander.submit(command, deadline_ns);
        context.spawn(Lane::Request, "device", async move { drop(reply.send(answering.await)) });
    };
    sender.post(Box::new(job)).map_err(|_| DeviceError::Busy)?;
    // the source keeps the deadline; this only bounds what a source that is stuck could do
    match tokio::time::timeout(time + Duration::from_millis(250), answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(DeviceError::Closed),
        Err(_) => Err(DeviceError::Timeout { sent: true }),
    }
}
