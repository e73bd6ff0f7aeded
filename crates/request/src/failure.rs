//! What a caller hears when a call came to nothing: kind, status, the system at fault, what to do.
//!
//! The statuses are those of RFC 9110; the parts are the members of a problem document (RFC 9457).

use crate::{points::Tally, refusal::EnvelopeRefusal, span};
use serde::Serialize;
use std::fmt;

/// Longest time that a caller is told to wait: one hour, whatever the system said.
pub const RETRY_AFTER_MAX_NS: u64 = 3_600_000_000_000;
/// Longest time after which a refused caller is told to come back when only a place is missing: 1 s.
const BUSY_RETRY_NS: u64 = 1_000_000_000;
/// Longest text of somebody else that is shown, in characters.
const EXCERPT_CHARS_MAX: usize = 200;

/// A system or device that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct System {
    /// Its name, or that of the flow's target.
    pub name: String,
    /// Where it is, without anything secret.
    pub address: String,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.as_str() {
            "" => f.write_str(&self.name),
            address => write!(f, "{} ({address})", self.name),
        }
    }
}

/// Why one point of a call is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointFault {
    /// Its name in the call.
    pub point: String,
    /// Its tag's path.
    pub tag: String,
    /// A stable word for programs.
    pub reason: &'static str,
    /// The HTTP status that it would have by itself.
    pub status: u16,
    /// What is wrong, and what to do.
    pub what: String,
    /// When it may pass, ns from now, where only time is missing.
    pub retry_after_ns: Option<u64>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// No answer within the deadline.
    Timeout {
        /// Who did not answer.
        system: System,
        /// How long it had, ns.
        after_ns: u64,
        /// Whether the caller asked for less time than the flow allows.
        shortened: bool,
    },
    /// The caller allowed no time at all.
    NoTime,
    /// The system failed several times in a row and is left alone for a while.
    CircuitOpen {
        /// Who failed.
        system: System,
        /// When it is tried again, ns from now.
        retry_after_ns: u64,
    },
    /// As many calls as may be are under way.
    Busy {
        /// How many may be.
        limit: u32,
    },
    /// The system answered with an error.
    UpstreamError {
        /// Who.
        system: System,
        /// Its HTTP status.
        status: u16,
        /// The beginning of what it said.
        excerpt: String,
        /// When it wants to be asked again, ns from now.
        retry_after_ns: Option<u64>,
    },
    /// The system could not be reached.
    UpstreamUnreachable {
        /// Who.
        system: System,
        /// What happened.
        what: String,
    },
    /// The system answered what cannot be understood or is too long.
    BadAnswer {
        /// Who.
        system: System,
        /// What is wrong with it.
        what: String,
    },
    /// The call could not be made from what the caller sent.
    Mapping {
        /// The expression's or template's complaint.
        what: String,
    },
    /// The safety envelope let a write not pass.
    RefusedByEnvelope {
        /// The tag.
        tag: String,
        /// Why.
        refusal: EnvelopeRefusal,
    },
    /// The device refused, failed, or did not take the value.
    DeviceError {
        /// Which.
        system: System,
        /// What happened.
        what: String,
    },
    /// A call names more points than one may.
    TooManyPoints {
        /// How many.
        points: usize,
        /// How many may be.
        most: usize,
    },
    /// Some points of a call may not be written, so none was.
    PointsRefused {
        /// Points of the call.
        points: usize,
        /// Those that are refused; never empty.
        faults: Vec<PointFault>,
    },
    /// Not every point of a call is as it was wanted.
    PointsFailed {
        /// Whose devices failed.
        system: System,
        /// What the points came to.
        tally: Tally,
        /// The first point that failed, and how.
        first: Box<(String, String)>,
    },
}

/// A failure, as a problem document tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable word for programs.
    pub kind: &'static str,
    /// HTTP status.
    pub status: u16,
    /// The kind for people.
    pub title: &'static str,
    /// What happened, and what to do.
    pub detail: String,
    /// Who is at fault; `None`: the caller, or Millstream.
    pub system: Option<System>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u64>,
    /// Which rule of the envelope, for programs; only of `refused-by-envelope`.
    pub reason: Option<&'static str>,
}

