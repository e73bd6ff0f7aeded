//! What the numbers in frames mean: sources, tags and texts of one log.
//!
//! Numbers are given once and never again, also after a restart: the definitions stand in the log
//! before the first frame that uses them, and at the head of every segment.

use crate::directory::TagTable;
use crate::tags::{TagBook, TagInfo};
use frame::{Builder, EncodeError, SourceRecord, Sources, TagRecord, Tags, TextRecord, Texts};
use model::{ProducerId, Refused, Sequence, SourceId, TagDeclaration, TagId, TagPath, TextId, limits};
use std::collections::HashMap;
use std::sync::Arc;

/// Definitions that go into one frame; bounds its length (512-byte paths, 1 KiB texts) and the time
/// that a part of a segment's head takes: 128 tags cost about 10 µs.
const PER_FRAME: usize = 128;

/// Sources, tags and texts of one log.
#[derive(Default)]
pub struct Definitions {
    sources: Vec<Arc<str>>,
    source_ids: HashMap<Arc<str>, SourceId>,
    tags: TagBook,
    texts: Vec<Arc<str>>,
    text_ids: HashMap<Arc<str>, TextId>,
    unsaved: Unsaved,
    records: Records,
}

/// Records of tags, filled again for each part of each segment's head: there is one a tag in every
/// segment, and none asks for memory.
#[derive(Default)]
struct Records {
    part: Tags,
    spare: Vec<TagRecord>,
}

impl Records {
    /// The records of these tags.
    fn fill<'a>(&mut self, tags: impl Iterator<Item = TagInfo<'a>>) -> &Tags {
        self.spare.append(&mut self.part.tags);
        for tag in tags {
            let made = match self.spare.pop() {
                Some(used) => record_in(&tag, used),
                None => record(&tag),
            };
            self.part.tags.push(made);
        }
        &self.part
    }
}

#[derive(Default)]
struct Unsaved {
    sources: Vec<SourceId>,
    tags: Vec<TagId>,
    texts: Vec<TextId>,
}

impl Definitions {
    /// The number of a source, given now if it is new.
    pub fn source(&mut self, name: &str) -> SourceId {
        if let Some(id) = self.source_ids.get(name) {
            return *id;
        }
        let id = SourceId(self.sources.len() as u32);
        self.put_source(id, name);
        self.unsaved.sources.push(id);
        id
    }

    /// A source's number, if it has one.
    #[must_use]
    pub fn find_source(&self, name: &str) -> Option<SourceId> {
        self.source_ids.get(name).copied()
    }

    /// A source's name; empty where the number means nothing.
    #[must_use]
    pub fn source_name(&self, id: SourceId) -> &str {
        self.sources.get(id.0 as usize).map_or("", |name| name)
    }

    /// All sources by number.
    #[must_use]
    pub fn sources(&self) -> &[Arc<str>] {
        &self.sources
    }

    /// Numbers of tags, given now where they are new, in the order of the declarations. A tag that
    /// is there keeps its number; its unit, range and source are brought up to date. A tag whose
    /// kind changed gets a new number, because its stored bits mean something else.
    ///
    /// # Errors
    /// [`Refused::Limit`] above [`limits::TAGS_MAX`]; nothing is then declared.
    pub fn declare(&mut self, source: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, Refused> {
        let new = tags.iter().filter(|t| self.find(&t.path).is_none_or(|known| known.kind != t.kind)).count();
        if self.tags.len() + new > limits::TAGS_MAX as usize {
            return Err(Refused::Limit);
        }
        Ok(tags.iter().map(|tag| self.declare_one(source, tag)).collect())
    }

    fn declare_one(&mut self, source: SourceId, tag: &TagDeclaration) -> TagId {
        let known = self.find(&tag.path).filter(|known| known.kind == tag.kind);
        let id = known.map_or(TagId(self.tags.len() as u32), |known| known.id);
        let info = TagInfo { id, source, kind: tag.kind, path: tag.path.as_str(), unit: &tag.unit, range: tag.range };
        if known.is_none_or(|known| known != info) {
            self.tags.put(&info);
            self.unsaved.tags.push(id);
        }
        id
    }

    /// A tag by its path.
    #[must_use]
    pub fn find(&self, path: &TagPath) -> Option<TagInfo<'_>> {
        self.tags.find(path.as_str())
    }

