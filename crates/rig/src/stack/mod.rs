//! The whole way of native telemetry: producers, a network, sessions, the pass, the log, a disk.
//!
//! Purpose: hold the acknowledgement that a producer hears against what is stored, with every part
//! between in place and every part between failing: connections break anywhere, producers forget,
//! the server dies, the power fails, the disk refuses.
//!
//! Promises that are checked, beside those of the log alone
//! - Every acknowledged (producer, sequence) is stored once, unaltered, in order.
//! - S1: what the pass knows, running or recovered, is what the stored frames give (`model`).
//! - A number that a producer was told means the same for ever.
//! - Sent = stored + in gap records, duplicates counted (`ledger`).

mod ledger;
mod life;
mod model;
mod net;
mod producer;
pub mod sink;

use crate::system::Setup;
use crate::world::{Crowd, World};
use ::model::{GapReason, LogPosition, ProducerId, TagId, TimestampNs};
use env::Clock;
use env::disk::DiskError;
use ledger::Ledger;
use life::Life;
use net::SimNet;
use producer::Producer;
use sim::{Crash, Faults, Nth, SimClock, SimDisk, SimRandom};
use sink::{Seen, Site};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Duty cycles in which a healed system must become settled, or it hangs.
const SETTLE_STEPS_MAX: usize = 20_000;
/// Starts in a row that may fail because of faults that are shown to recovery.
const START_TRIES_MAX: usize = 8;

/// The system with its world.
pub struct Stack {
    life: Option<Life>,
    net: SimNet,
    clock: Rc<SimClock>,
    setup: Setup,
    sites: Vec<Site>,
    random: SimRandom,
    ledger: Ledger,
    producers: Vec<Producer>,
    /// Connections, producers and the pass behave.
    is_calm: bool,
    /// Until when the pass is made to look busy, monotonic ns.
    busy_until_ns: u64,
    met: BTreeMap<&'static str, u64>,
    /// Frames that gap records name as lost at the last look.
    lost: u64,
}

impl Stack {
    /// Adds what a life met to the counts.
    fn count(&mut self, seen: &Seen, pauses: u64) {
        let counts = [("duplicates", seen.duplicates), ("shed", seen.shed.len() as u64), ("pauses", pauses)];
        for (what, count) in counts {
            *self.met.entry(what).or_default() += count;
        }
    }

    fn life(&mut self) -> &mut Life {
        match &mut self.life {
            Some(life) => life,
            None => unreachable!("the server runs between calls of the scenario"),
        }
    }

    /// What goes wrong round the server.
    fn disturb(&mut self, now_ns: u64) {
        if self.is_calm {
            return self.life().set_busy(false);
        }
        for producer in &mut self.producers {
            match self.random.below(600) {
                0..4 => {
                    producer.drop_connection(&mut self.net, now_ns);
                    *self.met.entry("cuts").or_default() += 1;
                }
                4 => {
                    producer.restart(&mut self.net, now_ns);
                    *self.met.entry("restarts").or_default() += 1;
                }
                _ => {}
            }
        }
        if self.random.below(150) == 0 {
            self.busy_until_ns = now_ns + self.random.below(60_000_000);
        }
        let busy = now_ns < self.busy_until_ns;
        self.life().set_busy(busy);
    }

    /// Number of a producer's source in the log; the sites are opened in order on an empty log.
    fn source_of(&self, producer: ProducerId) -> u32 {
        let site = self.producers.iter().find(|known| known.id == producer).map(Producer::site);
        let at = self.sites.iter().position(|known| Some(known.name.as_str()) == site);
        at.map_or(u32::MAX, |at| at as u32)
    }

