//! The rig: runs a system on a simulated disk through every fault that is promised to be survived,
//! and holds what is stored against what was acknowledged.
//!
//! Purpose: one command, one line of result, and the seed that replays a failure. Two systems run
//! through the same scenario: the log alone ([`log_system`]), and the whole way of native telemetry
//! from a producer's outbox to the disk ([`stack`]).
//!
//! Invariants
//! - R1: the same arguments give the same run, to the byte.
//! - R2: the oracle knows only what was sent and what was acknowledged; it shares no code with the
//!   system under test.
//! - R3: a run ends with the faults healed and everything acknowledged, or it failed.
//!
//! It deliberately does not plant bugs: the patches in `sabotage/` are applied to a copy of the
//! workspace by `cargo xtask sabotage`, which expects `rig sim` to fail there within 200 seeds. Such a
//! file is: a path relative to the workspace, a line `--- find`, text that stands there exactly
//! once, a line `--- replace`, text instead. The line break before each of the two lines, and the
//! last one of the file, belong to neither text.

pub mod bitrot;
pub mod driver;
pub mod log_system;
pub mod nth;
pub mod oracle;
pub mod scenario;
pub mod stack;
pub mod system;
pub mod world;
