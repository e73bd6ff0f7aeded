//! The latest value of every tag of one shard: one writer, any number of readers, no lock.
//!
//! Invariants
//! - L1: one writer ([`LatestWriter`] is neither `Clone` nor `Sync`).
//! - L2: a read answers a value that was written in one piece (a sequence lock per cell: odd while
//!   it is written; all fields are atomics, so a torn read is discarded, never undefined).
//! - L3: a cell that exists never moves or goes away: chunks of 1024 cells are only added.
//!
//! It deliberately keeps no history and no text: a text value's bits are its `TextId`.

use std::{
    cell::Cell as ThreadCell,
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use model::{ValueKind, limits::TAGS_MAX};

use crate::atomic::{AtomicI64, AtomicU64, Ordering, fence, spin_loop, yield_now};

/// Cells of one chunk: 64 KiB, so that a small plant pays for what it has.
const CHUNK_CELLS: usize = 1024;
/// Chunks of a full table.
const CHUNKS_MAX: usize = TAGS_MAX as usize / CHUNK_CELLS;
/// Tries that a reader spins before it lets another thread run: the writer may have been
/// preempted in the middle of a write on a machine with too few cores.
const SPINS_MAX: u32 = 64;

/// What is known of a tag at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The value's 64 bits, as in a frame.
    pub bits: u64,
    /// How to read them.
    pub kind: ValueKind,
    /// OPC UA StatusCode (`model::Quality`).
    pub quality: u32,
    /// The device's time, nanoseconds since 1970 UTC.
    pub source_time_ns: i64,
    /// The server's time, nanoseconds since 1970 UTC.
    pub server_time_ns: i64,
    /// When the source last said anything about this tag, nanoseconds since 1970 UTC.
    pub seen_ns: i64,
}

