//! Lists of the flows' shard: looked through and made a part a poll, so that telemetry is looked at in between.
//!
//! A plant may have hundreds of flows with thousands of deliveries each, ten thousand dead letters and twenty
//! thousand alarms. Between two parts anything may change: a row is as it is when it is made.

use super::{FlowShard, shapes};
use flows::desk::{DeliveryFilter, DeliveryList};
use flows::letters::Letter;
use http::{
    AlarmState, AlarmSummary, DeliveriesQuery, Delivery, Flow, FlowError, FlowMeasure, JournalMeasure, Measures, Page,
    Priority,
};
use model::TimestampNs;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use tokio::task::yield_now;

/// Rows of a list, and events or documents of a call, that are made ready in one poll.
pub const ROWS_PER_POLL: usize = 4;
/// Dead letters or alarms that are looked at in one poll.
const LOOKED_PER_POLL: usize = 32;

/// Lets telemetry be looked at before every few of a call's events or documents, but before the first.
pub async fn pause_before(at: usize) {
    if at > 0 && at.is_multiple_of(ROWS_PER_POLL) {
        yield_now().await;
    }
}

/// To write many is a poll of its own; few are written in the poll that made them ready.
pub async fn pause_behind(count: usize) {
    if count > ROWS_PER_POLL {
        yield_now().await;
    }
}

/// A page of deliveries: looked for, and made into rows, a part a poll.
pub async fn deliveries_of(flow: &FlowShard, query: &DeliveriesQuery) -> Result<Page<Delivery>, FlowError> {
    let at = match &query.flow {
        None => None,
        Some(name) => match flow.desk.borrow().flow(name) {
            Some(at) => Some(at),
            None if flow.requests.knows(name) => return Ok(Page { rows: Vec::new(), next: None }), // answered, not delivered
            None => return Err(super::port::unknown_flow(flow, name)),
        },
    };
    let filter = DeliveryFilter {
        flow: at,
        key: query.key.clone(),
        message: query.message.clone(),
        offset: None,
        states: query.states.iter().map(|state| state.word()).collect(),
    };
    let list = flow.desk.borrow().list_deliveries(filter, query.after.as_deref(), query.limit);
    listed(flow, list.ok_or_else(|| unknown_after("delivery"))?).await
}

/// A page behind something that is not there: to begin anew would be a list without an end.
fn unknown_after(what: &str) -> FlowError {
    let detail = format!("after is no {what}'s id; give the id of the last row of the page before");
    FlowError::Invalid { detail, errors: Vec::new() }
}

/// Looks through the deliveries and makes the rows of those that are wanted, a part a poll.
pub async fn listed(flow: &FlowShard, mut list: DeliveryList) -> Result<Page<Delivery>, FlowError> {
    while flow.desk.borrow().look_on(&mut list) {
        yield_now().await;
    }
    let (places, next) = list.page(&flow.desk.borrow());
    let mut rows = Vec::with_capacity(places.len());
    for part in places.chunks(ROWS_PER_POLL) {
        yield_now().await;
        let desk = flow.desk.borrow();
        let found = part.iter().filter_map(|place| desk.delivery(*place));
        rows.extend(found.map(|(name, row)| shapes::delivery(name, &row)));
    }
    Ok(Page { rows, next })
}

/// The ids of at most `limit` dead letters behind one, newest first, looked for a part a poll.
pub async fn letters_of(
    flow: &FlowShard,
    after: Option<String>,
    limit: usize,
    takes: impl Fn(&Letter) -> bool,
) -> Result<Vec<String>, FlowError> {
    let mut ids = Vec::new();
    let place = |after: String| flow.desk.borrow().letter_place(&after).ok_or_else(|| unknown_after("dead letter"));
    let mut last = after.map(place).transpose()?;
    while ids.len() < limit {
        let newest = {
            let desk = flow.desk.borrow();
            let mut newest = None;
            for (place, letter) in desk.letters_behind(last.as_ref()).take(LOOKED_PER_POLL) {
                newest = Some(place);
                if takes(letter) && ids.len() < limit {
                    ids.push(letter.id.clone());
                }
            }
            newest.cloned()
        };
        if newest.is_none() {
            break;
        }
        last = newest;
        yield_now().await;
    }
    Ok(ids)
}

/// Looks at every alarm, some a poll.
async fn each_alarm(flow: &FlowShard, mut on: impl FnMut(&alarms::Alarm)) {
    let mut last: Option<String> = None;
    loop {
        {
            let desk = flow.desk.borrow();
            let mut newest = None;
            for alarm in desk.alarms().behind(last.as_deref()).take(LOOKED_PER_POLL) {
                on(alarm);
                newest = Some(alarm.id());
            }
            last = match newest {
                Some(id) => Some(id.to_owned()),
                None => return,
            };
        }
        yield_now().await;
    }
}

