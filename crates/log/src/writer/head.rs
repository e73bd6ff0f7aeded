//! The head of a segment: its header, and its prologue made part by part (W3).
//!
//! A prologue names every tag, so it is as long as the plant is large; made at once it would keep
//! telemetry waiting for milliseconds at every new segment. No batch is placed anywhere while it is
//! made: what is appended meanwhile, new definitions too, stands behind it in the same segment.

use super::batch::{self, Batch};
use super::live::{Head, Making};
use super::{GROUP_BYTES, WRITES_MAX, Writer};
use crate::header::{BatchKind, SegmentHeader};
use crate::layout::{BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::span::SegmentIndex;
use env::disk::Block;
use frame::Builder;
use model::{LogPosition, TimestampNs, limits};

/// What a part takes that makes a batch full, most often.
const PART_BYTES: usize = 64 << 10;

impl Making {
    fn new(position: LogPosition, block: Block, prefix: usize) -> Making {
        let mut making = Making { part: 0, position, block, prefix, frames: 0 };
        making.block.clear();
        // as much will come where there are many tags; growing copies
        making.block.reserve(prefix + BATCH_HEADER_BYTES + GROUP_BYTES + PART_BYTES);
        making.block.resize(prefix + BATCH_HEADER_BYTES, 0);
        making
    }

    fn body_bytes(&self) -> usize {
        self.block.len() - self.prefix - BATCH_HEADER_BYTES
    }
}

impl Writer {
    /// Whether the current segment wants the next part of its head now.
    pub(super) fn makes_head(&self) -> bool {
        let wants = self.current().is_some_and(|live| live.created && !live.is_begun());
        wants && self.writes_in_flight < WRITES_MAX
    }

    /// Makes the next part of the current segment's head.
    pub(super) fn make_head(&mut self, wall: TimestampNs, prologue: &mut dyn FnMut(&mut Builder, usize) -> bool) {
        let Some(live) = self.live.back_mut() else { return };
        let mut making = match std::mem::take(&mut live.head) {
            Head::Making(making) => making,
            _ => self.start_head(wall),
        };
        let mut builder = std::mem::take(&mut self.builder);
        builder.clear();
        let more = prologue(&mut builder, making.part);
        builder.stamp(wall);
        making.part += 1;
        let mut rest = builder.bytes();
        while !rest.is_empty() {
            let room = limits::BATCH_BYTES_MAX - making.body_bytes();
            let (fits, frames) = batch::whole_frames(rest, room);
            making.block.extend_from_slice(&rest[..fits]);
            making.frames += frames;
            rest = &rest[fits..];
            if !rest.is_empty() || making.body_bytes() >= GROUP_BYTES {
                let next =
                    Making { part: making.part, ..Making::new(making.position, self.blocks.take(self.now_ns), 0) };
                self.queue_head(std::mem::replace(&mut making, next), wall);
            }
        }
        self.builder = builder;
        let head = if more {
            Head::Making(making)
        } else {
            // the segment's header alone has no batch behind it
            if making.frames == 0 {
                making.block.resize(making.prefix, 0);
            }
            self.queue_head(making, wall);
            self.removal.look(self.now_ns);
            Head::Queued
        };
        let as_of = self.end();
        if let Some(live) = self.live.back_mut() {
            (live.head, live.as_of) = (head, as_of);
        }
    }

    /// Writes the segment's header, behind which the parts are gathered.
    fn start_head(&mut self, wall: TimestampNs) -> Making {
        let waiting = self.queue.iter().find(|batch| batch.place.is_none());
        let position = waiting.map_or(self.open.position(), |batch| batch.position);
        let mut making = Making::new(position, self.blocks.take(self.now_ns), SEGMENT_HEADER_BYTES);
        let running_ns = self.running_now_ns();
        let Some(live) = self.live.back_mut() else { return making };
        let header = SegmentHeader {
            shard: self.settings.shard,
            file: live.file,
            position,
            durable: self.durable,
            created: wall,
            running_ns,
            started: self.started,
            ordinal: u32::try_from(live.file.0 - self.first_file.0).unwrap_or(u32::MAX),
            replaces: self.replaces,
            reused: live.reused_bytes > 0,
        };
        live.durable = self.durable;
        live.previous_crc = header.write(&mut making.block);
        self.stats.segments += 1;
        self.stats.reused += u64::from(header.reused);
        self.index.push_back(SegmentIndex {
            file: live.file,
            from: position,
            bytes: live.reused_bytes,
            ended_ns: u64::MAX,
            spans: Vec::new(),
        });
        making
    }

    /// Queues what was gathered before whatever waits for the segment.
    fn queue_head(&mut self, making: Making, wall: TimestampNs) {
        if making.block.is_empty() {
            return;
        }
        let waits = |batch: &Batch| batch.place.is_none() && batch.kind != BatchKind::Prologue;
        let at = self.queue.iter().position(waits).unwrap_or(self.queue.len());
        if let Some(live) = self.live.back_mut() {
            live.prologue_end += making.block.len() as u64;
        }
        let mut batch = Batch::own(self.key(), BatchKind::Prologue, making.position, wall, making.block);
        (batch.prefix, batch.frames) = (making.prefix, making.frames);
        self.queue.insert(at, batch);
    }
}
