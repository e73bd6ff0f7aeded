//! Commands while devices are polled or subscribed to: `POST /v1/requests/{name}`, and how long until the answer.
//!
//! Invariants
//! - A time counts from before the call is written to after its answer was read.
//! - One call at a time on a connection, which stands before the time begins; what is answered otherwise than with
//!   200 is counted and has no time.
//!
//! The calls go out from one thread with one event loop, which Modbus devices share: what that loop was
//! late is in the times.

use crate::Failure;
use crate::hiccup::histogram;
use crate::report::{percentiles_json, percentiles_text};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Calls of one point that a batch stands for, at most.
pub(crate) const POINTS_MAX: u64 = 1_000;
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Batches as one call for each batch of calls.
const BATCHES_A_TURN: usize = 10;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What commands took.
#[derive(Debug)]
pub(crate) struct Taken {
    /// One point, one call after the other with a pause between.
    pub(crate) single: Histogram<u64>,
    /// As many points as a batch has, one call after the other without a pause.
    pub(crate) in_a_row: Histogram<u64>,
    /// As many, all calls at once over as many connections.
    pub(crate) at_once: Histogram<u64>,
    /// As many, as one call.
    pub(crate) batch: Histogram<u64>,
    /// Calls that were not answered with 200.
    pub(crate) failed: u64,
    /// What the first of them was answered.
    pub(crate) first_failure: Option<String>,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// `host:port` of Millstream's HTTP.
    pub(crate) http: String,
    /// Calls per second of one point each.
    pub(crate) per_s: f64,
    /// Points of a batch: requests `point-0` and so on, and `points` for all of them; 0 for no batches.
    pub(crate) points: usize,
    /// What the points of that call are named, before their numbers: as their tags (see `polling::requests`).
    pub(crate) tag: &'static str,
}

/// Sends commands for a while: one by one for the first half of it, then batches every way in turns.
pub(crate) async fn run(plan: &Plan, time: Duration) -> Result<Taken, Failure> {
    let mut taken = Taken {
        single: histogram(),
        in_a_row: histogram(),
        at_once: histogram(),
        batch: histogram(),
        failed: 0,
        first_failure: None,
    };
    let start = Instant::now();
    let mut line = Line::open(&plan.http).await?;
    let pause = Duration::from_secs_f64(1.0 / plan.per_s.max(0.01));
    let singles = if plan.points > 0 { time / 2 } else { time };
    let mut value = 0_u16;
    while start.elapsed() < singles {
        let begin = Instant::now();
        value = value.wrapping_add(1);
        let answer = line.post("point-0", &one(value)).await?;
        if taken.note(&answer) {
            record(&mut taken.single, begin);
        }
        tokio::time::sleep(pause.saturating_sub(begin.elapsed())).await;
    }
    while plan.points > 0 && start.elapsed() < time {
        value = value.wrapping_add(1);
        let begin = Instant::now();
        let mut fine = true;
        for point in 0..plan.points {
            fine &= taken.note(&line.post(&format!("point-{point}"), &one(value)).await?);
        }
        if fine {
            record(&mut taken.in_a_row, begin);
        }
        value = value.wrapping_add(1);
        // New ones each time: a server may close what stands idle.
        let mut lines = Vec::with_capacity(plan.points);
        for _ in 0..plan.points {
            lines.push(Line::open(&plan.http).await?);
        }
        let begin = Instant::now();
        let answers = at_once(lines, value).await?;
        // Not short-circuited: every answer counts.
        if answers.iter().filter(|answer| !taken.note(answer)).count() == 0 {
            record(&mut taken.at_once, begin);
        }
        // Several: one takes far less than the others' hundred calls.
        for _ in 0..BATCHES_A_TURN {
            value = value.wrapping_add(1);
            let body = all(plan.tag, plan.points, value);
            let begin = Instant::now();
            if taken.note(&line.post("points", &body).await?) {
                record(&mut taken.batch, begin);
            }
        }
    }
    Ok(taken)
}

/// A body that writes one point.
fn one(value: u16) -> String {
    format!("{{\"value\":{value}}}")
}