    /// Holds the running pass and what is readable against the ledger.
    fn check(&mut self, complete: bool) -> Result<(), String> {
        let seen = self.life().seen().clone();
        self.ledger.shed(&seen.shed);
        let tags: Vec<TagId> = self.ledger.names.kinds().map(|(tag, _)| tag).collect();
        let tag = tags.get(self.random.below(tags.len() as u64) as usize).copied();
        let limit = 1 + self.random.below(200) as usize;
        let life = self.life();
        life.check_counters()?;
        let (record, durable) = (life.read()?, life.is_durable());
        let recovered = life.recovered.end;
        let lost = record.gaps.iter().filter(|gap| gap.reason == GapReason::LostInTransit);
        let lost = lost.map(|gap| gap.count.unwrap_or(0)).sum();
        if let Some(tag) = tag {
            let disk = life.disk().copy();
            model::check_query(&life.pass(), &disk, &record, tag, limit)?;
        }
        let caught_up = life.pass().durable() >= recovered;
        if !caught_up {
            return Ok(()); // what recovery found is being logged again and not all readable yet
        }
        self.lost = lost;
        let source = |producer| self.source_of(producer);
        self.ledger.check(&record, source, durable, complete)?;
        if durable && let Some(life) = &self.life {
            let (marks, names) = (self.ledger.marks(), &self.ledger.names);
            model::check(life.pass().state(), &record, names, recovered, &marks)?;
        }
        Ok(())
    }

    fn start(&mut self, mut disk: SimDisk) -> Result<(), String> {
        disk.faults().delay_ns = (0, 2_000_000);
        for _ in 0..START_TRIES_MAX {
            let shown = disk.faults_shown();
            match Life::start(disk, self.clock.clone(), self.setup, &self.sites) {
                Ok((life, record)) => {
                    self.found(&life, &record)?;
                    self.life = Some(life);
                    return Ok(());
                }
                Err(failed) if failed.disk.faults_shown() > shown => {
                    // It refused because of a fault; an operator mends the disk and starts again.
                    disk = failed.disk.crash(Crash::Kill);
                    disk.faults().delay_ns = (0, 2_000_000);
                }
                Err(failed) => return Err(format!("does not start: {}", failed.why)),
            }
        }
        Err(format!("does not start in {START_TRIES_MAX} tries"))
    }

    /// Holds what recovery found against the ledger, and the state that it made against that.
    fn found(&self, life: &Life, record: &model::Record) -> Result<(), String> {
        if let Some(fence) = life.recovered.rot.first() {
            return Err(format!("recovery reports damage where there is none: {fence}"));
        }
        let after = |why: String| format!("after recovery: {why}");
        self.ledger.check(record, |producer| self.source_of(producer), false, false).map_err(after)?;
        let (pass, end, marks) = (life.pass(), LogPosition(u64::MAX), self.ledger.marks());
        model::check(pass.state(), record, &self.ledger.names, end, &marks).map_err(after)
    }

    /// Runs without new frames until everything is acknowledged and durable. `flush`: each producer
    /// without acknowledgements sends one more first, which makes its losses known.
    fn settle(&mut self, flush: bool) -> Result<(), String> {
        self.is_calm = true;
        let delay_ns = self.disk().faults().delay_ns;
        *self.disk().faults() = Faults { delay_ns, ..Faults::default() };
        let mut flushed = !flush;
        let mut quiet = 0;
        for _ in 0..SETTLE_STEPS_MAX {
            self.step(5_000_000, 0)?;
            let up = self.producers.iter().all(Producer::is_up);
            if up && !flushed {
                flushed = true;
                let wall = self.clock.wall();
                for producer in self.producers.iter_mut().filter(|producer| producer.per_frame() > 0) {
                    producer.produce(&mut self.ledger, wall, true)?;
                }
                continue;
            }
            let idle = self.producers.iter().all(|producer| producer.is_idle(&self.ledger));
            quiet = if flushed && idle && self.life().is_durable() { quiet + 1 } else { 0 };
            // What is on its way, and gaps that wait for the log, need a few cycles.
            if quiet > 20 {
                self.is_calm = false;
                return Ok(());
            }
        }
        Err(format!("hangs: not everything is durable {SETTLE_STEPS_MAX} duty cycles after the disk was healed"))
    }
}

