//! Whole lives of the desk over a faulty disk, with targets of every mood, crashes, and a
//! configuration that changes between lives, against what was promised.
//!
//! `FLOWS_SEED=<seed>` runs that one only; a run that fails names its seed.

mod support;

use alarms::Input;
use delivery::Offset;
use env::disk::DiskError;
use flows::desk::{Event, PublishError};
use flows::outlet::Pause;
use flows::runs::{Cause, Schedule};
use flows::spec::{Begin, FlowSpec, Pattern, Wanted};
use flows::{Settings, letters::LetterState};
use model::Glob;
use serde_json::{Value, json};
use sim::{Crash, Faults};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use support::judge::{self, Judged, Want, text};
use support::ledger::Known;
use support::target::{Mood, Target};
use support::world::{Fault, kept};
use support::{HOUR, MINUTE, MS, S, World, plan};

const SEEDS: u64 = 60;
const STEPS: u64 = 500;
const LINES: u64 = 5;

/// What is configured in a life.
#[derive(Clone, Debug)]
struct Setup {
    version: u32,
    extra: Option<Begin>,
    probe: bool,
    expire: bool,
    rate: Option<u32>,
    window: u32,
}

fn flows_of(setup: &Setup) -> Vec<FlowSpec> {
    let version = setup.version;
    let mut maint = plan::subscriber("maint", "stop");
    maint.definition.when = Some("event.severity >= 500".to_owned());
    maint.definition.body = Some(format!("{{'v': {version}, 'n': event.data.n, 'note': event.data.note}}"));
    maint.policy.expire_ns = setup.expire.then_some(90 * S);
    maint.policy.rate_per_s = setup.rate;
    let mut erp = plan::sync("erp", "receipt");
    erp.definition.key = Some("record.line".to_owned());
    erp.definition.body =
        Some(format!("{{'v': {version}, 'id': record.id, 'q': record.q, 'note': record.?note.orValue('')}}"));
    if setup.probe {
        erp.policy.probe = true;
        erp.probe = Some(flows::spec::Probe {
            method: "GET".to_owned(),
            address: expr::Template::parse("http://simulated/erp/{id}").expect("a template"),
            done: expr::Expr::compile("answer.done").expect("an expression"),
        });
    }
    let mut mirror = plan::flow("mirror", Pattern::Sync, Wanted::Tags(Glob::new("plant/**")));
    mirror.policy.coalesce = true;
    mirror.definition.body = Some(format!("{{'v': {version}, 'tag': tag, 'value': value}}"));
    let pager = plan::subscriber("pager", "alarm");
    let shift = plan::batch_flow("shift");
    let mut all = vec![maint, erp, mirror, pager, shift];
    if let Some(begin) = setup.extra {
        let mut extra = plan::subscriber("extra", "stop");
        extra.begin = begin;
        // in the middle, so that the places of others change
        all.insert(1, extra);
    }
    for flow in &mut all {
        flow.policy.window = setup.window;
    }
    all
}

fn settings(setup: &Setup) -> Settings {
    let cron = calendar::Cron::parse("* * * * *").expect("a schedule");
    let shift = plan::batch_spec("shift", Schedule::Cron(cron), 5 * S, HOUR);
    Settings {
        alarms: plan::rules(&["hot"], "alarm"),
        batches: plan::batches(vec![shift]),
        backlog_bytes: 1 << 20,
        ..plan::settings(flows_of(setup))
    }
}

fn judged() -> Vec<Judged> {
    let event_key = |known: &Known| text(&known.body, "/source");
    let base = |name, wants, key| Judged { name, coalesces: false, wants, key, waived: 0, is_steady: true, begins: 1 };
    vec![
        base("maint", wants_maint, event_key),
        base("erp", |known| of(known, "record/receipt"), |known| text(&known.body, "/record/line")),
        Judged {
            coalesces: true,
            ..base(
                "mirror",
                |known| if known.stream.starts_with("tag/plant/") { Want::Yes } else { Want::No },
                |known| text(&known.body, "/tag"),
            )
        },
        base("pager", |known| of(known, "event/alarm"), event_key),
        base("shift", |known| of(known, "batch/shift"), |known| text(&known.body, "/batch")),
        Judged { is_steady: false, begins: 0, ..base("extra", |known| of(known, "event/stop"), event_key) },
    ]
}

fn of(known: &Known, stream: &str) -> Want {
    if known.stream == stream { Want::Yes } else { Want::No }
}

