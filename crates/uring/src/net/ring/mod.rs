//! The network on a raw io_uring: multishot accept and receive into provided buffers.
//!
//! How it meets the contract:
//! - A pause gives no buffers back: what the kernel had taken (at most the buffers' 1 MiB) is held
//!   in order and given out after it, the rest stays in the sockets. Nothing is cancelled, so
//!   nothing can be lost between a cancel and its completion.
//! - A connection's socket lives until the kernel has answered for its receive and its send; until
//!   then it is *ending*, and nothing of it is given out.
//! - Whoever found no buffer waits in line and receives again, a few at a time, once everything that the
//!   kernel had filled was given out. At once would be in vain while the buffers wait in the queue behind,
//!   and with thousands of connections the kernel would do little else than answer that there is none. The
//!   place in line is kept until something was received: those before may have taken all buffers again.
//! - What is sent lies in a batch that does not change until the kernel has answered for it.
//!
//! It needs Linux 6.0 (multishot receive into a buffer ring), which `open` tries out.

mod buffers;
mod connection;
mod datagrams;
mod kernel;
mod open;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, RawFd},
    time::Instant,
};

use env::net::{ConnectionId, Net, NetEvent, SendError};

use self::{
    buffers::Buffers,
    connection::{ACCEPT, CANCEL, Connection, DATAGRAM, KIND_BITS, RECEIVE, SEND, State, kind, token},
    datagrams::Datagrams,
    kernel::{Event, Kernel},
};
use super::{
    ACCEPT_RETRY, CLOSE_WAIT, NetStats, REASON_LIMIT, REASON_OURS, REASON_OVERDUE, REASON_PEER, ShardNet, finish,
    reset_when_dropped, send_queue::SendQueue,
};

/// Connections that receive again in one poll after they found no buffer: half as many as there are buffers, for
/// others receive meanwhile.
const STARVED_TURN: usize = 32;

type On<'a> = dyn FnMut(NetEvent<'_>) + 'a;

/// [`ShardNet`] on a raw io_uring. To be opened, used and dropped on one thread.
pub struct RingNet {
    kernel: Kernel,
    buffers: Buffers,
    listener: Option<TcpListener>,
    /// When to try accepting again after descriptors ran out.
    listener_parked: Option<Instant>,
    datagrams: Option<Datagrams>,
    connections: HashMap<u64, Connection>,
    connections_max: usize,
    next: u64,
    paused: bool,
    /// What the kernel had received when the pause began, in order.
    held: VecDeque<Event>,
    said: VecDeque<Said>,
    /// Connections that found no buffer, by their places in line; each once.
    starved: BTreeMap<u64, u64>,
    /// The last place that was given.
    last_place: u64,
    /// When closing connections are cut off even if their peers took not everything.
    closing: VecDeque<(Instant, u64)>,
    stats: NetStats,
}

/// An event that did not come from the kernel.
enum Said {
    Accepted(ConnectionId, SocketAddr),
    Closed(ConnectionId, String),
}

impl RingNet {
    fn insert(&mut self, stream: TcpStream) -> io::Result<(ConnectionId, SocketAddr)> {
        let peer = stream.peer_addr()?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        self.next += 1;
        let id = self.next;
        self.kernel.receive(stream.as_raw_fd(), self.buffers.group(), token(id, RECEIVE));
        self.connections.insert(id, Connection::new(stream));
        self.stats.accepted += 1;
        Ok((ConnectionId(id), peer))
    }

    /// The next completion to handle: what a pause held first, as it is older.
    fn next_event(&mut self) -> Option<Event> {
        if !self.paused
            && let Some(event) = self.held.pop_front()
        {
            return Some(event);
        }
        self.kernel.next()
    }

    /// Handles a completion; answers how many events it gave.
    fn handle(&mut self, event: Event, on: &mut On<'_>) -> usize {
        match kind(event.token) {
            ACCEPT => self.on_accept(event, on),
            DATAGRAM if self.paused => self.hold(event),
            DATAGRAM => match &mut self.datagrams {
                Some(datagrams) => datagrams.on_event(&mut self.kernel, event, &mut self.stats, on),
                None => 0,
            },
            CANCEL => self.on_cancelled(event.token >> KIND_BITS),
            SEND => self.on_sent(event.token >> KIND_BITS, event.result),
            RECEIVE => {
                let id = event.token >> KIND_BITS;
                let open = self.connections.get(&id).is_some_and(|connection| connection.state == State::Open);
                if self.paused && open { self.hold(event) } else { self.on_received(id, event, on) }
            }
            _ => 0,
        }
    }

