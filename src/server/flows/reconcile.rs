//! Comparing both sides on a timer, for the syncs that ask for it.

use super::{FlowShard, drive};
use bytes::Bytes;
use connect::{Call, Reply};
use delivery::Offset;
use flows::entry::{Draft, EntryKind};
use flows::journal;
use flows::message::Message;
use flows::reconcile::{self, Comparison, DIFFERENCES_MAX, KeyDifference, OurSide};
use flows::spec::{FlowSpec, Reconcile, Wanted};
use serde_json::{Value, json};
use shard::{Lane, ShardContext};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Deadline of one question.
const ASK: Duration = Duration::from_secs(10);

/// Spawns a timer for every sync that compares both sides.
pub fn spawn(flow: &Rc<FlowShard>, context: &ShardContext) {
    context.spawn(Lane::Request, "revert", super::requests::revert(Rc::clone(flow)));
    let specs: Vec<(usize, FlowSpec)> =
        flow.desk.borrow().outlets().iter().map(|outlet| outlet.spec.clone()).enumerate().collect();
    for (at, spec) in specs {
        if let Some(told) = spec.reconcile.clone() {
            context.spawn(Lane::Batch, "reconcile", every(Rc::clone(flow), at, spec, told));
        }
    }
}

async fn every(flow: Rc<FlowShard>, at: usize, spec: FlowSpec, told: Reconcile) {
    loop {
        tokio::time::sleep(Duration::from_nanos(told.every_ns)).await;
        let mut found = Comparison { flow: spec.name.clone(), time_ns: FlowShard::now().0, ..Comparison::default() };
        if let Err(error) = compare(&flow, at, &spec, &told, &mut found).await {
            found.error = Some(error);
        }
        if found.differ > 0 || found.error.is_some() {
            tracing::warn!(
                flow = spec.name,
                differ = found.differ,
                resent = found.resent,
                error = found.error.as_deref().unwrap_or(""),
                "both sides were compared"
            );
        }
        let entry = Draft::new(EntryKind::Reconciliation, FlowShard::now(), 0, format!("flow/{}", spec.name), &found);
        flow.desk.borrow_mut().note_comparison(at, found, entry, FlowShard::now());
        flow.wanted.notify_one();
    }
}

async fn compare(
    flow: &Rc<FlowShard>,
    at: usize,
    spec: &FlowSpec,
    told: &Reconcile,
    found: &mut Comparison,
) -> Result<(), String> {
    let sides = ours(flow, at, spec, told).await?;
    let now = FlowShard::now();
    for (key, side) in sides {
        let settled = now.0 - side.newest.0 >= i64::try_from(told.settle_ns).unwrap_or(i64::MAX);
        if !settled || flow.desk.borrow().is_pending_key(at, &key) {
            found.left += 1;
            continue;
        }
        let Some(theirs) = theirs(flow, at, &key, told).await else {
            found.unanswered += 1;
            continue;
        };
        found.compared += 1;
        if reconcile::is_same(&side.value, &theirs, told.tolerance) {
            continue;
        }
        found.differ += 1;
        if told.resend {
            found.resent += resend(flow, at, &side).await?;
        }
        if found.differences.len() < DIFFERENCES_MAX {
            found.differences.push(KeyDifference { key, ours: side.value, theirs });
        }
    }
    Ok(())
}

async fn ours(
    flow: &Rc<FlowShard>,
    at: usize,
    spec: &FlowSpec,
    told: &Reconcile,
) -> Result<BTreeMap<String, OurSide>, String> {
    let Wanted::Stream(stream) = &spec.wanted else { return Ok(BTreeMap::new()) };
    let entity = stream.trim_start_matches("record/").to_owned();
    let (spans, definition) = {
        let desk = flow.desk.borrow();
        (desk.journal().spans_after(Offset(0), u64::MAX), desk.outlets()[at].definition().clone())
    };
    let (storage, told) = (Arc::clone(&flow.storage), told.clone());
    on_helper(flow, move || reconcile::gather(&*storage, &spans, &entity, &definition, &told)).await?
}

async fn on_helper<T: Send + 'static>(
    flow: &FlowShard,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move || drop(reply.send(work())));
    flow.context.helper().run(job).map_err(|_| "the helper thread has too much to do".to_owned())?;
    answer.await.map_err(|_| "the helper thread has ended".to_owned())
}

/// What the other side says of a key; `None` where it says nothing usable.
async fn theirs(flow: &Rc<FlowShard>, at: usize, key: &str, told: &Reconcile) -> Option<Value> {
    let address = told.address.fill(&json!({ "key": key })).ok()?;
    let target = Rc::clone(&flow.targets[at]);
    let call = Call {
        method: "GET".to_owned(),
        to: address,
        headers: Vec::new(),
        content_type: String::new(),
        body: Bytes::new(),
        idempotency_key: None,
        id: String::new(),
        timeout: ASK,
    };
    let exchange = target.target.call(call).await;
    let report = drive::report(exchange.clone(), target.conflict, true);
    let good = matches!(exchange.result, Ok(Reply::Answered { status: 200..=299, .. }));
    let status = json!(report.status);
    good.then(|| told.theirs.eval(&[("answer", &report.answer), ("status", &status)]).ok()).flatten()
}

/// Sends a key's records again, under the idempotency keys that they had.
async fn resend(flow: &Rc<FlowShard>, at: usize, side: &OurSide) -> Result<u64, String> {
    let first = side.offsets.first().copied().unwrap_or_default();
    let spans = flow.desk.borrow().journal().spans_after(Offset(first.0.saturating_sub(1)), u64::MAX);
    let (storage, offsets) = (Arc::clone(&flow.storage), side.offsets.clone());
    let messages: Vec<Message> = on_helper(flow, move || {
        let mut messages = Vec::new();
        journal::read(&*storage, &spans, &mut |stored| {
            if offsets.binary_search(&stored.offset).is_ok() {
                messages.extend(Message::read(&stored));
            }
            if offsets.last().is_some_and(|last| stored.offset >= *last) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map(|_| messages)
    })
    .await??;
    let count = messages.len() as u64;
    flow.desk.borrow_mut().resend(at, messages, FlowShard::now());
    flow.wanted.notify_one();
    Ok(count)
}