fn wants_maint(known: &Known) -> Want {
    if known.stream != "event/stop" {
        return Want::No;
    }
    match known.body["severity"].as_u64() {
        None => Want::Unmappable,
        Some(severity) if severity < 500 => Want::No,
        Some(_) if known.body["data"].get("n").is_none() => Want::Unmappable,
        Some(_) => Want::Yes,
    }
}

#[derive(Default)]
struct Counts {
    published: u64,
    effects: u64,
    letters: u64,
    replays: u64,
    crashes: u64,
    superseded: u64,
    runs: u64,
    removed: u64,
}

struct Run {
    world: World,
    setup: Rc<RefCell<Setup>>,
    /// The mapping of each life.
    versions: Vec<u32>,
    events: BTreeMap<String, (u64, Event)>,
    /// Versions of each document: version, offset, document.
    records: BTreeMap<String, Vec<(u64, u64, Value)>>,
    hot: BTreeMap<String, bool>,
    number: u64,
    judged: Vec<Judged>,
    objections: Vec<String>,
    counts: Counts,
}

impl Run {
    fn new(seed: u64, fault: Fault) -> Run {
        let mut random = sim::SimRandom::new(seed ^ 0xF10E);
        let segment_bytes = 4 << random.between(10, 15);
        let keep_bytes = segment_bytes * random.between(2, 5);
        let log = log::Settings { segment_bytes, keep_bytes, sync_ns: random.between(1, 6) * MS, ..kept() };
        let setup = Setup {
            version: 1,
            extra: None,
            probe: random.coin(),
            expire: random.below(3) == 0,
            rate: random.coin().then_some(200),
            window: [8, 16, 64, 4_096][random.below(4) as usize],
        };
        let setup = Rc::new(RefCell::new(setup));
        let told = Rc::clone(&setup);
        let mut world = World::new(seed, log, move || settings(&told.borrow()));
        world.fault = fault;
        Run {
            world,
            setup,
            versions: vec![1],
            events: BTreeMap::new(),
            records: BTreeMap::new(),
            hot: BTreeMap::new(),
            number: 0,
            judged: judged(),
            objections: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.world.random.below(limit)
    }

    fn object(&mut self, what: String) {
        self.objections.push(what);
    }

    fn objections(&self) -> Vec<String> {
        self.objections.iter().cloned().chain(self.world.objections()).collect()
    }

    /// A whole run; stops at the first objection.
    fn live(&mut self, steps: u64) {
        for _ in 0..steps {
            self.act();
            let ns = match self.below(40) {
                0 => self.world.random.between(S, 20 * S),
                1..6 => self.world.random.between(50 * MS, S),
                _ => self.world.random.between(MS / 2, 20 * MS),
            };
            self.world.run(ns);
            if !self.objections().is_empty() {
                return;
            }
        }
        self.finish();
    }

    fn act(&mut self) {
        match self.below(100) {
            0..30 => self.publish(),
            30..50 => self.put_record(),
            50..62 => self.change_tag(),
            62..72 => self.change_mood(),
            72..78 => self.change_disk(),
            78..82 => self.pause(),
            82..86 => self.see_to_letters(),
            86..90 => self.edge(),
            90..92 => self.acknowledge(),
            92..94 => self.crash(),
            _ => {}
        }
    }

    fn note(&mut self) -> &'static str {
        ["poison", "fails", "fine", "fine", "fine", "fine", "fine", "fine", "fine", "fine"][self.below(10) as usize]
    }

