//! The latest value of every tag of one shard: one writer, any number of readers, no lock.
//!
//! Invariants
//! - L1: one writer ([`LatestWriter`] is neither `Clone` nor `Sync`).
//! - L2: a read answers a value that was written in one piece (a sequence lock per block of cells:
//!   odd while it is written; all fields are atomics, so a torn read is discarded, never undefined).
//!   The time at which a tag was last spoken of without a value stands for itself, beside them.
//! - L3: a cell that exists never moves or goes away: chunks of 1024 cells are only added.
//!
//! It deliberately keeps no history and no text: a text value's bits are its `TextId`.

mod block;

use std::{
    cell::Cell as ThreadCell,
    fmt,
    sync::{Arc, OnceLock},
};

use crate::atomic::{AtomicI64, Ordering};
use block::{Apart, Block, LANES};
use model::{ValueKind, limits::TAGS_MAX};

/// Cells of one chunk: 12 KiB, so that a small plant pays for what it has.
const CHUNK_CELLS: usize = 1024;
const CHUNK_BLOCKS: usize = CHUNK_CELLS / LANES;
/// A table of so many bytes stays in a core's caches from scan to scan.
const CACHED_BYTES: usize = 1 << 20;
/// So many cells before a run comes to one, its memory is asked for.
const AHEAD_CELLS: usize = 16 * LANES;
/// Chunks of a full table.
const CHUNKS_MAX: usize = TAGS_MAX as usize / CHUNK_CELLS;

/// What is known of a value beside itself; a scan says it of all its tags at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// OPC UA StatusCode (`model::Quality`).
    pub quality: u32,
    /// The device's time, nanoseconds since 1970 UTC.
    pub source_time_ns: i64,
    /// The server's time, nanoseconds since 1970 UTC.
    pub server_time_ns: i64,
}

impl Stamp {
    /// A value with this stamp, last spoken of when it came.
    #[must_use]
    pub const fn with(self, bits: u64, kind: ValueKind) -> Latest {
        let Stamp { quality, source_time_ns, server_time_ns } = self;
        Latest { bits, kind, quality, source_time_ns, server_time_ns, seen_ns: server_time_ns }
    }
}

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
    /// When the source last said anything about this tag, nanoseconds since 1970 UTC: with this value
    /// or later.
    pub seen_ns: i64,
}

impl Latest {
    /// All but the value.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        let Latest { quality, source_time_ns, server_time_ns, .. } = *self;
        Stamp { quality, source_time_ns, server_time_ns }
    }
}

/// Cells of consecutive tags that come into being together.
#[derive(Default)]
struct Chunk {
    blocks: OnceLock<Box<[Block; CHUNK_BLOCKS]>>,
    /// When tags were spoken of without a new value; there from the first time on.
    seen: OnceLock<Box<[AtomicI64; CHUNK_CELLS]>>,
}

/// The table behind its writer and its readers.
#[derive(Clone)]
struct LatestTable {
    chunks: Arc<[Chunk]>,
}

impl LatestTable {
    fn read(&self, index: u32) -> Option<Latest> {
        let (chunk, at) = (self.chunks.get(index as usize / CHUNK_CELLS)?, index as usize % CHUNK_CELLS);
        let mut latest = chunk.blocks.get()?[at / LANES].read(at % LANES)?;
        if let Some(seen) = chunk.seen.get() {
            // Relaxed: the time stands for itself; beside an older value it is as true.
            latest.seen_ns = latest.seen_ns.max(seen[at].load(Ordering::Relaxed));
        }
        Some(latest)
    }
}

/// The writing end of a table; owned by one thread (L1).
pub struct LatestWriter {
    table: LatestTable,
    /// Bytes of memory that the table takes. Not `Sync`: two threads may not write at once.
    bytes: ThreadCell<usize>,
}

