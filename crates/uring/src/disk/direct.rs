//! Writes past the page cache (`O_DIRECT`, open(2)): the disk takes a large block from where it lies.
//!
//! Through the page cache the kernel copies every byte first, and writes it back with threads of its
//! own. Each file is opened twice, and a write goes past the cache where the kernel can do that:
//! bytes, offset and place in memory are whole blocks. The two never touch the same block of the
//! file, so they need no order between them. Where a file system refuses, everything goes through
//! the cache.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use env::disk::DIRECT_ALIGN;

/// Opens a file that exists for writing past the page cache; `None` where the file system cannot.
pub(super) fn open(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path).ok()
}

/// Whether the kernel can take these bytes from where they are to that offset.
pub(super) fn fits(bytes: &[u8], offset: u64) -> bool {
    let starts = [bytes.as_ptr() as usize, bytes.len(), offset as usize];
    !bytes.is_empty() && starts.iter().all(|start| start.is_multiple_of(DIRECT_ALIGN))
}

/// Whether this is how a file system says that it cannot, after all.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}
