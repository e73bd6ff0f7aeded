//! The driver: what a server does around a desk, in simulated time, over a faulty disk.

use super::ledger::Ledger;
use super::target::{Planned, Target, report};
use super::{MS, S};
use delivery::{Offset, Outcome};
use env::Clock;
use flows::desk::{ActionError, ReadWanted, Recovery};
use flows::entry::EntryKind;
use flows::journal::{self, JOURNAL, Journal, visit_entry};
use flows::letters::{Letter, LetterState};
use flows::message::{Message, MessageKind};
use flows::outlet::Send;
use flows::runs::{Order, Run};
use flows::trail::Report;
use flows::{Desk, Settings};
use model::{LogPosition, TimestampNs};
use sim::{Crash, SimClock, SimDisk, SimRandom};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;

/// Steps of the desk at one moment, at most.
const STEPS_MAX: usize = 2_000;
/// 2026-03-02 08:00 UTC, a Monday.
pub const BEGIN: TimestampNs = TimestampNs(1_772_438_400_000_000_000);

/// A bug that is planted, to see whether it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// A restart reads over the ends of deliveries.
    EndsUnread,
    /// A restart reads over dead letters.
    LettersUnread,
    /// The entries of a batch's runs were lost, and their messages were not.
    RunsUnread,
    /// Some successes are told that did not take effect.
    EffectLost,
    /// Some calls are made twice, the second under another key.
    SentTwice,
    /// Some calls are reported before they are made.
    Reordered,
    /// What is published counts before it is durable.
    AcknowledgedEarly,
    /// A try after the first has another body.
    BodyChanged,
}

struct Call {
    flow: String,
    send: Send,
    effect_at: Option<u64>,
    answer_at: Option<u64>,
    report: Report,
}

/// A desk and the world around it.
pub struct World {
    pub random: SimRandom,
    pub clock: SimClock,
    pub disk: SimDisk,
    pub desk: Desk,
    pub targets: BTreeMap<String, Target>,
    pub ledger: Ledger,
    /// Documents of batches by their SHA-256; durable at once.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// Orders that were found to change nothing: run, offset up to which was looked.
    pub unneeded: Vec<(String, u64)>,
    pub kept: log::Settings,
    pub fault: Fault,
    /// Where each life began.
    pub lives: Vec<Offset>,
    /// Everything up to here was acknowledged to whoever published it.
    acknowledged: Offset,
    /// How long a document is made, ns.
    pub making_ns: u64,
    /// The most that one flow held.
    pub most_held: usize,
    calls: Vec<Call>,
    reads: Vec<(u64, ReadWanted)>,
    orders: Vec<(u64, Order)>,
    plan: Rc<dyn Fn() -> Settings>,
}

/// Small segments, nothing removed.
pub fn kept() -> log::Settings {
    log::Settings {
        segment_bytes: 16 << 10,
        sync_ns: 2 * MS,
        hold: Some(LogPosition(0)),
        ..log::Settings::new(JOURNAL)
    }
}

impl World {
    /// A desk over an empty disk.
    pub fn new(seed: u64, kept: log::Settings, plan: impl Fn() -> Settings + 'static) -> World {
        World::at(BEGIN, seed, kept, plan)
    }

    /// The same at another time.
    pub fn at(begin: TimestampNs, seed: u64, kept: log::Settings, plan: impl Fn() -> Settings + 'static) -> World {
        let mut random = SimRandom::new(seed);
        let mut disk = SimDisk::new(random.fork());
        disk.faults().delay_ns = (MS / 10, 2 * MS);
        let plan: Rc<dyn Fn() -> Settings> = Rc::new(plan);
        let mut ledger = Ledger::default();
        let (desk, _) = recover(&mut disk, &kept, &*plan, begin, &mut ledger, Fault::None);
        World {
            random,
            clock: SimClock::new(begin),
            disk,
            desk,
            targets: BTreeMap::new(),
            ledger,
            documents: BTreeMap::new(),
            unneeded: Vec::new(),
            kept,
            fault: Fault::None,
            lives: vec![Offset(0)],
            acknowledged: Offset(0),
            making_ns: 5 * MS,
            most_held: 0,
            calls: Vec::new(),
            reads: Vec::new(),
            orders: Vec::new(),
            plan,
        }
    }

