//! The machine of one alarm: what people and the condition do to it.
//!
//! | state | meaning |
//! |---|---|
//! | `normal` | neither active nor waiting for anybody |
//! | `unacknowledged` | active (or latched), and nobody has seen it |
//! | `acknowledged` | active (or latched) and seen; or gone, and what was done is yet to be confirmed |
//! | `cleared-unacknowledged` | gone, and nobody has seen it |
//! | `shelved`, `suppressed`, `out-of-service` | set aside: by an operator for a while, by design, for maintenance; beneath it goes on |
//!
//! The states that set aside are independent of each other and of what lies beneath (OPC 10000-9,
//! 5.8.2); where several hold, out of service is shown before suppressed before shelved.
//!
//! Latched (OPC 10000-9, 5.8.5): an alarm whose rule says so stays in the list after its condition
//! is gone, until it was acknowledged (and confirmed, where that is asked for) and then reset.

mod machine;
mod moment;
mod shape;
mod words;

pub use machine::{Alarm, SHELF_NS_MAX};
pub use shape::{Input, Options, Shelved, Transition};
pub use words::{BY_CHARS_MAX, COMMENT_CHARS_MAX, Priority, Refused, State, What};
