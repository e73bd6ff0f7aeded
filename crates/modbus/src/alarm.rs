//! The time that a source waits for: by a timer of its clock, where that has any, else by the
//! runtime's, which round up to the next millisecond.
//!
//! Invariant: a time that did not change costs nothing.

use env::Clock;
use env::clock::Timer;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Longest sleep; what is due later is looked at then.
const SLEEP_NS_MAX: u64 = 3_600_000_000_000;

pub(crate) struct Alarm {
    timer: Option<Box<dyn Timer>>,
    sleep: Pin<Box<Sleep>>,
    at_ns: Option<u64>,
}

impl Alarm {
    /// Set to nothing. To be called inside a runtime.
    pub(crate) fn new(clock: &dyn Clock) -> Alarm {
        Alarm { timer: clock.timer(), sleep: Box::pin(sleep(Duration::ZERO)), at_ns: None }
    }

    /// Sets when it goes off.
    pub(crate) fn set(&mut self, now_ns: u64, at_ns: u64) {
        let at_ns = at_ns.min(now_ns.saturating_add(SLEEP_NS_MAX));
        if self.timer.is_none() && (self.at_ns != Some(at_ns) || self.sleep.is_elapsed()) {
            self.sleep.as_mut().reset(Instant::now() + Duration::from_nanos(at_ns.saturating_sub(now_ns)));
        }
        self.at_ns = Some(at_ns);
    }

    /// Ready at the time that was set.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match (&mut self.timer, self.at_ns) {
            (Some(timer), Some(at_ns)) => timer.poll_at(at_ns, context),
            _ => self.sleep.as_mut().poll(context),
        }
    }
}
