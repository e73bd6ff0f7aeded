//! Retention: which closed segments are removed, and how (L7).
//!
//! By age it goes by running time, which no clock that jumps can move (`layout`); by size it counts
//! whole segments. A segment is removed only when everything that the newest segment's prologue speaks
//! of is durable, because until then the older definitions and dedupe state may still be needed, and
//! when the newest segment's header says that all before the next oldest one was durable, because
//! recovery knows by that alone that the start is missing on purpose (`judge`). And a segment is kept
//! while its owner says that it still needs something in it ([`Writer::hold`]).
//!
//! A few removed files are retired in place of being deleted, and used again by the next segments: a
//! write into blocks that a file has already changes no metadata, so the disk takes it without a thread
//! that waits, and a sync has nothing but the bytes to make durable. A file is used again only after
//! its retirement is durable, or a power cut could bring its old name back over its new bytes. While a log is
//! shorter than it may be nothing is retired; its owner can have files made ahead instead
//! ([`Writer::wants_prepared`]).

use super::Writer;
use super::live::{Entry, Op};
use crate::span::SegmentIndex;
use env::disk::{Disk, DiskOp, FileNumber};

/// How often it is looked at while nothing was removed.
const RETENTION_NS: u64 = 1_000_000_000;
/// How often while what a segment begins with is not durable yet.
const SUCCESSOR_NS: u64 = 10_000_000;
/// Files kept to be used again, at most.
const RETIRED_MAX: usize = 2;
/// Wait after a file could not be made ahead.
const PREPARE_RETRY_NS: u64 = 60_000_000_000;
/// Wait after a removal or its directory sync failed.
const REMOVAL_RETRY_NS: u64 = 10_000_000_000;

/// A file whose retirement is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    pub(super) file: FileNumber,
    pub(super) bytes: u64,
}

/// The one removal that may be under way.
#[derive(Debug, Default)]
pub(super) struct Removal {
    due_ns: u64,
    stage: Stage,
    /// Files that were given up and hold nothing, and are to be removed.
    discards: Vec<Discard>,
    discarded: Discarded,
}

#[derive(Debug)]
struct Discard {
    file: FileNumber,
    submitted: bool,
}

/// Whether the directory knows of all discards that succeeded.
#[derive(Debug, Default, PartialEq, Eq)]
enum Discarded {
    #[default]
    Synced,
    Unsynced,
    Syncing,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The file is being removed; its index is kept in case that fails.
    Removing {
        segment: SegmentIndex,
        retires: bool,
    },
    /// Removed; the directory must be synced before the next one.
    Unsynced(Option<Retired>),
    Syncing(Option<Retired>),
}

impl Removal {
    pub(super) fn wants_directory(&self, now_ns: u64) -> bool {
        let wanted = matches!(self.stage, Stage::Unsynced(_)) || self.discarded == Discarded::Unsynced;
        wanted && now_ns >= self.due_ns
    }

    pub(super) fn directory_started(&mut self) {
        if let Stage::Unsynced(retired) = self.stage {
            self.stage = Stage::Syncing(retired);
        }
        if self.discarded == Discarded::Unsynced {
            self.discarded = Discarded::Syncing;
        }
    }

    /// Answers the file that may be used again now.
    pub(super) fn directory_done(&mut self, succeeded: bool, now_ns: u64) -> Option<Retired> {
        if self.discarded == Discarded::Syncing {
            self.discarded = if succeeded { Discarded::Synced } else { Discarded::Unsynced };
        }
        if !succeeded {
            self.due_ns = now_ns.saturating_add(REMOVAL_RETRY_NS);
        }
        let Stage::Syncing(retired) = self.stage else { return None };
        if succeeded {
            (self.stage, self.due_ns) = (Stage::Idle, now_ns);
            return retired;
        }
        self.stage = Stage::Unsynced(retired);
        None
    }

    /// Whether a power cut cannot bring back what was discarded: it holds positions that are stored
    /// elsewhere, and would be damage once retention took them from there.
    fn discards_are_durable(&self) -> bool {
        self.discards.is_empty() && self.discarded == Discarded::Synced
    }

    /// A segment begins: there may be too much now.
    pub(super) fn look(&mut self, now_ns: u64) {
        if matches!(self.stage, Stage::Idle) {
            self.due_ns = self.due_ns.min(now_ns);
        }
    }
}

/// A file that somebody else makes ahead.
#[derive(Debug, Default)]
pub(super) struct Preparing {
    file: Option<FileNumber>,
    retry_ns: u64,
}

impl Writer {
    /// The number of a file that should be made ahead for a coming segment; `None` while there are enough.
    ///
    /// It is to be made where it may block: under its retired name, as long as a segment, every byte written
    /// once, and durable with its name. [`prepared`](Self::prepared) takes the answer. For a log of small batches
    /// this is worth its writing: in blocks that were written before they are written and synced without a
    /// change of metadata.
    pub fn wants_prepared(&mut self) -> Option<FileNumber> {
        let enough = self.retired.len() >= RETIRED_MAX || self.preparing.file.is_some();
        if enough || self.closing || !self.health.is_good() || self.now_ns < self.preparing.retry_ns {
            return None;
        }
        let file = self.next_file;
        self.next_file = FileNumber(file.0 + 1);
        self.preparing.file = Some(file);
        Some(file)
    }

