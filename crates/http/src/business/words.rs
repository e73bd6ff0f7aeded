//! The closed vocabularies of the API: each enum is one list of words, written and read the same.

use serde::{Serialize, Serializer};
use std::fmt;

/// Makes an enum whose members are words.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$member_about:meta])* $member:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$member_about])* $member,)+
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$member,)+];

            /// Its word, as the API writes it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $($name::$member => $word,)+
                }
            }

            /// The one with this word.
            #[must_use]
            pub fn parse(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|one| one.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

words! {
    /// Which of the five patterns a flow follows.
    Pattern {
        /// A source of telemetry.
        Telemetry = "telemetry",
        /// Request and reply.
        Request = "request",
        /// A batch.
        Batch = "batch",
        /// A subscriber of events.
        Event = "event",
        /// Real-time synchronisation.
        Sync = "sync",
    }
}

words! {
    /// How a flow is.
    FlowState {
        /// It does its work.
        Running = "running",
        /// A person paused it; what comes waits.
        Paused = "paused",
        /// It works with trouble; the reason says which.
        Degraded = "degraded",
        /// It does no work; the reason says why.
        Stopped = "stopped",
    }
}

words! {
    /// A circuit breaker.
    Breaker {
        /// Calls go through.
        Closed = "closed",
        /// Nothing is tried for a while.
        Open = "open",
        /// One call tries whether the target is back.
        HalfOpen = "half-open",
    }
}

words! {
    /// Where a delivery stands.
    DeliveryState {
        /// Not tried yet.
        Waiting = "waiting",
        /// Being tried.
        InFlight = "in-flight",
        /// Tried without success; tried again at `next_attempt`.
        Retrying = "retrying",
        /// Sent, and no answer came: whether it took effect is being found out.
        InDoubt = "in-doubt",
        /// Taken by the target.
        Delivered = "delivered",
        /// Given up; a dead letter.
        Dead = "dead",
        /// Too old; a dead letter.
        Expired = "expired",
        /// A newer one of its key went out instead.
        Superseded = "superseded",
        /// The flow's condition did not want it.
        Skipped = "skipped",
    }
}

words! {
    /// What became of a dead letter.
    DeadState {
        /// Nobody has decided yet.
        Open = "open",
        /// It was delivered again, or is being so.
        Replayed = "replayed",
        /// A person decided that it is not needed.
        Discarded = "discarded",
    }
}

words! {
    /// How soon an alarm needs a person (ISA-18.2); in order of urgency.
    Priority {
        /// At once.
        Critical = "critical",
        /// Soon.
        High = "high",
        /// When the others are done.
        Medium = "medium",
        /// For information.
        Low = "low",
    }
}

words! {
    /// The state that an alarm is shown in (ISA-18.2).
    AlarmState {
        /// Active, and nobody has seen it.
        Unacknowledged = "unacknowledged",
        /// Active and seen.
        Acknowledged = "acknowledged",
        /// No longer active, and nobody has seen it.
        ClearedUnacknowledged = "cleared-unacknowledged",
        /// Neither active nor waiting for anybody.
        Normal = "normal",
        /// Set aside by an operator for a while.
        Shelved = "shelved",
        /// Set aside by design, as long as a condition holds.
        Suppressed = "suppressed",
        /// Set aside for maintenance.
        OutOfService = "out-of-service",
    }
}

words! {
    /// How an alarm was shelved.
    ShelveKind {
        /// Until a time.
        Timed = "timed",
        /// Until it clears.
        OneShot = "one-shot",
    }
}

words! {
    /// Why a batch ran.
    RunCause {
        /// Its time came.
        Schedule = "schedule",
        /// Its time came while the server was down.
        CatchUp = "catch-up",
        /// A person asked for it.
        Manual = "manual",
        /// Records arrived late.
        Correction = "correction",
    }
}

words! {
    /// What a message is.
    MessageKind {
        /// An event.
        Event = "event",
        /// A version of a business document.
        Record = "record",
        /// A change of a tag.
        Tag = "tag",
        /// The document of a batch.
        Batch = "batch",
        /// A request and its reply.
        Request = "request",
        /// A write to a device.
        Command = "command",
    }
}

words! {
    /// What a name names, where nothing of that name is there.
    Noun {
        /// A flow.
        Flow = "flow",
        /// A dead letter.
        DeadLetter = "dead letter",
        /// A message.
        Message = "message",
        /// A batch.
        Batch = "batch",
        /// An alarm.
        Alarm = "alarm",
        /// A request.
        Request = "request",
        /// A record entity.
        Entity = "record entity",
        /// A business system of the demo's plant.
        System = "system of the demo's plant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_itself() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::parse(state.word()), Some(*state));
        }
        for state in AlarmState::ALL {
            assert_eq!(AlarmState::parse(&state.to_string()), Some(*state));
        }
        assert_eq!(Pattern::parse("Telemetry"), None);
        assert!(Priority::Critical < Priority::Low, "in order of urgency");
    }
}
