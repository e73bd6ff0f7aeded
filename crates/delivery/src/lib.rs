//! The delivery engine: order per key, retries, breaker, dead letters, as a pure state machine.
//!
//! Purpose: one [`Consumer`] is one flow's deliveries to one target. Its owner offers it what was
//! published and is durable, carries out what it asks to start, and tells it what came of that.
//!
//! Invariants
//! - E1: every offered item ends exactly once ([`End`]), or is still held; none is dropped.
//! - E2: of one key at most one item is under way, and the next starts only after the one before it
//!   has ended. Other keys go on meanwhile.
//! - E3: what is under way is at most `concurrency`; nothing starts while the breaker is open or
//!   the consumer is paused.
//! - E4: an outage never makes a dead letter: what the target did not answer counts against an item
//!   only if the target delivered another one since the item's attempt before.
//! - E5: [`Consumer::low`] never leads: everything up to it has ended, or was none of ours.
//! - E6: at most a window of items is held; who is at its limit is offered more later.
//! - E7: folding an entry twice is folding it once, so a journal may be read again from any point.
//!
//! It deliberately knows no message, no target, no clock and no file. Times are passed in, and
//! jitter comes from a seed.

#![forbid(unsafe_code)]

mod backoff;
mod breaker;
mod consumer;
mod end;
mod policy;
mod random;
mod rate;
mod restore;
mod view;

pub use backoff::{RETRY_AFTER_MAX_NS, backoff_ns};
pub use breaker::{Breaker, BreakerPolicy, BreakerState, Open};
pub use consumer::Consumer;
pub use end::{Action, Attempted, DeadReason, End, Outcome, Settled};
pub use policy::{DeliveryId, Full, Item, Offset, Policy};
pub use random::SplitMix64;
pub use rate::{BACKLOG_AGE_NS, Bucket};
pub use restore::{Carried, Snapshot};
pub use view::{Counts, ItemState, ItemView};
