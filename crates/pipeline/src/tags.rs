//! The tags of one log: one copy of each name, for the shard and for readers.
//!
//! Invariants
//! - T1: tags lie in chunks of [`CHUNK`]; only a chunk that changed since readers were given a table
//!   is copied, so a new table costs what changed, and its length in chunks.
//! - T2: a number is found by its path before a table has it, and shown by no table that has not.
//!
//! A tag has no heap block of its own: 16 bytes and its path in its chunk, 10 to 13 in the index.

use model::{SourceId, TagId, ValueKind, limits};
use ring::{IndexReader, IndexWriter};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Tags of a chunk: about 100 KiB.
pub const CHUNK: usize = 2048;
/// Units and ranges of a chunk that are looked through for one that is the same.
const SAME_LOOKED: usize = 8;
/// No range.
const NONE: u16 = u16::MAX;

/// One tag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TagInfo<'t> {
    /// Its number in this log.
    pub id: TagId,
    /// Its source's number in this log.
    pub source: SourceId,
    /// What its values are.
    pub kind: ValueKind,
    /// Its path.
    pub path: &'t str,
    /// Engineering unit; empty where there is none.
    pub unit: &'t str,
    /// Normal range, low and high.
    pub range: Option<[f64; 2]>,
}

#[derive(Clone, Copy)]
struct Row {
    path_at: u32,
    source: SourceId,
    path_bytes: u16,
    unit: u16,
    range: u16,
    kind: ValueKind,
    use_: Use,
}

/// Whether a number stands for a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Current,
    /// Its path has a later number: its kind changed.
    Replaced,
    /// The number was given and its definition is lost to rot.
    Lost,
}

/// Tags whose numbers follow each other.
#[derive(Clone, Default)]
pub struct TagChunk {
    first: u32,
    paths: String,
    rows: Vec<Row>,
    units: Vec<Arc<str>>,
    ranges: Vec<[f64; 2]>,
}

impl TagChunk {
    fn info(&self, at: usize) -> Option<TagInfo<'_>> {
        let row = self.rows.get(at)?;
        let from = row.path_at as usize;
        Some(TagInfo {
            id: TagId(self.first + at as u32),
            source: row.source,
            kind: row.kind,
            path: &self.paths[from..from + usize::from(row.path_bytes)],
            unit: self.units.get(usize::from(row.unit)).map_or("", |unit| unit),
            range: self.ranges.get(usize::from(row.range)).copied(),
        })
    }

    /// The tags in use, by number.
    pub fn in_use(&self) -> impl Iterator<Item = TagInfo<'_>> {
        let rows = self.rows.iter().enumerate().filter(|(_, row)| row.use_ == Use::Current);
        rows.filter_map(|(at, _)| self.info(at))
    }

    /// The row of these definitions; its path is added where `before` has another.
    fn row(&mut self, info: &TagInfo<'_>, before: Option<Row>) -> Row {
        let known = before.filter(|row| {
            let from = row.path_at as usize;
            &self.paths[from..from + usize::from(row.path_bytes)] == info.path
        });
        let path_at = known.map_or(self.paths.len() as u32, |row| row.path_at);
        if known.is_none() {
            self.paths.push_str(info.path);
        }
        let unit = same(&mut self.units, |unit| **unit == *info.unit, || info.unit.into());
        let range = info.range.map_or(NONE, |range| same(&mut self.ranges, |known| *known == range, || range));
        let path_bytes = info.path.len() as u16;
        Row { path_at, source: info.source, path_bytes, unit, range, kind: info.kind, use_: Use::Current }
    }

    fn bytes(&self) -> usize {
        let lists = self.units.capacity() * size_of::<Arc<str>>() + self.ranges.capacity() * size_of::<[f64; 2]>();
        let units: usize = self.units.iter().map(|unit| unit.len() + 2 * size_of::<usize>()).sum();
        size_of::<TagChunk>() + self.paths.capacity() + self.rows.capacity() * size_of::<Row>() + lists + units
    }
}

