//! What an attempt was, and what came back: told by the side that did it, kept with its delivery.

use delivery::Outcome;
use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Attempts that a delivery keeps: the first ones and the newest.
const LINES_MAX: usize = 20;
/// First attempts that are always kept.
const FIRST_KEPT: usize = 5;

/// What came of one call.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it means for the delivery, by status and error alone.
    pub outcome: Outcome,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// The answer as JSON, where it is JSON.
    pub answer: Value,
    /// The answer's beginning as text.
    pub excerpt: String,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// How long it took, ms.
    pub took_ms: f64,
    /// What was sent, without secrets: method and address.
    pub sent: String,
}

/// One attempt as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptLine {
    /// From 1.
    pub number: u32,
    /// When it ended, ns since 1970 UTC.
    pub at_ns: i64,
    /// How long it took, ms.
    pub took_ms: f64,
    /// One word.
    pub outcome: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// The answer's beginning.
    pub answer: String,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// What was sent.
    pub sent: String,
    /// Whether it only asked whether an earlier one took effect.
    pub probe: bool,
}

impl AttemptLine {
    /// The line of a report.
    #[must_use]
    pub fn new(number: u32, probe: bool, report: &Report, outcome: &Outcome, now: TimestampNs) -> AttemptLine {
        AttemptLine {
            number,
            at_ns: now.0,
            took_ms: (report.took_ms * 1_000.0).round() / 1_000.0,
            outcome: outcome_word(outcome).to_owned(),
            status: report.status,
            answer: report.excerpt.clone(),
            error: report.error.clone(),
            sent: report.sent.clone(),
            probe,
        }
    }

    /// The line of an attempt that never came to a call: its message could not be mapped.
    #[must_use]
    pub fn unmapped(number: u32, what: &str, now: TimestampNs) -> AttemptLine {
        AttemptLine {
            number,
            at_ns: now.0,
            took_ms: 0.0,
            outcome: outcome_word(&Outcome::Unmapped).to_owned(),
            status: None,
            answer: String::new(),
            error: Some(what.to_owned()),
            sent: String::new(),
            probe: false,
        }
    }

    /// The attempt in one sentence, for a flow's last error.
    #[must_use]
    pub fn sentence(&self) -> String {
        match (&self.error, self.status) {
            (Some(error), _) => format!("{}: {error}", self.sent),
            (None, Some(status)) if self.answer.is_empty() => format!("{} answered {status}", self.sent),
            (None, Some(status)) => format!("{} answered {status}: {}", self.sent, self.answer),
            (None, None) => format!("{}: {}", self.sent, self.outcome),
        }
    }
}

/// The word of an outcome.
#[must_use]
pub const fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Rejected => "rejected",
        Outcome::Unmapped => "mapping",
        Outcome::Failed { .. } => "failed",
        Outcome::Unavailable { .. } => "unavailable",
        Outcome::InDoubt => "in-doubt",
        Outcome::ProbeDone => "took-effect",
        Outcome::ProbeNotDone => "took-no-effect",
        Outcome::ProbeUnknown => "probe-failed",
    }
}

/// Adds an attempt to those that are kept.
pub fn push(lines: &mut Vec<AttemptLine>, line: AttemptLine) {
    if lines.len() >= LINES_MAX {
        lines.remove(FIRST_KEPT);
    }
    lines.push(line);
}