impl Failure {
    /// A stable word for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Failure::Timeout { .. } | Failure::NoTime => "timeout",
            Failure::CircuitOpen { .. } => "circuit-open",
            Failure::Busy { .. } => "busy",
            Failure::UpstreamError { .. } => "upstream-error",
            Failure::UpstreamUnreachable { .. } => "upstream-unreachable",
            Failure::BadAnswer { .. } => "bad-answer",
            Failure::Mapping { .. } => "mapping",
            Failure::RefusedByEnvelope { .. } => "refused-by-envelope",
            Failure::DeviceError { .. } => "device-error",
            Failure::TooManyPoints { .. } => "too-many-points",
            Failure::PointsRefused { .. } => "points-refused",
            Failure::PointsFailed { .. } => "points-failed",
        }
    }

    /// The HTTP status to answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Failure::Timeout { .. } | Failure::NoTime => 504,
            Failure::CircuitOpen { .. } | Failure::Busy { .. } => 503,
            Failure::UpstreamError { .. }
            | Failure::UpstreamUnreachable { .. }
            | Failure::BadAnswer { .. }
            | Failure::DeviceError { .. }
            | Failure::PointsFailed { .. } => 502,
            Failure::Mapping { .. } => 500,
            Failure::RefusedByEnvelope { refusal, .. } => refusal.status(),
            Failure::TooManyPoints { .. } => 413,
            // what all have in common; else what was sent cannot be, as a whole
            Failure::PointsRefused { faults, .. } => {
                let first = faults.first().map_or(422, |fault| fault.status);
                if faults.iter().all(|fault| fault.status == first) { first } else { 422 }
            }
        }
    }

    const fn title(&self) -> &'static str {
        match self {
            Failure::Timeout { .. } | Failure::NoTime => "No answer in time",
            Failure::CircuitOpen { .. } => "The system is left alone after failures",
            Failure::Busy { .. } => "Too many calls under way",
            Failure::UpstreamError { .. } => "The system answered with an error",
            Failure::UpstreamUnreachable { .. } => "The system cannot be reached",
            Failure::BadAnswer { .. } => "The system's answer cannot be used",
            Failure::Mapping { .. } => "The call cannot be made from this request",
            Failure::RefusedByEnvelope { .. } => "The write is not safe",
            Failure::DeviceError { .. } => "The device did not do it",
            Failure::TooManyPoints { .. } => "Too many points in one call",
            Failure::PointsRefused { .. } => "Nothing was written",
            Failure::PointsFailed { .. } => "Not every point was written",
        }
    }

    /// Who is at fault; `None`: the caller, or Millstream.
    #[must_use]
    pub const fn system(&self) -> Option<&System> {
        match self {
            Failure::Timeout { system, .. }
            | Failure::CircuitOpen { system, .. }
            | Failure::UpstreamError { system, .. }
            | Failure::UpstreamUnreachable { system, .. }
            | Failure::BadAnswer { system, .. }
            | Failure::DeviceError { system, .. }
            | Failure::PointsFailed { system, .. } => Some(system),
            Failure::NoTime
            | Failure::Busy { .. }
            | Failure::Mapping { .. }
            | Failure::RefusedByEnvelope { .. }
            | Failure::TooManyPoints { .. }
            | Failure::PointsRefused { .. } => None,
        }
    }

    fn retry_after_ns(&self) -> Option<u64> {
        let ns = match self {
            Failure::CircuitOpen { retry_after_ns, .. } => Some(*retry_after_ns),
            Failure::Busy { .. } => Some(BUSY_RETRY_NS),
            Failure::UpstreamError { retry_after_ns, .. } => *retry_after_ns,
            Failure::RefusedByEnvelope { refusal, .. } => refusal.retry_after_ns(),
            // where only time is missing, for all of them
            Failure::PointsRefused { faults, .. } => {
                let times: Option<Vec<u64>> = faults.iter().map(|fault| fault.retry_after_ns).collect();
                times.and_then(|times| times.into_iter().max())
            }
            _ => None,
        };
        ns.map(|ns| ns.min(RETRY_AFTER_MAX_NS))
    }

    /// All of it, as a problem document tells it.
    #[must_use]
    pub fn problem(&self) -> Problem {
        Problem {
            kind: self.kind(),
            status: self.status(),
            title: self.title(),
            detail: self.to_string(),
            system: self.system().cloned(),
            retry_after_s: self.retry_after_ns().map(span::seconds_up),
            reason: match self {
                Failure::RefusedByEnvelope { refusal, .. } => Some(refusal.reason()),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Timeout { system, after_ns, shortened } => {
                write!(f, "{system} did not answer within {}; ", span::words(*after_ns))?;
                f.write_str(if *shortened {
                    "the caller asked for no longer; allow more in Prefer: wait=, or check the system"
                } else {
                    "check the system, or raise the request's timeout"
                })
            }
            Failure::NoTime => f.write_str("the caller allows no time for an answer; ask for at least a second"),
            Failure::CircuitOpen { system, retry_after_ns } => write!(
                f,
                "{system} failed several times in a row and is left alone for another {}; check the system",
                span::words(*retry_after_ns)
            ),
            Failure::Busy { limit } => {
                write!(f, "{limit} calls of this request are under way, as many as may be; try again in a moment")
            }
            Failure::UpstreamError { system, status, excerpt, .. } => {
                write!(f, "{system} answered {status}")?;
                if !excerpt.is_empty() {
                    write!(f, ": {}", shown(excerpt))?;
                }
                f.write_str("; nothing was changed here")
            }
            Failure::UpstreamUnreachable { system, what } => {
                write!(f, "{system} cannot be reached ({}); check the system and the network to it", shown(what))
            }
            Failure::BadAnswer { system, what } => write!(f, "{system} answered what cannot be used: {}", shown(what)),
            Failure::Mapping { what } => {
                write!(f, "{}; check what was sent, and the request's expressions", shown(what))
            }
            Failure::RefusedByEnvelope { tag, refusal } => write!(f, "{tag} was not written: {refusal}"),
            Failure::DeviceError { system, what } => write!(f, "{system}: {}; look at the device", shown(what)),
            Failure::TooManyPoints { points, most } => {
                write!(f, "{points} points are more than one call of this request may have, {most}; send several calls")
            }
            Failure::PointsRefused { points, faults } => {
                write!(f, "{} of {points} points may not be written, so none was", faults.len())?;
                faults.first().map_or(Ok(()), |first| write!(f, "; the first, {}: {}", first.point, shown(&first.what)))
            }
            Failure::PointsFailed { system, tally, first } => write!(
                f,
                "{system}: of {} points {tally}; the first that failed, {}: {}; look at each point before \
                 writing again",
                tally.points(),
                first.0,
                shown(&first.1)
            ),
        }
    }
}

impl std::error::Error for Failure {}

/// The beginning of somebody else's text, on one line.
fn shown(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = line.take(EXCERPT_CHARS_MAX).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
