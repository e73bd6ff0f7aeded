//! Identifiers, each a type of its own so that the compiler catches a swap.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// A tag, as a number within one log (one shard's data directory). Given once, never reused.
    TagId(u32)
}
id! {
    /// An interned text value, as a number within one log. Text never stands in a hot frame.
    TextId(u32)
}
id! {
    /// A source (device, gateway, OPC UA server, native source), as a number within one log.
    SourceId(u32)
}
id! {
    /// One core, one thread, one part of the devices. 0-based.
    ShardId(u16)
}
id! {
    /// Who sends frames. Chosen by the producer, kept over its restarts; 0 is Millstream itself.
    ProducerId(u64)
}
id! {
    /// A frame's number within its producer, from 1, without holes. 0 means "none yet".
    Sequence(u64)
}
id! {
    /// A byte position in one log, counted over all its segments; only ever grows.
    LogPosition(u64)
}

impl ProducerId {
    /// Millstream's own frames: polled and subscribed data, gaps, definitions.
    pub const SELF: ProducerId = ProducerId(0);
}

impl Sequence {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}
