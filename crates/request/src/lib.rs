//! Request/reply as pure state machines: deadline, bulkhead, breaker, stale answers, the safety
//! envelope of device writes.
//!
//! Purpose: decide what a call may do and what its caller hears, so that a caller always has either
//! an answer within its deadline or a refusal that names the system at fault, and a device only ever
//! gets a value that is safe by configuration.
//!
//! Invariants
//! - Q1: calls under way are at most `max_in_flight`; one more is refused at once, nobody queues
//!   ([`Gate`]).
//! - Q2: a deadline is the lesser of what the caller asks for and what the flow allows; nothing
//!   moves it later.
//! - Q3: a stale answer is given only by who asks for it after a failure, only up to its age, always
//!   with its age; never of anything that could be a write ([`Cache`]).
//! - Q4: no value passes an [`Envelope`] that is not a finite number within its range (or a bool or
//!   text where no range is set), and none while an interlock is false, unknown, bad or too old.
//! - Q5: writes within any window of an envelope's rate are at most its number ([`WriteHistory`]).
//! - Q6: everything held is bounded by a constant that stands with it.
//!
//! It deliberately sends nothing, retries nothing (a device write is never tried twice by itself),
//! and knows no clock: times are passed in and must not go back further than a clock is corrected.

#![forbid(unsafe_code)]

mod audit;
mod cache;
mod envelope;
mod failure;
mod gate;
mod history;
mod points;
mod prefer;
mod refusal;
mod reverts;
mod span;
mod value;

pub use audit::{Audit, AuditOutcome};
pub use cache::{
    Answer, CACHE_BYTES_MAX, CACHE_ENTRIES_MAX, CACHE_ENTRY_BYTES_MAX, Cache, CacheKey, Mark, Stale, is_safe_method,
};
pub use envelope::{
    Envelope, EnvelopeError, INTERLOCK_TAGS_MAX, Interlock, LIVE_MAX_AGE_NS, Live, Mismatch, Plan, REVERT_MAX_NS, Rate,
    Wanted,
};
pub use failure::{Failure, PointFault, Problem, RETRY_AFTER_MAX_NS, System};
pub use gate::{Gate, GateCounts, GateOutcome, GatePolicy, GateRefusal, Ticket};
pub use history::{RATE_WRITES_MAX, WriteHistory};
pub use points::{PointEnd, PointWanted, Tally, judge_all};
pub use prefer::{WAIT_MAX, asked_wait};
pub use refusal::{EnvelopeRefusal, Seen, Unsure};
pub use reverts::{REVERTS_MAX, Revert, Reverts, RevertsFull};
pub use value::{from_json, to_json};
