//! Failures: give the file up, log again elsewhere, try less often, go on by itself.

use super::live::Op;
use super::{FinalMark, Writer};
use crate::Health;
use crate::header::BatchKind;
use env::disk::{Disk, DiskError, DiskOp, FileNumber};
use model::TimestampNs;

/// Second try after this long; then twice as long each time. The first is at once.
const RETRY_NS_MIN: u64 = 50_000_000;
/// Never longer between two tries.
const RETRY_NS_MAX: u64 = 5_000_000_000;

/// When the next segment may be tried after failures.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    pub(super) at_ns: u64,
}

impl Retry {
    fn failed(&mut self, now_ns: u64) {
        let delay = match self.failures {
            0 => 0,
            n => (RETRY_NS_MIN << (n - 1).min(16)).min(RETRY_NS_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        self.at_ns = now_ns.saturating_add(delay);
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

impl Writer {
    /// Gives up a file and the ones after it: nothing more is written to or synced in them, and
    /// all that was placed there and is not durable waits for a fresh one (L2). Files before it go on.
    pub(super) fn give_up(&mut self, file: FileNumber, error: &DiskError, wall: TimestampNs) {
        let running_ns = self.running_now_ns();
        for live in self.live.iter_mut().filter(|live| live.file >= file) {
            live.given_up = true;
            if let Some(segment) = self.index.iter_mut().rev().find(|segment| segment.file == live.file) {
                segment.ended_ns = segment.ended_ns.min(running_ns);
            }
        }
        for batch in &mut self.queue {
            if batch.place.is_some_and(|place| place.file >= file) {
                batch.place = None;
                batch.again = true;
                if batch.kind == BatchKind::Final {
                    self.final_mark = FinalMark::Wanted;
                }
            }
        }
        self.queue.retain(|batch| batch.place.is_some() || batch.kind == BatchKind::Data);
        if self.final_mark == FinalMark::Queued && self.queue.iter().all(|batch| batch.kind != BatchKind::Final) {
            self.final_mark = FinalMark::Wanted;
        }
        self.retry.failed(self.now_ns);
        self.replaces = true;
        let since = match &self.health {
            Health::Good => wall,
            Health::Full { since } | Health::Failing { since, .. } => *since,
        };
        self.health = match error {
            DiskError::Full => Health::Full { since },
            DiskError::Failed(why) => Health::Failing { since, why: why.clone() },
        };
        if matches!(error, DiskError::Full) {
            tracing::warn!(shard = self.settings.shard.0, %file, "no space left on the disk; nothing is acknowledged until there is");
        } else {
            tracing::error!(shard = self.settings.shard.0, %file, %error, "the disk failed; logging again in a fresh file");
        }
    }

    /// Closes files that are done with.
    pub(super) fn tidy(&mut self, disk: &mut dyn Disk) -> usize {
        let mut work = 0;
        for index in 0..self.live.len() {
            let live = &self.live[index];
            let file = live.file;
            let in_use = self.queue.iter().any(|batch| batch.place.is_some_and(|place| place.file == file));
            if live.takes_batches() || live.closing || live.ops > 0 || in_use || !live.created {
                continue;
            }
            let id = self.op_id();
            let live = &mut self.live[index];
            (live.closing, live.ops) = (true, 1);
            self.ops.insert(id, Op::Close { file });
            disk.submit(id, DiskOp::Close { file });
            work += 1;
        }
        work
    }

    /// A file is closed (whether that failed says nothing: it was synced, or it does not count).
    /// One that was given up and holds nothing is removed.
    pub(super) fn file_closed(&mut self, file: FileNumber) {
        let holds_durable = self.live.iter().find(|live| live.file == file).is_none_or(|live| live.holds_durable);
        self.live.retain(|live| live.file != file);
        if holds_durable {
            return;
        }
        self.discard(file);
    }
}
