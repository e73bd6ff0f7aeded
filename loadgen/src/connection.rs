//! One producer under load: its tags, its frames, and what is not acknowledged yet.

use crate::Failure;
use crate::args::Kind;
use crate::reading;
use crate::timeline::Timeline;
use client::{DatagramProducer, Options, Producer, Sample, Sequence, TagId, TagRequest, ValueKind};
use std::collections::VecDeque;
use std::time::Duration;

/// Values that a connection keeps at hand: so few that they stay in a core's cache.
const VALUES_KEPT: usize = 4_096;
/// Rounds of values: at least two, so that a frame differs from the one before.
const ROUNDS: std::ops::RangeInclusive<usize> = 2..=64;

/// How a connection is made and what it sends.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) address: String,
    pub(crate) source: String,
    pub(crate) kind: Kind,
    pub(crate) tags: usize,
    pub(crate) frame_samples: usize,
    pub(crate) acks: bool,
    pub(crate) udp: bool,
    pub(crate) chunk_bytes: usize,
    pub(crate) in_flight_bytes_max: usize,
}

enum Sender {
    Tcp(Box<Producer>),
    Udp(Box<DatagramProducer>),
}

/// A frame that waits for its acknowledgement.
struct Pending {
    sequence: Sequence,
    due_ns: u64,
    samples: u64,
}

/// One connection.
pub(crate) struct Connection {
    sender: Sender,
    kind: Kind,
    acks: bool,
    /// Scans: runs of tags that one frame covers each, used in turn.
    windows: Vec<(TagId, usize)>,
    /// Samples: all tags in an order that jumps about.
    scattered: Vec<TagId>,
    next: usize,
    /// A frame's values of several rounds, used in turn.
    values: Vec<f64>,
    batch: Vec<Sample>,
    frame_samples: usize,
    pending: VecDeque<Pending>,
    /// Samples given to the connection.
    pub(crate) sent_samples: u64,
    /// Frames given to the connection.
    pub(crate) sent_frames: u64,
    /// Samples done: acknowledged, or without acknowledgements given to the kernel.
    pub(crate) done_samples: u64,
    /// Frames done.
    pub(crate) done_frames: u64,
}

impl Connection {
    /// Connects as producer `producer` and registers the tags `loadgen/c{index}/t{n}`.
    pub(crate) fn open(shape: &Shape, index: usize, producer: u64) -> Result<Connection, Failure> {
        let options = Options {
            name: format!("loadgen {index}"),
            acks: shape.acks,
            chunk_bytes: shape.chunk_bytes,
            in_flight_bytes_max: shape.in_flight_bytes_max,
            datagram_bytes_max: shape.chunk_bytes.min(65_000),
            ..Options::new(producer, &shape.source)
        };
        let wanted: Vec<TagRequest> =
            (0..shape.tags).map(|t| TagRequest::new(format!("loadgen/c{index}/t{t}"), ValueKind::F64)).collect();
        let (sender, tags) = if shape.udp {
            let mut producer = DatagramProducer::connect(&shape.address, options).map_err(Failure::of)?;
            let tags = producer.register(&wanted).map_err(Failure::of)?;
            (Sender::Udp(Box::new(producer)), tags)
        } else {
            let mut producer = Producer::connect(&shape.address, options).map_err(Failure::of)?;
            let tags = producer.register(&wanted).map_err(Failure::of)?;
            (Sender::Tcp(Box::new(producer)), tags)
        };
        Ok(Connection {
            sender,
            kind: shape.kind,
            acks: shape.acks && !shape.udp,
            windows: windows(&tags, shape.frame_samples),
            scattered: scatter(&tags),
            next: 0,
            values: values(index * shape.tags, shape.frame_samples),
            batch: Vec::with_capacity(shape.frame_samples),
            frame_samples: shape.frame_samples,
            pending: VecDeque::new(),
            sent_samples: 0,
            sent_frames: 0,
            done_samples: 0,
            done_frames: 0,
        })
    }