    /// The file that was wanted is there, or could not be made: then it is wanted again later.
    pub fn prepared(&mut self, file: FileNumber, made: bool) {
        if self.preparing.file != Some(file) {
            return;
        }
        self.preparing.file = None;
        if made {
            self.retired.push(Retired { file, bytes: self.settings.segment_bytes });
        } else {
            self.preparing.retry_ns = self.now_ns.saturating_add(PREPARE_RETRY_NS);
        }
    }

    pub(super) fn retention_due_ns(&self) -> Option<u64> {
        let wanted = self.settings.keep_ns > 0 || self.settings.keep_bytes > 0;
        let idle = !matches!(self.removal.stage, Stage::Removing { .. } | Stage::Syncing(_));
        let unsynced = self.removal.discarded == Discarded::Unsynced && !self.directory_sync;
        let waits = unsynced || self.removal.discards.iter().any(|discard| !discard.submitted);
        ((wanted && idle) || waits).then_some(self.removal.due_ns)
    }

    /// Starts the removal of the oldest segment where it is due.
    pub(super) fn retain(&mut self, disk: &mut dyn Disk) -> usize {
        let discards = self.submit_discards(disk);
        let wanted = self.settings.keep_ns > 0 || self.settings.keep_bytes > 0;
        if !wanted || !matches!(self.removal.stage, Stage::Idle) || self.now_ns < self.removal.due_ns {
            return discards;
        }
        if !self.oldest_should_go() {
            self.removal.due_ns = self.now_ns + RETENTION_NS;
            return discards;
        }
        if !self.successor_stands() {
            self.removal.due_ns = self.now_ns + SUCCESSOR_NS;
            return discards;
        }
        self.removal.due_ns = self.now_ns + RETENTION_NS;
        let Some(segment) = self.index.pop_front() else { return discards };
        let file = segment.file;
        // A file that is much shorter than a segment would mostly be lengthened again.
        let retires = self.retired.len() < RETIRED_MAX && segment.bytes >= self.settings.segment_bytes / 2;
        self.removal.stage = Stage::Removing { segment, retires };
        let id = self.op_id();
        self.ops.insert(id, Op::Remove);
        disk.submit(id, if retires { DiskOp::Retire { file } } else { DiskOp::Remove { file } });
        discards + 1
    }

    /// Whether the oldest segment is older, or all are longer, than is kept, and nobody holds it.
    fn oldest_should_go(&self) -> bool {
        let (Some(oldest), Some(next)) = (self.index.front(), self.index.get(1)) else { return false };
        if self.settings.hold.is_some_and(|hold| next.from > hold) {
            return false;
        }
        let age_ns = self.running_now_ns().saturating_sub(oldest.ended_ns);
        let too_old = self.settings.keep_ns > 0 && age_ns > self.settings.keep_ns as u64;
        let too_much = self.settings.keep_bytes > 0 && self.stored_bytes() > self.settings.keep_bytes;
        too_old || too_much
    }

    /// Whether what the newest segment begins with is durable, and says what recovery must know when the
    /// oldest one is gone.
    fn successor_stands(&self) -> bool {
        let (Some(oldest), Some(current)) = (self.index.front(), self.current()) else { return false };
        let is_durable =
            current.is_begun() && current.entry == Entry::Synced && current.synced_to >= current.prologue_end;
        let closed = self.live.iter().all(|live| live.file > oldest.file);
        let start_is_known = self.index.get(1).is_some_and(|next| next.from <= current.durable);
        let stands = is_durable && closed && start_is_known && self.durable >= current.as_of;
        stands && self.removal.discards_are_durable()
    }

    /// A segment was given up and holds nothing: its file goes.
    pub(super) fn discard(&mut self, file: FileNumber) {
        self.index.retain(|segment| segment.file != file);
        self.removal.discards.push(Discard { file, submitted: false });
        self.removal.due_ns = self.removal.due_ns.min(self.now_ns);
    }

    /// Starts the removal of what is to be discarded.
    fn submit_discards(&mut self, disk: &mut dyn Disk) -> usize {
        let mut work = 0;
        for index in 0..self.removal.discards.len() {
            if !self.removal.discards[index].submitted && self.now_ns >= self.removal.due_ns {
                let (id, file) = (self.op_id(), self.removal.discards[index].file);
                self.removal.discards[index].submitted = true;
                self.ops.insert(id, Op::Discard { file });
                disk.submit(id, DiskOp::Remove { file });
                work += 1;
            }
        }
        work
    }

    /// A discard ended; one that failed is tried again later.
    pub(super) fn discarded(&mut self, file: FileNumber, succeeded: bool) {
        if succeeded {
            self.removal.discards.retain(|discard| discard.file != file);
            self.removal.discarded = Discarded::Unsynced;
            return;
        }
        self.stats.remove_failures += 1;
        self.removal.due_ns = self.now_ns.saturating_add(REMOVAL_RETRY_NS);
        for discard in self.removal.discards.iter_mut().filter(|discard| discard.file == file) {
            discard.submitted = false;
        }
    }

    /// A removal ended.
    pub(super) fn removed(&mut self, succeeded: bool) {
        let Stage::Removing { segment, retires } = std::mem::take(&mut self.removal.stage) else { return };
        if succeeded {
            self.stats.removed += 1;
            let retired = Retired { file: segment.file, bytes: segment.bytes };
            self.removal.stage = Stage::Unsynced(retires.then_some(retired));
            self.removal.due_ns = self.now_ns;
        } else {
            self.stats.remove_failures += 1;
            self.index.push_front(segment);
            self.removal.due_ns = self.now_ns.saturating_add(REMOVAL_RETRY_NS);
        }
    }
}
