//! One connection to a Modbus TCP device or gateway, as a state machine.
//!
//! Purpose: send requests with transaction ids and deadlines, give each its own answer or a
//! failure, and decide when the connection is worth nothing any more. Standard: *Modbus Messaging
//! on TCP/IP Implementation Guide V1.0b* (4.2 transaction identifiers, 4.4 client).
//!
//! Invariants
//! - T1: every request sent has exactly one [`Outcome`].
//! - T2: bytes are data of a request only if transaction, unit, function and length are its own;
//!   what is late, unknown or doubled is dropped and counted.
//! - T3: a transaction id is not used again on a connection while its late answer may still come.
//! - T4: a broken stream or a mismatched answer closes the connection; one silent unit does not.
//! - T5: everything held is bounded: requests by the depth, given-up ids by [`GIVEN_UP_MAX`].
//!
//! It does no I/O and reads no clock; it does not know tags or cycles ([`crate::poller`] does).

use crate::backoff::Backoff;
use crate::codec::{self, Adu, Answer, Mismatch, ReadRequest, Splitter};
use crate::cost::Cost;
use crate::counters::{Counter, Counters};
use crate::depth::{Depth, Trouble};
use crate::loss::Loss;
use crate::write::{Confirmed, Echo, Write, WriteRequest};
use std::collections::VecDeque;

/// Ids of given-up requests that are kept out of use; one more closes the connection.
pub const GIVEN_UP_MAX: usize = 1024;
/// Answers that nobody asked for, with no right one between, after which the connection is closed.
const UNKNOWN_MAX: u32 = 256;
/// Timeouts in a row, with no answer between, after which the connection is closed even if some
/// unit was not asked yet.
const STRIKES_MAX: u32 = 4;
/// Shortest time that a given-up id stays out of use, in nanoseconds: one minute.
const GIVEN_UP_NS: u64 = 60_000_000_000;
/// Bytes that wait for the socket when no more is sent: the reads of the deepest pipeline. One
/// request more, of at most [`codec::ADU_BYTES_MAX`], may have joined them.
const OUTBOX_BYTES_MAX: usize = 16 * codec::REQUEST_BYTES;

/// What a session is told by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// Deadline of a request, in nanoseconds.
    pub timeout_ns: u64,
    /// Requests under way at once: told, or to be found out.
    pub depth: Depth,
    /// Wait after connecting, in nanoseconds.
    pub connect_delay_ns: u64,
    /// Wait between an answer and the next request, in nanoseconds.
    pub request_delay_ns: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Its data, as long as was asked for.
    Data(&'a [u8]),
    /// The device confirmed the write.
    Written,
    /// The device answered the write, but names another address or value than was written.
    Misconfirmed,
    /// An exception code (V1.1b3, 7).
    Exception(u8),
    /// No answer within the timeout.
    TimedOut {
        /// It was lost among pipelined requests of which others were answered: ask again, one at
        /// a time.
        burst: bool,
    },
    /// The connection went.
    Closed,
}

/// A set of unit ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitSet([u64; 4]);

impl UnitSet {
    /// Adds a unit.
    pub const fn insert(&mut self, unit: u8) {
        self.0[(unit >> 6) as usize] |= 1 << (unit & 63);
    }

    /// Whether every unit of `other` stands in this set.
    #[must_use]
    pub fn covers(&self, other: &UnitSet) -> bool {
        self.0.iter().zip(other.0).all(|(ours, theirs)| ours & theirs == theirs)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection; the next try is at this time.
    Waiting(u64),
    /// Being connected by the shell.
    Connecting,
    /// Connected, and waiting for this time before the first request.
    Settling(u64),
    /// Requests may go.
    Open,
}

/// What the right answer to a request looks like.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Data(ReadRequest),
    Echo(Echo),
}

impl Expected {
    const fn unit(&self) -> u8 {
        match self {
            Expected::Data(request) => request.unit,
            Expected::Echo(echo) => echo.unit(),
        }
    }

