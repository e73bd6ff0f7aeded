//! What can go wrong, for people: what happened, where, what to do.

use frame::EncodeError;
use model::Sequence;
use std::time::Duration;
use std::{fmt, io};

/// A connection could not be made, or made again.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be read or its name not resolved.
    Address {
        /// As given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nothing answers there, or the connection broke during the handshake.
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server did not answer in time.
    TimedOut {
        /// Where.
        address: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The server said no.
    Refused {
        /// Where.
        address: String,
        /// The server's words.
        reason: String,
        /// Whether it may say yes later.
        retry: bool,
    },
    /// What answers there does not speak Millstream's frames.
    Protocol {
        /// Where.
        address: String,
        /// What it did.
        detail: String,
    },
    /// After a reconnect the server gives other numbers to the same tags: it is another one, or its
    /// data was replaced. Frames that wait carry the old numbers and must not be sent.
    TagsChanged {
        /// Where.
        address: String,
        /// One of the tags.
        tag: String,
    },
    /// The server has frames of this producer that this program never sent.
    SharedProducer {
        /// Where.
        address: String,
        /// The producer's number.
        producer: u64,
        /// The server's last sequence of it.
        theirs: Sequence,
        /// Ours.
        ours: Sequence,
    },
}

impl ConnectError {
    /// Whether trying again later can help.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            ConnectError::Unreachable { .. } | ConnectError::TimedOut { .. } | ConnectError::Address { .. } => true,
            ConnectError::Refused { retry, .. } => *retry,
            ConnectError::Protocol { .. } | ConnectError::TagsChanged { .. } | ConnectError::SharedProducer { .. } => {
                false
            }
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Address { address, source } => {
                write!(f, "{address:?} is no address ({source}); write host:port, e.g. 127.0.0.1:7070")
            }
            ConnectError::Unreachable { address, source } => {
                write!(
                    f,
                    "no connection to Millstream at {address} ({source}); is it running, and is this its native \
                     address ([server] native)?"
                )
            }
            ConnectError::TimedOut { address, what, after } => {
                write!(f, "Millstream at {address} did not send {what} within {after:?}; look at its disk and log")
            }
            ConnectError::Refused { address, reason, .. } => write!(f, "Millstream at {address} refused: {reason}"),
            ConnectError::Protocol { address, detail } => {
                write!(f, "what answers at {address} does not speak Millstream's frames ({detail}); check the port")
            }
            ConnectError::TagsChanged { address, tag } => write!(
                f,
                "Millstream at {address} gives tag {tag:?} another number than before: its data was replaced; start \
                 this program again, and send what was not acknowledged again"
            ),
            ConnectError::SharedProducer { address, producer, theirs, ours } => write!(
                f,
                "Millstream at {address} has frame {theirs} of producer {producer}, but this program only sent {ours}: \
                 another program uses the same producer number; give each its own"
            ),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConnectError::Address { source, .. } | ConnectError::Unreachable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Tags or texts could not be registered.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// The connection failed, or the server refused the names (its words are in there).
    Connect(ConnectError),
    /// What was to be sent before could not be sent.
    Send(SendError),
    /// One name is too long to be sent at all.
    Encode(EncodeError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Connect(error) => write!(f, "registration failed: {error}"),
            RegisterError::Send(error) => write!(f, "registration failed: {error}"),
            RegisterError::Encode(error) => write!(f, "registration failed: {error}"),
        }
    }
}

impl std::error::Error for RegisterError {}

/// A frame was not taken for sending.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The frame would be too long, or is empty.
    Encode(EncodeError),
    /// There is nothing in the frame.
    Empty,
    /// As many qualities as values are needed.
    Qualities {
        /// Values given.
        values: usize,
        /// Qualities given.
        qualities: usize,
    },
    /// No room for [`Options::patience`](crate::Options::patience): the server does not acknowledge.
    Full {
        /// Bytes that wait.
        in_flight_bytes: usize,
    },
    /// No connection for as long, or none that can be made again by itself.
    Disconnected {
        /// The last [`ConnectError`] in words.
        reason: String,
        /// Whether it is still being tried; if not, see
        /// [`Producer::reconnect`](crate::Producer::reconnect).
        retry: bool,
    },
    /// The datagram could not be given to the kernel.
    Datagram(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Encode(error) => error.fmt(f),
            SendError::Empty => f.write_str("a frame needs at least one value"),
            SendError::Qualities { values, qualities } => {
                write!(f, "{values} values came with {qualities} qualities; give one each, or none if all are good")
            }
            SendError::Full { in_flight_bytes } => write!(
                f,
                "{in_flight_bytes} bytes wait for an acknowledgement and none comes; look at Millstream's disk, or \
                 raise in_flight_bytes_max"
            ),
            SendError::Disconnected { reason, .. } => f.write_str(reason),
            SendError::Datagram(error) => write!(f, "a datagram could not be sent: {error}"),
        }
    }
}

impl std::error::Error for SendError {}

/// An acknowledgement did not come.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// Not in time.
    TimedOut {
        /// What was waited for.
        wanted: Sequence,
        /// What is acknowledged.
        acknowledged: Sequence,
    },
    /// This producer asked for no acknowledgements.
    NoAcks,
    /// The connection is gone for good.
    Disconnected {
        /// The last [`ConnectError`] in words.
        reason: String,
    },
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::TimedOut { wanted, acknowledged } => write!(
                f,
                "frame {wanted} is not acknowledged yet, only up to {acknowledged}; it is kept and will be sent again"
            ),
            WaitError::NoAcks => f.write_str("this producer asked for no acknowledgements (Options::acks)"),
            WaitError::Disconnected { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for WaitError {}
