//! A whole Modbus source as a state machine: its connection, its units, their cycles.
//!
//! Purpose: choose what is sent next, and lead every outcome to the unit that it concerns. It says
//! what it has to say through [`model::Intake`], and is driven with bytes and moments by a shell
//! ([`crate::source`]) or a test.
//!
//! Invariants
//! - R1: units take turns request by request, so none waits for another's whole cycle.
//! - R2: what one unit does or fails to do ends no other unit's request; only a broken connection
//!   ends all.
//! - R3: every due poll is begun, or counted as skipped or failed.
//! - R4: a source runs by its answers, not by its socket: without a right answer it is never
//!   `Running`.
//! - R5: a command's request goes before every poll that waits, but after [`COMMANDS_IN_ROW_MAX`]
//!   of them one poll goes, so that commands delay polls and never stop them.
//! - R6: an answer lets the next requests go before its values are decoded ([`Poller::publish`]), and
//!   what it brought is published, or joins the readings that wait for their cycle, before other bytes
//!   are looked at and before the loss of the connection is told.
//!
//! It opens no socket and reads no clock.

use crate::codec::ReadRequest;
use crate::command::{Ask, Desk};
use crate::cost::is_other;
use crate::counters::{Counter, Counters};
use crate::depth::Depth;
use crate::exception::Failure;
use crate::gaps::Moment;
use crate::health;
use crate::lane::Lane;
use crate::layout::{Group, groups, ns};
use crate::loss::Loss;
use crate::outlet::Out;
use crate::plan::Block;
use crate::schedule::{Demotion, Timing, Turn};
use crate::session::{Outcome, Session, SessionSettings, UnitSet};
use crate::unit::{COMMAND, Ended, PROBE, Unit};
use config::ModbusSource;
use model::device::Pending;
use model::{Intake, Reading, SourceId, SourceState, TagId};

/// How often counts are handed over, in nanoseconds: 0.5 s.
const COUNT_EVERY_NS: u64 = 500_000_000;
/// Requests of commands in a row while polls wait; then one poll goes.
pub const COMMANDS_IN_ROW_MAX: u32 = 8;
/// Most units of one source: there are no more unit ids.
const UNITS_MAX: usize = 255;

/// A request under way, as a number: unit index, lane index, request index.
#[derive(Clone, Copy)]
struct Ticket {
    unit: u8,
    lane: u32,
    request: u32,
}

impl Ticket {
    fn number(self) -> u64 {
        u64::from(self.unit) << 56 | u64::from(self.lane & PROBE) << 32 | u64::from(self.request)
    }

    fn of(number: u64) -> Ticket {
        Ticket { unit: (number >> 56) as u8, lane: (number >> 32) as u32 & PROBE, request: number as u32 }
    }
}

/// Everything of a source but its connection.
#[derive(Debug)]
pub(crate) struct Polls {
    desk: Desk,
    pub(crate) address: String,
    pub(crate) timeout_ns: u64,
    pub(crate) units: Vec<Unit>,
    pub(crate) groups: Vec<Group>,
    pub(crate) refused: Vec<String>,
    refused_tags: Vec<u32>,
    refused_told: bool,
    source: SourceId,
    seed: u64,
    turn: usize,
    started: bool,
    changed: bool,
    counters: Counters,
    counted_ns: u64,
    text: (Vec<u8>, String),
    state: Option<SourceState>,
    /// Unit and lane of answers that are not published.
    unpublished: Vec<(u8, u32)>,
}

/// A Modbus source.
#[derive(Debug)]
pub struct Poller {
    session: Session,
    polls: Polls,
    commands_in_row: u32,
    figures: Figures,
    /// When the requests may be planned anew; `None`: the configuration gives the gap.
    replan_at_ns: Option<u64>,
}

