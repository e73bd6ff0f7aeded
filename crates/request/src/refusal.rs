//! Why the envelope let a write not pass: one by one, with what it saw.

use crate::{envelope::REVERT_MAX_NS, span};
use model::{Quality, Value, ValueKind, limits::TEXT_BYTES_MAX};
use serde_json::Value as Json;
use std::fmt;

/// The values that an interlock saw, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen(pub Vec<(String, Json)>);

impl fmt::Display for Seen {
    /// `value = 180, running = false`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} = {value}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Why a live value says nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsure {
    /// There is no such tag.
    Unknown,
    /// It never had a value.
    NoValue,
    /// Its quality is not Good.
    Bad {
        /// That quality.
        quality: Quality,
    },
    /// It was not confirmed for too long.
    TooOld {
        /// For how long, ns.
        age_ns: u64,
        /// How long it may be, ns.
        max_age_ns: u64,
    },
    /// It is not a finite number.
    NotFinite,
}

impl fmt::Display for Unsure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsure::Unknown => f.write_str("is not known"),
            Unsure::NoValue => f.write_str("has no value yet"),
            Unsure::Bad { quality } => write!(f, "has quality {quality}"),
            Unsure::TooOld { age_ns, max_age_ns } => {
                write!(f, "is {} old, and may be {}", span::words(*age_ns), span::words(*max_age_ns))
            }
            Unsure::NotFinite => f.write_str("is not a finite number"),
        }
    }
}

/// The rule that a write breaks.
#[derive(Clone, Debug, PartialEq)]
pub enum EnvelopeRefusal {
    /// A range or a step is set, and this is no number.
    NotANumber {
        /// What was wanted.
        value: Value,
    },
    /// NaN or infinite.
    NotFinite,
    /// Outside the range.
    OutOfRange {
        /// What was wanted.
        value: Value,
        /// Lowest that may be.
        low: f64,
        /// Highest that may be.
        high: f64,
    },
    /// A number, and no range is configured.
    NoRange,
    /// Not of the tag's kind.
    WrongKind {
        /// What was wanted.
        value: Value,
        /// What the tag's values are.
        kind: ValueKind,
    },
    /// Longer than a text may be.
    TextTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Too far from the present value.
    StepTooLarge {
        /// The present value.
        from: Value,
        /// What was wanted.
        to: Value,
        /// Largest change that may be.
        step_max: f64,
    },
    /// As many writes as may be were made.
    TooFast {
        /// How many may be.
        writes: u32,
        /// In which time, ns.
        per_ns: u64,
        /// When one more may be, ns from now.
        retry_after_ns: u64,
    },
    /// The interlock is false.
    InterlockFalse {
        /// Its expression.
        expression: String,
        /// The values that it saw.
        seen: Seen,
    },
    /// A value that the interlock looks at is unknown, bad or too old.
    InterlockUnsure {
        /// Path of its tag.
        tag: String,
        /// Why it says nothing.
        why: Unsure,
    },
    /// The interlock has no result over these values.
    InterlockError {
        /// The expression's complaint.
        what: String,
    },
    /// The caller must say which value it believes to be there.
    ExpectedMissing,
    /// Another value is there than the caller believes.
    ExpectedDiffers {
        /// What it believes.
        expected: Value,
        /// What is there.
        actual: Value,
    },
    /// A rule looks at the present value, and that says nothing.
    NotLive {
        /// Why.
        why: Unsure,
    },
    /// The value would go back after more than [`REVERT_MAX_NS`].
    RevertTooLate {
        /// After how long, ns.
        after_ns: u64,
    },
    /// The present value lies outside the range, so it could not be written again.
    RevertOutOfRange {
        /// That value.
        old: Value,
    },
}

