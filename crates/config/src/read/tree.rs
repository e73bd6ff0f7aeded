//! The tree of tag paths of a whole file: nobody may have a path that somebody else has.
//!
//! Invariants of a tree that passes:
//! 1. Every configured tag has a path of its own.
//! 2. Below a native source or a browsed folder, where tags appear while the server runs, nothing
//!    else is configured.

use std::collections::HashMap;
use std::ops::Range;

use super::Context;
use super::row::Row;
use crate::TAGS_MAX;
use crate::names::PATH_BYTES_MAX;

/// Where something stands in the file.
struct Place {
    at: Range<usize>,
    key: String,
}

/// The paths of a file while they are gathered.
#[derive(Default)]
pub(super) struct Tree {
    tags: HashMap<String, Place>,
    /// Paths below which tags appear while the server runs, with what makes them.
    open: HashMap<String, (Place, &'static str)>,
    count: usize,
}

impl Tree {
    /// Makes room for `tags` × `units` tags; false, and a problem, when that is over the limit.
    pub(super) fn reserve(&mut self, row: &Row<'_>, tags: usize, units: usize) -> bool {
        let more = tags.saturating_mul(units);
        let before = self.count;
        self.count = before.saturating_add(more);
        if self.count <= TAGS_MAX {
            return true;
        }
        if before <= TAGS_MAX {
            let what = format!("with {} and its {more} tags the file has {} tags", row.title(), self.count);
            let fix = format!("configure at most {TAGS_MAX} tags, or let OPC UA folders be browsed");
            row.cx.report(&row.at, &row.path_of("tag"), &what, &fix);
        }
        false
    }

    /// Takes a tag's path; false, and a problem, when it cannot be had. `row` has the tag's `name`.
    pub(super) fn tag(&mut self, row: &Row<'_>, path: String) -> bool {
        if path.len() > PATH_BYTES_MAX {
            let what = format!("the tag's whole path has {} bytes", path.len());
            row.refuse(
                "name",
                &what,
                &format!("shorten path or name; a tag's path has at most {PATH_BYTES_MAX} bytes"),
            );
            return false;
        }
        if let Some(taken) = self.tags.get(&path) {
            let line = row.cx.line(taken.at.start);
            row.refuse(
                "name",
                &format!("the tag {path} already exists: see {} in line {line}", taken.key),
                "give one of the two another name, or one of the sources another path",
            );
            return false;
        }
        let place = Place { at: row.span("name"), key: row.path_of("name") };
        self.tags.insert(path, place);
        true
    }

    /// Takes a path below which `maker` makes tags while the server runs; `key` of `row` has it.
    pub(super) fn open(&mut self, row: &Row<'_>, key: &str, path: String, maker: &'static str) {
        if let Some((taken, other)) = self.open.get(&path) {
            let line = row.cx.line(taken.at.start);
            row.refuse(
                key,
                &format!("{other} in line {line} already makes the tags below {path}"),
                "give each a path of its own",
            );
            return;
        }
        let place = Place { at: row.span(key), key: row.path_of(key) };
        self.open.insert(path, (place, maker));
    }

    /// Is there a tag of this path, or may one appear while the server runs?
    pub(super) fn knows(&self, path: &str) -> bool {
        let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
        self.tags.contains_key(path) || above.any(|above| self.open.contains_key(above))
    }

    /// The paths of the configured tags, in no order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.tags.keys().map(String::as_str)
    }

    /// Reports what lies below a path that belongs to somebody else.
    pub(super) fn check(&self, cx: &Context<'_>) {
        let nested = self.open.iter().map(|(path, (place, maker))| (path, place, *maker));
        let tags = self.tags.iter().map(|(path, place)| (path, place, "the tag"));
        for (path, place, what) in nested.chain(tags) {
            let ancestors = path.match_indices('/').map(|(end, _)| &path[..end]);
            let same = self.tags.contains_key(path).then_some(path.as_str()).filter(|_| what == "the tag");
            for above in ancestors.chain(same) {
                let Some((owner, maker)) = self.open.get(above) else { continue };
                let line = cx.line(owner.at.start);
                cx.report(
                    &place.at,
                    &place.key,
                    &format!("{what} {path} lies within {above}, where {maker} in line {line} makes the tags"),
                    "give it, or that one, a path beside it",
                );
                break;
            }
        }
    }
}
