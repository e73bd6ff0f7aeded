//! Producers, clock and oracle round one system: the part that every scenario shares.

use crate::oracle::Oracle;
use crate::system::{Offer, Sent, Setup, System};
use env::clock::Random;
use env::disk::DiskError;
use frame::{Builder, Samples, Scan, StoredSample};
use model::{ProducerId, Sequence, TimestampNs};
use sim::{Crash, Nth, SimClock, SimDisk, SimRandom};
use std::rc::Rc;

/// Duty cycles in which a healed system must become settled, or it hangs.
const SETTLE_STEPS_MAX: usize = 20_000;
/// Starts in a row that may fail because of faults that are shown to recovery.
const START_TRIES_MAX: usize = 8;

/// A producer that keeps what it sent until it is acknowledged, or forgets at once.
#[derive(Debug)]
struct Producer {
    id: ProducerId,
    acks: bool,
    sent: Vec<Sent>,
    /// Index of the next frame to offer.
    cursor: usize,
    connected: bool,
}

/// A system with its world.
pub struct Driver<S: System> {
    system: Option<S>,
    clock: Rc<SimClock>,
    setup: Setup,
    /// Chooses everything but the disk's own behaviour.
    pub random: SimRandom,
    oracle: Oracle,
    producers: Vec<Producer>,
    builder: Builder,
    acknowledged: Vec<(ProducerId, Sequence)>,
    /// Largest number of values of a frame.
    values_max: u64,
    /// Starts of the system.
    pub starts: u64,
}

impl<S: System> Driver<S> {
    /// A fresh system on an empty disk, `durable` producers with acknowledgements and `loose`
    /// without.
    ///
    /// # Errors
    /// It does not start.
    pub fn new(seed: u64, setup: Setup, durable: usize, loose: usize, values_max: u64) -> Result<Driver<S>, String> {
        let mut random = SimRandom::new(seed);
        let clock = Rc::new(SimClock::new(TimestampNs(1_790_000_000_000_000_000)));
        let disk = SimDisk::new(random.fork());
        let producers = (0..durable + loose).map(|index| Producer {
            id: ProducerId(index as u64 + 1),
            acks: index < durable,
            sent: Vec::new(),
            cursor: 0,
            connected: false,
        });
        let mut driver = Driver {
            system: None,
            clock,
            setup,
            random,
            oracle: Oracle::default(),
            producers: producers.collect(),
            builder: Builder::new(),
            acknowledged: Vec::new(),
            values_max,
            starts: 0,
        };
        driver.start(disk)?;
        Ok(driver)
    }

    /// The clocks.
    #[must_use]
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// The system.
    ///
    /// # Panics
    /// Never between calls: a system that does not start ends the run.
    pub fn system(&mut self) -> &mut S {
        match &mut self.system {
            Some(system) => system,
            None => unreachable!("the system runs between calls of the driver"),
        }
    }

    /// The oracle.
    #[must_use]
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Time passes, producers send with a chance of `send_ppm` each, the system has a duty cycle.
    ///
    /// # Errors
    /// A broken promise.
    pub fn step(&mut self, ns: u64, send_ppm: u32) -> Result<(), String> {
        self.clock.advance(ns);
        for index in 0..self.producers.len() {
            self.connect(index)?;
            if self.random.ppm(send_ppm) {
                self.send(index);
            }
        }
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        self.system().step(&mut acknowledged);
        let oldest = self.system().oldest();
        self.oracle.removed(oldest);
        for (producer, sequence) in acknowledged.drain(..) {
            self.oracle.acknowledged(producer, sequence)?;
        }
        self.acknowledged = acknowledged;
        Ok(())
    }

