//! What a consumer asks for and hears back, and how items end.

use crate::policy::{DeliveryId, Offset};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make an attempt, and answer it with [`crate::Consumer::on_outcome`] whatever happens.
    Start {
        /// Which delivery.
        id: DeliveryId,
        /// From 1.
        attempt: u32,
        /// Ask whether an earlier attempt took effect, instead of sending.
        probe: bool,
        /// It may take so long, ns.
        timeout_ns: u64,
    },
    /// To be journalled: an item has ended.
    Settled(Settled),
    /// To be journalled: an attempt failed.
    Attempted(Attempted),
}

/// An item has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Which delivery.
    pub id: DeliveryId,
    /// How.
    pub end: End,
}

/// How an item ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The target has it.
    Delivered,
    /// It was given up.
    Dead {
        /// Why.
        reason: DeadReason,
    },
    /// A newer item of its key goes out instead.
    Superseded {
        /// That item.
        by: Offset,
    },
    /// It was too old.
    Expired,
    /// Somebody decided that it need not go out.
    Skipped,
}

/// Why an item was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadReason {
    /// The target refused it, or it could not be mapped; trying again would not help.
    Rejected,
    /// As many attempts as it may have.
    Attempts {
        /// How many counted.
        counted: u32,
    },
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadReason::Rejected => f.write_str("refused by the target"),
            DeadReason::Attempts { counted } => write!(f, "given up after {counted} attempts that the target failed"),
        }
    }
}

/// An attempt failed and another will be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempted {
    /// Which delivery.
    pub id: DeliveryId,
    /// From 1.
    pub attempt: u32,
    /// Attempts that count against its limit so far.
    pub counted: u32,
    /// Whether it may have taken effect.
    pub in_doubt: bool,
    /// When it is tried again, at the earliest, ns since 1970 UTC.
    pub next_ns: i64,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Delivered,
    /// The target refuses this very item for good.
    Rejected,
    /// No call could be made of this item: nothing was sent, and nothing is known of the target.
    Unmapped,
    /// The target answered that it failed.
    Failed {
        /// It asked to wait so long, ns.
        retry_after_ns: Option<u64>,
    },
    /// The target could not be reached, or is busy: nothing took effect.
    Unavailable {
        /// It asked to wait so long, ns.
        retry_after_ns: Option<u64>,
    },
    /// It was sent, and there is no answer.
    InDoubt,
    /// A probe: it took effect.
    ProbeDone,
    /// A probe: it did not take effect.
    ProbeNotDone,
    /// A probe that said neither.
    ProbeUnknown,
}
