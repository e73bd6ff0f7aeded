//! What is made of telemetry: rollups and rules.

use std::time::Duration;

/// `[[rollup]]`: windows over samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollup {
    /// Unique name among rollups.
    pub name: String,
    /// Which tags: `*` is one path segment or a part of one, `**` any number of segments.
    pub match_: String,
    /// Length of a window, aligned to the Unix epoch in UTC.
    pub every: Duration,
    /// What is kept of each window.
    pub aggregates: Vec<Aggregate>,
    /// A sample that comes up to this long after its window's end still changes it. Default 10 s.
    pub late: Duration,
}

/// One figure of a window, by the definitions of OPC 10000-13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// Number of good samples.
    Count,
    /// Lowest value.
    Min,
    /// Highest value.
    Max,
    /// Mean of the samples.
    Average,
    /// Mean weighted by how long each value held.
    TimeAverage,
    /// First value.
    First,
    /// Last value.
    Last,
    /// Last minus first; for counters.
    Delta,
    /// Share of the window, in percent, during which the value was good.
    PercentGood,
}

impl Aggregate {
    /// Every aggregate with the word that stands for it in the file.
    pub const ALL: [(&'static str, Self); 9] = [
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("average", Self::Average),
        ("time_average", Self::TimeAverage),
        ("first", Self::First),
        ("last", Self::Last),
        ("delta", Self::Delta),
        ("percent_good", Self::PercentGood),
    ];
}

/// `[[rule]]`: a condition over tags that raises an alarm, in the words of ISA-18.2.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Unique name among rules.
    pub name: String,
    /// Which tags; as in a rollup.
    pub match_: String,
    /// When it is active.
    pub condition: Condition,
    /// The condition must hold this long before the alarm becomes active. Default 0.
    pub on_delay: Duration,
    /// The condition must be gone this long before the alarm clears. Default 0.
    pub off_delay: Duration,
    /// 1 (least) to 1000 (most), as in OPC 10000-9. Default 500.
    pub severity: u16,
    /// Event that is published when it becomes active.
    pub event: Option<String>,
    /// Text of the event: CEL over `rule`, `tag`, `value`, `unit`, `time`, `limit` and `severity`.
    pub message: Option<String>,
    /// Does it stay active until an operator acknowledges it? Default false.
    pub latch: bool,
    /// Must an operator confirm what was done, after it was acknowledged? Default false.
    pub confirm: bool,
    /// While it stays active, it counts as new again after this long; `None`: never.
    pub re_alarm: Option<Duration>,
}

/// When a rule is active.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Value above `limit`, until it is below `clear`.
    High {
        /// Active above this.
        limit: f64,
        /// Clear below this; at most `limit`, which is the default.
        clear: f64,
    },
    /// Value below `limit`, until it is above `clear`.
    Low {
        /// Active below this.
        limit: f64,
        /// Clear above this; at least `limit`, which is the default.
        clear: f64,
    },
    /// Value changes faster than `limit` a second, up or down.
    Rate {
        /// Most change per second.
        limit: f64,
        /// Over which the change is measured. Default 10 s.
        over: Duration,
    },
    /// Value further than `limit` from `setpoint`.
    Deviation {
        /// What the value should be.
        setpoint: f64,
        /// How far it may be from that.
        limit: f64,
        /// Clear when it is nearer than this; at most `limit`, which is the default.
        clear: f64,
    },
    /// Value differs from the one before.
    Change,
    /// A bit of an integer value has the state `state`.
    Bit {
        /// 0 (least significant) to 63.
        bit: u8,
        /// Active when the bit is this. Default true.
        state: bool,
    },
    /// No sample for this long.
    Stale {
        /// Longest silence.
        after: Duration,
    },
    /// A CEL expression over `value`, `quality`, `tag` and `time` is true.
    Expression {
        /// The expression.
        when: String,
    },
}