    pub fn now(&self) -> TimestampNs {
        self.clock.wall()
    }

    /// Publishes one event and answers its offset.
    pub fn publish(&mut self, event: flows::desk::Event) -> Offset {
        let now = self.now();
        self.desk.publish(vec![event], now).expect("taken")[0].offset
    }

    /// Replays every open letter that a filter takes, oldest first, so that keys keep their order.
    pub fn replay_all(&mut self, takes: &dyn Fn(&Letter) -> bool, comment: Option<&str>) -> Result<u64, ActionError> {
        let now = self.now();
        let letters = self.desk.letters_behind(None).map(|(_, letter)| letter);
        let open = letters.filter(|letter| letter.state == LetterState::Open && takes(letter));
        let ids: Vec<String> = open.map(|letter| letter.id.clone()).collect();
        for id in ids.iter().rev() {
            self.desk.replay(id, None, "ann", comment.map(str::to_owned), now)?;
        }
        Ok(ids.len() as u64)
    }

    pub fn target(&mut self, flow: &str) -> &mut Target {
        self.targets.entry(flow.to_owned()).or_default()
    }

    /// What lies behind this is kept.
    pub fn oldest(&self) -> Offset {
        self.ledger.oldest.max(self.desk.journal().oldest())
    }

    /// Other settings from the next life on.
    pub fn set_plan(&mut self, plan: impl Fn() -> Settings + 'static) {
        self.plan = Rc::new(plan);
    }

    /// Ends this life and begins the next one.
    pub fn crash(&mut self, crash: Crash) {
        let disk = std::mem::replace(&mut self.disk, SimDisk::new(SimRandom::new(0)));
        let mut disk = disk.crash(crash);
        disk.faults().delay_ns = (MS / 10, 2 * MS);
        self.disk = disk;
        self.begin();
    }

    /// Closes in order and begins the next life.
    pub fn restart(&mut self) {
        self.desk.close(self.now());
        for _ in 0..100_000 {
            self.clock.advance(MS);
            self.disk.set_now(self.clock.monotonic_ns());
            self.desk.step(self.clock.monotonic_ns(), self.now(), &mut self.disk);
            if self.desk.is_closed() {
                self.ledger.read(self.desk.journal(), &self.disk);
                self.crash(Crash::Power);
                return;
            }
        }
        panic!("not closed: {:?}", self.desk.journal().health());
    }

    fn begin(&mut self) {
        // what was under way may have reached its target
        for call in std::mem::take(&mut self.calls) {
            if call.effect_at.is_some() && (self.fault == Fault::Reordered || self.random.coin()) {
                self.targets.entry(call.flow).or_default().take(&call.send);
            }
        }
        (self.reads, self.orders) = (Vec::new(), Vec::new());
        let acknowledged = self.acknowledged.max(self.ledger.read_to);
        self.acknowledged = Offset(0);
        let now = self.now();
        let (desk, end) = recover(&mut self.disk, &self.kept, &*self.plan, now, &mut self.ledger, self.fault);
        self.desk = desk;
        if end < acknowledged {
            self.ledger.objections.push(format!("{acknowledged} was acknowledged and the journal ends at {end}"));
        }
        self.lives.push(end);
        self.ledger.read_to = self.ledger.read_to.max(end);
        self.check_oldest();
    }

