//! The HTTP port of the flows: each call is a job on the flows' shard.

use super::{FlowHandle, FlowShard, compose, lists, shapes};
use crate::server::site::Site;
use alarms::Input;
use delivery::Offset;
use flows::desk::{ActionError, PublishError};
use flows::entry::{EntryKind, Stored};
use flows::journal;
use flows::letters::{Letter, LetterState};
use flows::message::{Message, MessageKind};
use flows::outlet::Pause;
use flows::runs::RunError;
use futures_util::FutureExt;
use http::{
    Actor, AlarmAction, AlarmLine, AlarmSummary, AlarmsQuery, AuditLine, Batch, DeadFilter, DeadLetter,
    DeadLettersQuery, DeadState, DeliveriesQuery, Delivery, DeliveryState, EventsFrom, EventsGap, EventsPage,
    EventsQuery, Flow, FlowAnswer, FlowDetail, FlowError, Flows, LinesQuery, Measures, NewEvent, NewRecords, Noun,
    Page, Published, Record, RecordsQuery, Refusal, Reply, RequestCall, Run, RunBatch, Trace, Written, WrongPlace,
};
use log::Span;
use model::{Refused, TimestampNs};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// Bytes of the journal that one query reads.
const READ_BYTES_MAX: u64 = 512 << 20;
/// Bytes of the journal that are read at once for a page of events.
const EVENTS_BYTES: u64 = 4 << 20;

/// The port over the flows' shard.
pub struct SiteFlows {
    handle: FlowHandle,
    site: Arc<Site>,
}

impl SiteFlows {
    /// The port of a site.
    pub fn new(site: Arc<Site>) -> SiteFlows {
        SiteFlows { handle: site.flows().clone(), site }
    }

    fn ask<T, F>(&self, name: &'static str, on: impl FnOnce(Rc<FlowShard>) -> F + Send + 'static) -> FlowAnswer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, FlowError>> + 'static,
    {
        let handle = self.handle.clone();
        async move { handle.call(name, on).await }.boxed()
    }
}

fn unknown<'n>(what: Noun, name: &str, known: impl Iterator<Item = &'n str>) -> FlowError {
    FlowError::NotFound { what, name: name.to_owned(), nearest: model::device::nearest(name, known).map(str::to_owned) }
}

pub(super) fn unknown_flow(flow: &FlowShard, name: &str) -> FlowError {
    let desk = flow.desk.borrow();
    let names: Vec<&str> = desk.outlets().iter().map(|outlet| outlet.spec.name.as_str()).collect();
    unknown(Noun::Flow, name, names.into_iter().chain(flow.requests.names()))
}

fn refused(refused: Refused) -> FlowError {
    FlowError::Refused(match refused {
        Refused::Disk => Refusal::Disk,
        Refused::Closed => Refusal::Closed,
        Refused::Limit | Refused::Busy => Refusal::Busy,
    })
}

fn action_error(error: ActionError, what: Noun, name: &str) -> FlowError {
    match error {
        ActionError::Unknown => FlowError::NotFound { what, name: name.to_owned(), nearest: None },
        ActionError::Conflict(detail) => FlowError::Conflict { detail },
        ActionError::Alarm(why) => match why {
            alarms::Refused::ShelfTooLong
            | alarms::Refused::ShelfInPast
            | alarms::Refused::Nobody
            | alarms::Refused::NameTooLong
            | alarms::Refused::CommentTooLong => FlowError::Invalid { detail: why.to_string(), errors: Vec::new() },
            _ => FlowError::Conflict { detail: format!("{name}: {why}") },
        },
        ActionError::Refused(why) => refused(why),
    }
}

fn publish_error(error: PublishError, noun: &str) -> FlowError {
    match error {
        PublishError::UnknownEntity => FlowError::NotFound { what: Noun::Entity, name: String::new(), nearest: None },
        PublishError::Invalid(wrong) => FlowError::Invalid {
            detail: format!("{} places are wrong in the {noun}; nothing was taken", wrong.len()),
            errors: wrong
                .into_iter()
                .map(|(item, one)| WrongPlace { item: Some(item), path: one.path, text: one.text })
                .collect(),
        },
        PublishError::Refused(why) => refused(why),
        PublishError::BacklogFull => FlowError::Refused(Refusal::BacklogFull),
    }
}

