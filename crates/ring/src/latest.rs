//! The latest value of every tag of one shard: one writer, any number of readers, no lock.
//!
//! Invariants
//! - L1: one writer ([`LatestWriter`] is neither `Clone` nor `Sync`).
//! - L2: a read answers a value that was written in one piece (a sequence lock per block of cells:
//!   odd while it is written; all fields are atomics, so a torn read is discarded, never undefined).
//! - L3: a cell that exists never moves or goes away: chunks of 1024 cells are only added.
//!
//! It deliberately keeps no history and no text: a text value's bits are its `TextId`.

mod block;

use std::{
    cell::Cell as ThreadCell,
    fmt,
    sync::{Arc, OnceLock},
};

use block::{Block, LANES};
use model::{ValueKind, limits::TAGS_MAX};

/// Cells of one chunk: 12 KiB, so that a small plant pays for what it has.
const CHUNK_CELLS: usize = 1024;
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
    /// When the source last said anything about this tag, nanoseconds since 1970 UTC.
    pub seen_ns: i64,
}

impl Stamp {
    /// A value with this stamp.
    #[must_use]
    pub const fn with(self, bits: u64, kind: ValueKind) -> Latest {
        let Stamp { quality, source_time_ns, server_time_ns, seen_ns } = self;
        Latest { bits, kind, quality, source_time_ns, server_time_ns, seen_ns }
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
    /// When the source last said anything about this tag, nanoseconds since 1970 UTC.
    pub seen_ns: i64,
}

impl Latest {
    /// All but the value.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        let Latest { quality, source_time_ns, server_time_ns, seen_ns, .. } = *self;
        Stamp { quality, source_time_ns, server_time_ns, seen_ns }
    }
}

type Chunk = OnceLock<Box<[Block]>>;

/// The table behind its writer and its readers.
struct LatestTable {
    chunks: Box<[Chunk]>,
}

impl LatestTable {
    fn block(&self, index: u32) -> Option<&Block> {
        let chunk = self.chunks.get(index as usize / CHUNK_CELLS)?.get()?;
        Some(&chunk[index as usize % CHUNK_CELLS / LANES])
    }

    fn read(&self, index: u32) -> Option<Latest> {
        self.block(index)?.read(index as usize % LANES)
    }
}

/// The writing end of a table; owned by one thread (L1).
pub struct LatestWriter {
    table: Arc<LatestTable>,
    /// Bytes of memory that the table takes. Not `Sync`: two threads may not write at once.
    bytes: ThreadCell<usize>,
}

/// A reading end of a table; as many as wanted, on any thread.
#[derive(Clone)]
pub struct LatestReader {
    table: Arc<LatestTable>,
}

/// A new empty table for up to `model::limits::TAGS_MAX` tags. Takes memory as tags come: 12.5
/// bytes each in chunks of 1024, and 32 more for those whose values come alone.
#[must_use]
pub fn latest_table() -> (LatestWriter, LatestReader) {
    let chunks = std::iter::repeat_with(Chunk::new).take(CHUNKS_MAX).collect();
    let table = Arc::new(LatestTable { chunks });
    let bytes = ThreadCell::new(CHUNKS_MAX * size_of::<Chunk>());
    (LatestWriter { table: table.clone(), bytes }, LatestReader { table })
}

impl LatestWriter {
    /// Sets a tag's latest value.
    ///
    /// # Panics
    /// `index` is not below `TAGS_MAX`: the log that gives tags their numbers has broken its limit.
    #[inline]
    pub fn write(&self, index: u32, latest: Latest) {
        self.write_run(index, 1, latest.stamp(), |_| (latest.bits, latest.kind));
    }

    /// Sets the latest values of consecutive tags that have one stamp: `cell(i)` is the value and
    /// kind of the tag `first + i`.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    #[inline]
    pub fn write_run(&self, first: u32, count: usize, stamp: Stamp, cell: impl Fn(usize) -> (u64, ValueKind)) {
        let (first, mut at) = (first as usize, 0);
        while at < count {
            let (block, lane) = (self.block(first + at), (first + at) % LANES);
            let here = (LANES - lane).min(count - at);
            if here == LANES {
                block.write_all(stamp, |i| cell(at + i));
            } else {
                if !block.is_apart() {
                    self.bytes.set(self.bytes.get() + Block::APART_BYTES);
                }
                block.write_some(lane..lane + here, stamp, |i| cell(at + i));
            }
            at += here;
        }
    }

    #[inline]
    fn block(&self, index: usize) -> &Block {
        assert!(index < TAGS_MAX as usize, "tag number {index} is not below the limit of {TAGS_MAX} tags");
        let chunk = self.table.chunks[index / CHUNK_CELLS].get_or_init(|| {
            self.bytes.set(self.bytes.get() + CHUNK_CELLS / LANES * size_of::<Block>());
            std::iter::repeat_with(Block::new).take(CHUNK_CELLS / LANES).collect()
        });
        &chunk[index % CHUNK_CELLS / LANES]
    }

    /// Notes that the source spoke of the tag without a new value. Nothing where no value is yet.
    pub fn touch(&self, index: u32, seen_ns: i64) {
        if let Some(block) = self.table.block(index) {
            let was_apart = block.is_apart();
            block.touch(index as usize % LANES, seen_ns);
            if !was_apart && block.is_apart() {
                self.bytes.set(self.bytes.get() + Block::APART_BYTES);
            }
        }
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
                    writer.write(5, sample(n));
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
            let mut map = HashMap::new();
            for (index, n, run) in writes {
                let run = run.min(5_000 - index);
                writer.write(index, sample(n));
                map.insert(index, sample(n));
                let stamp = sample(n).stamp();
                let cell = |i: u64| (n ^ i, if i.is_multiple_of(3) { ValueKind::F64 } else { ValueKind::Bool });
                writer.write_run(index, run as usize, stamp, |i| cell(i as u64));
                map.extend((0..run).map(|i| {
                    let (bits, kind) = cell(u64::from(i));
                    (index + i, stamp.with(bits, kind))
                }));
                writer.touch(index, 7);
                map.entry(index).and_modify(|latest: &mut Latest| latest.seen_ns = 7);
            }
            for index in 0..5_000 {
                prop_assert_eq!(reader.read(index), map.get(&index).copied());
            }
        }
    }
}