    fn publish(&mut self) {
        let now = self.world.now();
        let mut events = Vec::new();
        for _ in 0..=self.below(6) {
            let again = self.below(6) == 0 && !self.events.is_empty();
            if again {
                let at = self.below(self.events.len() as u64) as usize;
                events.extend(self.events.values().nth(at).map(|(_, event)| event.clone()));
                continue;
            }
            self.number += 1;
            let source = format!("line{}", self.below(LINES));
            let severity = match self.below(12) {
                0 => None,
                n => Some((n * 80) as u16),
            };
            let note = self.note();
            let data =
                if self.below(30) == 0 { json!({ "note": note }) } else { json!({ "n": self.number, "note": note }) };
            events.push(plan::event("stop", &format!("e{}", self.number), &source, now, severity, data));
        }
        let oldest = self.world.oldest();
        let answered = match self.world.desk.publish(events.clone(), now) {
            Ok(answered) => answered,
            Err(PublishError::Refused(_) | PublishError::BacklogFull) => return,
            Err(error) => return self.object(format!("refused: {error:?}")),
        };
        self.counts.published += answered.len() as u64;
        for (event, published) in events.into_iter().zip(answered) {
            let known = self.events.get(&event.id).map(|(offset, _)| *offset);
            if let Some(known) = known.filter(|known| *known > oldest.0)
                && (published.offset != Offset(known) || !published.duplicate)
            {
                self.object(format!("{} is at {known} and was taken as {published:?}; oldest {oldest}", event.id));
            }
            if known.is_none()
                && published.duplicate
                && !self
                    .world
                    .ledger
                    .names
                    .contains_key(&("event/stop".into(), format!("{}#{}", event.source, event.id)))
            {
                let twice = self.events.contains_key(&event.id);
                if !twice {
                    self.object(format!("{} is no duplicate", event.id));
                }
            }
            self.events.insert(event.id.clone(), (published.offset.0, event));
        }
    }

    fn put_record(&mut self) {
        let now = self.world.now();
        let mut documents = Vec::new();
        for _ in 0..=self.below(4) {
            let id = format!("r{}", self.below(40));
            let line = format!("line{}", id.len() as u64 + self.below(1));
            let newest =
                self.records.get(&id).and_then(|versions| versions.last()).map(|(.., document)| document.clone());
            if let Some(newest) = newest.filter(|_| self.below(4) == 0) {
                documents.push(newest);
                continue;
            }
            self.number += 1;
            let late = self.below(3) * self.below(90);
            let at = now.plus_ns(-((late * S) as i64));
            let mut document = plan::receipt(&id, &line, self.number, at);
            document["note"] = json!(self.note());
            documents.push(document);
        }
        let oldest = self.world.oldest();
        let Ok(written) = self.world.desk.put_records("receipt", documents.clone(), now) else { return };
        self.counts.published += written.len() as u64;
        for (document, written) in documents.into_iter().zip(written) {
            let versions = self.records.entry(written.id.clone()).or_default();
            let known = versions.last().filter(|(_, offset, _)| *offset > oldest.0);
            let expected = match known {
                Some((version, _, body)) if *body == document => (*version, true),
                Some((version, ..)) => (version + 1, false),
                None => (written.version, written.duplicate),
            };
            if expected != (written.version, written.duplicate) {
                let what = format!("{written:?} should be {expected:?}; oldest {oldest}");
                self.objections.push(what);
            }
            if !written.duplicate {
                versions.push((written.version, written.offset.0, document));
            }
        }
    }

    fn change_tag(&mut self) {
        for _ in 0..=self.below(8) {
            let path = format!("plant/line{}/speed", self.below(LINES));
            let value = json!(self.below(1_000));
            let now = self.world.now();
            let _ = self.world.desk.tag_changed(&path, &value, "Good", now, now);
        }
    }

    fn change_mood(&mut self) {
        let name = ["maint", "erp", "mirror", "pager", "shift", "extra"][self.below(6) as usize];
        let mood = match self.below(12) {
            0 => Mood::Down,
            1 => Mood::Hangs,
            2 => Mood::Deaf,
            3 => Mood::Slow,
            4 => Mood::Answers(503),
            5 => Mood::Answers(429),
            6 => Mood::Answers(500),
            7..9 => Mood::Mixed,
            _ => Mood::Up,
        };
        self.world.target(name).mood = mood;
    }

    fn change_disk(&mut self) {
        let used = self.world.disk.used_bytes();
        let slow = (MS / 10, self.world.random.between(MS, 80 * MS));
        let fails = DiskError::Failed("simulated I/O error".to_owned());
        let quick = Faults { delay_ns: (MS / 10, 2 * MS), ..Faults::default() };
        *self.world.disk.faults() = match self.below(12) {
            0 => Faults { sync_ppm: 50_000, ..quick },
            1 => Faults { write_ppm: 50_000, short_ppm: 100_000, ..quick },
            2 => Faults { capacity: Some(used + 20_000), ..quick },
            3 => Faults { create_ppm: 200_000, directory_ppm: 100_000, ..quick },
            4 => Faults { delay_ns: slow, ..quick },
            5 => Faults { sticky: Some(fails), ..quick },
            _ => quick,
        };
    }

