//! The variables below a folder (OPC 10000-4, 5.9.2 and 5.9.3: Browse and BrowseNext).
//!
//! Invariants
//! - B1: each node is visited once, whatever loops the references make.
//! - B2: the walk ends: at most `max` variables, [`DEPTH_MAX`] levels and [`VISITS_PER_VARIABLE`]
//!   visits for each variable that may be found.
//!
//! What it does not do: properties (units, ranges) are not variables here, and methods, events and
//! other servers' nodes are passed by.

use crate::chunks::in_chunks;
use crate::limits::Limits;
use opcua::client::Session;
use opcua::types::{
    BrowseDescription, BrowseDescriptionResultMask, BrowseDirection, BrowseResult, ByteString, Error, NodeClass,
    NodeClassMask, NodeId, ReferenceDescription, ReferenceTypeId, StatusCode, VariableTypeId,
};
use std::collections::HashSet;

/// Levels below the folder.
const DEPTH_MAX: usize = 32;
/// Nodes that are visited for each variable that may be found, on top of [`VISITS_BASE`].
const VISITS_PER_VARIABLE: usize = 8;
/// Nodes that are visited in any case.
const VISITS_BASE: usize = 10_000;
/// References asked for in one answer about one node.
const REFERENCES_PER_NODE: u32 = 1_000;

/// A variable, and the browse names that lead to it from below the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Browse names without namespace index.
    pub(crate) names: Vec<String>,
    /// The node, on this session.
    pub(crate) node: NodeId,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    /// The variables, parents before children.
    pub(crate) found: Vec<Found>,
    /// A bound was reached; there is more.
    pub(crate) cut: bool,
}

/// A walk in progress: pure bookkeeping, so that loops and bounds can be tested without a server.
#[derive(Debug)]
struct Walk {
    max: usize,
    visits_max: usize,
    visited: HashSet<NodeId>,
    explored: Explored,
}

impl Walk {
    fn new(root: &NodeId, max: usize) -> Walk {
        Walk {
            max,
            visits_max: VISITS_BASE + max.saturating_mul(VISITS_PER_VARIABLE),
            visited: HashSet::from([root.clone()]),
            explored: Explored::default(),
        }
    }

    /// Takes a reference found below `names`; answers the node to walk on from, if any.
    fn take(&mut self, names: &[String], reference: ReferenceDescription) -> Option<Found> {
        let passed_by = [ReferenceTypeId::HasProperty, ReferenceTypeId::HasSubtype].map(NodeId::from);
        if passed_by.contains(&reference.reference_type_id)
            || reference.type_definition.node_id == VariableTypeId::PropertyType
            || reference.node_id.server_index != 0
            || !reference.node_id.namespace_uri.is_empty()
        {
            return None;
        }
        if self.visited.len() >= self.visits_max {
            self.explored.cut = true;
            return None;
        }
        let node = reference.node_id.node_id;
        if !self.visited.insert(node.clone()) {
            return None;
        }
        let mut names = names.to_vec();
        names.push(reference.browse_name.name.as_ref().to_owned());
        let found = Found { names, node };
        if reference.node_class == NodeClass::Variable {
            if self.explored.found.len() >= self.max {
                self.explored.cut = true;
                return None;
            }
            self.explored.found.push(found.clone());
        }
        Some(found)
    }
}

/// Walks everything below a node.
///
/// # Errors
/// The connection failed, or the server refused to browse the node itself.
pub(crate) async fn explore(session: &Session, limits: &Limits, root: &NodeId, max: usize) -> Result<Explored, Error> {
    let mut walk = Walk::new(root, max);
    let mut level = vec![Found { names: Vec::new(), node: root.clone() }];
    let mut is_root = true;
    for _ in 0..DEPTH_MAX {
        if level.is_empty() || walk.explored.cut {
            break;
        }
        let asked: Vec<BrowseDescription> = level.iter().map(|at| description(&at.node)).collect();
        let answers =
            in_chunks(
                &asked,
                limits.browse,
                |piece| async move { session.browse(&piece, REFERENCES_PER_NODE, None).await },
            )
            .await?;
        let mut below = Vec::new();
        for (at, answer) in level.iter().zip(answers) {
            if answer.status_code.is_bad() {
                if is_root {
                    return Err(Error::new(answer.status_code, "the server refused to browse the folder"));
                }
                continue;
            }
            follow(session, &mut walk, at, answer, &mut below).await?;
        }
        level = below;
        is_root = false;
    }
    walk.explored.cut |= !level.is_empty();
    Ok(walk.explored)
}

