//! A ring for what a log does most: writes and syncs of open files.
//!
//! tokio-uring knows no registered memory of changing length, and each of its operations is a task. Here
//! one is an entry in a table; a completion is seen by whoever looks, without a task or a system call
//! before it, and rings an eventfd for a sleeper.

#![expect(unsafe_code, reason = "the raw ring is driven here; each block has its proof")]

use std::{collections::HashMap, io, os::fd::AsRawFd, rc::Rc, sync::Arc};

use env::disk::{Block, Completion, DiskError, OpId};
use io_uring::{IoUring, opcode, squeue, types};
use tokio_uring::fs::File;

use super::{arena::Arena, direct};
use crate::{setup, wake::WakeFd};

/// Operations that wait for the next entering; each is handed over at once, so a few do.
const SUBMISSIONS: u32 = 16;
/// Completions that wait for this thread; beyond it the kernel keeps them itself.
const COMPLETIONS: u32 = 256;
/// Index of the arena among the registered buffers.
const ARENA: u16 = 0;
/// With fewer it would seldom be one of them that is written.
const FEWEST_BLOCKS: usize = 4;
/// Rounds of waiting for what is under way when the ring goes; each waits for one completion.
const QUIET_ROUNDS_MAX: usize = 10_000;

pub(super) struct Writes {
    ring: IoUring,
    wake: WakeFd,
    arena: Option<Arc<Arena>>,
    under_way: HashMap<u64, UnderWay>,
    next: u64,
}

/// An operation that the kernel has.
struct UnderWay {
    id: OpId,
    /// Keeps the descriptor open (U1).
    _file: Rc<File>,
    write: Option<Write>,
}

struct Write {
    block: Block,
    from: usize,
    offset: u64,
    /// The file through the page cache, for when it cannot be passed by.
    cached: Option<Rc<File>>,
}

impl Writes {
    /// A ring with `blocks` blocks to lend; fewer than wanted, none at worst, where memory may not be
    /// pinned (`RLIMIT_MEMLOCK`).
    pub(super) fn open(blocks: usize, block_bytes: usize) -> io::Result<Writes> {
        let ring = setup::build(SUBMISSIONS, COMPLETIONS)?;
        let wake = WakeFd::new()?;
        ring.submitter().register_eventfd(wake.as_raw_fd())?;
        let arena = if blocks > 0 { lendable(&ring, blocks, block_bytes) } else { None };
        Ok(Writes { ring, wake, arena, under_way: HashMap::new(), next: 0 })
    }

    pub(super) fn wake(&self) -> &WakeFd {
        &self.wake
    }

    pub(super) fn lend(&mut self) -> Option<Block> {
        self.arena.as_ref()?.lend()
    }

    /// Writes `block[from..]`, which is not empty, to an offset, past the page cache where that is possible.
    pub(super) fn write(
        &mut self,
        id: OpId,
        (file, past): (Rc<File>, Option<Rc<File>>),
        offset: u64,
        from: usize,
        block: Block,
    ) {
        let past = past.filter(|_| direct::fits(&block[from..], offset));
        let (file, cached) = match past {
            Some(past) => (past, Some(file)),
            None => (file, None),
        };
        self.start_write(id, file, Write { block, from, offset, cached });
    }

