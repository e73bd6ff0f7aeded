//! The second limit of intake (`cargo xtask bench intake`): how many bytes a second this disk takes from
//! somebody who does nothing else, in the manner of the log and with its lengths.
//!
//! `taskset -c 1 cargo run --release -p millstream-uring --example bare_writer -- DIRECTORY SECONDS [sync]`
//!
//! Blocks as long as a full batch, eight under way, past the page cache, from registered memory in huge
//! pages, over the blocks of files that were written before. With `sync` one sync is always under way,
//! and only what a sync that was begun later has covered is counted; without, what was written. Prints one
//! JSON object. Four files of 64 MiB are made in the folder, and removed at the end.

#![expect(unsafe_code, reason = "a ring's operations point into memory that must outlive them")]

use io_uring::{IoUring, opcode, types};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A batch of the log where it is longest, and how many are not durable at most.
const BLOCK_BYTES: usize = 1 << 20;
const BLOCKS: usize = 8;
/// Segments of the benchmark's log, and how many it may keep.
const FILE_BLOCKS: u64 = 64;
const FILES: u64 = 4;
const HUGE_PAGE: usize = 2 << 20;
/// What a sync's completion says; a write's says its number.
const SYNC: u64 = u64::MAX;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: bare_writer DIRECTORY SECONDS [sync]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, seconds, syncs) = match &arguments[..] {
        [directory, seconds] => (directory, seconds, false),
        [directory, seconds, word] if word == "sync" => (directory, seconds, true),
        _ => return Err(usage.into()),
    };
    let time = Duration::try_from_secs_f64(seconds.parse().map_err(|_| usage)?)?;
    let memory = Memory::new();
    let files = Files::new(Path::new(directory), &memory)?;
    let mut writer = Writer::new(&memory, &files, syncs)?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        writer.turn(true)?;
    }
    let (blocks, took) = (writer.done(), begun.elapsed().as_secs_f64());
    while writer.under_way() {
        writer.turn(false)?;
    }
    let bytes = blocks * BLOCK_BYTES as u64;
    println!(
        "{{\"seconds\":{took:.3},\"bytes\":{bytes},\"bytes_per_s\":{:.0},\"syncs\":{}}}",
        bytes as f64 / took,
        writer.syncs
    );
    Ok(())
}

/// Eight blocks end to end.
struct Memory {
    start: *mut u8,
    layout: Layout,
}

impl Memory {
    fn new() -> Memory {
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
struct Files {
    files: Vec<File>,
    paths: Vec<PathBuf>,
}

impl Files {
    fn new(directory: &Path, memory: &Memory) -> Result<Files, Box<dyn Error>> {
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
/// are under way or further.
struct Writer<'a> {
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
    syncs: u64,
}

impl<'a> Writer<'a> {
    fn new(memory: &'a Memory, files: &'a Files, is_synced: bool) -> Result<Writer<'a>, Box<dyn Error>> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(2 * BLOCKS as u32)?;
        let known = libc::iovec { iov_base: memory.start.cast(), iov_len: memory.layout.size() };
        // SAFETY: the memory outlives the ring: the writer borrows it.
        unsafe { ring.submitter().register_buffers(&[known])? };
        let (ended, syncing) = ([false; BLOCKS], None);
        Ok(Writer { ring, memory, files, is_synced, next: 0, written: 0, ended, synced: 0, syncing, syncs: 0 })
    }

    /// Blocks that count.
    fn done(&self) -> u64 {
        if self.is_synced { self.synced } else { self.written }
    }

    fn under_way(&self) -> bool {
        self.next > self.written || self.syncing.is_some()
    }

    /// Begins what may begin, and waits until something ended.
    fn turn(&mut self, begin: bool) -> Result<(), Box<dyn Error>> {
        while begin && self.next < self.written + BLOCKS as u64 {
            let (bytes, offset) = (self.memory.block(self.next), self.next % FILE_BLOCKS * BLOCK_BYTES as u64);
            let write = opcode::WriteFixed::new(self.files.of(self.next), bytes, BLOCK_BYTES as u32, 0).offset(offset);
            // SAFETY: the block lies in memory that outlives the ring.
            unsafe { self.ring.submission().push(&write.build().user_data(self.next))? };
            self.next += 1;
        }
        if begin && self.is_synced && self.syncing.is_none() && self.written > self.synced {
            let sync = opcode::Fsync::new(self.files.of(self.synced)).flags(types::FsyncFlags::DATASYNC);
            // SAFETY: a sync points to no memory.
            unsafe { self.ring.submission().push(&sync.build().user_data(SYNC))? };
            let file_ends = (self.synced / FILE_BLOCKS + 1) * FILE_BLOCKS;
            self.syncing = Some(self.written.min(file_ends));
        }
        self.ring.submit_and_wait(1)?;
        let ended: Vec<(u64, i32)> = self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (number, result) in ended {
            self.on_end(number, result)?;
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
