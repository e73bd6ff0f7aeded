//! Millstream's own Modbus TCP client: one source, its units and their tags, polled, and written
//! on command.
//!
//! Purpose: read registers and bits as the configuration says, and give the pass readings, gaps,
//! states and counts; carry out commands between the polls, before those that wait. Pure inside
//! ([`codec`], [`mod@write`], [`plan`], [`cost`], [`depth`], [`decode`], [`encode`], [`session`], [`schedule`], [`poller`] take
//! bytes and times and say what to do), I/O outside ([`source`], [`mod@probe`]).
//!
//! Standards: *Modbus Application Protocol Specification V1.1b3*; *Modbus Messaging on TCP/IP
//! Implementation Guide V1.0b*.
//!
//! Invariants (each module has its own, named there)
//! - an answer is data only of the request that it matches by transaction, unit, function and
//!   length (T2);
//! - every due poll is answered, or counted in a gap with its reason (R3, A2, G1);
//! - a device that is silent or fails costs no other device anything, and comes back by itself
//!   (R2, T4);
//! - every command is answered once, no write is sent twice, and none changes more than its tag
//!   (K1, K2, E1, E2);
//! - everything held is bounded (T5, S2, K3).
//!
//! It does not say who may write what, speak serial RTU, or scale beyond `raw * scale + offset`.

#![forbid(unsafe_code)]

mod array;
pub mod backoff;
pub mod codec;
mod command;
pub mod cost;
pub mod counters;
pub mod decode;
pub mod depth;
pub mod encode;
pub mod exception;
pub mod gaps;
mod gather;
mod harvest;
mod health;
mod lane;
pub mod layout;
mod loss;
mod outlet;
pub mod plan;
pub mod poller;
pub mod probe;
pub mod schedule;
pub mod session;
pub mod source;
mod tagbook;
mod unit;
pub mod write;
mod writes;

#[cfg(test)]
#[path = "../tests/support/recorder.rs"]
mod recorder;
#[cfg(test)]
#[path = "../tests/support/settings.rs"]
mod settings;

pub use loss::Loss;
pub use probe::{ProbeReport, probe};
pub use source::{Time, run};
