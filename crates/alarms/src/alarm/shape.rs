//! What goes into an alarm and what comes out.

use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::moment;
use super::words::{BY_CHARS_MAX, COMMENT_CHARS_MAX, Priority, Refused, State, What};

/// What the rule says of its alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// 1 (least) to 1000 (most), OPC 10000-5, 6.4.2. What lies outside counts as the nearer end.
    pub severity: u16,
    /// Does it stay until it was acknowledged and reset?
    pub latch: bool,
    /// Must somebody confirm, after acknowledging, that it was dealt with?
    pub confirm: bool,
    /// After how many nanoseconds since its acknowledgement an alarm that is still active asks again.
    pub re_alarm_ns: Option<u64>,
    /// The event that is published when it becomes active.
    pub event: Option<String>,
}

impl Options {
    /// Its severity within 1 to 1000.
    #[must_use]
    pub fn severity(&self) -> u16 {
        self.severity.clamp(1, 1000)
    }

    /// Its severity in four steps.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::of(self.severity())
    }
}

/// What happens to an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "kebab-case")]
pub enum Input {
    /// The condition holds.
    Active {
        /// Since when.
        #[serde(with = "moment")]
        at: TimestampNs,
        /// The value that raised it.
        value: Option<Value>,
        /// What it says.
        text: String,
    },
    /// The condition is gone.
    Normal {
        /// Since when.
        #[serde(with = "moment")]
        at: TimestampNs,
        /// The value then.
        value: Option<Value>,
    },
    /// Somebody has seen it.
    Acknowledge {
        /// Who.
        by: String,
        /// What was written to it.
        comment: Option<String>,
    },
    /// It was dealt with.
    Confirm {
        /// Who says so.
        by: String,
        /// What was written to it.
        comment: Option<String>,
    },
    /// Set it aside until a time.
    Shelve {
        /// Who.
        by: String,
        /// Until when; at most [`super::SHELF_NS_MAX`] from now.
        #[serde(with = "moment")]
        until: TimestampNs,
        /// What was written to it.
        comment: Option<String>,
    },
    /// Set it aside until it clears: now, or after the next time that it is active.
    ShelveOnce {
        /// Who.
        by: String,
        /// What was written to it.
        comment: Option<String>,
    },
    /// Take it off the shelf.
    Unshelve {
        /// Who.
        by: String,
    },
    /// Set it aside by design.
    Suppress {
        /// Who.
        by: String,
        /// What was written to it.
        comment: Option<String>,
    },
    /// End that.
    Unsuppress {
        /// Who.
        by: String,
    },
    /// Set it aside for maintenance.
    OutOfService {
        /// Who.
        by: String,
        /// What was written to it.
        comment: Option<String>,
    },
    /// End that.
    InService {
        /// Who.
        by: String,
    },
    /// Let go of a latched alarm.
    Reset {
        /// Who.
        by: String,
    },
    /// Time passes. To be given again until it makes no transition.
    Time,
}

impl Input {
    /// Who acts, where a person does.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Input::Active { .. } | Input::Normal { .. } | Input::Time => None,
            Input::Acknowledge { by, .. }
            | Input::Confirm { by, .. }
            | Input::Shelve { by, .. }
            | Input::ShelveOnce { by, .. }
            | Input::Unshelve { by }
            | Input::Suppress { by, .. }
            | Input::Unsuppress { by }
            | Input::OutOfService { by, .. }
            | Input::InService { by }
            | Input::Reset { by } => Some(by),
        }
    }

    /// What was written to it.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        match self {
            Input::Acknowledge { comment, .. }
            | Input::Confirm { comment, .. }
            | Input::Shelve { comment, .. }
            | Input::ShelveOnce { comment, .. }
            | Input::Suppress { comment, .. }
            | Input::OutOfService { comment, .. } => comment.as_deref(),
            _ => None,
        }
    }

    /// Is somebody named, and is what is held of them bounded?
    pub(super) fn check(&self) -> Result<(), Refused> {
        if self.by().is_some_and(|by| by.trim().is_empty()) {
            return Err(Refused::Nobody);
        }
        if self.by().is_some_and(|by| by.chars().count() > BY_CHARS_MAX) {
            return Err(Refused::NameTooLong);
        }
        if self.comment().is_some_and(|comment| comment.chars().count() > COMMENT_CHARS_MAX) {
            return Err(Refused::CommentTooLong);
        }
        Ok(())
    }
}

/// A shelf that an alarm is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelved {
    /// Does it end when the alarm clears? Else only at its time.
    pub one_shot: bool,
    /// When it ends at the latest.
    #[serde(with = "moment")]
    pub until: TimestampNs,
    /// Who put it there.
    pub by: String,
}

/// A change of an alarm, for the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    #[serde(with = "moment")]
    pub at: TimestampNs,
    /// The state that it was shown in.
    pub from: State,
    /// The state that it is shown in; the same, where something beneath changed.
    pub to: State,
    /// What happened.
    pub what: What,
    /// Who did it, where a person did.
    pub by: Option<String>,
    /// What was written to it.
    pub comment: Option<String>,
    /// Is the rule's event to be published? When it became active, or asks again, and is not set
    /// aside; or when it comes back from being set aside, and nobody was told yet.
    pub notify: bool,
    /// How often it became active, this time included.
    pub count: u64,
}
