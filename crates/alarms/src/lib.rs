//! Rules over tags and alarms in the states of ISA-18.2 and OPC 10000-9, as pure state machines.
//!
//! Purpose: say when a condition over a tag begins and ends ([`rules`], one small evaluator per
//! rule and tag, on the shard that owns the tag), and keep what people do about it ([`alarm`],
//! one machine per alarm, on the shard that keeps the flows).
//!
//! Standards: *ANSI/ISA-18.2-2016, Management of Alarm Systems for the Process Industries*;
//! *OPC 10000-9, Alarms and Conditions* (5.7 AcknowledgeableConditionType, 5.8
//! AlarmConditionType, 5.8.17 ShelvedStateMachineType, annex B).
//!
//! Invariants
//! - within the band between limit and clear a condition never changes (A1);
//! - a state is told only after it held for its delay, without a break and on good samples (A2);
//! - a bad sample neither raises nor clears anything (A3);
//! - an alarm that is shelved, suppressed or out of service notifies nobody, and tells once when
//!   it comes back still active and unacknowledged (A4);
//! - every shelf ends by itself (A5);
//! - what is already so is no transition, what makes no sense is refused and changes nothing (A6);
//! - everything held is bounded (A7).
//!
//! It does not read clocks, publish, store or group alarms, and keeps one branch per alarm: an
//! acknowledgement covers all activations before it (OPC 10000-9, 4.4 allows a branch for each).

#![forbid(unsafe_code)]

pub mod alarm;
pub mod rules;

pub use alarm::{Alarm, Input, Options, Priority, Refused, Shelved, State, Transition, What};
pub use rules::{Condition, Edge, Evaluator, Rule, Sample};
