//! What a server offers: for `millstream browse opc.tcp://…`.
//!
//! Invariants
//! - W1: the endpoints are shown even where none can be used, so that the next try can be right.
//! - W2: the piece of configuration names nodes by namespace URI and holds no secret.

use crate::connect::{self, ConnectError, Target};
use crate::convert::{TypeSays, kind_of_value};
use crate::describe::{self, Description};
use crate::explore::explore;
use crate::items;
use crate::limits::Limits;
use crate::link::{Link, LinkEvent};
use crate::naming::{Names, segment};
use crate::nodes::Namespaces;
use config::{NodeRef, OpcuaSecurity, OpcuaUser, SecurityMode};
use model::ValueKind;
use opcua::client::Session;
use opcua::types::{AttributeId, Error, NodeId, TimestampsToReturn, Variant};
use std::fmt::{self, Write as _};
use std::{path::PathBuf, time::Duration};

/// Tags that the piece of configuration lists one by one; above it a `[[source.browse]]` stands.
const LISTED_TAGS_MAX: usize = 200;

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct BrowseRequest {
    /// Endpoint: `opc.tcp://host:port[/path]`.
    pub address: String,
    /// Security policy and mode of the session; the endpoints are always asked for without any.
    pub security: OpcuaSecurity,
    /// Who logs in; `None` is anonymous.
    pub user: Option<OpcuaUser>,
    /// Directory of certificates: `own`, `private`, `trusted`, `rejected`.
    pub pki: PathBuf,
    /// Deadline of one step.
    pub timeout: Duration,
    /// The node below which to look; `None` is the Objects folder (OPC 10000-5, 8.2.4).
    pub below: Option<NodeRef>,
    /// Most variables to list.
    pub max: usize,
}

/// One variable.
#[derive(Clone, Debug, PartialEq)]
pub struct BrowsedVariable {
    /// Path of its tag below the source's path, as subscribing would name it.
    pub name: String,
    /// The node, by namespace URI where it has one.
    pub node: NodeRef,
    /// Kind of its values, or why it cannot be a tag.
    pub kind: Result<ValueKind, String>,
    /// Engineering unit that the server tells; empty where it tells none.
    pub unit: String,
    /// Range that the server tells (EURange), low and high.
    pub range: Option<[f64; 2]>,
    /// The current value as text, where it is a scalar.
    pub value: Option<String>,
}

/// What a server offers.
#[derive(Clone, Debug, PartialEq)]
pub struct BrowseReport {
    /// The address asked.
    pub address: String,
    /// Offered security and kinds of users, e.g. `Basic256Sha256/Sign (anonymous, user name)`.
    pub endpoints: Vec<String>,
    /// The server's namespaces, by index (OPC 10000-5, 6.3.1: NamespaceArray).
    pub namespaces: Vec<String>,
    /// The variables, parents before children.
    pub variables: Vec<BrowsedVariable>,
    /// There are more variables than were asked for.
    pub cut: bool,
    /// Why there is no session, and so no namespaces or variables; `None` where there is one.
    pub refused: Option<String>,
    /// A `[[source]]` to start from.
    pub toml: String,
}

/// Why a server could not be looked at.
#[derive(Debug)]
pub enum BrowseError {
    /// It cannot be reached; the text says what happened and what to look at.
    Unreachable(String),
    /// It answered the endpoints but failed later.
    Failed(String),
}

impl fmt::Display for BrowseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BrowseError::Unreachable(why) | BrowseError::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BrowseError {}

/// Looks at a server: endpoints (OPC 10000-4, 5.5.4), namespaces and the variables below a node.
///
/// # Errors
/// [`BrowseError`]: the server cannot be reached, or broke off. That it refuses the session is no
/// error but stands in [`BrowseReport::refused`].
pub async fn browse(request: &BrowseRequest) -> Result<BrowseReport, BrowseError> {
    let target = Target {
        address: request.address.clone(),
        security: request.security.clone(),
        user: request.user.clone(),
        timeout: request.timeout,
        keep_alive: request.timeout,
        pki: request.pki.clone(),
    };
    let offered = connect::endpoints(&target).await.map_err(|error| BrowseError::Unreachable(error.to_string()))?;
    let mut report = BrowseReport {
        address: request.address.clone(),
        endpoints: offered.iter().map(connect::endpoint_words).collect(),
        namespaces: Vec::new(),
        variables: Vec::new(),
        cut: false,
        refused: None,
        toml: String::new(),
    };
    match open(&target).await {
        Ok(link) => {
            look(link.session(), request, &mut report).await.map_err(|error| {
                BrowseError::Failed(format!("browsing {} failed: {}", request.address, items::hint(error.status())))
            })?;
            let _ = tokio::time::timeout(Duration::from_secs(1), link.session().disconnect()).await;
        }
        Err(why) => report.refused = Some(why),
    }
    report.toml = snippet(request, &report);
    Ok(report)
}

async fn open(target: &Target) -> Result<Link, String> {
    let mut link = Link::open(target).await.map_err(|error: ConnectError| error.to_string())?;
    link.go();
    match tokio::time::timeout(target.timeout * 4, link.next()).await {
        Ok(Some(LinkEvent::Up { .. })) => Ok(link),
        Ok(Some(LinkEvent::Down { status })) => Err(connect::explain(status, &target.pki)),
        Ok(None) => Err("the session ended before it began".to_owned()),
        Err(_) => Err("the server did not make a session in time".to_owned()),
    }
}

