//! Commands to the units of one source: what waits, what is under way, what becomes of it.
//!
//! Purpose: turn a command into requests, give the next one to send, and answer the command from
//! their outcomes. Writes go before reads; both go before polls ([`crate::poller`] sees to that).
//!
//! Invariants
//! - K1: every command taken is answered exactly once: by its outcome, its deadline, or the loss
//!   of the connection. What was sent and not answered is told from what was not sent.
//! - K2: the writes of one command are under way at a time, each other tag's; none is ever sent again
//!   but where the device did nothing by its own word: where it does not know the function (01),
//!   the one for several or for single values is tried instead, and where it refuses a row of tags
//!   by their addresses or values (02, 03, which V1.1b3 6.11 and 6.12 check before writing), each
//!   tag is written by itself.
//! - K3: at most [`HELD_MAX`] commands are held.
//! - K4: a unit that is only probed gets no command, and one that did not answer lately gets it
//!   only when nothing else of it is under way. One that does not answer a write gets no other of
//!   that command.
//! - K5: of a command that writes several tags nothing is sent where one of them cannot be written.
//!
//! It does not send, and does not judge who may command what.

use crate::codec::ReadRequest;
use crate::decode::bit_at;
use crate::encode;
use crate::exception::Failure;
use crate::gather::{Most, Part as Row, gather};
use crate::plan::{Block, Limits, Point, plan, split};
use crate::session::Outcome;
use crate::tagbook::TagBook;
use crate::unit::Unit;
use crate::write::{Write, WriteRequest};
use crate::writes::{Writes, exception};
use config::ModbusSource;
use model::device::{DeviceAnswer, DeviceCommand, DeviceError, Pending, READ_TAGS_MAX, Reply, WRITE_TAGS_MAX};
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
    Write(Writes),
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
#[derive(Debug)]
struct Flight {
    number: u32,
    job: u32,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Read(Part),
    Write(Row),
}

/// What a unit does not know.
#[derive(Clone, Copy, Debug, Default)]
struct Lacks {
    /// Writing one coil, one register.
    coil: bool,
    register: bool,
    /// Writing several.
    coils: bool,
    registers: bool,
}

/// What becomes of a command.
type Answered = Result<DeviceAnswer, DeviceError>;

/// The commands of one source.
#[derive(Debug)]
pub(crate) struct Desk {
    book: TagBook,
    limits: Limits,
    jobs: VecDeque<Job>,
    flights: Vec<Flight>,
    next: u32,
    lacks: Vec<Lacks>,
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
            lacks: vec![Lacks::default(); settings.units.len()],
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
        let work = if self.has_room() { self.work(command, units) } else { Err(Err(DeviceError::Busy)) };
        match work {
            Err(outcome) => self.answer(reply, outcome),
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
        let is_done = match &outcome {
            Ok(DeviceAnswer::Each { outcomes, .. }) => outcomes.iter().all(Result::is_ok),
            other => other.is_ok(),
        };
        let slot = if is_done { &mut self.done } else { &mut self.failed };
        *slot = slot.saturating_add(1);
        reply.answer(outcome);
    }

    /// What is to be done for a command.
    ///
    /// # Errors
    /// The command's outcome, where nothing is to be sent.
    fn work(&self, command: DeviceCommand, units: &[Unit]) -> Result<Work, Answered> {
        match command {
            DeviceCommand::Read { tags } => self.read(tags, units).map(Work::Read).map_err(Err),
            DeviceCommand::Write { tag, value } => {
                let (unit, write) = self.write(&tag, &value, units).map_err(Err)?;
                Ok(Work::Write(Writes::new(false, 1, VecDeque::from([Row::one(unit, 0, write)]))))
            }
            DeviceCommand::WriteEach { writes, dry } => self.write_each(&writes, dry, units).map(Work::Write),
            DeviceCommand::Call { .. } => Err(Err(DeviceError::Unsupported {
                what: "a Modbus device has no methods; write a tag that starts what should happen".into(),
            })),
        }
    }

