//! What business systems send by themselves, to one receiver over HTTP.
//!
//! | system | posts to | body |
//! |---|---|---|
//! | WMS | `{to}/v1/records/goods-receipt` | `{receipt_id, material, quantity, location, time}` |
//! | MES | `{to}/v1/records/labour` | `{entry_id, work_order, hours, employee, time}` |
//! | MES | `{to}/v1/records/consumption` | `{entry_id, work_order, material, quantity, time}` |
//! | MES | `{to}/v1/records/yield` | `{entry_id, work_order, good, scrap, time}` |
//! | ERP | `{to}/v1/requests/material-availability` | `{material, quantity, work_order}`, before it releases a work order |
//!
//! Invariants:
//! - **At least once**: a posting is sent until it is answered with 2xx, always with the same body
//!   and the same Idempotency-Key; only 400, 413, 415 and 422 end it otherwise, as refused.
//! - **In order** per material (WMS) and per record and work order (MES): the next one goes out
//!   when the one before it has ended. A system that is told to post twice sends each one once more
//!   after its acknowledgement, before the next.
//! - **Bounded**: see [`outbox`]; when too many wait, nothing new is made.
//! - A system that is down or hangs sends nothing.

pub(crate) mod outbox;
mod post;
pub(crate) mod story;
mod target;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::faults::FaultMode;
use super::{BusinessSystem, SystemName, now_unix_ms};

use outbox::{Answered, Dispatch};
pub(crate) use target::FeedTarget;

/// The systems that send by themselves.
pub(crate) const SENDERS: [SystemName; 3] = [SystemName::Erp, SystemName::Wms, SystemName::Mes];

/// Postings of one system that are under way at once.
const UNDER_WAY_MAX: usize = 8;
/// Longest rest of a sender that has nothing to do.
const REST: Duration = Duration::from_secs(3_600);

/// What came of one try: which posting, and the answer or what went wrong.
type Tried = (u64, Result<Answered, String>);

/// Sends what one system has to send, for ever.
pub(crate) async fn run(system: Arc<BusinessSystem>, mut order: watch::Receiver<Option<FeedTarget>>) {
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    let mut made_at = start;
    loop {
        let target = order.borrow_and_update().clone();
        let now = Instant::now();
        if let Some(target) = target.as_ref().filter(|_| sends(&system)) {
            if let Some(period) = target.period
                && now >= made_at + period
            {
                made_at = now;
                system.make_one();
            }
            dispatch(&system, target, start, &mut under_way);
        }
        let wake = wake_at(&system, target.as_ref(), start, made_at, under_way.len());
        tokio::select! {
            changed = order.changed() => match changed {
                Ok(()) => system.retry_now(),
                Err(_plant_gone) => return,
            },
            Some(ended) = under_way.join_next() => {
                if let Ok((seq, tried)) = ended {
                    system.books.lock().desk.outbox.on_tried(seq, since_ms(start), now_unix_ms(), tried);
                }
            }
            () = system.stirred.notified() => {}
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

fn sends(system: &BusinessSystem) -> bool {
    !matches!(system.fault().mode, FaultMode::Down | FaultMode::Hang)
}

fn since_ms(start: Instant) -> u64 {
    start.elapsed().as_millis() as u64
}

/// Starts what is due, as far as there is room.
fn dispatch(system: &BusinessSystem, target: &FeedTarget, start: Instant, under_way: &mut JoinSet<Tried>) {
    let twice = system.fault().mode == FaultMode::Twice;
    while under_way.len() < UNDER_WAY_MAX {
        let due = system.books.lock().desk.outbox.take_due(since_ms(start), twice);
        let Some(Dispatch { seq, path, key, body }) = due else { return };
        let receiver = target.receiver.clone();
        under_way.spawn(async move { (seq, post::post(&receiver, &path, &key, body).await) });
    }
}

/// When there is something to do by time.
fn wake_at(
    system: &BusinessSystem,
    target: Option<&FeedTarget>,
    start: Instant,
    made_at: Instant,
    under_way: usize,
) -> Instant {
    let now = Instant::now();
    let Some(target) = target.filter(|_| sends(system)) else { return now + REST };
    let due = system.books.lock().desk.outbox.next_due_ms().filter(|_| under_way < UNDER_WAY_MAX);
    let due = due.map(|ms| start + Duration::from_millis(ms));
    let make = target.period.map(|period| made_at + period);
    [due, make].into_iter().flatten().min().unwrap_or(now + REST)
}
