//! A log's files: [`env::disk::Disk`] in two ways, and [`env::disk::Storage`].
//!
//! Invariants
//! - F1: a completion is queued before its notice is given, so who is woken finds it.
//! - F2: a block belongs to its operation until the completion hands it back (U1).
//! - F3: an operation on a file that is not open fails as a completion; nothing panics over it.
//! - F4: the page cache is passed by only where a write covers whole blocks of the file (module `direct`).

mod arena;
mod direct;
mod directory;
mod lock;
mod ring;
mod thread;
mod writes;

#[cfg(test)]
mod tests;

use std::{io, path::Path, sync::Arc};

use env::disk::{Disk, DiskError, FileNumber};

pub use directory::{DirectoryStorage, create_directory_durable};
pub use lock::{DirectoryLock, LockError};
pub use ring::UringDisk;
pub use thread::ThreadDisk;

use crate::mode::IoMode;

/// Called, on any thread, when a completion is there to be polled.
pub type Notice = Arc<dyn Fn() + Send + Sync>;

/// Blocks that a disk lends for writing from, where it can ([`Disk::lend`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Lending {
    /// How many, at most 64; 0 for a disk that writes little.
    pub blocks: usize,
    /// How long each is, a multiple of [`env::disk::DIRECT_ALIGN`].
    pub block_bytes: usize,
}

/// Permissions of a log's files: the owner writes, the group reads.
const FILE_MODE: u32 = 0o640;

/// The disk of one directory for the calling thread. In [`IoMode::Uring`] to be called, and used,
/// inside [`block_on`](crate::block_on) of that mode.
///
/// # Errors
/// The directory cannot be opened, or the thread not be started.
pub fn open_disk(mode: IoMode, directory: &Path, lending: Lending, notice: Notice) -> io::Result<Box<dyn Disk>> {
    Ok(match mode {
        IoMode::Uring => Box::new(UringDisk::open(directory, lending, notice)?),
        IoMode::Epoll => Box::new(ThreadDisk::open(directory, notice)?),
    })
}

fn not_open(file: FileNumber) -> DiskError {
    DiskError::Failed(format!("the file {file} is not open"))
}

fn beyond(file: FileNumber, from: usize, length: usize) -> DiskError {
    DiskError::Failed(format!("a write to {file} begins at byte {from} of a block of {length}"))
}
