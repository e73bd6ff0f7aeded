//! The ordinary flow: gather, place, write, sync, advance. `complete` takes what comes back.

use super::batch::{Batch, Place};
use super::live::{Entry, Live, Op};
use super::{FinalMark, GROUP_BYTES, LIVE_SEGMENTS_MAX, PIPELINE_BATCHES_MAX, PROLOGUE_SHARE, WRITES_MAX, Writer};
use crate::Health;
use crate::header::{BatchHeader, BatchKind};
use crate::layout::BATCH_HEADER_BYTES;
use crate::span::Span;
use env::disk::{Block, Disk, DiskOp, FileNumber};
use frame::{Builder, FrameKind};
use model::{ProducerId, Sequence, TimestampNs};

impl Writer {
    /// Takes the open batch out to wait for its place.
    pub(super) fn seal(&mut self) {
        let key = self.key();
        self.hurried = false;
        let empty = self.blocks.take(self.now_ns);
        let batch = self.open.take(key, empty);
        self.queue.push_back(batch);
    }

    /// Seals the open batch when it is due, and queues a mark when one is.
    pub(super) fn gather(&mut self, wall: TimestampNs) -> usize {
        if !self.open.is_empty() {
            let due = self.seal_due_ns() <= self.now_ns || self.open.body_bytes() >= GROUP_BYTES;
            if due && self.queue.len() < PIPELINE_BATCHES_MAX {
                self.seal();
                return 1;
            }
            return 0;
        }
        if !self.queue.is_empty() {
            return 0;
        }
        let kind = if self.closing {
            if self.final_mark != FinalMark::Wanted {
                return 0;
            }
            self.final_mark = FinalMark::Queued;
            BatchKind::Final
        } else if self.mark_due_ns() <= self.now_ns && self.current().is_some_and(Live::is_begun) {
            BatchKind::Mark
        } else {
            return 0;
        };
        self.queue_mark(kind, wall);
        1
    }

    fn queue_mark(&mut self, kind: BatchKind, wall: TimestampNs) {
        self.builder.clear();
        if self.builder.bare(FrameKind::Mark, ProducerId::SELF, Sequence(0)).is_err() {
            return; // a frame without payload is never too long
        }
        self.builder.stamp(wall);
        let block = block_of(self.blocks.take(self.now_ns), BATCH_HEADER_BYTES, self.builder.bytes());
        let mut batch = Batch::own(self.key(), kind, self.open.position(), wall, block);
        batch.frames = 1;
        self.queue.push_back(batch);
    }

    /// Creates the segment that is needed and places every waiting batch that may be written now.
    pub(super) fn place(
        &mut self,
        wall: TimestampNs,
        disk: &mut dyn Disk,
        prologue: &mut dyn FnMut(&mut Builder, usize) -> bool,
    ) -> usize {
        let mut work = 0;
        if self.makes_head() {
            self.make_head(wall, prologue);
            work += 1;
        }
        loop {
            let Some(live) = self.current() else {
                return work + self.create(disk);
            };
            if !live.created {
                return work;
            }
            let begun = live.is_begun();
            let Some(at) = self.queue.iter().position(|batch| batch.place.is_none()) else { return work };
            let batch = &self.queue[at];
            let must_wait = !begun && batch.kind != BatchKind::Prologue;
            if must_wait || self.writes_in_flight >= WRITES_MAX || batch.block.is_none() {
                return work;
            }
            if self.is_too_long(at) {
                self.leave();
                continue;
            }
            if self.pad_before(at) {
                continue;
            }
            self.write(at, disk);
            work += 1;
        }
    }

