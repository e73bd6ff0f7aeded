//! What a completion means.

use super::Writer;
use super::live::{Entry, Op};
use env::disk::{Block, Completion, Disk, DiskError, DiskOp, FileNumber};
use model::TimestampNs;

impl Writer {
    /// Takes one completion.
    pub(super) fn complete(&mut self, completion: Completion, wall: TimestampNs, disk: &mut dyn Disk) {
        let Completion { id, result, block } = completion;
        let Some(op) = self.ops.remove(&id) else { return };
        if let Op::Create { file } | Op::Write { file, .. } | Op::Sync { file, .. } | Op::Close { file } = op
            && let Some(live) = self.live.iter_mut().find(|live| live.file == file)
        {
            live.ops -= 1;
        }
        match op {
            Op::Create { file } => self.created(file, result, wall),
            Op::Write { file, key } => self.wrote(file, key, result, block, wall, disk),
            Op::Sync { file, to, since_ns } => self.synced(file, to, since_ns, result, wall),
            Op::Directory => self.directory_synced(result, wall),
            Op::Close { file } => self.file_closed(file),
            Op::Discard { file } => self.discarded(file, result.is_ok()),
            Op::Remove => self.removed(result.is_ok()),
        }
    }

    fn created(&mut self, file: FileNumber, result: Result<usize, DiskError>, wall: TimestampNs) {
        match result {
            Ok(_) => {
                if let Some(live) = self.live.iter_mut().find(|live| live.file == file) {
                    live.created = true;
                }
            }
            Err(error) => {
                self.stats.write_failures += 1;
                self.give_up(file, &error, wall);
                self.live.retain(|live| live.file != file);
            }
        }
    }

    fn wrote(
        &mut self,
        file: FileNumber,
        key: u64,
        result: Result<usize, DiskError>,
        block: Option<Block>,
        wall: TimestampNs,
        disk: &mut dyn Disk,
    ) {
        let Some(block) = block else { panic!("the disk kept the block of a write to {file}; its frames are lost") };
        self.writes_in_flight -= 1;
        let given_up = self.live.iter().find(|live| live.file == file).is_none_or(|live| live.given_up);
        let Some(batch) = self.queue.iter_mut().find(|batch| batch.key == key) else {
            self.blocks.recycle(block);
            return;
        };
        let bytes = block.len();
        if given_up {
            batch.block = Some(block);
            return;
        }
        match result {
            Ok(written) if written == bytes => {
                batch.block = Some(block);
                if let Some(place) = &mut batch.place {
                    place.written = true;
                }
            }
            Ok(written) if written > 0 => self.write_on(file, key, written, block, disk),
            failed => {
                batch.block = Some(block);
                let error = failed.err().unwrap_or_else(|| DiskError::Failed("a write wrote nothing".to_owned()));
                self.stats.write_failures += 1;
                self.give_up(file, &error, wall);
            }
        }
    }

    fn synced(
        &mut self,
        file: FileNumber,
        to: u64,
        since_ns: u64,
        result: Result<usize, DiskError>,
        wall: TimestampNs,
    ) {
        let now_ns = self.now_ns;
        let Some(live) = self.live.iter_mut().find(|live| live.file == file) else { return };
        live.syncing_to = None;
        match result {
            Ok(_) if live.given_up => {}
            Ok(_) => {
                live.synced_to = to;
                self.stats.syncs += 1;
                self.note_sync_ns(now_ns.saturating_sub(since_ns));
            }
            Err(error) => {
                self.stats.sync_failures += 1;
                self.give_up(file, &error, wall);
            }
        }
    }

    /// Continues a write that completed short (D4).
    fn write_on(&mut self, file: FileNumber, key: u64, written: usize, block: Block, disk: &mut dyn Disk) {
        let Some(start) = self
            .queue
            .iter()
            .find(|batch| batch.key == key)
            .and_then(|batch| batch.place.map(|place| place.end - batch.block_bytes as u64))
        else {
            return;
        };
        self.stats.short_writes += 1;
        self.writes_in_flight += 1;
        if let Some(live) = self.live.iter_mut().find(|live| live.file == file) {
            live.ops += 1;
        }
        let id = self.op_id();
        self.ops.insert(id, Op::Write { file, key });
        disk.submit(id, DiskOp::Write { file, offset: start + written as u64, from: written, block });
    }

    fn directory_synced(&mut self, result: Result<usize, DiskError>, wall: TimestampNs) {
        self.directory_sync = false;
        self.retired.extend(self.removal.directory_done(result.is_ok(), self.now_ns));
        let waiting = self.live.iter_mut().filter(|live| live.entry == Entry::Syncing);
        match result {
            Ok(_) => waiting.for_each(|live| live.entry = Entry::Synced),
            Err(error) => {
                let first = waiting.map(|live| live.file).min();
                self.stats.sync_failures += 1;
                if let Some(file) = first {
                    self.give_up(file, &error, wall);
                }
            }
        }
    }
}
