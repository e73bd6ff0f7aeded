//! Sixteen cells under one sequence lock, laid out for scans.
//!
//! A scan brings one time and one quality for a run of tags, so cells that follow each other nearly
//! always agree in all but their value. A block keeps the stamp once while all of its cells agree,
//! and a scan then writes 10 bytes a tag in place of 64. A value that comes for one tag alone gives
//! each cell of its block a stamp of its own with the value beside it, until a scan of the whole
//! block comes again: one value alone then touches two cache lines, the lock's and its cell's.
//!
//! Invariants
//! - B1: everything but `version` is written only while `version` is odd, by the one writer.
//! - B2: while `mode` is agreed every cell was written and `apart` means nothing; while it is apart,
//!   `apart` is there, and `bits`, `kinds` and `shared` mean nothing but the mode.

use super::{Latest, Stamp};
use crate::atomic::{AtomicI64, AtomicU64, Ordering, fence, spin_loop, yield_now};
use model::ValueKind;
use std::ops::Range;
use std::sync::OnceLock;

/// Cells of a block; two show loom all that sixteen can do.
pub(super) const LANES: usize = if cfg!(all(loom, test)) { 2 } else { 16 };
/// Bits of a kind in the word of kinds, and of the mode and the kind in a stamp's first word.
const KIND_BITS: usize = 4;
const MODE_AT: usize = 32;
const KIND_AT: usize = 40;
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
    /// Quality in the low 32 bits, the mode in the eight above, the kind in those above.
    head: AtomicU64,
    source_time_ns: AtomicI64,
    server_time_ns: AtomicI64,
}

impl StampCell {
    fn new() -> StampCell {
        StampCell {
            head: AtomicU64::new(NOBODY << MODE_AT),
            source_time_ns: AtomicI64::new(0),
            server_time_ns: AtomicI64::new(0),
        }
    }

    // Relaxed throughout: the block's version orders these (B1).
    #[inline]
    fn store(&self, mode: u64, kind: u64, stamp: Stamp) {
        let head = kind << KIND_AT | mode << MODE_AT | u64::from(stamp.quality);
        self.head.store(head, Ordering::Relaxed);
        self.source_time_ns.store(stamp.source_time_ns, Ordering::Relaxed);
        self.server_time_ns.store(stamp.server_time_ns, Ordering::Relaxed);
    }

    #[inline]
    fn mode(&self) -> u64 {
        mode(self.head.load(Ordering::Relaxed))
    }

    fn set_mode(&self, mode: u64) {
        self.head.store(mode << MODE_AT, Ordering::Relaxed);
    }

    fn load(&self) -> (u64, Stamp) {
        let head = self.head.load(Ordering::Relaxed);
        let stamp = Stamp {
            quality: head as u32,
            source_time_ns: self.source_time_ns.load(Ordering::Relaxed),
            server_time_ns: self.server_time_ns.load(Ordering::Relaxed),
        };
        (head, stamp)
    }
}

const fn mode(head: u64) -> u64 {
    head >> MODE_AT & 0xFF
}

/// A cell that has a stamp of its own: half a cache line.
struct OwnCell {
    stamp: StampCell,
    bits: AtomicU64,
}

impl OwnCell {
    fn new() -> OwnCell {
        OwnCell { stamp: StampCell::new(), bits: AtomicU64::new(0) }
    }

    // Relaxed: the block's version orders these (B1).
    #[inline]
    fn store(&self, stamp: Stamp, (bits, kind): (u64, u64)) {
        self.stamp.store(APART, kind, stamp);
        self.bits.store(bits, Ordering::Relaxed);
    }
}

/// The cells of a block whose stamps differ.
#[repr(align(64))]
pub(super) struct Apart([OwnCell; LANES]);

impl Apart {
    pub(super) fn new() -> Box<Apart> {
        Box::new(Apart(std::array::from_fn(|_| OwnCell::new())))
    }
}

/// Cells of consecutive tags: three cache lines, of which the last is all that a value alone touches
/// beside its own cell.
#[repr(C, align(64))]
pub(super) struct Block {
    bits: [AtomicU64; LANES],
    /// 0: never written. Odd: being written. Even: number of writes times two.
    version: AtomicU64,
    shared: StampCell,
    /// Four bits a cell.
    kinds: AtomicU64,
    /// There from the first value on that came alone.
    pub(super) apart: OnceLock<Box<Apart>>,
}

#[cfg(not(all(loom, test)))]
const _: () = assert!(size_of::<Block>() == 192 && size_of::<Apart>() == 512 && LANES * KIND_BITS == 64);

