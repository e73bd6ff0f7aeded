//! Why a connection is gone, in words that a person can act on.

use crate::codec::{FrameError, Mismatch};
use std::fmt;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It could not be made; the text says what happened.
    Connect(String),
    /// The device closed it.
    ClosedByPeer,
    /// The system reported an error on it.
    Io(String),
    /// The stream was no Modbus TCP.
    Frame(FrameError),
    /// An answer did not match its request.
    Mismatch(Mismatch),
    /// No unit answered.
    Silent,
    /// Too many requests stayed without an answer, so that transaction ids would run short.
    Unanswered,
    /// The device kept sending answers that nobody asked for.
    Flood,
}

impl Loss {
    /// Whether the peer broke the protocol.
    #[must_use]
    pub const fn is_protocol(&self) -> bool {
        matches!(self, Loss::Frame(_) | Loss::Mismatch(_) | Loss::Flood)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Connect(what) => f.write_str(what),
            Loss::ClosedByPeer => f.write_str(
                "the device closed the connection; check that it has a connection free and was not restarted",
            ),
            Loss::Io(what) => write!(f, "the connection broke ({what}); check the network and the device"),
            Loss::Frame(error) => write!(f, "{error}; check the address and that nothing else answers there"),
            Loss::Mismatch(error) => {
                write!(f, "an answer did not match its request ({error}), so it was dropped; check the device or gateway")
            }
            Loss::Silent => f.write_str(
                "the connection stands, but nothing answers on it; check the unit ids and the device, or raise the timeout",
            ),
            Loss::Unanswered => f.write_str("too many requests stayed without an answer; check the device"),
            Loss::Flood => f.write_str("the device sends answers that nobody asked for; check the device or gateway"),
        }
    }
}
