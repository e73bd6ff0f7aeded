//! The items of a source: what was asked for, what came of it, and how to say that to a person.
//!
//! Invariants
//! - I1: every item is live or has a reason why not; the reason is shown by name and counted.
//! - I2: an item that the server refused is tried again; one that can never be a tag is not.

use config::NodeRef;
use model::{Quality, SourceState, TagId, TagPath, ValueKind};
use opcua::types::{NodeId, StatusCode};
use std::collections::BTreeMap;

/// Paths that are named for each reason; the rest is only counted.
const NAMED_MAX: usize = 3;

/// What came of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not asked for yet.
    New,
    /// The server samples it.
    Live {
        /// Queue size that the server granted.
        queue: u32,
    },
    /// The server refused it; it is tried again.
    Refused(StatusCode),
    /// It cannot be a tag, for this reason.
    Unsupported(String),
}

/// One variable that is, or should be, a tag.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its tag's path.
    pub(crate) path: TagPath,
    /// The node by a name that outlives a restart of the server.
    pub(crate) node: NodeRef,
    /// The node by this session's namespace indices.
    pub(crate) id: Option<NodeId>,
    /// Configured unit; else the server's is taken.
    pub(crate) unit: Option<String>,
    /// Configured range; else the server's is taken.
    pub(crate) range: Option<[f64; 2]>,
    /// Absolute deadband in engineering units.
    pub(crate) deadband: f64,
    /// The tag, once declared.
    pub(crate) tag: Option<(TagId, ValueKind)>,
    /// What came of it.
    pub(crate) status: Status,
}

impl Item {
    /// The quality that its tag should have while it is not live.
    pub(crate) fn quality(&self) -> Option<Quality> {
        match &self.status {
            Status::Refused(status) => Some(Quality(status.bits())),
            _ => None,
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.status, Status::Live { .. })
    }
}

/// A status code with what a person can do about it.
pub(crate) fn hint(status: StatusCode) -> String {
    let advice = match status {
        StatusCode::BadNodeIdUnknown => "the server has no such node; check its name",
        StatusCode::BadNodeIdInvalid => "the node's name is not valid on this server",
        StatusCode::BadAttributeIdInvalid => "the node is no variable",
        StatusCode::BadNotReadable | StatusCode::BadUserAccessDenied => "this user may not read it",
        StatusCode::BadTooManyMonitoredItems => "the server watches no more items; ask for fewer, or raise its limit",
        StatusCode::BadNoMatch => "the server has no such namespace; check the URI",
        StatusCode::BadNoDataAvailable => "it has no value yet that tells its type",
        _ => return Quality(status.bits()).to_string(),
    };
    format!("{} ({advice})", name(status))
}

/// The standard's name of a status code.
pub(crate) fn name(status: StatusCode) -> String {
    let sub_code = status.sub_code();
    if sub_code as u32 == status.bits() { sub_code.to_string() } else { format!("{:#010X}", status.bits()) }
}

/// How the source is, given its items and what else is to say.
pub(crate) fn state<'a>(items: impl Iterator<Item = &'a Item>, notes: &[String]) -> SourceState {
    let mut asked = 0_usize;
    let mut live = 0_usize;
    let mut single = 0_usize;
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for item in items {
        asked += 1;
        let reason = match &item.status {
            Status::Live { queue } => {
                live += 1;
                single += usize::from(*queue < 2);
                continue;
            }
            Status::New => "not asked for yet".to_owned(),
            Status::Refused(status) => hint(*status),
            Status::Unsupported(why) => why.clone(),
        };
        refused.entry(reason).or_default().push(item.path.as_str());
    }
    if refused.is_empty() && notes.is_empty() && single == 0 {
        return SourceState::Running;
    }
    let mut parts = vec![format!("asked {asked}, live {live}")];
    if asked > live {
        parts.push(format!("refused {} because {}", asked - live, reasons(&refused)));
    }
    if single > 0 {
        parts.push(format!("the server queues one value only for {single} items: what it loses there is not seen"));
    }
    parts.extend_from_slice(notes);
    let reason = parts.join("; ");
    if live == 0 { SourceState::Down { reason } } else { SourceState::Degraded { reason } }
}

fn reasons(refused: &BTreeMap<String, Vec<&str>>) -> String {
    let each = refused.iter().map(|(reason, paths)| {
        let named = paths[..paths.len().min(NAMED_MAX)].join(", ");
        let more = paths.len().saturating_sub(NAMED_MAX);
        if more == 0 { format!("{reason}: {named}") } else { format!("{reason}: {named} and {more} more") }
    });
    each.collect::<Vec<_>>().join("; ")
}

/// How many items are live.
pub(crate) fn live_count<'a>(items: impl Iterator<Item = &'a Item>) -> usize {
    items.filter(|item| item.is_live()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, status: Status) -> Item {
        Item {
            path: TagPath::new(path).expect("valid"),
            node: "i=1".parse().expect("valid"),
            id: None,
            unit: None,
            range: None,
            deadband: 0.0,
            tag: None,
            status,
        }
    }

    #[test]
    fn all_live_is_running() {
        let items = [item("a/b", Status::Live { queue: 10 })];
        assert_eq!(state(items.iter(), &[]), SourceState::Running);
        assert_eq!(live_count(items.iter()), 1);
    }

    #[test]
    fn what_is_missing_is_counted_by_reason_and_named() {
        let mut items = vec![item("a/live", Status::Live { queue: 1 })];
        for name in ["a/1", "a/2", "a/3", "a/4", "a/5"] {
            items.push(item(name, Status::Refused(StatusCode::BadNodeIdUnknown)));
        }
        items.push(item("a/array", Status::Unsupported("its value is an array".into())));
        let SourceState::Degraded { reason } = state(items.iter(), &["folder zones: cut".to_owned()]) else {
            panic!("part of it is live");
        };
        assert_eq!(
            reason,
            "asked 7, live 1; refused 6 because BadNodeIdUnknown (the server has no such node; check its name): a/1, \
             a/2, a/3 and 2 more; its value is an array: a/array; the server queues one value only for 1 items: what \
             it loses there is not seen; folder zones: cut"
        );
    }

    #[test]
    fn nothing_live_is_down_and_codes_have_their_names() {
        let items = [item("a/b", Status::Refused(StatusCode::BadOutOfMemory))];
        let state = state(items.iter(), &[]);
        assert_eq!(state.word(), "down");
        assert_eq!(name(StatusCode::BadNodeIdUnknown), "BadNodeIdUnknown");
        assert_eq!(name(StatusCode::from(0x80FF_0001)), "0x80FF0001");
        assert_eq!(items[0].quality(), Some(Quality(StatusCode::BadOutOfMemory.bits())));
    }
}
