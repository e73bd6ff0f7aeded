//! Names that line protocol used before: what a line's head and a field's name came to as a tag's path.
//! Senders repeat the same few thousand names with every body; to make a path of each again takes longer
//! than everything else that happens to its sample.
//!
//! Invariants
//! - N1: only what [`line::parse`] read gets in, under the text that it read, so that a name means
//!   every time what it meant the first time.
//! - N2: memory is bounded ([`NAMES_BYTES_MAX`]); where it is full, all are forgotten and learned again.
//! - N3: a line is taken from here as a whole, or left to [`line::parse`] as a whole, errors included.

use crate::limits::NAMES_BYTES_MAX;
use crate::line;
use model::{TagPath, TimestampNs, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// What an entry takes beside its texts, about.
const ENTRY_BYTES: usize = 128;

/// The names, by source path, line head and field name.
#[derive(Default)]
pub(crate) struct Names {
    names: Vec<Name>,
    by_key: HashMap<Arc<str>, usize>,
    bytes: usize,
}

struct Name {
    key: Arc<str>,
    path: TagPath,
    /// The name that came behind this one the last time: senders keep an order, and looking there first
    /// is a comparison and not a search.
    next: usize,
}

impl Names {
    /// The place of a name that comes behind the one at `last`.
    fn find(&mut self, last: usize, key: &str) -> Option<usize> {
        let guess = self.names.get(last).map_or(0, |name| name.next);
        if self.names.get(guess).is_some_and(|name| *name.key == *key) {
            return Some(guess);
        }
        let found = *self.by_key.get(key)?;
        if let Some(name) = self.names.get_mut(last) {
            name.next = found;
        }
        Some(found)
    }

    fn learn(&mut self, key: &str, path: &TagPath) {
        if self.by_key.contains_key(key) {
            return;
        }
        let bytes = key.len() + path.as_str().len() + ENTRY_BYTES;
        if self.bytes + bytes > NAMES_BYTES_MAX {
            *self = Names::default();
        }
        self.bytes += bytes;
        let key: Arc<str> = key.into();
        let at = self.names.len();
        self.by_key.insert(Arc::clone(&key), at);
        self.names.push(Name { key, path: path.clone(), next: at + 1 });
    }
}

/// A field of a line.
pub(crate) type Field = (TagPath, Value);

/// Reads the lines of one body.
pub(crate) struct Reader<'a> {
    prefix: &'a str,
    unit_ns: i64,
    /// The body is plain ([`line::is_plain`]): its names may be looked up.
    is_plain: bool,
    key: String,
    /// Place of the name that was found last.
    last: usize,
    /// The fields of the line that was read last.
    pub(crate) fields: Vec<Field>,
}

impl<'a> Reader<'a> {
    /// Reads lines of a body whose tags lie below a path and whose times count in a unit.
    pub(crate) fn new(prefix: &'a str, unit_ns: i64, is_plain: bool) -> Reader<'a> {
        Reader { prefix, unit_ns, is_plain, key: String::new(), last: usize::MAX, fields: Vec::new() }
    }

    /// Reads a line into `fields` and answers its time, if it has one.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(crate) fn read(&mut self, names: &mut Names, line: &str) -> Result<Option<TimestampNs>, String> {
        let parts = if self.is_plain { Parts::of(line) } else { None };
        if let Some(time) = parts.as_ref().and_then(|parts| self.known(names, parts)) {
            return Ok(time);
        }
        self.fields.clear();
        let Some(read) = line::parse(line, self.unit_ns)? else { return Ok(None) };
        let below = read.segments.join("/");
        for (field, value) in read.fields {
            self.fields.push((crate::ingest::path(&format!("{}/{below}/{field}", self.prefix))?, value));
        }
        if let Some(parts) = parts {
            self.learn(names, &parts);
        }
        Ok(read.time)
    }

