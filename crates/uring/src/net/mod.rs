//! A shard's telemetry network: [`env::net::Net`] on a raw io_uring and on epoll.
//!
//! Invariants
//! - N1: a connection's name is never used twice in one net.
//! - N2: bytes of one connection come in order, and before its `Closed`; after `Closed` nothing
//!   comes under that name.
//! - N3: bounded: connections by [`NetOptions::connections_max`] (above it a peer is turned away
//!   and counted), bytes to send by [`SEND_BYTES_MAX`] a connection, receive buffers by constants.
//! - N4: a peer that floods takes one receive buffer at a turn; the others have theirs.
//! - N5: sleeping: [`ShardNet::arm`], then a look at [`Net::pending`], then wait for
//!   [`ShardNet::raw_fd`]; what comes after `arm` makes the descriptor readable.
//!
//! It deliberately knows nothing of frames and does no name resolution.

mod address;
mod epoll;
mod listen;
mod ring;
mod send_queue;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::RawFd,
};

use env::net::{ConnectionId, Net};

pub use epoll::EpollNet;
pub use listen::{bind_datagrams, datagram_drops, listen};
pub use ring::RingNet;

use crate::mode::IoMode;

/// Bytes that one connection may have queued for sending: an acknowledgement takes tens of bytes,
/// so a peer that lets this fill up has stopped reading.
pub const SEND_BYTES_MAX: usize = 1 << 20;
/// Bytes thrown away when a connection is closed with unread ones, so that the kernel ends it with
/// a FIN after what was sent, not with a reset in front of it.
const DISCARD_BYTES_MAX: usize = 256 << 10;
/// How long no connection is accepted after the process ran out of descriptors.
const ACCEPT_RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// How long a connection that is to be closed may take to send what is queued.
const CLOSE_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

const REASON_OVERDUE: &str = "closed by this server; the peer did not take what was left to send";
const REASON_PEER: &str = "the peer closed the connection";
const REASON_OURS: &str = "closed by this server";
const REASON_LIMIT: &str = "turned away: this shard has as many connections as it may";

/// What a shard's network is made of.
#[derive(Debug)]
pub struct NetOptions {
    /// Where connections come in ([`listen`]); `None` for a shard that only adopts.
    pub listener: Option<TcpListener>,
    /// Where datagrams come in ([`bind_datagrams`]).
    pub datagrams: Option<UdpSocket>,
    /// Most connections at a time.
    pub connections_max: usize,
}

impl Default for NetOptions {
    /// No listener, no datagrams, room for 10,000 connections.
    fn default() -> Self {
        NetOptions { listener: None, datagrams: None, connections_max: 10_000 }
    }
}

/// What a network has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Connections at this moment.
    pub connections: u64,
    /// Connections accepted or adopted.
    pub accepted: u64,
    /// Connections turned away at the limit, or because no descriptor was left.
    pub refused: u64,
    /// Bytes received on connections.
    pub received_bytes: u64,
    /// Bytes sent on connections.
    pub sent_bytes: u64,
    /// Times that a connection found no receive buffer and waited for its turn.
    pub starved: u64,
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams too long for the receive buffer, thrown away.
    pub datagrams_truncated: u64,
    /// Datagrams that the kernel threw away because the socket's buffer was full.
    pub datagrams_dropped: u64,
    /// System calls made to receive and to send: each `io_uring_enter`; through epoll each wait, read,
    /// write and accept.
    pub calls: u64,
    /// What they brought: completions of the ring; through epoll sockets that were found ready.
    pub completions: u64,
}

/// A shard's network with what the shard's duty cycle and hand-over need beside [`Net`].
pub trait ShardNet: Net {
    /// Readable when there is something to poll (N5).
    fn raw_fd(&self) -> RawFd;

    /// To be called before the thread sleeps (N5).
    fn arm(&mut self);

    /// Takes over a connection that another shard released; `Accepted` comes as an event.
    fn adopt(&mut self, stream: TcpStream) -> ConnectionId;

    /// Gives a connection away, with the bytes that were taken from the socket and not yet given
    /// out as an event. No `Closed` comes. `None` if it is gone, closing, or has bytes to send.
    fn release(&mut self, connection: ConnectionId) -> Option<(TcpStream, Vec<u8>)>;

    /// What was counted so far.
    fn stats(&self) -> NetStats;
}

/// The network of the calling shard's thread; it may not be used by another thread. Where the
/// kernel's io_uring lacks what is needed, this says so in the log and epoll is used.
///
/// # Errors
/// No descriptor or memory is left.
pub fn open_net(mode: IoMode, options: NetOptions) -> io::Result<Box<dyn ShardNet>> {
    let options = match mode {
        IoMode::Epoll => options,
        IoMode::Uring => match RingNet::open(options) {
            Ok(net) => return Ok(Box::new(net)),
            Err((error, options)) => {
                tracing::warn!(
                    %error,
                    "telemetry is received through epoll: io_uring here lacks what the receive ring needs (Linux 6.0 or later)"
                );
                options
            }
        },
    };
    Ok(Box::new(EpollNet::open(options)?))
}

/// Whether an error of `accept` means that descriptors or memory have run out, which more
/// accepting does not cure.
fn exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Has a connection reset when it is dropped, with all that the kernel still has to send: its peer
/// has had its time.
fn reset_when_dropped(stream: &TcpStream) {
    // Where the kernel refuses, it ends the connection in its own time.
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

/// Ends a connection's stream after everything was sent: no more sending, and unread bytes thrown
/// away within a bound. The stream must not block.
fn finish(stream: &TcpStream, buffer: &mut [u8]) {
    use std::io::Read;
    // A peer that is gone already needs no farewell.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut discarded = 0;
    while discarded < DISCARD_BYTES_MAX {
        match (&mut &*stream).read(buffer) {
            Ok(bytes) if bytes > 0 => discarded += bytes,
            _ => break,
        }
    }
}
