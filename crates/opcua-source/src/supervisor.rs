//! What to do when the server is silent, gone, or back: the recovery ladder of one source.
//!
//! A pure state machine: events with the time of two clocks go in, actions come out. The ladder
//! (OPC 10000-4, 6.7): connect anew and reactivate the session; if the subscriptions still stand,
//! republish what is missing; else make everything anew. Between attempts it backs off, from 0.5 s
//! to 30 s, with jitter from a random number that the caller passes in.
//!
//! Invariants
//! - V1: the watchdog looks at each subscription, not at the connection: every one must be heard of
//!   (data or keep-alive) within the watchdog time.
//! - V2: while nothing was heard for the watchdog time, whatever the reason, the tags are marked Bad
//!   once, and a gap is said at once and then at least every [`GAP_EVERY_NS`], up to the end.
//! - V3: whenever subscriptions were made anew after data had flowed, a gap covers the time between.
//!   A short outage that ends with the old subscriptions and all messages has none: nothing is missing.
//! - V4: a session that resumes and stays silent is not resumed a second time; all is made anew.
//!
//! What it does not do: no I/O, no clock, no randomness of its own.

use model::TimestampNs;
use std::collections::BTreeMap;

/// First wait between attempts, in nanoseconds.
const BACKOFF_FIRST_NS: u64 = 500_000_000;
/// Longest wait between attempts, in nanoseconds.
const BACKOFF_MAX_NS: u64 = 30_000_000_000;
/// A gap that goes on is said at least this often, in nanoseconds, so that what is known of it is durable.
pub(crate) const GAP_EVERY_NS: u64 = 10_000_000_000;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// Monotonic nanoseconds.
    pub(crate) mono: u64,
    /// Wall time.
    pub(crate) wall: TimestampNs,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Begin.
    Start,
    /// A session is there: the old one again, or a new one.
    Up {
        /// The old session was reactivated; its subscriptions may still stand.
        reactivated: bool,
    },
    /// The connection is gone, or could not be made.
    Down,
    /// Subscriptions with these ids were made and filled.
    Prepared {
        /// Their ids.
        subscriptions: Vec<u32>,
    },
    /// The old subscriptions answered Republish.
    Resumed,
    /// Making or resuming subscriptions failed on a session that still stands.
    Failed,
    /// A subscription sent data or a keep-alive.
    Heard {
        /// Which.
        subscription: u32,
    },
    /// The server does not know a subscription any more.
    SubscriptionGone,
    /// The server does not know the session any more.
    SessionGone,
    /// Requests have no answer: the connection is to be made anew, the subscriptions may stand.
    Sick,
    /// We ourselves hold back requests; silence says nothing about the server.
    Held,
    /// Time went by.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make or remake the connection and session.
    Connect,
    /// Republish on the old subscriptions, then go on with them.
    Resume,
    /// Make subscriptions and items anew.
    Prepare,
    /// Close the connection, keeping the session; `Down` is expected.
    Close,
    /// Drop connection and session, whatever state they are in; no event is expected.
    Abandon,
    /// Turn every tag Bad (BadNoCommunication).
    MarkBad,
    /// Read the current value of every tag: some were marked Bad and may not change by themselves.
    Reread,
    /// Say a gap, half-open.
    Gap {
        /// From this wall time.
        from: TimestampNs,
        /// To this one.
        to: TimestampNs,
    },
}

/// Times that the machine keeps, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Longest silence of a subscription.
    pub(crate) watchdog_ns: u64,
    /// A connection that was told to close is abandoned after this.
    pub(crate) close_ns: u64,
    /// An attempt to connect is abandoned after this.
    pub(crate) connect_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting { until: u64, connect: bool },
    Connecting { since: u64 },
    Preparing,
    Resuming,
    Running,
    Closing { since: u64 },
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Supervisor {
    timing: Timing,
    /// The configured watchdog time, in nanoseconds.
    watchdog_ns: u64,
    phase: Phase,
    attempts: u32,
    /// When each subscription was last heard of; empty while there are none.
    heard: BTreeMap<u32, Now>,
    /// Where an outage that is not said yet would begin.
    seen: Now,
    /// The outage is said: since here a gap is still to be said.
    said: Option<Now>,
    /// Data flowed at some time.
    flowed: bool,
    /// Resumed, but nothing was heard since.
    unproven: bool,
    /// The next session starts with new subscriptions, even if the old ones may stand.
    distrust: bool,
}

