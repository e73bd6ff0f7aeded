//! Making a batch's run: rows from the journal, figures from the rollups, one document, durable
//! beside the journal before the journal speaks of it.

use super::{FlowShard, figures};
use batch::{Correction, Document, Figure, Head, Row};
use bytes::Bytes;
use flows::entry::EntryKind;
use flows::journal;
use flows::message::{Message, MessageKind};
use flows::runs::{Order, Run};
use log::Span;
use model::TimestampNs;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Records are looked for this long before a period begins: whoever posts ahead of time.
const AHEAD_NS: i64 = 86_400_000_000_000;
/// Longest document that is sent, in bytes; what may be composed is bounded there, too.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// What a run was made of.
struct Made {
    /// `None`: a correction that would change nothing.
    document: Option<Document>,
}

/// Makes an ordered run and publishes it; says so to whoever asked for it.
pub async fn make(flow: Rc<FlowShard>, order: Order, by: Option<(String, oneshot::Sender<Result<Run, String>>)>) {
    let outcome = try_make(&flow, &order).await;
    let now = FlowShard::now();
    let (by, reply) = by.unzip();
    let published = match outcome {
        Ok(Some(document)) => {
            let run = Run {
                bytes: document.bytes.len() as u64,
                sha256: document.sha256.clone(),
                file_name: document.file_name.clone(),
                content_type: document.content_type.to_owned(),
                totals: Some(document.totals),
                ..order.run.clone()
            };
            let published = flow.desk.borrow_mut().publish_run(order.batch, run, by.as_deref(), now);
            published.map_err(|refused| refused.to_string())
        }
        Ok(None) => {
            flow.desk.borrow_mut().drop_run(order.batch);
            Err("a correction that would change nothing is not made".to_owned())
        }
        Err(why) => {
            flow.desk.borrow_mut().fail_run(order.batch, why.clone(), now);
            Err(why)
        }
    };
    flow.wanted.notify_one();
    clean(&flow);
    if let Some(reply) = reply {
        let _ = reply.send(published);
    }
}

async fn try_make(flow: &Rc<FlowShard>, order: &Order) -> Result<Option<Document>, String> {
    let run = &order.run;
    let (from, to) = (TimestampNs(run.from_ns), TimestampNs(run.to_ns));
    let figures = figures::of(&flow.site, &order.spec.figures, from, to).await?;
    // a batch of figures only has nothing to look for in a day of the journal
    let spans = match order.spec.spec.records.is_empty() {
        true => Vec::new(),
        false => flow.desk.borrow().journal().spans_between(from.plus_ns(-AHEAD_NS), TimestampNs(i64::MAX)),
    };
    let (reply, answer) = oneshot::channel();
    let (storage, order, documents) = (Arc::clone(&flow.storage), order.clone(), flow.documents.clone());
    let job = Box::new(move || {
        let made = rows(&*storage, &spans, &order).and_then(|rows| compose(&order, &rows, &figures));
        let kept = made.and_then(|made| match &made.document {
            Some(document) => keep(&documents, document).map(|()| made),
            None => Ok(made),
        });
        let _ = reply.send(kept);
    });
    flow.context.helper().run(job).map_err(|_| "the helper thread has too much to do".to_owned())?;
    let made = answer.await.map_err(|_| "the helper thread has ended".to_owned())??;
    Ok(made.document)
}

/// The records of the period, every version up to the order's offset.
fn rows(storage: &dyn env::disk::Storage, spans: &[Span], order: &Order) -> Result<Vec<Row>, String> {
    let streams: Vec<(String, &String)> =
        order.spec.spec.records.iter().map(|record| (MessageKind::Record.stream(record), record)).collect();
    let mut rows = Vec::new();
    journal::read(storage, spans, &mut |stored| {
        if stored.offset.0 > order.run.as_of || rows.len() > batch::ROWS_MAX {
            return ControlFlow::Break(());
        }
        let time = stored.time();
        let in_time = order.run.from_ns <= time.0 && time.0 < order.run.to_ns;
        let wanted = (stored.kind == EntryKind::Message && in_time)
            .then(|| streams.iter().find(|(stream, _)| stream == stored.stream()))
            .flatten();
        if let (Some((_, record)), Some(message)) = (wanted, wanted.and_then(|_| Message::read(&stored))) {
            let text = |name: &str| message.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            rows.push(Row {
                record: (*record).clone(),
                id: text("id"),
                version: message.body.get("version").and_then(Value::as_u64).unwrap_or(1),
                time,
                offset: stored.offset.0,
                body: message.object().clone(),
            });
        }
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn compose(order: &Order, rows: &[Row], figures: &[Figure]) -> Result<Made, String> {
    let run = &order.run;
    let head = Head {
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
        None => Some(batch::compose(spec, &head, rows, figures)),
        Some(before) => {
            let sent: Vec<Row> = rows.iter().filter(|row| row.offset <= before).cloned().collect();
            let correction: Correction = batch::diff(&sent, rows);
            (!correction.is_empty()).then(|| batch::compose_correction(spec, &head, &correction, rows, figures))
        }
    };
    Ok(Made { document: document.transpose().map_err(|error| error.to_string())? })
}

/// Puts a document beside the journal, durably, under its SHA-256.
fn keep(documents: &Path, document: &Document) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the document cannot be kept in {}: {error}", documents.display());
    let (part, whole) = (documents.join(format!("{}.part", document.sha256)), documents.join(&document.sha256));
    let mut file = fs::File::create(&part).map_err(failed)?;
    file.write_all(&document.bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&part, &whole).map_err(failed)?;
    fs::File::open(documents).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Removes documents that no run speaks of any more and that are older than the journal keeps.
fn clean(flow: &Rc<FlowShard>) {
    let known: std::collections::HashSet<String> = {
        let desk = flow.desk.borrow();
        let books = desk.batches().books();
        books.iter().flat_map(|book| book.runs()).map(|run| run.sha256.clone()).collect()
    };
    let (documents, keep) = (flow.documents.clone(), flow.site.config().server.journal.keep);
    let job = Box::new(move || {
        for entry in fs::read_dir(&documents).into_iter().flatten().flatten() {
            let is_known = entry.file_name().to_str().is_some_and(|name| known.contains(name));
            let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
            if !is_known && age.is_some_and(|age| age > keep) {
                let _ = fs::remove_file(entry.path()); // what stays is tried again after the next run
            }
        }
    });
    let _ = flow.context.helper().run(job);
}

/// Reads a document back, on the helper thread.
pub async fn document(flow: &Rc<FlowShard>, sha256: &str) -> Result<Bytes, String> {
    let (reply, answer) = oneshot::channel();
    let path: PathBuf = flow.documents.join(sha256);
    let job = Box::new(move || drop(reply.send(read(&path))));
    let retry = || "the helper thread has too much to do".to_owned();
    flow.context.helper().run(job).map_err(|_| retry())?;
    answer.await.map_err(|_| retry())?
}

fn read(path: &Path) -> Result<Bytes, String> {
    let failed = |error: std::io::Error| format!("the batch's document {} cannot be read: {error}", path.display());
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > DOCUMENT_BYTES_MAX {
        return Err(format!(
            "the batch's document {} has {length} bytes; at most {DOCUMENT_BYTES_MAX} are sent",
            path.display()
        ));
    }
    fs::read(path).map(Bytes::from).map_err(failed)
}