async fn look(session: &Session, request: &BrowseRequest, report: &mut BrowseReport) -> Result<(), Error> {
    let limits = Limits::read(session).await;
    let namespaces = Namespaces::read(session).await?;
    let root = match &request.below {
        Some(node) => namespaces.resolve(node).map_err(|status| Error::new(status, "the start node is not known"))?,
        None => NodeId::objects_folder_id(),
    };
    let explored = explore(session, &limits, &root, request.max).await?;
    report.cut = explored.cut;
    let nodes: Vec<NodeId> = explored.found.iter().map(|found| found.node.clone()).collect();
    let described = describe::describe(session, &limits, &nodes).await?;
    let asked: Vec<_> = nodes.iter().map(|node| describe::attribute(node, AttributeId::Value)).collect();
    let values = crate::chunks::in_chunks(&asked, limits.read, |piece| async move {
        session.read(&piece, TimestampsToReturn::Neither, 0.0).await
    })
    .await?;
    let mut names = Names::default();
    for ((found, description), value) in explored.found.iter().zip(described).zip(values) {
        let node = namespaces.name(&found.node);
        let Ok(path) = names.browsed("x", &found.names, &node) else { continue };
        let (kind, unit, range) = match description {
            Description::Tag(tag) => (Ok(tag.kind), tag.unit, tag.range),
            Description::Refused(status) => (Err(items::hint(status)), String::new(), None),
            Description::Unsupported(why) => (Err(why), String::new(), None),
        };
        report.variables.push(BrowsedVariable {
            name: path.as_str().trim_start_matches("x/").to_owned(),
            node,
            kind,
            unit,
            range,
            value: value.value.as_ref().and_then(shown),
        });
    }
    report.namespaces = namespaces.0;
    Ok(())
}

fn shown(value: &Variant) -> Option<String> {
    matches!(kind_of_value(value), TypeSays::Kind(_)).then(|| value.to_string())
}

/// A text as a TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A `[[source]]` for what was found: its tags one by one where they are few, else the folder.
fn snippet(request: &BrowseRequest, report: &BrowseReport) -> String {
    let host = request.address.trim_start_matches("opc.tcp://");
    let name: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let security = match request.security.mode {
        SecurityMode::None => "None".to_owned(),
        SecurityMode::Sign => format!("{}/Sign", request.security.policy),
        SecurityMode::SignAndEncrypt => format!("{}/SignAndEncrypt", request.security.policy),
    };
    let mut out = format!(
        "[[source]]\nname     = {}\nkind     = \"opcua\"\naddress  = {}\nsecurity = {}\npath     = {}\n",
        quoted(name.trim_matches('-')),
        quoted(&request.address),
        quoted(&security),
        quoted(&format!("plant/{}", segment(name.trim_matches('-')))),
    );
    let tags: Vec<&BrowsedVariable> = report
        .variables
        .iter()
        // The server's own status belongs to namespace 0.
        .filter(|variable| variable.kind.is_ok() && variable.node.namespace != config::NamespaceRef::Index(0))
        .collect();
    if report.cut || tags.len() > LISTED_TAGS_MAX || tags.is_empty() {
        let node = request.below.as_ref().map_or_else(|| "i=85".to_owned(), ToString::to_string);
        out.push_str(&format!("\n  [[source.browse]]\n  node = {}\n  name = \"all\"\n", quoted(&node)));
        return out;
    }
    for tag in tags {
        out.push_str(&format!(
            "\n  [[source.tag]]\n  name = {}\n  node = {}\n",
            quoted(&tag.name),
            quoted(&tag.node.to_string())
        ));
        if !tag.unit.is_empty() {
            out.push_str(&format!("  unit = {}\n", quoted(&tag.unit)));
        }
        if let Some([low, high]) = tag.range.filter(|range| range.iter().all(|end| end.is_finite())) {
            out.push_str(&format!("  range = [{low:?}, {high:?}]\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> BrowseRequest {
        BrowseRequest {
            address: "opc.tcp://10.0.0.1:4840/plant".into(),
            security: "None".parse().expect("valid"),
            user: None,
            pki: "pki".into(),
            timeout: Duration::from_secs(1),
            below: None,
            max: 100,
        }
    }

    fn variable(name: &str, node: &str) -> BrowsedVariable {
        BrowsedVariable {
            name: name.into(),
            node: node.parse().expect("valid"),
            kind: Ok(ValueKind::F64),
            unit: "°C".into(),
            range: Some([0.0, 250.0]),
            value: None,
        }
    }

    fn report(variables: Vec<BrowsedVariable>, cut: bool) -> BrowseReport {
        BrowseReport {
            address: String::new(),
            endpoints: Vec::new(),
            namespaces: Vec::new(),
            variables,
            cut,
            refused: None,
            toml: String::new(),
        }
    }

    #[test]
    fn few_tags_are_listed_one_by_one() {
        let variables = vec![variable("zones/Zone1", "nsu=urn:oven;s=Zone \"1\"\\x"), variable("server", "i=2256")];
        let text = snippet(&request(), &report(variables, false));
        let parsed: toml::Table = text.parse().expect("valid TOML");
        let source = &parsed["source"][0];
        assert_eq!(source["address"].as_str(), Some("opc.tcp://10.0.0.1:4840/plant"));
        assert_eq!(source["name"].as_str(), Some("10-0-0-1-4840-plant"));
        let tags = source["tag"].as_array().expect("tags");
        assert_eq!(tags.len(), 1, "the server's own variables are left out");
        assert_eq!(tags[0]["node"].as_str(), Some("nsu=urn:oven;s=Zone \"1\"\\x"));
        assert_eq!(tags[0]["range"][1].as_float(), Some(250.0));
    }

    #[test]
    fn many_tags_are_a_folder() {
        let text = snippet(&request(), &report(vec![variable("a", "nsu=urn:a;i=1")], true));
        let parsed: toml::Table = text.parse().expect("valid TOML");
        assert_eq!(parsed["source"][0]["browse"][0]["node"].as_str(), Some("i=85"));
    }
}
