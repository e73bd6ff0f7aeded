//! `loadgen nats`: samples in messages to a JetStream stream with file storage, acknowledged one by one.
//!
//! A message is so many samples of 24 bytes, as long as Millstream's general samples are; the broker
//! does not look into it. A connection has at most so many messages that are not acknowledged.

mod wire;

use crate::Failure;
use crate::load::{self, Measure, Span, Tally, Worker};
use crate::reading;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Instant;
use wire::{Acks, Wire};

/// Bytes of a sample: time, value, tag, quality.
const SAMPLE_BYTES: usize = 24;
/// Bytes gathered before a write.
const CHUNK_BYTES: usize = 64 << 10;

/// The command line.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Address of nats-server, which has JetStream switched on
    #[arg(long, default_value = "127.0.0.1:4222")]
    address: String,
    /// Stream that is made for the run, with file storage; its subjects are NAME.0, NAME.1 and so on
    #[arg(long, default_value = "loadgen")]
    stream: String,
    /// Connections
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Tags of each connection
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    tags: u32,
    /// Samples in a message
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=40_000))]
    message: u32,
    /// Messages of a connection that may wait for their acknowledgement
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    window: u32,
    #[command(flatten)]
    measure: Measure,
}

/// Runs the subcommand; `Ok(false)` if a message was refused, or the stream does not hold all that
/// were acknowledged.
pub(crate) fn run(options: &Options) -> Result<bool, Failure> {
    load::prepare(&options.measure)?;
    let mut admin = Wire::connect(&options.address)?;
    let stream = &options.stream;
    let wanted =
        json!({ "name": stream, "subjects": [format!("{stream}.*")], "storage": "file", "retention": "limits" });
    admin.ask(&format!("$JS.API.STREAM.CREATE.{stream}"), &wanted.to_string())?;
    let mut connections = (0..options.connections as usize)
        .map(|index| Connection::open(options, index))
        .collect::<Result<Vec<_>, _>>()?;
    let outcome = load::run(&mut connections, &options.measure)?;
    let info = admin.ask(&format!("$JS.API.STREAM.INFO.{stream}"), "")?;
    let stored = info["state"]["messages"].as_u64().unwrap_or(0);
    let acknowledged: u64 = connections.iter().map(|connection| connection.acknowledged).sum();
    let about = format!(
        "{} connections × {} tags, messages of {} samples; {stored} messages stored, {acknowledged} acknowledged",
        options.connections, options.tags, options.message
    );
    let details = json!({
        "connections": options.connections,
        "tags": options.tags,
        "message_samples": options.message,
        "messages_acknowledged": acknowledged,
        "messages_stored": stored,
        "samples_stored": stored * u64::from(options.message),
    });
    Ok(outcome.print(&options.measure, &about, details) && stored >= acknowledged)
}

/// One connection's messages.
struct Connection {
    wire: Wire,
    /// What stands before a message's bytes.
    head: Vec<u8>,
    index: usize,
    tags: usize,
    samples: usize,
    window: usize,
    /// Samples written so far: the next one's tag and round follow from it.
    written: usize,
    /// When messages left that are not acknowledged yet, and how many left together.
    pending: VecDeque<(Instant, usize)>,
    pending_messages: usize,
    acknowledged: u64,
}

impl Connection {
    fn open(options: &Options, index: usize) -> Result<Connection, Failure> {
        let mut wire = Wire::connect(&options.address)?;
        let inbox = wire.subscribe(index)?;
        let samples = options.message as usize;
        let head = format!("PUB {}.{index} {inbox} {}\r\n", options.stream, samples * SAMPLE_BYTES).into_bytes();
        let (tags, window) = (options.tags as usize, options.window as usize);
        let pending = VecDeque::new();
        Ok(Connection {
            wire,
            head,
            index,
            tags,
            samples,
            window,
            written: 0,
            pending,
            pending_messages: 0,
            acknowledged: 0,
        })
    }

    /// Adds a message with the next samples.
    fn message(&mut self, out: &mut Vec<u8>, time_ns: i64) {
        out.extend_from_slice(&self.head);
        for _ in 0..self.samples {
            let tag = self.index * self.tags + self.written % self.tags;
            let value = reading::value(tag, (self.written / self.tags) as u64);
            out.extend_from_slice(&time_ns.to_le_bytes());
            out.extend_from_slice(&value.to_le_bytes());
            out.extend_from_slice(&(tag as u64).to_le_bytes());
            self.written += 1;
        }
        out.extend_from_slice(b"\r\n");
    }

    fn message_bytes(&self) -> usize {
        self.head.len() + self.samples * SAMPLE_BYTES + 2
    }

    fn note(&mut self, acks: Acks, span: &Span, tally: &mut Tally) {
        let samples = self.samples as u64;
        let mut left = acks.taken + acks.refused;
        let mut taken = acks.taken;
        if let Some(why) = acks.refusal {
            (0..acks.refused).for_each(|_| tally.refused(|| why.clone()));
        }
        while left > 0
            && let Some((at, count)) = self.pending.front_mut()
        {
            let here = left.min(*count);
            let good = here.min(taken);
            for _ in 0..good {
                tally.acknowledged(span, *at, samples, samples * SAMPLE_BYTES as u64);
            }
            self.acknowledged += good as u64;
            taken -= good;
            left -= here;
            *count -= here;
            self.pending_messages -= here;
            if *count == 0 {
                self.pending.pop_front();
            }
        }
    }
}

impl Worker for Connection {
    fn drive(&mut self, span: Span) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        let mut out = Vec::with_capacity(CHUNK_BYTES + self.message_bytes());
        span.wait_start();
        loop {
            out.clear();
            let now = Instant::now();
            let time_ns = client::now().0;
            let mut count = 0;
            while span.is_on() && self.pending_messages + count < self.window && out.len() < CHUNK_BYTES {
                self.message(&mut out, time_ns);
                count += 1;
            }
            if count > 0 {
                self.wire.write(&out)?;
                self.pending.push_back((now, count));
                self.pending_messages += count;
            }
            if self.pending_messages == 0 {
                return Ok(tally);
            }
            // Half of the window stays under way while the next chunk is made.
            while self.pending_messages > self.window / 2 || (!span.is_on() && self.pending_messages > 0) {
                let acks = self.wire.acks()?;
                self.note(acks, &span, &mut tally);
            }
        }
    }
}
