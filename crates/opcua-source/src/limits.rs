//! How much a server takes in one call (OPC 10000-5, 6.3.11: OperationLimits).

use opcua::client::Session;
use opcua::types::{NodeId, ReadValueId, TimestampsToReturn, VariableId, Variant};

/// Operations in one call, at most, by service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Attributes per Read.
    pub(crate) read: usize,
    /// Nodes per Browse.
    pub(crate) browse: usize,
    /// Paths per TranslateBrowsePathsToNodeIds.
    pub(crate) translate: usize,
    /// Items per CreateMonitoredItems.
    pub(crate) items: usize,
}

/// What is assumed of a server that does not say: small devices take this much.
const FALLBACK: Limits = Limits { read: 500, browse: 100, translate: 100, items: 500 };
/// What is used at most, however much a server allows: it bounds memory and the time of one call.
const CEILING: Limits = Limits { read: 2_000, browse: 500, translate: 500, items: 1_000 };

impl Limits {
    /// Asks the server. A server that does not answer this gets the fallback.
    pub(crate) async fn read(session: &Session) -> Limits {
        let nodes = [
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerTranslateBrowsePathsToNodeIds,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        ]
        .map(|id| ReadValueId::from(NodeId::from(id)));
        let answers = session.read(&nodes, TimestampsToReturn::Neither, 0.0).await.unwrap_or_default();
        let said = |at: usize| answers.get(at).and_then(|value| number(value.value.as_ref()?));
        Limits {
            read: bounded(said(0), FALLBACK.read, CEILING.read),
            browse: bounded(said(1), FALLBACK.browse, CEILING.browse),
            translate: bounded(said(2), FALLBACK.translate, CEILING.translate),
            items: bounded(said(3), FALLBACK.items, CEILING.items),
        }
    }

    /// The same, but no more than `cap` anywhere.
    pub(crate) fn capped(self, cap: usize) -> Limits {
        Limits {
            read: self.read.min(cap),
            browse: self.browse.min(cap),
            translate: self.translate.min(cap),
            items: self.items.min(cap),
        }
    }
}

/// Zero means "no limit" in the standard, and is what servers show that never filled it in.
fn bounded(said: Option<usize>, fallback: usize, ceiling: usize) -> usize {
    match said {
        None | Some(0) => fallback,
        Some(limit) => limit.min(ceiling),
    }
}

fn number(value: &Variant) -> Option<usize> {
    match value {
        Variant::UInt32(v) => usize::try_from(*v).ok(),
        Variant::UInt16(v) => Some(usize::from(*v)),
        Variant::Int32(v) => usize::try_from(*v).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_a_missing_one_assumed_and_a_huge_one_cut() {
        assert_eq!(bounded(Some(7), 500, 2_000), 7);
        assert_eq!(bounded(None, 500, 2_000), 500);
        assert_eq!(bounded(Some(0), 500, 2_000), 500);
        assert_eq!(bounded(Some(100_000), 500, 2_000), 2_000);
        assert_eq!(FALLBACK.capped(120), Limits { read: 120, browse: 100, translate: 100, items: 120 });
        assert_eq!(
            (number(&Variant::UInt32(5)), number(&Variant::Int32(-1)), number(&Variant::Empty)),
            (Some(5), None, None)
        );
    }
}
