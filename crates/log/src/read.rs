//! Reading spans: verified, fenced, in order.

use crate::recover::fence_unserved;
use crate::scan::{Piece, Window};
use crate::survey::walk_of;
use crate::{Fence, FenceKind, Span};
use env::disk::{FileNumber, Storage};
use frame::Frame;
use model::LogPosition;
use std::ops::ControlFlow;
use std::{fmt, io};

/// Why spans cannot be read at all. Damage is no error: it is in the report.
#[derive(Debug)]
pub enum ReadError {
    /// A file is there but cannot be opened; an operator must look at its permissions or the disk.
    Open {
        /// Which.
        file: FileNumber,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Open { file, error } => {
                write!(f, "{file} cannot be opened: {error}; check its permissions and the disk")
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// What reading met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// Damage, not served.
    pub fences: Vec<Fence>,
    /// Spans whose file retention removed meanwhile.
    pub removed: u64,
    /// Frames visited.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Whether the visitor stopped before the end.
    pub stopped: bool,
}

/// Reads spans in order and visits each frame with the position after it. Each batch's checksum is
/// verified before its frames are visited.
///
/// # Errors
/// [`ReadError`] where a file cannot be opened; damage is fenced and reading goes on.
pub fn read(
    storage: &dyn Storage,
    spans: &[Span],
    visit: &mut dyn FnMut(Frame<'_>, LogPosition) -> ControlFlow<()>,
) -> Result<ReadReport, ReadError> {
    let mut report = ReadReport::default();
    for span in spans {
        match storage.length(span.file) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                report.removed += 1;
                continue;
            }
            Err(error) => return Err(ReadError::Open { file: span.file, error }),
        }
        let fences = report.fences.len();
        read_span(storage, span, &mut report, visit);
        if report.fences.len() > fences && is_gone(storage, span.file) {
            // Retention took the file while it was read, and its bytes may be another segment's by now.
            report.fences.truncate(fences);
            report.removed += 1;
        }
        if report.stopped {
            break;
        }
    }
    Ok(report)
}

fn is_gone(storage: &dyn Storage, file: FileNumber) -> bool {
    storage.length(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn read_span(
    storage: &dyn Storage,
    span: &Span,
    report: &mut ReadReport,
    visit: &mut dyn FnMut(Frame<'_>, LogPosition) -> ControlFlow<()>,
) {
    let mut window = Window::new(storage, span.file);
    let (mut from, mut received_from) = (span.from, span.received_from);
    let mut open: Option<Fence> = None;
    let ReadReport { fences, frames, stopped, .. } = report;
    walk_of(span).run(&mut window, &mut |piece| match piece {
        Piece::Damage { offset, bytes, unreadable } => {
            open = Some(Fence {
                kind: if unreadable { FenceKind::Unreadable } else { FenceKind::Damaged },
                file: span.file,
                offset,
                bytes,
                from,
                to: span.to,
                received_from: Some(received_from),
                received_to: Some(span.received_to),
            });
            ControlFlow::Continue(())
        }
        Piece::Batch(header, body) => {
            if let Some(mut fence) = open.take() {
                fence.to = header.position;
                fence.received_to = Some(header.received_first);
                fences.push(fence);
            }
            let served = visit_body(header.position, header.position_end(), body, stopped, visit);
            *frames += u64::from(served);
            fences.extend(fence_unserved(&header, served).filter(|_| !*stopped));
            (from, received_from) = (header.position_end(), header.received_last);
            if *stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    });
    fences.extend(open);
    report.bytes += window.read;
}

fn visit_body(
    position: LogPosition,
    end: LogPosition,
    body: &[u8],
    stopped: &mut bool,
    visit: &mut dyn FnMut(Frame<'_>, LogPosition) -> ControlFlow<()>,
) -> u32 {
    let mut at = 0;
    let mut count = 0;
    while at < body.len() && !*stopped {
        let Ok(frame) = frame::check(&body[at..]) else { break };
        at += frame.bytes().len();
        count += 1;
        *stopped = visit(frame, LogPosition(position.0 + at as u64).min(end)).is_break();
    }
    count
}
