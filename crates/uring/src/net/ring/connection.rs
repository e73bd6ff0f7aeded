//! One connection of the ring, and the names of its operations.

use std::net::{Shutdown, TcpStream};

use crate::net::send_queue::SendQueue;

/// What a token's low bits say its operation is; the rest is the connection's number.
pub(super) const RECEIVE: u64 = 0;
pub(super) const SEND: u64 = 1;
pub(super) const ACCEPT: u64 = 2;
pub(super) const DATAGRAM: u64 = 3;
pub(super) const CANCEL: u64 = 4;
pub(super) const KIND_BITS: u32 = 3;

pub(super) const fn token(id: u64, kind: u64) -> u64 {
    id << KIND_BITS | kind
}

pub(super) const fn kind(token: u64) -> u64 {
    token & ((1 << KIND_BITS) - 1)
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) sending: SendQueue,
    /// The kernel has a batch of ours.
    pub(super) send_in_flight: bool,
    /// The kernel has a receive of ours.
    pub(super) receiving: bool,
    /// Its place in line for a buffer, since it last received something.
    pub(super) place: Option<u64>,
    /// Nothing can be sent any more; only read to the end.
    pub(super) broken: bool,
    pub(super) state: State,
    /// `Closed` was said.
    pub(super) told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// To be ended when everything is sent; what comes in is thrown away.
    Closing,
    /// Everything is sent or given up; the kernel has yet to answer for its operations.
    Ending,
}

impl Connection {
    /// A connection whose first receive was pushed.
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            sending: SendQueue::default(),
            send_in_flight: false,
            receiving: true,
            place: None,
            broken: false,
            state: State::Open,
            told: false,
        }
    }

    /// Both ways: the kernel's receive and send end, each with a completion.
    pub(super) fn cut_off(&mut self) {
        self.state = State::Ending;
        // It may be over already, which is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
