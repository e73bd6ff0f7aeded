//! The five patterns over one journal: what is published once, delivered to whom, and what became
//! of it.
//!
//! Purpose: events, records, changes of tags and batches are messages in a journal; flows
//! (subscribers, syncs, batches) take them from there, each with its own place, order, retries and
//! dead letters; alarms, runs and audit lines are entries beside them. All state is a fold over the
//! journal ([`desk`]).
//!
//! Invariants are numbered J1 to J23 in the modules: [`entry`] (J1), [`journal`] (J2, J3),
//! [`spec`] (J4), [`letters`] (J5, J6), [`outlet`] (J7, J8), [`records`] (J9, J10), [`desk`]
//! (J11 to J13, J21 to J23), [`runs`] (J14 to J16), [`alarm_book`] (J17, J18), [`reconcile`] (J19, J20).
//!
//! It deliberately opens no socket and no file and asks no clock: calls, reads of the journal and
//! composing of documents are handed out as values, done elsewhere, and their results told back.

#![forbid(unsafe_code)]

pub mod alarm_book;
pub mod configure;
pub mod desk;
pub mod entry;
pub mod journal;
pub mod letters;
pub mod message;
mod newest;
pub mod outlet;
pub mod reconcile;
pub mod records;
pub mod runs;
pub mod spec;
pub mod stats;
pub mod trail;

pub use desk::{Desk, Recovery, Settings};
