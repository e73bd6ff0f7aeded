//! Frames over UDP: fire-and-forget, whole frames in each datagram.
//!
//! A producer makes itself known to this shard by a `Hello` over TCP, or by one in a datagram (its
//! Welcome is not sent). What comes from a producer that is not known is counted and dropped; what
//! comes from one whose source lives on another shard is moved there.

use crate::counters::{Counters, ProtocolError};
use crate::limits::Limits;
use crate::sink::{FrameSink, Refusal, TakeError, Taken};
use frame::{Frame, FrameError, FrameKind, Splitter, View};
use model::{ProducerId, Refused, ShardId, TimestampNs};
use std::collections::HashMap;

/// What is known of the senders of datagrams.
pub(crate) struct Datagrams {
    splitter: Splitter,
    /// Where each producer's frames belong; `None` is here.
    known: HashMap<ProducerId, Option<ShardId>>,
    producers_max: usize,
}

/// The rest of the datagram is not read.
enum Drop {
    Error(ProtocolError),
    Unknown,
    /// The whole datagram belongs to another shard; only the first frame of a datagram can say so.
    Elsewhere(ShardId),
}

impl From<FrameError> for Drop {
    fn from(_: FrameError) -> Self {
        Drop::Error(ProtocolError::Frame)
    }
}

impl Datagrams {
    pub(crate) fn new(limits: &Limits) -> Datagrams {
        Datagrams { splitter: Splitter::new(), known: HashMap::new(), producers_max: limits.datagram_producers_max }
    }

    /// A producer's datagrams will be taken here.
    pub(crate) fn know(&mut self, producer: ProducerId) {
        if self.known.len() < self.producers_max || self.known.contains_key(&producer) {
            self.known.insert(producer, None);
        }
    }

    /// Takes one datagram; answers the shard that it belongs to if that is another one.
    pub(crate) fn on_datagram(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FrameSink,
        received: TimestampNs,
        counters: &mut Counters,
    ) -> Option<ShardId> {
        counters.datagrams += 1;
        counters.bytes += bytes.len() as u64;
        let Datagrams { splitter, known, producers_max } = self;
        let mut first = true;
        let read = splitter.push(bytes, |frame| {
            let is_first = std::mem::replace(&mut first, false);
            match on_frame(known, *producers_max, frame, sink, received, counters) {
                Err(Drop::Elsewhere(_)) if !is_first => Err(Drop::Error(ProtocolError::Producer)),
                done => done,
            }
        });
        let truncated = splitter.pending_bytes() > 0;
        *splitter = Splitter::new();
        match read {
            Ok(()) if truncated => counters.protocol_error(ProtocolError::Truncated),
            Ok(()) => {}
            Err(Drop::Error(error)) => counters.protocol_error(error),
            Err(Drop::Unknown) => counters.datagrams_unknown += 1,
            Err(Drop::Elsewhere(shard)) => return Some(shard),
        }
        None
    }
}

fn on_frame(
    known: &mut HashMap<ProducerId, Option<ShardId>>,
    producers_max: usize,
    frame: Frame<'_>,
    sink: &mut dyn FrameSink,
    received: TimestampNs,
    counters: &mut Counters,
) -> Result<(), Drop> {
    let producer = frame.producer();
    match frame.kind() {
        FrameKind::Hello => return on_hello(known, producers_max, frame, sink),
        FrameKind::Scan | FrameKind::Samples => {}
        _ => return Err(Drop::Error(ProtocolError::Kind)),
    }
    match known.get(&producer) {
        None => return Err(Drop::Unknown),
        Some(Some(shard)) => return Err(Drop::Elsewhere(*shard)),
        Some(None) => {}
    }
    match sink.take(frame, received) {
        Ok(Taken::Stored { .. }) => {
            counters.frames += 1;
            counters.samples += frame.sample_count() as u64;
        }
        Ok(Taken::Duplicate { .. }) => counters.duplicates += 1,
        Err(TakeError::Refused(Refused::Busy | Refused::Disk | Refused::Closed | Refused::Limit)) => {
            counters.shed_frames += 1;
            counters.shed_samples += frame.sample_count() as u64;
            sink.shed(frame, received);
        }
        Err(TakeError::UnknownTag { .. } | TakeError::BadValue { .. }) => {
            return Err(Drop::Error(ProtocolError::Tag));
        }
        Err(TakeError::UnknownProducer) => {
            known.remove(&producer);
            return Err(Drop::Unknown);
        }
    }
    Ok(())
}

fn on_hello(
    known: &mut HashMap<ProducerId, Option<ShardId>>,
    producers_max: usize,
    frame: Frame<'_>,
    sink: &mut dyn FrameSink,
) -> Result<(), Drop> {
    let View::Hello(hello) = frame.view() else { return Err(Drop::Error(ProtocolError::Hello)) };
    let producer = frame.producer();
    if producer == ProducerId::SELF {
        return Err(Drop::Error(ProtocolError::Producer));
    }
    // A Hello that was heard before costs a look here, not a call of the pass.
    match known.get(&producer) {
        Some(None) => return Ok(()),
        Some(Some(shard)) => return Err(Drop::Elsewhere(*shard)),
        None if known.len() >= producers_max => return Err(Drop::Unknown),
        None => {}
    }
    match sink.open(producer, &hello.source) {
        Ok(opened) if opened.datagrams => {
            known.insert(producer, None);
            Ok(())
        }
        Err(Refusal::WrongShard(shard)) => {
            known.insert(producer, Some(shard));
            Err(Drop::Elsewhere(shard))
        }
        Ok(_) | Err(_) => Err(Drop::Unknown),
    }
}
