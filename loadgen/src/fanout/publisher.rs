//! Who publishes: in time over HTTP, or past Millstream to the receivers themselves.
//!
//! An event's due time follows from the rate alone (G2). A call that was refused or had no answer is
//! made again with the same ids, so that nothing is published twice and nothing left out.

use super::Run;
use crate::Failure;
use crate::args::{Fanout, Rate};
use crate::hiccup::histogram;
use crate::listener::NO_CONTENT;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

/// Events of one call at most: what Millstream takes.
const EVENTS_MAX: u64 = 1_000;
/// Pause before a refused call is made again.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause of the closed loop while as much is under way as may be.
const FULL_PAUSE: Duration = Duration::from_micros(200);

/// What publishing came to.
pub(crate) struct Published {
    /// Due to acknowledged, of the events that were due since the warm-up.
    pub(crate) latency: Histogram<u64>,
    /// How far behind its schedule the publisher was at worst, nanoseconds.
    pub(crate) behind_ns_max: u64,
    /// Calls that had to be made again.
    pub(crate) again: u64,
}

/// Where events go.
pub(crate) enum Way {
    /// To Millstream's HTTP API.
    Millstream { agent: Agent, url: String, patience: Duration },
    /// To every receiver over a connection of its own, by a loop that does nothing else.
    Bare { receivers: Vec<TcpStream> },
}

impl Way {
    pub(crate) fn millstream(options: &Fanout) -> Way {
        let config =
            Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).http_status_as_error(false).build();
        let base = options.http.trim_end_matches('/');
        Way::Millstream { agent: config.into(), url: format!("{base}/v1/events"), patience: options.patience }
    }

    pub(crate) fn bare(address: SocketAddr, receivers: usize) -> Result<Way, Failure> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let receivers = (0..receivers).map(|_| connect()).collect::<std::io::Result<_>>().map_err(Failure::of)?;
        Ok(Way::Bare { receivers })
    }

    /// Gives events away; answers how often it had to be tried again.
    fn give(&mut self, events: &[Value]) -> Result<u64, Failure> {
        match self {
            Way::Millstream { agent, url, patience } => post(agent, url, *patience, events),
            Way::Bare { receivers } => events.iter().try_for_each(|event| send(receivers, event)).map(|()| 0),
        }
    }
}

fn post(agent: &Agent, url: &str, patience: Duration, events: &[Value]) -> Result<u64, Failure> {
    let until = Instant::now() + patience;
    let mut again = 0;
    loop {
        let why = match agent.post(url).send_json(events) {
            Ok(mut answer) => {
                let status = answer.status().as_u16();
                // The body is read in any case, so that the connection can be used again.
                let body = answer.body_mut().read_to_string().unwrap_or_default();
                match status {
                    200..=299 => return Ok(again),
                    429 | 500..=599 => format!("status {status}: {body}"),
                    _ => return Err(Failure::Failed(format!("{url} answered {status}: {body}"))),
                }
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return Err(Failure::Failed(format!("{url} took no events for {patience:?}: {why}")));
        }
        again += 1;
        thread::sleep(PAUSE);
    }
}

/// One event to every receiver, then an answer from each.
fn send(receivers: &mut [TcpStream], event: &Value) -> Result<(), Failure> {
    let body = event.to_string();
    for (number, receiver) in receivers.iter_mut().enumerate() {
        let request = format!(
            "POST /r/{number} HTTP/1.1\r\nhost: receivers\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        receiver.write_all(request.as_bytes()).map_err(Failure::of)?;
    }
    let mut answer = [0; NO_CONTENT.len()];
    receivers.iter_mut().try_for_each(|receiver| receiver.read_exact(&mut answer).map_err(Failure::of))
}

/// Publishes until the window ends.
pub(super) fn publish(options: &Fanout, run: &Run, way: &mut Way) -> Result<Published, Failure> {
    let (window, until_ns) = (&run.window, run.window.end_ns);
    let mut published = Published { latency: histogram(), behind_ns_max: 0, again: 0 };
    let batch = u64::from(options.batch);
    let due_ns = |number: u64| match options.rate {
        Rate::Max => window.now_ns(),
        Rate::PerS(rate) => (number as f64 * 1e9 / rate) as u64,
    };
    let mut next = 0;
    while window.now_ns() < until_ns {
        let mut count = batch;
        if options.rate == Rate::Max {
            if run.under_way() + batch > u64::from(options.in_flight.max(options.batch)) {
                thread::sleep(FULL_PAUSE);
                continue;
            }
        } else {
            let last_ns = due_ns(next + batch - 1);
            if last_ns >= until_ns {
                break;
            }
            window.sleep_until(last_ns);
            let now_ns = window.now_ns();
            published.behind_ns_max = published.behind_ns_max.max(now_ns.saturating_sub(last_ns));
            // Behind its schedule, what is due leaves together.
            count = (batch..=EVENTS_MAX).take_while(|more| due_ns(next + more - 1) <= now_ns).last().unwrap_or(batch);
        }
        let due: Vec<u64> = (next..next + count).map(due_ns).collect();
        let numbered = (next..).zip(&due);
        let events: Vec<Value> = numbered.map(|(number, due_ns)| event(options, run, number, *due_ns)).collect();
        published.again += way.give(&events)?;
        let now_ns = window.now_ns();
        for due_ns in due.into_iter().filter(|due_ns| window.holds(*due_ns)) {
            published.latency.saturating_record(now_ns.saturating_sub(due_ns).max(1));
        }
        next += count;
        run.set_published(next);
    }
    Ok(published)
}

/// An event; its source is its key, which is what orders where a subscriber says nothing else.
fn event(options: &Fanout, run: &Run, number: u64, due_ns: u64) -> Value {
    let keys = u64::from(options.keys);
    let (key, number) = (number % keys, number / keys);
    json!({
        "specversion": "1.0",
        "id": number.to_string(),
        "source": format!("loadgen/{}/{key}", run.name()),
        "type": options.event,
        "data": { "run": run.name(), "key": key, "number": number, "due_ns": due_ns },
    })
}
