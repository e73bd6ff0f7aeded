//! `loadgen mixed`: all lanes of a running server at once, measured from outside.
//!
//! One clock for everything. Telemetry is an open loop unless it is asked for its maximum; queries,
//! requests and batches are closed loops that saturate what is left; events are either.
//!
//! Threads: `telemetry`, `publisher`, `callers` (queries, requests, batches) and `receivers` (what the
//! server sends to). The main thread looks at processes and at the server when the window begins and
//! when it ends.

mod account;
mod caller;
mod callers;
mod options;
mod page;
mod plot;
mod report;
mod sections;
mod server;
mod target;

pub(crate) use options::Options;

use crate::Failure;
use crate::connection::Connection;
use crate::drive::{Manner, Outcome, Wait, drive};
use crate::fanout::{self, Published, Run, Way};
use crate::hiccup::{Hiccups, probe};
use crate::listener::{Listener, Request};
use crate::machine::{self, Usage, Used};
use crate::window::Window;
use account::Shared;
use callers::Accounts;
use options::{Lane, PRODUCER, SOURCE};
use serde_json::Value;
use server::Server;
use std::fs;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use target::Documents;

/// How long the hiccup probe watches before and after.
const PROBE: Duration = Duration::from_millis(500);

/// Everything that was measured.
struct Measured {
    telemetry: Option<Result<Outcome, String>>,
    events: Option<Events>,
    accounts: Accounts,
    /// Requests that came back to loadgen.
    replies: u64,
    used: Used,
    /// Time between the two looks at processes and server.
    seconds: f64,
    version: Value,
    cores: Value,
    hiccups: [Hiccups; 2],
}

/// The events' part.
struct Events {
    run: Arc<Run>,
    published: Result<Published, String>,
    missing: u64,
}

/// Runs the subcommand; `Ok(false)` if a lane did nothing, something went wrong or is missing.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 1e6) {
        return Err(Failure::Usage("--seconds must be above 0".to_owned()));
    }
    let cannot_write =
        |file: &std::path::Path, error| Failure::Failed(format!("cannot write {}: {error}", file.display()));
    if let Some(file) = &options.config {
        return fs::write(file, sections::text(options)).map(|()| true).map_err(|error| cannot_write(file, error));
    }
    if let Some(core) = options.watch.core {
        // Threads inherit it.
        machine::pin_this_thread(core).map_err(Failure::Failed)?;
    }
    let mut measured = measure(options)?;
    let report = report::json(options, &mut measured);
    if let Some(file) = &options.html {
        fs::write(file, page::html(&report)).map_err(|error| cannot_write(file, error))?;
    }
    if options.watch.json {
        println!("{report}");
    } else {
        print!("{}", report::text(&report));
    }
    Ok(report["problems"].as_array().is_some_and(Vec::is_empty))
}

fn measure(options: &Options) -> Result<Measured, Failure> {
    let server = Server::new(options.http);
    let status = server.get_at_last("/v1/status").map_err(Failure::Failed)?;
    let hiccups = probe(options.watch.server_core.or(options.watch.core), PROBE);
    let connections = connect(options, &server)?;
    let window = Window::starting_now(options.seconds);
    let fanout = options.fanout();
    let run = Arc::new(Run::new(&fanout, window));
    let documents = Arc::new(Documents::default());
    let receivers = listen(options, &run, &documents)?;
    let accounts = Accounts { queries: Shared::new(window), requests: Shared::new(window), batch: Shared::new(window) };
    let telemetry = connections.map(|connections| send(options, connections, window)).transpose()?;
    let publisher = options.drives(Lane::Events).then(|| fanout::publish(&fanout, &run, Way::millstream(&fanout)));
    let publisher = publisher.transpose()?;
    let callers = callers::start(options, &accounts, &documents)?;
    let look = |at_ns: u64| {
        window.sleep_until(at_ns);
        let usage = Usage::now(options.watch.server_pid, options.watch.server_core);
        (window.now_ns(), usage, server.get("/v1/cores"))
    };
    let (begin_ns, before, cores_before) = look(window.begin_ns);
    let (end_ns, after, cores_after) = look(window.end_ns);
    let telemetry = telemetry.map(joined);
    let published = publisher.map(joined);
    callers.join().map_err(|_| Failure::Failed("the callers panicked".to_owned()))??;
    let missing = if published.is_some() { fanout::drain(&run, options.patience) } else { 0 };
    drop(receivers);
    Ok(Measured {
        telemetry,
        events: published.map(|published| Events { run, published, missing }),
        accounts,
        replies: documents.replies(),
        used: before.until(&after),
        seconds: (end_ns - begin_ns) as f64 / 1e9,
        version: status["version"].clone(),
        cores: server::between(&cores_before.unwrap_or_default(), &cores_after.unwrap_or_default()),
        hiccups: [hiccups, probe(options.watch.server_core.or(options.watch.core), PROBE)],
    })
}

/// Telemetry's connections; without that lane, the tags that the queries ask for must be there.
fn connect(options: &Options, server: &Server) -> Result<Option<Vec<Connection>>, Failure> {
    if options.drives(Lane::Telemetry) {
        let open = |at: u32| Connection::open(&options.shape(), at as usize, PRODUCER + u64::from(at));
        return (0..options.connections).map(open).collect::<Result<_, _>>().map(Some);
    }
    let tag = format!("{SOURCE}/loadgen/c0/t0");
    let known = server.get(&format!("/v1/tags?match={tag}")).map_err(Failure::Failed)?;
    if options.drives(Lane::Queries) && known.as_array().is_none_or(Vec::is_empty) {
        let what = format!("the server knows no tag {tag} to ask for; let the lane telemetry run once");
        return Err(Failure::Failed(what));
    }
    Ok(None)
}

fn listen(options: &Options, run: &Arc<Run>, documents: &Arc<Documents>) -> Result<Listener, Failure> {
    let (run, documents) = (Arc::clone(run), Arc::clone(documents));
    Listener::start(options.bind, Arc::new(move |request: &Request<'_>| target::take(request, &run, &documents)))
}

/// Sends telemetry on a thread of its own.
fn send(
    options: &Options,
    mut connections: Vec<Connection>,
    window: Window,
) -> Result<JoinHandle<Result<Outcome, Failure>>, Failure> {
    let (rate, realtime, is_quiet) = (options.rate, options.realtime, options.watch.json);
    let send = move || {
        if realtime {
            machine::put_this_thread_first().map_err(Failure::Failed)?;
        }
        let wait = if realtime { Wait::Sleep } else { Wait::Spin };
        drive(&mut connections, Manner { rate, wait, label: "telemetry", is_quiet }, window)
    };
    thread::Builder::new().name("telemetry".to_owned()).spawn(send).map_err(Failure::of)
}

/// What a thread came to, or why it did not.
fn joined<T>(thread: JoinHandle<Result<T, Failure>>) -> Result<T, String> {
    match thread.join() {
        Ok(result) => result.map_err(|failure| failure.to_string()),
        Err(_) => Err("its thread panicked".to_owned()),
    }
}
