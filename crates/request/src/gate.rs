//! The way in to one named request: bulkhead, breaker, deadline, counts.
//!
//! Invariants
//! - G1: calls under way are at most `max_in_flight`; there is no queue (Q1).
//! - G2: a ticket's deadline is at most the flow's timeout away, and at most what the caller asked
//!   for (Q2).
//! - G3: what says nothing of the system says nothing to its breaker: a caller who gave up or who
//!   gave less time than the flow allows cannot open it for the others.
//!
//! It deliberately keeps no latencies: its owner has a histogram for them.

use crate::{
    failure::{Failure, System},
    span,
};
use delivery::{Breaker, BreakerPolicy, BreakerState};
use model::TimestampNs;
use serde::Serialize;
use std::{fmt, time::Duration};

/// Settings of a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct GatePolicy {
    /// Longest time for an answer, ns.
    pub timeout_ns: u64,
    /// Calls that may be under way at once; at least 1.
    pub max_in_flight: u32,
    /// When the circuit opens.
    pub breaker: BreakerPolicy,
}

/// Leave to make one call. It must be given back with [`Gate::leave`], whatever came of it.
#[must_use = "a ticket that is not given back holds its place for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    /// When the caller must have its answer.
    pub deadline: TimestampNs,
    /// Whether this call tries out if the system is back.
    pub trial: bool,
    /// Whether the caller asked for less time than the flow allows.
    pub shortened: bool,
}

impl Ticket {
    /// Time that is left, to be handed on to the system asked; `None` when it is over.
    #[must_use]
    pub fn remaining(&self, now: TimestampNs) -> Option<Duration> {
        let left = self.deadline.0.saturating_sub(now.0);
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_nanos)
    }
}

/// Why a call may not be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateRefusal {
    /// As many calls as may be are under way.
    Busy {
        /// How many may be.
        limit: u32,
    },
    /// The system failed several times in a row; it is left alone for a while.
    Open {
        /// When it is tried again.
        until: TimestampNs,
        /// Which.
        system: System,
    },
    /// The caller gave no time.
    NoTime,
}

impl GateRefusal {
    /// What the caller hears.
    #[must_use]
    pub fn failure(&self, now: TimestampNs) -> Failure {
        match self {
            GateRefusal::Busy { limit } => Failure::Busy { limit: *limit },
            GateRefusal::Open { until, system } => {
                let left = until.0.saturating_sub(now.0).max(0).unsigned_abs();
                Failure::CircuitOpen { system: system.clone(), retry_after_ns: left }
            }
            GateRefusal::NoTime => Failure::NoTime,
        }
    }
}

impl fmt::Display for GateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateRefusal::Busy { limit } => write!(f, "{limit} calls are under way, as many as may be; try again soon"),
            GateRefusal::Open { until, system } => {
                write!(f, "{system} failed several times in a row and is left alone until {until}")
            }
            GateRefusal::NoTime => f.write_str("the caller allows no time for an answer; ask for at least a second"),
        }
    }
}

impl std::error::Error for GateRefusal {}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOutcome {
    /// A good answer.
    Answered,
    /// The system refused the call for its own sake (4xx): it is alive.
    Refused,
    /// The system said that it failed (5xx), or that it takes no more now (429).
    Failed,
    /// It could not be reached.
    Unreachable,
    /// The deadline passed without an answer.
    TimedOut,
    /// It answered what cannot be understood.
    BadAnswer,
    /// The call never left: our own mapping or envelope refused it.
    NotSent,
    /// The caller went away.
    Abandoned,
}

/// How many calls came to what, since the gate was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GateCounts {
    /// Good answers.
    pub answered: u64,
    /// Refused by the system.
    pub refused: u64,
    /// The system failed.
    pub failed: u64,
    /// Not reached.
    pub unreachable: u64,
    /// Deadlines passed.
    pub timed_out: u64,
    /// Answers not understood.
    pub bad_answers: u64,
    /// Never left.
    pub not_sent: u64,
    /// Callers gone.
    pub abandoned: u64,
    /// Refused here: as many as may be were under way.
    pub busy: u64,
    /// Refused here: the circuit was open.
    pub open: u64,
    /// Refused here: no time given.
    pub no_time: u64,
}

/// One named request's way in.
#[derive(Clone, Debug)]
pub struct Gate {
    policy: GatePolicy,
    system: System,
    breaker: Breaker,
    in_flight: u32,
    counts: GateCounts,
}

impl Gate {
    /// A gate with nobody in it and a closed circuit.
    #[must_use]
    pub fn new(policy: GatePolicy, system: System) -> Gate {
        let breaker = Breaker::new(policy.breaker);
        Gate { policy, system, breaker, in_flight: 0, counts: GateCounts::default() }
    }