    /// Everything that was acknowledged and is behind the oldest is still there.
    fn check_oldest(&mut self) {
        let (oldest, end) = (self.oldest(), self.desk.journal().end());
        let lost: Vec<u64> = self.ledger.messages.range(end.0 + 1..).map(|(offset, _)| *offset).collect();
        for offset in lost {
            self.ledger
                .objections
                .push(format!("the message at {offset} was acknowledged and is lost; {oldest} to {end}"));
        }
    }

    /// Time passes, and everything that is to be done now is done.
    pub fn step(&mut self, ns: u64) {
        self.clock.advance(ns);
        let now_ns = self.clock.monotonic_ns();
        self.disk.set_now(now_ns);
        for _ in 0..STEPS_MAX {
            let now = self.now();
            let mut more = self.desk.step(now_ns, now, &mut self.disk);
            if self.fault == Fault::AcknowledgedEarly {
                self.acknowledged = self.desk.journal().end();
            }
            self.ledger.read(self.desk.journal(), &self.disk);
            self.most_held = self.most_held.max(self.desk.outlets().iter().map(held).max().unwrap_or(0));
            for send in self.desk.drain_sends() {
                self.call(send, now_ns);
            }
            for wanted in self.desk.wanted_reads() {
                let late = self.random.between(MS / 10, 5 * MS);
                self.reads.push((now_ns + late, wanted));
            }
            if let Some(order) = self.desk.due_run(now) {
                self.orders.push((now_ns + self.making_ns, order));
            }
            more |= self.land(now_ns);
            if !more {
                return;
            }
        }
    }

    fn call(&mut self, mut send: Send, now_ns: u64) {
        let flow = self.desk.outlets()[send.flow].spec.name.clone();
        let is_odd = !send.probe && self.fault != Fault::None && self.random.below(40) == 0;
        if self.fault == Fault::BodyChanged && send.attempt > 1 && !send.probe {
            send.call.body = flows::spec::Payload::Bytes("changed".into());
        }
        let target = self.targets.entry(flow.clone()).or_default();
        let Planned { effect_ns, answer_ns, report: said } = target.plan(&send, &mut self.random);
        let mut effect_at = effect_ns.map(|ns| now_ns + ns);
        match self.fault {
            Fault::EffectLost if is_odd && said.outcome == Outcome::Delivered => effect_at = None,
            Fault::Reordered if is_odd && effect_at.is_some() => effect_at = Some(now_ns + 3 * S),
            Fault::SentTwice if is_odd => {
                let mut again = send.clone();
                again.call.idempotency_key.push('x');
                let said = report(Outcome::InDoubt, None, None);
                self.calls.push(Call { flow: flow.clone(), send: again, effect_at, answer_at: None, report: said });
            }
            _ => {}
        }
        self.calls.push(Call { flow, send, effect_at, answer_at: Some(now_ns + answer_ns), report: said });
    }

    /// What has come: effects, answers, reads, documents.
    fn land(&mut self, now_ns: u64) -> bool {
        let now = self.now();
        let mut any = false;
        for call in &mut self.calls {
            if call.effect_at.is_some_and(|at| at <= now_ns) {
                call.effect_at = None;
                self.targets.entry(call.flow.clone()).or_default().take(&call.send);
            }
        }
        let mut at = 0;
        while at < self.calls.len() {
            if self.calls[at].answer_at.is_some_and(|answer| answer <= now_ns) {
                let call = &mut self.calls[at];
                call.answer_at = None;
                self.desk.on_report(call.send.flow, call.send.id, call.send.probe, &call.report, now);
                any = true;
            }
            if self.calls[at].answer_at.is_none() && self.calls[at].effect_at.is_none() {
                self.calls.swap_remove(at);
            } else {
                at += 1;
            }
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.reads).into_iter().partition(|(at, _)| *at <= now_ns);
        self.reads = later;
        for (_, wanted) in due {
            let found = wanted.run(&self.disk);
            self.desk.on_read(found, now);
            any = true;
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.orders).into_iter().partition(|(at, _)| *at <= now_ns);
        self.orders = later;
        for (_, order) in due {
            self.make(&order, None);
            any = true;
        }
        any
    }