    /// Samples in the next frame.
    pub(crate) fn next_samples(&self) -> u64 {
        match self.kind {
            Kind::Scan => self.windows[self.next].1 as u64,
            Kind::Samples => self.frame_samples as u64,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        match &self.sender {
            Sender::Tcp(producer) => producer.has_room(),
            Sender::Udp(_) => true,
        }
    }

    /// Gives the next frame to the connection, with the time at which it was due; `due_ns` and
    /// `now_ns` are of one clock.
    pub(crate) fn push(&mut self, due_ns: u64, now_ns: u64) -> Result<(), Failure> {
        let samples = self.next_samples();
        let behind_ns = i64::try_from(now_ns.saturating_sub(due_ns)).unwrap_or(i64::MAX);
        let time = client::now().plus_ns(-behind_ns);
        let rounds = self.values.len() / self.frame_samples;
        let round = self.sent_frames as usize % rounds;
        let values = &self.values[round * self.frame_samples..][..self.frame_samples];
        let sequence = match self.kind {
            Kind::Scan => {
                let (first, count) = self.windows[self.next];
                self.next = (self.next + 1) % self.windows.len();
                match &mut self.sender {
                    Sender::Tcp(producer) => producer.scan(first, Some(time), &values[..count]),
                    Sender::Udp(producer) => producer.scan(first, Some(time), &values[..count]),
                }
            }
            Kind::Samples => {
                self.batch.clear();
                for value in values {
                    self.batch.push(Sample::new(self.scattered[self.next], Some(time), *value));
                    self.next = (self.next + 1) % self.scattered.len();
                }
                match &mut self.sender {
                    Sender::Tcp(producer) => producer.samples(&self.batch),
                    Sender::Udp(producer) => producer.samples(&self.batch),
                }
            }
        }
        .map_err(Failure::of)?;
        self.sent_samples += samples;
        self.sent_frames += 1;
        if self.acks {
            self.pending.push_back(Pending { sequence, due_ns, samples });
        } else {
            self.done_samples += samples;
            self.done_frames += 1;
        }
        Ok(())
    }

    /// Writes what was gathered as far as the kernel takes it, and reads acknowledgements.
    pub(crate) fn poll(&mut self, now_ns: impl Fn() -> u64, latency: &mut Timeline) -> Result<(), Failure> {
        let acknowledged = match &mut self.sender {
            Sender::Tcp(producer) => producer.poll().map_err(Failure::of)?,
            Sender::Udp(producer) => return producer.flush().map_err(Failure::of),
        };
        self.note(acknowledged, now_ns, latency);
        Ok(())
    }

    /// As [`poll`](Self::poll), waiting up to `wait` for the other side.
    pub(crate) fn poll_for(
        &mut self,
        wait: Duration,
        now_ns: impl Fn() -> u64,
        latency: &mut Timeline,
    ) -> Result<(), Failure> {
        let acknowledged = match &mut self.sender {
            Sender::Tcp(producer) => producer.poll_for(wait).map_err(Failure::of)?,
            Sender::Udp(producer) => return producer.flush().map_err(Failure::of),
        };
        self.note(acknowledged, now_ns, latency);
        Ok(())
    }

    /// Frames that wait for their acknowledgement.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Bytes written to the kernel so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        match &self.sender {
            Sender::Tcp(producer) => producer.stats().bytes,
            Sender::Udp(producer) => producer.stats().bytes,
        }
    }

    /// Connections that had to be made again.
    pub(crate) fn reconnects(&self) -> u64 {
        match &self.sender {
            Sender::Tcp(producer) => producer.stats().reconnects,
            Sender::Udp(_) => 0,
        }
    }

    fn note(&mut self, acknowledged: Sequence, now_ns: impl Fn() -> u64, latency: &mut Timeline) {
        if self.pending.front().is_none_or(|frame| frame.sequence > acknowledged) {
            return;
        }
        let now_ns = now_ns();
        while let Some(frame) = self.pending.front()
            && frame.sequence <= acknowledged
        {
            latency.record(frame.due_ns, now_ns, frame.samples);
            self.done_samples += frame.samples;
            self.done_frames += 1;
            self.pending.pop_front();
        }
    }
}

/// What the tags from `first` on read, a frame's worth after the other.
fn values(first: usize, frame_samples: usize) -> Vec<f64> {
    let rounds = (VALUES_KEPT / frame_samples).clamp(*ROUNDS.start(), *ROUNDS.end());
    let value = |i: usize| reading::value(first + i % frame_samples, (i / frame_samples) as u64);
    (0..rounds * frame_samples).map(value).collect()
}

/// Cuts runs of consecutive tags into frames.
fn windows(tags: &[TagId], frame_samples: usize) -> Vec<(TagId, usize)> {
    let mut windows = Vec::new();
    for (first, count) in client::runs(tags) {
        let mut at = 0;
        while at < count {
            let samples = frame_samples.min(count - at);
            windows.push((TagId(first.0 + at as u32), samples));
            at += samples;
        }
    }
    windows
}

/// The tags in an order in which neighbours are far apart, each once.
fn scatter(tags: &[TagId]) -> Vec<TagId> {
    let count = tags.len();
    let divides = |a: usize, b: usize| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let stride = (count * 5 / 8 + 1..).find(|stride| divides(*stride, count.max(1))).unwrap_or(1);
    (0..count).map(|i| tags[i * stride % count]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_tag_once_and_never_jump() {
        let tags = [1, 2, 3, 4, 5, 9, 10].map(TagId);
        assert_eq!(windows(&tags, 2), [(1, 2), (3, 2), (5, 1), (9, 2)].map(|(t, n)| (TagId(t), n)));
    }

    #[test]
    fn scattered_tags_are_all_there_and_not_in_order() {
        for count in [1, 2, 7, 1_000, 4_096] {
            let tags: Vec<TagId> = (0..count).map(TagId).collect();
            let mut scattered = scatter(&tags);
            assert!(count < 100 || scattered.windows(2).all(|w| w[0].0.abs_diff(w[1].0) > 100));
            scattered.sort_unstable();
            assert_eq!(scattered, tags);
        }
    }
}