    fn pause(&mut self) {
        let now = self.world.now();
        let outlets = self.world.desk.outlets();
        let at = self.world.random.below(outlets.len() as u64) as usize;
        let outlet = &outlets[at];
        let name = outlet.spec.name.clone();
        let pause = outlet.paused().is_none().then(|| Pause { by: "ann".to_owned(), comment: None, at_ns: now.0 });
        // one that is paused is mostly let go
        let _ = self.world.desk.set_paused(&name, pause, "ann", now);
    }

    fn see_to_letters(&mut self) {
        let now = self.world.now();
        let open: Vec<(String, String)> = self
            .world
            .desk
            .letters()
            .filter(|letter| letter.state == LetterState::Open)
            .map(|letter| (letter.id.clone(), letter.flow.clone()))
            .collect();
        if open.is_empty() {
            return;
        }
        let (id, flow) = open[self.below(open.len() as u64) as usize].clone();
        match self.below(4) {
            0 => drop(self.world.desk.discard(&id, "ann", None, now)),
            1 => {
                let body = json!({ "v": 0, "corrected": self.number, "note": "fine" });
                drop(self.world.desk.replay(&id, Some(body), "ann", None, now));
            }
            2 => drop(self.world.desk.replay(&id, None, "ann", None, now)),
            _ => {
                let of = |letter: &flows::letters::Letter| letter.flow == flow;
                drop(self.world.replay_all(&of, Some("again")));
            }
        }
    }

    /// A condition begins or ends.
    fn edge(&mut self) {
        let tag = format!("plant/line{}/heat", self.below(3));
        let is_hot = !self.hot.get(&tag).copied().unwrap_or_default();
        self.hot.insert(tag.clone(), is_hot);
        self.tell(&tag, is_hot);
    }

    fn tell(&mut self, tag: &str, is_hot: bool) {
        let now = self.world.now();
        let value = Some(json!(is_hot));
        let input = match is_hot {
            true => Input::Active { at: now, value, text: "hot".to_owned() },
            false => Input::Normal { at: now, value },
        };
        self.world.desk.on_edge("hot", tag, "°C", &input, now);
    }

    fn acknowledge(&mut self) {
        let now = self.world.now();
        let ids: Vec<String> = self.world.desk.alarms().iter().map(|alarm| alarm.id().to_owned()).collect();
        if let Some(id) = ids.first() {
            let input = Input::Acknowledge { by: "bob".to_owned(), comment: None };
            let _ = self.world.desk.act(id, &input, now);
        }
    }

    fn crash(&mut self) {
        let was_there = self.setup.borrow().extra.is_some();
        if self.below(3) == 0 {
            self.setup.borrow_mut().version += 1;
        }
        if self.below(3) == 0 {
            let extra = match self.below(3) {
                0 => None,
                1 => Some(Begin::Now),
                _ => Some(Begin::Earliest),
            };
            self.setup.borrow_mut().extra = extra;
        }
        match self.below(5) {
            0 if self.world.desk.journal().health().is_good()
                && *self.world.disk.faults().sticky.as_ref().map_or("", |_| "x") == *"" =>
            {
                *self.world.disk.faults() = Faults { delay_ns: (MS / 10, 2 * MS), ..Faults::default() };
                self.world.restart();
            }
            0..3 => self.world.crash(Crash::Kill),
            _ => self.world.crash(Crash::Power),
        }
        self.counts.crashes += 1;
        self.begun(was_there);
        let off = self.below(4) * self.below(100) * S;
        self.world.clock.advance(off);
    }

    /// A life has begun.
    fn begun(&mut self, was_there: bool) {
        let end = self.world.desk.journal().end().0;
        let oldest = self.world.oldest().0;
        self.versions.push(self.setup.borrow().version);
        self.events.retain(|_, (offset, _)| *offset <= end);
        for versions in self.records.values_mut() {
            versions.retain(|(_, offset, _)| *offset <= end);
        }
        if self.setup.borrow().extra.is_some()
            && !was_there
            && let Some(extra) = self.judged.iter_mut().find(|flow| flow.name == "extra")
        {
            extra.begins += 1;
            extra.waived = extra.waived.max(oldest);
        }
        let extra = self.world.desk.outlets().iter().find(|outlet| outlet.spec.name == "extra");
        if !was_there && extra.is_some_and(|extra| extra.paused().is_none()) {
            self.world.ledger.paused.remove("extra"); // it may be begun anew
        }
        judge::recovered(&self.world, &mut self.objections);
        // whoever watches the tags says how they are
        for (tag, is_hot) in self.hot.clone() {
            self.tell(&tag, is_hot);
        }
    }