    /// The line's time, if all of its names are known and nothing else needs a closer look.
    fn known(&mut self, names: &mut Names, parts: &Parts<'_>) -> Option<Option<TimestampNs>> {
        self.fields.clear();
        let time = match parts.time {
            None => None,
            Some(text) => Some(TimestampNs(text.parse::<i64>().ok()?.checked_mul(self.unit_ns)?)),
        };
        for field in parts.fields.split(',') {
            let (name, value) = field.split_once('=')?;
            self.last = names.find(self.last, key(&mut self.key, self.prefix, parts.head, name))?;
            self.fields.push((names.names[self.last].path.clone(), line::unquoted(value)?));
        }
        Some(time)
    }

    /// Notes the paths that the line's fields came to.
    fn learn(&mut self, names: &mut Names, parts: &Parts<'_>) {
        for (field, (path, _)) in parts.fields.split(',').zip(&self.fields) {
            let Some((name, _)) = field.split_once('=') else { return };
            names.learn(key(&mut self.key, self.prefix, parts.head, name), path);
        }
    }
}

/// What stands for a name; the line end cannot be in any of its parts.
fn key<'k>(key: &'k mut String, prefix: &str, head: &str, name: &str) -> &'k str {
    key.clear();
    [prefix, "\n", head, " ", name].into_iter().for_each(|part| key.push_str(part));
    key
}

/// A line of a plain body, parted by its spaces.
struct Parts<'l> {
    head: &'l str,
    fields: &'l str,
    time: Option<&'l str>,
}

impl<'l> Parts<'l> {
    /// `None` for what is no such line: empty, a comment, a space in front.
    fn of(line: &'l str) -> Option<Parts<'l>> {
        if matches!(line.as_bytes().first()?, b'#' | b' ') {
            return None;
        }
        let (head, rest) = line.split_once(' ')?;
        let (fields, time) = match rest.split_once(' ') {
            None => (rest, None),
            Some((fields, time)) => (fields, Some(time)),
        };
        Some(Parts { head, fields, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT_NS: i64 = 1_000;

    /// Reads a line as a body does and as if no name were known, which must come to the same; answers
    /// whether its names were known.
    fn both(names: &mut Names, text: &str) -> bool {
        let mut knowing = Reader::new("site/rig", UNIT_NS, line::is_plain(text));
        let parts = Parts::of(text).filter(|_| knowing.is_plain);
        let was_known = parts.is_some_and(|parts| knowing.known(names, &parts).is_some());
        let mut strange = Reader::new("site/rig", UNIT_NS, false);
        let (read, anew) = (knowing.read(names, text), strange.read(&mut Names::default(), text));
        assert_eq!(read, anew, "{text:?}");
        assert!(read.is_err() || knowing.fields == strange.fields, "{text:?}: {:?}", knowing.fields);
        was_known
    }

    #[test]
    fn a_name_is_known_the_second_time_and_only_whole_lines_are() {
        let mut names = Names::default();
        assert!(!both(&mut names, "m,b=2,a=1 f=1.5,g=2i 10"));
        assert!(both(&mut names, "m,b=2,a=1 f=2.5,g=3i 11"));
        assert!(both(&mut names, "m,b=2,a=1 g=t"));
        for text in [
            "m,b=2,a=1 f=1,h=1",
            "m,b=2,a=1 f=1, 5",
            "m,b=2,a=1 f=x 5",
            "m,b=2,a=1 f=1 5 5",
            "m,b=2,a=1 f=1 soon",
            "m,b=2,a=1 f=1 9223372036854775807",
            "m,b=2,a=1  f=1",
            " m,b=2,a=1 f=1",
            "# f=1",
            "",
        ] {
            assert!(!both(&mut names, text), "{text:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut names = Names::default();
        let long = "x".repeat(200);
        for i in 0..NAMES_BYTES_MAX / 400 {
            let text = format!("m,t={long}{i} f=1");
            both(&mut names, &text);
            assert!(names.bytes <= NAMES_BYTES_MAX);
        }
        assert!(names.names.len() > 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

        #[test]
        fn what_is_known_is_what_is_read(lines in prop::collection::vec("(m|n,a=1)[ ,]{1,2}[fg]=[0-9tix.]{1,3}(,g=[0-9]){0,2}[ \t\r]{0,2}[0-9]{0,3}", 1..8)) {
            let mut names = Names::default();
            for line in lines.iter().chain(&lines) {
                both(&mut names, line);
            }
        }
    }
}