/// Reads spans of the journal on the helper thread.
async fn read<T: Send + 'static>(
    flow: &FlowShard,
    spans: Vec<Span>,
    on: impl FnOnce(&dyn env::disk::Storage, &[Span]) -> Result<T, String> + Send + 'static,
) -> Result<T, FlowError> {
    let (reply, answer) = oneshot::channel();
    let storage = Arc::clone(&flow.storage);
    let job = Box::new(move || drop(reply.send(on(&*storage, &spans))));
    flow.context.helper().run(job).map_err(|_| FlowError::Busy)?;
    answer.await.map_err(|_| FlowError::Busy)?.map_err(FlowError::Failed)
}

fn bounded(spans: Vec<Span>) -> Vec<Span> {
    let mut bytes = 0;
    let mut newest: Vec<Span> = spans
        .into_iter()
        .rev()
        .take_while(|span| {
            bytes += span.bytes;
            bytes <= READ_BYTES_MAX
        })
        .collect();
    newest.reverse();
    newest
}

fn flow_of(flow: &FlowShard, name: &str) -> Result<Flow, FlowError> {
    let mut desk = flow.desk.borrow_mut();
    let found = desk.flow(name).and_then(|at| desk.row(at, FlowShard::now())).map(shapes::flow);
    drop(desk);
    found.or_else(|| flow.requests.flow(name, FlowShard::now())).ok_or_else(|| unknown_flow(flow, name))
}

async fn pause(flow: Rc<FlowShard>, name: String, actor: Actor, paused: bool) -> Result<Flow, FlowError> {
    let now = FlowShard::now();
    let pause = paused.then(|| Pause { by: actor.by.clone(), comment: actor.comment.clone(), at_ns: now.0 });
    let offset = if flow.requests.knows(&name) {
        flow.requests.set_paused(&flow, &name, pause, &actor.by)
    } else {
        flow.desk.borrow_mut().set_paused(&name, pause, &actor.by, now)
    };
    let offset = offset.map_err(|error| match error {
        ActionError::Unknown => unknown_flow(&flow, &name),
        other => action_error(other, Noun::Flow, &name),
    })?;
    flow.durable(offset).await?;
    flow_of(&flow, &name)
}

fn letter_of(flow: &FlowShard, id: &str) -> Result<DeadLetter, FlowError> {
    let desk = flow.desk.borrow();
    let found = desk.letter(id).map(shapes::letter);
    found.ok_or_else(|| unknown(Noun::DeadLetter, id, desk.letters().map(|letter| letter.id.as_str())))
}

impl Flows for SiteFlows {
    fn flows(&self) -> FlowAnswer<Vec<Flow>> {
        self.ask("flows-list", |flow| async move {
            let now = FlowShard::now();
            let rows = lists::flows(&flow, now).await;
            Ok(rows.into_iter().chain(flow.requests.flows(now)).collect())
        })
    }

    fn flow(&self, name: String) -> FlowAnswer<FlowDetail> {
        let definition = definition(&self.site, &name);
        self.ask("flow-detail", move |flow| async move {
            let row = flow_of(&flow, &name)?;
            let limit = http::limits::DELIVERIES_SHOWN_MAX;
            let query = DeliveriesQuery { flow: Some(name.clone()), limit, ..DeliveriesQuery::default() };
            let deliveries = lists::deliveries_of(&flow, &query).await?.rows;
            let desk = flow.desk.borrow();
            let mut definition = definition;
            if let Some(found) = desk.flow(&name).and_then(|at| desk.outlets()[at].compared.as_ref()) {
                definition["compared"] = serde_json::json!(found);
            }
            let stats = desk.flow(&name).map(|at| shapes::latency(&desk.outlets()[at].stats));
            let latency = stats.or_else(|| flow.requests.latency(&name)).unwrap_or_default();
            Ok(FlowDetail { flow: row, definition, latency, deliveries })
        })
    }

    fn pause(&self, name: String, actor: Actor) -> FlowAnswer<Flow> {
        self.ask("flow-pause", move |flow| pause(flow, name, actor, true))
    }