/// The place of one that is the same as a new one, which is added where there is none near.
fn same<T>(list: &mut Vec<T>, is_same: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> u16 {
    let from = list.len().saturating_sub(SAME_LOOKED);
    let at = list[from..].iter().position(is_same).map_or(list.len(), |at| from + at);
    if at == list.len() {
        list.push(new());
    }
    // a chunk has fewer rows; only what is changed again and again comes here
    u16::try_from(at).unwrap_or(NONE)
}

/// The tags of one log as readers see them at one moment.
#[derive(Clone, Default)]
pub struct TagTable {
    chunks: Vec<Arc<TagChunk>>,
    len: usize,
    index: IndexReader,
    hashes: RandomState,
    /// Names of the sources, by source number.
    pub sources: Vec<Arc<str>>,
    /// Tags in use, by source number.
    pub counts: Vec<u32>,
}

impl TagTable {
    /// Numbers that there are; one that no path uses any more is still there.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no tag.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tag of a number.
    #[must_use]
    pub fn get(&self, id: TagId) -> Option<TagInfo<'_>> {
        self.chunks.get(id.0 as usize / CHUNK)?.info(id.0 as usize % CHUNK)
    }

    /// The tag in use under a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<TagInfo<'_>> {
        let means = |number: u32| self.get(TagId(number)).is_some_and(|tag| tag.path == path);
        self.index.find(self.hashes.hash_one(path), means).and_then(|number| self.get(TagId(number)))
    }

    /// The tags in use, by number.
    pub fn in_use(&self) -> impl Iterator<Item = TagInfo<'_>> {
        self.chunks.iter().flat_map(|chunk| chunk.in_use())
    }

    /// The chunks; one that did not change is the same in the next table.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<TagChunk>] {
        &self.chunks
    }

    /// Name of a source; empty where it is lost.
    #[must_use]
    pub fn source_name(&self, source: SourceId) -> &str {
        self.sources.get(source.0 as usize).map_or("", |name| name)
    }
}

/// The tags of one log as its shard keeps them.
#[derive(Default)]
pub struct TagBook {
    chunks: Vec<Arc<TagChunk>>,
    len: usize,
    index: IndexWriter,
    hashes: RandomState,
    counts: Vec<u32>,
}

impl TagBook {
    /// Numbers that there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no tag.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tag of a number. One whose definition is lost has no source and an empty path.
    #[must_use]
    pub fn get(&self, id: TagId) -> Option<TagInfo<'_>> {
        self.chunks.get(id.0 as usize / CHUNK)?.info(id.0 as usize % CHUNK)
    }

    /// The tag in use under a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<TagInfo<'_>> {
        let means = |number: u32| self.get(TagId(number)).is_some_and(|tag| tag.path == path);
        self.index.find(self.hashes.hash_one(path), means).and_then(|number| self.get(TagId(number)))
    }

    /// Takes in a definition. A number far beyond the others is refused: it can only be damage, and
    /// would cost its own size in memory.
    pub fn put(&mut self, info: &TagInfo<'_>) {
        if info.id.0 >= limits::TAGS_MAX || self.get(info.id).is_some_and(|known| known == *info) {
            return;
        }
        if let Some(older) = self.find(info.path).filter(|older| older.id != info.id).map(|older| older.id) {
            // recovery may bring an older number after a newer one: the newer stays in use
            self.set_use(older.min(info.id), Use::Replaced);
        }
        let is_older = self.find(info.path).is_some_and(|newer| newer.id > info.id);
        self.reach(info.id);
        let at = info.id.0 as usize;
        let is_new = self.get(info.id).is_none_or(|known| known.path != info.path);
        let before = self.row(info.id);
        if let Some(row) = before.filter(|row| row.use_ == Use::Current) {
            self.count(row.source, -1);
        }
        let chunk = Arc::make_mut(&mut self.chunks[at / CHUNK]);
        let mut row = chunk.row(info, before);
        row.use_ = if is_older { Use::Replaced } else { Use::Current };
        chunk.rows[at % CHUNK] = row;
        if row.use_ == Use::Current {
            self.count(info.source, 1);
        }
        if is_new {
            self.index.insert(self.hashes.hash_one(info.path), info.id.0);
        }
    }

    /// What readers see from now on.
    #[must_use]
    pub fn table(&self, sources: Vec<Arc<str>>) -> TagTable {
        TagTable {
            chunks: self.chunks.clone(),
            len: self.len,
            index: self.index.reader(),
            hashes: self.hashes.clone(),
            sources,
            counts: self.counts.clone(),
        }
    }

    /// Bytes of memory that these take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.chunks.iter().map(|chunk| chunk.bytes()).sum::<usize>()
    }

    fn row(&self, id: TagId) -> Option<Row> {
        self.chunks.get(id.0 as usize / CHUNK)?.rows.get(id.0 as usize % CHUNK).copied()
    }

    fn set_use(&mut self, id: TagId, use_: Use) {
        let Some(row) = self.row(id).filter(|row| row.use_ != use_) else { return };
        if row.use_ == Use::Current {
            self.count(row.source, -1);
        }
        let at = id.0 as usize;
        Arc::make_mut(&mut self.chunks[at / CHUNK]).rows[at % CHUNK].use_ = use_;
    }

    fn count(&mut self, source: SourceId, by: i32) {
        let at = source.0 as usize;
        if source == NOBODY {
            return;
        }
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add_signed(by);
    }

    /// Has a row for this number and all before it.
    fn reach(&mut self, id: TagId) {
        while self.len <= id.0 as usize {
            if self.len.is_multiple_of(CHUNK) {
                let first = self.len as u32;
                let rows = Vec::with_capacity(CHUNK);
                self.chunks.push(Arc::new(TagChunk { first, rows, ..TagChunk::default() }));
            }
            let Some(last) = self.chunks.last_mut() else { return };
            let chunk = Arc::make_mut(last);
            chunk.rows.push(Row {
                path_at: 0,
                source: NOBODY,
                path_bytes: 0,
                unit: NONE,
                range: NONE,
                kind: ValueKind::F64,
                use_: Use::Lost,
            });
            self.len += 1;
            if self.len.is_multiple_of(CHUNK) && self.chunks.len() > 1 {
                let before = self.chunks.len() - 2;
                Arc::make_mut(&mut self.chunks[before]).paths.shrink_to_fit();
            }
        }
    }
}

