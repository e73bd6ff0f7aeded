//! States, transitions and refusals in the words of the interface.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most characters of who acted.
pub const BY_CHARS_MAX: usize = 128;

/// Most characters of a comment.
pub const COMMENT_CHARS_MAX: usize = 1024;

/// The state that an alarm is shown in; see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Neither active nor waiting for anybody.
    Normal,
    /// Active or latched, and nobody has seen it.
    Unacknowledged,
    /// Active or latched, and seen.
    Acknowledged,
    /// Gone, and nobody has seen it.
    ClearedUnacknowledged,
    /// Set aside by an operator for a while.
    Shelved,
    /// Set aside by design.
    Suppressed,
    /// Set aside for maintenance.
    OutOfService,
}

impl State {
    /// All of them.
    pub const ALL: [State; 7] = [
        State::Normal,
        State::Unacknowledged,
        State::Acknowledged,
        State::ClearedUnacknowledged,
        State::Shelved,
        State::Suppressed,
        State::OutOfService,
    ];

    /// Its word in the interface.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            State::Normal => "normal",
            State::Unacknowledged => "unacknowledged",
            State::Acknowledged => "acknowledged",
            State::ClearedUnacknowledged => "cleared-unacknowledged",
            State::Shelved => "shelved",
            State::Suppressed => "suppressed",
            State::OutOfService => "out-of-service",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How soon an alarm needs a person: its severity in four steps (ISA-18.2 asks for three or four).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Severity below 400.
    Low,
    /// Severity 400 to 699.
    Medium,
    /// Severity 700 to 899.
    High,
    /// Severity 900 to 1000.
    Critical,
}

impl Priority {
    /// The priority of a severity, 1 to 1000.
    #[must_use]
    pub const fn of(severity: u16) -> Priority {
        match severity {
            900.. => Priority::Critical,
            700.. => Priority::High,
            400.. => Priority::Medium,
            _ => Priority::Low,
        }
    }

    /// Its word in the interface.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }
}

/// What a transition was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The condition began.
    Activated,
    /// The condition ended.
    Cleared,
    /// Somebody has seen it.
    Acknowledged,
    /// Somebody said that it was dealt with.
    Confirmed,
    /// Set aside for a while; or a shelf got another end.
    Shelved,
    /// Taken off the shelf by somebody.
    Unshelved,
    /// The shelf's time was over.
    ShelfEnded,
    /// Set aside by design.
    Suppressed,
    /// No longer suppressed.
    Unsuppressed,
    /// Set aside for maintenance.
    OutOfService,
    /// Back in service.
    InService,
    /// A latched alarm was let go.
    Reset,
    /// Acknowledged for long and still active: it asks again.
    ReAlarmed,
}

impl What {
    /// Its word in the interface and the journal.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            What::Activated => "activated",
            What::Cleared => "cleared",
            What::Acknowledged => "acknowledged",
            What::Confirmed => "confirmed",
            What::Shelved => "shelved",
            What::Unshelved => "unshelved",
            What::ShelfEnded => "shelf-ended",
            What::Suppressed => "suppressed",
            What::Unsuppressed => "unsuppressed",
            What::OutOfService => "out-of-service",
            What::InService => "in-service",
            What::Reset => "reset",
            What::ReAlarmed => "re-alarmed",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why an input makes no sense in the alarm's state. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is acknowledged already, or was never active (Bad_ConditionBranchAlreadyAcked).
    NotUnacknowledged,
    /// It must be acknowledged first.
    NotYetAcknowledged,
    /// There is nothing to confirm (Bad_ConditionBranchAlreadyConfirmed).
    NothingToConfirm,
    /// It must be confirmed first.
    NotYetConfirmed,
    /// It is not on a shelf (Bad_ConditionNotShelved).
    NotShelved,
    /// The shelf would end before now (Bad_ShelvingTimeOutOfRange).
    ShelfInPast,
    /// The shelf would last longer than one may (Bad_ShelvingTimeOutOfRange).
    ShelfTooLong,
    /// It is not suppressed.
    NotSuppressed,
    /// It is in service.
    NotOutOfService,
    /// It is not latched (Bad_InvalidState).
    NotLatched,
    /// Its condition still holds (Bad_InvalidState).
    StillActive,
    /// Nobody is named who does it.
    Nobody,
    /// The name is longer than [`BY_CHARS_MAX`].
    NameTooLong,
    /// The comment is longer than [`COMMENT_CHARS_MAX`].
    CommentTooLong,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::NotUnacknowledged => f.write_str("there is nothing to acknowledge: it is acknowledged already"),
            Refused::NotYetAcknowledged => f.write_str("it is not acknowledged yet; acknowledge it first"),
            Refused::NothingToConfirm => f.write_str("there is nothing to confirm"),
            Refused::NotYetConfirmed => f.write_str("it is not confirmed yet; confirm it first"),
            Refused::NotShelved => f.write_str("it is not shelved"),
            Refused::ShelfInPast => f.write_str("the shelf would end in the past; name a later time"),
            Refused::ShelfTooLong => {
                let days = super::SHELF_NS_MAX / super::machine::DAY_NS;
                write!(f, "an alarm is shelved for {days} days at most; take it out of service for longer")
            }
            Refused::NotSuppressed => f.write_str("it is not suppressed"),
            Refused::NotOutOfService => f.write_str("it is in service already"),
            Refused::NotLatched => f.write_str("it is not latched: there is nothing to reset"),
            Refused::StillActive => f.write_str("its condition still holds; it can be reset when that is gone"),
            Refused::Nobody => f.write_str("it must be said who does this"),
            Refused::NameTooLong => write!(f, "the name has more than {BY_CHARS_MAX} characters"),
            Refused::CommentTooLong => write!(f, "the comment has more than {COMMENT_CHARS_MAX} characters"),
        }
    }
}

impl std::error::Error for Refused {}