    /// Makes an ordered run and publishes it, as the server does.
    pub fn make(&mut self, order: &Order, by: Option<&str>) -> Option<Run> {
        let now = self.now();
        let document = compose(&self.desk, &self.disk, order);
        let Some(document) = document else {
            self.unneeded.push((order.run.correction_of.clone().unwrap_or_default(), order.run.as_of));
            self.desk.drop_run(order.batch);
            return None;
        };
        self.documents.insert(document.sha256.clone(), document.bytes.clone());
        let run = Run {
            bytes: document.bytes.len() as u64,
            sha256: document.sha256.clone(),
            file_name: document.file_name.clone(),
            content_type: document.content_type.to_owned(),
            totals: Some(document.totals),
            ..order.run.clone()
        };
        self.desk.publish_run(order.batch, run, by, now).ok()
    }

    /// How long nothing happens by itself, ns.
    pub fn until_next(&self) -> u64 {
        let (now_ns, now) = (self.clock.monotonic_ns(), self.now());
        let (wall, monotonic) = self.desk.deadlines(now);
        let calls = self.calls.iter().flat_map(|call| [call.effect_at, call.answer_at]).flatten();
        let reads = self.reads.iter().map(|(at, _)| *at);
        let orders = self.orders.iter().map(|(at, _)| *at);
        let next = calls.chain(reads).chain(orders).chain(monotonic).chain(self.disk.next_due_ns()).min();
        let next = next.map(|at| at.saturating_sub(now_ns));
        let wall = wall.map(|at| (at.0 - now.0).max(0) as u64);
        next.into_iter().chain(wall).min().unwrap_or(S).clamp(MS / 20, S)
    }

    /// Steps to the next moment at which something happens.
    pub fn go_on(&mut self) {
        let ns = self.until_next();
        self.step(ns);
    }

    /// Goes on for so long.
    pub fn run(&mut self, ns: u64) {
        let end = self.clock.monotonic_ns() + ns;
        while self.clock.monotonic_ns() < end {
            let left = end - self.clock.monotonic_ns();
            let step = self.until_next().min(left);
            self.step(step);
        }
    }

    /// Goes on until something holds; panics where it does not within an hour of simulated time.
    pub fn until(&mut self, what: &str, holds: impl Fn(&mut World) -> bool) {
        let end = self.clock.monotonic_ns() + 3_600 * S;
        while !holds(self) {
            assert!(self.clock.monotonic_ns() < end, "not within an hour: {what}; {}", self.sketch());
            self.go_on();
        }
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        let journal = self.desk.journal();
        journal.durable() == journal.end()
            && self.calls.is_empty()
            && self.reads.is_empty()
            && self.orders.is_empty()
            && self.desk.outlets().iter().all(|outlet| outlet.backlog() == 0)
    }

    /// Goes on until nothing is left to do.
    pub fn settle(&mut self) {
        self.until("settled", |world| world.is_settled());
    }

    /// Goes on until everything that was appended is durable.
    pub fn durable(&mut self) {
        self.until("durable", |world| world.desk.journal().durable() == world.desk.journal().end());
    }

    /// The world in a few words.
    pub fn sketch(&mut self) -> String {
        let now = self.now();
        let journal = self.desk.journal();
        let (end, durable, oldest) = (journal.end(), journal.durable(), journal.oldest());
        let mut text = format!("journal {oldest} to {end}, durable {durable}, {:?}\n", journal.health());
        for row in self.desk.rows(now) {
            text += &format!(
                "  {} {}: backlog {}, in flight {}, retrying {}, dead {}, {}\n",
                row.name, row.state, row.backlog, row.in_flight, row.retrying, row.dead, row.reason
            );
        }
        text
    }

    /// Panics with everything that was objected to.
    pub fn check(&self) {
        let objections = self.objections();
        assert!(objections.is_empty(), "{objections:#?}");
    }

