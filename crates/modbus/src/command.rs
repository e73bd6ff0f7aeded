//! Commands to the units of one source: what waits, what is under way, what becomes of it.
//!
//! Purpose: turn a command into requests, give the next one to send, and answer the command from
//! their outcomes. Writes go before reads; both go before polls ([`crate::poller`] sees to that).
//!
//! Invariants
//! - K1: every command taken is answered exactly once: by its outcome, its deadline, or the loss
//!   of the connection. What was sent and not answered is told from what was not sent.
//! - K2: one write is under way at a time, and none is ever sent again: only where a device says
//!   that it does not know the function (01) is the function for several values tried instead.
//! - K3: at most [`HELD_MAX`] commands are held.
//! - K4: a unit that is only probed gets no command, and one that did not answer lately gets it
//!   only when nothing else of it is under way.
//!
//! It does not send, and does not judge who may command what.

use crate::codec::ReadRequest;
use crate::decode::bit_at;
use crate::encode;
use crate::exception::{Failure, command_exception};
use crate::plan::{Block, Limits, Point, plan, split};
use crate::session::Outcome;
use crate::tagbook::TagBook;
use crate::unit::Unit;
use crate::write::{Write, WriteRequest};
use config::ModbusSource;
use model::device::{DeviceAnswer, DeviceCommand, DeviceError, Pending, READ_TAGS_MAX, Reply};
use model::{Quality, Value};
use std::collections::VecDeque;

/// Commands that are held here, at most; more wait in their queue.
pub(crate) const HELD_MAX: usize = 64;

/// A request to send for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Read(ReadRequest),
    Write(WriteRequest),
}

/// One command that was taken.
#[derive(Debug)]
struct Job {
    number: u32,
    reply: Reply,
    deadline_ns: u64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Write { unit: usize, request: WriteRequest, under_way: bool },
    Read(Reads),
}

/// A read of several tags, as requests over the units that have them.
#[derive(Debug)]
struct Reads {
    names: Vec<String>,
    values: Vec<(Option<Value>, Quality)>,
    /// The points of each unit that is read; a point's `tag` is its place in the answer.
    plans: Vec<(usize, Vec<Point>)>,
    waiting: VecDeque<Part>,
    under_way: usize,
    answered: bool,
    refused: Option<u8>,
}

/// One request of a read.
#[derive(Clone, Copy, Debug)]
struct Part {
    plan: usize,
    block: Block,
    again: bool,
}

/// A request under way, and whose it is. The command may be answered already, by its deadline.
#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u32,
    job: u32,
    part: Option<Part>,
}

/// The commands of one source.
#[derive(Debug)]
pub(crate) struct Desk {
    book: TagBook,
    limits: Limits,
    jobs: VecDeque<Job>,
    flights: Vec<Flight>,
    next: u32,
    /// By unit: whether it lacks the function for one coil, for one register.
    lacks: Vec<(bool, bool)>,
    done: u64,
    failed: u64,
}

impl Desk {
    pub(crate) fn new(settings: &ModbusSource) -> Desk {
        Desk {
            book: TagBook::new(settings),
            // No register is read along that was not asked for: it may be one that the device refuses.
            limits: Limits { gap: 0, registers: settings.max_registers, bits: settings.max_bits },
            jobs: VecDeque::new(),
            flights: Vec::new(),
            next: 0,
            lacks: vec![(false, false); settings.units.len()],
            done: 0,
            failed: 0,
        }
    }

