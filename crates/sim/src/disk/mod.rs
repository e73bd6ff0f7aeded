//! A disk that does what a real one may.
//!
//! Operations complete in random order after a random delay. Completed writes lie in a page cache
//! until a sync covers them; a crash leaves what the contract promises and, of the rest, what the
//! seed says. Reads (as [`Storage`](env::disk::Storage)) see the page cache, as a process does.
//!
//! Invariants: see the crate (S2, S3).
//! It deliberately has no thread and no time of its own: [`SimDisk::set_now`] tells it the time.

mod crash;
mod damage;
mod faults;
mod file;
mod storage;

pub use crash::Crash;
pub use faults::{Faults, Nth};

use crate::SimRandom;
use env::disk::{Block, Completion, Disk, DiskError, DiskOp, FileNumber, OpId};
use file::{Name, SimFile};
use std::collections::BTreeMap;

/// A simulated disk with one directory of numbered files.
#[derive(Debug)]
pub struct SimDisk {
    files: BTreeMap<FileNumber, SimFile>,
    /// Out of the log, to be used again.
    retired: BTreeMap<FileNumber, SimFile>,
    /// Removed, but the directory is not synced: they may come back.
    removed: BTreeMap<FileNumber, SimFile>,
    pending: Vec<Pending>,
    random: SimRandom,
    faults: Faults,
    now_ns: u64,
    /// Submissions and completions, counted.
    events: u64,
    /// Changing operations, counted.
    changes: u64,
    faults_shown: u64,
}

#[derive(Debug)]
struct Pending {
    id: OpId,
    op: DiskOp,
    submitted_at: u64,
    due_ns: u64,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(random: SimRandom) -> SimDisk {
        SimDisk {
            files: BTreeMap::new(),
            retired: BTreeMap::new(),
            removed: BTreeMap::new(),
            pending: Vec::new(),
            random,
            faults: Faults::default(),
            now_ns: 0,
            events: 0,
            changes: 0,
            faults_shown: 0,
        }
    }

