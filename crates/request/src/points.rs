//! Several points in one call: all of them are judged, and only where all pass is any of them written.
//!
//! Invariants
//! - P1: no plan is given where one point is refused; every point that is refused is named, each with
//!   the first rule that it breaks.
//! - P2: a call that is refused uses up no point's rate (V4 of the envelope, for the whole call).
//! - P3: a point stands in a call once.
//!
//! A rule sees the plant as it is before the call: not what another point of the same call is about
//! to make of it.

use crate::{
    envelope::{Envelope, Live, Plan, Wanted},
    history::WriteHistory,
    refusal::EnvelopeRefusal,
};
use model::{TimestampNs, Value};
use std::{cell::RefCell, fmt};

/// One point of a call.
#[derive(Clone, Copy, Debug)]
pub struct PointWanted<'p> {
    /// What may be written to it.
    pub envelope: &'p Envelope,
    /// Its own writes so far.
    pub history: &'p RefCell<WriteHistory>,
    /// What the caller wants.
    pub wanted: &'p Wanted,
}

/// Judges all points of a call; `live` gives the live value of a path. Where something else refuses the
/// call already (`is_refused`), the points are looked at all the same, and none passes.
///
/// # Errors
/// The place of each point that is refused here, with its refusal, in order.
pub fn judge_all(
    points: &[PointWanted<'_>],
    live: &dyn Fn(&str) -> Option<Live>,
    is_refused: bool,
    now: TimestampNs,
) -> Result<Vec<Plan>, Vec<(usize, EnvelopeRefusal)>> {
    let (mut plans, mut refused) = (Vec::with_capacity(points.len()), Vec::new());
    for (place, point) in points.iter().enumerate() {
        match point.envelope.weigh(point.wanted, live, &mut point.history.borrow_mut(), now) {
            Ok(plan) => plans.push(plan),
            Err(refusal) => refused.push((place, refusal)),
        }
    }
    if is_refused || !refused.is_empty() {
        return Err(refused);
    }
    for point in points {
        point.envelope.count(&mut point.history.borrow_mut(), now);
    }
    Ok(plans)
}

/// What became of a point that was to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum PointEnd {
    /// Written; nothing was read back.
    Done,
    /// Written, and read back as written.
    Verified {
        /// What was read.
        read: Value,
    },
    /// Written, and another value, or none, was read back.
    Mismatch {
        /// In words.
        what: String,
        /// What was read.
        read: Option<Value>,
    },
    /// Not written: the device refused it, or it was not sent.
    Failed {
        /// Why.
        what: String,
    },
    /// Sent, and whether it took effect is not known; or written, and it could not be read back.
    Unknown {
        /// What happened.
        what: String,
    },
}

impl PointEnd {
    /// A stable word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            PointEnd::Done => "done",
            PointEnd::Verified { .. } => "verified",
            PointEnd::Mismatch { .. } => "mismatch",
            PointEnd::Failed { .. } => "failed",
            PointEnd::Unknown { .. } => "unknown",
        }
    }

    /// Whether it is as it was wanted, as far as was to be made sure of.
    #[must_use]
    pub const fn is_fine(&self) -> bool {
        matches!(self, PointEnd::Done | PointEnd::Verified { .. })
    }

    /// What went wrong; `None` where nothing did.
    #[must_use]
    pub fn what(&self) -> Option<&str> {
        match self {
            PointEnd::Done | PointEnd::Verified { .. } => None,
            PointEnd::Mismatch { what, .. } | PointEnd::Failed { what } | PointEnd::Unknown { what } => Some(what),
        }
    }

    /// What was read back.
    #[must_use]
    pub const fn read(&self) -> Option<&Value> {
        match self {
            PointEnd::Verified { read } => Some(read),
            PointEnd::Mismatch { read, .. } => read.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for PointEnd {
    /// `failed: the device refused …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what() {
            Some(what) => write!(f, "{}: {what}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// How many points of a call came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u32; 5],
}

impl Tally {
    const WORDS: [&'static str; 5] = ["verified", "done", "mismatch", "failed", "unknown"];

    /// Counts.
    #[must_use]
    pub fn of<'e>(ends: impl Iterator<Item = &'e PointEnd>) -> Tally {
        let mut tally = Tally::default();
        for end in ends {
            if let Some(at) = Self::WORDS.iter().position(|word| *word == end.word()) {
                tally.counts[at] += 1;
            }
        }
        tally
    }

    /// Points of the call.
    #[must_use]
    pub fn points(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Whether every point is as it was wanted.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.counts[2..].iter().all(|count| *count == 0)
    }

    /// Whether no point is known or thought to be changed.
    #[must_use]
    pub fn is_none_written(&self) -> bool {
        self.counts[3] == self.points()
    }
}

impl fmt::Display for Tally {
    /// The word that holds for all, or `partial: 97 verified, 2 failed, 1 unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some: Vec<(u32, &str)> = self.counts.into_iter().zip(Self::WORDS).filter(|(count, _)| *count > 0).collect();
        if let [(_, word)] = some[..] {
            return f.write_str(word);
        }
        f.write_str("partial: ")?;
        for (index, (count, word)) in some.into_iter().enumerate() {
            write!(f, "{}{count} {word}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