    /// Whether another command can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.jobs.len() < HELD_MAX
    }

    /// Commands carried out and failed since this was last asked.
    pub(crate) fn drain_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.done), std::mem::take(&mut self.failed))
    }

    /// Takes a command, or answers it at once.
    pub(crate) fn take(&mut self, pending: Pending, units: &[Unit]) {
        let Pending { command, deadline_ns, reply } = pending;
        let work = if self.has_room() { self.work(command, units) } else { Err(DeviceError::Busy) };
        match work {
            Err(error) => self.answer(reply, Err(error)),
            Ok(Work::Read(reads)) if reads.waiting.is_empty() => {
                let outcome = reads.outcome();
                self.answer(reply, outcome);
            }
            Ok(work) => {
                let number = self.number();
                self.jobs.push_back(Job { number, reply, deadline_ns, work });
            }
        }
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn answer(&mut self, reply: Reply, outcome: Result<DeviceAnswer, DeviceError>) {
        let slot = if outcome.is_ok() { &mut self.done } else { &mut self.failed };
        *slot = slot.saturating_add(1);
        reply.answer(outcome);
    }

    fn work(&self, command: DeviceCommand, units: &[Unit]) -> Result<Work, DeviceError> {
        match command {
            DeviceCommand::Read { tags } => self.read(tags, units).map(Work::Read),
            DeviceCommand::Write { tag, value } => {
                let (unit, point) = self.book.find(&tag, units)?;
                let mut write = encode::write(&point, &value).map_err(|unfit| refusal(tag, &value, unfit))?;
                let (coils, registers) = self.lacks.get(unit).copied().unwrap_or_default();
                if (coils && matches!(write, Write::Coil { .. }))
                    || (registers && matches!(write, Write::Register { .. }))
                {
                    write = write.as_several().unwrap_or(write);
                }
                let number = units.get(unit).map_or(0, |unit| unit.number);
                Ok(Work::Write { unit, request: WriteRequest { unit: number, write }, under_way: false })
            }
            DeviceCommand::Call { .. } => Err(DeviceError::Unsupported {
                what: "a Modbus device has no methods; write a tag that starts what should happen".into(),
            }),
        }
    }

    fn read(&self, tags: Vec<String>, units: &[Unit]) -> Result<Reads, DeviceError> {
        if tags.len() > READ_TAGS_MAX {
            let what =
                format!("{} tags are more than one read may have, {READ_TAGS_MAX}; read them in parts", tags.len());
            return Err(DeviceError::Unsupported { what });
        }
        let mut by_unit: Vec<(usize, Vec<Point>)> = Vec::new();
        for (tag, place) in tags.iter().zip(0..) {
            let (unit, point) = self.book.find(tag, units)?;
            let point = Point { tag: place, ..point };
            match by_unit.iter_mut().find(|(known, _)| *known == unit) {
                Some((_, points)) => points.push(point),
                None => by_unit.push((unit, vec![point])),
            }
        }
        let mut reads = Reads {
            values: vec![(None, Failure::Unreadable.quality()); tags.len()],
            names: tags,
            plans: Vec::with_capacity(by_unit.len()),
            waiting: VecDeque::new(),
            under_way: 0,
            answered: false,
            refused: None,
        };
        for (unit, points) in by_unit {
            let planned = plan(points, &self.limits);
            let index = reads.plans.len();
            reads.waiting.extend(planned.blocks.iter().map(|block| Part { plan: index, block: *block, again: false }));
            reads.plans.push((unit, planned.points));
        }
        Ok(reads)
    }

    /// Ends what nobody waits for, what is past its deadline, and what cannot be sent.
    pub(crate) fn sweep(&mut self, now_ns: u64, units: &[Unit]) {
        let mut at = 0;
        while let Some(job) = self.jobs.get(at) {
            let sent = job.work.is_under_way();
            let away = (!sent).then(|| job.work.first_unit().and_then(|unit| units.get(unit))).flatten();
            let end = if job.reply.is_unwanted() && !sent {
                Some(DeviceError::Closed)
            } else if job.deadline_ns <= now_ns {
                Some(DeviceError::Timeout { sent: job.reply.is_sent() })
            } else {
                away.filter(|unit| unit.demotion.is_demoted()).map(|unit| DeviceError::NotConnected {
                    why: format!("{} does not answer and is only probed; check its power and wiring", unit.title()),
                })
            };
            match end {
                None => at += 1,
                Some(error) => self.end(at, Err(error)),
            }
        }
    }

    fn end(&mut self, at: usize, outcome: Result<DeviceAnswer, DeviceError>) {
        if let Some(job) = self.jobs.remove(at) {
            self.answer(job.reply, outcome);
        }
    }

    /// When [`Desk::sweep`] next has something to do by time.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.jobs.iter().map(|job| job.deadline_ns).min()
    }

    /// The next request that can go: its unit, its number, what is asked. It counts as sent.
    pub(crate) fn next(&mut self, now_ns: u64, units: &[Unit]) -> Option<(usize, u32, Ask)> {
        let takes = |unit: usize| units.get(unit).is_some_and(|unit| unit.takes(now_ns));
        self.next_write(takes).or_else(|| self.next_read(takes, units))
    }

    fn next_write(&mut self, takes: impl Fn(usize) -> bool) -> Option<(usize, u32, Ask)> {
        if self.flights.iter().any(|flight| flight.part.is_none()) {
            return None;
        }
        let number = self.number();
        for job in &mut self.jobs {
            if let Work::Write { unit, request, under_way } = &mut job.work
                && takes(*unit)
            {
                *under_way = true;
                job.reply.mark_sent();
                self.flights.push(Flight { number, job: job.number, part: None });
                return Some((*unit, number, Ask::Write(request.clone())));
            }
        }
        None
    }

    fn next_read(&mut self, takes: impl Fn(usize) -> bool, units: &[Unit]) -> Option<(usize, u32, Ask)> {
        let number = self.number();
        for job in &mut self.jobs {
            let Work::Read(reads) = &mut job.work else { continue };
            let Some((unit, part)) = reads.begin(&takes) else { continue };
            job.reply.mark_sent();
            self.flights.push(Flight { number, job: job.number, part: Some(part) });
            let Block { function, address, quantity, .. } = part.block;
            let read = ReadRequest { unit: units.get(unit)?.number, function, address, quantity };
            return Some((unit, number, Ask::Read(read)));
        }
        None
    }

    /// A request ended.
    pub(crate) fn on_outcome(&mut self, number: u32, outcome: Outcome<'_>) {
        let Some(at) = self.flights.iter().position(|flight| flight.number == number) else { return };
        let flight = self.flights.swap_remove(at);
        let Some(at) = self.jobs.iter().position(|job| job.number == flight.job) else { return };
        let Some(job) = self.jobs.get_mut(at) else { return };
        let end = match (&mut job.work, flight.part) {
            (Work::Read(reads), Some(part)) => reads.on_outcome(part, outcome),
            (Work::Write { unit, request, under_way }, _) => {
                *under_way = false;
                let several = matches!(outcome, Outcome::Exception(0x01)).then(|| request.write.as_several()).flatten();
                match several {
                    Some(several) => {
                        // The device does not know the function, so it did nothing.
                        if let Some((coils, registers)) = self.lacks.get_mut(*unit) {
                            *coils |= matches!(request.write, Write::Coil { .. });
                            *registers |= matches!(request.write, Write::Register { .. });
                        }
                        request.write = several;
                        job.reply.mark_unsent();
                        None
                    }
                    None => Some(written(&request.write, outcome)),
                }
            }
            (Work::Read(_), None) => None,
        };
        if let Some(outcome) = end {
            self.end(at, outcome);
        }
    }

    /// The connection went, after the outcomes of what was under way were told: nothing can go.
    pub(crate) fn on_lost(&mut self, why: &str) {
        self.flights.clear();
        while !self.jobs.is_empty() {
            self.end(0, Err(DeviceError::NotConnected { why: why.to_owned() }));
        }
    }

    /// Answers a command that cannot be taken for want of a connection.
    pub(crate) fn refuse(&mut self, pending: Pending, why: String) {
        self.answer(pending.reply, Err(DeviceError::NotConnected { why }));
    }
}

