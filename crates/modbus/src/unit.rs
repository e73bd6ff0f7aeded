//! One unit behind the address: its cycles, its demotion, its turn.
//!
//! Purpose: give the next request of the unit, and lead each outcome to the cycle that it belongs
//! to.
//!
//! Invariants
//! - U1: a unit that did not answer its last request has one request under way at most.
//! - U2: a demoted unit has no cycle under way but for answers that were asked for before.

use crate::counters::Counter;
use crate::exception::Failure;
use crate::lane::Lane;
use crate::layout::Group;
use crate::outlet::{Out, Tags};
use crate::plan::Block;
use crate::schedule::Demotion;
use crate::session::Outcome;
use config::{ModbusSource, ModbusUnit};
use model::TagId;

/// Stands for the lane in the ticket of a probe.
pub(crate) const PROBE: u32 = 0xFF_FFFF;
/// Stands for the lane in the ticket of a command's request.
pub(crate) const COMMAND: u32 = 0xFF_FFFE;
/// First wait before a busy device is asked again, in nanoseconds: 100 ms; it doubles.
const BUSY_NS: u64 = 100_000_000;

/// One unit behind the address.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) number: u8,
    pub(crate) name: Option<String>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) demotion: Demotion,
    pub(crate) tags: Tags,
    busy_retries: u8,
    demote_after: u8,
    busy_until_ns: u64,
    struck_ns: u64,
    in_flight: u32,
    probing: bool,
    probes: usize,
}

/// A request of this unit that ended.
pub(crate) struct Ended<'a> {
    pub(crate) lane: u32,
    pub(crate) request: u32,
    pub(crate) sent_ns: u64,
    pub(crate) outcome: Outcome<'a>,
}

impl Unit {
    pub(crate) fn new(unit: &ModbusUnit, ids: &[TagId], settings: &ModbusSource, demotion: Demotion) -> Unit {
        Unit {
            number: unit.unit_id,
            name: unit.name.clone(),
            lanes: Vec::new(),
            demotion,
            tags: Tags::new(ids),
            busy_retries: settings.busy_retries,
            demote_after: settings.demote_after,
            busy_until_ns: 0,
            struck_ns: 0,
            in_flight: 0,
            probing: false,
            probes: 0,
        }
    }

    /// The connection went, and with it everything under way.
    pub(crate) const fn on_lost(&mut self) {
        (self.in_flight, self.probing) = (0, false);
    }

    /// A request ended. True where that changed how the source is.
    pub(crate) fn on_outcome(&mut self, end: &Ended<'_>, groups: &[Group], out: &mut Out<'_>) -> bool {
        let now_ns = out.now.mono_ns;
        self.in_flight = self.in_flight.saturating_sub(1);
        let silent = match end.outcome {
            Outcome::TimedOut { burst } => !burst,
            Outcome::Exception(code) => Failure::Exception(code).is_gateway(),
            Outcome::Data(_) | Outcome::Written | Outcome::Misconfirmed | Outcome::Closed => false,
        };
        let answered = !silent && !matches!(end.outcome, Outcome::TimedOut { .. } | Outcome::Closed);
        let mut changed = answered && self.demotion.on_answer();
        if changed {
            self.lanes.iter_mut().for_each(|lane| lane.forgive(now_ns));
        }
        match end.lane {
            PROBE => self.probing = false,
            COMMAND => {} // the desk hears of it
            _ => changed |= self.lead(end, groups, out),
        }
        // Requests of one burst that are lost together are one timeout of the unit.
        if silent && end.sent_ns >= self.struck_ns {
            self.struck_ns = now_ns.max(1);
            if self.demotion.on_timeout(now_ns) {
                changed = true;
                out.counters.add(Counter::Demotions, 1);
                for (lane, group) in self.lanes.iter_mut().zip(groups) {
                    lane.abandon(Failure::Demoted, group, &mut self.tags, out);
                    lane.tell_all(Failure::Demoted, group, &mut self.tags, out);
                }
            }
        }
        changed
    }

