//! The telemetry network of one shard: frames in, acknowledgements out.
//!
//! An implementation owns its listeners, connections and receive buffers and is polled by the duty
//! cycle; it never blocks. `uring` has one on a raw io_uring and one on epoll.

use std::net::SocketAddr;

/// One accepted connection of one shard; never reused while the shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What happened on the network. Bytes are lent for the length of the call only.
#[derive(Debug)]
pub enum NetEvent<'a> {
    /// A connection came in (or was handed over by another shard).
    Accepted {
        /// Its name from now on.
        connection: ConnectionId,
        /// Who.
        peer: SocketAddr,
    },
    /// Bytes came in, in order; frames may be split anywhere.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// The bytes, in the receive buffer.
        bytes: &'a [u8],
    },
    /// A datagram came in.
    Datagram {
        /// From whom.
        peer: SocketAddr,
        /// The whole datagram.
        bytes: &'a [u8],
    },
    /// A connection ended; its name is not used again.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// What ended it, for a person.
        reason: &'a str,
    },
}

/// Why bytes could not be queued for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The connection is gone.
    Closed,
    /// The peer does not read: its send queue is full. The caller closes it.
    Full,
}

/// A shard's telemetry network.
pub trait Net {
    /// Handles up to `budget` events; answers how many there were.
    fn poll(&mut self, budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize;

    /// Whether an event waits: a look at shared memory, no system call.
    fn pending(&self) -> bool;

    /// Queues bytes to a connection.
    ///
    /// # Errors
    /// [`SendError`]
    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> Result<(), SendError>;

    /// Closes a connection after what is queued was sent. `Closed` still comes as an event.
    fn close(&mut self, connection: ConnectionId);

    /// Back pressure: while paused no bytes are taken from any connection (TCP then holds the
    /// senders) and datagrams are left to the kernel's buffer.
    fn pause(&mut self, paused: bool);
}