impl Block {
    pub(super) fn new() -> Block {
        Block {
            bits: std::array::from_fn(|_| AtomicU64::new(0)),
            version: AtomicU64::new(0),
            shared: StampCell::new(),
            kinds: AtomicU64::new(0),
            apart: OnceLock::new(),
        }
    }

    /// Runs with an odd version.
    #[inline(always)]
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
            self.shared.store(AGREED, 0, stamp);
            let kinds = (0..LANES).fold(0, |kinds, lane| kinds | (cell(lane).1 as u64) << (KIND_BITS * lane));
            self.kinds.store(kinds, Ordering::Relaxed);
            for (lane, bits) in self.bits.iter().enumerate() {
                bits.store(cell(lane).0, Ordering::Relaxed);
            }
        });
    }

    /// Sets some cells: `cell(i)` is the value and kind of the i-th of these. `apart` is this block's.
    #[inline]
    pub(super) fn write_some(
        &self,
        apart: &Apart,
        lanes: Range<usize>,
        stamp: Stamp,
        cell: impl Fn(usize) -> (u64, ValueKind),
    ) {
        self.writing(|| {
            self.part(apart);
            for (i, own) in apart.0[lanes].iter().enumerate() {
                let (bits, kind) = cell(i);
                own.store(stamp, (bits, kind as u64));
            }
        });
    }

    /// Sets one cell. `apart` is this block's.
    #[inline(always)]
    pub(super) fn write_one(&self, apart: &Apart, lane: usize, stamp: Stamp, (bits, kind): (u64, ValueKind)) {
        self.writing(|| {
            self.part(apart);
            apart.0[lane % LANES].store(stamp, (bits, kind as u64));
        });
    }

    /// Gives each cell a stamp of its own, where they agree; called while writing.
    #[inline]
    fn part(&self, apart: &Apart) {
        if self.shared.mode() != APART {
            self.part_now(apart);
        }
    }

    #[cold]
    fn part_now(&self, apart: &Apart) {
        let (head, stamp) = self.shared.load();
        if mode(head) == AGREED {
            // Relaxed: this thread wrote these.
            let kinds = self.kinds.load(Ordering::Relaxed);
            for (lane, (own, bits)) in apart.0.iter().zip(&self.bits).enumerate() {
                own.store(stamp, (bits.load(Ordering::Relaxed), kind_of(kinds, lane)));
            }
        }
        self.shared.set_mode(APART);
    }

    /// What a cell says; `None` where it was never written. It was last spoken of when it was written.
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
                let (mode, stamp, bits, kind) = self.fields(lane);
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

    /// Mode, stamp, bits and kind of a cell, whatever is being written.
    #[inline]
    fn fields(&self, lane: usize) -> (u64, Stamp, u64, u64) {
        let (head, stamp) = self.shared.load();
        match (mode(head), self.apart.get()) {
            (APART, Some(apart)) => {
                let own = &apart.0[lane];
                let (head, stamp) = own.stamp.load();
                (mode(head), stamp, own.bits.load(Ordering::Relaxed), head >> KIND_AT)
            }
            (mode, _) => {
                let kinds = self.kinds.load(Ordering::Relaxed);
                (mode, stamp, self.bits[lane].load(Ordering::Relaxed), kind_of(kinds, lane))
            }
        }
    }
}

const fn kind_of(kinds: u64, lane: usize) -> u64 {
    kinds >> (KIND_BITS * lane) & 0xF
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::super::sample;
    use super::*;
    use loom::{sync::Arc, thread};

    /// Sets the first cell.
    fn write_one(block: &Block, latest: Latest) {
        block.write_one(block.apart.get_or_init(Apart::new), 0, latest.stamp(), (latest.bits, latest.kind));
    }

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
            write_one(block, sample(1));
            write_one(block, sample(2));
        });
    }

    /// R2 where a scan's values give way to one for a tag alone.
    #[test]
    fn a_value_is_seen_whole_while_cells_part() {
        seen_whole([None, Some(sample(1)), Some(sample(2))], 0, |block| {
            block.write_all(sample(1).stamp(), |_| (1, sample(1).kind));
            write_one(block, sample(2));
        });
    }

    /// R2 where values for tags alone give way to a scan's.
    #[test]
    fn a_value_is_seen_whole_while_cells_come_to_agree() {
        seen_whole([None, Some(sample(1)), Some(sample(2))], 0, |block| {
            write_one(block, sample(1));
            block.write_all(sample(2).stamp(), |_| (2, sample(2).kind));
        });
    }
}