    /// All is mended, everything comes to rest, and is judged.
    fn finish(&mut self) {
        *self.world.disk.faults() = Faults { delay_ns: (MS / 10, 2 * MS), ..Faults::default() };
        for target in self.world.targets.values_mut() {
            target.mood = Mood::Up;
        }
        let paused: Vec<String> = self
            .world
            .desk
            .outlets()
            .iter()
            .filter(|outlet| outlet.paused().is_some())
            .map(|outlet| outlet.spec.name.clone())
            .collect();
        let now = self.world.now();
        for name in paused {
            while self.world.desk.set_paused(&name, None, "ann", now).is_err() {
                self.world.go_on();
            }
        }
        self.world.settle();
        self.world.run(3 * MINUTE);
        self.world.settle();
        self.judge();
        let shown = self.shown();
        self.world.crash(Crash::Power);
        self.begun(true);
        self.world.settle();
        if self.shown() != shown {
            let now = self.shown();
            self.object(format!("a restart changed what is shown: {shown:#?} became {now:#?}"));
        }
        self.judge();
    }

    /// What is shown of everything that outlives a restart.
    fn shown(&self) -> Vec<String> {
        let desk = &self.world.desk;
        let letters = desk.letters().map(|letter| format!("{} {:?} {:?}", letter.id, letter.state, letter.replays));
        let alarms = desk.alarms().iter().map(|alarm| alarm.to_json().to_string());
        let runs = desk.batches().books().iter().flat_map(|book| book.runs()).map(|run| format!("{run:?}"));
        let mut all: Vec<String> = letters.chain(alarms).chain(runs).collect();
        all.sort();
        all
    }

    fn judge(&mut self) {
        let mut objections = Vec::new();
        let empty = Target::default();
        for flow in &self.judged {
            if flow.name == "extra" && self.setup.borrow().extra.is_none() {
                continue;
            }
            let target = self.world.targets.get(flow.name).unwrap_or(&empty);
            self.counts.effects += judge::judge(&self.world.ledger, target, flow, &mut objections) as u64;
        }
        judge::replays(&self.world, &mut objections);
        self.judge_versions(&mut objections);
        self.judge_alarms(&mut objections);
        self.judge_runs(&mut objections);
        self.judge_retention(&mut objections);
        self.counts.letters = self.world.ledger.letters.len() as u64;
        self.counts.replays = self.world.ledger.replays.len() as u64;
        self.counts.superseded =
            self.world.ledger.ends.values().filter(|end| matches!(end, delivery::End::Superseded { .. })).count()
                as u64;
        self.counts.runs = self.world.ledger.runs.len() as u64;
        self.counts.removed = self.world.oldest().0;
        self.objections.extend(objections);
    }

    /// Every body is by the mapping of the life in which its message was published.
    fn judge_versions(&self, objections: &mut Vec<String>) {
        let version_at = |offset: u64| {
            let life = self.world.lives.iter().rposition(|begun| begun.0 < offset).unwrap_or(0);
            u64::from(self.versions[life])
        };
        for (name, target) in &self.world.targets {
            for effect in target.effects.iter().filter(|effect| effect.replay == 0) {
                let body: Value = serde_json::from_str(&effect.body).unwrap_or(Value::Null);
                if body["v"].as_u64().is_some_and(|version| version != version_at(effect.offset)) {
                    let right = version_at(effect.offset);
                    objections
                        .push(format!("{name}: {} at {} should be mapped by {right}", effect.body, effect.offset));
                }
            }
        }
    }

    /// Every activation was published once.
    fn judge_alarms(&self, objections: &mut Vec<String>) {
        for alarm in self.world.desk.alarms().iter() {
            let source = alarm.tag().rsplit_once('/').map_or("", |(source, _)| source);
            for count in 1..=alarm.count() {
                let id = format!("{source}#{}#{count}", alarm.id());
                if !self.world.ledger.names.contains_key(&("event/alarm".to_owned(), id.clone())) {
                    objections.push(format!("the activation {id} was not published"));
                }
            }
        }
    }

