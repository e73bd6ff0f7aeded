//! A Modbus TCP device that goes through a list of bad habits, one after the other, and whose
//! values say where they came from.
//!
//! The value of a tag of type u32 at register `a` is `a` in its upper half and the number of the
//! request that was answered in its lower half: a value that reached the wrong tag, or came with an
//! answer that had to be dropped, shows for ever which it was.
//!
//! Habits change with the count of requests, not with time, so a slow machine sees the same.

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the device does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Answers as it should.
    Right,
    /// Answers each request after its deadline, when the next ones are under way.
    Late,
    /// Answers with the transaction id of another request.
    WrongTransaction,
    /// Gathers what is under way and answers the last first.
    OutOfOrder,
    /// Answers with exception 04, server device failure.
    Exception,
    /// Answers bytes that are no Modbus.
    Garbage,
    /// Reads and never answers.
    HalfOpen,
}

/// Bytes of a read request: MBAP header and five of PDU (Modbus Application Protocol V1.1b3, 6.3).
const REQUEST_BYTES: usize = 12;
/// How long a connection waits for bytes before it looks at what it owes.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long requests are gathered to be answered out of order.
const GATHER: Duration = Duration::from_millis(60);
/// Bytes that are no Modbus: protocol 0x2020, a length that nobody sends.
const NOISE: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

/// What all connections share.
#[derive(Default)]
struct Shared {
    requests: u16,
    answered_wrong: BTreeSet<u16>,
    stopped: bool,
}

/// A device that listens; it ends with this value.
pub struct BadDevice {
    /// Its port on the loopback interface.
    pub port: u16,
    shared: Arc<Mutex<Shared>>,
    habit_requests: u16,
}

/// How a connection behaves: a habit for each of the first requests, and how late is late.
#[derive(Clone)]
struct Manners {
    habits: Arc<[Habit]>,
    late_after: Duration,
}

/// An answer that is owed.
struct Owed {
    at: Instant,
    bytes: Vec<u8>,
}

impl BadDevice {
    /// Listens. It has each habit for so many requests, then the next, and in the end is right for
    /// ever. A late answer comes `late_after` its request.
    pub fn start(script: &[(Habit, u16)], late_after: Duration) -> BadDevice {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let habits: Arc<[Habit]> = script.iter().flat_map(|(habit, requests)| (0..*requests).map(|_| *habit)).collect();
        let habit_requests = u16::try_from(habits.len()).expect("a short script");
        let manners = Manners { habits, late_after };
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&state).stopped {
                    return;
                }
                let (manners, state) = (manners.clone(), Arc::clone(&state));
                std::thread::spawn(move || drop(serve(stream, &manners, &state)));
            }
        });
        BadDevice { port, shared, habit_requests }
    }

    /// Whether it has gone through all its habits.
    pub fn is_done(&self) -> bool {
        self.requests() > self.habit_requests
    }

    /// Requests that it has read.
    pub fn requests(&self) -> u16 {
        lock(&self.shared).requests
    }

    /// Requests whose only answers carried a wrong transaction id.
    pub fn answered_wrong(&self) -> BTreeSet<u16> {
        lock(&self.shared).answered_wrong.clone()
    }
}

impl Drop for BadDevice {
    fn drop(&mut self) {
        lock(&self.shared).stopped = true;
        // wakes the thread that accepts, so that it ends
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().expect("no thread of the device panics")
}

/// One connection, until either side ends it.
fn serve(mut stream: TcpStream, manners: &Manners, shared: &Mutex<Shared>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    stream.set_nodelay(true)?;
    let (mut input, mut buffer) = (Vec::new(), [0_u8; 512]);
    let (mut owed, mut gathered) = (VecDeque::<Owed>::new(), Vec::<Owed>::new());
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => input.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
        if lock(shared).stopped {
            return Ok(());
        }
        while input.len() >= REQUEST_BYTES {
            let request: Vec<u8> = input.drain(..REQUEST_BYTES).collect();
            let (habit, number) = next(manners, shared);
            let right = answer(&request, number);
            let now = Instant::now();
            match habit {
                Habit::Right => stream.write_all(&right)?,
                Habit::Late => owed.push_back(Owed { at: now + manners.late_after, bytes: right }),
                Habit::WrongTransaction => stream.write_all(&wrong_transaction(right))?,
                Habit::OutOfOrder => gathered.push(Owed { at: now + GATHER, bytes: right }),
                Habit::Exception => stream.write_all(&exception(&request))?,
                Habit::Garbage => stream.write_all(NOISE)?,
                Habit::HalfOpen => {}
            }
        }
        while owed.front().is_some_and(|first| first.at <= Instant::now()) {
            stream.write_all(&owed.pop_front().expect("a first").bytes)?;
        }
        if gathered.first().is_some_and(|first| first.at <= Instant::now()) {
            for last in gathered.drain(..).rev() {
                stream.write_all(&last.bytes)?;
            }
        }
    }
}

/// Counts a request; answers the habit that it meets, and its number from 1.
fn next(manners: &Manners, shared: &Mutex<Shared>) -> (Habit, u16) {
    let mut shared = lock(shared);
    let habit = manners.habits.get(usize::from(shared.requests)).copied().unwrap_or(Habit::Right);
    shared.requests += 1;
    let number = shared.requests;
    if habit == Habit::WrongTransaction {
        shared.answered_wrong.insert(number);
    }
    (habit, number)
}

/// The right answer: function 3 or 4, every pair of registers from an even address as the module says.
fn answer(request: &[u8], number: u16) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let (address, count) = (word(8), word(10));
    let mut answer = request[..4].to_vec();
    answer.extend_from_slice(&(3 + 2 * count).to_be_bytes());
    answer.extend_from_slice(&[request[6], request[7], (2 * count) as u8]);
    for register in address..address + count {
        let value = if register % 2 == 0 { register } else { number };
        answer.extend_from_slice(&value.to_be_bytes());
    }
    answer
}

/// The same answer under an id that is a few requests away, as a confused gateway does.
fn wrong_transaction(mut answer: Vec<u8>) -> Vec<u8> {
    let id = u16::from_be_bytes([answer[0], answer[1]]).wrapping_sub(3);
    answer[..2].copy_from_slice(&id.to_be_bytes());
    answer
}

fn exception(request: &[u8]) -> Vec<u8> {
    let mut answer = request[..4].to_vec();
    answer.extend_from_slice(&[0, 3, request[6], request[7] | 0x80, 4]);
    answer
}
