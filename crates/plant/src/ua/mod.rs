//! OPC UA servers of the plant: one address space in memory behind one unencrypted endpoint.
//!
//! Purpose: what the oven and the load-test fleet have in common. What the nodes mean is theirs.
//!
//! Invariants:
//! - Security policy None, anonymous users: this is a simulation on the loopback interface.
//! - A monitored item on a node that does not exist is refused with its own status, never
//!   created (OPC UA Part 4, 5.12.2).
//! - A stopped server leaves no file behind and its port free.

mod endpoint;
mod space;

pub(crate) use endpoint::{Endpoint, Launch};
pub(crate) use space::NodeHooks;
