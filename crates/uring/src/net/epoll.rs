//! The network on epoll and non-blocking sockets.
//!
//! Level-triggered, one read a turn: the kernel puts a socket that is still readable at the end of
//! its list, which is the round-robin of N4. Each look at the sockets is one system call;
//! [`Net::pending`] makes none and therefore only knows what was already fetched.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, RawFd},
    time::Instant,
};

use env::net::{ConnectionId, Net, NetEvent, SendError};

use super::{
    ACCEPT_RETRY, CLOSE_WAIT, NetOptions, NetStats, REASON_LIMIT, REASON_OURS, REASON_OVERDUE, REASON_PEER, ShardNet,
    datagram_drops, exhausted, finish, reset_when_dropped, send_queue::SendQueue,
};

/// One receive; also the longest datagram.
const RECEIVE_BYTES: usize = 64 << 10;
/// Connections or datagrams taken in one turn of their socket.
const TURN_MAX: usize = 16;
/// The listener's and the datagram socket's names among the connections' numbers.
const LISTENER: u64 = u64::MAX;
const DATAGRAMS: u64 = u64::MAX - 1;

type On<'a> = dyn FnMut(NetEvent<'_>) + 'a;

/// [`ShardNet`] on epoll.
pub struct EpollNet {
    epoll: sys::Epoll,
    listener: Option<TcpListener>,
    /// When to try accepting again after descriptors ran out.
    listener_parked: Option<Instant>,
    datagrams: Option<UdpSocket>,
    connections: HashMap<u64, Connection>,
    connections_max: usize,
    next: u64,
    paused: bool,
    ready: VecDeque<sys::Ready>,
    said: VecDeque<Said>,
    /// When closing connections are dropped even if their peers took not everything.
    closing: VecDeque<(Instant, u64)>,
    buffer: Box<[u8]>,
    stats: NetStats,
}

struct Connection {
    stream: TcpStream,
    sending: SendQueue,
    /// Our side wants it closed once everything is sent; nothing is read any more.
    closing: bool,
    /// Nothing can be sent any more; only read to the end.
    broken: bool,
    /// What the kernel watches for; `None`: not in its list.
    interest: Option<u32>,
}

/// An event that did not come from the kernel's list.
enum Said {
    Accepted(ConnectionId, SocketAddr),
    Closed(ConnectionId, String),
}

