//! Showing messages to flows: from memory where they are near, from the journal where they are not.

use super::Desk;
use crate::entry::EntryKind;
use crate::journal;
use crate::message::Message;
use crate::outlet::Shown;
use delivery::Offset;
use env::disk::Storage;
use log::Span;
use model::{Glob, TimestampNs};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of the journal that are read at once for one flow.
const READ_BYTES: u64 = 2 << 20;
/// Messages that are shown to flows in one step: each may cost the evaluation of two expressions.
const FED_PER_STEP: usize = 4;

/// A read of the journal that a flow needs, to be done where it may block.
#[derive(Clone, Debug)]
pub struct ReadWanted {
    /// Which flow.
    pub flow: usize,
    /// What to read.
    pub spans: Vec<Span>,
    /// Only what lies behind this.
    pub after: Offset,
    /// At most so many messages.
    pub limit: usize,
    wanted: crate::spec::Wanted,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which flow.
    pub flow: usize,
    /// Messages of the flow's streams, in order.
    pub messages: Vec<Message>,
    /// Everything up to here was read.
    pub upto: Offset,
    /// Why not everything could be read.
    pub failed: Option<String>,
}

impl ReadWanted {
    /// Reads; blocks.
    #[must_use]
    pub fn run(&self, storage: &dyn Storage) -> Reading {
        let mut messages = Vec::new();
        let end = self.spans.last().map_or(self.after, |span| Offset(span.to.0));
        let mut upto = self.after;
        let outcome = journal::read(storage, &self.spans, &mut |stored| {
            if stored.offset <= self.after {
                return ControlFlow::Continue(());
            }
            if messages.len() >= self.limit {
                return ControlFlow::Break(());
            }
            upto = stored.offset;
            if stored.kind == EntryKind::Message && self.wanted.takes(stored.stream()) {
                messages.extend(Message::read(&stored));
            }
            ControlFlow::Continue(())
        });
        if messages.len() < self.limit {
            upto = upto.max(end); // damaged batches and other entries behind the last message
        }
        match outcome {
            Ok(_) => Reading { flow: self.flow, messages, upto, failed: None },
            Err(failed) => Reading { flow: self.flow, messages, upto, failed: Some(failed) },
        }
    }

    /// Only tags below this glob matter, or one stream: for tests that count what is read.
    #[must_use]
    pub const fn glob(&self) -> Option<&Glob> {
        match &self.wanted {
            crate::spec::Wanted::Tags(glob) => Some(glob),
            crate::spec::Wanted::Stream(_) => None,
        }
    }
}

impl Desk {
    /// Shows recent messages to the flows that have reached them, in turn.
    pub(super) fn feed(&mut self, now: TimestampNs) -> usize {
        let (committed, dropped) = (self.committed, self.dropped);
        let mut shown = 0;
        for _ in 0..self.outlets.len() {
            if shown >= FED_PER_STEP {
                break;
            }
            let flow = self.next_fed % self.outlets.len();
            self.next_fed = flow + 1;
            let outlet = &mut self.outlets[flow];
            if outlet.scanned() >= committed || outlet.scanned() < dropped || outlet.reading {
                continue;
            }
            let scanned = outlet.scanned();
            let at = self.recent.partition_point(|message| message.offset <= scanned);
            let before = shown;
            let mut is_all = true;
            for message in self.recent.range(at..) {
                if shown >= FED_PER_STEP || outlet.show(message, now) == Shown::Full {
                    is_all = false;
                    break;
                }
                (self.wants.pause)();
                shown += 1;
            }
            if is_all {
                outlet.scanned_to(committed);
            }
            if shown > before {
                self.mark(flow);
            }
        }
        shown
    }

    /// Reads that are wanted now; each is answered with [`on_read`](Self::on_read).
    pub fn wanted_reads(&mut self) -> Vec<ReadWanted> {
        let dropped = self.dropped;
        let mut wanted = Vec::new();
        for (flow, outlet) in self.outlets.iter_mut().enumerate() {
            // most flows are never so far behind: nothing else is asked of those
            if outlet.scanned() >= dropped || outlet.reading || outlet.paused().is_some() {
                continue;
            }
            let room = outlet.consumer.room();
            if room * 4 < outlet.spec.policy.window as usize {
                continue;
            }
            let spans = self.journal.spans_after(outlet.scanned(), READ_BYTES);
            if spans.is_empty() {
                // behind a crash, the newest entries are read once they are durable again (J11)
                if self.journal.durable() >= dropped {
                    outlet.scanned_to(dropped);
                }
                continue;
            }
            outlet.reading = true;
            let after = outlet.scanned();
            wanted.push(ReadWanted { flow, spans, after, limit: room, wanted: outlet.spec.wanted.clone() });
        }
        wanted
    }

    /// What a read found; shown to its flow.
    pub fn on_read(&mut self, reading: Reading, now: TimestampNs) {
        let Some(outlet) = self.outlets.get_mut(reading.flow) else { return };
        outlet.reading = false;
        if let Some(failed) = reading.failed {
            outlet.stats.on_failure(failed, now);
            return;
        }
        let all = reading.messages.into_iter().all(|message| outlet.show(&Arc::new(message), now) == Shown::Scanned);
        if all {
            outlet.scanned_to(reading.upto);
        }
        self.mark(reading.flow);
    }
}