    fn check<'a>(&self, frame: &Adu<'a>) -> Result<Outcome<'a>, Mismatch> {
        Ok(match self {
            Expected::Data(request) => match codec::check(request, frame)? {
                Answer::Data(data) => Outcome::Data(data),
                Answer::Exception(code) => Outcome::Exception(code),
            },
            Expected::Echo(echo) => match echo.check(frame)? {
                Confirmed::Asked => Outcome::Written,
                Confirmed::Other => Outcome::Misconfirmed,
                Confirmed::Exception(code) => Outcome::Exception(code),
            },
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    transaction: u16,
    ticket: u64,
    expected: Expected,
    sent_ns: u64,
    deadline_ns: u64,
    burst: bool,
    suspect: bool,
}

#[derive(Clone, Copy, Debug)]
struct GivenUp {
    transaction: u16,
    unit: u8,
    until_ns: u64,
}

/// Where results go: the ticket of a request, when it was sent (nanoseconds), what became of it.
pub type Results<'a> = &'a mut dyn FnMut(u64, u64, Outcome<'_>);

/// One connection and what is under way on it.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    phase: Phase,
    splitter: Splitter,
    flights: Vec<Flight>,
    given_up: VecDeque<GivenUp>,
    next_transaction: u16,
    depth: Depth,
    /// What the depth said last.
    depth_now: u8,
    cost: Cost,
    outbox: Vec<u8>,
    quiet_until_ns: u64,
    backoff: Backoff,
    expected: UnitSet,
    silent: UnitSet,
    strikes: u32,
    struck_ns: u64,
    heard_ns: Option<u64>,
    unknown_in_row: u32,
    was_open: bool,
    loss: Option<Loss>,
    counters: Counters,
}

impl Session {
    /// A session that wants to connect at once. `seed` is the source of its jitter and of its
    /// first transaction id.
    #[must_use]
    pub fn new(settings: SessionSettings, seed: u64) -> Session {
        Session {
            settings,
            phase: Phase::Waiting(0),
            splitter: Splitter::default(),
            flights: Vec::new(),
            given_up: VecDeque::new(),
            next_transaction: seed as u16,
            depth: settings.depth,
            depth_now: settings.depth.now(0),
            cost: Cost::default(),
            outbox: Vec::with_capacity(OUTBOX_BYTES_MAX),
            quiet_until_ns: 0,
            backoff: Backoff::new(seed),
            expected: UnitSet::default(),
            silent: UnitSet::default(),
            strikes: 0,
            struck_ns: 0,
            heard_ns: None,
            unknown_in_row: 0,
            was_open: false,
            loss: None,
            counters: Counters::default(),
        }
    }

    /// The units that are polled now, of which silence is judged.
    pub const fn expect(&mut self, units: UnitSet) {
        self.expected = units;
    }

    /// Whether the shell should begin to connect; if so, it counts as begun.
    pub fn begin_connect(&mut self, now_ns: u64) -> bool {
        let begin = matches!(self.phase, Phase::Waiting(at) if at <= now_ns);
        if begin {
            self.phase = Phase::Connecting;
        }
        begin
    }

    /// The connection stands.
    pub fn on_connected(&mut self, now_ns: u64) {
        let until = now_ns.saturating_add(self.settings.connect_delay_ns);
        self.phase = if until > now_ns { Phase::Settling(until) } else { Phase::Open };
        self.depth.on_unrest(now_ns);
        if std::mem::replace(&mut self.was_open, true) {
            self.counters.add(Counter::Reconnects, 1);
        }
    }

    /// The connection is gone, or could not be made. Every request under way ends as
    /// [`Outcome::Closed`]; the next try follows after a back-off.
    pub fn on_lost(&mut self, now_ns: u64, loss: Loss, results: Results<'_>) {
        if matches!(loss, Loss::Connect(_)) {
            self.counters.add(Counter::ConnectFailures, 1);
        }
        if loss.is_protocol() {
            self.counters.add(Counter::BadFrames, 1);
            self.on_trouble(now_ns, Trouble::Protocol);
        } else if matches!(loss, Loss::ClosedByPeer | Loss::Io(_)) && self.flights.len() > 1 {
            self.on_trouble(now_ns, Trouble::Closed);
        }
        self.loss = Some(loss);
        self.phase = Phase::Waiting(now_ns.saturating_add(self.backoff.next_ns()));
        self.splitter.reset();
        self.outbox.clear();
        self.given_up.clear();
        self.silent = UnitSet::default();
        (self.strikes, self.unknown_in_row) = (0, 0);
        (self.heard_ns, self.quiet_until_ns) = (None, 0);
        for flight in self.flights.drain(..) {
            results(flight.ticket, flight.sent_ns, Outcome::Closed);
        }
    }

    /// Whether a request may be sent now.
    pub fn can_send(&mut self, now_ns: u64) -> bool {
        self.depth_now = self.depth.now(now_ns);
        self.phase == Phase::Open
            && now_ns >= self.quiet_until_ns
            && self.flights.len() < usize::from(self.depth_now)
            && self.outbox.len() < OUTBOX_BYTES_MAX
    }

    /// Sends a request; `ticket` comes back with its outcome. `suspect`: its unit did not answer
    /// lately, so that losing it says nothing about pipelining. False, and nothing sent, where
    /// [`Session::can_send`] is false.
    #[must_use]
    pub fn send(&mut self, now_ns: u64, ticket: u64, request: ReadRequest, suspect: bool) -> bool {
        let sent = self.begin(now_ns, ticket, Expected::Data(request), suspect);
        if let Some(transaction) = sent {
            self.outbox.extend_from_slice(&request.encode(transaction));
        }
        sent.is_some()
    }

    /// [`Session::send`] for a write.
    #[must_use]
    pub fn send_write(&mut self, now_ns: u64, ticket: u64, request: &WriteRequest, suspect: bool) -> bool {
        let sent = self.begin(now_ns, ticket, Expected::Echo(request.echo()), suspect);
        if let Some(transaction) = sent {
            request.encode(transaction, &mut self.outbox);
        }
        sent.is_some()
    }

    /// Counts a request as under way, and gives its transaction id.
    fn begin(&mut self, now_ns: u64, ticket: u64, expected: Expected, suspect: bool) -> Option<u16> {
        if !self.can_send(now_ns) {
            return None;
        }
        let transaction = self.transaction();
        let burst = !self.flights.is_empty();
        let trial = self.depth.trial();
        if self.depth.on_send(now_ns, !burst) {
            self.on_step(trial);
        }
        if burst {
            self.flights.iter_mut().for_each(|flight| flight.burst = true);
        }
        let deadline_ns = now_ns.saturating_add(self.settings.timeout_ns);
        self.flights.push(Flight { transaction, ticket, expected, sent_ns: now_ns, deadline_ns, burst, suspect });
        Some(transaction)
    }

    /// Bytes came.
    pub fn on_bytes(&mut self, now_ns: u64, bytes: &[u8], results: Results<'_>) {
        if !self.is_connected() {
            return;
        }
        self.counters.add(Counter::BytesIn, bytes.len() as u64);
        let mut splitter = std::mem::take(&mut self.splitter);
        let mut input = bytes;
        let lost = loop {
            match splitter.next_frame(&mut input) {
                Ok(None) => break None,
                Err(error) => break Some(Loss::Frame(error)),
                Ok(Some(frame)) => {
                    if let Err(loss) = self.on_frame(now_ns, &frame, results) {
                        break Some(loss);
                    }
                }
            }
        };
        self.splitter = splitter;
        if let Some(loss) = lost {
            self.on_lost(now_ns, loss, results);
        }
    }

    fn on_frame(&mut self, now_ns: u64, frame: &Adu<'_>, results: Results<'_>) -> Result<(), Loss> {
        let Some(at) = self.flights.iter().position(|flight| flight.transaction == frame.transaction) else {
            return self.on_stray(now_ns, frame);
        };
        let outcome = self.flights[at].expected.check(frame).map_err(Loss::Mismatch)?;
        let ahead = self.flights[..at].iter().any(|before| before.expected.unit() == frame.unit);
        let flight = self.flights.remove(at);
        if let Outcome::Data(data) = outcome {
            let since_ns = self.heard_ns.map_or(flight.sent_ns, |heard_ns| heard_ns.max(flight.sent_ns));
            self.cost.add(data.len(), now_ns.saturating_sub(since_ns));
        }
        self.on_depth(now_ns, flight.burst, ahead, outcome);
        self.heard(now_ns);
        self.heard_ns = Some(now_ns);
        self.backoff.reset();
        self.quiet_until_ns = now_ns.saturating_add(self.settings.request_delay_ns);
        self.counters.add(Counter::Answers, 1);
        if matches!(outcome, Outcome::Exception(_)) {
            self.counters.add(Counter::Exceptions, 1);
        }
        results(flight.ticket, flight.sent_ns, outcome);
        Ok(())
    }

    /// What an answer says of the depth; `ahead`: it came before that of an earlier request of its unit.
    fn on_depth(&mut self, now_ns: u64, burst: bool, ahead: bool, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Exception(0x06 | 0x0A | 0x0B) if burst => self.on_trouble(now_ns, Trouble::Busy),
            Outcome::Exception(_) => self.depth.on_unrest(now_ns),
            _ if ahead => self.on_trouble(now_ns, Trouble::OutOfOrder),
            _ => {}
        }
        let trial = self.depth.trial();
        if self.depth.on_answer(now_ns) {
            self.on_step(trial);
        }
    }

    /// Another depth holds: what a request costs depends on how many are under way. `before`: what was tried.
    fn on_step(&mut self, before: Option<u8>) {
        self.cost.forget();
        let trial = self.depth.trial();
        self.counters.add(Counter::DepthTrials, u64::from(trial.is_some() && trial != before));
    }

    /// An answer to nothing under way: late, unknown or doubled.
    fn on_stray(&mut self, now_ns: u64, frame: &Adu<'_>) -> Result<(), Loss> {
        let late = self.given_up.iter().position(|given_up| given_up.transaction == frame.transaction);
        if let Some(given_up) = late.and_then(|at| self.given_up.remove(at)) {
            self.counters.add(Counter::LateReplies, 1);
            if given_up.unit == frame.unit {
                self.heard(now_ns);
            }
            return Ok(());
        }
        self.counters.add(Counter::UnknownReplies, 1);
        self.unknown_in_row += 1;
        if self.unknown_in_row > UNKNOWN_MAX { Err(Loss::Flood) } else { Ok(()) }
    }

    /// Something that belongs to us was heard: the connection is not silent.
    fn heard(&mut self, now_ns: u64) {
        self.strikes = 0;
        self.struck_ns = now_ns;
        self.unknown_in_row = 0;
        self.silent = UnitSet::default();
    }

    /// Time went on: ends what is past its deadline.
    pub fn on_time(&mut self, now_ns: u64, results: Results<'_>) {
        if matches!(self.phase, Phase::Settling(until) if until <= now_ns) {
            self.phase = Phase::Open;
        }
        while self.given_up.front().is_some_and(|given_up| given_up.until_ns <= now_ns) {
            self.given_up.pop_front();
        }
        while let Some(at) = self.flights.iter().position(|flight| flight.deadline_ns <= now_ns) {
            let flight = self.flights.remove(at);
            let burst = self.give_up(now_ns, &flight);
            results(flight.ticket, flight.sent_ns, Outcome::TimedOut { burst });
        }
        if self.given_up.len() > GIVEN_UP_MAX {
            self.on_lost(now_ns, Loss::Unanswered, results);
        } else if self.is_silent() {
            self.on_lost(now_ns, Loss::Silent, results);
        }
    }

    /// Books a request without an answer; true where pipelining is to blame.
    fn give_up(&mut self, now_ns: u64, flight: &Flight) -> bool {
        self.counters.add(Counter::Timeouts, 1);
        let held_ns = GIVEN_UP_NS.max(self.settings.timeout_ns.saturating_mul(10));
        self.given_up.push_back(GivenUp {
            transaction: flight.transaction,
            unit: flight.expected.unit(),
            until_ns: now_ns.saturating_add(held_ns),
        });
        self.quiet_until_ns = self.quiet_until_ns.max(now_ns.saturating_add(self.settings.request_delay_ns));
        let others_answered = self.heard_ns.is_some_and(|heard| heard > flight.sent_ns);
        let burst = flight.burst && !flight.suspect;
        self.depth.on_unrest(now_ns);
        if burst && (others_answered || self.depth.trial().is_some()) {
            self.on_trouble(now_ns, Trouble::Lost);
        }
        if others_answered {
            return burst;
        }
        if self.strikes == 0 || flight.sent_ns >= self.struck_ns {
            self.strikes += 1;
            self.struck_ns = now_ns;
        }
        self.silent.insert(flight.expected.unit());
        false
    }

    fn is_silent(&self) -> bool {
        self.strikes >= STRIKES_MAX || (self.strikes >= 2 && self.silent.covers(&self.expected))
    }

    /// Pipelining may be to blame: fewer requests at once, where that is so.
    fn on_trouble(&mut self, now_ns: u64, trouble: Trouble) {
        if self.depth.on_trouble(now_ns, trouble) {
            self.depth_now = self.depth.now(now_ns);
            self.counters.add(Counter::DepthFallbacks, 1);
        }
    }

    /// Commands wait or are under way, or not any more (W3).
    pub fn hold_depth(&mut self, held: bool) {
        self.depth.hold(held);
    }

    /// What is known of the time that requests and bytes take.
    #[must_use]
    pub const fn cost(&self) -> &Cost {
        &self.cost
    }

    /// What is known of how many requests the device takes at once.
    #[must_use]
    pub const fn known_depth(&self) -> &Depth {
        &self.depth
    }

    /// The next id that is neither under way nor given up; both are far fewer than there are ids.
    fn transaction(&mut self) -> u16 {
        loop {
            let transaction = self.next_transaction;
            self.next_transaction = transaction.wrapping_add(1);
            let flying = self.flights.iter().any(|flight| flight.transaction == transaction);
            if !flying && !self.given_up.iter().any(|given_up| given_up.transaction == transaction) {
                return transaction;
            }
        }
    }

    /// When [`Session::on_time`], [`Session::begin_connect`] or [`Session::can_send`] next change
    /// by time alone.
    #[must_use]
    pub fn next_ns(&self, now_ns: u64) -> Option<u64> {
        let phase = match self.phase {
            Phase::Waiting(at) | Phase::Settling(at) => Some(at),
            Phase::Connecting | Phase::Open => None,
        };
        let quiet = Some(self.quiet_until_ns).filter(|until| *until > now_ns);
        let deadline = self.flights.iter().map(|flight| flight.deadline_ns).min();
        [phase, quiet, deadline].into_iter().flatten().min()
    }

    /// Whether the shell's connection is still wanted; if not, it closes it.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Settling(_) | Phase::Open)
    }

    /// Whether the connection has brought a right answer.
    #[must_use]
    pub const fn has_answered(&self) -> bool {
        self.heard_ns.is_some()
    }

    /// Why the last connection went, or could not be made.
    #[must_use]
    pub const fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// Bytes for the socket; the shell takes off what it wrote with [`Session::sent`].
    #[must_use]
    pub fn outbox(&self) -> &[u8] {
        &self.outbox
    }

    /// The shell wrote the first `bytes` of the outbox.
    pub fn sent(&mut self, bytes: usize) {
        let bytes = bytes.min(self.outbox.len());
        self.outbox.drain(..bytes);
        self.counters.add(Counter::BytesOut, bytes as u64);
    }

    /// Requests that may be under way at once, now.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth_now
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// What was counted.
    pub const fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }
}