    /// A tag by its number.
    #[must_use]
    pub fn tag(&self, id: TagId) -> Option<TagInfo<'_>> {
        self.tags.get(id)
    }

    /// Tags by number. A number that a path no longer uses (its kind changed) is still there.
    #[must_use]
    pub const fn tags(&self) -> &TagBook {
        &self.tags
    }

    /// The tags as readers may see them from now on.
    #[must_use]
    pub fn table(&self) -> TagTable {
        self.tags.table(self.sources.clone())
    }

    /// The number of a text, given now if it is new.
    ///
    /// # Errors
    /// [`Refused::Limit`] above [`limits::TEXTS_MAX`] or for a text over [`limits::TEXT_BYTES_MAX`].
    pub fn text(&mut self, text: &str) -> Result<TextId, Refused> {
        if let Some(id) = self.text_ids.get(text) {
            return Ok(*id);
        }
        if self.texts.len() >= limits::TEXTS_MAX as usize || text.len() > limits::TEXT_BYTES_MAX {
            return Err(Refused::Limit);
        }
        let id = TextId(self.texts.len() as u32);
        self.put_text(id, text);
        self.unsaved.texts.push(id);
        Ok(id)
    }

    /// All texts by number.
    #[must_use]
    pub fn texts(&self) -> &[Arc<str>] {
        &self.texts
    }

    /// Whether there are definitions that no log frame holds yet.
    #[must_use]
    pub fn has_unsaved(&self) -> bool {
        !(self.unsaved.sources.is_empty() && self.unsaved.tags.is_empty() && self.unsaved.texts.is_empty())
    }

    /// Writes the definitions that the log does not hold yet.
    ///
    /// # Errors
    /// [`EncodeError`]: cannot happen within the limits; they stay unsaved.
    pub fn encode_unsaved(&self, to: &mut Builder) -> Result<(), EncodeError> {
        let tags: Vec<TagInfo<'_>> = self.unsaved.tags.iter().filter_map(|id| self.tag(*id)).collect();
        self.encode(to, &self.unsaved.sources, &tags, &self.unsaved.texts)
    }

    /// The log holds everything that was unsaved.
    pub fn mark_saved(&mut self) {
        self.unsaved = Unsaved::default();
    }

    /// Writes one part of all definitions, of at most a frame: the head of a segment. Part 0 is the
    /// first; answers whether there was such a part. Definitions made between two parts are in a
    /// later part, or stand in the log behind the head; none is left out.
    ///
    /// # Errors
    /// [`EncodeError`]: cannot happen within the limits.
    pub fn encode_part(&mut self, part: usize, to: &mut Builder) -> Result<bool, EncodeError> {
        // Lists only grow, which moves what stands behind them to later parts: some may come
        // twice, but none that was not there yet comes to stand before the next part.
        let of_sources = self.sources.len().div_ceil(PER_FRAME);
        let of_tags = self.tags.len().div_ceil(PER_FRAME);
        let of_texts = self.texts.len().div_ceil(PER_FRAME);
        if part < of_sources {
            let ids: Vec<SourceId> = chunk(part, self.sources.len()).map(|id| SourceId(id as u32)).collect();
            self.encode(to, &ids, &[], &[])?;
        } else if part < of_sources + of_tags {
            let range = chunk(part - of_sources, self.tags.len());
            let mut records = std::mem::take(&mut self.records);
            let tags = range.filter_map(|id| self.tag(TagId(id as u32)));
            // what was lost to rot cannot be said again
            let tags = records.fill(tags.filter(|tag| !tag.path.is_empty()));
            let encoded = if tags.tags.is_empty() { Ok(()) } else { encode_tags(to, tags) };
            self.records = records;
            encoded?;
        } else if part < of_sources + of_tags + of_texts {
            let range = chunk(part - of_sources - of_tags, self.texts.len());
            let ids: Vec<TextId> = range.map(|id| TextId(id as u32)).collect();
            self.encode(to, &[], &[], &ids)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn encode(
        &self,
        to: &mut Builder,
        sources: &[SourceId],
        tags: &[TagInfo<'_>],
        texts: &[TextId],
    ) -> Result<(), EncodeError> {
        let none = Sequence(0);
        for part in sources.chunks(PER_FRAME) {
            let record = |id: &SourceId| SourceRecord { id: id.0, name: self.source_name(*id).to_owned() };
            to.sources(ProducerId::SELF, none, &Sources { sources: part.iter().map(record).collect() })?;
        }
        for part in tags.chunks(PER_FRAME) {
            encode_tags(to, &Tags { tags: part.iter().map(record).collect() })?;
        }
        for part in texts.chunks(PER_FRAME) {
            let record = |id: &TextId| TextRecord { id: id.0, text: self.texts[id.0 as usize].to_string() };
            to.texts(ProducerId::SELF, none, &Texts { texts: part.iter().map(record).collect() })?;
        }
        Ok(())
    }

    /// Takes in a source that the log holds.
    pub fn put_source(&mut self, id: SourceId, name: &str) {
        let name: Arc<str> = name.into();
        fill(&mut self.sources, id.0, || "".into());
        self.sources[id.0 as usize] = Arc::clone(&name);
        self.source_ids.insert(name, id);
    }

    /// Takes in a tag that the log holds.
    pub fn put_tag(&mut self, info: &TagInfo<'_>) {
        self.tags.put(info);
    }

    /// Takes in a text that the log holds.
    pub fn put_text(&mut self, id: TextId, text: &str) {
        if id.0 >= limits::TEXTS_MAX {
            return;
        }
        let text: Arc<str> = text.into();
        fill(&mut self.texts, id.0, || "".into());
        self.texts[id.0 as usize] = Arc::clone(&text);
        self.text_ids.insert(text, id);
    }
}

/// The indices of a part of a list.
fn chunk(part: usize, len: usize) -> std::ops::Range<usize> {
    part * PER_FRAME..((part + 1) * PER_FRAME).min(len)
}

/// Makes the list long enough for an index.
fn fill<T>(list: &mut Vec<T>, index: u32, with: impl FnMut() -> T) {
    let wanted = index as usize + 1;
    if list.len() < wanted {
        list.resize_with(wanted, with);
    }
}

fn encode_tags(to: &mut Builder, tags: &Tags) -> Result<(), EncodeError> {
    to.tags(ProducerId::SELF, Sequence(0), tags).map(drop)
}

/// The record of a tag in the memory of another one.
fn record_in(tag: &TagInfo<'_>, used: TagRecord) -> TagRecord {
    let TagRecord { mut path, mut unit, .. } = used;
    path.clear();
    path.push_str(tag.path);
    tag.unit.clone_into(&mut unit);
    TagRecord { path, unit, ..blank(tag) }
}

fn record(tag: &TagInfo<'_>) -> TagRecord {
    TagRecord { path: tag.path.to_owned(), unit: tag.unit.to_owned(), ..blank(tag) }
}

/// The record of a tag but for what is text.
fn blank(tag: &TagInfo<'_>) -> TagRecord {
    TagRecord {
        id: tag.id.0,
        source: tag.source.0,
        kind: tag.kind as u8,
        path: String::new(),
        unit: String::new(),
        range: tag.range.unwrap_or([f64::NAN, f64::NAN]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frame::View;
    use model::ValueKind;
    use std::collections::HashSet;

    pub(crate) fn tag(path: &str, kind: ValueKind) -> TagDeclaration {
        TagDeclaration {
            path: TagPath::new(path).expect("valid"),
            kind,
            unit: "bar".into(),
            range: Some([0.0, 10.0]),
            deadband: 0.0,
            heartbeat_ns: 0,
        }
    }

    #[test]
    fn numbers_are_given_once_and_consecutively() {
        let mut all = Definitions::default();
        let source = all.source("press1");
        let first = all.declare(source, &[tag("a/b", ValueKind::F64), tag("a/c", ValueKind::Bool)]).expect("room");
        assert_eq!(first, [TagId(0), TagId(1)]);
        let again = all.declare(source, &[tag("a/c", ValueKind::Bool), tag("a/d", ValueKind::I64)]).expect("room");
        assert_eq!(again, [TagId(1), TagId(2)]);
        let other_kind = all.declare(source, &[tag("a/c", ValueKind::F64)]).expect("room");
        assert_eq!(other_kind, [TagId(3)], "bits of another kind need another number");
        assert_eq!(all.find(&TagPath::new("a/c").expect("valid")).map(|tag| tag.id), Some(TagId(3)));
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let mut all = Definitions::default();
        let source = all.source("press1");
        all.declare(source, &[tag("a/b", ValueKind::F64)]).expect("room");
        all.text("Curing").expect("room");
        let mut bytes = Builder::new();
        all.encode_unsaved(&mut bytes).expect("small");
        all.mark_saved();
        assert!(!all.has_unsaved());
        let mut whole = Builder::new();
        let parts = (0..).take_while(|part| all.encode_part(*part, &mut whole).expect("small")).count();
        assert_eq!((bytes.bytes(), parts), (whole.bytes(), 3));
    }

    /// The parts are asked for one at a time, and what is defined in between must not push aside
    /// what was not written yet.
    #[test]
    fn what_grows_between_two_parts_hides_nothing() {
        let mut all = Definitions::default();
        let source = all.source("s");
        let declare = |all: &mut Definitions, count: usize| {
            let known = all.tags().len();
            let tags: Vec<TagDeclaration> =
                (known..known + count).map(|n| tag(&format!("t/{n}"), ValueKind::F64)).collect();
            all.declare(source, &tags).expect("room");
        };
        declare(&mut all, 2 * PER_FRAME + 1);
        for n in 0..=PER_FRAME {
            all.text(&n.to_string()).expect("room");
        }
        let (tags, texts) = (all.tags().len(), all.texts().len());
        let mut bytes = Builder::new();
        let mut part = 0;
        while all.encode_part(part, &mut bytes).expect("small") {
            declare(&mut all, if part < 4 { PER_FRAME - 1 } else { 0 });
            part += 1;
        }
        let (mut read_tags, mut read_texts) = (HashSet::new(), HashSet::new());
        let mut rest = bytes.bytes();
        while !rest.is_empty() {
            let frame = frame::check(rest).expect("whole");
            rest = &rest[frame.bytes().len()..];
            match frame.view() {
                View::Tags(some) => read_tags.extend(some.tags.iter().map(|tag| tag.id.to_native())),
                View::Texts(some) => read_texts.extend(some.texts.iter().map(|text| text.id.to_native())),
                _ => {}
            }
        }
        assert!((0..tags as u32).all(|id| read_tags.contains(&id)), "a tag is missing that was there from the start");
        assert!(
            (0..texts as u32).all(|id| read_texts.contains(&id)),
            "a text is missing that was there from the start"
        );
    }
}
