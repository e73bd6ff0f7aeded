//! `/v1/alarms`: the list, what an operator does (ISA-18.2, OPC 10000-9), and the alarm journal.

use crate::{
    batches::{lines, moment},
    body::{self, Places},
    business::{AlarmAction, AlarmState, AlarmSummary, AlarmsQuery, Priority},
    encode::{self, Format},
    failure,
    limits::{ACTION_BODY_BYTES_MAX, STREAM_ALARMS_TOP},
    lists,
    named::Named,
    problem::{Problem, short},
    query::{Params, duration_ns, nearest},
    routes,
    state::App,
};
use axum::{
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use model::TimestampNs;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

const COLUMNS: &str = "id,rule,tag,event,severity,priority,state,active,acknowledged,confirmed,latched,shelved,\
     suppressed,out_of_service,value,message,since,cleared,count,last_change,by,comment";
const LINE_COLUMNS: &str = "time,offset,id,rule,tag,what,state,value,by,comment";

/// What can be done to an alarm, as the last part of the path says it.
pub(crate) const ACTIONS: [&str; 9] =
    ["ack", "confirm", "shelve", "unshelve", "suppress", "unsuppress", "out-of-service", "in-service", "reset"];

/// `GET /v1/alarms`.
pub(crate) async fn alarms(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::ALARMS, query.as_deref())?;
    let asked = AlarmsQuery {
        states: lists::words(&params, "state", AlarmState::ALL, AlarmState::word)?,
        globs: params.globs()?.unwrap_or_default(),
        limit: lists::limit(&params)?,
    };
    Ok(lists::all(format, COLUMNS, failure::ask(&app, app.flows.alarms(asked)).await?))
}

/// What a person says with an action; the last three belong to a shelf.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActionBody {
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default, rename = "for")]
    lasting: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    once: Option<bool>,
}

/// `POST /v1/alarms/{id}/{action}`.
pub(crate) async fn act(
    State(app): State<App>,
    Named((id, word)): Named<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::read(&routes::ALARM_ACTION, query.as_deref())?;
    if !ACTIONS.contains(&word.as_str()) {
        return Err(no_action(&word));
    }
    let given: ActionBody = body::members(&app, &headers, body, ACTION_BODY_BYTES_MAX).await?;
    let action = action(&word, &given, app.backend.now())?;
    let actor = body::actor(given.by, given.comment)?;
    Ok(encode::json(&failure::commit(&app, app.flows.act(id, action, actor), &Places::One).await?))
}

fn no_action(word: &str) -> Problem {
    let advice = match nearest(word, &ACTIONS) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("write one of {}", ACTIONS.join(", ")),
    };
    let detail = format!("nothing called {} can be done to an alarm; {advice}", short(word));
    Problem::new(StatusCode::NOT_FOUND, "unknown-action", "The action is unknown", detail)
}

/// The action that a word and a body mean.
fn action(word: &str, given: &ActionBody, now: TimestampNs) -> Result<AlarmAction, Problem> {
    let shelf = given.lasting.is_some() || given.until.is_some() || given.once.is_some();
    if shelf && word != "shelve" {
        return Err(Problem::body(format!("for, until and once belong to shelve, not to {word}; leave them out")));
    }
    Ok(match word {
        "ack" => AlarmAction::Acknowledge,
        "confirm" => AlarmAction::Confirm,
        "unshelve" => AlarmAction::Unshelve,
        "suppress" => AlarmAction::Suppress,
        "unsuppress" => AlarmAction::Unsuppress,
        "out-of-service" => AlarmAction::OutOfService,
        "in-service" => AlarmAction::InService,
        "reset" => AlarmAction::Reset,
        _ => return shelve(given, now),
    })
}

fn shelve(given: &ActionBody, now: TimestampNs) -> Result<AlarmAction, Problem> {
    const RIGHT: &str = "write one of \"for\": \"15m\", \"until\": \"2026-01-31T12:00:00Z\" or \"once\": true";
    let once = given.once.unwrap_or(false);
    match (&given.lasting, &given.until, once) {
        (Some(text), None, false) => match duration_ns(text).and_then(|ns| u64::try_from(ns).ok()) {
            Some(ns) if ns > 0 => Ok(AlarmAction::ShelveFor(Duration::from_nanos(ns))),
            _ => Err(Problem::body(format!("for {} is no time; write e.g. \"15m\"", short(text)))),
        },
        (None, Some(text), false) => match moment("until", Some(text.clone()), now)? {
            Some(until) if until > now => Ok(AlarmAction::ShelveUntil(until)),
            _ => Err(Problem::body(format!("until {} has passed; write a time to come", short(text)))),
        },
        (None, None, true) => Ok(AlarmAction::ShelveOnce),
        (None, None, false) => Err(Problem::body(format!("how long to shelve is missing; {RIGHT}"))),
        _ => Err(Problem::body(format!("for, until and once exclude each other; {RIGHT}"))),
    }
}

/// `GET /v1/alarms/journal`.
pub(crate) async fn journal(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::of(&headers)?;
    let params = Params::read(&routes::ALARM_JOURNAL, query.as_deref())?;
    let asked = lines(&app, &params, lists::text(&params, "id")?)?;
    Ok(lists::all(format, LINE_COLUMNS, failure::ask(&app, app.flows.alarm_journal(asked)).await?))
}

/// Counts and the most urgent alarms, for the dashboard's stream.
pub(crate) async fn summary(app: &App) -> Result<Value, Problem> {
    let AlarmSummary { states, priorities, list } =
        failure::ask(app, app.flows.alarm_summary(STREAM_ALARMS_TOP)).await?;
    let mut by_state: Map<String, Value> =
        AlarmState::ALL.iter().map(|state| (state.word().to_owned(), json!(0))).collect();
    by_state.extend(states.into_iter().map(|(state, count)| (state.word().to_owned(), json!(count))));
    let mut by_priority: Map<String, Value> =
        Priority::ALL.iter().map(|priority| (priority.word().to_owned(), json!(0))).collect();
    by_priority.extend(priorities.into_iter().map(|(priority, count)| (priority.word().to_owned(), json!(count))));
    Ok(json!({ "states": by_state, "priorities": by_priority, "list": list }))
}
