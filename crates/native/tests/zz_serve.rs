mod support;
use env::net::{ConnectionId, Net, NetEvent, SendError};
use frame::Frame;
use model::{LogPosition, ProducerId, Sequence, TagId, TimestampNs};
use millstream_native::*;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket, SocketAddr};
use std::time::{Duration, Instant};

struct StdNet { listener: TcpListener, udp: UdpSocket, streams: HashMap<u64, (TcpStream, bool)>, next: u64, paused: bool, buf: Vec<u8> }
impl Net for StdNet {
    fn poll(&mut self, _budget: usize, on: &mut dyn FnMut(NetEvent<'_>)) -> usize {
        let mut n = 0;
        while let Ok((s, peer)) = self.listener.accept() {
            s.set_nonblocking(true).unwrap(); s.set_nodelay(true).unwrap();
            self.streams.insert(self.next, (s, false));
            on(NetEvent::Accepted { connection: ConnectionId(self.next), peer });
            self.next += 1; n += 1;
        }
        if self.paused { return n; }
        while let Ok((c, peer)) = self.udp.recv_from(&mut self.buf) { on(NetEvent::Datagram { peer, bytes: &self.buf[..c] }); n += 1; }
        let mut gone = vec![];
        for (id, (s, closing)) in &mut self.streams {
            if *closing { gone.push(*id); on(NetEvent::Closed { connection: ConnectionId(*id), reason: "ours" }); continue; }
            match s.read(&mut self.buf) {
                Ok(0) => { gone.push(*id); on(NetEvent::Closed { connection: ConnectionId(*id), reason: "eof" }); }
                Ok(c) => { on(NetEvent::Received { connection: ConnectionId(*id), bytes: &self.buf[..c] }); n += 1; }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => { gone.push(*id); on(NetEvent::Closed { connection: ConnectionId(*id), reason: "err" }); }
            }
        }
        for id in gone { self.streams.remove(&id); }
        n
    }
    fn pending(&self) -> bool { true }
    fn send(&mut self, c: ConnectionId, bytes: &[u8]) -> Result<(), SendError> {
        let Some((s, _)) = self.streams.get_mut(&c.0) else { return Err(SendError::Closed) };
        s.write_all(bytes).map_err(|_| SendError::Full)
    }
    fn close(&mut self, c: ConnectionId) { if let Some(s) = self.streams.get_mut(&c.0) { s.1 = true; } }
    fn pause(&mut self, p: bool) { self.paused = p; }
}
#[derive(Default)]
struct Sink { end: u64, durable: u64, last: HashMap<ProducerId, Sequence>, pos: HashMap<ProducerId, u64>, tags: HashMap<String, u32>, dup: u64, holes: u64, samples: u64 }
impl FrameSink for Sink {
    fn open(&mut self, p: ProducerId, s: &str) -> Result<Opened, Refusal> {
        if s != "vibration-rig" { return Err(Refusal::UnknownSource { name: s.into(), known: vec!["vibration-rig".into()] }); }
        let last = *self.last.entry(p).or_default();
        Ok(Opened { path: "riverside/vibration".into(), last, position: LogPosition(self.pos.get(&p).copied().unwrap_or(0)), tags_max: 100_000, datagrams: true })
    }
    fn register(&mut self, _: ProducerId, _: &str, tags: &[TagWanted<'_>], _: &[&str]) -> Result<Registered, Refusal> {
        let mut r = Registered::default();
        for t in tags { let n = self.tags.len() as u32; r.tags.push(TagId(*self.tags.entry(t.name.into()).or_insert(n))); }
        Ok(r)
    }
    fn take(&mut self, f: Frame<'_>, _: TimestampNs) -> Result<Taken, TakeError> {
        if self.is_busy() { return Err(model::Refused::Busy.into()); }
        let Some(last) = self.last.get_mut(&f.producer()) else { return Err(TakeError::UnknownProducer) };
        if f.sequence() <= *last { self.dup += 1; return Ok(Taken::Duplicate { position: LogPosition(self.end) }); }
        if f.sequence().0 != last.0 + 1 { self.holes += 1; }
        *last = f.sequence();
        self.end += f.bytes().len() as u64; self.samples += f.sample_count() as u64;
        self.pos.insert(f.producer(), self.end);
        Ok(Taken::Stored { position: LogPosition(self.end) })
    }
    fn shed(&mut self, _: Frame<'_>, _: TimestampNs) {}
    fn durable(&self) -> LogPosition { LogPosition(self.durable) }
    fn is_busy(&self) -> bool { self.end - self.durable > 8 << 20 }
}
#[test]
#[ignore]
fn serve() {
    let at: SocketAddr = "127.0.0.1:7979".parse().unwrap();
    let listener = TcpListener::bind(at).unwrap(); listener.set_nonblocking(true).unwrap();
    let udp = UdpSocket::bind(at).unwrap(); udp.set_nonblocking(true).unwrap();
    let mut net = StdNet { listener, udp, streams: HashMap::new(), next: 1, paused: false, buf: vec![0; 65536] };
    let mut sink = Sink::default();
    let mut server = Server::new(Limits::default());
    let start = Instant::now(); let mut synced = Instant::now(); let mut mark = 0;
    while start.elapsed() < Duration::from_secs(25) {
        if server.poll(&mut net, &mut sink, TimestampNs(start.elapsed().as_nanos() as i64), 64) == 0 { std::thread::sleep(Duration::from_micros(50)); }
        if synced.elapsed() > Duration::from_millis(2) { sink.durable = mark; mark = sink.end; synced = Instant::now(); }
    }
    println!("{:?} dup {} holes {} samples {}", server.counters(), sink.dup, sink.holes, sink.samples);
}