    fn hold(&mut self, event: Event) -> usize {
        self.held.push_back(event);
        0
    }

    fn on_accept(&mut self, event: Event, on: &mut On<'_>) -> usize {
        let mut parked_by = None;
        let handled = match adopt_descriptor(event.result) {
            Ok(_) if self.connections.len() >= self.connections_max => {
                self.stats.refused += 1;
                0
            }
            Ok(stream) => match self.insert(stream) {
                Ok((connection, peer)) => {
                    on(NetEvent::Accepted { connection, peer });
                    1
                }
                // It died between its handshake and here.
                Err(_) => {
                    self.stats.refused += 1;
                    0
                }
            },
            Err(error) => {
                let gone = matches!(-event.result, libc::ECONNABORTED | libc::EAGAIN | libc::EINTR);
                parked_by = (!gone).then_some(error);
                0
            }
        };
        if let Some(error) = parked_by {
            self.stats.refused += 1;
            self.listener_parked = Some(Instant::now() + ACCEPT_RETRY);
            tracing::warn!(%error, "no connection can be accepted; is the limit on open files too low (ulimit -n)?");
        } else if !event.more() {
            self.listen_on();
        }
        handled
    }

    fn listen_on(&mut self) {
        if let Some(listener) = &self.listener {
            self.kernel.accept(listener.as_raw_fd(), token(0, ACCEPT));
        }
    }

    fn on_received(&mut self, id: u64, event: Event, on: &mut On<'_>) -> usize {
        let Some(found) = self.connections.get_mut(&id) else {
            if let Some(buffer) = event.buffer() {
                self.buffers.discard(buffer);
            }
            return 0;
        };
        found.receiving = event.more();
        if found.state != State::Open {
            if let Some(buffer) = event.buffer() {
                self.buffers.discard(buffer);
            }
            if found.state == State::Closing && event.result > 0 && !event.more() {
                self.receive_on(id);
            }
            self.progress(id);
            return 0;
        }
        let connection = ConnectionId(id);
        match (event.result, event.buffer()) {
            (length @ 1.., Some(buffer)) => {
                found.place = None;
                let bytes = self.buffers.filled(buffer, length as usize);
                self.stats.received_bytes += bytes.len() as u64;
                on(NetEvent::Received { connection, bytes });
                self.buffers.give_back(buffer);
                if !event.more() {
                    self.receive_on(id);
                }
                return 1;
            }
            (_, Some(buffer)) => self.buffers.discard(buffer),
            (_, None) => {}
        }
        match -event.result {
            libc::ENOBUFS => {
                self.stats.starved += 1;
                self.stand_in_line(id);
                return 0;
            }
            libc::EAGAIN | libc::EINTR => {
                self.receive_on(id);
                return 0;
            }
            0 => self.end(id, REASON_PEER, on),
            errno => self.end(id, &io::Error::from_raw_os_error(errno).to_string(), on),
        }
        1
    }

    fn receive_on(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.receiving
        {
            connection.receiving = true;
            self.kernel.receive(connection.stream.as_raw_fd(), self.buffers.group(), token(id, RECEIVE));
        }
    }

    /// Puts a connection in line, where it stood before if it received nothing since.
    fn stand_in_line(&mut self, id: u64) {
        if let Some(found) = self.connections.get_mut(&id) {
            self.last_place += u64::from(found.place.is_none());
            let place = *found.place.get_or_insert(self.last_place);
            self.starved.insert(place, id);
        }
    }

    /// Lets the first in line receive again.
    fn feed_starved(&mut self) {
        for _ in 0..STARVED_TURN {
            let Some((_, id)) = self.starved.pop_first() else { return };
            if self.connections.get(&id).is_some_and(|found| found.state == State::Open) {
                self.receive_on(id);
            }
        }
    }