/// A reading end of a table; as many as wanted, on any thread.
#[derive(Clone)]
pub struct LatestReader {
    table: LatestTable,
}

/// A new empty table for up to `model::limits::TAGS_MAX` tags. Takes memory as tags come, in chunks
/// of 1024: 12 bytes each, 32 more for those whose values come alone, and 8 more for those that are
/// spoken of without a new value.
#[must_use]
pub fn latest_table() -> (LatestWriter, LatestReader) {
    let table = LatestTable { chunks: std::iter::repeat_with(Chunk::default).take(CHUNKS_MAX).collect() };
    let bytes = ThreadCell::new(CHUNKS_MAX * size_of::<Chunk>());
    (LatestWriter { table: table.clone(), bytes }, LatestReader { table })
}

/// An array that was never on the stack.
fn boxed<T, const N: usize>(item: impl Fn() -> T) -> Box<[T; N]> {
    let items: Box<[T]> = std::iter::repeat_with(item).take(N).collect();
    let Ok(items) = items.try_into() else { unreachable!("{N} items were taken") };
    items
}

impl LatestWriter {
    /// Sets a tag's latest value.
    ///
    /// # Panics
    /// `index` is not below `TAGS_MAX`: the log that gives tags their numbers has broken its limit.
    #[inline(always)]
    pub fn write(&self, index: u32, stamp: Stamp, bits: u64, kind: ValueKind) {
        let (block, lane) = (self.block(index as usize), index as usize % LANES);
        block.write_one(self.apart(block), lane, stamp, (bits, kind));
    }

    /// Sets the latest values of consecutive tags that have one stamp: `cell(i)` is the value and
    /// kind of the tag `first + i`.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    #[inline]
    pub fn write_run(&self, first: u32, count: usize, stamp: Stamp, cell: impl Fn(usize) -> (u64, ValueKind)) {
        let (first, mut at, fetches) = (first as usize, 0, self.bytes.get() > CACHED_BYTES);
        while at < count {
            let (block, lane) = (self.block(first + at), (first + at) % LANES);
            if fetches {
                self.fetch_ahead(first + at);
            }
            let here = (LANES - lane).min(count - at);
            if here == LANES {
                block.write_all(stamp, |i| cell(at + i));
            } else {
                block.write_some(self.apart(block), lane..lane + here, stamp, |i| cell(at + i));
            }
            at += here;
        }
    }

    /// Asks for a block that a run comes to soon.
    #[inline(always)]
    fn fetch_ahead(&self, index: usize) {
        let at = index + AHEAD_CELLS;
        if let Some(blocks) = self.table.chunks.get(at / CHUNK_CELLS).and_then(|chunk| chunk.blocks.get()) {
            crate::fetch(&blocks[at % CHUNK_CELLS / LANES]);
        }
    }

    #[inline(always)]
    fn block(&self, index: usize) -> &Block {
        let blocks = match self.table.chunks.get(index / CHUNK_CELLS).and_then(|chunk| chunk.blocks.get()) {
            Some(blocks) => blocks,
            None => self.new_blocks(index),
        };
        &blocks[index % CHUNK_CELLS / LANES]
    }

    #[cold]
    fn new_blocks(&self, index: usize) -> &[Block; CHUNK_BLOCKS] {
        assert!(index < TAGS_MAX as usize, "tag number {index} is not below the limit of {TAGS_MAX} tags");
        self.table.chunks[index / CHUNK_CELLS].blocks.get_or_init(|| {
            self.takes(size_of::<[Block; CHUNK_BLOCKS]>());
            boxed(Block::new)
        })
    }