/// Entry for a fuzz target: any bytes come while requests are under way. Panics where a request
/// does not end exactly once (T1), or where data is not as long as was asked for (T2).
pub fn fuzz_answers(bytes: &[u8]) {
    let settings =
        SessionSettings { timeout_ns: 1_000, depth: Depth::told(16), connect_delay_ns: 0, request_delay_ns: 0 };
    let mut session = Session::new(settings, 0);
    let connecting = session.begin_connect(0);
    assert!(connecting, "a new session wants to connect");
    session.on_connected(0);
    let request = |ticket: u64| codec::ReadRequest {
        unit: 1,
        function: codec::Function::ALL[ticket as usize % 4],
        address: 0,
        quantity: ticket as u16 + 1,
    };
    let write = |ticket: u64| WriteRequest { unit: 1, write: Write::Register { address: ticket as u16, word: 7 } };
    let is_read = |ticket: u64| ticket < 12;
    for ticket in 0..16 {
        let sent = if is_read(ticket) {
            session.send(0, ticket, request(ticket), false)
        } else {
            session.send_write(0, ticket, &write(ticket), false)
        };
        assert!(sent, "an open session takes its depth of requests");
    }
    let mut ends = [0_u8; 16];
    let mut end = |ticket: u64, _, outcome: Outcome<'_>| {
        ends[ticket as usize] += 1;
        match outcome {
            Outcome::Data(data) => {
                let asked = is_read(ticket).then(|| request(ticket).answer_bytes());
                assert_eq!(Some(data.len()), asked, "data of another length than was asked for");
            }
            Outcome::Written | Outcome::Misconfirmed => assert!(!is_read(ticket), "a read was confirmed as a write"),
            Outcome::Exception(_) | Outcome::TimedOut { .. } | Outcome::Closed => {}
        }
    };
    for part in bytes.chunks(7) {
        session.on_bytes(1, part, &mut end);
    }
    session.on_time(2_000, &mut end);
    session.on_lost(3_000, Loss::ClosedByPeer, &mut end);
    assert_eq!(ends, [1; 16], "every request ends exactly once");
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
