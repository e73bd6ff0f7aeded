//! One simulated file: what reads see, what a power cut leaves, and what lies between.

use crate::SimRandom;
use env::disk::FileNumber;

/// Disks write this many bytes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// A completed write that no sync covers yet.
#[derive(Clone, Debug)]
pub(super) struct Dirty {
    pub(super) offset: usize,
    pub(super) bytes: Vec<u8>,
    /// When it completed, in events.
    pub(super) done_at: u64,
}

/// What a power cut does to one unsynced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Lose,
    Keep,
    /// The first sectors stay.
    Tear,
    /// Any sectors stay.
    Scatter,
}

/// What a file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Segment(FileNumber),
    Retired(FileNumber),
}

#[derive(Clone, Debug, Default)]
pub(super) struct SimFile {
    /// What reads see: the page cache.
    pub(super) cache: Vec<u8>,
    /// What a power cut leaves.
    pub(super) disk: Vec<u8>,
    pub(super) dirty: Vec<Dirty>,
    /// What it is called after a power cut; nothing where it is gone then.
    pub(super) durable_as: Option<Name>,
    /// When it was created, removed or given another name, in events.
    pub(super) changed_at: u64,
    pub(super) open: bool,
    /// Ranges that cannot be read.
    pub(super) unreadable: Vec<(u64, u64)>,
}

impl SimFile {
    /// A completed write: seen by reads, not durable.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8], done_at: u64) {
        overlay(&mut self.cache, offset, bytes);
        self.dirty.push(Dirty { offset, bytes: bytes.to_vec(), done_at });
    }

    /// A sync that was submitted at an event: what had completed before is durable now (D1).
    pub(super) fn sync(&mut self, submitted_at: u64) {
        for dirty in self.take_before(submitted_at) {
            overlay(&mut self.disk, dirty.offset, &dirty.bytes);
        }
    }

    /// A sync that failed: its pages are marked clean, some reached the disk, some did not (D3).
    pub(super) fn sync_failed(&mut self, submitted_at: u64, random: &mut SimRandom) {
        for dirty in self.take_before(submitted_at) {
            let mood = Mood::any(random);
            settle(&mut self.disk, &dirty, mood, random);
        }
    }

    fn take_before(&mut self, submitted_at: u64) -> Vec<Dirty> {
        let (covered, rest) = self.dirty.drain(..).partition(|dirty| dirty.done_at < submitted_at);
        self.dirty = rest;
        covered
    }

    /// What a power cut leaves of the unsynced writes.
    pub(super) fn power_cut(&mut self, mood: Option<Mood>, random: &mut SimRandom) {
        for dirty in std::mem::take(&mut self.dirty) {
            let mood = mood.unwrap_or_else(|| Mood::any(random));
            settle(&mut self.disk, &dirty, mood, random);
        }
        self.cache = self.disk.clone();
        self.open = false;
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
        self.disk.truncate(length);
        for dirty in &mut self.dirty {
            dirty.bytes.truncate(length.saturating_sub(dirty.offset));
        }
        self.dirty.retain(|dirty| !dirty.bytes.is_empty());
    }
}

impl Mood {
    pub(super) fn any(random: &mut SimRandom) -> Mood {
        [Mood::Lose, Mood::Keep, Mood::Tear, Mood::Scatter][random.below(4) as usize]
    }
}

/// Lets part of a write reach the disk, in whole sectors of the file.
pub(super) fn settle(disk: &mut Vec<u8>, write: &Dirty, mood: Mood, random: &mut SimRandom) {
    let end = write.offset + write.bytes.len();
    let mut torn = false;
    let mut at = write.offset;
    while at < end {
        let to = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        let keep = match mood {
            Mood::Lose => false,
            Mood::Keep => true,
            Mood::Tear => {
                torn |= random.below(4) == 0;
                !torn
            }
            Mood::Scatter => random.coin(),
        };
        if keep {
            overlay(disk, at, &write.bytes[at - write.offset..to - write.offset]);
        }
        at = to;
    }
    // The length may be ahead of the bytes: a hole of zeros.
    if mood != Mood::Lose && disk.len() < end && random.below(4) == 0 {
        disk.resize(end, 0);
    }
}

fn overlay(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}
