//! The lanes that are closed loops of calls over kept connections: queries, requests, batches.
//!
//! All share one thread. A loop begins nothing more when the window has ended, and ends with the
//! answer to its last call.

use super::account::Shared;
use super::caller::Caller;
use super::options::{Lane, Options, SOURCE};
use super::sections::{BATCH, REQUEST};
use super::target::{Documents, REPLY};
use crate::Failure;
use client::TimestampNs;
use serde_json::json;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::task::{self, LocalSet};
use tokio::time;

/// Pause after a call that went wrong, so that a server that refuses is not flooded with questions.
const PAUSE: Duration = Duration::from_millis(20);
/// Whole seconds of a batch's period, and how long before now it ends: what is late has come.
const PERIOD_S: i64 = 2;
const BEFORE_S: i64 = 1;

/// The accounts of the lanes.
#[derive(Clone)]
pub(super) struct Accounts {
    pub(super) queries: Shared,
    pub(super) requests: Shared,
    pub(super) batch: Shared,
}

/// Starts all loops on a thread; it ends when they have.
pub(super) fn start(
    options: &Options,
    accounts: &Accounts,
    documents: &Arc<Documents>,
) -> Result<JoinHandle<Result<(), Failure>>, Failure> {
    let (options, accounts, documents) = (options.clone(), accounts.clone(), Arc::clone(documents));
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
        LocalSet::new().block_on(&runtime, all(options, accounts, documents))
    };
    thread::Builder::new().name("callers".to_owned()).spawn(run).map_err(Failure::of)
}

async fn all(options: Options, accounts: Accounts, documents: Arc<Documents>) -> Result<(), Failure> {
    let mut loops = Vec::new();
    let caller = || Caller::new(options.http, options.patience);
    if options.drives(Lane::Queries) {
        for number in 0..options.queries {
            loops.push(task::spawn_local(queries(caller(), number, options.clone(), accounts.queries.clone())));
        }
    }
    if options.drives(Lane::Requests) {
        for number in 0..options.requests {
            loops.push(task::spawn_local(requests(caller(), number, accounts.requests.clone())));
        }
    }
    if options.drives(Lane::Batch) {
        loops.push(task::spawn_local(batches(caller(), options.patience, documents, accounts.batch.clone())));
    }
    for one in loops {
        one.await.map_err(Failure::of)?;
    }
    Ok(())
}

/// The questions, one kind for each connection in turn: a slow one holds up none of another kind.
fn question(number: u32, asked: u64, options: &Options) -> (&'static str, String) {
    let connection = asked % u64::from(options.connections);
    let tag = format!("{SOURCE}/loadgen/c{connection}/t{}", asked % u64::from(options.tags));
    match number % 4 {
        0 => ("latest value of one tag", format!("/v1/latest?match={tag}")),
        1 => ("latest values of many tags", format!("/v1/latest?match={SOURCE}/loadgen/c{connection}/t1*")),
        2 => ("rollup rows, last 30 s by 1 s", format!("/v1/rollups?tag={tag}&from=-30s&every=1s&agg=avg,min,max")),
        _ => ("raw samples, last 100 ms", format!("/v1/samples?tag={tag}&from=-100ms&limit=100")),
    }
}

async fn queries(mut caller: Caller, number: u32, options: Options, account: Shared) {
    for asked in 0.. {
        let (kind, path) = question(number, asked, &options);
        let due_ns = account.window.now_ns();
        if due_ns >= account.window.end_ns {
            return;
        }
        let result = caller.call("GET", &path, "").await.map(|body| body.len());
        pause_after(&result).await;
        account.note(kind, due_ns, result);
    }
}

async fn requests(mut caller: Caller, number: u32, account: Shared) {
    let path = format!("/v1/requests/{REQUEST}");
    for asked in 0.. {
        let due_ns = account.window.now_ns();
        if due_ns >= account.window.end_ns {
            return;
        }
        let body = json!({ "caller": number, "number": asked }).to_string();
        let result = match caller.call("POST", &path, &body).await {
            Ok(answer) if answer == REPLY => Ok(answer.len()),
            Ok(answer) => Err(format!("POST {path}: another reply: {}", String::from_utf8_lossy(&answer))),
            Err(why) => Err(why),
        };
        pause_after(&result).await;
        account.note("request and reply", due_ns, result);
    }
}

/// A run after the other: from when it is asked for to when its document is here.
async fn batches(mut caller: Caller, patience: Duration, documents: Arc<Documents>, account: Shared) {
    let path = format!("/v1/batches/{BATCH}/run");
    loop {
        let due_ns = account.window.now_ns();
        if due_ns >= account.window.end_ns {
            return;
        }
        let second_ns = 1_000_000_000;
        let now_s = client::now().0 / second_ns;
        let [from, to] = [PERIOD_S + BEFORE_S, BEFORE_S].map(|before| TimestampNs((now_s - before) * second_ns));
        let body = json!({ "from": from.to_string(), "to": to.to_string(), "by": "loadgen" }).to_string();
        let known = documents.count();
        let result = match caller.call("POST", &path, &body).await {
            Ok(_) => match time::timeout(patience, documents.next(known)).await {
                Ok(bytes) => bytes,
                Err(_) => Err(format!("POST {path}: its document did not come within {patience:?}")),
            },
            Err(why) => Err(why),
        };
        pause_after(&result).await;
        account.note("run asked for to document received", due_ns, result);
    }
}

async fn pause_after(result: &Result<usize, String>) {
    if result.is_err() {
        time::sleep(PAUSE).await;
    }
}
