//! Retention: which closed segments are removed, and how (L7).
//!
//! By age it goes by running time, which no clock that jumps can move (`layout`); by size it counts
//! whole segments. A segment is removed only when everything that the newest segment's prologue speaks
//! of is durable, because until then the older definitions and dedupe state may still be needed, and
//! when the newest segment's header says that all before the next oldest one was durable, because
//! recovery knows by that alone that the start is missing on purpose (`judge`). And a segment is kept
//! while its owner says that it still needs something in it ([`Writer::hold`]).

use super::Writer;
use super::live::{Entry, Op};
use crate::span::SegmentIndex;
use env::disk::{Disk, DiskOp};

/// How often it is looked at while nothing was removed.
const RETENTION_NS: u64 = 1_000_000_000;
/// Wait after a removal or its directory sync failed.
const REMOVAL_RETRY_NS: u64 = 10_000_000_000;

/// The one removal that may be under way.
#[derive(Debug, Default)]
pub(super) struct Removal {
    due_ns: u64,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The file is being removed; its index is kept in case that fails.
    Removing(SegmentIndex),
    /// Removed; the directory must be synced before the next one.
    Unsynced,
    Syncing,
}

impl Removal {
    pub(super) fn wants_directory(&self, now_ns: u64) -> bool {
        matches!(self.stage, Stage::Unsynced) && now_ns >= self.due_ns
    }

    pub(super) fn directory_started(&mut self) {
        if matches!(self.stage, Stage::Unsynced) {
            self.stage = Stage::Syncing;
        }
    }

    pub(super) fn directory_done(&mut self, succeeded: bool, now_ns: u64) {
        if matches!(self.stage, Stage::Syncing) {
            self.stage = if succeeded { Stage::Idle } else { Stage::Unsynced };
            self.due_ns = if succeeded { now_ns } else { now_ns.saturating_add(REMOVAL_RETRY_NS) };
        }
    }
}

impl Writer {
    pub(super) fn retention_due_ns(&self) -> Option<u64> {
        let wanted = self.settings.keep_ns > 0 || self.settings.keep_bytes > 0;
        (wanted && !matches!(self.removal.stage, Stage::Removing(_) | Stage::Syncing)).then_some(self.removal.due_ns)
    }

    /// Starts the removal of the oldest segment where it is due.
    pub(super) fn retain(&mut self, disk: &mut dyn Disk) -> usize {
        let wanted = self.settings.keep_ns > 0 || self.settings.keep_bytes > 0;
        if !wanted || !matches!(self.removal.stage, Stage::Idle) || self.now_ns < self.removal.due_ns {
            return 0;
        }
        self.removal.due_ns = self.now_ns + RETENTION_NS;
        if !self.oldest_may_go() {
            return 0;
        }
        let Some(oldest) = self.index.pop_front() else { return 0 };
        let file = oldest.file;
        self.removal.stage = Stage::Removing(oldest);
        let id = self.op_id();
        self.ops.insert(id, Op::Remove);
        disk.submit(id, DiskOp::Remove { file });
        1
    }

    fn oldest_may_go(&self) -> bool {
        let (Some(oldest), Some(current)) = (self.index.front(), self.current()) else { return false };
        let successor_stands =
            current.is_begun() && current.entry == Entry::Synced && current.synced_to >= current.prologue_end;
        if self.live.iter().any(|live| live.file <= oldest.file) || !successor_stands || self.durable < current.as_of {
            return false;
        }
        let start_is_known = self.index.get(1).is_some_and(|next| next.from <= current.durable);
        if !start_is_known {
            return false;
        }
        if self.settings.hold.is_some_and(|hold| self.index.get(1).is_some_and(|next| next.from > hold)) {
            return false;
        }
        let age_ns = self.running_now_ns().saturating_sub(oldest.ended_ns);
        let too_old = self.settings.keep_ns > 0 && age_ns > self.settings.keep_ns as u64;
        let too_much = self.settings.keep_bytes > 0 && self.stored_bytes() > self.settings.keep_bytes;
        too_old || too_much
    }

    /// A removal ended.
    pub(super) fn removed(&mut self, succeeded: bool) {
        let stage = std::mem::take(&mut self.removal.stage);
        if succeeded {
            self.stats.removed += 1;
            self.removal.stage = Stage::Unsynced;
            self.removal.due_ns = self.now_ns;
        } else if let Stage::Removing(oldest) = stage {
            self.stats.remove_failures += 1;
            self.index.push_front(oldest);
            self.removal.due_ns = self.now_ns.saturating_add(REMOVAL_RETRY_NS);
        }
    }
}
