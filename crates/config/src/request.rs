//! Runtime types of request/reply: to systems, and to devices within a safety envelope.

use std::time::Duration;

use crate::{Breaker, NodeRef, Target};

/// `[[request]]`: request/reply, to a system or to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name, unique among flows; `POST /v1/requests/{name}`.
    pub name: String,
    /// What a call does.
    pub action: RequestAction,
    /// Longest time for an answer. Default 5 s.
    pub timeout: Duration,
    /// Calls that may be under way at once. Default 64.
    pub max_in_flight: u32,
    /// Circuit breaker.
    pub breaker: Breaker,
    /// Least role that may call. Default: operator.
    pub role: Role,
    /// JSON Schema of the caller's body; `None`: any JSON.
    pub schema: Option<serde_json::Value>,
    /// Expression over `request` that makes the body; without it the caller's body is passed on.
    /// Only with [`RequestAction::To`].
    pub body: Option<String>,
    /// Expression over `answer`, `status` and `request` that makes what the caller gets.
    pub answer: Option<String>,
    /// An answer up to this old may stand in, marked as such, while the other side is down;
    /// `None`: never. Only with [`RequestAction::To`].
    pub cache: Option<Duration>,
}

/// What a request does.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestAction {
    /// `to`: asks a system. Always an HTTP target.
    To(Target),
    /// `write`: writes to a device.
    Write(DeviceWrite),
    /// `write_points`: writes several points of devices in one call.
    WritePoints(WritePoints),
    /// `read`: reads tags of a device.
    Read(DeviceRead),
    /// `call`: calls an OPC UA method.
    Call(MethodCall),
}

/// A write to one tag of a device, with its safety envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceWrite {
    /// Name of the source.
    pub source: String,
    /// The tag, relative to the source's path: `setpoint`, or `meter1/limit` with units.
    pub tag: String,
    /// Lowest and highest value that may be written; `None` only for bool and text.
    pub range: Option<[f64; 2]>,
    /// Most that a write may change the value by; `None`: anything within `range`.
    pub step: Option<f64>,
    /// Most writes in a time.
    pub rate: Option<WriteRate>,
    /// What must be true of the plant before it is written.
    pub interlock: Option<Interlock>,
    /// Must the caller send the old value that it expects? Default false.
    pub expect: bool,
    /// Read back within this time and compare; `None`: don't.
    pub read_back: Option<Duration>,
    /// Difference up to which two numbers are the same, in the comparisons of `read_back` and
    /// `expect`. Default 0.
    pub tolerance: f64,
    /// May a caller ask that the old value comes back by itself? `None`: no.
    pub revert: Option<Revert>,
}

/// A write to several points in one call.
#[derive(Debug, Clone, PartialEq)]
pub struct WritePoints {
    /// Most points of one call. Default 100.
    pub max_points: u32,
    /// The points that may be written; never empty, each tag once, each name once.
    pub points: Vec<WritePoint>,
}

/// A point that may be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WritePoint {
    /// What callers name it by. Default: the tag, relative to its source's path.
    pub name: String,
    /// Its tag, with its safety envelope.
    pub write: DeviceWrite,
}

/// Most writes in a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteRate {
    /// Writes, 1 to 1000.
    pub writes: u32,
    /// The time that they are counted over.
    pub per: Duration,
}

/// What must be true of the plant before a device is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interlock {
    /// Expression over the aliases of `tags`, and `value`, which is what would be written.
    pub when: String,
    /// Alias and whole path of each tag whose live value the expression may name; never empty.
    pub tags: Vec<(String, String)>,
    /// A value that is older than this, or not good, refuses the write. Default 5 s.
    pub max_age: Duration,
}

/// The automatic way back to the old value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    /// The longest time that a caller may ask for.
    pub max: Duration,
    /// The time when the caller asks for none; `None`: the new value stays. At most `max`.
    pub default: Option<Duration>,
}

/// Reads tags of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRead {
    /// Name of the source, modbus or opcua.
    pub source: String,
    /// The tags, relative to the source's path; never empty.
    pub tags: Vec<String>,
    /// A live value that is at most this old will do; `None`: the device is asked each time.
    pub max_age: Option<Duration>,
}

/// Calls a method of an OPC UA server: OPC 10000-4, 5.12.2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodCall {
    /// Name of the source, of kind opcua.
    pub source: String,
    /// Object that the method belongs to.
    pub object: NodeRef,
    /// The method.
    pub method: NodeRef,
    /// Expression over `request` that makes the list of input arguments; `None`: no arguments.
    pub arguments: Option<String>,
}

/// Roles, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Acknowledges, requests.
    Operator,
    /// Configures flows, replays.
    Engineer,
    /// Everything.
    Admin,
}
