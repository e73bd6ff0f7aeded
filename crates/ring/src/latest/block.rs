//! Sixteen cells under one sequence lock, laid out for scans.
//!
//! A scan brings one time and one quality for a run of tags, so cells that follow each other nearly
//! always agree in all but their value. A block keeps the stamp once while all of its cells agree,
//! and a scan then writes 12 bytes a tag in place of 64. A value that comes for one tag alone gives
//! each cell of its block a stamp of its own, until a scan of the whole block comes again.
//!
//! Invariants
//! - B1: everything but `version` is written only while `version` is odd, by the one writer; the
//!   time at which a tag was last spoken of is the exception, because it stands for itself.
//! - B2: while `mode` is agreed every cell was written and `apart` means nothing; while it is apart,
//!   `apart` is there and `shared` means nothing but the mode.

use super::{Latest, Stamp};
use crate::atomic::{AtomicI64, AtomicU64, Ordering, fence, spin_loop, yield_now};
use model::ValueKind;
use std::ops::Range;
use std::sync::OnceLock;

/// Cells of a block; two show loom all that sixteen can do.
pub(super) const LANES: usize = if cfg!(all(loom, test)) { 2 } else { 16 };
/// Kinds in one word.
const KINDS: usize = 8;
const KIND_WORDS: usize = LANES.div_ceil(KINDS);
/// Tries that a reader spins before it lets another thread run: the writer may have been
/// preempted in the middle of a write on a machine with too few cores.
const SPINS_MAX: u32 = 64;

/// No cell was written.
const NOBODY: u64 = 0;
/// Every cell was written, all with the shared stamp.
const AGREED: u64 = 1;
/// Each cell has a stamp of its own, or none. In a cell's own stamp: it was written.
const APART: u64 = 2;

/// A stamp that others may read while it is written.
struct StampCell {
    /// Quality in the low 32 bits, the mode above.
    mode_quality: AtomicU64,
    source_time_ns: AtomicI64,
    server_time_ns: AtomicI64,
    seen_ns: AtomicI64,
}

impl StampCell {
    fn new() -> StampCell {
        StampCell {
            mode_quality: AtomicU64::new(NOBODY << 32),
            source_time_ns: AtomicI64::new(0),
            server_time_ns: AtomicI64::new(0),
            seen_ns: AtomicI64::new(0),
        }
    }

    // Relaxed throughout: the block's version orders these (B1).
    #[inline]
    fn store(&self, mode: u64, stamp: Stamp) {
        self.mode_quality.store(mode << 32 | u64::from(stamp.quality), Ordering::Relaxed);
        self.source_time_ns.store(stamp.source_time_ns, Ordering::Relaxed);
        self.server_time_ns.store(stamp.server_time_ns, Ordering::Relaxed);
        self.seen_ns.store(stamp.seen_ns, Ordering::Relaxed);
    }

    fn mode(&self) -> u64 {
        self.mode_quality.load(Ordering::Relaxed) >> 32
    }

    fn set_mode(&self, mode: u64) {
        self.mode_quality.store(mode << 32, Ordering::Relaxed);
    }

    fn load(&self) -> (u64, Stamp) {
        let mode_quality = self.mode_quality.load(Ordering::Relaxed);
        let stamp = Stamp {
            quality: mode_quality as u32,
            source_time_ns: self.source_time_ns.load(Ordering::Relaxed),
            server_time_ns: self.server_time_ns.load(Ordering::Relaxed),
            seen_ns: self.seen_ns.load(Ordering::Relaxed),
        };
        (mode_quality >> 32, stamp)
    }
}

/// Cells of consecutive tags.
pub(super) struct Block {
    /// 0: never written. Odd: being written. Even: number of writes times two.
    version: AtomicU64,
    shared: StampCell,
    /// Eight bits a cell.
    kinds: [AtomicU64; KIND_WORDS],
    bits: [AtomicU64; LANES],
    apart: OnceLock<Box<[StampCell; LANES]>>,
}