impl Supervisor {
    /// A machine that has not begun.
    pub(crate) const fn new(timing: Timing, now: Now) -> Supervisor {
        Supervisor {
            timing,
            watchdog_ns: timing.watchdog_ns,
            phase: Phase::Idle,
            attempts: 0,
            heard: BTreeMap::new(),
            seen: now,
            said: None,
            flowed: false,
            unproven: false,
            distrust: false,
        }
    }

    /// Whether subscriptions stand and Publish requests should go out.
    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// When the next attempt is due, in monotonic nanoseconds, while one is waited for.
    pub(crate) const fn next_attempt(&self) -> Option<u64> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            _ => None,
        }
    }

    /// When a [`Event::Tick`] is due at the latest, in monotonic nanoseconds.
    pub(crate) fn deadline(&self) -> u64 {
        let phase = match self.phase {
            Phase::Waiting { until, .. } => until,
            Phase::Connecting { since } => since + self.timing.connect_ns,
            Phase::Closing { since } => since + self.timing.close_ns,
            Phase::Running => return self.oldest().mono + self.timing.watchdog_ns,
            Phase::Idle | Phase::Preparing | Phase::Resuming => u64::MAX,
        };
        let outage = match self.said {
            Some(from) => from.mono + GAP_EVERY_NS,
            None => self.seen.mono + self.timing.watchdog_ns,
        };
        phase.min(outage)
    }

    /// The server keeps alive no oftener than this: silence of up to twice that is no failure.
    pub(crate) fn expect_keep_alive(&mut self, keep_alive_ns: u64) {
        self.timing.watchdog_ns = self.watchdog_ns.max(keep_alive_ns.saturating_mul(2));
    }

    /// A further subscription was made beside the others.
    pub(crate) fn adopt(&mut self, now: Now, subscription: u32) {
        if self.phase == Phase::Running {
            self.heard.insert(subscription, now);
        }
    }

    /// Takes an event; `random` is any number, used for jitter.
    pub(crate) fn on(&mut self, now: Now, random: u64, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start => {
                if self.phase == Phase::Idle {
                    self.seen = now;
                    self.connect(now, &mut actions);
                }
            }
            Event::Up { reactivated } => self.on_up(reactivated, &mut actions),
            Event::Down => self.wait(now, random, true),
            Event::Prepared { subscriptions } => self.on_prepared(now, subscriptions, &mut actions),
            Event::Resumed => self.on_resumed(now, &mut actions),
            Event::Failed => self.on_failed(now, random),
            Event::Heard { subscription } => self.on_heard(now, subscription),
            Event::SubscriptionGone => {
                if matches!(self.phase, Phase::Running | Phase::Resuming) {
                    self.wait(now, random, false);
                    self.heard.clear();
                }
            }
            Event::SessionGone => {
                if !matches!(self.phase, Phase::Idle | Phase::Waiting { connect: true, .. } | Phase::Connecting { .. })
                {
                    self.close(now, &mut actions);
                    self.heard.clear();
                }
            }
            Event::Sick => {
                if matches!(self.phase, Phase::Running | Phase::Resuming | Phase::Preparing) {
                    self.close(now, &mut actions);
                }
            }
            Event::Held => {
                if self.phase == Phase::Running {
                    self.heard.values_mut().for_each(|at| *at = now);
                }
            }
            Event::Tick => self.on_tick(now, random, &mut actions),
        }
        self.watch_outage(now, &mut actions);
        actions
    }

    fn on_up(&mut self, reactivated: bool, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return;
        }
        if reactivated && !self.heard.is_empty() && !self.distrust {
            self.phase = Phase::Resuming;
            actions.push(Action::Resume);
        } else {
            self.heard.clear();
            self.phase = Phase::Preparing;
            actions.push(Action::Prepare);
        }
    }

    fn on_prepared(&mut self, now: Now, subscriptions: Vec<u32>, actions: &mut Vec<Action>) {
        if self.phase != Phase::Preparing {
            return;
        }
        let missing = self.flowed || self.said.is_some();
        self.end_outage(now, missing, actions);
        self.heard = subscriptions.into_iter().map(|id| (id, now)).collect();
        self.phase = Phase::Running;
        self.flowed = true;
        self.unproven = false;
        self.distrust = false;
    }

    fn on_resumed(&mut self, now: Now, actions: &mut Vec<Action>) {
        if self.phase != Phase::Resuming {
            return;
        }
        let said = self.said.is_some();
        self.end_outage(now, said, actions);
        if said {
            actions.push(Action::Reread);
        }
        self.heard.values_mut().for_each(|at| *at = now);
        self.phase = Phase::Running;
        self.unproven = true;
    }

    fn on_failed(&mut self, now: Now, random: u64) {
        if matches!(self.phase, Phase::Preparing | Phase::Resuming) {
            self.wait(now, random, false);
            self.heard.clear();
        }
    }

    fn on_heard(&mut self, now: Now, subscription: u32) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(at) = self.heard.get_mut(&subscription) {
            *at = now;
            self.attempts = 0;
            self.unproven = false;
        }
    }

    fn on_tick(&mut self, now: Now, random: u64, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Waiting { until, connect } if until <= now.mono => {
                if connect {
                    self.connect(now, actions);
                } else {
                    self.phase = Phase::Preparing;
                    actions.push(Action::Prepare);
                }
            }
            Phase::Running if self.oldest().mono + self.timing.watchdog_ns <= now.mono => {
                self.distrust = self.unproven;
                self.close(now, actions);
            }
            Phase::Closing { since } if since + self.timing.close_ns <= now.mono => {
                self.abandon(now, random, actions);
            }
            Phase::Connecting { since } if since + self.timing.connect_ns <= now.mono => {
                self.abandon(now, random, actions);
            }
            _ => {}
        }
    }

    fn connect(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.phase = Phase::Connecting { since: now.mono };
        actions.push(Action::Connect);
    }

    fn close(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.leave_running();
        self.phase = Phase::Closing { since: now.mono };
        actions.push(Action::Close);
    }

    fn abandon(&mut self, now: Now, random: u64, actions: &mut Vec<Action>) {
        self.wait(now, random, true);
        self.heard.clear();
        actions.push(Action::Abandon);
    }

    /// Backs off before the next step.
    fn wait(&mut self, now: Now, random: u64, connect: bool) {
        self.leave_running();
        let full = (BACKOFF_FIRST_NS << self.attempts.min(6)).min(BACKOFF_MAX_NS);
        let until = now.mono + full / 2 + random % (full / 2 + 1);
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Waiting { until, connect };
    }

    fn leave_running(&mut self) {
        if self.phase == Phase::Running {
            self.seen = self.oldest();
        }
    }

    /// When the subscription that was silent longest was last heard of.
    fn oldest(&self) -> Now {
        self.heard.values().copied().min_by_key(|at| at.mono).unwrap_or(self.seen)
    }

    fn watch_outage(&mut self, now: Now, actions: &mut Vec<Action>) {
        if matches!(self.phase, Phase::Running | Phase::Idle) {
            return;
        }
        match self.said {
            None if self.seen.mono + self.timing.watchdog_ns <= now.mono => {
                actions.push(Action::MarkBad);
                push_gap(self.seen, now, actions);
                self.said = Some(now);
            }
            Some(from) if from.mono + GAP_EVERY_NS <= now.mono => {
                push_gap(from, now, actions);
                self.said = Some(now);
            }
            _ => {}
        }
    }

    fn end_outage(&mut self, now: Now, missing: bool, actions: &mut Vec<Action>) {
        if missing {
            push_gap(self.said.unwrap_or(self.seen), now, actions);
        }
        self.said = None;
        self.seen = now;
    }
}

/// A gap between two moments; none where the wall clock went back over it.
fn push_gap(from: Now, to: Now, actions: &mut Vec<Action>) {
    if from.wall < to.wall {
        actions.push(Action::Gap { from: from.wall, to: to.wall });
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
