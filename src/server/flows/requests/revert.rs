//! Values that go back by themselves when their time has come.

use super::device::Device;
use super::write;
use crate::server::flows::FlowShard;
use request::{GateOutcome, Revert};
use std::rc::Rc;
use std::time::Duration;

/// Wait before a value that could not go back by itself is tried again.
const REVERT_AGAIN_NS: i64 = 10_000_000_000;

/// Writes back what is due to go back by itself, for as long as the shard runs.
pub async fn revert(flow: Rc<FlowShard>) {
    loop {
        let due = flow.desk.borrow().reverts().next_due();
        let wait = due.map_or(Duration::from_secs(1), |due| {
            Duration::from_nanos(u64::try_from(due.0 - FlowShard::now().0).unwrap_or(0))
        });
        tokio::time::sleep(wait.clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
        let mut ready = Vec::new();
        let now = FlowShard::now();
        let _ = flow.desk.borrow_mut().change_reverts(|reverts| ready = reverts.due(now), None, now);
        for revert in ready {
            go_back(&flow, &revert).await;
        }
    }
}

async fn go_back(flow: &Rc<FlowShard>, revert: &Revert) {
    let settle = |postpone: bool| {
        let at = FlowShard::now().plus_ns(REVERT_AGAIN_NS);
        let change = |reverts: &mut request::Reverts| {
            if postpone { reverts.postpone(revert, at) } else { reverts.settle(revert) }
        };
        let _ = flow.desk.borrow_mut().change_reverts(change, None, FlowShard::now());
    };
    let route = flow.requests.route(&revert.request);
    let device = route.as_ref().and_then(|route| Some((route, route.device.as_ref()?)));
    let point = match &device {
        Some((_, Device::Write(writes))) => writes.points.iter().find(|point| point.envelope.tag == revert.tag),
        _ => None,
    };
    let Some(((route, _), point)) = device.as_ref().zip(point) else {
        return settle(false); // the request is no longer configured, or not for this tag: nothing may be written
    };
    let entered = route.gate.borrow_mut().enter(FlowShard::now(), None);
    let Ok(ticket) = entered else { return settle(true) };
    let done = write::go_back(flow, route, point, revert, &ticket).await;
    let outcome = done.as_ref().err().map_or(GateOutcome::Answered, |failed| failed.outcome);
    route.gate.borrow_mut().leave(ticket, outcome, FlowShard::now());
    let again = matches!(outcome, GateOutcome::Unreachable | GateOutcome::TimedOut | GateOutcome::Failed);
    settle(again);
}
