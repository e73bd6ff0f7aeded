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
        let mut now_ns = SystemClock.monotonic_ns();
        shard.is_back(now_ns);
        if self.lane != Lane::Telemetry {
            now_ns = shard.look_between(now_ns);
        }
        shard.begin_poll(&self.meter, now_ns);
        let polled = self.future.as_mut().poll(context);
        shard.end_poll(self.lane);
        if !shard.lane_exhausted(self.lane) {
            shard.release_one(self.lane);
        }
        polled
    }
}
