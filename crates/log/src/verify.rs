//! Looking at a log without changing it: `millstream log verify` and `millstream log dump`.

use crate::header::{BatchHeader, BatchKind, SegmentHeader, SegmentStart};
use crate::judge::judge;
use crate::layout::{SEGMENT_HEADER_BYTES, VERSION};
use crate::recover::{fence_unserved, frames};
use crate::scan::{Piece, Walk, Window};
use crate::survey::{for_each_batch, shard_of, survey};
use crate::{Fence, RecoverError, Truncated};
use env::disk::Storage;
use frame::View;
use model::{LogPosition, ShardId, TimestampNs};
use std::io;
use std::ops::ControlFlow;

/// What a look at a log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whose log, where a header says so.
    pub shard: Option<ShardId>,
    /// Segment files.
    pub segments: u64,
    /// Whole batches that are kept.
    pub batches: u64,
    /// Frames in them.
    pub frames: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// First position that is stored.
    pub from: LogPosition,
    /// Position after the last kept frame.
    pub to: LogPosition,
    /// Earliest and latest received time.
    pub received: Option<(TimestampNs, TimestampNs)>,
    /// Damage below the known-durable mark.
    pub rot: Vec<Fence>,
    /// What recovery would cut off.
    pub torn: Option<Truncated>,
    /// Whether the writer was closed in order.
    pub clean: bool,
}

impl VerifyReport {
    /// Whether no data and no definition is damaged. A torn tail is no damage.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.rot.is_empty()
    }
}

/// Checks a whole log and changes nothing. Without a shard, the first readable header says whose
/// it is.
///
/// # Errors
/// [`RecoverError`] as recovery would, without ever cutting or syncing.
pub fn verify(storage: &dyn Storage, shard: Option<ShardId>) -> Result<VerifyReport, RecoverError> {
    let Some(shard) = shard.map_or_else(|| shard_of(storage), |shard| Ok(Some(shard)))? else {
        return Ok(VerifyReport { clean: true, ..VerifyReport::default() });
    };
    let segments = survey(storage, shard)?;
    let judgement = judge(storage, &segments);
    let mut report = VerifyReport {
        shard: Some(shard),
        segments: segments.len() as u64,
        bytes: segments.iter().map(|s| s.file_bytes()).sum(),
        from: judgement.kept.first().map_or(LogPosition(0), |span| span.from),
        to: judgement.end,
        ..VerifyReport::default()
    };
    let (mut newest, mut unserved) = (None, Vec::new());
    let prologues = segments.iter().flat_map(|s| &s.prologue).filter(|span| span.from <= judgement.end);
    for span in judgement.kept.iter().chain(prologues) {
        for_each_batch(storage, span, &mut |header, body| {
            report.batches += 1;
            let count = frames(body, header.position, &mut |frame, _| report.samples += frame.sample_count() as u64);
            report.frames += u64::from(count);
            unserved.extend(fence_unserved(header, count));
            let (first, last) = report.received.unwrap_or((header.received_first, header.received_last));
            report.received = Some((first.min(header.received_first), last.max(header.received_last)));
            newest = newest.max(Some((header.file, header.offset, header.kind == BatchKind::Final)));
            ControlFlow::Continue(())
        });
    }
    report.clean =
        newest.is_none_or(|(_, _, is_final)| is_final) && judgement.truncated.is_none() && !judgement.is_ragged;
    report.rot = judgement.fences.into_iter().chain(unserved).collect();
    report.torn = judgement.truncated;
    Ok(report)
}

/// Writes a log as text: one line for each segment, batch and frame, and for each damaged part.
///
/// # Errors
/// The directory cannot be listed, a file not opened, or `out` not written.
pub fn dump(storage: &dyn Storage, out: &mut dyn io::Write) -> io::Result<()> {
    for file in storage.list()? {
        let length = storage.length(file)?;
        let mut window = Window::new(storage, file);
        let mut reused = false;
        let (shard, previous_crc) = match SegmentHeader::read(window.at(0, SEGMENT_HEADER_BYTES, length)) {
            SegmentStart::Header { header: h, crc } => {
                reused = h.reused;
                writeln!(
                    out,
                    "{file} shard {} from {} durable {} created {} running {} ns{}{}, {length} bytes",
                    h.shard,
                    h.position,
                    h.durable,
                    h.created,
                    h.running_ns,
                    if h.replaces { ", replaces what was before" } else { "" },
                    if reused { ", in a file that was used before" } else { "" }
                )?;
                (h.shard, Some(crc))
            }
            SegmentStart::Version(version) => {
                writeln!(out, "{file} has format version {version}; this release reads version {VERSION}")?;
                continue;
            }
            SegmentStart::Damaged => {
                writeln!(out, "{file} has no readable header, {length} bytes")?;
                (shard_of(storage).ok().flatten().unwrap_or_default(), None)
            }
        };
        let from = (SEGMENT_HEADER_BYTES as u64).min(length);
        let walk = Walk { shard, file, from, to: length, previous_crc, damaged_from: None };
        dump_pieces(&walk, reused, &mut window, out)?;
    }
    Ok(())
}

fn dump_pieces(walk: &Walk, reused: bool, window: &mut Window<'_>, out: &mut dyn io::Write) -> io::Result<()> {
    let mut result = Ok(());
    walk.run(window, &mut |piece| {
        result = match piece {
            Piece::Damage { offset, bytes, unreadable } => {
                let what = match unreadable {
                    true => "cannot be read",
                    false if reused && offset + bytes == walk.to => "remain of an older segment, or are half-written",
                    false => "are not a whole batch",
                };
                writeln!(out, "  {offset}: {bytes} bytes {what}")
            }
            Piece::Batch(header, body) => dump_batch(&header, body, out),
        };
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result
}

fn dump_batch(header: &BatchHeader, body: &[u8], out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(
        out,
        "  {}: {:?} {} to {} durable {} as of {} received {} to {}, {} frames, {} bytes",
        header.offset,
        header.kind,
        header.position,
        header.position_end(),
        header.durable,
        header.as_of,
        header.received_first,
        header.received_last,
        header.frames,
        header.body_bytes
    )?;
    let mut result = Ok(());
    frames(body, header.position, &mut |frame, end| {
        if result.is_ok() {
            result = writeln!(
                out,
                "    {:?} producer {} sequence {} received {} samples {} ends {}",
                frame.kind(),
                frame.producer(),
                frame.sequence(),
                frame.received(),
                frame.sample_count(),
                end.min(header.position_end())
            );
        }
        if let (Ok(()), View::Entry(entry)) = (&result, frame.view()) {
            let body = String::from_utf8_lossy(&entry.body);
            result = writeln!(out, "      kind {} {} {} {body}", entry.kind, &*entry.stream, &*entry.id);
        }
    });
    result
}
