//! The log's bytes on their way to the disk, and nothing of the log: what `bare_writer` and `bare_intake` share.
//!
//! Blocks as long as a full batch, eight under way, past the page cache, from registered memory in huge
//! pages, over the blocks of files that were written before; on wish with one sync always under way. Four
//! files of 64 MiB are made in the folder, and removed at the end.

#![expect(unsafe_code, reason = "a ring's operations point into memory that must outlive them")]

use io_uring::{EnterFlags, IoUring, opcode, types};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A batch of the log where it is longest, and how many are not written at most.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
pub(crate) const BLOCKS: usize = 8;
/// Segments of the benchmark's log, and how many it may keep.
const FILE_BLOCKS: u64 = 64;
const FILES: u64 = 4;
const HUGE_PAGE: usize = 2 << 20;
/// What a sync's completion says; a write's says its number.
const SYNC: u64 = u64::MAX;

/// Eight blocks end to end.
pub(crate) struct Memory {
    start: *mut u8,
    layout: Layout,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        let layout = Layout::from_size_align(BLOCKS * BLOCK_BYTES, HUGE_PAGE).expect("eight MiB, aligned to two");
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) };
        assert!(!start.is_null(), "no memory for eight blocks");
        // SAFETY: the memory is ours, whole huge pages of it; without them it works as well.
        unsafe { libc::madvise(start.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        for at in 0..layout.size() {
            // SAFETY: `at` lies within the memory, which nobody else knows yet.
            unsafe { start.add(at).write(((at * 31) >> 3) as u8) };
        }
        Memory { start, layout }
    }

    /// The block that a number is written from.
    fn block(&self, number: u64) -> *const u8 {
        // SAFETY: the index is below `BLOCKS`.
        unsafe { self.start.add(number as usize % BLOCKS * BLOCK_BYTES) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout; the writer, whose ring knows it, is gone before.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// Files whose blocks were written before.
pub(crate) struct Files {
    files: Vec<File>,
    paths: Vec<PathBuf>,
}

impl Files {
    pub(crate) fn new(directory: &Path, memory: &Memory) -> Result<Files, Box<dyn Error>> {
        std::fs::create_dir_all(directory)?;
        // SAFETY: one whole block, which nobody writes any more.
        let block = unsafe { std::slice::from_raw_parts(memory.block(0), BLOCK_BYTES) };
        let mut made = Files { files: Vec::new(), paths: Vec::new() };
        for n in 0..FILES {
            let path = directory.join(format!("bare-{n}.tmp"));
            made.paths.push(path.clone());
            let file = OpenOptions::new().write(true).create(true).custom_flags(libc::O_DIRECT).open(path)?;
            for at in 0..FILE_BLOCKS {
                file.write_all_at(block, at * BLOCK_BYTES as u64)?;
            }
            file.sync_all()?;
            made.files.push(file);
        }
        Ok(made)
    }

    /// The file that a block's number belongs into.
    fn of(&self, number: u64) -> types::Fd {
        types::Fd(self.files[(number / FILE_BLOCKS % FILES) as usize].as_raw_fd())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            // What cannot be removed lies where the caller removes everything.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Blocks are numbered: all below `synced` are durable, all below `written` are written, all below `next`
/// are under way or further; `next` itself is the caller's to fill while `free` is not 0.
pub(crate) struct Writer<'a> {
    ring: IoUring,
    memory: &'a Memory,
    files: &'a Files,
    /// Whether syncs are wanted.
    is_synced: bool,
    next: u64,
    written: u64,
    /// Of the blocks from `written` on, which are written, by number modulo `BLOCKS`.
    ended: [bool; BLOCKS],
    synced: u64,
    /// Up to where the sync reaches that is under way.
    syncing: Option<u64>,
    pub(crate) syncs: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(memory: &'a Memory, files: &'a Files, is_synced: bool) -> Result<Writer<'a>, Box<dyn Error>> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(2 * BLOCKS as u32)?;
        let known = libc::iovec { iov_base: memory.start.cast(), iov_len: memory.layout.size() };
        // SAFETY: the memory outlives the ring: the writer borrows it.
        unsafe { ring.submitter().register_buffers(&[known])? };
        let (ended, syncing) = ([false; BLOCKS], None);
        Ok(Writer { ring, memory, files, is_synced, next: 0, written: 0, ended, synced: 0, syncing, syncs: 0 })
    }

    /// Blocks that count.
    pub(crate) fn done(&self) -> u64 {
        if self.is_synced { self.synced } else { self.written }
    }

    pub(crate) fn under_way(&self) -> bool {
        self.next > self.written || self.syncing.is_some()
    }

    /// Blocks that are neither under way nor being filled.
    pub(crate) fn free(&self) -> usize {
        BLOCKS - (self.next - self.written) as usize
    }

    /// The block that is written next; only while one is free.
    pub(crate) fn block(&mut self) -> &mut [u8] {
        assert!(self.free() > 0, "every block is under way");
        // SAFETY: one whole block within the memory; no operation of the ring's has it, and the writer,
        // which alone gives blocks out, is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.memory.block(self.next).cast_mut(), BLOCK_BYTES) }
    }

    /// Hands the next block to the disk.
    pub(crate) fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        assert!(self.free() > 0, "every block is under way");
        let (bytes, offset) = (self.memory.block(self.next), self.next % FILE_BLOCKS * BLOCK_BYTES as u64);
        let write = opcode::WriteFixed::new(self.files.of(self.next), bytes, BLOCK_BYTES as u32, 0).offset(offset);
        // SAFETY: the block lies in memory that outlives the ring.
        unsafe { self.ring.submission().push(&write.build().user_data(self.next))? };
        self.next += 1;
        Ok(())
    }

    /// Begins a sync where none is under way and something is to be covered.
    pub(crate) fn sync(&mut self) -> Result<(), Box<dyn Error>> {
        if !self.is_synced || self.syncing.is_some() || self.written == self.synced {
            return Ok(());
        }
        let sync = opcode::Fsync::new(self.files.of(self.synced)).flags(types::FsyncFlags::DATASYNC);
        // SAFETY: a sync points to no memory.
        unsafe { self.ring.submission().push(&sync.build().user_data(SYNC))? };
        let file_ends = (self.synced / FILE_BLOCKS + 1) * FILE_BLOCKS;
        self.syncing = Some(self.written.min(file_ends));
        Ok(())
    }

    /// Submits what was begun and takes what has ended, once so much has; with 0 the kernel is entered only
    /// where there is something to do.
    pub(crate) fn enter(&mut self, wanted: u32) -> Result<(), Box<dyn Error>> {
        let submission = self.ring.submission();
        let (begun, is_due) = (submission.len() as u32, submission.taskrun());
        drop(submission);
        if begun > 0 || is_due || wanted > 0 {
            let flags = EnterFlags::GETEVENTS.bits();
            // SAFETY: no argument is passed that the kernel would read.
            let entered = unsafe { self.ring.submitter().enter::<libc::sigset_t>(begun, wanted, flags, None) };
            match entered {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
        while let Some(entry) = { self.ring.completion().next() } {
            self.on_end(entry.user_data(), entry.result())?;
        }
        Ok(())
    }

    fn on_end(&mut self, number: u64, result: i32) -> Result<(), Box<dyn Error>> {
        let wanted = if number == SYNC { 0 } else { BLOCK_BYTES as i32 };
        if result != wanted {
            return Err(format!("an operation answered {result}, not {wanted}").into());
        }
        if number == SYNC {
            self.synced = self.syncing.take().unwrap_or(self.synced);
            self.syncs += 1;
            return Ok(());
        }
        self.ended[number as usize % BLOCKS] = true;
        while std::mem::take(&mut self.ended[self.written as usize % BLOCKS]) {
            self.written += 1;
        }
        Ok(())
    }
}