    fn create(&mut self, disk: &mut dyn Disk) -> usize {
        let done = self.closing && self.final_mark == FinalMark::Durable;
        if self.now_ns < self.retry.at_ns || done || self.live.len() >= LIVE_SEGMENTS_MAX {
            return 0;
        }
        let file = self.next_file;
        self.next_file = FileNumber(file.0 + 1);
        let retired = self.retired.pop();
        let mut live = Live::new(file);
        (live.ops, live.reused_bytes) = (1, retired.map_or(0, |retired| retired.bytes));
        self.live.push_back(live);
        let id = self.op_id();
        self.ops.insert(id, Op::Create { file });
        let op = match retired {
            Some(retired) => DiskOp::Reuse { retired: retired.file, file },
            None => DiskOp::Create { file },
        };
        disk.submit(id, op);
        1
    }

    /// Whether the waiting batch at an index does not fit into the current segment any more.
    fn is_too_long(&self, at: usize) -> bool {
        let Some(live) = self.current() else { return false };
        let batches = live.next_offset.saturating_sub(live.prologue_end);
        let bytes = self.queue[at].block_bytes as u64;
        let room = self.settings.segment_bytes.max(PROLOGUE_SHARE * live.prologue_end);
        self.queue[at].kind != BatchKind::Prologue && batches > 0 && batches + bytes > room
    }

    /// The current segment takes no more batches.
    pub(super) fn leave(&mut self) {
        let running_ns = self.running_now_ns();
        if let Some(live) = self.live.back_mut() {
            live.full = true;
            let file = live.file;
            if let Some(segment) = self.index.iter_mut().rev().find(|s| s.file == file) {
                segment.ended_ns = running_ns;
            }
        }
    }

    /// Gives the waiting batch at an index its place in the current segment and submits its write.
    fn write(&mut self, at: usize, disk: &mut dyn Disk) {
        let as_of = self.end();
        let id = self.op_id();
        let whole_blocks_from = self.whole_blocks_from(&self.queue[at]);
        let batch = &mut self.queue[at];
        let (Some(live), Some(mut block)) = (self.live.back_mut(), batch.block.take()) else { return };
        let start = live.next_offset;
        let offset = start + batch.prefix as u64;
        batch.fit(&mut block, start, whole_blocks_from);
        if block.len() > batch.prefix {
            let end = block.len() - batch.suffix;
            let header = BatchHeader {
                kind: batch.kind,
                shard: self.settings.shard,
                file: live.file,
                offset,
                position: batch.position,
                durable: self.durable,
                as_of: if batch.kind == BatchKind::Prologue { live.as_of } else { as_of },
                received_first: batch.received_first,
                received_last: batch.received_last,
                body_bytes: batch.body_bytes() as u32,
                frames: batch.frames,
                previous_crc: live.previous_crc,
                crc: 0,
            };
            live.previous_crc = header.seal(&mut block[batch.prefix..end], batch.body_crc);
            if batch.suffix > 0 {
                let pad = header.pad(start + end as u64, batch.suffix, live.previous_crc);
                live.previous_crc = pad.seal(&mut block[end..], None);
            }
        }
        live.next_offset = start + block.len() as u64;
        if batch.kind == BatchKind::Pad && start == live.prologue_end {
            live.prologue_end = live.next_offset; // the segment is still as good as empty
        }
        live.ops += 1;
        batch.place = Some(Place { file: live.file, offset, end: live.next_offset, written: false });
        if let Some(segment) = self.index.back_mut() {
            segment.bytes = live.next_offset.max(live.reused_bytes);
        }
        self.writes_in_flight += 1;
        self.marked = self.durable;
        self.placed_ns = self.now_ns;
        self.ops.insert(id, Op::Write { file: live.file, key: batch.key });
        disk.submit(id, DiskOp::Write { file: live.file, offset: start, from: 0, block });
    }

