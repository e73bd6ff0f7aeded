//! Flows over a few vectors: a [`Flows`] for tests and for looking at the dashboard.

use super::{SECOND, story, wall};
use futures_util::{FutureExt as _, future::BoxFuture};
use millstream_http::*;
use model::TimestampNs;
use serde_json::{Value as Json, json};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::watch;

/// What the fake remembers.
pub struct State {
    pub flows: Vec<Flow>,
    pub deliveries: Vec<Delivery>,
    pub dead: Vec<DeadLetter>,
    pub batches: Vec<Batch>,
    pub alarms: Vec<Alarm>,
    pub alarm_lines: Vec<AlarmLine>,
    pub events: Vec<Event>,
    pub records: Vec<Record>,
    pub audit: Vec<AuditLine>,
    /// The oldest offset that is kept.
    pub first: u64,
    /// The offset that comes next.
    pub next: u64,
    /// What an idempotency key stood for, and what was answered.
    keys: HashMap<String, (Vec<Json>, Vec<Written>)>,
    /// Requests as they came.
    pub requests: Vec<RequestCall>,
    /// Bodies that replays came with.
    pub replayed: Vec<Option<Json>>,
    /// Alarm actions as they came.
    pub actions: Vec<AlarmAction>,
    /// How often events were looked for.
    pub looks: u64,
}

pub struct FakeFlows {
    pub state: Mutex<State>,
    /// What the next call ends with.
    pub failure: Mutex<Option<FlowError>>,
    /// Calls are answered while this is true.
    pub answering: watch::Sender<bool>,
    /// The offset that comes next, for those who wait.
    grown: watch::Sender<u64>,
}

impl Default for FakeFlows {
    fn default() -> FakeFlows {
        let now = wall();
        let state = State {
            flows: story::flows(now),
            deliveries: story::deliveries(now),
            dead: story::dead_letters(now),
            batches: story::batches(now),
            alarms: story::alarms(now),
            alarm_lines: Vec::new(),
            events: (1..=5).map(|n| story::event(9 + n, &format!("e-{n}"), "machine-fault", now)).collect(),
            records: Vec::new(),
            audit: Vec::new(),
            first: 10,
            next: 125,
            keys: HashMap::new(),
            requests: Vec::new(),
            replayed: Vec::new(),
            actions: Vec::new(),
            looks: 0,
        };
        let grown = watch::Sender::new(state.next);
        let fake = FakeFlows {
            state: Mutex::new(state),
            failure: Mutex::default(),
            answering: watch::Sender::new(true),
            grown,
        };
        fake.state().put_record(
            "goods-receipt",
            "GR-1",
            json!({ "receipt_id": "GR-1", "material": "M-1001", "quantity": 5 }),
        );
        fake
    }
}

/// A known name that begins alike.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let alike = |other: &&str| other.chars().zip(name.chars()).take_while(|(a, b)| a == b).count() >= 3;
    known.filter(alike).map(str::to_owned).next()
}

