//! What can be seen of a consumer.

use crate::policy::DeliveryId;
use model::TimestampNs;

/// How many items are, and ended, how. The ends are counted since the consumer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that wait for their first attempt.
    pub waiting: u64,
    /// Items under way.
    pub in_flight: u64,
    /// Items that wait for another attempt.
    pub retrying: u64,
    /// Items, waiting or under way, that may have taken effect already.
    pub in_doubt: u64,
    /// Ended: the target has it.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Ended: given up.
    pub dead: u64,
    /// Ended: too old.
    pub expired: u64,
    /// Ended: a newer one went out.
    pub superseded: u64,
}

/// What an item does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemState {
    /// It waits for its first attempt.
    Waiting,
    /// It is under way.
    InFlight,
    /// It waits for another attempt.
    Retrying,
    /// It waits, and may have taken effect already.
    InDoubt,
}

impl ItemState {
    /// The word in answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ItemState::Waiting => "waiting",
            ItemState::InFlight => "in-flight",
            ItemState::Retrying => "retrying",
            ItemState::InDoubt => "in-doubt",
        }
    }
}

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemView {
    /// Which delivery.
    pub id: DeliveryId,
    /// Hash of what orders it.
    pub key: u64,
    /// When it was published.
    pub time: TimestampNs,
    /// What it does.
    pub state: ItemState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried next, at the earliest.
    pub next: Option<TimestampNs>,
}
