//! `[[source]]`: what every source has, and the native kind.

use crate::{ModbusSource, OpcuaSource};

/// One `[[source]]`: a device, a gateway, a server, or a place for native producers.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Unique name among sources.
    pub name: String,
    /// Where its tags hang in the tree: a tag's path is `path[/unit]/tag`.
    pub path: String,
    /// The protocol and its settings.
    pub kind: SourceKind,
}

/// The protocol of a source.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceKind {
    /// `kind = "modbus"`: Modbus TCP, polled.
    Modbus(ModbusSource),
    /// `kind = "opcua"`: OPC UA, subscribed.
    Opcua(OpcuaSource),
    /// `kind = "native"`: producers that speak frames.
    Native(NativeSource),
}

/// A place in the tree below which native producers may create tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeSource {
    /// Most tags below this path. Default 100,000; at most 10,000,000.
    pub tags_max: u32,
    /// Most producers that are remembered, connected or not. Default 1,024.
    pub producers_max: u32,
    /// Are frames over UDP (without acknowledgement) taken, too? Default true.
    pub udp: bool,
}
