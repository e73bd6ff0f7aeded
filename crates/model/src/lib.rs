//! The nouns of Millstream: what every other crate talks about, and nothing that does anything.
//!
//! Purpose: one meaning for each word (tag, source, sample, quality, gap, position), with newtypes
//! for what can be swapped by mistake, and the limits of the whole product as named constants. Two
//! seams stand here because both of their sides must know them: [`Intake`], through which a source
//! says what it read, and [`device`], through which it is told what to read, write or call.
//!
//! Invariants
//! - M1: no I/O, no clock, no randomness, no allocation beyond what a value or a
//!   bounded queue itself owns.
//! - M2: a [`TagPath`] that exists is valid; nobody checks it again.
//!
//! It deliberately does not say how anything is stored or sent: that is `frame` and `docs/format.md`.

pub mod device;
mod gap;
mod glob;
mod id;
mod intake;
pub mod limits;
mod path;
mod quality;
mod time;
mod value;

pub use gap::{Gap, GapReason};
pub use glob::Glob;
pub use id::{LogPosition, ProducerId, Sequence, ShardId, SourceId, TagId, TextId};
pub use intake::{CommitError, Intake, Reading, Refused, Run, SourceState, TagDeclaration, durable};
pub use path::{PathError, TagPath};
pub use quality::Quality;
pub use time::TimestampNs;
pub use value::{Value, ValueKind};
