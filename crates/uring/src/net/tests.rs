//! One suite for both networks, over loopback. What it waits for has no deadline of its own: it
//! sleeps on the network's descriptor as a shard does, so a lost wake-up hangs the test.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, UdpSocket},
    thread,
};

use env::net::{NetEvent, SendError};

use super::*;
use crate::{FdListener, IoMode, block_on, probe};

/// Everything that a network said, by connection.
#[derive(Default)]
struct Heard {
    accepted: Vec<(ConnectionId, SocketAddr)>,
    bytes: HashMap<ConnectionId, Vec<u8>>,
    closed: HashMap<ConnectionId, String>,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
}

impl Heard {
    fn on(&mut self, event: NetEvent<'_>) {
        match event {
            NetEvent::Accepted { connection, peer } => self.accepted.push((connection, peer)),
            NetEvent::Received { connection, bytes } => {
                assert!(!self.closed.contains_key(&connection), "bytes after the end");
                self.bytes.entry(connection).or_default().extend_from_slice(bytes);
            }
            NetEvent::Datagram { peer, bytes } => self.datagrams.push((peer, bytes.to_vec())),
            NetEvent::Closed { connection, reason } => {
                let before = self.closed.insert(connection, reason.to_owned());
                assert_eq!(before, None, "closed twice");
            }
        }
    }

    fn received(&self) -> usize {
        self.bytes.values().map(Vec::len).sum()
    }
}

struct Rig {
    net: Box<dyn ShardNet>,
    heard: Heard,
    listener: FdListener,
    address: SocketAddr,
    datagrams: SocketAddr,
}

impl Rig {
    fn open(mode: IoMode, connections_max: usize) -> Rig {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let tcp = listen(any, true).expect("free");
        let udp = bind_datagrams(any, false).expect("free");
        let (address, datagrams) = (tcp.local_addr().expect("bound"), udp.local_addr().expect("bound"));
        let options = NetOptions { listener: Some(tcp), datagrams: Some(udp), connections_max };
        let net: Box<dyn ShardNet> = match mode {
            IoMode::Epoll => Box::new(EpollNet::open(options).expect("a network")),
            IoMode::Uring => Box::new(RingNet::open(options).map_err(|(error, _)| error).expect("a network")),
        };
        let listener = FdListener::new(net.raw_fd()).expect("watched");
        Rig { net, heard: Heard::default(), listener, address, datagrams }
    }

    fn poll(&mut self) -> usize {
        let Rig { net, heard, .. } = self;
        net.poll(64, &mut |event| heard.on(event))
    }

    /// Polls until something holds, asleep in between.
    async fn until(&mut self, holds: impl Fn(&Heard) -> bool) {
        while !holds(&self.heard) {
            self.listener.clear();
            if self.poll() > 0 {
                continue;
            }
            self.net.arm();
            if !self.net.pending() {
                self.listener.ready().await;
            }
        }
    }

    async fn connect(&mut self) -> (TcpStream, ConnectionId) {
        let stream = TcpStream::connect(self.address).expect("listening");
        let me = stream.local_addr().expect("connected");
        self.until(|heard| heard.accepted.iter().any(|(_, peer)| *peer == me)).await;
        let found = self.heard.accepted.iter().find(|(_, peer)| *peer == me);
        (stream, found.expect("just accepted").0)
    }
}

fn modes() -> Vec<IoMode> {
    let mut modes = vec![IoMode::Epoll];
    match probe() {
        Ok(()) => modes.push(IoMode::Uring),
        Err(why) => eprintln!("testing epoll only: {why}"),
    }
    modes
}

fn on_both(test: impl AsyncFn(&mut Rig)) {
    with_limit(1_000, test);
}

fn with_limit(connections_max: usize, test: impl AsyncFn(&mut Rig)) {
    for mode in modes() {
        eprintln!("on {mode}");
        block_on(mode, async { test(&mut Rig::open(mode, connections_max)).await }).expect("a runtime");
    }
}

fn pattern(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|n| (n % 251) as u8).collect()
}