    /// Periods follow each other without a gap, and every record that came in time is in one of its
    /// period's runs.
    fn judge_runs(&self, objections: &mut Vec<String>) {
        let runs: Vec<&flows::runs::Run> = self.world.ledger.runs.values().collect();
        let mut own: Vec<_> = runs.iter().filter(|run| matches!(run.cause, Cause::Schedule | Cause::CatchUp)).collect();
        own.sort_by_key(|run| run.from_ns);
        for pair in own.windows(2) {
            if pair[0].to_ns != pair[1].from_ns {
                objections.push(format!("{} and {} do not follow each other", pair[0].id, pair[1].id));
            }
        }
        let removed = self.world.oldest();
        for (offset, known) in self.world.ledger.messages.iter().filter(|(_, known)| known.stream == "record/receipt") {
            let Some(run) = own.iter().find(|run| run.from_ns <= known.time_ns && known.time_ns < run.to_ns) else {
                continue;
            };
            let family =
                runs.iter().filter(|other| other.id == run.id || other.correction_of.as_ref() == Some(&run.id));
            let looked = self.world.unneeded.iter().filter(|(of, _)| *of == run.id).map(|(_, as_of)| *as_of);
            let as_of = family.map(|run| run.as_of).chain(looked).max().unwrap_or(0);
            if as_of < *offset && *offset > removed.0 {
                objections.push(format!("{} at {offset} is in no run of {}, up to {as_of}", known.id, run.id));
            }
        }
    }

    /// What nobody needs goes; a few segments and what carries letters may stay.
    fn judge_retention(&self, objections: &mut Vec<String>) {
        let journal = self.world.desk.journal();
        let kept = &self.world.kept;
        let letters: usize = self.world.desk.letters().map(|letter| json!(letter).to_string().len() + 200).sum();
        let stays = journal.end().0 - self.world.oldest().0;
        if stays > kept.keep_bytes + 4 * kept.segment_bytes + 3 * letters as u64 + (32 << 10) {
            objections.push(format!("{stays} bytes stay, {} may; letters {letters}", kept.keep_bytes));
        }
    }
}

fn run(seed: u64, steps: u64, fault: Fault) -> Run {
    let mut run = Run::new(seed, fault);
    run.live(steps);
    run
}

#[test]
fn what_was_promised_holds_whatever_happens() {
    let only: Option<u64> = std::env::var("FLOWS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = only.map_or_else(|| (1..=SEEDS).collect(), |seed| vec![seed]);
    let mut all = Counts::default();
    for seed in &seeds {
        let mut run = run(*seed, STEPS, Fault::None);
        let objections = run.objections();
        let sketch = run.world.sketch();
        assert!(objections.is_empty(), "FLOWS_SEED={seed}: {objections:#?}\n{sketch}{:?}", run.setup.borrow());
        all.published += run.counts.published;
        all.effects += run.counts.effects;
        all.letters += run.counts.letters;
        all.replays += run.counts.replays;
        all.crashes += run.counts.crashes;
        all.superseded += run.counts.superseded;
        all.runs += run.counts.runs;
        all.removed += run.counts.removed;
    }
    println!(
        "{} runs: {} published, {} effects, {} letters, {} replays, {} crashes, {} superseded, {} runs, {} bytes removed",
        seeds.len(),
        all.published,
        all.effects,
        all.letters,
        all.replays,
        all.crashes,
        all.superseded,
        all.runs,
        all.removed
    );
    if only.is_none() {
        // a simulation in which nothing happens proves nothing
        for (what, count) in [
            ("published", all.published),
            ("effects", all.effects),
            ("letters", all.letters),
            ("replays", all.replays),
            ("crashes", all.crashes),
            ("superseded", all.superseded),
            ("runs", all.runs),
            ("removed", all.removed),
        ] {
            assert!(count > 100, "{what}: {count}");
        }
    }
}

#[test]
fn planted_bugs_are_noticed() {
    for fault in [
        Fault::EndsUnread,
        Fault::LettersUnread,
        Fault::EffectLost,
        Fault::SentTwice,
        Fault::Reordered,
        Fault::AcknowledgedEarly,
        Fault::BodyChanged,
    ] {
        let noticed = (1..=12).find_map(|seed| run(seed, STEPS, fault).objections().into_iter().next());
        println!("{fault:?}: {}", noticed.as_deref().unwrap_or("nothing"));
        assert!(noticed.is_some(), "{fault:?} was not noticed");
    }
}

#[test]
fn a_seed_is_a_run() {
    let told = |run: Run| (run.world.ledger.messages.len(), run.world.desk.journal().end(), run.counts.effects);
    assert_eq!(told(run(5, 200, Fault::None)), told(run(5, 200, Fault::None)));
}