    fn resume(&self, name: String, actor: Actor) -> FlowAnswer<Flow> {
        self.ask("flow-resume", move |flow| pause(flow, name, actor, false))
    }

    fn deliveries(&self, query: DeliveriesQuery) -> FlowAnswer<Page<Delivery>> {
        self.ask("deliveries", move |flow| async move { lists::deliveries_of(&flow, &query).await })
    }

    fn dead_letters(&self, query: DeadLettersQuery) -> FlowAnswer<Page<DeadLetter>> {
        self.ask("dead-letters", move |flow| async move {
            if let Some(name) = query.flow.as_deref().filter(|name| flow.desk.borrow().flow(name).is_none())
                && !flow.desk.borrow().letters().any(|letter| letter.flow == name)
                && !flow.requests.knows(name)
            {
                return Err(unknown_flow(&flow, name));
            }
            let takes = |letter: &Letter| {
                query.flow.as_ref().is_none_or(|name| letter.flow == *name)
                    && query.state.is_none_or(|state| DeadState::parse(letter.state.word()) == Some(state))
            };
            let ids = lists::letters_of(&flow, query.after.clone(), query.limit.saturating_add(1), takes).await?;
            let next = (ids.len() > query.limit).then(|| ids[query.limit - 1].clone());
            let mut rows = Vec::with_capacity(ids.len().min(query.limit));
            for part in ids[..ids.len().min(query.limit)].chunks(lists::ROWS_PER_POLL) {
                yield_now().await;
                let desk = flow.desk.borrow();
                rows.extend(part.iter().filter_map(|id| desk.letter(id)).map(shapes::letter));
            }
            Ok(Page { rows, next })
        })
    }

    fn dead_letter(&self, id: String) -> FlowAnswer<DeadLetter> {
        self.ask("dead-letter", move |flow| async move { letter_of(&flow, &id) })
    }

    fn replay(&self, id: String, body: Option<serde_json::Value>, actor: Actor) -> FlowAnswer<DeadLetter> {
        self.ask("replay", move |flow| async move {
            letter_of(&flow, &id)?;
            let done = flow.desk.borrow_mut().replay(&id, body, &actor.by, actor.comment, FlowShard::now());
            flow.durable(done.map_err(|error| action_error(error, Noun::DeadLetter, &id))?).await?;
            letter_of(&flow, &id)
        })
    }

    fn replay_all(&self, filter: DeadFilter, actor: Actor) -> FlowAnswer<u64> {
        self.ask("replay-all", move |flow| async move {
            if let Some(name) = filter.flow.as_deref().filter(|name| flow.desk.borrow().flow(name).is_none()) {
                return Err(unknown_flow(&flow, name));
            }
            let takes = |letter: &Letter| {
                filter.flow.as_ref().is_none_or(|name| letter.flow == *name)
                    && filter.reason.as_ref().is_none_or(|reason| letter.reason == *reason)
                    && filter.key.as_ref().is_none_or(|key| letter.key == *key)
            };
            let is_open = |letter: &Letter| letter.state == LetterState::Open && takes(letter);
            let mut ids = lists::letters_of(&flow, None, usize::MAX, is_open).await?;
            ids.reverse(); // oldest first, so that keys keep their order
            let mut count = 0;
            let mut offset = flow.desk.borrow().journal().durable();
            for id in ids {
                yield_now().await;
                let done = flow.desk.borrow_mut().replay(&id, None, &actor.by, actor.comment.clone(), FlowShard::now());
                match done {
                    Ok(at) => (count, offset) = (count + 1, at),
                    // somebody else has seen to it meanwhile
                    Err(ActionError::Unknown | ActionError::Conflict(_)) => {}
                    Err(error) => return Err(action_error(error, Noun::DeadLetter, &id)),
                }
            }
            flow.durable(offset).await?;
            Ok(count)
        })
    }

    fn discard(&self, id: String, actor: Actor) -> FlowAnswer<DeadLetter> {
        self.ask("discard", move |flow| async move {
            letter_of(&flow, &id)?;
            let done = flow.desk.borrow_mut().discard(&id, &actor.by, actor.comment, FlowShard::now());
            flow.durable(done.map_err(|error| action_error(error, Noun::DeadLetter, &id))?).await?;
            letter_of(&flow, &id)
        })
    }

