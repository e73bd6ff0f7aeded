//! OPC UA servers as sources: subscribed, supervised, and acknowledged only after durability.
//!
//! Purpose: [`run`] keeps one configured server's variables flowing into the pass of its shard,
//! through restarts of the server, lost networks and lost messages, and says every loss as a gap.
//! Commands go over the same session: values read now or written, methods called.
//! [`browse`] shows what a server offers, with a piece of configuration to start from.
//!
//! The inside is pure: `sequence` (which message comes next), `ledger` (what may be acknowledged),
//! `supervisor` (the recovery ladder), `convert`, `notification`, `naming`, `chunks` and `items` know
//! no socket, clock or runtime. Around them, `connect`, `link`, `explore`, `describe`, `prepare`,
//! `subscribe` and `fetch` speak to the server through async-opcua's requests, and `run` joins both.
//!
//! Invariants
//! - Q1: a notification is acknowledged (OPC 10000-4, 5.14.5) only after its readings are durable.
//! - Q2: a message is taken once, in the order of its sequence number; what cannot be had is a gap.
//! - Q3: a node is found by namespace URI anew on every session; an index never outlives it.
//! - Q4: what a server may make us keep is bounded: message, array and text sizes, browsed nodes,
//!   outstanding requests, unacknowledged messages.
//! - Q5: one bad node concerns its own tag only, and is shown by name and reason.
//! - Q6: a command is answered once, and what it writes or calls is sent once (K1, K2).
//!
//! What it does not do: no events and alarms, no history, no polling for
//! servers without subscriptions; it reads no configuration file and opens no log.

#![forbid(unsafe_code)]

mod assign;
mod chunks;
mod command;
mod connect;
mod convert;
mod describe;
mod explore;
mod feed;
mod fetch;
mod items;
mod ledger;
mod limits;
mod link;
mod memo;
mod naming;
mod nodes;
mod notification;
mod prepare;
mod report;
mod run;
mod sequence;
mod subscribe;
mod supervisor;

pub use report::{BrowseError, BrowseReport, BrowseRequest, BrowsedVariable, browse};
pub use run::run;