impl EpollNet {
    /// The network of the calling shard.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn open(options: NetOptions) -> io::Result<EpollNet> {
        let NetOptions { listener, datagrams, connections_max } = options;
        let epoll = sys::Epoll::new()?;
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
            epoll.add(listener.as_raw_fd(), LISTENER, sys::IN)?;
        }
        if let Some(datagrams) = &datagrams {
            datagrams.set_nonblocking(true)?;
            epoll.add(datagrams.as_raw_fd(), DATAGRAMS, sys::IN)?;
        }
        Ok(EpollNet {
            epoll,
            listener,
            listener_parked: None,
            datagrams,
            connections: HashMap::new(),
            connections_max,
            next: 0,
            paused: false,
            ready: VecDeque::new(),
            said: VecDeque::new(),
            closing: VecDeque::new(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            stats: NetStats::default(),
        })
    }

    fn insert(&mut self, stream: TcpStream) -> io::Result<(ConnectionId, SocketAddr)> {
        let peer = stream.peer_addr()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.next += 1;
        let id = self.next;
        let mut connection =
            Connection { stream, sending: SendQueue::default(), closing: false, broken: false, interest: None };
        watch(&self.epoll, id, &mut connection, self.paused)?;
        self.connections.insert(id, connection);
        self.stats.accepted += 1;
        Ok((ConnectionId(id), peer))
    }

    fn accept(&mut self, on: &mut On<'_>) -> usize {
        for taken in 0..TURN_MAX {
            let Some(listener) = &self.listener else { return taken };
            self.stats.calls += 1;
            match listener.accept() {
                Ok(_) if self.connections.len() >= self.connections_max => self.stats.refused += 1,
                // A connection that died between its handshake and here is none.
                Ok((stream, _)) => match self.insert(stream) {
                    Ok((connection, peer)) => on(NetEvent::Accepted { connection, peer }),
                    Err(_) => self.stats.refused += 1,
                },
                Err(error) if exhausted(&error) => {
                    self.stats.refused += 1;
                    self.epoll.remove(listener.as_raw_fd());
                    self.listener_parked = Some(Instant::now() + ACCEPT_RETRY);
                    tracing::warn!(%error, "no connection can be accepted; is the limit on open files too low (ulimit -n)?");
                    return taken;
                }
                Err(_) => return taken,
            }
        }
        TURN_MAX
    }

    fn unpark_listener(&mut self) {
        if self.listener_parked.is_some_and(|until| Instant::now() >= until) {
            self.listener_parked = None;
            if let Some(listener) = &self.listener
                && self.epoll.add(listener.as_raw_fd(), LISTENER, sys::IN).is_err()
            {
                self.listener_parked = Some(Instant::now() + ACCEPT_RETRY);
            }
        }
    }

    fn receive_datagrams(&mut self, on: &mut On<'_>) -> usize {
        let Some(socket) = &self.datagrams else { return 0 };
        for taken in 0..TURN_MAX {
            self.stats.calls += 1;
            match socket.recv_from(&mut self.buffer) {
                Ok((bytes, peer)) => {
                    self.stats.datagrams += 1;
                    on(NetEvent::Datagram { peer, bytes: &self.buffer[..bytes] });
                }
                // Errors of a datagram socket are about datagrams sent earlier; there are none.
                Err(_) => return taken,
            }
        }
        TURN_MAX
    }

    /// One turn of a connection; answers how many events it gave.
    fn turn(&mut self, ready: sys::Ready, on: &mut On<'_>) -> usize {
        let Some(connection) = self.connections.get_mut(&ready.token) else { return 0 };
        if ready.writable() && !connection.sending.is_empty() {
            self.flush(ready.token);
        }
        let Some(connection) = self.connections.get_mut(&ready.token) else { return 0 };
        if connection.closing || !ready.readable_or_over() {
            return 0;
        }
        if self.paused {
            // Over, but its last bytes are still to be read: out of the kernel's list until then.
            self.epoll.remove(connection.stream.as_raw_fd());
            connection.interest = None;
            return 0;
        }
        let id = ConnectionId(ready.token);
        self.stats.calls += 1;
        match (&connection.stream).read(&mut self.buffer) {
            Ok(0) => self.end(id, REASON_PEER, on),
            Ok(bytes) => {
                self.stats.received_bytes += bytes as u64;
                on(NetEvent::Received { connection: id, bytes: &self.buffer[..bytes] });
            }
            Err(error) if waits(&error) => return 0,
            Err(error) => self.end(id, &error.to_string(), on),
        }
        1
    }

    fn end(&mut self, connection: ConnectionId, reason: &str, on: &mut On<'_>) {
        self.forget(connection.0);
        on(NetEvent::Closed { connection, reason });
    }

    /// Drops a connection's socket, which takes it out of the kernel's list too.
    fn forget(&mut self, id: u64) {
        if let Some(connection) = self.connections.remove(&id) {
            if connection.interest.is_some() {
                self.epoll.remove(connection.stream.as_raw_fd());
            }
            if connection.closing {
                finish(&connection.stream, &mut self.buffer);
            }
        }
    }

    /// Sends what the socket takes; what it does not take waits until it is writable.
    fn flush(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        while !connection.sending.is_empty() {
            self.stats.calls += 1;
            match (&connection.stream).write(connection.sending.next()) {
                Ok(bytes) => {
                    self.stats.sent_bytes += bytes as u64;
                    connection.sending.advance(bytes);
                }
                Err(error) if waits(&error) => break,
                // The peer takes no more, but what it sent before may still be unread: reading
                // comes to the end of it, and says so.
                Err(_) => {
                    connection.broken = true;
                    connection.sending = SendQueue::default();
                }
            }
        }
        let reason = if connection.closing && connection.sending.is_empty() {
            REASON_OURS.to_owned()
        } else {
            match watch(&self.epoll, id, connection, self.paused) {
                Ok(()) => return,
                Err(error) => error.to_string(),
            }
        };
        self.forget(id);
        self.said.push_back(Said::Closed(ConnectionId(id), reason));
    }

    /// Ends connections that were to be closed and whose peers don't take what is left to send.
    fn end_overdue(&mut self) {
        while let Some((until, id)) = self.closing.front().copied() {
            if Instant::now() < until {
                return;
            }
            self.closing.pop_front();
            if let Some(connection) = self.connections.get(&id) {
                reset_when_dropped(&connection.stream);
                self.forget(id);
                self.said.push_back(Said::Closed(ConnectionId(id), REASON_OVERDUE.into()));
            }
        }
    }
}

