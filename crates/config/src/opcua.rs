//! Runtime types of an OPC UA source.

use std::str::FromStr;
use std::time::Duration;

use crate::problem::Invalid;
use crate::{NodeRef, Secret};

/// An OPC UA server whose nodes are subscribed to (OPC 10000-4, 5.13 and 5.14).
#[derive(Debug, Clone, PartialEq)]
pub struct OpcuaSource {
    /// Endpoint: `opc.tcp://host:port[/path]`.
    pub address: String,
    /// Security policy and mode; a server that does not offer it is refused, never downgraded to.
    pub security: OpcuaSecurity,
    /// User name and password; `None` is anonymous.
    pub user: Option<OpcuaUser>,
    /// Requested publishing interval. Default 1 s.
    pub publishing: Duration,
    /// Requested sampling interval. Default: as `publishing`.
    pub sampling: Duration,
    /// Requested queue size of an item, oldest discarded first. Default 10, at least 2.
    pub queue: u32,
    /// Longest silence after which the server is asked to send a keep-alive. Default 5 s.
    pub keep_alive: Duration,
    /// No notification and no keep-alive for this long: the connection is made anew. Default 10 s.
    pub watchdog: Duration,
    /// Deadline of one service call. Default 5 s.
    pub timeout: Duration,
    /// The tags, in file order.
    pub tags: Vec<OpcuaTag>,
    /// Folders whose variables become tags.
    pub browse: Vec<OpcuaBrowse>,
}

/// Security of an OPC UA connection (OPC 10000-7, 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcuaSecurity {
    /// `None`, `Basic256Sha256`, `Aes128-Sha256-RsaOaep` or `Aes256-Sha256-RsaPss`.
    pub policy: String,
    /// What is done to each message.
    pub mode: SecurityMode,
}

/// What is done to each message (OPC 10000-4, 7.20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityMode {
    /// Nothing.
    None,
    /// Signed.
    Sign,
    /// Signed and encrypted.
    SignAndEncrypt,
}

/// Who logs in (OPC 10000-4, 7.41: UserNameIdentityToken).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcuaUser {
    /// User name.
    pub name: String,
    /// Where the password stands.
    pub password: Secret,
}

/// One node that is a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct OpcuaTag {
    /// Name below the source's path.
    pub name: String,
    /// The node.
    pub node: NodeRef,
    /// Engineering unit where the server's own is missing or wrong.
    pub unit: Option<String>,
    /// Lowest and highest plausible value.
    pub range: Option<[f64; 2]>,
    /// Absolute deadband (OPC 10000-4, 7.22.2: DataChangeFilter). Default 0.
    pub deadband: f64,
}

/// A folder below which every variable becomes a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcuaBrowse {
    /// The folder.
    pub node: NodeRef,
    /// Path, below the source's, that the tags hang under.
    pub name: String,
    /// Most tags that it may make. Default 10,000.
    pub max: u32,
}

/// The policies that are taken.
const POLICIES: [&str; 3] = ["Basic256Sha256", "Aes128-Sha256-RsaOaep", "Aes256-Sha256-RsaPss"];
/// Policies that the OPC Foundation withdrew (OPC 10000-7: SHA-1 and RSA 1.5 are broken).
const POLICIES_WITHDRAWN: [&str; 2] = ["Basic128Rsa15", "Basic256"];
/// What would be right.
const RIGHT: &str = "write \"None\", or a policy and a mode such as \"Basic256Sha256/SignAndEncrypt\" \
(policies Basic256Sha256, Aes128-Sha256-RsaOaep, Aes256-Sha256-RsaPss; modes Sign, SignAndEncrypt)";

impl FromStr for OpcuaSecurity {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "None" {
            return Ok(Self { policy: text.to_owned(), mode: SecurityMode::None });
        }
        let (policy, mode) = match text.split_once('/') {
            Some((policy, mode)) => (policy, Some(mode)),
            None => (text, None),
        };
        if POLICIES_WITHDRAWN.contains(&policy) {
            return Err(Invalid::new(
                format!("security policy {policy} is withdrawn: it rests on SHA-1 or RSA 1.5, which can be broken"),
                "enable Basic256Sha256 or newer on the server and write \"Basic256Sha256/SignAndEncrypt\"",
            ));
        }
        if !POLICIES.contains(&policy) {
            return Err(Invalid::new(format!("{text:?} names no known security policy"), RIGHT));
        }
        let mode = match mode {
            Some("Sign") => SecurityMode::Sign,
            Some("SignAndEncrypt") => SecurityMode::SignAndEncrypt,
            Some(other) => {
                return Err(Invalid::new(format!("{other:?} is no security mode of policy {policy}"), RIGHT));
            }
            None => return Err(Invalid::new(format!("security policy {policy} comes without a mode"), RIGHT)),
        };
        Ok(Self { policy: policy.to_owned(), mode })
    }
}

/// Checks an endpoint address: `opc.tcp://host:port[/path]`.
pub(crate) fn check_endpoint(text: &str) -> Result<(), Invalid> {
    let right = "write \"opc.tcp://host:port/path\", for instance \"opc.tcp://192.168.1.30:4840\"";
    let rest = text
        .strip_prefix("opc.tcp://")
        .ok_or_else(|| Invalid::new(format!("address {text:?} does not begin with opc.tcp://"), right))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    match crate::modbus::split_host_port(authority) {
        Some((_, Some(_))) if !rest.chars().any(|c| c.is_whitespace() || c.is_control()) => Ok(()),
        _ => Err(Invalid::new(format!("address {text:?} is not a host and a port"), right)),
    }
}