    /// The unit (by index) that a tag is of, and the write that makes it hold a value.
    fn write(&self, tag: &str, value: &Value, units: &[Unit]) -> Result<(usize, Write), DeviceError> {
        let (unit, point) = self.book.find(tag, units)?;
        let write = encode::write(&point, value).map_err(|unfit| refusal(tag.to_owned(), value, unfit))?;
        let lacks = self.lacks.get(unit).copied().unwrap_or_default();
        let several = match write {
            Write::Coil { .. } => lacks.coil,
            Write::Register { .. } => lacks.register,
            _ => false,
        };
        Ok((unit, several.then(|| write.as_several()).flatten().unwrap_or(write)))
    }

    /// Several writes as requests, or what is wrong with them: with one of them nothing is sent (K5).
    fn write_each(&self, writes: &[(String, Value)], dry: bool, units: &[Unit]) -> Result<Writes, Answered> {
        if writes.len() > WRITE_TAGS_MAX {
            let what = format!(
                "{} tags are more than one write may have, {WRITE_TAGS_MAX}; write them in parts",
                writes.len()
            );
            return Err(Err(DeviceError::Unsupported { what }));
        }
        let (mut fit, mut outcomes) = (Vec::with_capacity(writes.len()), Vec::with_capacity(writes.len()));
        for (tag, value) in writes {
            let found = self.write(tag, value, units).and_then(|(unit, write)| {
                match units.get(unit).filter(|unit| unit.demotion.is_demoted()) {
                    Some(away) => Err(only_probed(away)),
                    None => Ok((unit, write)),
                }
            });
            outcomes.push(found.map(|found| fit.push(found)));
        }
        let rows = if fit.len() == writes.len() { self.gather(fit, writes, &mut outcomes) } else { None };
        match rows {
            Some(rows) if !dry && !rows.is_empty() => Ok(Writes::new(true, writes.len(), rows)),
            _ => Err(Ok(DeviceAnswer::Each { sent: false, outcomes })),
        }
    }

    /// The requests of several writes; `None`, and the outcomes say so, where two of them touch the same.
    fn gather(
        &self,
        fit: Vec<(usize, Write)>,
        writes: &[(String, Value)],
        outcomes: &mut [Result<(), DeviceError>],
    ) -> Option<VecDeque<Row>> {
        let most = |unit: usize| {
            let lacks = self.lacks.get(unit).copied().unwrap_or_default();
            let Most { coils, registers } = Most::of(self.limits.bits, self.limits.registers);
            Most { coils: if lacks.coils { 1 } else { coils }, registers: if lacks.registers { 1 } else { registers } }
        };
        let (one, other) = match gather(fit, most) {
            Ok(rows) => return Some(rows),
            Err(places) => places,
        };
        for (at, with) in [(one, other), (other, one)] {
            let what = format!(
                "tags {:?} and {:?} lie in the same registers, so which of them is written last would count; write                  them in calls of their own",
                writes[at].0, writes[with].0
            );
            outcomes[at] = Err(DeviceError::Unsupported { what });
        }
        None
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
        while let Some(job) = self.jobs.get_mut(at) {
            let sent = job.work.is_under_way();
            let end = if job.reply.is_unwanted() && !sent {
                Some(DeviceError::Closed)
            } else if job.deadline_ns <= now_ns {
                Some(DeviceError::Timeout { sent: job.reply.is_sent() })
            } else {
                job.work.give_up_demoted(units)
            };
            match end {
                None => at += 1,
                Some(error) => self.end(at, error),
            }
        }
    }