/// Tells the kernel what to watch a connection for, if that changed.
fn watch(epoll: &sys::Epoll, id: u64, connection: &mut Connection, paused: bool) -> io::Result<()> {
    let mut wanted = 0;
    if !paused && !connection.closing {
        wanted |= sys::IN;
    }
    if !connection.sending.is_empty() {
        wanted |= sys::OUT;
    }
    let fd = connection.stream.as_raw_fd();
    match connection.interest {
        Some(now) if now == wanted => return Ok(()),
        Some(_) => epoll.change(fd, id, wanted)?,
        None => epoll.add(fd, id, wanted)?,
    }
    connection.interest = Some(wanted);
    Ok(())
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Net for EpollNet {
    fn poll(&mut self, budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize {
        let mut handled = 0;
        self.unpark_listener();
        self.end_overdue();
        if self.ready.is_empty() {
            self.epoll.fetch(&mut self.ready);
            self.stats.calls += 1;
            self.stats.completions += self.ready.len() as u64;
        }
        // Ends of connections say nothing here, but closing a socket takes 30 µs: they count as turns.
        let mut turns = 0;
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
            let Some(ready) = self.ready.pop_front() else { break };
            handled += match ready.token {
                LISTENER => self.accept(on),
                DATAGRAMS if self.paused => 0,
                DATAGRAMS => self.receive_datagrams(on),
                _ => self.turn(ready, on),
            };
        }
        handled.max(usize::from(turns > 0 && turns == budget))
    }

    fn pending(&self) -> bool {
        !self.said.is_empty() || !self.ready.is_empty()
    }

    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let found = self.connections.get_mut(&connection.0).filter(|found| !found.closing && !found.broken);
        let found = found.ok_or(SendError::Closed)?;
        let idle = found.sending.is_empty();
        found.sending.push(bytes)?;
        if idle {
            self.flush(connection.0);
        }
        Ok(())
    }

    fn close(&mut self, connection: ConnectionId) {
        let Some(found) = self.connections.get_mut(&connection.0) else { return };
        if !std::mem::replace(&mut found.closing, true) {
            self.closing.push_back((Instant::now() + CLOSE_WAIT, connection.0));
            self.flush(connection.0);
        }
    }

    fn pause(&mut self, paused: bool) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        // What was fetched and not handled yet is fetched again once it may be.
        self.ready.retain(|ready| ready.token == LISTENER);
        if let Some(datagrams) = &self.datagrams {
            // The socket is in the list since it was opened; the kernel takes any change of it.
            let _ = self.epoll.change(datagrams.as_raw_fd(), DATAGRAMS, if paused { 0 } else { sys::IN });
        }
        let mut failed = Vec::new();
        for (id, connection) in &mut self.connections {
            if let Err(error) = watch(&self.epoll, *id, connection, paused) {
                failed.push((*id, error.to_string()));
            }
        }
        for (id, reason) in failed {
            self.forget(id);
            self.said.push_back(Said::Closed(ConnectionId(id), reason));
        }
    }
}

impl ShardNet for EpollNet {
    fn raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    fn arm(&mut self) {}

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
        let found = self.connections.get(&connection.0)?;
        if found.closing || !found.sending.is_empty() {
            return None;
        }
        let found = self.connections.remove(&connection.0)?;
        if found.interest.is_some() {
            self.epoll.remove(found.stream.as_raw_fd());
        }
        self.said.retain(|said| !matches!(said, Said::Accepted(id, _) if *id == connection));
        Some((found.stream, Vec::new()))
    }

    fn stats(&self) -> NetStats {
        NetStats {
            connections: self.connections.len() as u64,
            datagrams_dropped: self.datagrams.as_ref().and_then(datagram_drops).unwrap_or(0),
            ..self.stats
        }
    }
}

mod sys {
    #![expect(unsafe_code, reason = "the standard library has no epoll")]

    use std::{
        collections::VecDeque,
        io,
        os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    };

    pub(super) const IN: u32 = libc::EPOLLIN as u32;
    pub(super) const OUT: u32 = libc::EPOLLOUT as u32;
    const OVER: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
    /// Sockets fetched with one system call.
    const FETCHED: usize = 64;

    /// A socket that the kernel found ready.
    pub(super) struct Ready {
        pub(super) token: u64,
        events: u32,
    }

    impl Ready {
        pub(super) fn readable_or_over(&self) -> bool {
            self.events & (IN | OVER) != 0
        }

        pub(super) fn writable(&self) -> bool {
            self.events & (OUT | OVER) != 0
        }
    }

    pub(super) struct Epoll(OwnedFd);

    impl AsRawFd for Epoll {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_raw_fd()
        }
    }

    impl Epoll {
        pub(super) fn new() -> io::Result<Epoll> {
            // SAFETY: no pointers are passed.
            let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` was just made, is open, and nobody else owns it.
            Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
        }

        pub(super) fn add(&self, fd: RawFd, token: u64, events: u32) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_ADD, fd, token, events)
        }

        pub(super) fn change(&self, fd: RawFd, token: u64, events: u32) -> io::Result<()> {
            self.control(libc::EPOLL_CTL_MOD, fd, token, events)
        }

        /// Fails only for what is not in the list, which is what is wanted.
        pub(super) fn remove(&self, fd: RawFd) {
            let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
        }

        fn control(&self, what: i32, fd: RawFd, token: u64, events: u32) -> io::Result<()> {
            let mut event = libc::epoll_event { events, u64: token };
            // SAFETY: `event` lives over the call, which copies it.
            let result = unsafe { libc::epoll_ctl(self.as_raw_fd(), what, fd, &mut event) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }

        /// Appends the sockets that are ready now, without waiting.
        pub(super) fn fetch(&self, to: &mut VecDeque<Ready>) {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; FETCHED];
            // SAFETY: `events` is writable for FETCHED entries over the call.
            let count = unsafe { libc::epoll_wait(self.as_raw_fd(), events.as_mut_ptr(), FETCHED as i32, 0) };
            // Interrupted by a signal: as if nothing were ready; the next call tells.
            let count = usize::try_from(count).unwrap_or(0);
            to.extend(events[..count].iter().map(|event| Ready { token: event.u64, events: event.events }));
        }
    }
}