    /// The peer's end came: said now, and forgotten when the kernel has answered for everything.
    fn end(&mut self, id: u64, reason: &str, on: &mut On<'_>) {
        on(NetEvent::Closed { connection: ConnectionId(id), reason });
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.told = true;
            connection.cut_off();
        }
        self.progress(id);
    }

    /// The answer to a cancel. A receive that was on its way just then is not found and goes on:
    /// then it is asked to end again.
    fn on_cancelled(&mut self, id: u64) -> usize {
        if self.connections.get(&id).is_some_and(|found| found.state == State::Ending && found.receiving) {
            self.kernel.cancel(token(id, RECEIVE), token(id, CANCEL));
        }
        0
    }

    fn on_sent(&mut self, id: u64, result: i32) -> usize {
        let Some(connection) = self.connections.get_mut(&id) else { return 0 };
        connection.send_in_flight = false;
        match result {
            0.. => {
                self.stats.sent_bytes += result as u64;
                connection.sending.advance(result as usize);
            }
            _ if matches!(-result, libc::EAGAIN | libc::EINTR) => {}
            // The peer takes no more, but what it sent before may still be unread: receiving comes
            // to the end of it, and says so.
            _ => {
                connection.broken = true;
                connection.sending = SendQueue::default();
            }
        }
        self.send_on(id);
        self.progress(id);
        0
    }

    fn send_on(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.send_in_flight
            && !connection.sending.is_empty()
            && connection.state != State::Ending
        {
            connection.send_in_flight = true;
            let fd = connection.stream.as_raw_fd();
            send_batch(&mut self.kernel, fd, connection.sending.next(), token(id, SEND));
        }
    }

    /// Takes a connection that is to end as far towards that as it can go.
    fn progress(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.state == State::Closing && connection.sending.is_empty() && !connection.send_in_flight {
            connection.state = State::Ending;
            // Not shut down for receiving: a peer whose window is full would not be told when it
            // opens, and learn of the end from its own timers only, minutes later.
            let _ = connection.stream.shutdown(Shutdown::Write);
            if connection.receiving {
                self.kernel.cancel(token(id, RECEIVE), token(id, CANCEL));
            }
        }
        if connection.state != State::Ending || connection.receiving || connection.send_in_flight {
            return;
        }
        if let Some(connection) = self.connections.remove(&id)
            && !connection.told
        {
            // The kernel has let go of the socket, so it may be read without waiting.
            if connection.stream.set_nonblocking(true).is_ok() {
                finish(&connection.stream, &mut [0; 4096]);
            }
            self.said.push_back(Said::Closed(ConnectionId(id), REASON_OURS.into()));
        }
    }

    /// Throws away what was received of a connection and not given out yet; or collects it.
    fn take_held(&mut self, id: u64, mut collect: Option<&mut Vec<u8>>) {
        let RingNet { held, kernel, buffers, connections, .. } = self;
        let of_it = token(id, RECEIVE);
        for queue in [held, kernel.taken()] {
            queue.retain(|event| {
                if event.token != of_it {
                    return true;
                }
                if let Some(buffer) = event.buffer() {
                    let bytes = buffers.filled(buffer, usize::try_from(event.result).unwrap_or(0));
                    if let Some(to) = &mut collect {
                        to.extend_from_slice(bytes);
                    }
                    buffers.give_back(buffer);
                }
                if !event.more()
                    && let Some(connection) = connections.get_mut(&id)
                {
                    connection.receiving = false;
                }
                false
            });
        }
    }

    fn keep_house(&mut self) {
        if self.listener_parked.is_some_and(|until| Instant::now() >= until) {
            self.listener_parked = None;
            self.listen_on();
        }
        while let Some((until, id)) = self.closing.front().copied() {
            if Instant::now() < until {
                break;
            }
            self.closing.pop_front();
            if let Some(connection) = self.connections.get_mut(&id)
                && !connection.told
            {
                connection.told = true;
                reset_when_dropped(&connection.stream);
                connection.cut_off();
                self.said.push_back(Said::Closed(ConnectionId(id), REASON_OVERDUE.into()));
                self.progress(id);
            }
        }
    }
}

impl Net for RingNet {
    fn poll(&mut self, budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize {
        self.keep_house();
        self.kernel.enter_if_needed();
        // Ends of connections say nothing here, but closing a socket takes 30 µs: they count as turns.
        let (mut handled, mut turns) = (0, 0);
        while handled < budget && turns < budget {
            turns += 1;
            if let Some(said) = self.said.pop_front() {
                match said {
                    Said::Accepted(connection, peer) => on(NetEvent::Accepted { connection, peer }),
                    Said::Closed(connection, reason) => on(NetEvent::Closed { connection, reason: &reason }),
                }
                handled += 1;
                continue;
            }
            let Some(event) = self.next_event() else {
                if !self.paused && !self.starved.is_empty() {
                    self.feed_starved();
                    self.kernel.enter_if_needed();
                }
                break;
            };
            handled += self.handle(event, on);
        }
        handled.max(usize::from(turns > 0 && turns == budget))
    }

    fn pending(&self) -> bool {
        let waits = !self.held.is_empty() || !self.starved.is_empty();
        !self.said.is_empty() || (!self.paused && waits) || self.kernel.pending()
    }

    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let found = self.connections.get_mut(&connection.0);
        let found = found.filter(|found| found.state == State::Open && !found.broken).ok_or(SendError::Closed)?;
        found.sending.push(bytes)?;
        self.send_on(connection.0);
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) {
        let Some(found) = self.connections.get_mut(&connection.0) else { return };
        if found.state == State::Open {
            found.state = State::Closing;
            self.closing.push_back((Instant::now() + CLOSE_WAIT, connection.0));
            self.take_held(connection.0, None);
            self.progress(connection.0);
        }
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }
}