/// Figures as they were said last, by name.
type Figures = [(&'static str, u64); 6];

/// Shortest time between two plans, in nanoseconds: one minute. The first may follow after a tenth of it.
const REPLAN_EVERY_NS: u64 = 60_000_000_000;

/// The depth that is told, or is to be found out. A device that wants rest after each answer gets one
/// request at a time.
fn depth(settings: &ModbusSource) -> Depth {
    match settings.depth {
        Some(depth) => Depth::told(depth),
        None if settings.request_delay.is_zero() => Depth::found(settings.depth_max),
        None => Depth::told(1),
    }
}

impl Poller {
    /// A source that wants to connect at once. `ids` are those of [`crate::layout::declarations`],
    /// in its order; `seed` spreads phases, back-off and transaction ids.
    #[must_use]
    pub fn new(settings: &ModbusSource, source: SourceId, ids: &[TagId], seed: u64) -> Poller {
        let (groups, refused_tags) = groups(settings);
        let per_unit = settings.tags.len().max(1);
        let first_ns = ns(settings.demote_for);
        // A unit that is alone steals no time from others: its probes need not grow rare.
        let max_ns = if settings.units.len() > 1 { ns(settings.demote_max) } else { first_ns };
        let demotion = Demotion::new(settings.demote_after, first_ns, max_ns);
        let chunks = ids.chunks(per_unit);
        let units = settings
            .units
            .iter()
            .take(UNITS_MAX)
            .zip(chunks)
            .map(|(unit, ids)| Unit::new(unit, ids, settings, demotion));
        let session = SessionSettings {
            timeout_ns: ns(settings.timeout),
            depth: depth(settings),
            connect_delay_ns: ns(settings.connect_delay),
            request_delay_ns: ns(settings.request_delay),
        };
        let name = |index: &u32| settings.tags.get(*index as usize).map(|tag| format!("{} ({})", tag.name, tag.at));
        let mut poller = Poller {
            session: Session::new(session, seed),
            commands_in_row: 0,
            figures: Figures::default(),
            replan_at_ns: settings.coalesce_gap.is_none().then_some(0),
            polls: Polls {
                desk: Desk::new(settings),
                address: settings.address.to_string(),
                timeout_ns: session.timeout_ns,
                units: units.collect(),
                groups,
                refused: refused_tags.iter().filter_map(name).collect(),
                refused_told: refused_tags.is_empty(),
                refused_tags,
                source,
                seed,
                turn: 0,
                started: false,
                changed: true,
                counters: Counters::default(),
                counted_ns: 0,
                text: (Vec::new(), String::new()),
                state: None,
                unpublished: Vec::new(),
            },
        };
        poller.expect();
        poller
    }

    /// Whether the shell should begin to connect; if so, it counts as begun.
    pub fn begin_connect(&mut self, now: Moment) -> bool {
        self.session.begin_connect(now.mono_ns)
    }

    /// The connection stands.
    pub fn on_connected(&mut self, now: Moment, intake: &dyn Intake) {
        self.session.on_connected(now.mono_ns);
        let restart = self.polls.started;
        self.polls.start(now);
        self.polls.changed = true;
        for unit in &mut self.polls.units {
            unit.demotion.on_connected(now.mono_ns);
            if restart {
                unit.lanes.iter_mut().for_each(|lane| lane.timing.early(now.mono_ns));
            }
        }
        self.on_time(now, intake);
    }

    /// The connection is gone, or could not be made.
    pub fn on_lost(&mut self, now: Moment, loss: Loss, intake: &dyn Intake) {
        let polls = &mut self.polls;
        self.session.on_lost(now.mono_ns, loss, &mut |ticket, sent, outcome| {
            polls.on_outcome(ticket, sent, outcome, now, intake);
        });
        self.after(now, true, intake);
    }

    /// Bytes came. The requests that may go now are in the outbox; when they are written,
    /// [`Poller::publish`] is to be called, so that the device works meanwhile.
    pub fn on_bytes(&mut self, now: Moment, bytes: &[u8], intake: &dyn Intake) {
        self.publish(now, intake);
        let before = self.session.is_connected();
        let answered = self.session.has_answered();
        let polls = &mut self.polls;
        self.session.on_bytes(now.mono_ns, bytes, &mut |ticket, sent, outcome| {
            polls.on_outcome(ticket, sent, outcome, now, intake);
        });
        self.polls.changed |= self.session.has_answered() != answered;
        self.after(now, before && !self.session.is_connected(), intake);
    }

    /// Decodes the answers that came, and hands on what they complete. True where there were any.
    pub fn publish(&mut self, now: Moment, intake: &dyn Intake) -> bool {
        self.polls.publish(now, intake)
    }

    /// Time went on: ends what is late, begins what is due, says what is to be said.
    pub fn on_time(&mut self, now: Moment, intake: &dyn Intake) {
        let before = self.session.is_connected();
        let polls = &mut self.polls;
        self.session.on_time(now.mono_ns, &mut |ticket, sent, outcome| {
            polls.on_outcome(ticket, sent, outcome, now, intake);
        });
        let lost = before && !self.session.is_connected();
        self.polls.on_time(now, self.session.is_connected(), intake);
        self.after(now, lost, intake);
    }

    /// Whether another command can be taken; more wait in their queue.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.polls.desk.has_room()
    }

    /// A command came. It is carried out, or answered at once with why not.
    pub fn on_command(&mut self, now: Moment, pending: Pending, intake: &dyn Intake) {
        if self.session.is_connected() {
            self.polls.desk.take(pending, &self.polls.units);
        } else {
            let why = self.why_away();
            self.polls.desk.refuse(pending, why);
        }
        self.after(now, false, intake);
    }

    /// Why there is no connection, with the address.
    fn why_away(&self) -> String {
        match self.session.loss() {
            Some(loss) => format!("{}: {loss}", self.polls.address),
            None => format!("{} is being connected to; try again in a moment", self.polls.address),
        }
    }

    /// What follows every event: a lost connection's consequences, new requests, state, counts.
    fn after(&mut self, now: Moment, lost: bool, intake: &dyn Intake) {
        if lost {
            self.publish(now, intake);
            let all = matches!(self.session.loss(), Some(Loss::Connect(_) | Loss::Silent));
            self.polls.start(now);
            self.polls.on_lost(now, all, intake);
            let why = self.why_away();
            self.polls.desk.on_lost(&why);
        }
        self.polls.desk.sweep(now.mono_ns, &self.polls.units);
        if self.polls.changed {
            self.expect();
        }
        self.session.hold_depth(self.polls.desk.next_ns().is_some());
        while self.session.can_send(now.mono_ns) {
            let poll_first = self.commands_in_row >= COMMANDS_IN_ROW_MAX;
            let sent = (poll_first && self.send_poll(now)) || self.send_command(now) || self.send_poll(now);
            if !sent {
                break;
            }
        }
        if std::mem::take(&mut self.polls.changed) {
            let state = health::state(&self.session, &self.polls);
            if self.polls.state.as_ref() != Some(&state) {
                self.polls.state = Some(state.clone());
                intake.state(self.polls.source, state);
            }
        }
        if now.mono_ns.saturating_sub(self.polls.counted_ns) >= COUNT_EVERY_NS {
            self.count(now, intake);
        }
    }

    fn send_poll(&mut self, now: Moment) -> bool {
        let Some((ticket, request, suspect)) = self.polls.next_request(now.mono_ns) else { return false };
        let sent = self.session.send(now.mono_ns, ticket, request, suspect);
        debug_assert!(sent, "the session said that it can send");
        self.session.counters().add(Counter::Polls, 1);
        self.commands_in_row = 0;
        true
    }

    fn send_command(&mut self, now: Moment) -> bool {
        let Some((ticket, ask, suspect)) = self.polls.next_command(now.mono_ns) else { return false };
        let sent = match ask {
            Ask::Read(request) => self.session.send(now.mono_ns, ticket, request, suspect),
            Ask::Write(request) => self.session.send_write(now.mono_ns, ticket, &request, suspect),
        };
        debug_assert!(sent, "the session said that it can send");
        self.session.counters().add(Counter::CommandRequests, 1);
        self.commands_in_row += 1;
        true
    }

    /// Plans the requests anew where what was measured says that another gap is worth reading along.
    fn replan(&mut self, now: Moment) {
        let Some(at_ns) = self.replan_at_ns.as_mut().filter(|at_ns| **at_ns <= now.mono_ns) else { return };
        if *at_ns == 0 {
            *at_ns = now.mono_ns.saturating_add(REPLAN_EVERY_NS / 10);
            return;
        }
        let gap = self.polls.groups.first().map_or(0, |group| group.limits.gap);
        let Some(wanted) = self.session.cost().gap().filter(|wanted| is_other(gap, *wanted)) else { return };
        *at_ns = now.mono_ns.saturating_add(REPLAN_EVERY_NS);
        self.polls.groups.iter_mut().for_each(|group| group.replan(wanted));
        self.polls.units.iter_mut().flat_map(|unit| &mut unit.lanes).for_each(Lane::replan);
        self.polls.counters.add(Counter::Replans, 1);
    }

    fn count(&mut self, now: Moment, intake: &dyn Intake) {
        self.replan(now);
        let source = self.polls.source;
        let (done, failed) = self.polls.desk.drain_counts();
        self.polls.counters.add(Counter::CommandsDone, done);
        self.polls.counters.add(Counter::CommandsFailed, failed);
        self.polls.counted_ns = now.mono_ns;
        self.session.counters().drain(|name, count| intake.count(source, name, count));
        self.polls.counters.drain(|name, count| intake.count(source, name, count));
        let (depth, costs) = (self.session.known_depth(), self.session.cost().costs());
        let figures = [
            ("depth", u64::from(depth.proven())),
            ("depth_tried", depth.trial().map_or(0, u64::from)),
            ("depth_barred", depth.barred().map_or(0, u64::from)),
            ("request_us", costs.map_or(0, |costs| (costs.request_ns / 1e3).round() as u64)),
            ("register_ns", costs.map_or(0, |costs| (costs.byte_ns * 2.0).round() as u64)),
            ("coalesce_gap", self.polls.groups.first().map_or(0, |group| u64::from(group.limits.gap))),
        ];
        if self.figures != figures {
            self.figures = figures;
            figures.iter().for_each(|(name, value)| intake.figure(source, name, *value));
        }
    }

    /// Tells the session of which units silence is judged: those that are polled, or all.
    fn expect(&mut self) {
        let polled = self.polls.units.iter().filter(|unit| !unit.demotion.is_demoted());
        let mut units = UnitSet::default();
        polled.for_each(|unit| units.insert(unit.number));
        if units == UnitSet::default() {
            self.polls.units.iter().for_each(|unit| units.insert(unit.number));
        }
        self.session.expect(units);
    }

    /// Says everything that is unsaid; for the end.
    pub fn finish(&mut self, now: Moment, intake: &dyn Intake) {
        let Polls { units, groups, counters, text, source, .. } = &mut self.polls;
        let mut out = Out { intake, source: *source, now, counters, text };
        for unit in units {
            for (lane, group) in unit.lanes.iter_mut().zip(groups.iter()) {
                lane.finish(group, &mut unit.tags, &mut out);
            }
        }
        self.count(now, intake);
    }

    /// When [`Poller::on_time`] or [`Poller::begin_connect`] next has something to do.
    #[must_use]
    pub fn next_ns(&self, now: Moment) -> u64 {
        let connected = self.session.is_connected();
        let count = self.polls.counted_ns.saturating_add(COUNT_EVERY_NS.saturating_mul(4));
        let session = self.session.next_ns(now.mono_ns).unwrap_or(u64::MAX);
        self.polls.next_ns(now.mono_ns, connected).min(session).min(count)
    }

    /// Whether the shell's connection is still wanted; if not, it closes it.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// Bytes for the socket.
    #[must_use]
    pub fn outbox(&self) -> &[u8] {
        self.session.outbox()
    }

    /// The shell wrote the first `bytes` of the outbox.
    pub fn sent(&mut self, bytes: usize) {
        self.session.sent(bytes);
    }

    /// The connection; for tests and diagnosis.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }
}

impl Polls {
    /// Begins the schedule, once: at the first connection, or when it could not be made.
    fn start(&mut self, now: Moment) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let total = (self.units.len() * self.groups.len()).max(1) as u64;
        let mut index = 0_u64;
        for unit in &mut self.units {
            for group in &self.groups {
                let spread = (u128::from(group.every_ns) * u128::from(index) / u128::from(total)) as u64;
                let phase = (self.seed % group.every_ns.max(1)).saturating_add(spread);
                index += 1;
                unit.lanes.push(Lane::new(group, &unit.tags, Timing::new(now.mono_ns, group.every_ns, phase)));
            }
        }
    }

    fn on_time(&mut self, now: Moment, connected: bool, intake: &dyn Intake) {
        if !self.refused_told {
            self.tell_refused(now, intake);
        }
        let Polls { units, groups, counters, text, source, .. } = self;
        let mut out = Out { intake, source: *source, now, counters, text };
        for unit in units {
            let off = if !connected {
                Some(Failure::NotConnected)
            } else {
                unit.demotion.is_demoted().then_some(Failure::Demoted)
            };
            for (lane, group) in unit.lanes.iter_mut().zip(groups.iter()) {
                lane.on_time(group, &mut unit.tags, &mut out);
                match (lane.timing.turn(now.mono_ns, lane.active || off.is_some()), off) {
                    (Turn::NotYet, _) => {}
                    (Turn::Begin { missed }, _) => lane.begin(missed, group, &mut unit.tags, &mut out),
                    (Turn::Skip { missed }, Some(failure)) if !lane.active => {
                        lane.miss(missed, failure, group, &mut unit.tags, &mut out);
                    }
                    (Turn::Skip { missed }, _) => lane.skip(missed, &mut out),
                }
            }
        }
    }

    /// Tells the tags that no request can read that they are bad.
    fn tell_refused(&mut self, now: Moment, intake: &dyn Intake) {
        let quality = Failure::Unreadable.quality();
        let bad = |tag: &TagId| Reading { tag: *tag, source_time: None, value: None, quality };
        let readings: Vec<Reading> = self
            .units
            .iter()
            .flat_map(|unit| self.refused_tags.iter().filter_map(|tag| unit.tags.ids.get(*tag as usize)))
            .map(bad)
            .collect();
        self.refused_told = intake.submit(self.source, now.wall, &readings).is_ok();
    }

    /// The connection went: nothing of any cycle can be answered. `all`: tell every tag now; else
    /// each when its next poll is missed.
    fn on_lost(&mut self, now: Moment, all: bool, intake: &dyn Intake) {
        self.changed = true;
        let Polls { units, groups, counters, text, source, .. } = self;
        let mut out = Out { intake, source: *source, now, counters, text };
        for unit in units {
            unit.on_lost();
            for (lane, group) in unit.lanes.iter_mut().zip(groups.iter()) {
                lane.abandon(Failure::NotConnected, group, &mut unit.tags, &mut out);
                if all {
                    lane.tell_all(Failure::NotConnected, group, &mut unit.tags, &mut out);
                }
            }
        }
    }

    /// The next request to send: units in turn, of each the fastest cycle first.
    fn next_request(&mut self, now_ns: u64) -> Option<(u64, ReadRequest, bool)> {
        let count = self.units.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(unit) = self.units.get_mut(index) else { continue };
            let next = unit.next_request(now_ns, &self.groups);
            if let Some((lane, request, block)) = next {
                self.turn = index + 1;
                let ticket = Ticket { unit: index as u8, lane, request };
                let Block { function, address, quantity, .. } = block;
                let read = ReadRequest { unit: unit.number, function, address, quantity };
                return Some((ticket.number(), read, unit.demotion.is_suspect()));
            }
        }
        None
    }

    /// The next request of a command.
    fn next_command(&mut self, now_ns: u64) -> Option<(u64, Ask, bool)> {
        let (index, number, ask) = self.desk.next(now_ns, &self.units)?;
        let unit = self.units.get_mut(index)?;
        unit.begin_command();
        let ticket = Ticket { unit: index as u8, lane: COMMAND, request: number };
        Some((ticket.number(), ask, unit.demotion.is_suspect()))
    }

    fn publish(&mut self, now: Moment, intake: &dyn Intake) -> bool {
        let Polls { units, groups, counters, text, source, unpublished, .. } = self;
        let mut out = Out { intake, source: *source, now, counters, text };
        let any = !unpublished.is_empty();
        for (unit, lane) in unpublished.drain(..) {
            let Some(unit) = units.get_mut(usize::from(unit)) else { continue };
            if let (Some(lane), Some(group)) = (unit.lanes.get_mut(lane as usize), groups.get(lane as usize)) {
                lane.publish(group, &mut unit.tags, &mut out);
            }
        }
        any
    }

    fn on_outcome(&mut self, ticket: u64, sent_ns: u64, outcome: Outcome<'_>, now: Moment, intake: &dyn Intake) {
        let Ticket { unit, lane, request } = Ticket::of(ticket);
        if matches!(outcome, Outcome::Data(_)) && lane < COMMAND && self.unpublished.last() != Some(&(unit, lane)) {
            self.unpublished.push((unit, lane));
        }
        let Polls { units, groups, counters, text, source, .. } = self;
        let mut out = Out { intake, source: *source, now, counters, text };
        if let Some(unit) = units.get_mut(usize::from(unit)) {
            let end = Ended { lane, request, sent_ns, outcome };
            self.changed |= unit.on_outcome(&end, groups, &mut out);
        }
        if lane == COMMAND {
            self.desk.on_outcome(request, outcome);
        }
    }

    fn next_ns(&self, now_ns: u64, connected: bool) -> u64 {
        let commands = self.desk.next_ns();
        self.units.iter().map(|unit| unit.next_ns(now_ns, connected)).chain(commands).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[path = "poller_tests.rs"]
mod tests;
