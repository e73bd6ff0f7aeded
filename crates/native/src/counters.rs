//! What one shard's native server counts.

/// Why a connection was ended as not speaking the protocol, or a datagram dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ProtocolError {
    /// Bytes that are no frame.
    Frame,
    /// Something else came before the `Hello`, or none came in time.
    Hello,
    /// A frame came between `Hello` and `Welcome`.
    BeforeWelcome,
    /// A frame carries another producer than the `Hello` did, or 0.
    Producer,
    /// A kind that only the server sends, or only the log holds.
    Kind,
    /// A sequence that is not above the one before.
    Order,
    /// A registration over a limit, or with a bad name.
    Register,
    /// A tag that the source does not have, or a value that does not fit its tag.
    Tag,
    /// The peer does not read what it is sent.
    NotReading,
    /// A datagram that ends within a frame.
    Truncated,
}

impl ProtocolError {
    /// All of them, in the order of their counters.
    pub const ALL: [ProtocolError; 10] = [
        ProtocolError::Frame,
        ProtocolError::Hello,
        ProtocolError::BeforeWelcome,
        ProtocolError::Producer,
        ProtocolError::Kind,
        ProtocolError::Order,
        ProtocolError::Register,
        ProtocolError::Tag,
        ProtocolError::NotReading,
        ProtocolError::Truncated,
    ];

    /// The name in metrics, e.g. `before-welcome`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ProtocolError::Frame => "frame",
            ProtocolError::Hello => "hello",
            ProtocolError::BeforeWelcome => "before-welcome",
            ProtocolError::Producer => "producer",
            ProtocolError::Kind => "kind",
            ProtocolError::Order => "order",
            ProtocolError::Register => "register",
            ProtocolError::Tag => "tag",
            ProtocolError::NotReading => "not-reading",
            ProtocolError::Truncated => "truncated",
        }
    }
}

/// Counters of one [`Server`](crate::Server), from its start; only `connections_open` goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Telemetry frames taken and new.
    pub frames: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes received over TCP and UDP.
    pub bytes: u64,
    /// Frames that had been taken before.
    pub duplicates: u64,
    /// Connections refused though they spoke the protocol: unknown source, limits, shutdown, or
    /// replaced by a newer one of the same producer.
    pub refused: u64,
    /// By [`ProtocolError`], in the order of [`ProtocolError::ALL`].
    pub protocol_errors: [u64; ProtocolError::ALL.len()],
    /// Connections open now.
    pub connections_open: u64,
    /// Connections ever accepted, or taken over from another shard.
    pub connections: u64,
    /// Connections handed to another shard.
    pub handed_over: u64,
    /// Acknowledgements sent; each may stand for many frames.
    pub acks: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Frames in datagrams of producers that are not known here.
    pub datagrams_unknown: u64,
    /// Fire-and-forget frames given up because the pass took nothing.
    pub shed_frames: u64,
    /// Samples in them.
    pub shed_samples: u64,
    /// How often the network was paused because the pass was busy.
    pub pauses: u64,
}

impl Counters {
    pub(crate) fn protocol_error(&mut self, error: ProtocolError) {
        self.protocol_errors[error as usize] += 1;
    }

    /// The count of one kind of protocol error.
    #[must_use]
    pub const fn protocol_errors_of(&self, error: ProtocolError) -> u64 {
        self.protocol_errors[error as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_counts_for_itself() {
        let mut counters = Counters::default();
        for (i, kind) in ProtocolError::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, i, "{}", kind.name());
            counters.protocol_error(kind);
            assert_eq!(counters.protocol_errors_of(kind), 1);
        }
    }
}