impl ShardNet for RingNet {
    fn raw_fd(&self) -> RawFd {
        self.kernel.raw_fd()
    }

    fn arm(&mut self) {
        self.kernel.arm();
    }

    fn adopt(&mut self, stream: TcpStream) -> ConnectionId {
        let adopted = if self.connections.len() < self.connections_max {
            self.insert(stream).map_err(|error| error.to_string())
        } else {
            Err(REASON_LIMIT.to_owned())
        };
        match adopted {
            Ok((connection, peer)) => {
                self.said.push_back(Said::Accepted(connection, peer));
                connection
            }
            Err(reason) => {
                self.stats.refused += 1;
                self.next += 1;
                let connection = ConnectionId(self.next);
                self.said.push_back(Said::Closed(connection, reason));
                connection
            }
        }
    }

    fn release(&mut self, connection: ConnectionId) -> Option<(TcpStream, Vec<u8>)> {
        let id = connection.0;
        let found = self.connections.get(&id)?;
        if found.state != State::Open || !found.sending.is_empty() {
            return None;
        }
        let mut unread = Vec::new();
        self.kernel.take_all();
        self.take_held(id, Some(&mut unread));
        // The cancelled receive answers for all that it had taken, and then no more. One that was on
        // its way just then is not found and goes on: then it is asked to end again.
        let (of_it, cancel) = (token(id, RECEIVE), token(id, CANCEL));
        let mut asked = false;
        while self.connections.get(&id).is_some_and(|found| found.receiving) {
            if !asked {
                self.kernel.cancel(of_it, cancel);
            }
            self.kernel.enter(1);
            self.kernel.take_all();
            self.take_held(id, Some(&mut unread));
            let taken = self.kernel.taken();
            asked = !taken.iter().any(|event| event.token == cancel);
            taken.retain(|event| event.token != cancel);
        }
        let found = self.connections.remove(&id)?;
        self.said.retain(|said| !matches!(said, Said::Accepted(named, _) if *named == connection));
        Some((found.stream, unread))
    }

    fn stats(&self) -> NetStats {
        let (calls, completions) = self.kernel.counted();
        NetStats {
            calls,
            completions,
            connections: self.connections.len() as u64,
            datagrams_dropped: self.datagrams.as_ref().and_then(Datagrams::drops).unwrap_or(0),
            ..self.stats
        }
    }
}

impl Drop for RingNet {
    fn drop(&mut self) {
        let quiet = self.kernel.quiet(token(0, CANCEL), |event| {
            if kind(event.token) == ACCEPT {
                // A connection that came in at the last moment is closed by being dropped.
                drop(adopt_descriptor(event.result));
            }
        });
        self.buffers.release(self.kernel.ring(), quiet);
        if let Some(datagrams) = self.datagrams.take() {
            datagrams.release(self.kernel.ring(), quiet);
        }
        if !quiet {
            tracing::error!("the kernel did not let go of a receive ring; its memory is given up");
            for (_, connection) in self.connections.drain() {
                std::mem::forget(connection.sending);
            }
        }
    }
}

mod sys {
    #![expect(unsafe_code, reason = "descriptors and batches given to and taken from the ring")]

    use super::{Kernel, RawFd, TcpStream, io};
    use std::os::fd::FromRawFd;

    /// The answer of an accept: a connection, or what failed.
    pub(super) fn adopt_descriptor(result: i32) -> io::Result<TcpStream> {
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        // SAFETY: an accept that succeeded made this descriptor; each completion is handled once,
        // so nobody else owns it.
        Ok(unsafe { TcpStream::from_raw_fd(result) })
    }

    /// Sends a batch of a connection of the net that calls this.
    pub(super) fn send_batch(kernel: &mut Kernel, socket: RawFd, batch: &[u8], token: u64) {
        // SAFETY: a send queue's batch neither moves nor changes until `advance`, which is called
        // when the send's completion came; nor is the queue replaced before. The connection that
        // owns the queue stays in the net until then (`progress` and `release` wait for the send),
        // and a net that is dropped waits for all completions, or gives the batch up.
        unsafe { kernel.send(socket, batch, token) };
    }
}

use sys::{adopt_descriptor, send_batch};