impl Block {
    pub(super) fn new() -> Block {
        Block {
            version: AtomicU64::new(0),
            shared: StampCell::new(),
            kinds: std::array::from_fn(|_| AtomicU64::new(0)),
            bits: std::array::from_fn(|_| AtomicU64::new(0)),
            apart: OnceLock::new(),
        }
    }

    /// Bytes that a block holds beside itself once its cells have stamps of their own.
    pub(super) const APART_BYTES: usize = size_of::<[StampCell; LANES]>();

    /// Whether it holds them.
    pub(super) fn is_apart(&self) -> bool {
        self.apart.get().is_some()
    }

    /// Runs with an odd version.
    #[inline]
    fn writing(&self, write: impl FnOnce()) {
        // Relaxed: only this thread writes the version (L1).
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Release fence: publishes the odd version before any field that is written below, to a
        // reader whose acquire fence follows a read of such a field.
        fence(Ordering::Release);
        write();
        // Release: publishes all fields to a reader that sees this even version first.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// Sets every cell: `cell(i)` is the value and kind of the i-th.
    #[inline]
    pub(super) fn write_all(&self, stamp: Stamp, cell: impl Fn(usize) -> (u64, ValueKind)) {
        self.writing(|| {
            // Relaxed: ordered by the version (B1).
            self.shared.store(AGREED, stamp);
            for (word, kinds) in self.kinds.iter().enumerate() {
                let from = word * KINDS;
                let packed = (from..LANES.min(from + KINDS))
                    .fold(0, |packed, lane| packed | (cell(lane).1 as u64) << (8 * (lane % KINDS)));
                kinds.store(packed, Ordering::Relaxed);
            }
            for (lane, bits) in self.bits.iter().enumerate() {
                bits.store(cell(lane).0, Ordering::Relaxed);
            }
        });
    }

    /// Sets some cells: `cell(i)` is the value and kind of the i-th of these.
    #[inline]
    pub(super) fn write_some(&self, lanes: Range<usize>, stamp: Stamp, cell: impl Fn(usize) -> (u64, ValueKind)) {
        let apart = self.apart.get_or_init(|| Box::new(std::array::from_fn(|_| StampCell::new())));
        self.writing(|| {
            self.part(apart);
            for lane in lanes.clone() {
                let (bits, kind) = cell(lane - lanes.start);
                // Relaxed: ordered by the version (B1).
                let (kinds, shift) = (&self.kinds[lane / KINDS], 8 * (lane % KINDS));
                let others = kinds.load(Ordering::Relaxed) & !(0xFF << shift);
                kinds.store(others | (kind as u64) << shift, Ordering::Relaxed);
                self.bits[lane].store(bits, Ordering::Relaxed);
                apart[lane].store(APART, stamp);
            }
        });
    }

    /// Sets one cell.
    #[cfg(all(test, loom))]
    fn write_one(&self, lane: usize, latest: Latest) {
        self.write_some(lane..lane + 1, latest.stamp(), |_| (latest.bits, latest.kind));
    }

    /// Gives each cell a stamp of its own, where they agree; called while writing.
    #[inline]
    fn part(&self, apart: &[StampCell; LANES]) {
        if self.shared.mode() == AGREED {
            let (_, stamp) = self.shared.load();
            apart.iter().for_each(|cell| cell.store(APART, stamp));
        }
        self.shared.set_mode(APART);
    }

    /// Notes when a tag was spoken of without a new value.
    pub(super) fn touch(&self, lane: usize, seen_ns: i64) {
        if self.shared.mode() == NOBODY {
            return;
        }
        let apart = self.apart.get_or_init(|| Box::new(std::array::from_fn(|_| StampCell::new())));
        if self.shared.mode() == AGREED {
            self.writing(|| self.part(apart));
        }
        // Relaxed: the time stands for itself; beside an older value it is as true.
        apart[lane].seen_ns.store(seen_ns, Ordering::Relaxed);
    }

    /// What a cell says; `None` where it was never written.
    pub(super) fn read(&self, lane: usize) -> Option<Latest> {
        let mut tries = 0_u32;
        loop {
            // Acquire: sees all fields of the write that left this version.
            let before = self.version.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            if before.is_multiple_of(2) {
                // Relaxed fields: the version's acquire orders them after it, the fence before its
                // second look.
                let bits = self.bits[lane].load(Ordering::Relaxed);
                let kind = self.kinds[lane / KINDS].load(Ordering::Relaxed) >> (8 * (lane % KINDS));
                let (mode, stamp) = match (self.shared.load(), self.apart.get()) {
                    ((APART, _), Some(apart)) => apart[lane].load(),
                    (shared, _) => shared,
                };
                // Acquire fence: if any field above came from a later write, its odd version is
                // seen by the look below.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    let kind = ValueKind::from_u8(kind as u8).filter(|_| mode != NOBODY)?;
                    return Some(stamp.with(bits, kind));
                }
            }
            tries = tries.wrapping_add(1);
            if tries.is_multiple_of(SPINS_MAX) || cfg!(all(loom, test)) {
                yield_now();
            } else {
                spin_loop();
            }
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::sample;
    use super::*;
    use loom::{sync::Arc, thread};

    /// Tries every order of two writes beside a reader of the first cell; it must see nothing or
    /// one of these, whole, and in some order each of them.
    fn seen_whole(may: [Option<Latest>; 3], read_lane: usize, write: fn(&Block)) {
        let seen: std::sync::Arc<[std::sync::atomic::AtomicU64; 3]> = std::sync::Arc::default();
        // The reader's retries are bounded by the writer's two writes; three preemptions show all
        // that two threads of this size can do to each other.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        let counts = std::sync::Arc::clone(&seen);
        model.check(move || {
            let block = Arc::new(Block::new());
            let reader = {
                let (block, counts) = (block.clone(), std::sync::Arc::clone(&counts));
                thread::spawn(move || {
                    let found = block.read(read_lane);
                    let which = may.iter().position(|whole| *whole == found);
                    let Some(which) = which else { panic!("torn: {found:?}") };
                    counts[which].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                })
            };
            write(&block);
            reader.join().expect("the reader ends");
            assert_eq!(block.read(read_lane), may[2]);
        });
        for (which, times) in seen.iter().enumerate() {
            let times = times.load(std::sync::atomic::Ordering::Relaxed);
            assert!(times > 0, "no order was tried in which the reader sees {:?}", may[which]);
        }
    }

    /// R2: a reader beside a writer sees nothing, the first or the second write, never a mixture.
    ///
    /// The writer is the thread that runs first. Loom tries another order where an access meets the
    /// last one before it on the same atomic by another thread, and the writer's look at its own
    /// version would hide from it that a reader's look came before: then one order is all it tries.
    #[test]
    fn a_value_is_seen_whole() {
        seen_whole([None, Some(sample(1)), Some(sample(2))], 0, |block| {
            block.write_one(0, sample(1));
            block.write_one(0, sample(2));
        });
    }

    /// R2 where a scan's values give way to one for a tag alone.
    #[test]
    fn a_value_is_seen_whole_while_cells_part() {
        seen_whole([None, Some(sample(1)), Some(sample(2))], 0, |block| {
            block.write_all(sample(1).stamp(), |_| (1, sample(1).kind));
            block.write_one(0, sample(2));
        });
    }

    /// R2 where values for tags alone give way to a scan's.
    #[test]
    fn a_value_is_seen_whole_while_cells_come_to_agree() {
        seen_whole([None, Some(sample(1)), Some(sample(2))], 0, |block| {
            block.write_one(0, sample(1));
            block.write_all(sample(2).stamp(), |_| (2, sample(2).kind));
        });
    }
}