    pub fn objections(&self) -> Vec<String> {
        let targets = self
            .targets
            .iter()
            .flat_map(|(name, target)| target.objections.iter().map(move |o| format!("{name}: {o}")));
        self.ledger.objections.iter().cloned().chain(targets).collect()
    }
}

fn held(outlet: &flows::outlet::Outlet) -> usize {
    outlet.held()
}

/// Reads the journal back as the server does.
pub fn recover(
    disk: &mut SimDisk,
    kept: &log::Settings,
    plan: &dyn Fn() -> Settings,
    now: TimestampNs,
    ledger: &mut Ledger,
    fault: Fault,
) -> (Desk, Offset) {
    let mut recovery = Recovery::new(plan()).expect("definitions compile");
    let recovered = log::recover(disk, JOURNAL, &mut |frame, position| {
        visit_entry(frame, position, &mut |stored| {
            ledger.recovered(&stored);
            let is_unread = match fault {
                Fault::EndsUnread => stored.kind == EntryKind::Settled,
                Fault::LettersUnread => stored.kind == EntryKind::Letter,
                Fault::RunsUnread => stored.kind == EntryKind::Run,
                _ => false,
            };
            if !is_unread {
                recovery.fold(stored);
            }
        });
    });
    let recovered = recovered.expect("recovers");
    // of a file that was given up, and then neither removed nor needed any more, nothing is missed
    let is_missed = |fence: &&log::Fence| fence.to.0 > ledger.oldest.0;
    assert_eq!(recovered.rot.iter().find(is_missed), None, "{:?}; oldest {}", recovered.rot, ledger.oldest);
    let end = Offset(recovered.end.0);
    let journal = Journal::new(log::Writer::new(kept.clone(), &recovered));
    (recovery.finish(journal, now), end)
}

/// The document of an order; `None`: a correction that would change nothing.
fn compose(desk: &Desk, disk: &SimDisk, order: &Order) -> Option<batch::Document> {
    let run = &order.run;
    let spans = desk.journal().spans_between(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let mut rows = Vec::new();
    let read = journal::read(disk, &spans, &mut |stored| {
        if stored.offset.0 > run.as_of {
            return ControlFlow::Break(());
        }
        let in_time = run.from_ns <= stored.time().0 && stored.time().0 < run.to_ns;
        let Some(message) = Message::read(&stored).filter(|_| in_time) else { return ControlFlow::Continue(()) };
        if message.kind() == MessageKind::Record && order.spec.spec.records.iter().any(|one| one == message.name()) {
            rows.push(batch::Row {
                record: message.name().to_owned(),
                id: message.body["id"].as_str().unwrap_or_default().to_owned(),
                version: message.body["version"].as_u64().unwrap_or(1),
                time: message.time,
                offset: message.offset.0,
                body: message.object().clone(),
            });
        }
        ControlFlow::Continue(())
    });
    assert_eq!(read, Ok(0), "the journal is whole");
    let head = batch::Head {
        run_id: run.id.clone(),
        batch: run.batch.clone(),
        label: run.label.clone(),
        from: TimestampNs(run.from_ns),
        to: TimestampNs(run.to_ns),
        sequence: run.sequence,
        cause: run.cause.word().to_owned(),
        correction_of: run.correction_of.clone(),
        created: TimestampNs(run.created_ns),
    };
    let spec = &order.spec.spec;
    let document = match order.before {
        None => batch::compose(spec, &head, &rows, &[]),
        Some(before) => {
            let sent: Vec<batch::Row> = rows.iter().filter(|row| row.offset <= before).cloned().collect();
            let correction = batch::diff(&sent, &rows);
            if correction.is_empty() {
                return None;
            }
            batch::compose_correction(spec, &head, &correction, &rows, &[])
        }
    };
    Some(document.expect("a document"))
}
