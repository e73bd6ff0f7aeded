//! What is started, and what ends by itself.

use super::Consumer;
use crate::breaker::BreakerState;
use crate::end::{Action, End};
use crate::policy::DeliveryId;
use crate::rate::BACKLOG_AGE_NS;
use model::TimestampNs;

/// Keys that one poll looks at while the rate holds backlog back.
const THROTTLED_LOOKS_MAX: usize = 64;

impl Consumer {
    /// Says what to do now. Ends come first, so that what they make room for starts behind them.
    pub fn poll(&mut self, now: TimestampNs, out: &mut Vec<Action>) {
        self.supersede(out);
        self.expire(now, out);
        while let Some((due, key)) = self.waits.first().copied().filter(|(due, _)| *due <= now) {
            self.waits.remove(&(due, key));
            let head = self.keys.get(&key).and_then(|entry| entry.queue.front().copied());
            if let Some(held) = head.and_then(|id| self.held.get_mut(&id)) {
                held.next = None;
            }
            self.give_turn(key);
        }
        if !self.paused {
            self.start(now, out);
        }
    }

    /// Older items of a key that are not under way end: the newest one goes out instead.
    fn supersede(&mut self, out: &mut Vec<Action>) {
        while let Some(key) = self.crowded.pop_first() {
            let Some(entry) = self.keys.get(&key) else { continue };
            let first = |id: &&DeliveryId| id.replay == 0;
            let Some(by) = entry.queue.iter().filter(first).map(|id| id.offset).max() else { continue };
            let is_idle = |id: &&DeliveryId| self.held.get(id).is_some_and(|held| !held.in_flight);
            let older = entry.queue.iter().filter(first).filter(|id| id.offset < by).filter(is_idle);
            for id in older.copied().collect::<Vec<_>>() {
                self.end(id, End::Superseded { by }, out);
            }
        }
    }

    /// What is under way is judged when its answer is there.
    fn expire(&mut self, now: TimestampNs, out: &mut Vec<Action>) {
        while let Some((due, id)) = self.expiries.first().copied().filter(|(due, _)| *due <= now) {
            self.expiries.remove(&(due, id));
            self.end(id, End::Expired, out);
        }
    }

    fn start(&mut self, now: TimestampNs, out: &mut Vec<Action>) {
        self.throttled = None;
        let (mut looks, mut from) = (0, 0);
        while self.in_flight < self.concurrency() && looks < THROTTLED_LOOKS_MAX {
            if self.breaker.blocked_until(now).is_some() {
                break;
            }
            let Some((turn, id)) = self.next_ready(from) else { break };
            let time = self.held.get(&id).map_or(now, |held| held.item.time);
            if now.0.saturating_sub(time.0) > BACKLOG_AGE_NS
                && let Some(Err(until)) = self.bucket.as_mut().map(|bucket| bucket.take(now))
            {
                // it keeps its turn
                self.throttled = Some(until);
                from = turn + 1;
                looks += 1;
                continue;
            }
            let Ok(is_trial) = self.breaker.try_start(now) else { break };
            self.start_one(id, is_trial, out);
        }
    }

    pub(super) fn concurrency(&self) -> u32 {
        self.policy.concurrency.max(1)
    }

    /// The next key whose head may start, from a turn on; in a trial, another than the one that
    /// failed last where there is one. That one keeps its turn.
    fn next_ready(&self, from: u64) -> Option<(u64, DeliveryId)> {
        let mut turns = self.ready.range(from..);
        let first = turns.next()?;
        let is_trial = !matches!(self.breaker.state(), BreakerState::Closed);
        let passed_over = is_trial && self.last_failed == Some(*first.1);
        let (turn, key) = if passed_over { turns.next().unwrap_or(first) } else { first };
        let head = self.keys.get(key).and_then(|entry| entry.queue.front().copied());
        head.map(|id| (*turn, id))
    }

    fn start_one(&mut self, id: DeliveryId, is_trial: bool, out: &mut Vec<Action>) {
        let Some(held) = self.held.get_mut(&id) else { return };
        self.retrying -= u64::from(held.is_retrying());
        held.in_flight = true;
        held.attempts += 1;
        held.probing = held.in_doubt && self.policy.probe;
        if let Some(due) = held.expires {
            self.expiries.remove(&(due, id));
        }
        let (attempt, probe, timeout_ns) = (held.attempts, held.probing, self.policy.timeout_ns);
        let key = held.item.key;
        self.in_flight += 1;
        self.trial = if is_trial { Some(id) } else { self.trial };
        self.give_turn(key);
        out.push(Action::Start { id, attempt, probe, timeout_ns });
    }

    /// When [`poll`](Self::poll) must run again even if nothing happens; `None`: not at all.
    #[must_use]
    pub fn deadline(&self, now: TimestampNs) -> Option<TimestampNs> {
        if !self.crowded.is_empty() {
            return Some(now);
        }
        let expiry = self.expiries.first().map(|(due, _)| *due);
        let wait = self.waits.first().map(|(due, _)| *due);
        let may_start = !self.paused && !self.ready.is_empty() && self.in_flight < self.concurrency();
        let start = may_start.then(|| {
            let blocked = self.breaker.blocked_until(now);
            blocked.into_iter().chain(self.throttled.filter(|until| *until > now)).max().unwrap_or(now)
        });
        [expiry, wait, start].into_iter().flatten().min()
    }
}
