//! One core: its thread, its duty cycle, its lanes.
//!
//! Purpose: everything that runs on a core runs here, in an order that keeps telemetry first and
//! leaves the others a share. A shard owns a list of stages and lets tasks run; what they do is
//! theirs, and so is their state.
//!
//! One duty cycle:
//! ```text
//! look at the telemetry stages ─► posted jobs, within a budget ─► let the runtime run
//!        ▲                                                        sockets, timers, lower lanes
//!        └──────────── nothing to do: spin a while, then sleep ◄────────────┘
//! ```
//!
//! Invariants
//! - S1: between two polls of lower-lane tasks, between two posted jobs, and where a poll pauses
//!   ([`pause`]), the telemetry stages are looked at. The longest piece in between is therefore what
//!   telemetry may have to wait; it is measured by name, and named in the log when it overruns the
//!   quantum.
//! - S2: each lower lane has a time budget a cycle, and at least one poll a cycle: a flood in one
//!   lane, telemetry included, slows the others but stops none. Who waits for the next budget waits
//!   in line and costs nothing meanwhile, however many they are.
//! - S3: no wake-up is lost: readiness is cleared before the look, kept from its edge on, and the
//!   thread sleeps only if the look found nothing.
//! - S4: a panic in a stage or a posted job ends the shard with its story; one in a lower-lane task
//!   ends that task.
//! - S5: after [`ShardSender::close`] the stages take nothing new, and the thread ends when all say
//!   that they are drained, or says which were not.
//! - S6: while the helper has work it gets at least a thirty-second part of the time, however busy the
//!   lower lanes are: the thread naps for it. Telemetry ends a nap at once.
//!
//! It deliberately knows nothing of telemetry, and decides nothing about what a stage does with
//! its budget. Tasks that are spawned past [`ShardContext::spawn`] (plain `tokio::spawn`) run, but
//! S1 and S2 don't hold for them.

mod alarms;
mod context;
mod cycle;
mod helper;
mod histogram;
mod lane;
mod leisure;
mod meter;
mod nap;
mod parking;
mod sender;
mod slice;
mod stage;
mod stages;
mod stats;
mod task;
mod thread;

#[cfg(test)]
mod echo_tests;
#[cfg(test)]
mod tests;

pub use context::{ShardContext, current, pause};
pub use helper::{Helper, HelperFull};
pub use lane::Lane;
pub use sender::{Job, PostError, ShardSender};
pub use stage::Stage;
pub use stats::{BUCKETS_NS, Distribution, ShardStats, StageStats};
pub use thread::{BuildResult, Settings, ShardError, ShardThread, spawn_thread};