/// The alarms of some ids as they are now, some a poll.
async fn alarms_of(flow: &FlowShard, ids: impl Iterator<Item = String>) -> Vec<http::Alarm> {
    let mut rows = Vec::new();
    for (at, id) in ids.enumerate() {
        pause_before(at).await;
        rows.extend(flow.desk.borrow().alarms().get(&id).map(shapes::alarm));
    }
    rows
}

/// The first ones of an order, at most `limit`.
struct First<T> {
    limit: usize,
    found: BTreeSet<T>,
}

impl<T: Ord> First<T> {
    const fn new(limit: usize) -> First<T> {
        First { limit, found: BTreeSet::new() }
    }

    fn put(&mut self, one: T) {
        self.found.insert(one);
        if self.found.len() > self.limit {
            self.found.pop_last();
        }
    }
}

/// The most urgent alarms that are wanted, at most `limit`.
pub async fn most_urgent(flow: &FlowShard, limit: usize, wants: impl Fn(&alarms::Alarm) -> bool) -> Vec<http::Alarm> {
    let mut first = First::new(limit);
    each_alarm(flow, |alarm| {
        if wants(alarm) {
            first.put(urgency(alarm));
        }
    })
    .await;
    alarms_of(flow, first.found.into_iter().map(|(.., id)| id)).await
}

/// What alarms are ordered by: priority, then unacknowledged, then newest; and the id.
type Urgency = (Priority, bool, Reverse<TimestampNs>, String);

fn urgency(alarm: &alarms::Alarm) -> Urgency {
    let priority = shapes::priority(alarm.priority());
    (priority, alarm.is_acknowledged(), Reverse(alarm.last_change()), alarm.id().to_owned())
}

/// How many alarms are in which state and of which priority, and the most urgent ones.
pub async fn summary(flow: &FlowShard, top: usize) -> AlarmSummary {
    let mut states: Vec<(AlarmState, u64)> = AlarmState::ALL.iter().map(|state| (*state, 0)).collect();
    let mut priorities: Vec<(Priority, u64)> = Priority::ALL.iter().map(|priority| (*priority, 0)).collect();
    let mut first = First::new(top);
    each_alarm(flow, |alarm| {
        let (state, priority) = (shapes::alarm_state(alarm.state().word()), shapes::priority(alarm.priority()));
        states.iter_mut().filter(|(known, _)| *known == state).for_each(|(_, count)| *count += 1);
        let is_set_aside = matches!(state, AlarmState::Shelved | AlarmState::Suppressed | AlarmState::OutOfService);
        if !is_set_aside && (alarm.is_active() || !alarm.is_acknowledged()) {
            priorities.iter_mut().filter(|(known, _)| *known == priority).for_each(|(_, count)| *count += 1);
        }
        if state != AlarmState::Normal {
            first.put((is_set_aside, urgency(alarm)));
        }
    })
    .await;
    let list = alarms_of(flow, first.found.into_iter().map(|(_, (.., id))| id)).await;
    AlarmSummary { states, priorities, list }
}

/// Every flow that delivers, in the order of the configuration.
pub async fn flows(flow: &FlowShard, now: TimestampNs) -> Vec<Flow> {
    let count = flow.desk.borrow().outlets().len();
    let mut rows = Vec::with_capacity(count);
    for at in 0..count {
        pause_before(at).await;
        rows.extend(flow.desk.borrow_mut().row(at, now).map(shapes::flow));
    }
    rows
}

/// What is counted of the flows, the alarms and the journal.
pub async fn measures(flow: &FlowShard) -> Measures {
    let now = FlowShard::now();
    let mut measures: Vec<FlowMeasure> = Vec::new();
    for (at, row) in flows(flow, now).await.into_iter().enumerate() {
        pause_before(at).await;
        let desk = flow.desk.borrow();
        let stats = &desk.outlets()[at].stats;
        measures.push(FlowMeasure { flow: row, latency: shapes::latency(stats), latency_sum_ms: stats.sum_ms() });
    }
    measures.extend(flow.requests.measures(now));
    let mut alarms: Vec<(AlarmState, u64)> = AlarmState::ALL.iter().map(|state| (*state, 0)).collect();
    each_alarm(flow, |alarm| {
        let state = shapes::alarm_state(alarm.state().word());
        alarms.iter_mut().filter(|(known, _)| *known == state).for_each(|(_, count)| *count += 1);
    })
    .await;
    let desk = flow.desk.borrow();
    let journal = desk.journal();
    let journal = JournalMeasure {
        bytes: journal.stored_bytes(),
        segments: journal.segments() as u64,
        first: journal.oldest().0 + 1,
        next: journal.end().0 + 1,
        settled: desk.low().0 + 1,
    };
    Measures { flows: measures, alarms, journal }
}
