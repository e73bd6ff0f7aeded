//! Which number a name has: a hash index that one thread fills while any number of others read it.
//!
//! It holds numbers and parts of hashes only; the names lie with whoever asks, who says which number
//! means the name that is looked for. It grows part by part, each by a quarter, so that no single
//! insertion waits for all that is there to be moved.
//!
//! Invariants
//! - I1: one writer ([`IndexWriter`] is neither `Clone` nor `Sync`).
//! - I2: whoever was told of a number after it was inserted finds it: nothing is ever taken out, and
//!   a part that grew has all that the part before it had.
//! - I3: a part is never full, so that every search ends at an empty place.
//!
//! It deliberately takes nothing out: of two numbers with one name the larger one is found.

use std::{cell::Cell, fmt, marker::PhantomData, sync::Arc};

use arc_swap::ArcSwap;

use crate::atomic::{AtomicU64, Ordering};

/// Parts; the largest one of four million names has 20,000 places and takes 30 µs to grow.
const PARTS: usize = 256;
/// Places of a part at first.
const PLACES_MIN: usize = 16;

/// Each place: 0, or the upper half of the hash above the number plus one.
type Part = Box<[AtomicU64]>;

/// The filling end; owned by one thread (I1).
pub struct IndexWriter {
    parts: Arc<[ArcSwap<Part>]>,
    counts: Box<[usize]>,
    one_thread: PhantomData<Cell<()>>,
}

/// A reading end; as many as wanted, on any thread.
#[derive(Clone)]
pub struct IndexReader {
    parts: Arc<[ArcSwap<Part>]>,
}

impl Default for IndexReader {
    fn default() -> IndexReader {
        IndexWriter::default().reader()
    }
}

impl Default for IndexWriter {
    fn default() -> IndexWriter {
        let parts = (0..PARTS).map(|_| ArcSwap::from_pointee(places(0))).collect();
        IndexWriter { parts, counts: vec![0; PARTS].into(), one_thread: PhantomData }
    }
}

impl IndexWriter {
    /// A name of this hash has a number from now on.
    pub fn insert(&mut self, hash: u64, number: u32) {
        let at = part_of(hash);
        let part = self.parts[at].load();
        let entry = (hash >> 32) << 32 | (u64::from(number) + 1);
        self.counts[at] += 1;
        if self.counts[at] * 5 <= part.len() * 4 {
            put(&part, entry);
            return;
        }
        let larger = places((part.len() * 5 / 4).max(PLACES_MIN));
        // Relaxed: this thread wrote them (I1).
        part.iter().map(|place| place.load(Ordering::Relaxed)).filter(|entry| *entry != 0).for_each(|entry| {
            put(&larger, entry);
        });
        put(&larger, entry);
        self.parts[at].store(Arc::new(larger));
    }

    /// The largest number of this hash that means the name.
    pub fn find(&self, hash: u64, means: impl FnMut(u32) -> bool) -> Option<u32> {
        find(&self.parts, hash, means)
    }

    /// A reading end.
    #[must_use]
    pub fn reader(&self) -> IndexReader {
        IndexReader { parts: Arc::clone(&self.parts) }
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| size_of::<ArcSwap<Part>>() + part.load().len() * size_of::<AtomicU64>()).sum()
    }
}

impl IndexReader {
    /// The largest number of this hash that means the name.
    pub fn find(&self, hash: u64, means: impl FnMut(u32) -> bool) -> Option<u32> {
        find(&self.parts, hash, means)
    }
}

const fn part_of(hash: u64) -> usize {
    hash as usize % PARTS
}

fn places(count: usize) -> Part {
    std::iter::repeat_with(|| AtomicU64::new(0)).take(count).collect()
}

/// The place where a search for an entry begins.
const fn place_of(entry: u64, places: usize) -> usize {
    (((entry >> 32) * places as u64) >> 32) as usize
}

/// Puts an entry into a part that has room.
fn put(part: &Part, entry: u64) {
    let mut at = place_of(entry, part.len());
    // Relaxed: only this thread writes (I1).
    while part[at].load(Ordering::Relaxed) != 0 {
        at = (at + 1) % part.len();
    }
    // Release: publishes what the number means to whoever finds it.
    part[at].store(entry, Ordering::Release);
}

fn find(parts: &[ArcSwap<Part>], hash: u64, mut means: impl FnMut(u32) -> bool) -> Option<u32> {
    let part = parts[part_of(hash)].load();
    if part.is_empty() {
        return None;
    }
    let mut at = place_of(hash, part.len());
    let mut found = None;
    loop {
        // Acquire: sees what the number means.
        let entry = part[at].load(Ordering::Acquire);
        if entry == 0 {
            return found;
        }
        let number = (entry as u32).wrapping_sub(1);
        if entry >> 32 == hash >> 32 && found.is_none_or(|best| number > best) && means(number) {
            found = Some(number);
        }
        at = (at + 1) % part.len();
    }
}

impl fmt::Debug for IndexWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexWriter").finish_non_exhaustive()
    }
}

impl fmt::Debug for IndexReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexReader").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU32;

    /// I2: what a reader is told of, it finds, while parts grow under it.
    #[test]
    fn a_reader_finds_all_that_it_was_told_of() {
        const NUMBERS: u32 = 50_000;
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut writer = IndexWriter::default();
        let (reader, told) = (writer.reader(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                while last < NUMBERS {
                    last = told.load(std::sync::atomic::Ordering::Acquire);
                    for number in last.saturating_sub(50)..last {
                        assert_eq!(reader.find(hash(number), |found| found == number), Some(number));
                    }
                }
            });
            for number in 0..NUMBERS {
                writer.insert(hash(number), number);
                told.store(number + 1, std::sync::atomic::Ordering::Release);
            }
        });
        assert!(writer.bytes() < NUMBERS as usize * 16 + PARTS * 256, "{} bytes", writer.bytes());
    }

    proptest! {
        /// Few hashes, so that they meet; the larger of two numbers with one name is found.
        #[test]
        fn finds_the_largest_that_means_the_name(hashes in prop::collection::vec((0_u64..9, 0_u64..3), 0..200)) {
            let hash = |(high, low): (u64, u64)| high << 60 | low;
            let mut writer = IndexWriter::default();
            (0..).zip(&hashes).for_each(|(number, name)| writer.insert(hash(*name), number));
            for name in (0..9).flat_map(|high| (0..3).map(move |low| (high, low))) {
                let wanted = hashes.iter().rposition(|known| *known == name).map(|at| at as u32);
                prop_assert_eq!(writer.find(hash(name), |number| hashes[number as usize] == name), wanted);
            }
        }
    }
}
