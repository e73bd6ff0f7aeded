//! Names of nodes: a configured name to a session's NodeId and back (OPC 10000-6, 5.3.1.10).
//!
//! Invariants
//! - A1: a namespace is looked up by URI in the table that the server shows on this session; an index
//!   from an earlier session is never used.

use config::{NamespaceRef, NodeIdentifier, NodeRef};
use opcua::client::Session;
use opcua::types::{
    ByteString, Error, Identifier, NodeId, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant,
};
use std::str::FromStr;

/// The server's NamespaceArray (OPC 10000-5, 6.3.1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces(pub(crate) Vec<String>);

impl Namespaces {
    /// Reads the table.
    ///
    /// # Errors
    /// The read failed, or what came back is no list of texts.
    pub(crate) async fn read(session: &Session) -> Result<Namespaces, Error> {
        let node = ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray));
        let answer = session.read(&[node], TimestampsToReturn::Neither, 0.0).await?;
        let Some(Variant::Array(array)) = answer.into_iter().next().and_then(|value| value.value) else {
            return Err(Error::new(StatusCode::BadNoDataAvailable, "the server shows no NamespaceArray"));
        };
        let text = |value: &Variant| match value {
            Variant::String(text) => text.as_ref().to_owned(),
            _ => String::new(),
        };
        Ok(Namespaces(array.values.iter().map(text).collect()))
    }

    /// The NodeId of a name on this session.
    ///
    /// # Errors
    /// BadNoMatch where the namespace is not in the table, BadNodeIdInvalid where the identifier is
    /// none.
    pub(crate) fn resolve(&self, node: &NodeRef) -> Result<NodeId, StatusCode> {
        let namespace = match &node.namespace {
            NamespaceRef::Index(index) => *index,
            NamespaceRef::Uri(uri) => {
                let index = self.0.iter().position(|known| known == uri).ok_or(StatusCode::BadNoMatch)?;
                u16::try_from(index).map_err(|_| StatusCode::BadNoMatch)?
            }
        };
        Ok(match &node.identifier {
            NodeIdentifier::Text(text) => NodeId::new(namespace, text.clone()),
            NodeIdentifier::Numeric(number) => NodeId::new(namespace, *number),
            NodeIdentifier::Guid(guid) => {
                let guid = opcua::types::Guid::from_str(guid).map_err(|_| StatusCode::BadNodeIdInvalid)?;
                NodeId::new(namespace, guid)
            }
            NodeIdentifier::Opaque(bytes) => {
                let bytes = ByteString::from_base64(bytes).ok_or(StatusCode::BadNodeIdInvalid)?;
                NodeId::new(namespace, bytes)
            }
        })
    }

    /// The lasting name of a NodeId of this session: by URI where the table has one.
    pub(crate) fn name(&self, node: &NodeId) -> NodeRef {
        let namespace = match self.0.get(usize::from(node.namespace)) {
            Some(uri) if node.namespace != 0 && !uri.is_empty() => NamespaceRef::Uri(uri.clone()),
            _ => NamespaceRef::Index(node.namespace),
        };
        let identifier = match &node.identifier {
            Identifier::Numeric(number) => NodeIdentifier::Numeric(*number),
            Identifier::String(text) => NodeIdentifier::Text(text.as_ref().to_owned()),
            Identifier::Guid(guid) => NodeIdentifier::Guid(guid.to_string()),
            Identifier::ByteString(bytes) => NodeIdentifier::Opaque(bytes.as_base64()),
        };
        NodeRef { namespace, identifier }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(uris: &[&str]) -> Namespaces {
        Namespaces(uris.iter().map(|uri| (*uri).to_owned()).collect())
    }

    #[test]
    fn a_uri_finds_its_index_wherever_it_stands() {
        let node: NodeRef = "nsu=urn:oven;s=Zone1".parse().expect("valid");
        let before = table(&["http://opcfoundation.org/UA/", "urn:oven"]);
        let after = table(&["http://opcfoundation.org/UA/", "urn:new", "urn:oven"]);
        assert_eq!(before.resolve(&node), Ok(NodeId::new(1, "Zone1")));
        assert_eq!(after.resolve(&node), Ok(NodeId::new(2, "Zone1")));
        assert_eq!(table(&["x"]).resolve(&node), Err(StatusCode::BadNoMatch));
        assert_eq!(after.name(&NodeId::new(2, "Zone1")), node);
    }

    #[test]
    fn every_kind_of_identifier_goes_there_and_back() {
        let namespaces = table(&["http://opcfoundation.org/UA/", "urn:a"]);
        for text in [
            "i=85",
            "nsu=urn:a;i=7",
            "nsu=urn:a;s=x;y=z",
            "nsu=urn:a;g=09087e75-8e5e-499b-954f-f2a9603db28a",
            "nsu=urn:a;b=M/RbKBsRVkePCePcx24oRA==",
            "ns=9;i=1",
        ] {
            let node: NodeRef = text.parse().expect("valid");
            let id = namespaces.resolve(&node).expect("resolves");
            assert_eq!(namespaces.name(&id), node, "{text}");
        }
    }
}
