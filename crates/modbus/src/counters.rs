//! What a source counts.
//!
//! Purpose: one list of counters, added to cheaply and handed over now and then.
//!
//! Invariants
//! - N1: what was added is handed over once.

/// A counter of a Modbus source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Requests sent to poll or to probe.
    Polls,
    /// Answers that belong to a request, exceptions included.
    Answers,
    /// Requests without an answer in time.
    Timeouts,
    /// Answers that were exceptions.
    Exceptions,
    /// Answers that came after their timeout; never data.
    LateReplies,
    /// Answers to nothing that was asked: unknown transaction ids and duplicates; never data.
    UnknownReplies,
    /// Frames that broke the protocol or did not match their request; each closes the connection.
    BadFrames,
    /// Due polls that were skipped because the one before was still under way.
    CyclesSkipped,
    /// Polls of a unit, or of one request of it, that brought nothing.
    PollsFailed,
    /// Connections made after the first.
    Reconnects,
    /// Connections that could not be made.
    ConnectFailures,
    /// Times that fewer requests were put under way at once after trouble.
    DepthFallbacks,
    /// Depths that were tried.
    DepthTrials,
    /// Times that a unit was demoted.
    Demotions,
    /// Requests taken apart after exception 02 or 03.
    Splits,
    /// Times that the requests were planned anew, because reading gaps along costs more or less.
    Replans,
    /// Bytes received.
    BytesIn,
    /// Bytes sent.
    BytesOut,
    /// Readings that the pass refused.
    ReadingsShed,
    /// Requests sent for commands: writes, and reads on demand.
    CommandRequests,
    /// Commands that were carried out.
    CommandsDone,
    /// Commands that were refused or failed.
    CommandsFailed,
}

/// Names in the order of [`Counter`].
const NAMES: [&str; 22] = [
    "polls",
    "answers",
    "timeouts",
    "exceptions",
    "late_replies",
    "unknown_replies",
    "bad_frames",
    "cycles_skipped",
    "polls_failed",
    "reconnects",
    "connect_failures",
    "depth_fallbacks",
    "depth_trials",
    "demotions",
    "splits",
    "replans",
    "bytes_in",
    "bytes_out",
    "readings_shed",
    "command_requests",
    "commands_done",
    "commands_failed",
];

/// Counts that were not yet handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; NAMES.len()]);

impl Counters {
    /// Adds to a counter.
    pub const fn add(&mut self, counter: Counter, by: u64) {
        let slot = &mut self.0[counter as usize];
        *slot = slot.saturating_add(by);
    }

    /// What stands in a counter since it was last handed over.
    #[must_use]
    pub const fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Hands over what is not zero, by name, and starts again.
    pub fn drain(&mut self, mut each: impl FnMut(&'static str, u64)) {
        for (name, count) in NAMES.iter().zip(&mut self.0) {
            if *count > 0 {
                each(name, std::mem::take(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_handed_over_once_by_name() {
        let mut counters = Counters::default();
        counters.add(Counter::Polls, 2);
        counters.add(Counter::ReadingsShed, 1);
        let mut seen = Vec::new();
        counters.drain(|name, count| seen.push((name, count)));
        assert_eq!(seen, [("polls", 2), ("readings_shed", 1)]);
        counters.drain(|name, _| panic!("{name} was handed over before"));
    }
}