impl State {
    fn offset(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn unknown_flow(&self, name: &str) -> FlowError {
        let nearest = nearest(name, self.flows.iter().map(|flow| flow.name.as_str()));
        FlowError::NotFound { what: Noun::Flow, name: name.to_owned(), nearest }
    }

    fn flow(&mut self, name: &str) -> Result<&mut Flow, FlowError> {
        let error = self.unknown_flow(name);
        self.flows.iter_mut().find(|flow| flow.name == name).ok_or(error)
    }

    fn letter(&mut self, id: &str) -> Result<&mut DeadLetter, FlowError> {
        let error = FlowError::NotFound { what: Noun::DeadLetter, name: id.to_owned(), nearest: None };
        self.dead.iter_mut().find(|letter| letter.id == id).ok_or(error)
    }

    fn write_down(&mut self, actor: &Actor, what: &'static str, flow: Option<&str>, target: Option<&str>) {
        self.audit.push(AuditLine {
            time: wall(),
            who: actor.by.clone(),
            what: what.into(),
            flow: flow.map(str::to_owned),
            target: target.map(str::to_owned),
            before: Json::Null,
            after: actor.comment.clone().map_or(Json::Null, Json::String),
            outcome: "done".to_owned(),
        });
    }

    pub fn put_record(&mut self, entity: &str, id: &str, body: Json) -> Written {
        let written = |record: &Record, duplicate| Written {
            entity: record.entity.clone(),
            id: record.id.clone(),
            version: record.version,
            offset: record.offset,
            duplicate,
        };
        let last = self.records.iter().rev().find(|record| record.entity == entity && record.id == id);
        if let Some(last) = last.filter(|last| last.body == body) {
            return written(last, true);
        }
        let version = last.map_or(1, |last| last.version + 1);
        let offset = self.offset();
        let key = body["material"].as_str().map(str::to_owned);
        let record = Record { entity: entity.to_owned(), id: id.to_owned(), version, time: wall(), offset, key, body };
        self.records.push(record);
        written(self.records.last().expect("just pushed"), false)
    }

    fn replay(&mut self, id: &str, body: Option<Json>, actor: &Actor) -> Result<DeadLetter, FlowError> {
        let letter = self.letter(id)?;
        if letter.state == DeadState::Discarded {
            return Err(FlowError::Conflict { detail: format!("{id} was discarded; it stays where it is") });
        }
        letter.state = DeadState::Replayed;
        letter.by = Some(actor.by.clone());
        letter.replays.push(format!("{}@{}.{}", letter.flow, letter.offset, letter.replays.len() + 1));
        let letter = letter.clone();
        self.replayed.push(body);
        self.write_down(actor, "replay", Some(&letter.flow), Some(id));
        Ok(letter)
    }

    fn events(&mut self, query: &EventsQuery) -> EventsPage {
        self.looks += 1;
        let (first, next) = (self.first, self.next);
        let (start, gap) = match query.from {
            EventsFrom::Earliest => (first, None),
            EventsFrom::Now => (next, None),
            EventsFrom::Offset(from) if from < first || from > next => (first, Some(EventsGap { from, to: first })),
            EventsFrom::Offset(from) => (from, None),
        };
        let wanted =
            |event: &&Event| event.offset >= start && query.kind.as_ref().is_none_or(|kind| event.kind == *kind);
        let events: Vec<Event> = self.events.iter().filter(wanted).take(query.limit).cloned().collect();
        let next = if events.len() == query.limit { events[events.len() - 1].offset + 1 } else { next };
        EventsPage { events, next, gap }
    }

    fn publish(&mut self, new: NewEvent) -> Published {
        let id = new.id.unwrap_or_else(|| format!("made-{}", self.next));
        if let Some(known) = self.events.iter().find(|event| event.id == id && event.source == new.source) {
            return Published { id, offset: known.offset, duplicate: true };
        }
        let offset = self.offset();
        self.events.push(Event {
            specversion: "1.0",
            id: id.clone(),
            source: new.source,
            kind: new.kind,
            subject: new.subject,
            time: new.time.unwrap_or_else(wall),
            datacontenttype: "application/json",
            offset,
            severity: new.severity,
            extensions: new.extensions,
            data: new.data,
        });
        Published { id, offset, duplicate: false }
    }

    fn act(&mut self, id: &str, action: AlarmAction, actor: &Actor) -> Result<Alarm, FlowError> {
        self.actions.push(action);
        let known: Vec<String> = self.alarms.iter().map(|alarm| alarm.id.clone()).collect();
        let Some(alarm) = self.alarms.iter_mut().find(|alarm| alarm.id == id) else {
            let nearest = nearest(id, known.iter().map(String::as_str));
            return Err(FlowError::NotFound { what: Noun::Alarm, name: id.to_owned(), nearest });
        };
        let shelf = |kind, until| Some(Shelved { kind, until, by: actor.by.clone() });
        match action {
            AlarmAction::Acknowledge if alarm.acknowledged => {
                return Err(FlowError::Conflict { detail: format!("{id} is acknowledged already") });
            }
            AlarmAction::Acknowledge => (alarm.acknowledged, alarm.state) = (true, AlarmState::Acknowledged),
            AlarmAction::Confirm => alarm.confirmed = true,
            AlarmAction::ShelveFor(time) if time > Duration::from_secs(86_400) => {
                let errors = vec![WrongPlace { item: None, path: "/for".to_owned(), text: "at most 24h".to_owned() }];
                return Err(FlowError::Invalid { detail: "a shelf lasts at most 24 h".to_owned(), errors });
            }
            AlarmAction::ShelveFor(time) => {
                alarm.shelved = shelf(ShelveKind::Timed, Some(wall().plus_ns(time.as_nanos() as i64)));
                alarm.state = AlarmState::Shelved;
            }
            AlarmAction::ShelveUntil(until) => {
                (alarm.shelved, alarm.state) = (shelf(ShelveKind::Timed, Some(until)), AlarmState::Shelved);
            }
            AlarmAction::ShelveOnce => {
                (alarm.shelved, alarm.state) = (shelf(ShelveKind::OneShot, None), AlarmState::Shelved);
            }
            AlarmAction::Unshelve => (alarm.shelved, alarm.state) = (None, AlarmState::Unacknowledged),
            AlarmAction::Suppress => (alarm.suppressed, alarm.state) = (true, AlarmState::Suppressed),
            AlarmAction::Unsuppress => (alarm.suppressed, alarm.state) = (false, AlarmState::Unacknowledged),
            AlarmAction::OutOfService => (alarm.out_of_service, alarm.state) = (true, AlarmState::OutOfService),
            AlarmAction::InService => (alarm.out_of_service, alarm.state) = (false, AlarmState::Unacknowledged),
            AlarmAction::Reset => alarm.latched = false,
        }
        (alarm.by, alarm.comment) = (Some(actor.by.clone()), actor.comment.clone());
        alarm.last_change = wall();
        let alarm = alarm.clone();
        let offset = self.offset();
        let (rule, tag, value) = (alarm.rule.clone(), alarm.tag.clone(), alarm.value.clone());
        self.alarm_lines.push(AlarmLine {
            time: wall(),
            offset,
            id: id.to_owned(),
            rule,
            tag,
            what: format!("{action:?}").into(),
            state: alarm.state,
            value,
            by: alarm.by.clone(),
            comment: alarm.comment.clone(),
        });
        self.write_down(actor, "alarm", None, Some(id));
        Ok(alarm)
    }

    fn put_records(&mut self, new: NewRecords) -> Result<Vec<Written>, FlowError> {
        let NewRecords { entity, documents, idempotency_key, actor } = new;
        let id_of = match entity.as_str() {
            "goods-receipt" => "receipt_id",
            "labour" => "entry_id",
            _ => {
                return Err(FlowError::NotFound {
                    what: Noun::Entity,
                    nearest: nearest(&entity, ["goods-receipt", "labour"].into_iter()),
                    name: entity,
                });
            }
        };
        if let Some((before, written)) = idempotency_key.as_ref().and_then(|key| self.keys.get(key)) {
            if *before != documents {
                return Err(FlowError::Conflict { detail: "the Idempotency-Key stood for other documents".to_owned() });
            }
            return Ok(written.iter().map(|one| Written { duplicate: true, ..one.clone() }).collect());
        }
        let wrong = |item: usize, path: &str, text: &str| WrongPlace {
            item: Some(item),
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut errors = Vec::new();
        for (item, document) in documents.iter().enumerate() {
            if !document[id_of].is_string() {
                errors.push(wrong(item, "", &format!("{id_of} is missing")));
            }
            if document["quantity"].as_f64().is_some_and(|quantity| quantity <= 0.0) {
                errors.push(wrong(item, "/quantity", "is not above 0"));
            }
        }
        if !errors.is_empty() {
            return Err(FlowError::Invalid {
                detail: format!("{} places break the schema of {entity}", errors.len()),
                errors,
            });
        }
        let written: Vec<Written> = documents
            .iter()
            .map(|document| self.put_record(&entity, document[id_of].as_str().expect("checked"), document.clone()))
            .collect();
        if let Some(key) = idempotency_key {
            self.keys.insert(key, (documents, written.clone()));
        }
        self.write_down(&actor, "records", None, Some(&entity));
        Ok(written)
    }

    fn request(&mut self, call: RequestCall) -> Result<Reply, FlowError> {
        self.requests.push(call.clone());
        if !["material-availability", "oven-setpoint"].contains(&call.name.as_str()) {
            let known = ["material-availability", "oven-setpoint"];
            let nearest = nearest(&call.name, known.into_iter());
            return Err(FlowError::NotFound { what: Noun::Request, name: call.name, nearest });
        }
        let Some(material) = call.body["material"].as_str() else {
            let errors = vec![WrongPlace { item: None, path: "/material".to_owned(), text: "is missing".to_owned() }];
            return Err(FlowError::Invalid { detail: "the target needs {material}".to_owned(), errors });
        };
        let failure = |status, kind: &'static str, detail: &str, retry_after| {
            FlowError::Request(Box::new(RequestFailure {
                status,
                kind: kind.into(),
                detail: detail.to_owned(),
                system: "127.0.0.1:9102".to_owned(),
                target: "GET http://127.0.0.1:9102/stock/M-DOWN".to_owned(),
                flow: call.name.clone(),
                elapsed_ms: 1_999,
                attempt: 2,
                retry_after,
                more: Vec::new(),
            }))
        };
        match material {
            "M-DOWN" => Err(failure(503, "circuit-open", "the WMS has been down since 12:04", Some(10))),
            "M-LATE" => Err(failure(504, "timeout", "the WMS did not answer in time", None)),
            "M-ODD" => Err(failure(200, "upstream-error", "a status that is none", None)),
            _ => {
                let stale = (material == "M-OLD").then(|| Duration::from_secs(90));
                let message = format!("material-availability/{}", self.next);
                Ok(Reply { body: json!({ "material": material, "available": 12 }), message, stale })
            }
        }
    }

    fn trace(&self, id: &str) -> Result<Trace, FlowError> {
        let deliveries: Vec<Delivery> = self.deliveries.iter().filter(|one| one.message == id).cloned().collect();
        let record = self.records.iter().find(|one| format!("{}/{}#{}", one.entity, one.id, one.version) == id);
        let (offset, time, body) = match (record, deliveries.first()) {
            (Some(record), _) => (record.offset, record.time, record.body.clone()),
            (None, Some(delivery)) => (delivery.offset, delivery.created, json!({ "asset": "press1" })),
            (None, None) => {
                return Err(FlowError::NotFound { what: Noun::Message, name: id.to_owned(), nearest: None });
            }
        };
        let message = Message {
            id: id.to_owned(),
            offset,
            stream: id.split('/').next().unwrap_or("").to_owned(),
            kind: if record.is_some() { MessageKind::Record } else { MessageKind::Event },
            key: record.and_then(|record| record.key.clone()),
            time,
            source: "wms".to_owned(),
            body,
        };
        let step = |what: &'static str, detail: &str| Step { time, what: what.into(), detail: detail.to_owned() };
        let steps = vec![step("accepted", "over HTTP"), step("committed", &format!("offset {offset}"))];
        Ok(Trace { message, steps, deliveries })
    }

    fn run_batch(&mut self, run: RunBatch) -> Result<Run, FlowError> {
        let RunBatch { name, from, to, actor } = run;
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.name == name) else {
            return Err(FlowError::NotFound {
                what: Noun::Batch,
                nearest: nearest(&name, ["shift-report"].into_iter()),
                name,
            });
        };
        let to = to.unwrap_or_else(wall);
        let from = from.unwrap_or_else(|| to.plus_ns(-8 * 3_600 * SECOND));
        let sequence = batch.runs.first().map_or(1, |run| run.sequence + 1);
        let run = story::run(&name, sequence, from, to, RunCause::Manual, wall());
        batch.runs.insert(0, run.clone());
        self.write_down(&actor, "run", Some(&name), Some(&run.id));
        Ok(run)
    }
}