    fn start_write(&mut self, id: OpId, file: Rc<File>, write: Write) {
        let bytes = &write.block[write.from..];
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let descriptor = types::Fd(file.as_raw_fd());
        let entry = if self.arena.as_ref().is_some_and(|arena| arena.holds(bytes)) {
            opcode::WriteFixed::new(descriptor, bytes.as_ptr(), length, ARENA).offset(write.offset).build()
        } else {
            opcode::Write::new(descriptor, bytes.as_ptr(), length).offset(write.offset).build()
        };
        // SAFETY: a block's bytes are on the heap or in the arena, so they stay where they are when the block
        // is moved into the table, where nobody reaches it before its completion.
        unsafe { self.push(entry, UnderWay { id, _file: file, write: Some(write) }) };
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self, id: OpId, file: Rc<File>) {
        let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd())).flags(types::FsyncFlags::DATASYNC).build();
        // SAFETY: a sync points to no memory.
        unsafe { self.push(entry, UnderWay { id, _file: file, write: None }) };
    }

    /// # Safety
    /// What the entry points to is owned by `operation` and does not move with it.
    unsafe fn push(&mut self, entry: squeue::Entry, operation: UnderWay) {
        let token = self.next;
        self.next += 1;
        self.under_way.insert(token, operation);
        let entry = entry.user_data(token);
        // SAFETY: the caller vouches for what the entry points to.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter(0);
        }
        self.enter(0);
    }

    /// Whether a completion may be there.
    pub(super) fn pending(&self) -> bool {
        // SAFETY: all other handles to these queues come from `&mut self`, and are dropped before
        // their methods return, so none exists beside these two.
        let (submission, completion) = unsafe { (self.ring.submission_shared(), self.ring.completion_shared()) };
        !completion.is_empty() || submission.taskrun() || submission.cq_overflow() || !submission.is_empty()
    }

    /// The end of an operation.
    pub(super) fn next(&mut self) -> Option<Completion> {
        loop {
            let done = { self.ring.completion().next() };
            let Some(done) = done else {
                if !self.pending() {
                    return None;
                }
                self.enter(0);
                if self.ring.completion().is_empty() {
                    return None; // what was there was not an end
                }
                continue;
            };
            let Some(operation) = self.under_way.remove(&done.user_data()) else { continue };
            let UnderWay { id, write, .. } = operation;
            let result = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
            let block = match (write, &result) {
                (Some(Write { block, from, offset, cached: Some(file) }), Err(error)) if direct::is_refusal(error) => {
                    self.start_write(id, file, Write { block, from, offset, cached: None });
                    continue;
                }
                (write, _) => write.map(|write| write.block),
            };
            return Some(Completion { id, result: result.map_err(|error| DiskError::from_io(&error)), block });
        }
    }

    /// Hands over what was pushed, runs the kernel's deferred work, and waits for `wanted` completions.
    fn enter(&mut self, wanted: u32) {
        setup::enter(&mut self.ring, wanted);
    }
}

/// What the kernel still reads is waited for; if it does not end, its memory is given up.
impl Drop for Writes {
    fn drop(&mut self) {
        for _ in 0..QUIET_ROUNDS_MAX {
            if self.under_way.is_empty() {
                return;
            }
            if self.next().is_none() {
                self.enter(1);
            }
        }
        std::mem::forget(std::mem::take(&mut self.under_way));
        std::mem::forget(self.arena.take());
    }
}

/// An arena of as many of the blocks as the limit for pinned memory allows.
fn lendable(ring: &IoUring, blocks: usize, block_bytes: usize) -> Option<Arc<Arena>> {
    let mut fewer = blocks;
    loop {
        match register(ring, fewer, block_bytes) {
            Ok(arena) => return Some(arena),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && fewer > FEWEST_BLOCKS => fewer /= 2,
            Err(error) => {
                tracing::info!(
                    %error,
                    "the log writes from memory that the kernel does not know, which costs more; \
                     where RLIMIT_MEMLOCK is the cause, let the service lock more memory"
                );
                return None;
            }
        }
    }
}

fn register(ring: &IoUring, blocks: usize, block_bytes: usize) -> io::Result<Arc<Arena>> {
    let arena = Arc::new(Arena::new(blocks, block_bytes)?);
    // SAFETY: the arena's memory stays mapped as long as the ring: `Writes` owns both, and its fields are dropped
    // in their order, the ring first.
    unsafe { ring.submitter().register_buffers(&[arena.iovec()])? };
    Ok(arena)
}