    /// Leads an outcome to its cycle.
    fn lead(&mut self, end: &Ended<'_>, groups: &[Group], out: &mut Out<'_>) -> bool {
        let (index, at) = (end.lane as usize, end.request);
        let (Some(lane), Some(group)) = (self.lanes.get_mut(index), groups.get(index)) else { return false };
        let tags = &mut self.tags;
        // A demoted unit sends nothing but probes, so nothing of it is sent again.
        let again = !self.demotion.is_demoted();
        let failure = match end.outcome {
            Outcome::Data(data) => return lane.on_data(at, data, group, tags, out),
            Outcome::Written | Outcome::Misconfirmed => return false, // only commands write
            Outcome::Closed => return lane.on_failure(at, Failure::NotConnected, group, tags, out),
            Outcome::TimedOut { burst: true } if again && lane.retry(at, 1).is_some() => return false,
            Outcome::TimedOut { .. } => Failure::Timeout,
            Outcome::Exception(code) => Failure::Exception(code),
        };
        if failure == Failure::Timeout || failure.is_gateway() {
            return lane.on_timeout(at, self.demote_after, failure, group, tags, out);
        }
        if again && matches!(failure, Failure::Exception(0x02 | 0x03)) && lane.split(at, group, tags, out) {
            return true;
        }
        if again
            && failure == Failure::Exception(0x06)
            && let Some(tries) = lane.retry(at, self.busy_retries)
        {
            let wait_ns = BUSY_NS << tries.saturating_sub(1).min(10);
            self.busy_until_ns = out.now.mono_ns.saturating_add(wait_ns);
            return false;
        }
        lane.on_failure(at, failure, group, tags, out)
    }

    /// When its next request is due by time alone. What is due already goes with the next request
    /// that the session can take.
    pub(crate) fn next_ns(&self, now_ns: u64, connected: bool) -> u64 {
        let idle = connected && !self.demotion.is_demoted();
        let lanes = self.lanes.iter().map(|lane| lane.next_ns(idle)).min().unwrap_or(u64::MAX);
        let probe = self.demotion.probe_at_ns().filter(|at| connected && !self.probing && *at > now_ns);
        let busy = Some(self.busy_until_ns).filter(|until| *until > now_ns);
        [probe, busy].into_iter().flatten().fold(lanes, u64::min)
    }

    /// Whether a request of a poll or command may go to it now (U1).
    pub(crate) const fn takes(&self, now_ns: u64) -> bool {
        !self.demotion.is_demoted()
            && self.busy_until_ns <= now_ns
            && !(self.demotion.is_suspect() && self.in_flight > 0)
    }

    /// A command's request goes to it.
    pub(crate) const fn begin_command(&mut self) {
        self.in_flight += 1;
    }

    /// Its next request, as lane, request and what is read; counted as under way.
    pub(crate) fn next_request(&mut self, now_ns: u64, groups: &[Group]) -> Option<(u32, u32, Block)> {
        if let Some(probe_at) = self.demotion.probe_at_ns() {
            if self.probing || probe_at > now_ns {
                return None;
            }
            // Another tag each time, lest a single one that is never answered stands for the unit.
            let count: usize = groups.iter().map(|group| group.plan.blocks.len()).sum();
            let blocks = groups.iter().flat_map(|group| group.plan.blocks.iter().map(move |block| (group, block)));
            let (group, block) = blocks.cycle().nth(self.probes % count.max(1)).filter(|_| count > 0)?;
            let point = block.points(&group.plan.points).first()?;
            self.probes = self.probes.wrapping_add(1);
            self.probing = true;
            self.in_flight += 1;
            let block = Block { address: point.address, quantity: point.span, count: 1, ..*block };
            return Some((PROBE, 0, block));
        }
        if !self.takes(now_ns) {
            return None;
        }
        for (lane, index) in self.lanes.iter_mut().zip(0..) {
            let Some(at) = lane.queue.pop_front() else { continue };
            let Some(request) = lane.requests.get(at as usize) else { continue };
            lane.in_flight += 1;
            self.in_flight += 1;
            return Some((index, at, request.block));
        }
        None
    }

    /// What it is called in words: `meter3 (unit 3)`.
    pub(crate) fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} (unit {})", self.number),
            None => format!("unit {}", self.number),
        }
    }
}
