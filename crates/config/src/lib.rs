//! The configuration: one TOML file, checked whole before any of it acts.
//!
//! [`parse`] turns the text into a [`Config`] of plain runtime types, or into every [`Problem`] of
//! the file at once, each with its line, what is wrong and what would be right. One table of keys
//! (`table`) is the single data from which the reading, the unknown-key suggestions, the JSON
//! Schema ([`schema`]) and the reference ([`reference()`]) come, so they cannot tell different
//! stories.
//!
//! Invariants:
//! 1. A `Config` exists only when the file had no problem; there is no half-read configuration.
//! 2. A key that no table entry names is a problem, never ignored.
//! 3. Every default and limit stands once, in the table.
//!
//! What it does not do: no file, socket, clock or environment is touched. Secrets stay references
//! ([`Secret`]); expressions are compiled, to see that they can be and name nothing that is not there,
//! and stay text; time zones are checked for their form, not looked up.

#![forbid(unsafe_code)]

mod analysis;
mod batch;
mod flow;
mod inactive;
mod modbus;
mod names;
mod node;
mod opcua;
mod problem;
mod quantity;
mod read;
mod reference;
mod register;
mod request;
mod schema;
mod secret;
mod server;
mod source;
mod table;
mod target;
mod web;

pub use analysis::{Aggregate, Condition, Rollup, Rule};
pub use batch::{
    Batch, BatchAt, BatchFormat, BatchRollup, Compress, Date, Day, Record, Shift, ShiftException, TimeOfDay,
};
pub use flow::{Breaker, Forward, Ours, Probe, Reconcile, Repair, Retry, StartAt, Subscriber, Sync, SyncOn};
pub use modbus::{ModbusAddress, ModbusSource, ModbusTag, ModbusUnit, RegisterType, WordOrder};
pub use node::{NamespaceRef, NodeIdentifier, NodeRef};
pub use opcua::{OpcuaBrowse, OpcuaSecurity, OpcuaSource, OpcuaTag, OpcuaUser, SecurityMode};
pub use problem::{Invalid, Problem, render};
pub use reference::reference;
pub use register::{Area, RegisterAddress};
pub use request::{
    DeviceRead, DeviceWrite, Interlock, MethodCall, Request, RequestAction, Revert, Role, WritePoint, WritePoints,
    WriteRate,
};
pub use schema::schema;
pub use secret::Secret;
pub use server::{Cores, JournalSettings, LogSettings, Server};
pub use source::{NativeSource, Source, SourceKind};
pub use target::{
    ClientCertificate, Conflict, Hmac, HttpAuth, HttpTarget, MqttTarget, NatsTarget, OAuth2, S3Target, Target,
    TargetKind,
};

/// Longest configuration file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most configured tags of a file, counted after `units` are multiplied out. Tags that browsing or
/// native producers add have limits of their own (`browse.max`, `tags_max`).
pub const TAGS_MAX: usize = 100_000;
/// Most `[[source]]` entries of a file.
pub const SOURCES_MAX: usize = 10_000;
/// Most problems that [`parse`] lists; what is beyond is only counted.
pub const PROBLEMS_MAX: usize = 1_000;

/// A whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[cores]`
    pub cores: Cores,
    /// `[[source]]`, in file order
    pub sources: Vec<Source>,
    /// `[[rollup]]`
    pub rollups: Vec<Rollup>,
    /// `[[rule]]`
    pub rules: Vec<Rule>,
    /// `[[subscriber]]`
    pub subscribers: Vec<Subscriber>,
    /// `[[request]]`
    pub requests: Vec<Request>,
    /// `[[record]]`
    pub records: Vec<Record>,
    /// `[[sync]]`
    pub syncs: Vec<Sync>,
    /// `[[batch]]`
    pub batches: Vec<Batch>,
    /// `[[shift]]`
    pub shifts: Vec<Shift>,
    /// `[[forward]]`
    pub forwards: Vec<Forward>,
}

/// Reads a configuration file.
///
/// # Errors
/// Every problem of the file, in file order.
pub fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    read::file(text)
}

/// A commented configuration to start from; it loads as it is.
#[must_use]
pub fn init() -> &'static str {
    include_str!("init.toml")
}
