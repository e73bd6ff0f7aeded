//! The limit of intake that one core has for both (`cargo xtask bench intake`): how much it receives and
//! brings to the disk when it does nothing else with the bytes, no check and no parse.
//!
//! `taskset -c 1 cargo run --release -p millstream-uring --example bare_intake -- DIRECTORY SECONDS [straight] [crc]`
//!
//! It says where it listens, answers the handshake and the registrations, so that the very same client
//! sends the very same bytes (`loadgen native --acks none`), and ends when its connections have, or after
//! so many seconds. Bytes come through the server's own receive ring and are copied once, into the block
//! that is written next; with `straight` read(2) puts them there itself. With `crc` CRC32C is made of each
//! byte once, which no receiver that checks its frames can leave out. Blocks go to the disk as `bare/mod.rs`
//! says, one sync always under way. Prints two JSON objects: the address, and what came.

mod bare;

use bare::{BLOCK_BYTES, BLOCKS, Files, Memory, Writer};
use env::net::{ConnectionId, NetEvent};
use frame::{Builder, FrameError, Registered, Splitter, View, Welcome};
use millstream_uring::net::{NetOptions, listen, open_net};
use millstream_uring::{IoMode, wait_for_any};
use model::Sequence;
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// What one event of the receive ring brings at most, and how many are taken at a turn.
const EVENT_BYTES_MAX: usize = 16 << 10;
const EVENTS_MAX: usize = 32;
/// What is read of one connection at a time.
const READ_BYTES_MAX: usize = 64 << 10;
/// How long nothing need be looked at where nothing came: blocks under way may wait so long.
const LOOK: Duration = Duration::from_millis(1);
/// Longer than any measurement.
const SECONDS_MAX: f64 = 600.0;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let usage = "usage: bare_intake DIRECTORY SECONDS [straight] [crc]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, seconds, words @ ..] = &arguments[..] else { return Err(usage.into()) };
    if words.iter().any(|word| word != "straight" && word != "crc") {
        return Err(usage.into());
    }
    let is = |name: &str| words.iter().any(|word| word == name);
    let seconds: f64 = seconds.parse().map_err(|_| usage)?;
    let until = Instant::now() + Duration::try_from_secs_f64(seconds.min(SECONDS_MAX))?;
    let memory = Memory::new();
    let files = Files::new(Path::new(directory), &memory)?;
    let mut sink =
        Sink { writer: Writer::new(&memory, &files, true)?, filled: 0, bytes: 0, crc: is("crc").then_some(0) };
    if is("straight") {
        straight(&mut sink, until)?
    } else {
        through_ring(&mut sink, until)?
    }
    while sink.writer.under_way() {
        sink.writer.sync()?;
        sink.writer.enter(1)?;
    }
    let durable = sink.writer.done() * BLOCK_BYTES as u64;
    let (syncs, crc) = (sink.writer.syncs, sink.crc.unwrap_or(0));
    println!("{{\"bytes\":{},\"durable_bytes\":{durable},\"syncs\":{syncs},\"crc\":{crc}}}", sink.bytes);
    Ok(())
}

/// Where bytes go.
struct Sink<'a> {
    writer: Writer<'a>,
    /// How much of the next block is filled.
    filled: usize,
    bytes: u64,
    /// All checksums, one over the other; `None` where none are made.
    crc: Option<u32>,
}