    fn trace(&self, message: String) -> FlowAnswer<Trace> {
        self.ask("trace", move |flow| super::trace::trace(flow, message))
    }

    fn batches(&self) -> FlowAnswer<Vec<Batch>> {
        let site = Arc::clone(&self.site);
        self.ask("batches", move |flow| async move {
            let rows = lists::flows(&flow, FlowShard::now()).await;
            let desk = flow.desk.borrow();
            let mut all = Vec::new();
            for (at, book) in desk.batches().books().iter().enumerate() {
                let name = &book.spec.spec.name;
                let row = rows.iter().find(|row| row.name == *name);
                let state = row.map_or(http::FlowState::Running, |row| row.state);
                let runs = book.runs().take(http::limits::RUNS_SHOWN_MAX);
                let runs = runs.map(|run| shapes::run(run, &|id| state_of(&desk, id))).collect();
                all.push(shapes::batch(site.config(), book, desk.batches().next_run(at), state, runs));
            }
            Ok(all)
        })
    }

    fn run_batch(&self, run: RunBatch) -> FlowAnswer<Run> {
        self.ask("run-batch", move |flow| async move {
            let span = match (run.from, run.to) {
                (None, None) => None,
                (Some(from), to) => Some((from, to.unwrap_or_else(FlowShard::now))),
                (None, Some(_)) => {
                    let detail = "give from, too, or neither of them".to_owned();
                    return Err(FlowError::Invalid { detail, errors: Vec::new() });
                }
            };
            let ordered = flow.desk.borrow_mut().order_run(&run.name, span, FlowShard::now());
            let order = ordered.map_err(|error| match error {
                RunError::Unknown => {
                    let desk = flow.desk.borrow();
                    unknown(Noun::Batch, &run.name, desk.batches().books().iter().map(|b| b.spec.spec.name.as_str()))
                }
                RunError::Busy => {
                    FlowError::Conflict { detail: format!("a run of {} is being made; wait for it", run.name) }
                }
                RunError::Period(detail) => FlowError::Invalid { detail, errors: Vec::new() },
            })?;
            let (reply, answer) = oneshot::channel();
            flow.context.spawn(
                shard::Lane::Batch,
                "batch",
                compose::make(Rc::clone(&flow), order, Some((run.actor.by, reply))),
            );
            let made = answer.await.map_err(|_| FlowError::Closed)?.map_err(FlowError::Failed)?;
            let end = flow.desk.borrow().journal().end();
            flow.durable(end).await?;
            Ok(shapes::run(&made, &|_| DeliveryState::Waiting))
        })
    }

    fn alarms(&self, query: AlarmsQuery) -> FlowAnswer<Vec<http::Alarm>> {
        self.ask("alarms", move |flow| async move {
            let is_wanted = |alarm: &alarms::Alarm| {
                let state = shapes::alarm_state(alarm.state().word());
                (query.states.is_empty() || query.states.contains(&state))
                    && (query.globs.is_empty() || query.globs.iter().any(|glob| glob.matches(alarm.tag())))
            };
            Ok(lists::most_urgent(&flow, query.limit, is_wanted).await)
        })
    }

    fn alarm_summary(&self, top: usize) -> FlowAnswer<AlarmSummary> {
        self.ask("alarm-summary", move |flow| async move { Ok(lists::summary(&flow, top).await) })
    }

    fn act(&self, id: String, action: AlarmAction, actor: Actor) -> FlowAnswer<http::Alarm> {
        self.ask("alarm-act", move |flow| async move {
            let now = FlowShard::now();
            let input = input(action, actor, now);
            let done = flow.desk.borrow_mut().act(&id, &input, now);
            let offset = done.map_err(|error| match error {
                ActionError::Unknown => unknown_alarm(&flow, &id),
                other => action_error(other, Noun::Alarm, &id),
            })?;
            flow.durable(offset).await?;
            flow.desk.borrow().alarms().get(&id).map(shapes::alarm).ok_or(FlowError::Closed)
        })
    }

