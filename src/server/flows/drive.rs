//! Driving the desk: steps, calls, reads of the journal, runs of batches, and the end.

use super::{FlowShard, compose};
use bytes::Bytes;
use connect::{Call, Exchange, Reply, classify};
use env::Clock;
use env::disk::{Disk, FileNumber};
use flows::desk::ReadWanted;
use flows::outlet::Send;
use flows::spec::Payload;
use flows::trail::Report;
use shard::{Lane, ShardContext, Stage};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use uring::clock::SystemClock;
use uring::disk::{DirectoryStorage, Lending};

/// Longest sleep of the driver: what bounds how late a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Pause after a read of the journal that failed.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Steps after which flows that are behind are looked for even though there is more to do.
const STEPS_PER_READ: u32 = 16;
/// Longest answer that is read as JSON for a flow's expressions, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// How often it is looked whether the journal needs a file ahead; it takes seconds to fill one.
const AHEAD_EVERY: Duration = Duration::from_secs(1);

/// A longer file would keep the helper thread from whoever waits for it.
pub const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// Opens the journal's disk; its completions wake the driver.
pub fn open_disk(context: &ShardContext, directory: &Path, wanted: Rc<Notify>) -> std::io::Result<Box<dyn Disk>> {
    let raised = Arc::new(Notify::new());
    let (notify, notice) = (Arc::clone(&raised), context.notice());
    let opened = uring::disk::open_disk(
        context.mode(),
        directory,
        Lending::default(),
        Arc::new(move || {
            notify.notify_one();
            notice();
        }),
    )?;
    context.spawn(Lane::Event, "journal-disk", async move {
        loop {
            raised.notified().await;
            wanted.notify_one();
        }
    });
    Ok(opened)
}

/// Spawns what drives the desk.
pub fn spawn(flow: &Rc<FlowShard>, context: &ShardContext) {
    context.spawn(Lane::Event, "flows", drive(Rc::clone(flow)));
    context.spawn(Lane::Batch, "journal-ahead", prepare(Rc::clone(flow)));
}

async fn drive(flow: Rc<FlowShard>) {
    loop {
        let more = step(&flow);
        if flow.desk.borrow().is_closed() {
            return;
        }
        if more {
            // one step is one poll: telemetry and the other lanes come in between
            tokio::task::yield_now().await;
            continue;
        }
        let sleep = until_deadline(&flow);
        let _ = tokio::time::timeout(sleep, flow.wanted.notified()).await;
    }
}

/// Has files made ahead for the journal, on the helper thread.
async fn prepare(flow: Rc<FlowShard>) {
    let bytes = flow.site.config().server.journal.segment_bytes;
    if bytes > AHEAD_BYTES_MAX {
        return;
    }
    while !flow.desk.borrow().is_closed() {
        let wanted = flow.desk.borrow_mut().wants_prepared();
        let Some(file) = wanted else {
            tokio::time::sleep(AHEAD_EVERY).await;
            continue;
        };
        let (reply, answer) = oneshot::channel();
        let storage = Arc::clone(&flow.storage);
        let job = Box::new(move || {
            let _ = reply.send(make_ahead(&storage, file, bytes)); // nobody is there any more at the end
        });
        let taken = flow.context.helper().run(job).is_ok();
        let made = taken && answer.await.unwrap_or(false);
        flow.desk.borrow_mut().prepared(file, made);
    }
}

/// Makes a file ahead for the journal; blocks. Answers whether it is there.
pub fn make_ahead(storage: &DirectoryStorage, file: FileNumber, bytes: u64) -> bool {
    storage.prepare(file, bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "the journal goes on in files that grow, which costs more");
        false
    })
}

fn step(flow: &Rc<FlowShard>) -> bool {
    let now = FlowShard::now();
    let (more, sends, reads, order) = {
        let mut desk = flow.desk.borrow_mut();
        let mut disk = flow.disk.borrow_mut();
        let more = desk.step(SystemClock.monotonic_ns(), now, &mut **disk);
        // all flows are asked what to read, which is long beside a step
        let due = flow.steps.replace(flow.steps.get().wrapping_add(1)).is_multiple_of(STEPS_PER_READ);
        let reads = if due || !more { desk.wanted_reads() } else { Vec::new() };
        (more, desk.drain_sends(), reads, desk.due_run(now))
    };
    for send in sends {
        shard::pause();
        flow.context.spawn(Lane::Event, "deliver", deliver(Rc::clone(flow), send));
    }
    for wanted in reads {
        read(flow, wanted);
    }
    if let Some(order) = order {
        flow.context.spawn(Lane::Batch, "batch", compose::make(Rc::clone(flow), order, None));
    }
    more
}

fn until_deadline(flow: &FlowShard) -> Duration {
    let now = FlowShard::now();
    let (wall, monotonic) = flow.desk.borrow().deadlines(now);
    let wall = wall.map(|due| Duration::from_nanos(u64::try_from(due.0 - now.0).unwrap_or(0)));
    let monotonic = monotonic.map(|due| Duration::from_nanos(due.saturating_sub(SystemClock.monotonic_ns())));
    [wall, monotonic].into_iter().flatten().min().unwrap_or(SLEEP_MAX).clamp(Duration::from_micros(50), SLEEP_MAX)
}

