//! What a consumer is told, and what it is given.

use crate::breaker::BreakerPolicy;
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A message's place in the journal; it orders all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one delivery of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The message's offset.
    pub offset: Offset,
    /// 0: the first delivery; else the number of its replay.
    pub replay: u32,
}

/// How a consumer treats its target and its items.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Counted attempts before the dead letters; at least 1.
    pub attempts: u32,
    /// Wait after the first failure, ns.
    pub first_ns: u64,
    /// Longest wait, ns.
    pub max_ns: u64,
    /// Deadline of one attempt, ns.
    pub timeout_ns: u64,
    /// Age at which an item that is not under way ends as expired, ns; `None`: never by age.
    pub expire_ns: Option<u64>,
    /// Items that may be under way at once; at least 1.
    pub concurrency: u32,
    /// Items that are held at most.
    pub window: u32,
    /// Bytes of the items' messages at which no more are taken: at most this and one message are held.
    pub window_bytes: usize,
    /// Does a newer item of a key replace older ones that wait?
    pub coalesce: bool,
    /// Starts a second of items that are older than [`crate::BACKLOG_AGE_NS`]; `None`: no limit.
    pub rate_per_s: Option<u32>,
    /// When the circuit opens.
    pub breaker: BreakerPolicy,
    /// Is an item whose attempt had no answer asked for before it is sent again?
    pub probe: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            attempts: 12,
            first_ns: 500_000_000,
            max_ns: 60_000_000_000,
            timeout_ns: 10_000_000_000,
            expire_ns: None,
            concurrency: 8,
            window: 4_096,
            window_bytes: 16 << 20,
            coalesce: false,
            rate_per_s: Some(1_000),
            breaker: BreakerPolicy { failures: 5, open_ns: 10_000_000_000, open_max_ns: 300_000_000_000 },
            probe: false,
        }
    }
}

/// One message for a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its place.
    pub offset: Offset,
    /// Hash of what orders it.
    pub key: u64,
    /// When it was published.
    pub time: TimestampNs,
    /// Bytes that are held for it.
    pub bytes: usize,
}

/// There is no room; offer it again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the window is full: offer it again when something has ended")
    }
}

impl std::error::Error for Full {}