impl World for Stack {
    fn new(seed: u64, setup: Setup, crowd: Crowd) -> Result<Self, String> {
        let mut random = SimRandom::new(seed ^ 0x57AC_C000);
        let clock = Rc::new(SimClock::new(TimestampNs(1_790_000_000_000_000_000)));
        let disk = SimDisk::new(random.fork());
        let net = SimNet::new(clock.clone(), random.fork());
        let site = |name: String| Site { path: format!("site/{name}"), name };
        let names = ["rig-a".to_owned(), "rig-b".to_owned()];
        let sites: Vec<Site> =
            names.into_iter().chain((0..crowd.loose).map(|i| format!("loose-{i}"))).map(site).collect();
        let mut ledger = Ledger::default();
        let mut producers = Vec::new();
        for index in 0..crowd.durable + crowd.loose {
            let acks = index < crowd.durable;
            let site = if acks { index % 2 } else { 2 + index - crowd.durable };
            let id = ProducerId(index as u64 + 1);
            let producer = Producer::new(id, sites[site].clone(), acks, crowd.values_max, random.fork());
            ledger.join(id, acks, producer.per_frame());
            producers.push(producer);
        }
        let (life, is_calm, busy_until_ns, met) = (None, false, 0, BTreeMap::new());
        let mut stack =
            Stack { life, net, clock, setup, sites, random, ledger, producers, is_calm, busy_until_ns, met, lost: 0 };
        stack.start(disk)?;
        Ok(stack)
    }

    fn clock(&self) -> &SimClock {
        &self.clock
    }

    fn disk(&mut self) -> &mut SimDisk {
        self.life().disk()
    }

    fn step(&mut self, ns: u64, send_ppm: u32) -> Result<(), String> {
        self.clock.advance(ns);
        let (now_ns, wall) = (self.clock.monotonic_ns(), self.clock.wall());
        self.disturb(now_ns);
        for producer in &mut self.producers {
            if self.random.ppm(send_ppm) {
                for _ in 0..=self.random.below(3) {
                    producer.produce(&mut self.ledger, wall, false)?;
                }
            }
            producer.step(&mut self.net, &mut self.ledger, now_ns)?;
        }
        let budget = 1 + self.random.below(32) as usize;
        if let Some(life) = &mut self.life {
            life.step(&mut self.net, budget);
        }
        Ok(())
    }

    fn query(&mut self) -> Result<(), String> {
        self.check(false).map_err(|why| format!("in a query: {why}"))
    }

    fn crash(&mut self, crash: Crash, interrupted: u64) -> Result<(), String> {
        let Some(life) = self.life.take() else { return Ok(()) };
        self.ledger.shed(&life.seen().shed);
        self.count(&life.seen().clone(), life.pauses());
        let now_ns = self.clock.monotonic_ns();
        let mut disk = life.crash(crash);
        for producer in &mut self.producers {
            producer.drop_connection(&mut self.net, now_ns);
        }
        self.net.reset();
        for _ in 0..interrupted {
            let at = disk.changes() + 1 + self.random.below(3);
            let error = DiskError::Failed("simulated I/O error".to_owned());
            disk.faults().nth = Some(Nth { at, sticky: true, error });
            disk = match Life::start(disk, self.clock.clone(), self.setup, &self.sites) {
                Ok((life, record)) => {
                    self.found(&life, &record)?;
                    life.crash(Crash::Power)
                }
                Err(failed) => failed.disk.crash(if self.random.coin() { Crash::Power } else { Crash::Kill }),
            };
        }
        disk.faults().nth = None;
        self.start(disk)
    }

    fn close(&mut self) -> Result<(), String> {
        let delay_ns = self.disk().faults().delay_ns;
        *self.disk().faults() = Faults { delay_ns, ..Faults::default() };
        self.life().close();
        for _ in 0..SETTLE_STEPS_MAX {
            self.step(1_000_000, 0)?;
            if self.life().is_closed() {
                return Ok(());
            }
        }
        Err(format!("hangs: not closed after {SETTLE_STEPS_MAX} duty cycles"))
    }

    fn finish(&mut self) -> Result<(), String> {
        self.settle(true)?;
        self.check(true).map_err(|why| format!("at the end: {why}"))?;
        self.crash(Crash::Power, 0)?;
        self.settle(false)?;
        self.check(true).map_err(|why| format!("at the end, once more: {why}"))?;
        self.close()
    }

    fn frames(&self) -> u64 {
        self.ledger.frames
    }

    fn met(&self) -> BTreeMap<&'static str, u64> {
        let mut met = self.met.clone();
        met.insert("lost in transit", self.lost);
        met
    }
}