    /// Which faults it shows from now on.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Tells it the time, monotonic ns.
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Operations under way.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// When the next operation completes at the earliest, monotonic ns.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.pending.iter().map(|pending| pending.due_ns).min()
    }

    /// Operations so far that change something, of both halves; what [`Nth`] counts.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Operations that failed or completed short on purpose.
    #[must_use]
    pub fn faults_shown(&self) -> u64 {
        self.faults_shown
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.files.values().chain(self.retired.values()).map(|file| file.cache.len() as u64).sum()
    }

    /// Counts a changing operation; answers how it fails, if it does.
    fn fault(&mut self, ppm: u32) -> Option<DiskError> {
        self.changes += 1;
        let nth = self
            .faults
            .nth
            .as_ref()
            .filter(|nth| if nth.sticky { self.changes >= nth.at } else { self.changes == nth.at });
        let fixed = self.faults.sticky.as_ref().or(nth.map(|nth| &nth.error)).cloned();
        let fault = fixed.or_else(|| self.random.ppm(ppm).then(|| DiskError::Failed("simulated I/O error".to_owned())));
        self.faults_shown += u64::from(fault.is_some());
        fault
    }

    fn perform(&mut self, pending: Pending) -> Completion {
        let Pending { id, op, submitted_at, .. } = pending;
        self.events += 1;
        let (result, block) = match op {
            DiskOp::Create { file } => (self.create(file), None),
            DiskOp::Write { file, offset, from, block } => {
                let result = self.write(file, offset as usize, &block[from..]);
                (result.map(|written| from + written), Some(block))
            }
            DiskOp::Sync { file } => (self.sync_file(file, submitted_at), None),
            DiskOp::SyncDirectory => (self.sync_directory(submitted_at), None),
            DiskOp::Close { file } => (self.close(file), None),
            DiskOp::Remove { file } => (self.remove_file(file), None),
            DiskOp::Retire { file } => (self.retire(file), None),
            DiskOp::Reuse { retired, file } => (self.reuse(retired, file), None),
        };
        Completion { id, result, block }
    }

    fn create(&mut self, file: FileNumber) -> Result<usize, DiskError> {
        if let Some(error) = self.fault(self.faults.create_ppm) {
            return Err(error);
        }
        if self.room() == 0 && self.random.coin() {
            return Err(DiskError::Full);
        }
        if self.files.contains_key(&file) {
            return Err(DiskError::Failed(format!("{file} exists")));
        }
        let created = SimFile { open: true, changed_at: self.events, ..SimFile::default() };
        self.files.insert(file, created);
        Ok(0)
    }

    fn room(&self) -> u64 {
        self.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    /// Answers how many of the bytes were written.
    fn write(&mut self, file: FileNumber, offset: usize, bytes: &[u8]) -> Result<usize, DiskError> {
        let fault = self.fault(self.faults.write_ppm);
        let room = self.room();
        let events = self.events;
        let Some(target) = self.files.get_mut(&file).filter(|target| target.open) else {
            return Err(DiskError::Failed(format!("{file} is not open")));
        };
        if let Some(error) = fault {
            let reached = self.random.below(bytes.len() as u64 + 1) as usize;
            target.write(offset, &bytes[..reached], events);
            return Err(error);
        }
        let growth = (offset + bytes.len()).saturating_sub(target.cache.len()) as u64;
        let mut fits = bytes.len();
        if growth > room {
            fits = bytes.len().saturating_sub((growth - room) as usize);
            self.faults_shown += 1;
            if fits == 0 || self.random.coin() {
                return Err(DiskError::Full);
            }
        } else if bytes.len() > 1 && self.random.ppm(self.faults.short_ppm) {
            fits = self.random.between(1, bytes.len() as u64) as usize;
            self.faults_shown += 1;
        }
        target.write(offset, &bytes[..fits], events);
        Ok(fits)
    }

    fn sync_file(&mut self, file: FileNumber, submitted_at: u64) -> Result<usize, DiskError> {
        let fault = self.fault(self.faults.sync_ppm);
        let Some(target) = self.files.get_mut(&file).filter(|target| target.open) else {
            return Err(DiskError::Failed(format!("{file} is not open")));
        };
        match fault {
            None => {
                target.sync(submitted_at);
                Ok(0)
            }
            Some(error) => {
                target.sync_failed(submitted_at, &mut self.random);
                Err(error)
            }
        }
    }

    fn sync_directory(&mut self, submitted_at: u64) -> Result<usize, DiskError> {
        if let Some(error) = self.fault(self.faults.directory_ppm) {
            return Err(error);
        }
        self.names_durable(submitted_at);
        self.removed.retain(|_, file| file.changed_at >= submitted_at);
        Ok(0)
    }

    /// # Panics
    /// Where writes or syncs of the file are under way: whoever closes it has lost count.
    fn close(&mut self, file: FileNumber) -> Result<usize, DiskError> {
        let busy = self.pending.iter().any(|pending| match pending.op {
            DiskOp::Write { file: of, .. } | DiskOp::Sync { file: of } => of == file,
            _ => false,
        });
        assert!(!busy, "{file} is closed while operations on it are under way");
        match self.files.get_mut(&file) {
            Some(target) => {
                target.open = false;
                Ok(0)
            }
            None => Err(DiskError::Failed(format!("{file} is not there"))),
        }
    }

    fn remove_file(&mut self, file: FileNumber) -> Result<usize, DiskError> {
        if let Some(error) = self.fault(0) {
            return Err(error);
        }
        match self.files.remove(&file) {
            Some(mut target) => {
                target.changed_at = self.events;
                if target.durable_as == Some(Name::Segment(file)) {
                    self.removed.insert(file, target);
                }
                Ok(0)
            }
            None => Err(DiskError::Failed(format!("{file} is not there"))),
        }
    }

    fn retire(&mut self, file: FileNumber) -> Result<usize, DiskError> {
        if let Some(error) = self.fault(0) {
            return Err(error);
        }
        let moved = self.files.remove(&file).map(|target| SimFile { changed_at: self.events, ..target });
        self.retired.extend(moved.map(|target| (file, target)));
        if self.retired.contains_key(&file) { Ok(0) } else { Err(DiskError::Failed(format!("{file} is not there"))) }
    }

    fn reuse(&mut self, retired: FileNumber, file: FileNumber) -> Result<usize, DiskError> {
        if let Some(error) = self.fault(self.faults.create_ppm) {
            return Err(error);
        }
        let Some(target) = self.retired.remove(&retired) else {
            return Err(DiskError::Failed(format!("{} is not there", retired.retired_name())));
        };
        self.files.insert(file, SimFile { open: true, changed_at: self.events, ..target });
        Ok(0)
    }

    /// Makes a retired file of zeros, durable with its name, as somebody beside the writer does ahead; answers
    /// whether that went well.
    pub fn prepare(&mut self, file: FileNumber, bytes: usize) -> bool {
        if self.fault(self.faults.create_ppm).is_some() {
            return false;
        }
        let zeros = vec![0; bytes];
        let made =
            SimFile { cache: zeros.clone(), disk: zeros, durable_as: Some(Name::Retired(file)), ..SimFile::default() };
        self.retired.insert(file, made);
        true
    }

    /// The names of all files that were changed before an event are durable.
    fn names_durable(&mut self, before: u64) {
        let segments = self.files.iter_mut().map(|(number, file)| (Name::Segment(*number), file));
        let retired = self.retired.iter_mut().map(|(number, file)| (Name::Retired(*number), file));
        for (name, file) in segments.chain(retired).filter(|(_, file)| file.changed_at < before) {
            file.durable_as = Some(name);
        }
    }
}

impl Disk for SimDisk {
    fn submit(&mut self, id: OpId, op: DiskOp) {
        self.events += 1;
        let (shortest, longest) = self.faults.delay_ns;
        let due_ns = self.now_ns + self.random.between(shortest, longest.max(shortest) + 1);
        self.pending.push(Pending { id, op, submitted_at: self.events, due_ns });
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let ready: Vec<usize> =
            (0..self.pending.len()).filter(|index| self.pending[*index].due_ns <= self.now_ns).collect();
        if ready.is_empty() || self.random.below(4) == 0 {
            return None;
        }
        let chosen = ready[self.random.below(ready.len() as u64) as usize];
        let pending = self.pending.swap_remove(chosen);
        Some(self.perform(pending))
    }
}

/// The block of a write, if it is one.
fn write_of(op: &DiskOp) -> Option<(FileNumber, usize, usize, &Block)> {
    match op {
        DiskOp::Write { file, offset, from, block } => Some((*file, *offset as usize, *from, block)),
        _ => None,
    }
}