impl Sink<'_> {
    /// Bytes that find room now.
    fn room(&self) -> usize {
        self.writer.free() * BLOCK_BYTES - self.filled
    }

    /// Copies bytes behind what is there; there is room for them.
    fn take(&mut self, mut bytes: &[u8]) -> Outcome<()> {
        if let Some(crc) = &mut self.crc {
            *crc ^= frame::crc32c(&[bytes]);
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
            self.writer.block()[self.filled..][..now.len()].copy_from_slice(now);
            self.advance(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// Reads once, straight into the block; answers how many bytes came.
    fn read(&mut self, from: &mut TcpStream) -> Outcome<io::Result<usize>> {
        let block = self.writer.block();
        let end = BLOCK_BYTES.min(self.filled + READ_BYTES_MAX);
        let count = match from.read(&mut block[self.filled..end]) {
            Ok(count) => count,
            other => return Ok(other),
        };
        if let Some(crc) = &mut self.crc {
            *crc ^= frame::crc32c(&[&block[self.filled..][..count]]);
        }
        self.advance(count)?;
        Ok(Ok(count))
    }

    fn advance(&mut self, count: usize) -> Outcome<()> {
        self.filled += count;
        self.bytes += count as u64;
        if self.filled == BLOCK_BYTES {
            self.filled = 0;
            self.writer.begin()?;
        }
        Ok(())
    }

    /// The disk's side of a turn; waits for it where not even `wanted` bytes find room.
    fn turn(&mut self, wanted: usize) -> Outcome<()> {
        self.writer.sync()?;
        self.writer.enter(0)?;
        while self.room() < wanted {
            self.writer.enter(1)?;
            self.writer.sync()?;
        }
        Ok(())
    }
}

/// Through the server's receive ring, with a copy.
fn through_ring(sink: &mut Sink<'_>, until: Instant) -> Outcome<()> {
    const { assert!(EVENTS_MAX * EVENT_BYTES_MAX < BLOCKS * BLOCK_BYTES) };
    let listener = listen("127.0.0.1:0".parse()?, false)?;
    say_where(&listener)?;
    let options = NetOptions { listener: Some(listener), ..NetOptions::default() };
    let mut net = open_net(IoMode::Uring, options)?;
    let mut greetings: HashMap<ConnectionId, Greeting> = HashMap::new();
    let (mut opened, mut closed) = (0_u64, 0_u64);
    while Instant::now() < until && (opened == 0 || closed < opened) {
        sink.turn(EVENTS_MAX * EVENT_BYTES_MAX)?;
        let (mut answers, mut failed) = (Vec::new(), None);
        let handled = net.poll(EVENTS_MAX, &mut |event| match event {
            NetEvent::Accepted { connection, .. } => {
                opened += 1;
                greetings.insert(connection, Greeting::default());
            }
            NetEvent::Received { connection, bytes } => {
                // Nobody greets any more when telemetry flows.
                if greetings.is_empty() || !greet(&mut greetings, connection, bytes, &mut answers) {
                    failed = sink.take(bytes).err().or(failed.take());
                }
            }
            NetEvent::Closed { connection, .. } => {
                closed += 1;
                greetings.remove(&connection);
            }
            NetEvent::Datagram { .. } => {}
        });
        if let Some(error) = failed {
            return Err(error);
        }
        for (connection, answer) in answers {
            net.send(connection, answer.bytes()).map_err(|error| format!("an answer was not sent: {error:?}"))?;
        }
        if handled == 0 {
            net.arm();
            if !net.pending() {
                wait_for_any(&[net.raw_fd()], LOOK);
            }
        }
    }
    Ok(())
}

/// Whether the bytes belonged to a greeting.
fn greet(
    greetings: &mut HashMap<ConnectionId, Greeting>,
    connection: ConnectionId,
    bytes: &[u8],
    answers: &mut Vec<(ConnectionId, Builder)>,
) -> bool {
    let Some(greeting) = greetings.get_mut(&connection) else { return false };
    match greeting.on_bytes(bytes) {
        Some(answer) => answers.push((connection, answer)),
        None => drop(greetings.remove(&connection)),
    }
    true
}

/// A connection that is read in the plain way.
struct Plain {
    stream: TcpStream,
    greeting: Option<Greeting>,
}

/// With read(2) into the block itself, one connection after the other.
fn straight(sink: &mut Sink<'_>, until: Instant) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    say_where(&listener)?;
    let mut connections: Vec<Plain> = Vec::new();
    let mut greeted = vec![0; READ_BYTES_MAX];
    let mut opened = false;
    while Instant::now() < until && !(opened && connections.is_empty()) {
        if connections.is_empty() || connections.iter().any(|connection| connection.greeting.is_some()) {
            accept(&listener, &mut connections)?;
            opened |= !connections.is_empty();
        }
        let (mut is_quiet, mut at) = (true, 0);
        while at < connections.len() {
            sink.turn(1)?;
            match read_plain(sink, &mut connections[at], &mut greeted)? {
                Ok(0) => drop(connections.swap_remove(at)),
                Ok(_) => (is_quiet, at) = (false, at + 1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => at += 1,
                Err(_) => drop(connections.swap_remove(at)),
            }
        }
        if is_quiet {
            accept(&listener, &mut connections)?;
            let sockets = connections.iter().map(|connection| connection.stream.as_raw_fd());
            let all: Vec<_> = sockets.chain([listener.as_raw_fd()]).collect();
            wait_for_any(&all, LOOK);
        }
    }
    Ok(())
}

fn accept(listener: &TcpListener, connections: &mut Vec<Plain>) -> io::Result<()> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            connections.push(Plain { stream, greeting: Some(Greeting::default()) });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// One read: of a greeting, or into the block.
fn read_plain(sink: &mut Sink<'_>, from: &mut Plain, greeted: &mut [u8]) -> Outcome<io::Result<usize>> {
    let Some(greeting) = &mut from.greeting else { return sink.read(&mut from.stream) };
    let count = match from.stream.read(greeted) {
        Ok(count) => count,
        other => return Ok(other),
    };
    match greeting.on_bytes(&greeted[..count]) {
        Some(answer) => from.stream.write_all(answer.bytes())?,
        None => from.greeting = None,
    }
    Ok(Ok(count))
}

fn say_where(listener: &TcpListener) -> Outcome<()> {
    println!("{{\"address\":\"{}\"}}", listener.local_addr()?);
    Ok(io::stdout().flush()?)
}

/// The conversation before the first telemetry frame.
#[derive(Default)]
struct Greeting {
    splitter: Splitter,
    tags: u32,
}

/// Telemetry began, or what comes is no frame.
struct Over;

impl From<FrameError> for Over {
    fn from(_: FrameError) -> Over {
        Over
    }
}

impl Greeting {
    /// What to answer; `None` once there is nothing to be looked at any more.
    fn on_bytes(&mut self, bytes: &[u8]) -> Option<Builder> {
        let mut answers = Builder::new();
        let Greeting { splitter, tags } = self;
        let read = splitter.push::<Over>(bytes, |frame| {
            let done = match frame.view() {
                View::Hello(_) => {
                    let welcome = Welcome {
                        path: "bare".to_owned(),
                        frame_bytes_max: model::limits::FRAME_BYTES_MAX as u32,
                        tags_max: u32::MAX,
                    };
                    answers.welcome(frame.producer(), Sequence(0), &welcome).is_ok()
                }
                View::Register(register) => {
                    let first = *tags;
                    *tags += register.tags.len() as u32;
                    let numbers = Registered {
                        request: register.request.to_native(),
                        tags: (first..*tags).collect(),
                        texts: Vec::new(),
                    };
                    answers.registered(frame.producer(), Sequence(0), &numbers).is_ok()
                }
                _ => false,
            };
            if done { Ok(()) } else { Err(Over) }
        });
        read.is_ok().then_some(answers)
    }
}