impl EnvelopeRefusal {
    /// A stable word for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            EnvelopeRefusal::NotANumber { .. } => "not-a-number",
            EnvelopeRefusal::NotFinite => "not-finite",
            EnvelopeRefusal::OutOfRange { .. } => "out-of-range",
            EnvelopeRefusal::NoRange => "no-range",
            EnvelopeRefusal::WrongKind { .. } => "wrong-kind",
            EnvelopeRefusal::TextTooLong { .. } => "text-too-long",
            EnvelopeRefusal::StepTooLarge { .. } => "step-too-large",
            EnvelopeRefusal::TooFast { .. } => "too-fast",
            EnvelopeRefusal::InterlockFalse { .. } => "interlock-false",
            EnvelopeRefusal::InterlockUnsure { why, .. } => match why {
                Unsure::Unknown | Unsure::NoValue => "interlock-unknown",
                Unsure::Bad { .. } | Unsure::NotFinite => "interlock-bad",
                Unsure::TooOld { .. } => "interlock-too-old",
            },
            EnvelopeRefusal::InterlockError { .. } => "interlock-error",
            EnvelopeRefusal::ExpectedMissing => "expected-missing",
            EnvelopeRefusal::ExpectedDiffers { .. } => "expected-differs",
            EnvelopeRefusal::NotLive { .. } => "not-live",
            EnvelopeRefusal::RevertTooLate { .. } => "revert-too-late",
            EnvelopeRefusal::RevertOutOfRange { .. } => "revert-out-of-range",
        }
    }

    /// The HTTP status to answer: 422 what was sent cannot be, 403 the configuration or an interlock
    /// forbids it, 409 the device's state is another, 429 too often.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            EnvelopeRefusal::NotANumber { .. }
            | EnvelopeRefusal::NotFinite
            | EnvelopeRefusal::OutOfRange { .. }
            | EnvelopeRefusal::WrongKind { .. }
            | EnvelopeRefusal::TextTooLong { .. }
            | EnvelopeRefusal::StepTooLarge { .. }
            | EnvelopeRefusal::ExpectedMissing
            | EnvelopeRefusal::RevertTooLate { .. } => 422,
            EnvelopeRefusal::NoRange
            | EnvelopeRefusal::InterlockFalse { .. }
            | EnvelopeRefusal::InterlockUnsure { .. }
            | EnvelopeRefusal::InterlockError { .. } => 403,
            EnvelopeRefusal::ExpectedDiffers { .. }
            | EnvelopeRefusal::NotLive { .. }
            | EnvelopeRefusal::RevertOutOfRange { .. } => 409,
            EnvelopeRefusal::TooFast { .. } => 429,
        }
    }

    /// When the same write may pass, ns from now, where only time is missing.
    #[must_use]
    pub const fn retry_after_ns(&self) -> Option<u64> {
        match self {
            EnvelopeRefusal::TooFast { retry_after_ns, .. } => Some(*retry_after_ns),
            _ => None,
        }
    }
}

impl fmt::Display for EnvelopeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvelopeRefusal::NotANumber { value } => write!(f, "{value:?} is no number; send one"),
            EnvelopeRefusal::NotFinite => f.write_str("the value is not a finite number; send one"),
            EnvelopeRefusal::OutOfRange { value, low, high } => {
                write!(f, "{value} lies outside {low} to {high}; send a value within")
            }
            EnvelopeRefusal::NoRange => {
                f.write_str("the request has no range, without which no number is written; configure one")
            }
            EnvelopeRefusal::WrongKind { value, kind } => {
                write!(f, "{value} is a {}, and the tag's values are {}", value.kind().name(), kind.name())
            }
            EnvelopeRefusal::TextTooLong { bytes } => {
                write!(f, "the text has {bytes} bytes; at most {TEXT_BYTES_MAX} are allowed")
            }
            EnvelopeRefusal::StepTooLarge { from, to, step_max } => write!(
                f,
                "from {from} to {to} is more than {step_max}, the largest change at once; go in smaller steps"
            ),
            EnvelopeRefusal::TooFast { writes, per_ns, retry_after_ns } => write!(
                f,
                "{writes} writes in {} were made, as many as may be; try again in {}",
                span::words(*per_ns),
                span::words(*retry_after_ns)
            ),
            EnvelopeRefusal::InterlockFalse { expression, seen } => {
                write!(f, "the interlock `{expression}` is false with {seen}")
            }
            EnvelopeRefusal::InterlockUnsure { tag, why } => {
                write!(f, "the interlock cannot be judged: {tag} {why}; look at its source")
            }
            EnvelopeRefusal::InterlockError { what } => write!(f, "the interlock cannot be judged: {what}"),
            EnvelopeRefusal::ExpectedMissing => {
                f.write_str("the request wants to know which value is believed to be there; send it as expected")
            }
            EnvelopeRefusal::ExpectedDiffers { expected, actual } => {
                write!(f, "{actual} is there, not {expected}; look again before writing")
            }
            EnvelopeRefusal::NotLive { why } => write!(f, "its present value {why}; look at its source"),
            EnvelopeRefusal::RevertTooLate { after_ns } => write!(
                f,
                "the value would go back after {}; at most {} are allowed",
                span::words(*after_ns),
                span::words(REVERT_MAX_NS)
            ),
            EnvelopeRefusal::RevertOutOfRange { old } => {
                write!(f, "the value is to go back by itself, and the present one, {old}, lies outside the range")
            }
        }
    }
}

impl std::error::Error for EnvelopeRefusal {}