/// Takes one node's references, with all continuations.
async fn follow(
    session: &Session,
    walk: &mut Walk,
    at: &Found,
    mut answer: BrowseResult,
    below: &mut Vec<Found>,
) -> Result<(), Error> {
    loop {
        for reference in answer.references.unwrap_or_default() {
            below.extend(walk.take(&at.names, reference));
        }
        let point: ByteString = answer.continuation_point;
        if point.is_null_or_empty() {
            return Ok(());
        }
        let release = walk.explored.cut;
        let next = session.browse_next(release, &[point]).await?.into_iter().next();
        match next {
            Some(next) if !release && !next.status_code.is_bad() => answer = next,
            Some(next) if !release => {
                return Err(Error::new(next.status_code, "the server refused to go on browsing"));
            }
            None if !release => {
                return Err(Error::new(StatusCode::BadUnknownResponse, "the server did not go on browsing"));
            }
            _ => return Ok(()),
        }
    }
}

fn description(node: &NodeId) -> BrowseDescription {
    let mask = BrowseDescriptionResultMask::RESULT_MASK_REFERENCE_TYPE
        | BrowseDescriptionResultMask::RESULT_MASK_NODE_CLASS
        | BrowseDescriptionResultMask::RESULT_MASK_BROWSE_NAME
        | BrowseDescriptionResultMask::RESULT_MASK_TYPE_DEFINITION;
    BrowseDescription {
        node_id: node.clone(),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
        include_subtypes: true,
        node_class_mask: (NodeClassMask::OBJECT | NodeClassMask::VARIABLE).bits(),
        result_mask: mask.bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opcua::types::{ExpandedNodeId, LocalizedText, QualifiedName};

    fn reference(id: u32, name: &str, node_class: NodeClass, how: ReferenceTypeId) -> ReferenceDescription {
        ReferenceDescription {
            reference_type_id: how.into(),
            is_forward: true,
            node_id: ExpandedNodeId::from(NodeId::new(2, id)),
            browse_name: QualifiedName::from(name),
            display_name: LocalizedText::null(),
            node_class,
            type_definition: ExpandedNodeId::null(),
        }
    }

    #[test]
    fn loops_are_walked_once_and_properties_passed_by() {
        let mut walk = Walk::new(&NodeId::new(2, 1), 10);
        let folder = walk.take(&[], reference(2, "Zone 1", NodeClass::Object, ReferenceTypeId::Organizes));
        let folder = folder.expect("a folder is walked into");
        assert_eq!(folder.names, ["Zone 1"]);
        let variable = reference(3, "Temp", NodeClass::Variable, ReferenceTypeId::HasComponent);
        assert!(walk.take(&folder.names, variable.clone()).is_some());
        assert!(walk.take(&folder.names, variable).is_none(), "seen before");
        assert!(
            walk.take(&folder.names, reference(1, "root", NodeClass::Object, ReferenceTypeId::Organizes)).is_none()
        );
        let property = reference(4, "EURange", NodeClass::Variable, ReferenceTypeId::HasProperty);
        assert!(walk.take(&folder.names, property).is_none());
        assert_eq!(
            walk.explored.found,
            [Found { names: vec!["Zone 1".into(), "Temp".into()], node: NodeId::new(2, 3) }]
        );
        assert!(!walk.explored.cut);
    }

    #[test]
    fn the_walk_stops_at_its_bounds() {
        let mut walk = Walk::new(&NodeId::new(2, 0), 2);
        for id in 1..=3 {
            walk.take(&[], reference(id, "v", NodeClass::Variable, ReferenceTypeId::HasComponent));
        }
        assert_eq!((walk.explored.found.len(), walk.explored.cut), (2, true));
        let mut walk = Walk::new(&NodeId::new(2, 0), 1);
        let visits = u32::try_from(walk.visits_max).expect("small") + 5;
        for id in 1..=visits {
            walk.take(&[], reference(id, "o", NodeClass::Object, ReferenceTypeId::Organizes));
        }
        assert!(walk.explored.cut && walk.visited.len() <= walk.visits_max);
    }
}