    fn connect(&mut self, index: usize) -> Result<(), String> {
        let id = self.producers[index].id;
        if self.producers[index].connected {
            return Ok(());
        }
        let Some(resume) = self.system().resume(id) else { return Ok(()) };
        let producer = &mut self.producers[index];
        producer.connected = true;
        if producer.acks {
            producer.cursor = resume.0 as usize;
            let known = self.oracle.last_acknowledged(id);
            if resume < known {
                return Err(format!("producer {id} is told to go on after {resume}, {known} was acknowledged"));
            }
            // "Go on after this one" is an acknowledgement: the producer forgets what is before.
            self.oracle.acknowledged(id, resume)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize) {
        for _ in 0..=self.random.below(3) {
            let producer = &self.producers[index];
            let fresh = !producer.acks || producer.cursor >= producer.sent.len();
            if fresh {
                let frame = self.make(index);
                self.oracle.sent(&frame);
                self.producers[index].sent.push(frame);
            }
            let producer = &self.producers[index];
            let at = if producer.acks { producer.cursor } else { producer.sent.len() - 1 };
            let frame = producer.sent[at].clone();
            match self.system().offer(&frame) {
                offer @ (Offer::Taken(_) | Offer::Duplicate) => {
                    self.producers[index].cursor = at + 1;
                    if let Offer::Taken(position) = offer {
                        self.oracle.taken(&frame, position);
                    }
                }
                Offer::Refused => return,
            }
        }
    }

    fn make(&mut self, index: usize) -> Sent {
        let (id, acks) = (self.producers[index].id, self.producers[index].acks);
        let sequence = Sequence(self.producers[index].sent.len() as u64 + 1);
        let time_ns = sequence.0 as i64 * 10;
        let count = match self.random.below(20) {
            0 => self.random.between(1, self.values_max + 1),
            1..=4 => self.random.between(1, self.values_max / 8 + 2),
            _ => self.random.between(1, 30),
        };
        let values: Vec<u64> = (0..count).map(|_| self.random.next_u64()).collect();
        self.builder.clear();
        let built = if self.random.below(4) == 0 {
            let samples = values.iter().map(|value| StoredSample {
                source_time_ns: time_ns,
                value: *value,
                tag: *value as u32 % 1000,
                quality: 0,
            });
            self.builder.samples(id, sequence, &Samples { samples: samples.collect() }).is_ok()
        } else {
            let scan = Scan { source_time_ns: time_ns, tag_first: 1, values, qualities: Vec::new() };
            self.builder.scan(id, sequence, &scan).is_ok()
        };
        assert!(built, "a frame of {count} values is within its bounds");
        Sent { producer: id, sequence, time_ns, acks, bytes: self.builder.bytes().to_vec() }
    }

    /// Heals the disk and runs without new frames of producers with acknowledgements until all is
    /// durable. `flush`: each producer without acknowledgements sends one more, which makes its
    /// losses known.
    ///
    /// # Errors
    /// It does not become settled: a hang. Or a broken promise.
    pub fn settle(&mut self, flush: bool) -> Result<(), String> {
        self.heal();
        if flush {
            for _ in 0..2_000 {
                self.step(5_000_000, 0)?;
                if self.producers.iter().all(|producer| producer.connected) {
                    break;
                }
            }
            for index in (0..self.producers.len()).filter(|index| !self.producers[*index].acks).collect::<Vec<_>>() {
                self.send(index);
            }
        }
        for _ in 0..SETTLE_STEPS_MAX {
            self.step(5_000_000, 0)?;
            self.resend();
            let all = self.producers.iter().all(|p| !p.acks || p.cursor >= p.sent.len());
            if all && self.system().is_settled() && self.producers.iter().all(|producer| producer.connected) {
                return Ok(());
            }
        }
        Err(format!("hangs: not everything is durable {SETTLE_STEPS_MAX} duty cycles after the disk was healed"))
    }

    /// Offers again what producers with acknowledgements still hold.
    fn resend(&mut self) {
        for index in 0..self.producers.len() {
            while self.producers[index].acks && self.producers[index].connected {
                let producer = &self.producers[index];
                let Some(frame) = producer.sent.get(producer.cursor).cloned() else { break };
                match self.system().offer(&frame) {
                    Offer::Refused => break,
                    Offer::Taken(position) => self.oracle.taken(&frame, position),
                    Offer::Duplicate => {}
                }
                self.producers[index].cursor += 1;
            }
        }
    }

    /// The disk shows no more faults.
    pub fn heal(&mut self) {
        let delay_ns = self.system().disk().faults().delay_ns;
        *self.system().disk().faults() = sim::Faults { delay_ns, ..sim::Faults::default() };
    }

    /// Closes in order.
    ///
    /// # Errors
    /// It does not end.
    pub fn close(&mut self) -> Result<(), String> {
        self.heal();
        self.system().close();
        for _ in 0..SETTLE_STEPS_MAX {
            self.step(1_000_000, 0)?;
            if self.system().is_closed() {
                return Ok(());
            }
        }
        Err(format!("hangs: not closed after {SETTLE_STEPS_MAX} duty cycles"))
    }

    /// Reads everything by query and holds it against the oracle.
    ///
    /// # Errors
    /// A broken promise.
    pub fn query(&mut self, complete: bool) -> Result<(), String> {
        if self.producers.iter().any(|producer| !producer.connected) {
            return Ok(());
        }
        let (contents, fences) = self.system().query()?;
        if let Some(fence) = fences.first() {
            return Err(format!("a query met damage where there is none: {fence}"));
        }
        self.oracle.check(&contents, complete).map_err(|why| format!("in a query: {why}"))
    }

    /// Crashes and starts again. `interrupted`: that many starts are first cut short themselves,
    /// by a disk that fails and then a power cut.
    ///
    /// # Errors
    /// It does not start, or what it found breaks a promise.
    pub fn crash(&mut self, crash: Crash, interrupted: u64, nth: Option<&Nth>) -> Result<(), String> {
        let Some(system) = self.system.take() else { return Ok(()) };
        let mut disk = system.crash(crash);
        for _ in 0..interrupted {
            let at = disk.changes() + 1 + self.random.below(3);
            let error = DiskError::Failed("simulated I/O error".to_owned());
            disk.faults().nth = Some(Nth { at, sticky: true, error });
            disk = match S::start(disk, self.clock.clone(), self.setup) {
                Ok((system, found)) => {
                    self.check(&found.contents)?;
                    system.crash(Crash::Power)
                }
                Err(failed) => failed.disk.crash(if self.random.coin() { Crash::Power } else { Crash::Kill }),
            };
        }
        disk.faults().nth = nth.cloned();
        self.start(disk)
    }

    fn start(&mut self, mut disk: SimDisk) -> Result<(), String> {
        disk.faults().delay_ns = (0, 2_000_000);
        for _ in 0..START_TRIES_MAX {
            let shown = disk.faults_shown();
            match S::start(disk, self.clock.clone(), self.setup) {
                Ok((system, found)) => {
                    self.system = Some(system);
                    self.starts += 1;
                    self.producers.iter_mut().for_each(|producer| producer.connected = false);
                    if let Some(fence) = found.rot.first() {
                        return Err(format!("recovery reports damage where there is none: {fence}"));
                    }
                    return self.check(&found.contents);
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

    fn check(&self, contents: &crate::system::Contents) -> Result<(), String> {
        self.oracle.check(contents, false).map_err(|why| format!("after recovery: {why}"))
    }

    /// The end of a run: all is healed, sent, durable; then a power cut, recovery, and the last check.
    ///
    /// # Errors
    /// A broken promise.
    pub fn finish(&mut self) -> Result<(), String> {
        self.settle(true)?;
        self.query(true)?;
        self.crash(Crash::Power, 0, None)?;
        self.settle(false)?;
        self.query(true)?;
        self.close()
    }
}
