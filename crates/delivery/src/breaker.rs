//! The circuit breaker: closed, open, half-open (Nygard, Release It!, 2007).
//!
//! Invariants
//! - B1: while it is open nothing passes.
//! - B2: half-open lets one trial pass at a time; a trial that nobody answers does not wedge it.
//! - B3: each trial that fails doubles the time that it stays open, up to a limit.

use model::TimestampNs;
use serde::{Deserialize, Serialize};

/// A trial without an answer counts as lost after this long, ns.
const TRIAL_NS: i64 = 600_000_000_000;

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; at least 1.
    pub failures: u32,
    /// Time that it stays open first, ns.
    pub open_ns: u64,
    /// Longest time that it stays open, ns.
    pub open_max_ns: u64,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All passes.
    Closed,
    /// Nothing passes until then.
    Open {
        /// That time.
        until: TimestampNs,
    },
    /// One trial at a time passes.
    HalfOpen,
}

impl BreakerState {
    /// The word in answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::HalfOpen => "half-open",
        }
    }
}

/// It lets nothing pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Try again then.
    pub until: TimestampNs,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: TimestampNs, wait_ns: u64 },
    HalfOpen { wait_ns: u64, trial: Option<TimestampNs> },
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(policy: BreakerPolicy) -> Breaker {
        Breaker { policy, state: State::Closed { failures: 0 } }
    }

    /// Other settings; its state stays.
    pub const fn set_policy(&mut self, policy: BreakerPolicy) {
        self.policy = policy;
    }

    /// Asks to let one call pass; answers whether it is a trial. What passes must be answered with
    /// `on_success`, `on_failure` or `on_neutral`.
    ///
    /// # Errors
    /// [`Open`]
    pub fn try_start(&mut self, now: TimestampNs) -> Result<bool, Open> {
        match self.state {
            State::Closed { .. } => Ok(false),
            State::Open { until, .. } if now < until => Err(Open { until }),
            State::Open { wait_ns, .. } => {
                self.state = State::HalfOpen { wait_ns, trial: Some(now) };
                Ok(true)
            }
            State::HalfOpen { trial: Some(since), .. } if now.0.saturating_sub(since.0) < TRIAL_NS => {
                Err(Open { until: since.plus_ns(TRIAL_NS) })
            }
            State::HalfOpen { wait_ns, .. } => {
                self.state = State::HalfOpen { wait_ns, trial: Some(now) };
                Ok(true)
            }
        }
    }

    /// When a call would pass; `None`: now.
    #[must_use]
    pub fn blocked_until(&self, now: TimestampNs) -> Option<TimestampNs> {
        match self.state {
            State::Open { until, .. } if now < until => Some(until),
            State::HalfOpen { trial: Some(since), .. } if now.0.saturating_sub(since.0) < TRIAL_NS => {
                Some(since.plus_ns(TRIAL_NS))
            }
            _ => None,
        }
    }

    /// A call succeeded: the target is there.
    pub const fn on_success(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// A call was refused for its own sake: the target is alive.
    pub const fn on_neutral(&mut self) {
        self.on_success();
    }

    /// A call failed.
    pub fn on_failure(&mut self, now: TimestampNs) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.policy.failures => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => self.open(now, self.policy.open_ns),
            // it was under way when the breaker opened, and says nothing new
            State::Open { .. } => return,
            State::HalfOpen { wait_ns, .. } => self.open(now, wait_ns.saturating_mul(2).min(self.policy.open_max_ns)),
        };
    }

    /// A call that had passed was given up without an answer; a trial may be made again.
    pub const fn abandon(&mut self) {
        if let State::HalfOpen { trial, .. } = &mut self.state {
            *trial = None;
        }
    }

    fn open(&self, now: TimestampNs, wait_ns: u64) -> State {
        let wait_ns = wait_ns.max(self.policy.open_ns.min(self.policy.open_max_ns));
        State::Open { until: now.plus_ns(i64::try_from(wait_ns).unwrap_or(i64::MAX)), wait_ns }
    }

    /// How it is.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } => BreakerState::Open { until },
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}