    /// Other settings; who is inside stays there.
    pub fn set_policy(&mut self, policy: GatePolicy, system: System) {
        self.breaker.set_policy(policy.breaker);
        self.policy = policy;
        self.system = system;
    }

    /// Asks to make a call; `asked` is how long the caller will wait, `None` as long as the flow does.
    ///
    /// # Errors
    /// [`GateRefusal`], at once: nothing waits here.
    pub fn enter(&mut self, now: TimestampNs, asked: Option<Duration>) -> Result<Ticket, GateRefusal> {
        let asked_ns = asked.map(|asked| u64::try_from(asked.as_nanos()).unwrap_or(u64::MAX));
        let time_ns = asked_ns.unwrap_or(u64::MAX).min(self.policy.timeout_ns);
        if time_ns == 0 {
            self.counts.no_time += 1;
            return Err(GateRefusal::NoTime);
        }
        // a trial is under way: it ends by its deadline, and then the circuit is another
        let trial_ends =
            (self.breaker.state() == BreakerState::HalfOpen).then(|| now.plus_ns(signed(self.policy.timeout_ns)));
        let open = |until: TimestampNs| {
            let until = trial_ends.map_or(until, |ends| ends.min(until));
            GateRefusal::Open { until, system: self.system.clone() }
        };
        if let Some(until) = self.breaker.blocked_until(now) {
            self.counts.open += 1;
            return Err(open(until));
        }
        // a place first: the breaker's only trial must not go to a call that is refused
        let limit = self.policy.max_in_flight.max(1);
        if self.in_flight >= limit {
            self.counts.busy += 1;
            return Err(GateRefusal::Busy { limit });
        }
        let trial = self.breaker.try_start(now).map_err(|refused| {
            self.counts.open += 1;
            open(refused.until)
        })?;
        self.in_flight += 1;
        let deadline = now.plus_ns(signed(time_ns));
        Ok(Ticket { deadline, trial, shortened: time_ns < self.policy.timeout_ns })
    }

    /// Gives a ticket back.
    pub fn leave(&mut self, ticket: Ticket, outcome: GateOutcome, now: TimestampNs) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.count(outcome);
        match outcome {
            GateOutcome::Answered => self.breaker.on_success(),
            GateOutcome::Refused => self.breaker.on_neutral(),
            GateOutcome::NotSent | GateOutcome::Abandoned => self.say_nothing(&ticket),
            GateOutcome::TimedOut if ticket.shortened => self.say_nothing(&ticket),
            GateOutcome::Failed | GateOutcome::Unreachable | GateOutcome::TimedOut | GateOutcome::BadAnswer => {
                // a call of before the circuit opened says nothing new of the trial under way
                if ticket.trial || self.breaker.state() == BreakerState::Closed {
                    self.breaker.on_failure(now);
                }
            }
        }
    }

    fn say_nothing(&mut self, ticket: &Ticket) {
        if ticket.trial {
            self.breaker.abandon();
        }
    }

    fn count(&mut self, outcome: GateOutcome) {
        let counts = &mut self.counts;
        *match outcome {
            GateOutcome::Answered => &mut counts.answered,
            GateOutcome::Refused => &mut counts.refused,
            GateOutcome::Failed => &mut counts.failed,
            GateOutcome::Unreachable => &mut counts.unreachable,
            GateOutcome::TimedOut => &mut counts.timed_out,
            GateOutcome::BadAnswer => &mut counts.bad_answers,
            GateOutcome::NotSent => &mut counts.not_sent,
            GateOutcome::Abandoned => &mut counts.abandoned,
        } += 1;
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How the circuit is.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What came of the calls so far.
    #[must_use]
    pub fn counts(&self) -> GateCounts {
        self.counts
    }

    /// Whom it asks.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.system
    }

    /// The failure of a call whose deadline passed.
    #[must_use]
    pub fn timeout(&self, ticket: &Ticket, entered: TimestampNs) -> Failure {
        let after_ns = ticket.deadline.0.saturating_sub(entered.0).max(0).unsigned_abs();
        Failure::Timeout { system: self.system.clone(), after_ns, shortened: ticket.shortened }
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

impl fmt::Display for Gate {
    /// `3 of 64 under way, circuit closed, 2 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GatePolicy { timeout_ns, max_in_flight, .. } = &self.policy;
        let word = self.breaker.state().word();
        write!(f, "{} of {max_in_flight} under way, circuit {word}, {}", self.in_flight, span::words(*timeout_ns))
    }
}