/// One cell: a cache line of its own, so that a scattered write touches one line.
#[repr(align(64))]
struct Slot {
    /// 0: never written. Odd: being written. Even: number of writes times two.
    version: AtomicU64,
    bits: AtomicU64,
    /// Quality in the low 32 bits, kind in the 8 above.
    kind_quality: AtomicU64,
    source_time_ns: AtomicI64,
    server_time_ns: AtomicI64,
    seen_ns: AtomicI64,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            version: AtomicU64::new(0),
            bits: AtomicU64::new(0),
            kind_quality: AtomicU64::new(0),
            source_time_ns: AtomicI64::new(0),
            server_time_ns: AtomicI64::new(0),
            seen_ns: AtomicI64::new(0),
        }
    }

    #[inline]
    fn write(&self, latest: Latest) {
        // Relaxed: only this thread writes the version (L1).
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Release fence: publishes the odd version before any field below, to a reader whose
        // acquire fence follows a read of such a field.
        fence(Ordering::Release);
        // Relaxed fields: ordered by the fence above and the release store below.
        self.bits.store(latest.bits, Ordering::Relaxed);
        let kind_quality = u64::from(latest.kind as u8) << 32 | u64::from(latest.quality);
        self.kind_quality.store(kind_quality, Ordering::Relaxed);
        self.source_time_ns.store(latest.source_time_ns, Ordering::Relaxed);
        self.server_time_ns.store(latest.server_time_ns, Ordering::Relaxed);
        self.seen_ns.store(latest.seen_ns, Ordering::Relaxed);
        // Release: publishes all fields to a reader that sees this even version first.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn touch(&self, seen_ns: i64) {
        // Relaxed: the time stands for itself; beside an older value it is as true.
        self.seen_ns.store(seen_ns, Ordering::Relaxed);
    }

    fn read(&self) -> Option<Latest> {
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
                let bits = self.bits.load(Ordering::Relaxed);
                let kind_quality = self.kind_quality.load(Ordering::Relaxed);
                let source_time_ns = self.source_time_ns.load(Ordering::Relaxed);
                let server_time_ns = self.server_time_ns.load(Ordering::Relaxed);
                let seen_ns = self.seen_ns.load(Ordering::Relaxed);
                // Acquire fence: if any field above came from a later write, its odd version is
                // seen by the look below.
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == before {
                    let kind = ValueKind::from_u8((kind_quality >> 32) as u8)?;
                    let quality = kind_quality as u32;
                    return Some(Latest { bits, kind, quality, source_time_ns, server_time_ns, seen_ns });
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

type Chunk = OnceLock<Box<[Slot]>>;

/// The table behind its writer and its readers.
struct LatestTable {
    chunks: Box<[Chunk]>,
}

impl LatestTable {
    fn slot(&self, index: u32) -> Option<&Slot> {
        let chunk = self.chunks.get(index as usize / CHUNK_CELLS)?.get()?;
        Some(&chunk[index as usize % CHUNK_CELLS])
    }
}

/// The writing end of a table; owned by one thread (L1).
pub struct LatestWriter {
    table: Arc<LatestTable>,
    /// Not `Sync`: two threads may not write at once.
    one_thread: PhantomData<ThreadCell<()>>,
}

/// A reading end of a table; as many as wanted, on any thread.
#[derive(Clone)]
pub struct LatestReader {
    table: Arc<LatestTable>,
}

/// A new empty table for up to `model::limits::TAGS_MAX` tags. Takes memory as tags come: 64 bytes
/// each, in chunks of 1024.
#[must_use]
pub fn latest_table() -> (LatestWriter, LatestReader) {
    let chunks = std::iter::repeat_with(Chunk::new).take(CHUNKS_MAX).collect();
    let table = Arc::new(LatestTable { chunks });
    (LatestWriter { table: table.clone(), one_thread: PhantomData }, LatestReader { table })
}

impl LatestWriter {
    /// Sets a tag's latest value.
    ///
    /// # Panics
    /// `index` is not below `TAGS_MAX`: the log that gives tags their numbers has broken its limit.
    #[inline]
    pub fn write(&self, index: u32, latest: Latest) {
        self.chunk(index as usize)[index as usize % CHUNK_CELLS].write(latest);
    }

    /// Sets the latest values of consecutive tags, one look-up a chunk.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    #[inline]
    pub fn write_run(&self, first: u32, mut latests: impl ExactSizeIterator<Item = Latest>) {
        let mut index = first as usize;
        while latests.len() > 0 {
            let cells = &self.chunk(index)[index % CHUNK_CELLS..];
            index += cells.len();
            // the cells come first: when they end, no value is taken that has none
            cells.iter().zip(&mut latests).for_each(|(cell, latest)| cell.write(latest));
        }
    }

    fn chunk(&self, index: usize) -> &[Slot] {
        assert!(index < TAGS_MAX as usize, "tag number {index} is not below the limit of {TAGS_MAX} tags");
        self.table.chunks[index / CHUNK_CELLS]
            .get_or_init(|| std::iter::repeat_with(Slot::new).take(CHUNK_CELLS).collect())
    }

    /// Notes that the source spoke of the tag without a new value. Nothing where no value is yet.
    pub fn touch(&self, index: u32, seen_ns: i64) {
        if let Some(slot) = self.table.slot(index) {
            slot.touch(seen_ns);
        }
    }

    /// The latest value of a tag, `None` before the first.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<Latest> {
        self.table.slot(index)?.read()
    }

    /// A reading end.
    #[must_use]
    pub fn reader(&self) -> LatestReader {
        LatestReader { table: self.table.clone() }
    }
}

impl LatestReader {
    /// The latest value of a tag, `None` before the first.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<Latest> {
        self.table.slot(index)?.read()
    }
}

impl fmt::Debug for LatestWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestWriter").finish_non_exhaustive()
    }
}