/// Reads the journal on the helper thread and shows the flow what was found.
fn read(flow: &Rc<FlowShard>, wanted: ReadWanted) {
    let (reply, answer) = oneshot::channel();
    let storage = Arc::clone(&flow.storage);
    let (at, after) = (wanted.flow, wanted.after);
    let job = Box::new(move || drop(reply.send(wanted.run(&*storage))));
    let taken = flow.context.helper().run(job).is_ok();
    let flow = Rc::clone(flow);
    flow.context.clone().spawn(Lane::Event, "flow-read", async move {
        // a helper that is full is asked again in a moment
        let found = if taken { answer.await.ok() } else { None };
        let found = match found {
            Some(found) => found,
            None => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                flows::desk::Reading { flow: at, messages: Vec::new(), upto: after, failed: None }
            }
        };
        if found.failed.is_some() {
            tokio::time::sleep(READ_AGAIN).await; // a disk that cannot be read is not asked without a pause
        }
        flow.desk.borrow_mut().on_read(found, FlowShard::now());
        flow.wanted.notify_one();
    });
}

/// Makes one attempt and tells the desk what came of it.
async fn deliver(flow: Rc<FlowShard>, send: Send) {
    let Send { flow: index, id, probe, call: mut made, timeout_ns, .. } = send;
    let target = Rc::clone(&flow.targets[index]);
    let body = match std::mem::replace(&mut made.body, Payload::Bytes(Bytes::new())) {
        Payload::Bytes(bytes) => Ok(bytes),
        Payload::Document { sha256 } => compose::document(&flow, &sha256).await,
    };
    let report = match body {
        Ok(body) => {
            let call = Call {
                to: target.address(&made),
                method: made.method,
                headers: Vec::new(),
                content_type: made.content_type,
                body,
                idempotency_key: (!probe).then_some(made.idempotency_key),
                id: made.message,
                timeout: Duration::from_nanos(timeout_ns),
            };
            shard::pause();
            let exchange = target.target.call(call).await;
            let reads = flow.desk.borrow().outlets()[index].spec.reads_answers();
            shard::pause();
            report(exchange, target.conflict, reads)
        }
        // without its document a batch can never go out: a dead letter says so
        Err(what) => Report {
            outcome: delivery::Outcome::Rejected,
            status: None,
            answer: serde_json::Value::Null,
            excerpt: String::new(),
            error: Some(what),
            took_ms: 0.0,
            sent: made.address,
        },
    };
    shard::pause();
    flow.desk.borrow_mut().on_report(index, id, probe, &report, FlowShard::now());
    flow.wanted.notify_one();
}

/// An exchange as a flow keeps it; the answer only for one that reads it.
pub fn report(exchange: Exchange, conflict: connect::Conflict, reads: bool) -> Report {
    let outcome = classify(&exchange, conflict);
    let (status, answer, error) = match &exchange.result {
        Ok(Reply::Answered { status, body, .. }) if reads && body.len() <= ANSWER_BYTES_MAX => {
            let text = || serde_json::Value::from(String::from_utf8_lossy(body).into_owned());
            (Some(*status), serde_json::from_slice(body).unwrap_or_else(|_| text()), None)
        }
        Ok(Reply::Answered { status, .. }) => (Some(*status), serde_json::Value::Null, None),
        Ok(Reply::Acked { .. }) => (None, serde_json::Value::Null, None),
        Err(error) => (None, serde_json::Value::Null, Some(error.to_string())),
    };
    Report {
        outcome,
        status,
        answer,
        excerpt: exchange.excerpt,
        error,
        took_ms: exchange.took.as_secs_f64() * 1_000.0,
        sent: exchange.sent,
    }
}

/// The journal's end in order: the shard ends only when it is written and synced.
pub struct FlowStage {
    flow: Rc<FlowShard>,
    closing: bool,
}

impl FlowStage {
    pub(super) const fn new(flow: Rc<FlowShard>) -> FlowStage {
        FlowStage { flow, closing: false }
    }

    /// The flows.
    pub const fn flow(&self) -> &Rc<FlowShard> {
        &self.flow
    }
}

impl Stage for FlowStage {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn poll(&mut self, _: usize) -> usize {
        if !self.closing {
            return 0; // its driver runs in the event lane
        }
        // in the middle of a step its driver pauses for telemetry, of which this is a stage
        let (Ok(mut disk), Ok(mut desk)) = (self.flow.disk.try_borrow_mut(), self.flow.desk.try_borrow_mut()) else {
            return 0;
        };
        usize::from(desk.step(SystemClock.monotonic_ns(), FlowShard::now(), &mut **disk))
    }

    fn pending(&self) -> bool {
        false
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.closing.then(|| SystemClock.monotonic_ns() + 1_000_000)
    }

    fn close(&mut self) {
        self.closing = true;
        self.flow.desk.borrow_mut().close(FlowShard::now());
    }

    fn drained(&self) -> bool {
        self.flow.desk.borrow().is_closed()
    }
}
