//! What a variable is: its kind, unit and range (OPC 10000-3, 5.6.2 and OPC 10000-8, 5.3.2).
//!
//! Invariants
//! - D1: one answer for each node, in order; a node that cannot be a tag has a reason a person can read.
//! - D2: units and ranges are a courtesy: that a server does not tell them fails nothing.

use crate::chunks::in_chunks;
use crate::convert::{TypeSays, kind_of_type, kind_of_value};
use crate::limits::Limits;
use model::ValueKind;
use opcua::client::Session;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDescriptionResultMask, BrowseDirection, BrowsePath, DataValue, EUInformation,
    Error, NodeId, QualifiedName, Range, ReadValueId, ReferenceTypeId, RelativePath, RelativePathElement, StatusCode,
    TimestampsToReturn, Variant,
};
use std::collections::HashMap;

/// Nodes whose unit and range are asked for, at most: two lookups each.
const ENRICHED_MAX: usize = 5_000;
/// Base types that are climbed from a vendor's data type, at most.
const BASE_TYPES_MAX: usize = 10;

/// A variable that can be a tag.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    /// Kind of its values.
    pub(crate) kind: ValueKind,
    /// The server's engineering unit; empty where it says none.
    pub(crate) unit: String,
    /// The server's EURange.
    pub(crate) range: Option<[f64; 2]>,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Description {
    /// It can be a tag.
    Tag(Described),
    /// The server refused to say; it may later.
    Refused(StatusCode),
    /// It cannot be a tag, for this reason.
    Unsupported(String),
}

/// Asks for the kind, unit and range of each node.
///
/// # Errors
/// The connection failed, or the server refused the call as a whole.
pub(crate) async fn describe(session: &Session, limits: &Limits, nodes: &[NodeId]) -> Result<Vec<Description>, Error> {
    let attributes = [AttributeId::DataType, AttributeId::ValueRank, AttributeId::Value];
    let asked: Vec<ReadValueId> = nodes.iter().flat_map(|node| attributes.map(|a| attribute(node, a))).collect();
    let answers =
        in_chunks(
            &asked,
            limits.read,
            |piece| async move { session.read(&piece, TimestampsToReturn::Neither, 0.0).await },
        )
        .await?;
    let mut bases = HashMap::new();
    let mut descriptions = Vec::with_capacity(nodes.len());
    for answer in answers.chunks(attributes.len()) {
        descriptions.push(judge(session, &mut bases, answer).await?);
    }
    enrich(session, limits, nodes, &mut descriptions).await;
    Ok(descriptions)
}

pub(crate) fn attribute(node: &NodeId, attribute: AttributeId) -> ReadValueId {
    ReadValueId { node_id: node.clone(), attribute_id: attribute as u32, ..ReadValueId::default() }
}

/// Judges DataType, ValueRank and Value of one node.
async fn judge(
    session: &Session,
    bases: &mut HashMap<NodeId, TypeSays>,
    answer: &[DataValue],
) -> Result<Description, Error> {
    let [data_type, rank, value] = answer else {
        return Ok(Description::Refused(StatusCode::BadUnknownResponse));
    };
    if let Some(status) = data_type.status.filter(StatusCode::is_bad) {
        return Ok(Description::Refused(status));
    }
    if let Some(Variant::Int32(rank @ 0..)) = rank.value {
        return Ok(Description::Unsupported(if rank == 0 {
            "arrays are not taken; name one element's variable instead".to_owned()
        } else {
            format!("arrays are not taken ({rank} dimensions); name one element's variable instead")
        }));
    }
    let by_value = value.value.as_ref().map_or(TypeSays::LookFurther, kind_of_value);
    let data_type = match &data_type.value {
        Some(Variant::NodeId(node)) => (**node).clone(),
        _ => NodeId::null(),
    };
    let says = match (kind_of_type(&data_type), by_value) {
        // A scalar type whose value is an array all the same (ValueRank Any).
        (_, TypeSays::Refused(why)) => TypeSays::Refused(why),
        (TypeSays::LookFurther, TypeSays::LookFurther) => base_kind(session, bases, &data_type).await?,
        (TypeSays::LookFurther, by_value) => by_value,
        (by_type, _) => by_type,
    };
    Ok(match says {
        TypeSays::Kind(kind) => Description::Tag(Described { kind, unit: String::new(), range: None }),
        TypeSays::Refused(why) => Description::Unsupported(why.to_owned()),
        TypeSays::LookFurther => Description::Refused(StatusCode::BadNoDataAvailable),
    })
}

