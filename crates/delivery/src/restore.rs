//! What survives a restart.

use crate::policy::{DeliveryId, Offset};
use serde::{Deserialize, Serialize};

/// A consumer at one moment, as far as it cannot be offered again. At most a window's worth of
/// offsets, however long the backlog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Everything up to here has ended, or was none of its own.
    pub low: Offset,
    /// What has ended above that.
    pub settled: Vec<Offset>,
    /// Attempts of what has not ended.
    pub attempts: Vec<Carried>,
    /// Whether it is paused.
    pub paused: bool,
}

/// Attempts of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Which.
    pub id: DeliveryId,
    /// All of them.
    pub attempts: u32,
    /// Those that count against its limit.
    pub counted: u32,
    /// Whether it may have taken effect.
    pub in_doubt: bool,
}
