//! Damage, as it is said.

use env::disk::FileNumber;
use model::{LogPosition, TimestampNs};
use std::fmt;

/// What kind of damage lies behind a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceKind {
    /// Stored bytes are not what was written.
    Damaged,
    /// The disk refuses to read the bytes.
    Unreadable,
    /// A file that must have been there is gone.
    Missing,
}

/// A part of the log that is not served because it is damaged or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What happened.
    pub kind: FenceKind,
    /// The file; of a missing one, the number where it is missed.
    pub file: FileNumber,
    /// First damaged byte in the file.
    pub offset: u64,
    /// Damaged bytes in the file; 0 where the file is gone.
    pub bytes: u64,
    /// Where the log's data stops.
    pub from: LogPosition,
    /// Where it goes on; the same as `from` where only definitions, marks or headers were hit.
    pub to: LogPosition,
    /// Received time of the last batch before; the fenced data is not older.
    pub received_from: Option<TimestampNs>,
    /// Received time of the first batch behind; the fenced data is not younger.
    pub received_to: Option<TimestampNs>,
}

impl Fence {
    /// Whether telemetry is missing, not only definitions, marks or headers.
    #[must_use]
    pub fn loses_data(&self) -> bool {
        self.to > self.from
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fence { file, offset, bytes, from, to, .. } = self;
        match self.kind {
            FenceKind::Damaged => write!(f, "{file}: {bytes} bytes at {offset} are damaged")?,
            FenceKind::Unreadable => write!(f, "{file}: {bytes} bytes at {offset} cannot be read")?,
            FenceKind::Missing => write!(f, "{file} is missing")?,
        }
        if self.loses_data() {
            write!(f, "; positions {from} to {to} are fenced off")?;
            if let (Some(a), Some(b)) = (self.received_from, self.received_to) {
                write!(f, ", received between {a} and {b}")?;
            }
            write!(f, "; restore them from a backup if there is one, the rest is served")
        } else {
            write!(f, "; no data is lost")
        }
    }
}

/// A torn tail that was cut off: what a crash left half-written, never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The file that was cut first.
    pub file: FileNumber,
    /// Its new length, or 0 where it was removed.
    pub offset: u64,
    /// Bytes cut off, over all files.
    pub bytes: u64,
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Truncated { file, offset, bytes } = self;
        write!(f, "cut {bytes} half-written bytes from {file} at {offset}; none of them was acknowledged")
    }
}