/// What the base types of a data type say.
async fn base_kind(
    session: &Session,
    bases: &mut HashMap<NodeId, TypeSays>,
    data_type: &NodeId,
) -> Result<TypeSays, Error> {
    if let Some(known) = bases.get(data_type) {
        return Ok(*known);
    }
    let known = |base: &NodeId| Some(kind_of_type(base)).filter(|says| *says != TypeSays::LookFurther);
    let says = climb(session, data_type, known).await?.unwrap_or(TypeSays::LookFurther);
    bases.insert(data_type.clone(), says);
    Ok(says)
}

/// What is known of the nearest base of a data type of which something is known (OPC 10000-3, 5.8.3).
///
/// # Errors
/// The connection failed, or the server refused the call as a whole.
pub(crate) async fn climb<T>(
    session: &Session,
    data_type: &NodeId,
    known: impl Fn(&NodeId) -> Option<T>,
) -> Result<Option<T>, Error> {
    let mut at = data_type.clone();
    for _ in 0..BASE_TYPES_MAX {
        let asked = BrowseDescription {
            node_id: at.clone(),
            browse_direction: BrowseDirection::Inverse,
            reference_type_id: ReferenceTypeId::HasSubtype.into(),
            include_subtypes: false,
            node_class_mask: 0,
            result_mask: BrowseDescriptionResultMask::empty().bits(),
        };
        let answer = session.browse(&[asked], 1, None).await?;
        let base = answer.into_iter().next().and_then(|result| result.references?.into_iter().next());
        let Some(base) = base else { break };
        at = base.node_id.node_id;
        if let Some(known) = known(&at) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Adds units and ranges, as far as the server tells them.
async fn enrich(session: &Session, limits: &Limits, nodes: &[NodeId], descriptions: &mut [Description]) {
    let numeric = |description: &Description| {
        matches!(description, Description::Tag(Described { kind: ValueKind::F64 | ValueKind::I64, .. }))
    };
    let wanted: Vec<usize> =
        (0..nodes.len().min(descriptions.len())).filter(|at| numeric(&descriptions[*at])).take(ENRICHED_MAX).collect();
    let paths: Vec<BrowsePath> = wanted
        .iter()
        .flat_map(|at| ["EngineeringUnits", "EURange"].map(|property| property_path(&nodes[*at], property)))
        .collect();
    let Ok(targets) =
        in_chunks(
            &paths,
            limits.translate,
            |piece| async move { session.translate_browse_paths_to_node_ids(&piece).await },
        )
        .await
    else {
        return;
    };
    let mut owners = Vec::new();
    let mut asked = Vec::new();
    for (index, target) in targets.into_iter().enumerate() {
        if let Some(found) = target.targets.and_then(|found| found.into_iter().next()) {
            owners.push(wanted[index / 2]);
            asked.push(attribute(&found.target_id.node_id, AttributeId::Value));
        }
    }
    let Ok(values) =
        in_chunks(
            &asked,
            limits.read,
            |piece| async move { session.read(&piece, TimestampsToReturn::Neither, 0.0).await },
        )
        .await
    else {
        return;
    };
    for (owner, value) in owners.into_iter().zip(values) {
        if let (Description::Tag(described), Some(Variant::ExtensionObject(object))) =
            (&mut descriptions[owner], value.value)
        {
            if let Some(unit) = object.inner_as::<EUInformation>() {
                described.unit = unit.display_name.text.as_ref().to_owned();
            } else if let Some(range) = object.inner_as::<Range>() {
                described.range = (range.low < range.high).then_some([range.low, range.high]);
            }
        }
    }
}

pub(crate) fn property_path(node: &NodeId, property: &str) -> BrowsePath {
    let element = RelativePathElement {
        reference_type_id: ReferenceTypeId::HasProperty.into(),
        is_inverse: false,
        include_subtypes: true,
        target_name: QualifiedName { namespace_index: 0, name: property.into() },
    };
    BrowsePath { starting_node: node.clone(), relative_path: RelativePath { elements: Some(vec![element]) } }
}
