//! Crashes.

use super::file::{Dirty, Mood, Name, SimFile, settle};
use super::{Faults, SimDisk, write_of};
use crate::SimRandom;
use env::disk::DiskOp;

/// How a run ends without having been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the page cache lives on, unsynced.
    Kill,
    /// The power fails: unsynced writes are lost, kept, torn at 512 bytes or reordered; entries of
    /// files that were created, removed, retired or used again without a directory sync may be either way.
    Power,
}

impl SimDisk {
    /// What is left after a crash, as a disk without faults.
    #[must_use]
    pub fn crash(mut self, crash: Crash) -> SimDisk {
        let mut random = self.random.fork();
        self.settle_pending(crash, &mut random);
        self.faults = Faults::default();
        if crash == Crash::Kill {
            self.files.values_mut().for_each(|file| file.open = false);
            return self;
        }
        // Half of the cuts treat all alike, so that the extremes are met often.
        let mood = random.coin().then(|| Mood::any(&mut random));
        let gone = |random: &mut SimRandom| match mood {
            Some(Mood::Lose) => true,
            Some(Mood::Keep) => false,
            _ => random.coin(),
        };
        let segments = std::mem::take(&mut self.files).into_iter().map(|(number, file)| (Name::Segment(number), file));
        let retired = std::mem::take(&mut self.retired).into_iter().map(|(number, file)| (Name::Retired(number), file));
        for (name, file) in segments.chain(retired).collect::<Vec<_>>() {
            let changed = file.durable_as != Some(name);
            match if changed && gone(&mut random) { file.durable_as } else { Some(name) } {
                Some(Name::Segment(number)) => drop(self.files.insert(number, file)),
                Some(Name::Retired(number)) => drop(self.retired.insert(number, file)),
                None => {}
            }
        }
        for (number, file) in std::mem::take(&mut self.removed) {
            if gone(&mut random) {
                self.files.entry(number).or_insert(file);
            }
        }
        for file in self.files.values_mut().chain(self.retired.values_mut()) {
            file.power_cut(mood, &mut random);
        }
        self.names_durable(u64::MAX);
        self
    }

    /// The same bytes once more, without what is under way.
    #[must_use]
    pub fn copy(&self) -> SimDisk {
        SimDisk {
            files: self.files.clone(),
            retired: self.retired.clone(),
            removed: self.removed.clone(),
            pending: Vec::new(),
            random: self.random.clone(),
            faults: self.faults.clone(),
            ..*self
        }
    }

    /// Operations that were under way may have had any part of their effect.
    fn settle_pending(&mut self, crash: Crash, random: &mut SimRandom) {
        for pending in std::mem::take(&mut self.pending) {
            let events = self.events;
            if let Some((number, offset, from, block)) = write_of(&pending.op) {
                let Some(file) = self.files.get_mut(&number) else { continue };
                let bytes = &block[from..];
                if crash == Crash::Kill {
                    // A dead process's write may reach the cache in part, from the front.
                    let reached =
                        if random.coin() { bytes.len() } else { random.below(bytes.len() as u64 + 1) as usize };
                    file.write(offset, &bytes[..reached], events);
                } else {
                    let dirty = Dirty { offset, bytes: bytes.to_vec(), done_at: events };
                    let mood = Mood::any(random);
                    settle(&mut file.disk, &dirty, mood, random);
                }
            } else if random.coin() {
                match pending.op {
                    DiskOp::Create { file } => {
                        self.files.entry(file).or_insert_with(|| SimFile { changed_at: events, ..SimFile::default() });
                    }
                    DiskOp::Sync { file } => {
                        if let Some(file) = self.files.get_mut(&file) {
                            file.sync(pending.submitted_at);
                        }
                    }
                    DiskOp::Remove { file } => drop(self.remove_file(file)),
                    DiskOp::Retire { file } => drop(self.retire(file)),
                    DiskOp::Reuse { retired, file } => drop(self.reuse(retired, file)),
                    _ => {}
                }
            }
        }
    }
}