/// Many more connections than the ring has buffers, all with more to say than a buffer holds.
#[test]
fn a_crowd_that_all_sends_at_once_is_all_heard() {
    const CROWD: usize = 400;
    const BYTES: usize = 40_000;
    on_both(async |rig| {
        let mut peers: Vec<TcpStream> =
            (0..CROWD).map(|_| TcpStream::connect(rig.address).expect("accepted")).collect();
        for (n, peer) in peers.iter_mut().enumerate() {
            peer.write_all(&[n as u8; BYTES]).expect("the sockets hold it");
        }
        rig.until(|heard| heard.received() == CROWD * BYTES).await;
        assert!(
            rig.heard.bytes.values().all(|bytes| bytes.len() == BYTES && bytes.iter().all(|byte| *byte == bytes[0]))
        );
        drop(peers);
        rig.until(|heard| heard.closed.len() == CROWD).await;
    });
}

#[test]
fn bytes_arrive_in_order_however_they_are_split() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        let sent = pattern(0, 300_000);
        let copy = sent.clone();
        let sender = thread::spawn(move || {
            stream.set_nodelay(true).expect("set");
            let mut rest = &copy[..];
            for length in [1, 2, 3, 10, 100, 5_000].iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*length));
                stream.write_all(now).expect("sent");
                rest = later;
                if rest.is_empty() {
                    return;
                }
            }
        });
        rig.until(|heard| heard.closed.contains_key(&connection)).await;
        sender.join().expect("all sent");
        assert!(rig.heard.bytes[&connection] == sent, "bytes were lost, doubled or swapped");
        assert_eq!(rig.heard.closed[&connection], REASON_PEER);
        assert_eq!(rig.net.stats().received_bytes, 300_000);
        let stats = rig.net.stats();
        assert!(stats.calls > 0 && stats.completions >= 300_000 / (64 << 10), "calls and what they bring: {stats:?}");
        assert_eq!(rig.net.stats().connections, 0);
    });
}

#[test]
fn a_hundred_connections_keep_their_bytes_apart() {
    on_both(async |rig| {
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(rig.connect().await);
        }
        assert_eq!(rig.net.stats().connections, 100);
        for round in 0..10 {
            for (number, (stream, _)) in streams.iter_mut().enumerate() {
                stream.write_all(&pattern(number + round * 1_000, 1_000)).expect("sent");
            }
        }
        rig.until(|heard| heard.received() == 1_000_000).await;
        for (number, (_, connection)) in streams.iter().enumerate() {
            assert!(rig.heard.bytes[connection] == pattern(number, 10_000), "connection {number}");
        }
        let names: Vec<ConnectionId> = streams.iter().map(|(_, connection)| *connection).collect();
        drop(streams);
        rig.until(|heard| names.iter().all(|name| heard.closed.contains_key(name))).await;
    });
}

#[test]
fn what_is_sent_arrives_and_a_peer_that_does_not_read_is_refused() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        let mut sent = 0;
        let full = loop {
            match rig.net.send(connection, &pattern(sent, 10_000)) {
                Ok(()) => sent += 10_000,
                Err(error) => break error,
            }
            rig.poll();
            rig.net.arm();
        };
        assert_eq!(full, SendError::Full);
        let reader = thread::spawn(move || {
            let mut got = vec![0; sent];
            stream.read_exact(&mut got).expect("all of it");
            stream.write_all(b"done").expect("sent");
            (got, stream)
        });
        rig.until(|heard| heard.received() == 4).await;
        let (got, _stream) = reader.join().expect("read");
        assert!(got == pattern(0, sent), "sent bytes were lost or swapped");
        assert_eq!(rig.net.stats().sent_bytes, sent as u64);
        assert_eq!(rig.net.send(ConnectionId(999_999), b"x"), Err(SendError::Closed));
    });
}

