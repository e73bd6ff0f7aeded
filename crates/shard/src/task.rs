//! A lower-lane task: telemetry first, then one measured poll.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use env::Clock;
use uring::clock::SystemClock;

use crate::{context::ShardContext, lane::Lane, meter::StageMeter, parking::Ticket};

/// A future in a lane; see [`ShardContext::spawn`].
#[must_use = "a future does nothing until it is polled"]
pub struct Measured<F> {
    context: ShardContext,
    lane: Lane,
    meter: Rc<StageMeter>,
    /// Its place in the line of those whose lane has used up its budget.
    ticket: Option<Ticket>,
    /// Boxed, so that it needs no pin projection; one allocation a task, as spawning makes one.
    future: Pin<Box<F>>,
}

impl<F> Measured<F> {
    pub(crate) fn new(context: ShardContext, lane: Lane, meter: Rc<StageMeter>, future: F) -> Measured<F> {
        Measured { context, lane, meter, ticket: None, future: Box::pin(future) }
    }
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let shard = self.context.clone();
        if shard.lane_exhausted(self.lane) {
            let lane = self.lane;
            shard.wait_in_line(lane, &mut self.ticket, context.waker());
            return Poll::Pending;
        }
        if self.lane != Lane::Telemetry {
            shard.look_between();
        }
        let from_ns = shard.begin_slice();
        let allocated = ring::allocations();
        let polled = self.future.as_mut().poll(context);
        self.meter.allocated_since(allocated);
        let to_ns = SystemClock.monotonic_ns();
        let took_ns = to_ns.saturating_sub(from_ns);
        shard.spend(self.lane, took_ns);
        self.meter.record(shard.id(), took_ns, shard.inner.settings.quantum_ns, to_ns);
        if !shard.lane_exhausted(self.lane) {
            shard.release_one(self.lane);
        }
        polled
    }
}