    #[inline(always)]
    fn apart<'b>(&self, block: &'b Block) -> &'b Apart {
        match block.apart.get() {
            Some(apart) => apart,
            None => self.new_apart(block),
        }
    }

    #[cold]
    fn new_apart<'b>(&self, block: &'b Block) -> &'b Apart {
        self.takes(size_of::<Apart>());
        block.apart.get_or_init(Apart::new)
    }

    fn takes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Notes that the source spoke of the tag without a new value. Nothing where no tag near it has a
    /// value yet.
    pub fn touch(&self, index: u32, seen_ns: i64) {
        let (chunk, at) = (index as usize / CHUNK_CELLS, index as usize % CHUNK_CELLS);
        let Some(chunk) = self.table.chunks.get(chunk).filter(|chunk| chunk.blocks.get().is_some()) else { return };
        let seen = chunk.seen.get_or_init(|| {
            self.takes(size_of::<[AtomicI64; CHUNK_CELLS]>());
            boxed(|| AtomicI64::new(i64::MIN))
        });
        // Relaxed: the time stands for itself.
        seen[at].store(seen_ns, Ordering::Relaxed);
    }

    /// The latest value of a tag, `None` before the first.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<Latest> {
        self.table.read(index)
    }

    /// Bytes of memory that the table takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.get()
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
        self.table.read(index)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn write(writer: &LatestWriter, index: u32, latest: Latest) {
        writer.write(index, latest.stamp(), latest.bits, latest.kind);
    }

    #[test]
    fn an_unwritten_cell_says_nothing_even_when_touched() {
        let (writer, reader) = latest_table();
        assert_eq!(reader.read(0), None);
        assert_eq!(reader.read(u32::MAX), None);
        writer.touch(7, 1);
        write(&writer, 8, sample(8));
        writer.touch(7, 2);
        assert_eq!(reader.read(7), None);
        writer.touch(8, 99);
        assert_eq!(reader.read(8), Some(Latest { seen_ns: 99, ..sample(8) }));
        write(&writer, TAGS_MAX - 1, sample(3));
        assert_eq!(writer.read(TAGS_MAX - 1), Some(sample(3)));
    }

    #[test]
    #[should_panic(expected = "not below the limit")]
    fn a_number_beyond_the_limit_is_a_broken_log() {
        write(&latest_table().0, TAGS_MAX, sample(0));
    }

    /// R2 on real threads: two readers beside a writer in a tight loop.
    #[test]
    fn readers_beside_a_writer_see_values_whole() {
        const WRITES: u64 = 20_000;
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
                if n.is_multiple_of(3) {
                    write(&writer, 5, sample(n));
                } else {
                    writer.write_run(0, 16, sample(n).stamp(), |_| (n, ValueKind::I64));
                }
            }
        });
    }

    proptest! {
        /// Runs begin, end and cross chunks anywhere.
        #[test]
        fn behaves_like_a_map(writes in prop::collection::vec((0_u32..5_000, any::<u64>(), 0_u32..2_500), 0..60)) {
            let (writer, reader) = latest_table();
            let (mut map, mut touched) = (HashMap::new(), HashMap::new());
            for (index, n, run) in writes {
                let run = run.min(5_000 - index);
                write(&writer, index, sample(n));
                map.insert(index, sample(n));
                let stamp = sample(n).stamp();
                let cell = |i: u64| (n ^ i, if i.is_multiple_of(3) { ValueKind::F64 } else { ValueKind::Bool });
                writer.write_run(index, run as usize, stamp, |i| cell(i as u64));
                map.extend((0..run).map(|i| {
                    let (bits, kind) = cell(u64::from(i));
                    (index + i, stamp.with(bits, kind))
                }));
                let seen = n as i64 ^ i64::from(run);
                writer.touch(index, seen);
                touched.insert(index, seen);
            }
            for index in 0..5_000 {
                let seen_ns = |server_time_ns: i64| touched.get(&index).map_or(server_time_ns, |seen| server_time_ns.max(*seen));
                let want = map.get(&index).map(|latest: &Latest| Latest { seen_ns: seen_ns(latest.server_time_ns), ..*latest });
                prop_assert_eq!(reader.read(index), want);
            }
        }
    }
}