#[test]
fn a_flood_does_not_starve_the_others() {
    on_both(async |rig| {
        let (mut flooder, flooding) = rig.connect().await;
        let (mut quiet, calm) = rig.connect().await;
        let flood = thread::spawn(move || {
            let chunk = vec![0; 1 << 20];
            while flooder.write_all(&chunk).is_ok() {}
        });
        rig.until(|heard| heard.bytes.get(&flooding).is_some_and(|bytes| bytes.len() > 1 << 20)).await;
        for round in 1..=20 {
            quiet.write_all(b"quiet").expect("sent");
            rig.until(|heard| heard.bytes.get(&calm).is_some_and(|bytes| bytes.len() == 5 * round)).await;
            rig.heard.bytes.remove(&flooding);
        }
        rig.net.close(flooding);
        rig.until(|heard| heard.closed.contains_key(&flooding)).await;
        flood.join().expect("the flooder was cut off");
    });
}

#[test]
fn a_pause_holds_bytes_back_and_loses_none() {
    on_both(async |rig| {
        const BYTES: usize = 4 << 20;
        let (mut stream, connection) = rig.connect().await;
        let sender = thread::spawn(move || {
            for from in (0..BYTES).step_by(1 << 16) {
                stream.write_all(&pattern(from, 1 << 16)).expect("sent");
            }
        });
        let mut goal = 0;
        while rig.heard.received() < BYTES {
            goal += 100_000;
            rig.until(|heard| heard.received() >= goal.min(BYTES)).await;
            let at_pause = rig.heard.received();
            rig.net.pause(true);
            for _ in 0..20 {
                rig.poll();
                rig.net.arm();
                thread::yield_now();
            }
            assert_eq!(rig.heard.received(), at_pause, "bytes came during a pause");
            rig.net.pause(false);
        }
        sender.join().expect("all sent");
        rig.until(|heard| heard.closed.contains_key(&connection)).await;
        assert!(rig.heard.bytes[&connection] == pattern(0, BYTES), "bytes were lost, doubled or swapped");
    });
}

#[test]
fn a_peer_that_goes_during_a_pause_is_read_to_its_end_afterwards() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        rig.net.pause(true);
        let udp = UdpSocket::bind("127.0.0.1:0").expect("free");
        udp.send_to(b"later", rig.datagrams).expect("sent");
        stream.write_all(b"last words").expect("sent");
        drop(stream);
        for _ in 0..20 {
            rig.poll();
            rig.net.arm();
            thread::yield_now();
        }
        assert_eq!((rig.heard.received(), rig.heard.datagrams.len(), rig.heard.closed.len()), (0, 0, 0));
        rig.net.pause(false);
        rig.until(|heard| heard.closed.contains_key(&connection) && heard.datagrams.len() == 1).await;
        assert_eq!(rig.heard.bytes[&connection], b"last words");
        assert_eq!(rig.heard.datagrams[0].1, b"later");
    });
}

#[test]
fn a_reset_is_told_with_its_reason() {
    on_both(async |rig| {
        let (stream, connection) = rig.connect().await;
        let socket = socket2::Socket::from(stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("set");
        drop(socket);
        rig.until(|heard| heard.closed.contains_key(&connection)).await;
        assert!(rig.heard.closed[&connection].contains("reset"), "{}", rig.heard.closed[&connection]);
        assert_eq!(rig.net.send(connection, b"x"), Err(SendError::Closed));
        rig.net.close(connection);
        assert_eq!(rig.poll(), 0, "nothing comes after the end");
    });
}

#[test]
fn datagrams_arrive_whole_with_their_sender() {
    on_both(async |rig| {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("free");
        let me = udp.local_addr().expect("bound");
        for (number, length) in [1, 100, 1_400, 9_000, 60_000, 65_507].into_iter().enumerate() {
            udp.send_to(&pattern(number, length), rig.datagrams).expect("sent");
            rig.until(|heard| heard.datagrams.len() == number + 1).await;
            assert!(rig.heard.datagrams[number] == (me, pattern(number, length)), "{length} bytes");
        }
        for _ in 0..500 {
            udp.send_to(b"again", rig.datagrams).expect("sent");
        }
        rig.until(|heard| heard.datagrams.len() == 506).await;
        assert_eq!(rig.net.stats().datagrams, 506);
        assert_eq!(rig.net.stats().datagrams_dropped, 0);
    });
}

#[test]
fn closing_sends_what_is_queued_first() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        // Unread bytes on our side must not turn the end into a reset.
        stream.write_all(&[7; 1_000]).expect("sent");
        let mut sent = 0;
        while rig.net.send(connection, &pattern(sent, 10_000)).is_ok() {
            sent += 10_000;
        }
        rig.net.close(connection);
        rig.net.close(connection);
        assert_eq!(rig.net.send(connection, b"too late"), Err(SendError::Closed));
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            stream.read_to_end(&mut got).expect("a clean end");
            got
        });
        rig.until(|heard| heard.closed.contains_key(&connection)).await;
        assert_eq!(rig.heard.closed[&connection], REASON_OURS);
        assert!(reader.join().expect("read") == pattern(0, sent), "queued bytes were lost");
    });
}