/// One page of rows that are newest first, behind a place.
fn page<T: Clone>(rows: &[&T], limit: usize, after: Option<&str>) -> Page<T> {
    let start = after.and_then(|after| after.parse().ok()).unwrap_or(0);
    let shown: Vec<T> = rows.iter().skip(start).take(limit).map(|row| (*row).clone()).collect();
    let end = start + shown.len();
    Page { rows: shown, next: (end < rows.len()).then(|| end.to_string()) }
}

fn within(query: &LinesQuery, time: TimestampNs) -> bool {
    query.from <= time && time < query.to
}

impl FakeFlows {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("lock")
    }

    /// Tells those who wait what has come.
    pub fn grow(&self) {
        let next = self.state().next;
        self.grown.send_replace(next);
    }

    /// An event of ours, as a rule publishes it.
    pub fn raise(&self, id: &str, kind: &str) -> u64 {
        let offset = {
            let mut state = self.state();
            let offset = state.offset();
            state.events.push(story::event(offset, id, kind, wall()));
            offset
        };
        self.grow();
        offset
    }

    /// Retention takes what is older than an offset.
    pub fn forget(&self, first: u64) {
        let mut state = self.state();
        state.first = first;
        state.events.retain(|event| event.offset >= first);
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, FlowError>,
    ) -> BoxFuture<'static, Result<T, FlowError>> {
        let failure = self.failure.lock().expect("lock").take();
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => work(&mut self.state()),
        };
        self.grow();
        let mut answering = self.answering.subscribe();
        async move {
            drop(answering.wait_for(|answering| *answering).await);
            outcome
        }
        .boxed()
    }

    fn paused(&self, name: &str, actor: &Actor, pause: bool) -> FlowAnswer<Flow> {
        self.answer(|state| {
            let flow = state.flow(name)?;
            flow.state = if pause { FlowState::Paused } else { FlowState::Running };
            flow.paused_by = pause.then(|| actor.by.clone());
            let flow = flow.clone();
            state.write_down(actor, if pause { "pause" } else { "resume" }, Some(name), None);
            Ok(flow)
        })
    }
}