impl fmt::Debug for LatestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
fn sample(n: u64) -> Latest {
    let time = n as i64;
    Latest {
        bits: n,
        kind: ValueKind::I64,
        quality: n as u32,
        source_time_ns: time,
        server_time_ns: time,
        seen_ns: time,
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::{sync::Arc, thread};

    /// R2: a reader beside a writer sees nothing, the first or the second write, never a mixture.
    ///
    /// The writer is the thread that runs first. Loom tries another order where an access meets the
    /// last one before it on the same atomic by another thread, and the writer's look at its own
    /// version would hide from it that a reader's look came before: then one order is all it tries.
    #[test]
    fn a_value_is_seen_whole() {
        static SEEN: [std::sync::atomic::AtomicU64; 3] = [const { std::sync::atomic::AtomicU64::new(0) }; 3];
        // The reader's retries are bounded by the writer's two writes; three preemptions show all
        // that two threads of this size can do to each other.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let slot = Arc::new(Slot::new());
            let reader = {
                let slot = slot.clone();
                thread::spawn(move || {
                    let seen = slot.read();
                    let which = [None, Some(sample(1)), Some(sample(2))].iter().position(|whole| *whole == seen);
                    let Some(which) = which else { panic!("torn: {seen:?}") };
                    SEEN[which].fetch_add(1, Ordering::Relaxed);
                })
            };
            slot.write(sample(1));
            slot.write(sample(2));
            reader.join().expect("the reader ends");
            assert_eq!(slot.read(), Some(sample(2)));
        });
        for (which, times) in ["nothing", "the first", "the second"].iter().zip(&SEEN) {
            assert!(times.load(Ordering::Relaxed) > 0, "no order was tried in which the reader sees {which}");
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn an_unwritten_cell_says_nothing_even_when_touched() {
        let (writer, reader) = latest_table();
        assert_eq!(reader.read(0), None);
        assert_eq!(reader.read(u32::MAX), None);
        writer.touch(7, 1);
        writer.write(8, sample(8));
        writer.touch(7, 2);
        assert_eq!(reader.read(7), None);
        writer.touch(8, 99);
        assert_eq!(reader.read(8), Some(Latest { seen_ns: 99, ..sample(8) }));
        writer.write(TAGS_MAX - 1, sample(3));
        assert_eq!(writer.read(TAGS_MAX - 1), Some(sample(3)));
    }

    #[test]
    #[should_panic(expected = "not below the limit")]
    fn a_number_beyond_the_limit_is_a_broken_log() {
        latest_table().0.write(TAGS_MAX, sample(0));
    }

    /// R2 on real threads: two readers beside a writer in a tight loop.
    #[test]
    fn readers_beside_a_writer_see_values_whole() {
        const WRITES: u64 = 100_000;
        let (writer, reader) = latest_table();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let reader = reader.clone();
                scope.spawn(move || {
                    let mut last = 0;
                    while last < WRITES {
                        let Some(seen) = reader.read(5) else { continue };
                        assert_eq!(seen, sample(seen.bits), "torn");
                        assert!(seen.bits >= last, "went back");
                        last = seen.bits;
                    }
                });
            }
            for n in 1..=WRITES {
                writer.write(5, sample(n));
            }
        });
    }

    proptest! {
        /// Runs begin, end and cross chunks anywhere.
        #[test]
        fn behaves_like_a_map(writes in prop::collection::vec((0_u32..5_000, any::<u64>(), 0_u32..2_500), 0..60)) {
            let (writer, reader) = latest_table();
            let mut map = HashMap::new();
            for (index, n, run) in writes {
                let run = run.min(5_000 - index);
                writer.write(index, sample(n));
                map.insert(index, sample(n));
                writer.write_run(index, (0..run).map(|i| sample(n ^ u64::from(i))));
                map.extend((0..run).map(|i| (index + i, sample(n ^ u64::from(i)))));
            }
            for index in 0..5_000 {
                prop_assert_eq!(reader.read(index), map.get(&index).copied());
            }
        }
    }
}
