//! What comes back.

use super::Consumer;
use crate::backoff::backoff_ns;
use crate::breaker::BreakerState;
use crate::end::{Action, Attempted, DeadReason, End, Outcome};
use crate::policy::{DeliveryId, Policy};
use model::TimestampNs;

/// What a failed attempt says.
#[derive(Clone, Copy)]
struct Failure {
    retry_after_ns: Option<u64>,
    /// The target answered: it counts against the item.
    is_answer: bool,
    /// It may have taken effect.
    in_doubt: bool,
}

impl Consumer {
    /// Takes what came of an attempt. An answer to what is not under way is ignored.
    pub fn on_outcome(&mut self, id: DeliveryId, outcome: Outcome, now: TimestampNs, out: &mut Vec<Action>) {
        if !self.land(id) {
            return;
        }
        let failure = |retry_after_ns| Failure { retry_after_ns, is_answer: false, in_doubt: false };
        match outcome {
            Outcome::Delivered | Outcome::ProbeDone => {
                self.alive();
                self.end(id, End::Delivered, out);
            }
            Outcome::Rejected => {
                self.alive();
                self.end(id, End::Dead { reason: DeadReason::Rejected }, out);
            }
            Outcome::Unmapped => {
                self.give_up_trial(id);
                self.end(id, End::Dead { reason: DeadReason::Rejected }, out);
            }
            Outcome::ProbeNotDone => {
                self.alive();
                self.doubt(id, false);
                self.rest(id);
            }
            Outcome::Failed { retry_after_ns } => {
                self.failed(id, Failure { is_answer: true, ..failure(retry_after_ns) }, now, out);
            }
            Outcome::Unavailable { retry_after_ns } => self.failed(id, failure(retry_after_ns), now, out),
            Outcome::InDoubt | Outcome::ProbeUnknown => {
                self.failed(id, Failure { in_doubt: true, ..failure(None) }, now, out);
            }
        }
    }

    /// Gives an attempt up without an answer, as at a shutdown: the item waits again, uncounted. It
    /// may have taken effect.
    pub fn abandon(&mut self, id: DeliveryId) {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.in_flight) else { return };
        held.attempts = held.attempts.saturating_sub(1);
        self.give_up_trial(id);
        self.land(id);
        self.doubt(id, true);
        self.rest(id);
    }

    /// If it was the trial, it said nothing of the target: another one may be.
    fn give_up_trial(&mut self, id: DeliveryId) {
        if self.trial == Some(id) {
            self.trial = None;
            self.breaker.abandon();
        }
    }

    /// The target said something that shows it alive: the breaker closes, and no trial is under way.
    const fn alive(&mut self) {
        self.trial = None;
        self.breaker.on_success();
    }

    /// An item is no longer under way; answers whether it was.
    fn land(&mut self, id: DeliveryId) -> bool {
        let Some(held) = self.held.get_mut(&id).filter(|held| held.in_flight) else { return false };
        held.in_flight = false;
        self.in_flight -= 1;
        self.retrying += u64::from(held.is_retrying());
        true
    }

    /// An item that has landed and has not ended waits again.
    fn rest(&mut self, id: DeliveryId) {
        let Some(held) = self.held.get(&id) else { return };
        let key = held.item.key;
        self.expiries.extend(held.expires.map(|due| (due, id)));
        self.waits.extend(held.next.map(|next| (next, key)));
        if self.policy.coalesce && self.keys.get(&key).is_some_and(|entry| entry.queue.len() > 1) {
            self.crowded.insert(key);
        }
        self.give_turn(key);
    }

    fn doubt(&mut self, id: DeliveryId, in_doubt: bool) {
        if let Some(held) = self.held.get_mut(&id) {
            self.in_doubt = self.in_doubt + u64::from(in_doubt) - u64::from(held.in_doubt);
            held.in_doubt = in_doubt;
        }
    }

    fn failed(&mut self, id: DeliveryId, failure: Failure, now: TimestampNs, out: &mut Vec<Action>) {
        self.counts.failed_attempts += 1;
        let Some(held) = self.held.get(&id) else { return };
        // what was under way when the breaker opened is not the trial and says nothing of it
        if self.trial == Some(id) || self.breaker.state() != BreakerState::HalfOpen {
            self.trial = None;
            self.breaker.on_failure(now);
        }
        // only an answer to the item itself settles an older doubt
        let was_in_doubt = held.in_doubt && (held.probing || !failure.is_answer);
        self.doubt(id, failure.in_doubt || was_in_doubt);
        let Some(held) = self.held.get_mut(&id) else { return };
        self.last_failed = Some(held.item.key);
        let delivered = self.counts.delivered;
        let others_came_through = held.seen_delivered.is_some_and(|seen| delivered > seen);
        let counts = failure.is_answer || others_came_through;
        held.counted += u32::from(counts);
        held.seen_delivered = Some(delivered);
        held.failures = held.failures.saturating_add(1);
        if counts && held.counted >= self.policy.attempts {
            let reason = DeadReason::Attempts { counted: held.counted };
            return self.end(id, End::Dead { reason }, out);
        }
        if held.expires.is_some_and(|expires| expires <= now) {
            return self.end(id, End::Expired, out);
        }
        let Policy { first_ns, max_ns, .. } = self.policy;
        let wait_ns = backoff_ns(held.failures, first_ns, max_ns, failure.retry_after_ns, &mut self.random);
        let next = now.plus_ns(i64::try_from(wait_ns).unwrap_or(i64::MAX).max(1));
        held.next = Some(next);
        let (attempt, counted, in_doubt) = (held.attempts, held.counted, held.in_doubt);
        self.rest(id);
        out.push(Action::Attempted(Attempted { id, attempt, counted, in_doubt, next_ns: next.0 }));
    }
}