impl Flows for FakeFlows {
    fn flows(&self) -> FlowAnswer<Vec<Flow>> {
        self.answer(|state| Ok(state.flows.clone()))
    }

    fn flow(&self, name: String) -> FlowAnswer<FlowDetail> {
        self.answer(|state| {
            let flow = state.flow(&name)?.clone();
            let deliveries = state.deliveries.iter().rev().filter(|one| one.flow == name).cloned().collect();
            let definition = json!({ "name": name, "to": { "http": flow.target } });
            Ok(FlowDetail { flow, definition, latency: latency(), deliveries })
        })
    }

    fn pause(&self, name: String, actor: Actor) -> FlowAnswer<Flow> {
        self.paused(&name, &actor, true)
    }

    fn resume(&self, name: String, actor: Actor) -> FlowAnswer<Flow> {
        self.paused(&name, &actor, false)
    }

    fn deliveries(&self, query: DeliveriesQuery) -> FlowAnswer<Page<Delivery>> {
        self.answer(|state| {
            if let Some(flow) = &query.flow {
                state.flow(flow)?;
            }
            let same = |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|wanted| wanted == have);
            let wanted = |one: &&Delivery| {
                same(&query.flow, &one.flow)
                    && same(&query.message, &one.message)
                    && same(&query.key, one.key.as_deref().unwrap_or(""))
                    && (query.states.is_empty() || query.states.contains(&one.state))
            };
            let rows: Vec<&Delivery> = state.deliveries.iter().rev().filter(wanted).collect();
            Ok(page(&rows, query.limit, query.after.as_deref()))
        })
    }

    fn dead_letters(&self, query: DeadLettersQuery) -> FlowAnswer<Page<DeadLetter>> {
        self.answer(|state| {
            if let Some(flow) = &query.flow {
                state.flow(flow)?;
            }
            let wanted = |one: &&DeadLetter| {
                query.flow.as_ref().is_none_or(|flow| *flow == one.flow)
                    && query.state.is_none_or(|state| state == one.state)
            };
            let rows: Vec<&DeadLetter> = state.dead.iter().filter(wanted).collect();
            Ok(page(&rows, query.limit, query.after.as_deref()))
        })
    }

    fn dead_letter(&self, id: String) -> FlowAnswer<DeadLetter> {
        self.answer(|state| state.letter(&id).cloned())
    }

    fn replay(&self, id: String, body: Option<Json>, actor: Actor) -> FlowAnswer<DeadLetter> {
        self.answer(|state| state.replay(&id, body, &actor))
    }

    fn replay_all(&self, filter: DeadFilter, actor: Actor) -> FlowAnswer<u64> {
        self.answer(|state| {
            if let Some(flow) = &filter.flow {
                state.flow(flow)?;
            }
            let fits = |one: &&DeadLetter| {
                one.state == DeadState::Open
                    && filter.flow.as_ref().is_none_or(|flow| *flow == one.flow)
                    && filter.reason.as_ref().is_none_or(|reason| *reason == one.reason)
                    && filter.key.as_ref().is_none_or(|key| one.key.as_ref() == Some(key))
            };
            let ids: Vec<String> = state.dead.iter().filter(fits).map(|one| one.id.clone()).collect();
            for id in &ids {
                state.replay(id, None, &actor)?;
            }
            Ok(ids.len() as u64)
        })
    }

    fn discard(&self, id: String, actor: Actor) -> FlowAnswer<DeadLetter> {
        self.answer(|state| {
            let letter = state.letter(&id)?;
            if letter.state == DeadState::Replayed {
                return Err(FlowError::Conflict { detail: format!("{id} was replayed") });
            }
            (letter.state, letter.by) = (DeadState::Discarded, Some(actor.by.clone()));
            let letter = letter.clone();
            state.write_down(&actor, "discard", Some(&letter.flow), Some(&id));
            Ok(letter)
        })
    }

    fn trace(&self, message: String) -> FlowAnswer<Trace> {
        self.answer(|state| state.trace(&message))
    }

    fn batches(&self) -> FlowAnswer<Vec<Batch>> {
        self.answer(|state| Ok(state.batches.clone()))
    }

    fn run_batch(&self, run: RunBatch) -> FlowAnswer<Run> {
        self.answer(|state| state.run_batch(run))
    }

    fn alarms(&self, query: AlarmsQuery) -> FlowAnswer<Vec<Alarm>> {
        self.answer(|state| {
            let wanted = |one: &&Alarm| {
                (query.states.is_empty() || query.states.contains(&one.state))
                    && (query.globs.is_empty() || query.globs.iter().any(|glob| glob.matches(&one.tag)))
            };
            Ok(state.alarms.iter().filter(wanted).take(query.limit).cloned().collect())
        })
    }

    fn alarm_summary(&self, top: usize) -> FlowAnswer<AlarmSummary> {
        self.answer(|state| {
            let standing = |alarm: &&Alarm| alarm.state != AlarmState::Normal;
            let list = state.alarms.iter().filter(standing).take(top).cloned().collect();
            let count = |priority| {
                let of = |one: &&Alarm| one.priority == priority && (one.active || !one.acknowledged);
                (priority, state.alarms.iter().filter(of).count() as u64)
            };
            let priorities = Priority::ALL.iter().map(|priority| count(*priority)).collect();
            Ok(AlarmSummary { states: by_state(&state.alarms), priorities, list })
        })
    }

    fn act(&self, id: String, action: AlarmAction, actor: Actor) -> FlowAnswer<Alarm> {
        self.answer(|state| state.act(&id, action, &actor))
    }

    fn alarm_journal(&self, query: LinesQuery) -> FlowAnswer<Vec<AlarmLine>> {
        self.answer(|state| {
            let wanted =
                |line: &&AlarmLine| within(&query, line.time) && query.id.as_ref().is_none_or(|id| *id == line.id);
            Ok(state.alarm_lines.iter().rev().filter(wanted).take(query.limit).cloned().collect())
        })
    }

    fn events(&self, query: EventsQuery) -> FlowAnswer<EventsPage> {
        self.answer(|state| Ok(state.events(&query)))
    }

    fn wait_events(&self, next: u64) -> FlowAnswer<()> {
        let mut grown = self.grown.subscribe();
        async move { grown.wait_for(|end| *end > next).await.map(drop).map_err(|_| FlowError::Closed) }.boxed()
    }

    fn publish(&self, events: Vec<NewEvent>, _: Actor) -> FlowAnswer<Vec<Published>> {
        self.answer(|state| Ok(events.into_iter().map(|event| state.publish(event)).collect()))
    }

    fn request(&self, call: RequestCall) -> FlowAnswer<Reply> {
        self.answer(|state| state.request(call))
    }

    fn put_records(&self, records: NewRecords) -> FlowAnswer<Vec<Written>> {
        self.answer(|state| state.put_records(records))
    }

    fn records(&self, query: RecordsQuery) -> FlowAnswer<Page<Record>> {
        self.answer(|state| {
            if !["goods-receipt", "labour"].contains(&query.entity.as_str()) {
                return Err(FlowError::NotFound { what: Noun::Entity, name: query.entity, nearest: None });
            }
            let all = &state.records;
            let is_latest = |one: &Record| {
                !all.iter().any(|other| other.entity == one.entity && other.id == one.id && other.version > one.version)
            };
            let wanted = |one: &&Record| {
                one.entity == query.entity
                    && query.id.as_ref().is_none_or(|id| *id == one.id)
                    && query.key.as_ref().is_none_or(|key| one.key.as_ref() == Some(key))
                    && query.from.is_none_or(|from| from <= one.time)
                    && query.to.is_none_or(|to| one.time < to)
                    && (query.all_versions || is_latest(one))
            };
            let rows: Vec<&Record> = all.iter().filter(wanted).collect();
            Ok(page(&rows, query.limit, query.after.as_deref()))
        })
    }

    fn audit(&self, query: LinesQuery) -> FlowAnswer<Vec<AuditLine>> {
        self.answer(|state| {
            let lines = state.audit.iter().rev().filter(|line| within(&query, line.time));
            Ok(lines.take(query.limit).cloned().collect())
        })
    }

    fn demo(&self, _: String, order: serde_json::Value) -> FlowAnswer<serde_json::Value> {
        self.answer(move |_| Ok(order))
    }

    fn measures(&self) -> FlowAnswer<Measures> {
        self.answer(|state| {
            let measure = |flow: &Flow| FlowMeasure { flow: flow.clone(), latency: latency(), latency_sum_ms: 1_500.0 };
            let journal = JournalMeasure {
                bytes: 4 << 20,
                segments: 2,
                first: state.first,
                next: state.next,
                settled: state.next - 1,
            };
            let flows = state.flows.iter().map(measure).collect();
            Ok(Measures { flows, alarms: by_state(&state.alarms), journal })
        })
    }
}

fn by_state(alarms: &[Alarm]) -> Vec<(AlarmState, u64)> {
    let count = |state| (state, alarms.iter().filter(|alarm| alarm.state == state).count() as u64);
    AlarmState::ALL.iter().map(|state| count(*state)).collect()
}

fn latency() -> Vec<LatencyBucket> {
    let bucket = |le_ms, count| LatencyBucket { le_ms, count };
    vec![bucket(Some(10.0), 70), bucket(Some(100.0), 25), bucket(Some(1_000.0), 4), bucket(None, 1)]
}