    /// Ends a command of which what was not sent, and not told yet, is to end so.
    fn end(&mut self, at: usize, error: DeviceError) {
        if let Some(job) = self.jobs.remove(at) {
            let outcome = match job.work {
                Work::Write(mut writes) => writes.take_outcome(error),
                Work::Read(_) => Err(error),
            };
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
        self.next_write(takes, units).or_else(|| self.next_read(takes, units))
    }

    fn next_write(&mut self, takes: impl Fn(usize) -> bool, units: &[Unit]) -> Option<(usize, u32, Ask)> {
        let busy = self.flights.iter().find(|flight| matches!(flight.asked, Asked::Write(_))).map(|flight| flight.job);
        let number = self.number();
        for job in &mut self.jobs {
            let Work::Write(writes) = &mut job.work else { continue };
            if busy.is_some_and(|busy| busy != job.number) {
                continue;
            }
            let Some(row) = writes.begin(&takes) else { continue };
            job.reply.mark_sent();
            let request = WriteRequest { unit: units.get(row.unit)?.number, write: row.write.clone() };
            let unit = row.unit;
            self.flights.push(Flight { number, job: job.number, asked: Asked::Write(row) });
            return Some((unit, number, Ask::Write(request)));
        }
        None
    }

    fn next_read(&mut self, takes: impl Fn(usize) -> bool, units: &[Unit]) -> Option<(usize, u32, Ask)> {
        let number = self.number();
        for job in &mut self.jobs {
            let Work::Read(reads) = &mut job.work else { continue };
            let Some((unit, part)) = reads.begin(&takes) else { continue };
            job.reply.mark_sent();
            self.flights.push(Flight { number, job: job.number, asked: Asked::Read(part) });
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
        if let Asked::Write(row) = &flight.asked {
            self.learn(row, outcome);
        }
        let Some(at) = self.jobs.iter().position(|job| job.number == flight.job) else { return };
        let Some(job) = self.jobs.get_mut(at) else { return };
        let end = match (&mut job.work, flight.asked) {
            (Work::Read(reads), Asked::Read(part)) => reads.on_outcome(part, outcome),
            (Work::Write(writes), Asked::Write(row)) => {
                writes.on_outcome(row, outcome);
                if !writes.sent {
                    job.reply.mark_unsent();
                }
                writes.is_done().then(|| writes.take_outcome(DeviceError::Closed))
            }
            _ => None,
        };
        if let Some(outcome) = end
            && let Some(job) = self.jobs.remove(at)
        {
            self.answer(job.reply, outcome);
        }
    }

    /// Keeps that a unit does not know a function.
    fn learn(&mut self, row: &Row, outcome: Outcome<'_>) {
        let Some(lacks) = self.lacks.get_mut(row.unit).filter(|_| matches!(outcome, Outcome::Exception(0x01))) else {
            return;
        };
        match row.write {
            Write::Coil { .. } => lacks.coil = true,
            Write::Register { .. } => lacks.register = true,
            Write::Coils { .. } => lacks.coils = true,
            Write::Registers { .. } => lacks.registers = true,
            Write::Mask { .. } => {}
        }
    }

    /// The connection went, after the outcomes of what was under way were told: nothing can go.
    pub(crate) fn on_lost(&mut self, why: &str) {
        self.flights.clear();
        while !self.jobs.is_empty() {
            self.end(0, DeviceError::NotConnected { why: why.to_owned() });
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
            Work::Write(writes) => writes.under_way > 0,
            Work::Read(reads) => reads.under_way > 0,
        }
    }

    /// Gives up what is for units that are only probed; with what the command ends, where that was all of it.
    fn give_up_demoted(&mut self, units: &[Unit]) -> Option<DeviceError> {
        let away = |unit: usize| units.get(unit).filter(|unit| unit.demotion.is_demoted()).map(only_probed);
        match self {
            Work::Write(writes) => {
                writes.give_up(away);
                writes.is_done().then_some(DeviceError::Closed)
            }
            Work::Read(reads) if reads.under_way > 0 => None,
            Work::Read(reads) => {
                reads.waiting.front().and_then(|part| reads.plans.get(part.plan)).and_then(|plan| away(plan.0))
            }
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

fn only_probed(unit: &Unit) -> DeviceError {
    DeviceError::NotConnected {
        why: format!("{} does not answer and is only probed; check its power and wiring", unit.title()),
    }
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
