//! What the journal and its snapshots say of a flow, and what a snapshot must say.

use super::{AttemptBody, Outlet, Pending, SettledBody};
use crate::trail::{self, AttemptLine};
use delivery::{Consumer, DeliveryId, Offset};

/// Deliveries whose attempts a snapshot tells, and how many of each.
const TRIED_MAX: usize = 128;
const TRIED_LINES_MAX: usize = 5;

impl Outlet {
    /// Sets where scanning goes on: everything up to here is none of its business.
    pub(crate) fn begin_at(&mut self, offset: Offset) {
        self.consumer.skip_to(offset);
        self.scanned = self.scanned.max(offset);
        self.noted = self.scanned;
    }

    /// An engine that was restored.
    pub(crate) fn restore(&mut self, consumer: Consumer) {
        self.scanned = consumer.low();
        self.noted = self.scanned;
        self.history.clear();
        self.past.clear();
        self.consumer = consumer;
    }

    /// Replays that have not ended, with what a restart needs of them.
    pub(crate) fn replays(&self) -> Vec<crate::desk::ReplayBody> {
        let ordered = self.pending.iter().filter(|(id, pending)| id.replay > 0 && !pending.letter.is_empty());
        let replay = |(id, pending): (&DeliveryId, &Pending)| crate::desk::ReplayBody {
            id: *id,
            letter: pending.letter.clone(),
            corrected: pending.corrected.clone(),
            at: pending.ordered_at.0,
        };
        ordered.map(replay).collect()
    }

    /// The newest attempts of some deliveries that were tried and have not ended.
    pub(crate) fn tried(&self) -> Vec<(DeliveryId, Vec<AttemptLine>)> {
        let lines = self.pending.iter().map(|(id, pending)| (id, &pending.attempts)).chain(&self.past);
        let tried = lines.filter(|(_, lines)| !lines.is_empty()).take(TRIED_MAX);
        tried.map(|(id, lines)| (*id, lines[lines.len().saturating_sub(TRIED_LINES_MAX)..].to_vec())).collect()
    }

    pub(crate) fn fold_settled(&mut self, body: SettledBody) {
        self.consumer.fold_settled(&body.settled);
        self.past.remove(&body.settled.id);
        self.remember(body.settled.id, body.row);
    }

    pub(crate) fn fold_attempt(&mut self, body: AttemptBody) {
        self.consumer.fold_attempted(&body.attempted);
        let lines = self.past.entry(body.attempted.id).or_default();
        // a snapshot may speak of it already
        if !lines.contains(&body.line) {
            trail::push(lines, body.line);
        }
    }

    pub(crate) fn fold_lines(&mut self, id: DeliveryId, lines: Vec<AttemptLine>) {
        self.past.insert(id, lines);
    }
}