    /// Submits a sync for each file that has more written than synced, and for the directory.
    pub(super) fn sync(&mut self, disk: &mut dyn Disk) -> usize {
        let mut work = self.sync_directory(disk);
        for index in 0..self.live.len() {
            let live = &mut self.live[index];
            let (file, written_to) = (live.file, live.written_to);
            let placed = self.queue.iter().filter_map(|batch| batch.place).filter(|place| place.file == file);
            let written = placed.skip_while(|place| place.end <= written_to).take_while(|place| place.written);
            live.written_to = written.map(|place| place.end).last().unwrap_or(written_to);
            if live.given_up || live.syncing_to.is_some() || live.written_to <= live.synced_to {
                continue;
            }
            let to = live.written_to;
            live.syncing_to = Some(to);
            live.ops += 1;
            let id = self.op_id();
            self.ops.insert(id, Op::Sync { file, to, since_ns: self.now_ns });
            disk.submit(id, DiskOp::Sync { file });
            work += 1;
        }
        work
    }

    fn sync_directory(&mut self, disk: &mut dyn Disk) -> usize {
        if self.directory_sync {
            return 0;
        }
        let mut needed = self.removal.wants_directory(self.now_ns);
        for live in self.live.iter_mut().filter(|live| live.created && !live.given_up) {
            if live.entry == Entry::Unsynced {
                live.entry = Entry::Syncing;
                needed = true;
            }
        }
        if !needed {
            return 0;
        }
        self.removal.directory_started();
        self.directory_sync = true;
        let id = self.op_id();
        self.ops.insert(id, Op::Directory);
        disk.submit(id, DiskOp::SyncDirectory);
        1
    }

    /// Counts as durable every batch that is (L1).
    pub(super) fn advance(&mut self) -> usize {
        let mut work = 0;
        while let Some(place) = self.queue.front().and_then(|batch| batch.place) {
            let Some(live) = self.live.iter_mut().find(|live| live.file == place.file) else { break };
            if live.entry != Entry::Synced || live.synced_to < place.end {
                break;
            }
            let Some(batch) = self.queue.pop_front() else { break };
            live.holds_durable |= batch.kind != BatchKind::Prologue;
            let is_current = live.takes_batches();
            self.count(&batch, place);
            if is_current && (batch.kind == BatchKind::Data || self.queue.is_empty()) {
                self.health = Health::Good;
                self.replaces = false;
                self.retry.succeeded();
            }
            if let Some(block) = batch.block {
                self.blocks.recycle(block);
            }
            work += 1;
        }
        // Behind an end that could not be read, positions jump; nothing stands there to wait for.
        if self.open.is_empty() && self.queue.iter().all(|batch| batch.kind != BatchKind::Data) {
            self.durable = self.durable.max(self.open.position());
        }
        work
    }

    fn count(&mut self, batch: &Batch, place: Place) {
        match batch.kind {
            BatchKind::Data => {
                let end = batch.position_end();
                assert!(batch.position >= self.durable, "batches become durable in order: {batch:?}");
                self.durable = end;
                self.in_flight -= batch.body_bytes();
                self.stats.batches += 1;
                self.stats.bytes += batch.body_bytes() as u64;
                self.stats.relogged += u64::from(batch.again);
            }
            BatchKind::Mark => self.stats.marks += 1,
            BatchKind::Final => {
                self.stats.marks += 1;
                self.final_mark = FinalMark::Durable;
                self.leave();
            }
            BatchKind::Pad => {}
            BatchKind::Prologue => return,
        }
        let span = Span {
            shard: self.settings.shard,
            file: place.file,
            offset: place.offset,
            bytes: place.end - place.offset,
            from: batch.position,
            to: batch.position_end(),
            received_from: batch.received_first,
            received_to: batch.received_last,
        };
        if let Some(segment) = self.index.iter_mut().rev().find(|segment| segment.file == place.file) {
            segment.push(span);
        }
    }
}

/// A block of `room` zero bytes and a body.
fn block_of(mut block: Block, room: usize, body: &[u8]) -> Block {
    block.clear();
    block.reserve(room + body.len());
    block.resize(room, 0);
    block.extend_from_slice(body);
    block
}
