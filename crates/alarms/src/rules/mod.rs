//! Rules and their evaluators.
//!
//! An evaluator takes the samples of its tag in the order in which they arrived, and the time
//! when its [`Evaluator::deadline`] has come. It gives an [`Edge`] when its condition begins or
//! ends; the first one says which of the two it is, so that what a restart left can be settled.

mod condition;
mod evaluator;
mod window;

use model::{Quality, TimestampNs, Value};

pub use evaluator::{Evaluator, FAILURES_MAX};
pub use window::BUCKETS;

/// When a rule is active. Times in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Value above `limit`, until it is at or below `clear`.
    High {
        /// Active above this.
        limit: f64,
        /// Clear at or below this; at most `limit`.
        clear: f64,
    },
    /// Value below `limit`, until it is at or above `clear`.
    Low {
        /// Active below this.
        limit: f64,
        /// Clear at or above this; at least `limit`.
        clear: f64,
    },
    /// Value differs from one that it had within the last `over_ns` by more than `limit` a second.
    Rate {
        /// Most change per second, up or down.
        limit: f64,
        /// Over which it is measured.
        over_ns: u64,
    },
    /// Value further than `limit` from `setpoint`, until it is at or within `clear` of it.
    Deviation {
        /// What the value should be.
        setpoint: f64,
        /// Active further away than this.
        limit: f64,
        /// Clear at or within this; at most `limit`.
        clear: f64,
    },
    /// Value differs from the good one before: active at each change, normal again `off_delay`
    /// later. There is nothing that could last for an `on_delay`, which is not used.
    Change,
    /// A bit of a whole number has this state. A truth value is bit 0.
    Bit {
        /// 0 (least significant) to 63.
        bit: u8,
        /// Active when the bit is this.
        state: bool,
    },
    /// No sample for this long, whatever their quality.
    Stale {
        /// Longest silence.
        after_ns: u64,
    },
    /// True. Over `value` (null where a sample has none), `quality` (`Good`, `Uncertain`,
    /// `Bad`), `tag` and `time` (RFC 3339). One that does not ask for `quality` is not
    /// evaluated over bad samples.
    Expression {
        /// The expression.
        when: expr::Expr,
    },
}

/// A rule as its evaluators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique name among rules.
    pub name: String,
    /// When it is active.
    pub condition: Condition,
    /// The condition must hold this long before it is told, in nanoseconds.
    pub on_delay_ns: u64,
    /// The condition must be gone this long before that is told, in nanoseconds.
    pub off_delay_ns: u64,
}

/// One sample of a tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was received: server time. Delays run on the server's clock, so a device's own
    /// clock does not serve here.
    pub time: TimestampNs,
    /// Its value, where it has one.
    pub value: Option<Value>,
    /// Its quality.
    pub quality: Quality,
}

/// What an evaluator has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Edge {
    /// The condition holds, and has held for the on-delay.
    Active {
        /// Since when: the end of the delay.
        at: TimestampNs,
        /// The newest good value, where there is one.
        value: Option<Value>,
        /// Rule, value and limit in words.
        text: String,
    },
    /// The condition is gone, and has been gone for the off-delay.
    Normal {
        /// Since when: the end of the delay.
        at: TimestampNs,
        /// The newest good value, where there is one.
        value: Option<Value>,
    },
    /// The condition cannot be evaluated over this sample; what was told before stays. Each
    /// distinct error is told once.
    Failed {
        /// Rule, tag and what is wrong.
        what: String,
    },
}

impl Edge {
    /// What it means to the alarm of this rule and tag; `None` where evaluation failed.
    #[must_use]
    pub fn input(&self) -> Option<crate::Input> {
        match self {
            Edge::Active { at, value, text } => {
                Some(crate::Input::Active { at: *at, value: value.as_ref().map(condition::json), text: text.clone() })
            }
            Edge::Normal { at, value } => {
                Some(crate::Input::Normal { at: *at, value: value.as_ref().map(condition::json) })
            }
            Edge::Failed { .. } => None,
        }
    }
}