impl Work {
    const fn is_under_way(&self) -> bool {
        match self {
            Work::Write { under_way, .. } => *under_way,
            Work::Read(reads) => reads.under_way > 0,
        }
    }

    /// The unit that its next request goes to.
    fn first_unit(&self) -> Option<usize> {
        match self {
            Work::Write { unit, .. } => Some(*unit),
            Work::Read(reads) => reads.waiting.front().and_then(|part| reads.plans.get(part.plan)).map(|plan| plan.0),
        }
    }
}

impl Reads {
    /// The next part that its unit takes.
    fn begin(&mut self, takes: impl Fn(usize) -> bool) -> Option<(usize, Part)> {
        let unit = |part: &Part| self.plans.get(part.plan).map(|plan| plan.0);
        let at = self.waiting.iter().position(|part| unit(part).is_some_and(&takes))?;
        let part = self.waiting.remove(at)?;
        self.under_way += 1;
        Some((self.plans.get(part.plan)?.0, part))
    }

    /// A part ended; the answer of the whole, once it is known.
    fn on_outcome(&mut self, part: Part, outcome: Outcome<'_>) -> Option<Result<DeviceAnswer, DeviceError>> {
        self.under_way = self.under_way.saturating_sub(1);
        let points = self.plans.get(part.plan).map_or(&[][..], |plan| plan.1.as_slice());
        match outcome {
            Outcome::Data(data) => {
                self.answered = true;
                for point in part.block.points(points) {
                    if let Some(slot) = self.values.get_mut(point.tag as usize) {
                        *slot = value(&part.block, point, data);
                    }
                }
            }
            Outcome::Exception(code) => {
                let parts = if matches!(code, 0x02 | 0x03) { split(&part.block, points) } else { None };
                if let Some((head, tail)) = parts {
                    self.waiting.push_front(Part { block: tail, ..part });
                    self.waiting.push_front(Part { block: head, ..part });
                    return None;
                }
                self.refused.get_or_insert(code);
                for point in part.block.points(points) {
                    if let Some(slot) = self.values.get_mut(point.tag as usize) {
                        *slot = (None, Failure::Exception(code).quality());
                    }
                }
            }
            Outcome::TimedOut { burst: true } if !part.again => {
                self.waiting.push_front(Part { again: true, ..part });
                return None;
            }
            Outcome::TimedOut { .. } => return Some(Err(DeviceError::Timeout { sent: true })),
            Outcome::Closed | Outcome::Written | Outcome::Misconfirmed => {
                return Some(Err(DeviceError::NotConnected {
                    why: "the connection went before the answer came".into(),
                }));
            }
        }
        (self.waiting.is_empty() && self.under_way == 0).then(|| self.outcome())
    }