    fn alarm_journal(&self, query: LinesQuery) -> FlowAnswer<Vec<AlarmLine>> {
        self.ask("alarm-journal", move |flow| async move {
            if let Some(id) = query.id.as_deref().filter(|id| flow.desk.borrow().alarms().get(id).is_none()) {
                return Err(unknown_alarm(&flow, id));
            }
            let id = query.id.clone();
            lines(&flow, &query, move |stored| {
                let is_it = id.as_deref().is_none_or(|id| stored.id() == id);
                if is_it { shapes::alarm_line(stored) } else { None }
            })
            .await
        })
    }

    fn events(&self, query: EventsQuery) -> FlowAnswer<EventsPage> {
        self.ask("events", move |flow| events(flow, query))
    }

    fn wait_events(&self, next: u64) -> FlowAnswer<()> {
        self.ask("wait-events", move |flow| async move {
            std::future::poll_fn(|cx| flow.desk.borrow_mut().poll_event(Offset(next), cx)).await;
            Ok(())
        })
    }

    fn publish(&self, events: Vec<NewEvent>, _: Actor) -> FlowAnswer<Vec<Published>> {
        self.ask("publish", move |flow| async move {
            let now = FlowShard::now();
            let wrong = |error| publish_error(error, "events");
            let turn = flow.publishing.lock().await;
            let mut group = flow.desk.borrow().begin_events().map_err(wrong)?;
            let count = events.len();
            for (at, event) in events.into_iter().enumerate() {
                lists::pause_before(at).await;
                flow.desk.borrow().add_event(&mut group, new_event(&flow, at, event, now));
            }
            lists::pause_behind(count).await;
            let done = flow.desk.borrow_mut().write_events(group, now).map_err(wrong)?;
            drop(turn);
            let highest = done.iter().map(|one| one.offset).max().unwrap_or_default();
            flow.durable(highest).await?;
            let answer =
                |one: flows::desk::Published| Published { id: one.id, offset: one.offset.0, duplicate: one.duplicate };
            Ok(done.into_iter().map(answer).collect())
        })
    }

    fn request(&self, call: RequestCall) -> FlowAnswer<Reply> {
        self.ask("request", move |flow| async move { super::requests::answer(flow, call).await })
    }

    fn put_records(&self, records: NewRecords) -> FlowAnswer<Vec<Written>> {
        self.ask("put-records", move |flow| async move {
            let (now, entity) = (FlowShard::now(), records.entity);
            let wrong = |error| match error {
                PublishError::UnknownEntity => unknown_entity(&flow, &entity),
                other => publish_error(other, "documents"),
            };
            let turn = flow.recording.lock().await;
            let mut group = flow.desk.borrow().begin_records(&entity).map_err(wrong)?;
            let count = records.documents.len();
            for (at, document) in records.documents.into_iter().enumerate() {
                lists::pause_before(at).await;
                flow.desk.borrow().add_record(&mut group, document, now);
            }
            lists::pause_behind(count).await;
            let done = flow.desk.borrow_mut().write_records(group, now).map_err(wrong)?;
            drop(turn);
            let highest = done.iter().map(|one| one.offset).max().unwrap_or_default();
            flow.durable(highest).await?;
            let answer = |one: flows::desk::Written| Written {
                entity: entity.clone(),
                id: one.id,
                version: one.version,
                offset: one.offset.0,
                duplicate: one.duplicate,
            };
            Ok(done.into_iter().map(answer).collect())
        })
    }

    fn records(&self, query: RecordsQuery) -> FlowAnswer<Page<Record>> {
        self.ask("records", move |flow| records(flow, query))
    }

    fn audit(&self, query: LinesQuery) -> FlowAnswer<Vec<AuditLine>> {
        self.ask("audit", move |flow| async move { lines(&flow, &query, shapes::audit_line).await })
    }

    fn demo(&self, system: String, order: serde_json::Value) -> FlowAnswer<serde_json::Value> {
        let site = Arc::clone(&self.site);
        self.ask("demo", move |_| async move { super::demo::tell(&site, &system, &order).await })
    }

    fn measures(&self) -> FlowAnswer<Measures> {
        self.ask("measures", |flow| async move { Ok(lists::measures(&flow).await) })
    }
}

