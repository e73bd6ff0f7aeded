//! Reads the OPC UA kind of `[[source]]`.

use std::time::Duration;

use super::parts::{range, secret};
use super::row::Row;
use super::tree::Tree;
use crate::{
    NamespaceRef, NodeIdentifier, NodeRef, OpcuaBrowse, OpcuaSecurity, OpcuaSource, OpcuaTag, OpcuaUser, SecurityMode,
};

/// Silence after which a keep-alive is due, unless `publishing` is longer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Silence after which a connection counts as dead, unless twice `keep_alive` is longer.
const WATCHDOG: Duration = Duration::from_secs(10);

pub(super) fn source(row: &Row<'_>, path: &str, tree: &mut Tree) -> OpcuaSource {
    let security = row.parsed("security", str::parse::<OpcuaSecurity>);
    let publishing = row.duration("publishing");
    let keep_alive = row.optional_duration("keep_alive").unwrap_or(KEEP_ALIVE.max(publishing));
    let watchdog = row.optional_duration("watchdog").unwrap_or(WATCHDOG.max(keep_alive * 2));
    if keep_alive < publishing {
        row.refuse(
            "keep_alive",
            "keep_alive is shorter than publishing",
            "a server speaks at most once per publishing interval: write at least that",
        );
    }
    if watchdog <= keep_alive {
        let name = if row.has("watchdog") { "watchdog" } else { "keep_alive" };
        row.refuse(
            name,
            "watchdog is not longer than keep_alive",
            "write a watchdog of twice keep_alive or more, or a healthy connection will be cut",
        );
    }
    let rows = row.tables("tag");
    let room = tree.reserve(row, rows.len(), 1) && !path.is_empty();
    let tags: Vec<OpcuaTag> = rows.iter().map(tag).collect();
    for (tag_row, tag) in rows.iter().zip(&tags) {
        if room && !tag.name.is_empty() {
            tree.tag(tag_row, format!("{path}/{}", tag.name));
        }
    }
    let browse = row.tables("browse").into_iter().map(|browse_row| {
        let browse = browse(&browse_row);
        if !path.is_empty() && !browse.name.is_empty() {
            tree.open(&browse_row, "name", format!("{path}/{}", browse.name), "the browsed folder");
        }
        browse
    });
    OpcuaSource {
        browse: browse.collect(),
        address: row.required_text("address"),
        security: security.unwrap_or(OpcuaSecurity { policy: String::new(), mode: SecurityMode::None }),
        user: user(row),
        publishing,
        sampling: row.optional_duration("sampling").unwrap_or(publishing),
        queue: row.whole("queue").unwrap_or_default(),
        keep_alive,
        watchdog,
        timeout: row.duration("timeout"),
        tags,
    }
}

fn user(row: &Row<'_>) -> Option<OpcuaUser> {
    let user = row.table("user")?;
    let name = user.text("name");
    let password = secret(&user, "password");
    Some(OpcuaUser { name: name?, password: password? })
}

/// Stands for a node that could not be read.
pub(super) fn no_node() -> NodeRef {
    NodeRef { namespace: NamespaceRef::Index(0), identifier: NodeIdentifier::Numeric(0) }
}

fn node(row: &Row<'_>) -> NodeRef {
    row.parsed("node", str::parse).unwrap_or_else(no_node)
}

fn tag(row: &Row<'_>) -> OpcuaTag {
    OpcuaTag {
        name: row.required_text("name"),
        node: node(row),
        unit: row.text("unit"),
        range: range(row, "range"),
        deadband: row.number("deadband").unwrap_or_default(),
    }
}

fn browse(row: &Row<'_>) -> OpcuaBrowse {
    OpcuaBrowse { node: node(row), name: row.required_text("name"), max: row.whole("max").unwrap_or_default() }
}