    /// The values; where the device refused all, its refusal.
    fn outcome(&self) -> Result<DeviceAnswer, DeviceError> {
        if let (false, Some(code)) = (self.answered, self.refused) {
            return Err(exception(code));
        }
        let values = self.names.iter().zip(&self.values);
        Ok(DeviceAnswer::Values(
            values.map(|(name, (value, quality))| (name.clone(), value.clone(), *quality)).collect(),
        ))
    }
}

/// A point's value in the answer to its block, read as a poll reads it.
fn value(block: &Block, point: &Point, data: &[u8]) -> (Option<Value>, Quality) {
    let offset = usize::from(point.address.saturating_sub(block.address));
    if block.function.is_bits() {
        return bit_at(data, offset).map_or((None, Quality::BAD_DECODING), |on| point.spec.bit(on));
    }
    let bytes = data.get(offset * 2..).unwrap_or_default();
    if !point.spec.is_text() {
        return point.spec.registers(bytes);
    }
    let (mut scratch, mut text) = (Vec::new(), String::new());
    point.spec.text(bytes.get(..usize::from(point.span) * 2).unwrap_or(bytes), &mut scratch, &mut text);
    (Some(Value::Text(text.into())), Quality::GOOD)
}

/// What became of a write.
fn written(write: &Write, outcome: Outcome<'_>) -> Result<DeviceAnswer, DeviceError> {
    Err(match outcome {
        Outcome::Written => return Ok(DeviceAnswer::Written),
        Outcome::Exception(0x01) if matches!(write, Write::Mask { .. }) => DeviceError::Unsupported {
            what: "the device has no mask write (function 22), without which one bit of a register cannot be written \
                   and its neighbours left alone; let the device offer a coil, or a register of its own for it"
                .into(),
        },
        Outcome::Exception(code) => exception(code),
        Outcome::Misconfirmed => DeviceError::InDoubt {
            why: "the device confirmed another address or value than was written; check the device or gateway".into(),
        },
        Outcome::TimedOut { .. } => DeviceError::Timeout { sent: true },
        Outcome::Closed | Outcome::Data(_) => {
            DeviceError::InDoubt { why: "the connection went before the answer came".into() }
        }
    })
}

fn exception(code: u8) -> DeviceError {
    DeviceError::Device { code: format!("{code:02X}"), text: command_exception(code).into() }
}

fn refusal(tag: String, value: &Value, unfit: encode::Unfit) -> DeviceError {
    match unfit {
        encode::Unfit::NotWritable(why) => DeviceError::NotWritable { tag, why: why.into() },
        encode::Unfit::Kind { expected } => {
            DeviceError::WrongKind { what: format!("tag {tag:?}"), expected: expected.into(), got: value.kind() }
        }
        encode::Unfit::Range { fits } => {
            DeviceError::OutOfRange { what: format!("tag {tag:?}"), value: value.to_string(), fits }
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