/// How a run's delivery is: what is neither held nor a dead letter has gone out long ago.
fn state_of(desk: &flows::Desk, id: &str) -> DeliveryState {
    let is_dead = || desk.letter(id).is_some_and(|letter| letter.state == LetterState::Open);
    let gone = || if is_dead() { DeliveryState::Dead } else { DeliveryState::Delivered };
    desk.delivery_state(id).and_then(DeliveryState::parse).unwrap_or_else(gone)
}

fn unknown_alarm(flow: &FlowShard, id: &str) -> FlowError {
    let desk = flow.desk.borrow();
    let ids: Vec<&str> = desk.alarms().iter().map(alarms::Alarm::id).collect();
    unknown(Noun::Alarm, id, ids.into_iter())
}

fn unknown_entity(flow: &FlowShard, entity: &str) -> FlowError {
    let desk = flow.desk.borrow();
    unknown(Noun::Entity, entity, desk.entities().iter().map(|spec| spec.name.as_str()))
}

fn input(action: AlarmAction, actor: Actor, now: TimestampNs) -> Input {
    let Actor { by, comment } = actor;
    match action {
        AlarmAction::Acknowledge => Input::Acknowledge { by, comment },
        AlarmAction::Confirm => Input::Confirm { by, comment },
        AlarmAction::ShelveFor(time) => {
            let until = now.plus_ns(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
            Input::Shelve { by, until, comment }
        }
        AlarmAction::ShelveUntil(until) => Input::Shelve { by, until, comment },
        AlarmAction::ShelveOnce => Input::ShelveOnce { by, comment },
        AlarmAction::Unshelve => Input::Unshelve { by },
        AlarmAction::Suppress => Input::Suppress { by, comment },
        AlarmAction::Unsuppress => Input::Unsuppress { by },
        AlarmAction::OutOfService => Input::OutOfService { by, comment },
        AlarmAction::InService => Input::InService { by },
        AlarmAction::Reset => Input::Reset { by },
    }
}

/// An event as it came in; one without an id gets one from its place in the journal's time.
fn new_event(flow: &FlowShard, at: usize, event: NewEvent, now: TimestampNs) -> flows::desk::Event {
    let id = event.id.unwrap_or_else(|| format!("{}-{}-{at}", now.0, flow.desk.borrow().journal().end()));
    let mut extensions = event.extensions;
    let message = match extensions.remove("message") {
        Some(serde_json::Value::String(text)) => Some(text),
        _ => event.data.get("message").and_then(|text| text.as_str()).map(str::to_owned),
    };
    flows::desk::Event {
        id,
        source: event.source,
        kind: event.kind,
        subject: event.subject,
        time: event.time.unwrap_or(now),
        severity: event.severity,
        message,
        extensions,
        data: event.data,
    }
}

async fn events(flow: Rc<FlowShard>, query: EventsQuery) -> Result<EventsPage, FlowError> {
    let (oldest, durable) = {
        let desk = flow.desk.borrow();
        (desk.journal().oldest(), desk.journal().durable())
    };
    let from = match query.from {
        EventsFrom::Earliest => oldest.0 + 1,
        EventsFrom::Now => durable.0 + 1,
        EventsFrom::Offset(offset) => offset,
    };
    let gap = (from <= oldest.0 && oldest.0 > 0 && matches!(query.from, EventsFrom::Offset(_)) && from > 0)
        .then_some(EventsGap { from, to: oldest.0 + 1 });
    let after = Offset(from.max(oldest.0 + 1).saturating_sub(1));
    if after >= durable {
        return Ok(EventsPage { events: Vec::new(), next: after.0 + 1, gap });
    }
    let spans = flow.desk.borrow().journal().spans_after(after, EVENTS_BYTES);
    let end = spans.last().map_or(after.0, |span| span.to.0);
    let kind = query.kind.map(|kind| MessageKind::Event.stream(&kind));
    let limit = query.limit;
    let (events, upto) = read(&flow, spans, move |storage, spans| {
        let (mut events, mut upto, mut full) = (Vec::new(), after.0, false);
        journal::read(storage, spans, &mut |stored| {
            if stored.offset <= after {
                return ControlFlow::Continue(());
            }
            if events.len() >= limit {
                full = true;
                return ControlFlow::Break(());
            }
            upto = stored.offset.0;
            let wanted = kind.as_ref().map_or(stored.stream().starts_with("event/"), |kind| stored.stream() == kind);
            if wanted && stored.kind == EntryKind::Message {
                events.extend(Message::read(&stored).map(|message| shapes::event(&message)));
            }
            ControlFlow::Continue(())
        })?;
        Ok((events, if full { upto } else { upto.max(end) }))
    })
    .await?;
    Ok(EventsPage { events, next: upto + 1, gap })
}

/// Lines of the journal, newest first.
async fn lines<T: Send + 'static>(
    flow: &FlowShard,
    query: &LinesQuery,
    of: impl Fn(&Stored<'_>) -> Option<T> + Send + 'static,
) -> Result<Vec<T>, FlowError> {
    let spans = bounded(flow.desk.borrow().journal().spans_between(query.from, query.to));
    let (from, to, limit) = (query.from, query.to, query.limit);
    read(flow, spans, move |storage, spans| {
        let mut lines = std::collections::VecDeque::new();
        journal::read(storage, spans, &mut |stored| {
            if from <= stored.time()
                && stored.time() < to
                && let Some(line) = of(&stored)
            {
                if lines.len() == limit {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
            ControlFlow::Continue(())
        })?;
        Ok(lines.into_iter().rev().collect())
    })
    .await
}

async fn records(flow: Rc<FlowShard>, query: RecordsQuery) -> Result<Page<Record>, FlowError> {
    if !flow.desk.borrow().entities().iter().any(|spec| spec.name == query.entity) {
        return Err(unknown_entity(&flow, &query.entity));
    }
    let after = query.after.as_deref().and_then(|after| after.parse().ok()).map_or(0, |after: u64| after);
    let one = query.id.as_ref().filter(|_| !query.all_versions);
    let newest = one.map(|id| flow.desk.borrow().records().newest(&query.entity, id));
    let spans = {
        let desk = flow.desk.borrow();
        match newest {
            Some(None) => return Ok(Page { rows: Vec::new(), next: None }),
            Some(Some(mark)) => desk.journal().spans_after(Offset(mark.offset.0 - 1), 1),
            None => bounded(desk.journal().spans_after(Offset(after), u64::MAX)),
        }
    };
    let stream = MessageKind::Record.stream(&query.entity);
    let limit = query.limit;
    let (rows, more) = read(&flow, spans, move |storage, spans| {
        let mut rows: Vec<Record> = Vec::new();
        let mut place: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
        journal::read(storage, spans, &mut |stored| {
            if stored.kind != EntryKind::Message || stored.stream() != stream || stored.offset.0 <= after {
                return ControlFlow::Continue(());
            }
            let in_time =
                query.from.is_none_or(|from| stored.time() >= from) && query.to.is_none_or(|to| stored.time() < to);
            let Some(record) = in_time.then(|| Message::read(&stored)).flatten().map(|m| shapes::record(&m)) else {
                return ControlFlow::Continue(());
            };
            let wanted = query.id.as_ref().is_none_or(|id| record.id == *id)
                && query.key.as_ref().is_none_or(|key| record.key.as_deref() == Some(key));
            if !wanted {
                return ControlFlow::Continue(());
            }
            match place.get(&record.id).filter(|_| !query.all_versions) {
                Some(at) => rows[*at] = record,
                None => {
                    place.insert(record.id.clone(), rows.len());
                    rows.push(record);
                }
            }
            ControlFlow::Continue(())
        })?;
        rows.sort_by_key(|record| record.offset);
        let more = rows.len() > limit;
        // here, on the helper's thread: to let go of all that were found takes long
        rows.truncate(limit);
        rows.shrink_to_fit();
        Ok((rows, more))
    })
    .await?;
    let next = more.then(|| rows.last().map(|record| record.offset.to_string())).flatten();
    Ok(Page { rows, next })
}

/// A flow's definition as configured, without secrets.
fn definition(site: &Site, name: &str) -> serde_json::Value {
    super::definition::of(site.config(), name)
}
