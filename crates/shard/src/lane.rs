//! Priority classes.

use std::fmt;

/// What is how urgent on a shard, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Telemetry: before everything, without a budget.
    Telemetry,
    /// Somebody waits for an answer.
    Request,
    /// Events and synchronisation: soon.
    Event,
    /// Everything that may take its time.
    Batch,
}

/// Number of lanes.
pub(crate) const LANES: usize = 4;

impl Lane {
    /// Every lane, most urgent first.
    pub const ALL: [Lane; LANES] = [Lane::Telemetry, Lane::Request, Lane::Event, Lane::Batch];

    /// The name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Telemetry => "telemetry",
            Lane::Request => "request",
            Lane::Event => "event",
            Lane::Batch => "batch",
        }
    }

    /// Time that the lane's tasks may take in one duty cycle before they wait for the next (S2).
    ///
    /// Their sum bounds how late a cycle comes round, and with it the completions of the disk and
    /// the posted jobs: 1.75 ms plus one overrun of each lane's last poll.
    pub(crate) const fn budget_ns(self) -> u64 {
        match self {
            Lane::Telemetry => u64::MAX,
            Lane::Request => 1_000_000,
            Lane::Event => 500_000,
            Lane::Batch => 250_000,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
