//! Reads `[[source]]`.

use super::parts::FlowNames;
use super::row::Row;
use super::tree::Tree;
use super::{modbus, opcua};
use crate::{NativeSource, Source, SourceKind};

/// A source with what later sections must know about how it was read.
pub(super) struct SourceRead {
    pub(super) source: Source,
    /// It had no problem.
    pub(super) clean: bool,
}

/// The sources with the paths of their tags.
pub(super) struct Sources {
    pub(super) list: Vec<SourceRead>,
    pub(super) tree: Tree,
}

pub(super) fn sources(root: &Row<'_>, names: &mut FlowNames) -> Sources {
    let mut tree = Tree::default();
    let mut list = Vec::new();
    for row in root.tables("source") {
        let before = row.cx.count();
        let source = source(&row, names, &mut tree);
        let clean = row.cx.count() == before;
        list.push(SourceRead { source, clean });
    }
    tree.check(root.cx);
    Sources { list, tree }
}

fn source(row: &Row<'_>, names: &mut FlowNames, tree: &mut Tree) -> Source {
    let name = names.take(row, "[[source]]");
    let path = row.required_text("path");
    let kind = match row.variant() {
        Some("modbus") => SourceKind::Modbus(modbus::source(row, &path, tree)),
        Some("opcua") => SourceKind::Opcua(opcua::source(row, &path, tree)),
        Some(_) => {
            if !path.is_empty() {
                tree.open(row, "path", path.clone(), "the native source");
            }
            SourceKind::Native(native(row))
        }
        // Nothing can be read of a source whose kind is not known.
        None => SourceKind::Native(NativeSource { tags_max: 0, producers_max: 0, udp: false }),
    };
    Source { name, path, kind }
}

fn native(row: &Row<'_>) -> NativeSource {
    NativeSource {
        tags_max: row.whole("tags_max").unwrap_or_default(),
        producers_max: row.whole("producers_max").unwrap_or_default(),
        udp: row.switch("udp"),
    }
}
