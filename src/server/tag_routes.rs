//! Where the tags of native sources go that came over HTTP before. Senders repeat the same tags in the
//! same order with every body: asking each time who owns a tag, what its values are and what its number
//! is takes longer than storing its sample.
//!
//! Invariants
//! - R1: a route holds as long as the tables of tags that it was found in are the published ones; a new
//!   table forgets all routes.
//! - R2: a route is of a tag that its table holds, so there are never more than tags.

use model::{ShardId, TagId, TagPath, ValueKind};
use pipeline::TagTable;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a sample goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The shard that owns its tag.
    pub shard: ShardId,
    /// The place of its source among the native ones.
    pub source: usize,
    /// What its tag's values are.
    pub kind: ValueKind,
    /// Its tag's number there; `None` where it has none yet.
    pub tag: Option<TagId>,
}

/// One tag's way.
struct Route {
    path: TagPath,
    place: Place,
    /// The route that was asked for behind this one the last time.
    next: usize,
}

/// The routes that one thread knows.
#[derive(Default)]
pub struct Routes {
    tables: Vec<Arc<TagTable>>,
    routes: Vec<Route>,
    by_path: HashMap<TagPath, usize>,
    /// The route that was found last.
    last: usize,
}

impl Routes {
    /// Takes the tables that are published now, one for each shard.
    pub fn refresh(&mut self, tables: impl Iterator<Item = Arc<TagTable>>) {
        let tables: Vec<_> = tables.collect();
        let are_same = |(a, b): (&Arc<TagTable>, &Arc<TagTable>)| Arc::ptr_eq(a, b);
        if tables.len() != self.tables.len() || !tables.iter().zip(&self.tables).all(are_same) {
            *self = Routes { tables, ..Routes::default() };
        }
    }

    /// The table of a shard.
    pub fn table(&self, shard: ShardId) -> &TagTable {
        &self.tables[shard.0 as usize]
    }

    /// A tag's way, if it is known.
    pub fn find(&mut self, path: &TagPath) -> Option<Place> {
        let guess = self.routes.get(self.last).map_or(0, |route| route.next);
        let found = match self.routes.get(guess) {
            Some(route) if route.path == *path => guess,
            _ => {
                let found = *self.by_path.get(path)?;
                if let Some(route) = self.routes.get_mut(self.last) {
                    route.next = found;
                }
                found
            }
        };
        self.last = found;
        self.routes.get(found).map(|route| route.place)
    }

    /// Notes the way of a tag that was not known.
    pub fn note(&mut self, path: &TagPath, place: Place) {
        let at = self.routes.len();
        self.by_path.insert(path.clone(), at);
        self.routes.push(Route { path: path.clone(), place, next: at + 1 });
        self.last = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TagPath {
        TagPath::new(text).expect("a path")
    }

    fn place(number: usize) -> Place {
        Place { shard: ShardId(0), source: 0, kind: ValueKind::F64, tag: Some(TagId(number as u32)) }
    }

    #[test]
    fn routes_are_found_in_any_order_until_a_table_is_new() {
        let table = Arc::new(TagTable::default());
        let mut routes = Routes::default();
        routes.refresh(std::iter::once(Arc::clone(&table)));
        let names = ["a/b", "a/c", "a/d"].map(path);
        for (number, name) in names.iter().enumerate() {
            assert!(routes.find(name).is_none());
            routes.note(name, place(number));
        }
        for order in [[0, 1, 2], [2, 1, 0], [1, 1, 1], [0, 1, 2], [0, 1, 2]] {
            for at in order {
                assert_eq!(routes.find(&names[at]), Some(place(at)));
            }
        }
        routes.refresh(std::iter::once(table));
        assert!(routes.find(&names[0]).is_some(), "the same table keeps them");
        routes.refresh(std::iter::once(Arc::new(TagTable::default())));
        assert!(routes.find(&names[0]).is_none(), "a new one does not");
    }
}
