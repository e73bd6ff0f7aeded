//! One message from its arrival to every delivery.

use super::{FlowShard, shapes};
use delivery::Offset;
use flows::desk::DeliveryFilter;
use flows::entry::{EntryKind, Stored};
use flows::journal;
use flows::message::{Message, MessageKind};
use http::{FlowError, Noun, Step, Trace};
use model::TimestampNs;
use serde_json::Value;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Bytes of the journal behind a message that are searched for what became of it.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;
/// Deliveries that are shown.
const DELIVERIES_MAX: usize = 10_000;
/// Steps that are shown.
const STEPS_MAX: usize = 500;

/// What the journal says of a message.
struct Found {
    message: Message,
    steps: Vec<Step>,
    ended: Vec<(String, flows::outlet::Row)>,
}

/// Traces a message by its id.
pub async fn trace(flow: Rc<FlowShard>, id: String) -> Result<Trace, FlowError> {
    let offset = flow.desk.borrow().find_message(&id);
    let Some(offset) = offset else {
        return flow.requests.trace(&id).ok_or(FlowError::NotFound { what: Noun::Message, name: id, nearest: None });
    };
    let found = search(&flow, offset).await?;
    let Some(found) = found else {
        return Err(FlowError::NotFound { what: Noun::Message, name: id, nearest: None });
    };
    let filter = DeliveryFilter { offset: Some(offset), ..DeliveryFilter::default() };
    let list = flow.desk.borrow().list_deliveries(filter, None, DELIVERIES_MAX);
    let mut deliveries = match list {
        Some(list) => super::lists::listed(&flow, list).await?.rows,
        None => Vec::new(), // only where it is to begin behind something
    };
    for (name, row) in &found.ended {
        if !deliveries.iter().any(|delivery| delivery.id == row.id) {
            deliveries.push(shapes::delivery(name, row));
        }
    }
    deliveries.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Trace { message: shapes::message(&found.message), steps: found.steps, deliveries })
}

async fn search(flow: &Rc<FlowShard>, offset: Offset) -> Result<Option<Found>, FlowError> {
    let spans = flow.desk.borrow().journal().spans_after(Offset(offset.0 - 1), SEARCHED_BYTES_MAX);
    let (reply, answer) = oneshot::channel();
    let storage = Arc::clone(&flow.storage);
    let job = Box::new(move || {
        let mut found: Option<Found> = None;
        let read = journal::read(&*storage, &spans, &mut |stored| {
            if stored.offset == offset {
                found = Message::read(&stored).map(|message| begun(message, &stored));
            } else if let Some(found) = found.as_mut().filter(|_| stored.key() == offset.0) {
                note(found, &stored);
            }
            ControlFlow::Continue(())
        });
        let _ = reply.send(read.map(|_| found));
    });
    flow.context.helper().run(job).map_err(|_| FlowError::Busy)?;
    answer.await.map_err(|_| FlowError::Busy)?.map_err(FlowError::Failed)
}

fn begun(message: Message, stored: &Stored<'_>) -> Found {
    let what = match message.kind() {
        MessageKind::Event => "published",
        MessageKind::Record => "taken in",
        MessageKind::Tag => "changed",
        MessageKind::Batch => "composed",
    };
    let detail = format!("{} as {}, durable at offset {}", message.id, message.stream, stored.offset);
    let steps = vec![Step { time: message.time, what: what.into(), detail }];
    Found { message, steps, ended: Vec::new() }
}

fn note(found: &mut Found, stored: &Stored<'_>) {
    let flow = stored.stream().split_once('/').map_or("", |(_, name)| name).to_owned();
    let body = stored.json();
    let text = |pointer: &str| {
        body.pointer(pointer).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let (what, detail) = match stored.kind {
        EntryKind::Settled => {
            if let Ok(row) = serde_json::from_value(body.get("row").cloned().unwrap_or(Value::Null)) {
                found.ended.push((flow.clone(), row));
            }
            (text("/row/state").unwrap_or_default(), flow)
        }
        EntryKind::Attempt => {
            let error = text("/line/error").filter(|error| error != "null").or_else(|| text("/line/answer"));
            let number = text("/line/number").unwrap_or_default();
            ("attempt failed".to_owned(), format!("{flow}: attempt {number}: {}", error.unwrap_or_default()))
        }
        EntryKind::Letter => (
            format!("dead letter {}", text("/state").unwrap_or_default()),
            format!("{flow}: {}", text("/reason").unwrap_or_default()),
        ),
        EntryKind::Replay => ("replay ordered".to_owned(), flow),
        EntryKind::Run => ("run noted".to_owned(), text("/id").unwrap_or_default()),
        _ => return,
    };
    if found.steps.len() < STEPS_MAX {
        found.steps.push(Step { time: TimestampNs(stored.time().0), what: what.into(), detail });
    }
}