/// The source of a tag whose definition is lost.
const NOBODY: SourceId = SourceId(u32::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(id: u32, path: &str, kind: ValueKind) -> TagInfo<'_> {
        TagInfo { id: TagId(id), source: SourceId(id % 2), kind, path, unit: "bar", range: Some([0.0, 1.0]) }
    }

    #[test]
    fn a_table_stays_as_it_was_and_shares_what_did_not_change() {
        let mut book = TagBook::default();
        let paths: Vec<String> = (0..3 * CHUNK as u32).map(|id| format!("a/t{id}")).collect();
        (0..).zip(&paths).take(2 * CHUNK + 5).for_each(|(id, path)| book.put(&tag(id, path, ValueKind::F64)));
        let before = book.table(Vec::new());
        (0..).zip(&paths).for_each(|(id, path)| book.put(&tag(id, path, ValueKind::F64)));
        let after = book.table(Vec::new());
        assert_eq!(
            (before.len(), before.in_use().count(), after.in_use().count()),
            (2 * CHUNK + 5, 2 * CHUNK + 5, 3 * CHUNK)
        );
        assert_eq!(before.find(&paths[2 * CHUNK + 5]), None, "the index has it, the table has not");
        let known = tag(7, &paths[7], ValueKind::F64);
        assert_eq!((before.find(&paths[7]), after.find(&paths[7])), (Some(known), Some(known)));
        assert!(Arc::ptr_eq(&before.chunks[0], &after.chunks[0]) && !Arc::ptr_eq(&before.chunks[2], &after.chunks[2]));
        assert_eq!(after.counts, [3 * CHUNK as u32 / 2; 2]);
        assert!(book.bytes() < paths.len() * 60, "{} bytes for {} tags", book.bytes(), paths.len());
    }

    #[test]
    fn a_path_has_its_latest_number_and_lost_ones_are_none() {
        let mut book = TagBook::default();
        book.put(&tag(1, "a/x", ValueKind::F64));
        let before = book.table(Vec::new());
        book.put(&tag(4, "a/x", ValueKind::Bool));
        book.put(&tag(1, "a/x", ValueKind::F64));
        let after = book.table(Vec::new());
        assert_eq!(before.find("a/x").map(|tag| tag.id), Some(TagId(1)));
        assert_eq!(after.find("a/x").map(|tag| tag.id), Some(TagId(4)));
        assert_eq!(after.in_use().map(|tag| tag.id).collect::<Vec<_>>(), [TagId(4)]);
        assert_eq!((after.len(), after.find("").is_none(), &after.counts[..]), (5, true, &[1, 0][..]));
        book.put(&tag(2, "a/y", ValueKind::F64));
        assert_eq!(book.find("a/y").map(|tag| tag.id), Some(TagId(2)), "found again after rot");
    }
}