#[test]
fn beyond_the_limit_a_peer_is_turned_away_and_counted() {
    with_limit(2, async |rig| {
        let (first, connection) = rig.connect().await;
        let (_second, _) = rig.connect().await;
        let mut third = TcpStream::connect(rig.address).expect("the kernel completes it");
        while rig.net.stats().refused == 0 {
            rig.poll();
            rig.net.arm();
            thread::yield_now();
        }
        assert_eq!(third.read(&mut [0; 1]).ok().filter(|bytes| *bytes > 0), None, "turned away");
        drop(first);
        rig.until(|heard| heard.closed.contains_key(&connection)).await;
        rig.connect().await;
        assert_eq!(rig.heard.accepted.len(), 3);
    });
}

#[test]
fn a_connection_is_handed_to_another_shard_with_all_its_bytes() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        stream.write_all(b"hello").expect("sent");
        rig.until(|heard| heard.received() == 5).await;
        stream.write_all(&pattern(0, 100_000)).expect("sent");
        rig.net.arm();
        let (given, unread) = rig.net.release(connection).expect("it is idle");
        assert!(rig.net.release(connection).is_none());
        assert_eq!(rig.net.stats().connections, 0);

        let mut other = Rig::open(*modes().last().expect("one at least"), 10);
        let adopted = other.net.adopt(given);
        other.until(|heard| heard.accepted.len() == 1 && heard.received() + unread.len() == 100_000).await;
        let mut all = unread;
        all.extend(other.heard.bytes.remove(&adopted).unwrap_or_default());
        assert!(all == pattern(0, 100_000), "bytes were lost in the hand-over");
        assert_eq!(other.heard.accepted[0].0, adopted);
        other.net.send(adopted, b"welcome").expect("sent");
        other.net.arm();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"welcome");
        assert!(rig.heard.closed.is_empty(), "a connection that was given away is not closed");
    });
}

#[test]
fn a_network_without_sockets_of_its_own_adopts_up_to_its_limit() {
    for mode in modes() {
        block_on(mode, async {
            let mut net =
                open_net(mode, NetOptions { connections_max: 1, ..NetOptions::default() }).expect("a network");
            let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).expect("free");
            let address = listener.local_addr().expect("bound");
            let mut heard = Heard::default();
            let mut names = Vec::new();
            let mut peers = Vec::new();
            for _ in 0..2 {
                peers.push(TcpStream::connect(address).expect("listening"));
                names.push(net.adopt(listener.accept().expect("connected").0));
            }
            while heard.accepted.len() + heard.closed.len() < 2 {
                net.poll(64, &mut |event| heard.on(event));
            }
            assert_eq!(heard.accepted[0].0, names[0]);
            assert_eq!(heard.closed[&names[1]], REASON_LIMIT);
            assert_eq!(net.stats().refused, 1);
        })
        .expect("a runtime");
    }
}

#[test]
fn a_peer_that_stops_sending_and_waits_gets_its_end() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        stream.shutdown(Shutdown::Write).expect("half closed");
        rig.until(|heard| heard.closed.contains_key(&connection)).await;
        rig.net.arm();
        assert_eq!(stream.read(&mut [0; 1]).expect("the end"), 0);
    });
}

#[test]
fn a_network_may_be_dropped_with_everything_under_way() {
    on_both(async |rig| {
        let (mut stream, connection) = rig.connect().await;
        stream.write_all(&[1; 100_000]).expect("sent");
        while rig.net.send(connection, &[2; 10_000]).is_ok() {}
        rig.net.arm();
    });
}
