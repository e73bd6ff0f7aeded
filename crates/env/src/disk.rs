//! The disk of one log: numbered files in one directory.
//!
//! Two halves. [`Disk`] is what the writer uses: operations are submitted and complete later, in
//! any order. [`Storage`] is what recovery, queries and `millstream log` use: it blocks.
//!
//! The contract that a kernel keeps and the simulated disk breaks as far as a real one may:
//! - D1: a completed write is not durable; only a sync that was *submitted after the write completed*
//!   makes it so. A write and a sync in flight together are unordered.
//! - D2: that a file was created, removed, retired or used again is durable only after
//!   [`DiskOp::SyncDirectory`]. A power cut before it may leave either name; its bytes are what they are.
//! - D3: after a failed sync nothing is known about what it should have covered, and it may not be
//!   retried on the same file (Rebello et al., USENIX ATC '20).
//! - D4: a write may complete short.

mod block;

use std::{fmt, io};

pub use block::{Block, Memory};

/// What a direct write asks for: bytes, offset in the file and place in memory are multiples of this.
pub const DIRECT_ALIGN: usize = 4096;

/// A file of a log's directory, by number; its name is the number in 20 digits with `.seg`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub u64);

impl FileNumber {
    /// The name of its file while it is retired: the number in 20 digits with `.free`.
    #[must_use]
    pub fn retired_name(self) -> String {
        format!("{:020}.free", self.0)
    }
}

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}.seg", self.0)
    }
}

/// Names one submitted operation until its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// What is asked of the disk.
#[derive(Debug)]
pub enum DiskOp {
    /// Create a new empty file and keep it open for writing. Fails if it exists.
    Create {
        /// Which.
        file: FileNumber,
    },
    /// Write bytes at an offset of an open file. Where both are multiples of [`DIRECT_ALIGN`], the
    /// disk may write past the page cache; to the contract this makes no difference.
    Write {
        /// Where.
        file: FileNumber,
        /// Offset in the file, in bytes.
        offset: u64,
        /// First byte of `block` to write; what stands before it was already written (D4).
        from: usize,
        /// The bytes, handed back with the completion.
        block: Block,
    },
    /// Make all *completed* writes of a file durable (fdatasync).
    Sync {
        /// Which.
        file: FileNumber,
    },
    /// Make the names of files durable (D2).
    SyncDirectory,
    /// Close a file that will not be written again.
    Close {
        /// Which.
        file: FileNumber,
    },
    /// Remove a file.
    Remove {
        /// Which.
        file: FileNumber,
    },
    /// Take a file out of the log, but keep it to be used again: its name is then no segment's.
    Retire {
        /// Which.
        file: FileNumber,
    },
    /// Give a retired file a new number and keep it open for writing, its old bytes still in it.
    Reuse {
        /// The number that it had.
        retired: FileNumber,
        /// The number that it gets.
        file: FileNumber,
    },
}

/// Why an operation failed, as far as it matters to what is done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No room (ENOSPC, EDQUOT): wait and try again elsewhere.
    Full,
    /// Anything else: the file is not to be trusted any more.
    Failed(String),
}

impl DiskError {
    /// The class of an I/O error.
    #[must_use]
    pub fn from_io(error: &io::Error) -> DiskError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full,
            _ => DiskError::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Full => f.write_str("no space left on the disk"),
            DiskError::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DiskError {}

/// The end of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Which operation.
    pub id: OpId,
    /// Bytes written (writes; may be short), 0 for the others; or what failed.
    pub result: Result<usize, DiskError>,
    /// The block of a write, whatever became of it.
    pub block: Option<Block>,
}

/// A disk that takes operations and completes them later. Owned by one shard's thread.
pub trait Disk {
    /// Starts an operation. Never blocks and never fails: failures are completions.
    fn submit(&mut self, id: OpId, op: DiskOp);

    /// The next completion, if one is there. Completions come in any order.
    fn poll_completion(&mut self) -> Option<Completion>;

    /// Whether a completion may be there; a few loads from memory. A disk that cannot tell says no: it
    /// gives notice of each.
    fn pending(&self) -> bool {
        false
    }

    /// An empty block that this disk writes at the lowest cost, where it has one left; any other block
    /// does as well.
    fn lend(&mut self) -> Option<Block> {
        None
    }
}

/// A log's directory, read and repaired with blocking calls, by recovery and the helper thread.
pub trait Storage {
    /// The numbers of all segment files, ascending.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<FileNumber>>;

    /// A file's length in bytes.
    ///
    /// # Errors
    /// The file is not there or cannot be asked.
    fn length(&self, file: FileNumber) -> io::Result<u64>;

    /// Reads into `to` from an offset; answers how many bytes, fewer only at the end of the file.
    ///
    /// # Errors
    /// The file is not there or cannot be read.
    fn read_at(&self, file: FileNumber, offset: u64, to: &mut [u8]) -> io::Result<usize>;

    /// Cuts a file to a length and makes that durable.
    ///
    /// # Errors
    /// The file cannot be cut or synced.
    fn truncate(&mut self, file: FileNumber, length: u64) -> io::Result<()>;

    /// Removes a file and makes that durable.
    ///
    /// # Errors
    /// The file cannot be removed, or the directory not synced.
    fn remove(&mut self, file: FileNumber) -> io::Result<()>;

    /// Removes every retired file and makes that durable, where there is one.
    ///
    /// # Errors
    /// A file cannot be removed, or the directory not read or synced.
    fn remove_retired(&mut self) -> io::Result<()>;

    /// Makes a file's bytes and the directory durable (recovery does this before it trusts what it
    /// read: bytes that a dead process wrote may still be in the page cache alone).
    ///
    /// # Errors
    /// The sync failed.
    fn sync(&mut self, file: FileNumber) -> io::Result<()>;

    /// Makes the directory durable: which files there are.
    ///
    /// # Errors
    /// The sync failed.
    fn sync_directory(&mut self) -> io::Result<()>;
}
