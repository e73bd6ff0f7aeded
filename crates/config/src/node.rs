//! Names of OPC UA nodes: `nsu=URI;s=Name`, `ns=2;i=1008`.
//!
//! The notation is that of OPC 10000-6, 5.3.1.10 and 5.3.1.11. A namespace URI is preferred to an
//! index, because indexes may move when the server restarts.

use std::fmt;
use std::str::FromStr;

use crate::problem::Invalid;

/// A node of a server's address space.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeRef {
    /// The namespace of the identifier.
    pub namespace: NamespaceRef,
    /// The identifier within the namespace.
    pub identifier: NodeIdentifier,
}

/// A namespace, by name or by its index in the server's table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamespaceRef {
    /// `nsu=`: stays the same over restarts.
    Uri(String),
    /// `ns=`: index in the server's NamespaceArray; 0, OPC UA's own, when left out.
    Index(u16),
}

/// The four kinds of identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeIdentifier {
    /// `s=`
    Text(String),
    /// `i=`
    Numeric(u32),
    /// `g=`: 8-4-4-4-12 hexadecimal digits.
    Guid(String),
    /// `b=`: Base64.
    Opaque(String),
}

/// What would be right.
const RIGHT: &str = "write \"nsu=URI;s=Name\" or \"ns=2;i=1008\" (s= text, i= number, g= GUID, b= Base64)";

impl FromStr for NodeRef {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |what: &str| Invalid::new(format!("node {text:?} {what}"), RIGHT);
        let (namespace, rest) = if let Some(rest) = text.strip_prefix("nsu=") {
            let (uri, rest) = rest.split_once(';').ok_or_else(|| bad("has no ';' after its namespace"))?;
            if uri.is_empty() || uri.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(bad("has an empty namespace URI, or one with spaces"));
            }
            (NamespaceRef::Uri(unescape(uri).ok_or_else(|| bad("has a wrong %-escape in its namespace URI"))?), rest)
        } else if let Some(rest) = text.strip_prefix("ns=") {
            let (index, rest) = rest.split_once(';').ok_or_else(|| bad("has no ';' after its namespace"))?;
            let digits = index.bytes().all(|b| b.is_ascii_digit());
            let index = index.parse().ok().filter(|_| digits);
            (NamespaceRef::Index(index.ok_or_else(|| bad("has a namespace index that is not 0 to 65535"))?), rest)
        } else {
            (NamespaceRef::Index(0), text)
        };
        Ok(Self { namespace, identifier: identifier(rest).map_err(bad)? })
    }
}

fn identifier(text: &str) -> Result<NodeIdentifier, &'static str> {
    let (letter, value) = text.split_once('=').ok_or("has no identifier s=, i=, g= or b=")?;
    if value.is_empty() {
        return Err("has an empty identifier");
    }
    match letter {
        // OPC 10000-3, 8.2.4: a string identifier has at most 4096 characters, none a control.
        "s" if value.chars().any(char::is_control) || value.chars().count() > 4096 => {
            Err("has a text identifier with control characters, or longer than 4096")
        }
        "s" => Ok(NodeIdentifier::Text(value.to_owned())),
        "i" => {
            let digits = value.bytes().all(|b| b.is_ascii_digit());
            let number = value.parse().ok().filter(|_| digits);
            number.map(NodeIdentifier::Numeric).ok_or("has a number that is not 0 to 4294967295")
        }
        "g" if is_guid(value) => Ok(NodeIdentifier::Guid(value.to_owned())),
        "g" => Err("has a GUID that is not 8-4-4-4-12 hexadecimal digits"),
        "b" if is_base64(value) => Ok(NodeIdentifier::Opaque(value.to_owned())),
        "b" => Err("has an opaque identifier that is not Base64"),
        _ => Err("has no identifier s=, i=, g= or b="),
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    groups.len() == lengths.len()
        && groups
            .iter()
            .zip(lengths)
            .all(|(group, length)| group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - body.len() <= 2
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// `%3B` and `%25` stand for `;` and `%` in a namespace URI (OPC 10000-6, 5.3.1.11).
fn unescape(uri: &str) -> Option<String> {
    let mut out = String::with_capacity(uri.len());
    let mut rest = uri;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after.get(..2)?;
        out.push(match code.to_ascii_uppercase().as_str() {
            "3B" => ';',
            "25" => '%',
            // Any other escape belongs to the URI itself and stays as it is.
            hex if hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                out.push('%');
                rest = after;
                continue;
            }
            _ => return None,
        });
        rest = &after[2..];
    }
    out.push_str(rest);
    Some(out)
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            NamespaceRef::Uri(uri) => write!(f, "nsu={};", escape(uri))?,
            NamespaceRef::Index(0) => {}
            NamespaceRef::Index(index) => write!(f, "ns={index};")?,
        }
        match &self.identifier {
            NodeIdentifier::Text(text) => write!(f, "s={text}"),
            NodeIdentifier::Numeric(number) => write!(f, "i={number}"),
            NodeIdentifier::Guid(guid) => write!(f, "g={guid}"),
            NodeIdentifier::Opaque(bytes) => write!(f, "b={bytes}"),
        }
    }
}

/// The way back of [`unescape`]: only what would be read back otherwise is escaped.
fn escape(uri: &str) -> String {
    uri.replace("%25", "%2525").replace("%3B", "%253B").replace("%3b", "%253b").replace(';', "%3B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_back() {
        for text in [
            "nsu=urn:riverside:oven;s=Zone1.Temperature",
            "ns=2;s=a;b=c",
            "ns=3;i=1008",
            "i=85",
            "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a",
            "ns=1;b=M/RbKBsRVkePCePcx24oRA==",
            "nsu=http://a.b/c%20d;i=1",
            "nsu=http://a.b/c%3Bd;i=1",
            "nsu=http://a.b/c%253Bd;i=1",
        ] {
            let node: NodeRef = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(node.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_node_is_refused() {
        for wrong in [
            "",
            "Zone1",
            "s=",
            "ns=2",
            "ns=x;i=1",
            "ns=65536;i=1",
            "ns=+1;i=1",
            "nsu=;s=a",
            "nsu=a b;s=a",
            "i=-1",
            "i=4294967296",
            "g=123",
            "b=*",
            "b=abc",
            "x=1",
            "nsu=a%;s=1",
            "nsu=a%é;s=1",
        ] {
            assert!(wrong.parse::<NodeRef>().is_err(), "{wrong:?}");
        }
    }
}
