//! `loadgen http`: samples in the bodies of HTTP calls, for any server that speaks Influx line protocol, and
//! for Millstream's own JSON.
//!
//! A connection has one call under way; only an answer of 2xx counts its samples.

mod body;
mod options;
mod wire;

pub(crate) use options::Options;

use crate::Failure;
use crate::args::Rate;
use crate::load::{self, Schedule, Span, Tally, Worker};
use body::{Goal, Request};
use serde_json::json;
use std::thread;
use std::time::Duration;
use wire::Wire;

/// Pause before a connection that was refused goes on.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs the subcommand; `Ok(false)` if a call was refused.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    load::prepare(&options.measure)?;
    let goal = goal(options)?;
    let body = body_samples(options);
    if body > options.tags && options.every.is_none() {
        return Err(Failure::Usage(
            "a body with several samples of a tag needs --every, so that their times differ".into(),
        ));
    }
    let schedule = Schedule::new(options.rate, body);
    let mut connections: Vec<Connection<'_>> =
        (0..options.connections as usize).map(|index| Connection::new(options, &goal, index, &schedule)).collect();
    let outcome = load::run(&mut connections, &options.measure)?;
    let about = format!("{} connections × {} tags, bodies of {body}", options.connections, options.tags);
    let details = json!({
        "connections": options.connections,
        "tags": options.tags,
        "body_samples": body,
        "open_loop": options.rate != Rate::Max,
    });
    Ok(outcome.print(&options.measure, &about, details))
}

/// Samples of a body: at most all tags of a connection once, or all of them several times.
fn body_samples(options: &Options) -> u32 {
    if options.body <= options.tags { options.body } else { options.body - options.body % options.tags }
}

fn goal(options: &Options) -> Result<Goal, Failure> {
    let parts = options.url.strip_prefix("http://").and_then(|rest| {
        let (host, path) = rest.split_at(rest.find('/')?);
        host.contains(':').then_some((host, path))
    });
    let Some((host, path)) = parts else {
        return Err(Failure::Usage(format!(
            "{} is no address to write to: give http://HOST:PORT/PATH, e.g. http://127.0.0.1:8080/write?db=rig",
            options.url
        )));
    };
    let prefix = options.prefix.trim_matches('/').to_owned();
    Ok(Goal { host: host.to_owned(), path: path.to_owned(), format: options.format, prefix })
}

/// One connection with its requests, which take turns.
struct Connection<'a> {
    wire: Wire,
    requests: Vec<Request>,
    next: usize,
    schedule: &'a Schedule,
    start_ns: i64,
    every_ns: Option<i64>,
}

impl<'a> Connection<'a> {
    fn new(options: &Options, goal: &Goal, index: usize, schedule: &'a Schedule) -> Connection<'a> {
        let (tags, body) = (options.tags as usize, body_samples(options) as usize);
        let rounds = (body / tags).max(1);
        let run = body.min(tags);
        let requests = (0..tags.div_ceil(run))
            .map(|part| Request::new(goal, index, tags, part * run..tags.min((part + 1) * run), rounds))
            .collect();
        let every_ns = options.every.map(|every| i64::try_from(every.as_nanos()).unwrap_or(i64::MAX));
        Connection { wire: Wire::new(&goal.host), requests, next: 0, schedule, start_ns: client::now().0, every_ns }
    }
}

impl Worker for Connection<'_> {
    fn drive(&mut self, span: Span) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        span.wait_start();
        while let Some(due) = self.schedule.next(&span) {
            let count = self.requests.len();
            let request = &mut self.requests[self.next];
            self.next = (self.next + 1) % count;
            let time_ns = match self.every_ns {
                Some(every_ns) => self.start_ns.saturating_add(every_ns.saturating_mul(request.rounds() as i64)),
                None => client::now().0,
            };
            let samples = request.samples();
            let bytes = request.write(time_ns, self.every_ns.unwrap_or(0));
            let length = bytes.len() as u64;
            match self.wire.call(bytes) {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    tally.acknowledged(&span, due, samples, length);
                }
                Ok(answer) => {
                    tally.refused(|| format!("status {}: {}", answer.status, answer.text.trim()));
                    thread::sleep(PAUSE);
                }
                Err(error) => {
                    tally.refused(|| error.to_string());
                    thread::sleep(PAUSE);
                }
            }
        }
        Ok(tally)
    }
}