/// A body that writes so many points, each another value.
fn all(tag: &str, points: usize, value: u16) -> String {
    let point = |at: usize| format!("\"{tag}{at}\":{}", value.wrapping_add(at as u16));
    format!("{{\"points\":{{{}}}}}", (0..points).map(point).collect::<Vec<_>>().join(","))
}

fn record(histogram: &mut Histogram<u64>, begin: Instant) {
    histogram.saturating_record(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
}

/// One call on each connection, all at the same time.
async fn at_once(lines: Vec<Line>, value: u16) -> Result<Vec<Answer>, Failure> {
    let mut calls = JoinSet::new();
    for (point, mut line) in lines.into_iter().enumerate() {
        calls.spawn(async move { line.post(&format!("point-{point}"), &one(value)).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = calls.join_next().await {
        answers.push(answer.map_err(Failure::of)??);
    }
    Ok(answers)
}

impl Taken {
    pub(crate) fn json(&self, points: u64) -> Value {
        json!({
            "single": percentiles_json(&self.single),
            "points": points,
            "in_a_row": percentiles_json(&self.in_a_row),
            "at_once": percentiles_json(&self.at_once),
            "batch": percentiles_json(&self.batch),
            "failed": self.failed,
            "first_failure": self.first_failure,
        })
    }

    /// Prints it for a person.
    pub(crate) fn show(&self, points: u64) {
        println!("one command: {} ({} of them)", percentiles_text(&self.single), self.single.len());
        if points > 0 {
            println!("{points} in a row: {}", percentiles_text(&self.in_a_row));
            println!("{points} at once: {}", percentiles_text(&self.at_once));
            println!("{points} in one call: {}", percentiles_text(&self.batch));
        }
        if let Some(first) = &self.first_failure {
            println!("{} commands FAILED, the first with {first}", self.failed);
        }
    }

    /// Whether it is an answer that worked; counts one that is not.
    fn note(&mut self, answer: &Answer) -> bool {
        let fine = answer.status == 200;
        if !fine {
            self.failed += 1;
            self.first_failure.get_or_insert_with(|| format!("{}: {}", answer.status, answer.body));
        }
        fine
    }
}

/// What a call was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

/// A kept HTTP/1.1 connection.
struct Line {
    stream: TcpStream,
    host: String,
}

impl Line {
    async fn open(host: &str) -> Result<Line, Failure> {
        let stream = TcpStream::connect(host).await;
        let stream = stream.map_err(|error| Failure::Failed(format!("no connection to HTTP at {host}: {error}")))?;
        stream.set_nodelay(true).map_err(Failure::of)?;
        Ok(Line { stream, host: host.to_owned() })
    }

    async fn post(&mut self, request: &str, body: &str) -> Result<Answer, Failure> {
        let mut call = String::new();
        // Writing into a String cannot fail.
        let _ = write!(
            call,
            "POST /v1/requests/{request} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let answered = async {
            self.stream.write_all(call.as_bytes()).await?;
            self.read().await
        };
        match timeout(PATIENCE, answered).await {
            Ok(answer) => answer
                .map_err(|error| Failure::Failed(format!("the call of request {request} was not answered: {error}"))),
            Err(_) => {
                Err(Failure::Failed(format!("the call of request {request} was not answered within {PATIENCE:?}")))
            }
        }
    }

    async fn read(&mut self) -> std::io::Result<Answer> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = parse(&bytes) {
                return Ok(answer);
            }
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(std::io::Error::other(format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
            }
        }
    }
}

/// The answer, once it is whole; its length must be said, as the server does for all it answers here.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|n| n.trim().parse().ok());
    let body = bytes.get(end + 4..end + 4 + length.unwrap_or(0))?;
    Some(Answer { status, body: String::from_utf8_lossy(body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_every_point() {
        assert_eq!(all("t", 2, 65_535), r#"{"points":{"t0":65535,"t1":0}}"#);
    }

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let bytes = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
        assert!((0..bytes.len()).all(|end| parse(&bytes[..end]).is_none()));
        let answer = parse(bytes).expect("whole");
        assert_eq!((answer.status, answer.body.as_str()), (503, "busy"));
    }
}
