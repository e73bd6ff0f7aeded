//! The raw ring: what goes in, what comes out, and when to enter the kernel.
//!
//! Built with a single issuer and deferred task run: completions appear only when this thread
//! enters the kernel with GETEVENTS, never in the middle of something else. The kernel sets a flag
//! in shared memory when there is something to enter for, and rings the eventfd for a sleeper. A
//! kernel that refuses these flags gets fewer.

#![expect(unsafe_code, reason = "the raw ring is driven here; each block has its proof")]

use std::{collections::VecDeque, io, os::fd::RawFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::{setup, wake::WakeFd};

/// Submissions that wait for the next entering.
const SUBMISSIONS: u32 = 256;
/// Completions that wait for this thread; beyond it the kernel keeps them itself.
const COMPLETIONS: u32 = 4096;
/// Rounds of waiting for cancelled operations when a ring goes; each waits for one completion.
const QUIET_ROUNDS_MAX: usize = 100_000;

/// One completion.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) token: u64,
    /// Not negative: what the operation answers. Negative: an errno.
    pub(super) result: i32,
    flags: u32,
}

impl Event {
    /// Whether the operation goes on and more completions come.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that was filled.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

pub(super) struct Kernel {
    ring: IoUring,
    wake: WakeFd,
    /// Operations that the kernel has or will have, whose last completion was not taken yet.
    in_flight: usize,
    /// Completions taken out of the ring ahead of their turn.
    taken: VecDeque<Event>,
    calls: u64,
    completions: u64,
}

impl Kernel {
    pub(super) fn new() -> io::Result<Kernel> {
        let ring = setup::build(SUBMISSIONS, COMPLETIONS)?;
        let wake = WakeFd::new()?;
        ring.submitter().register_eventfd(std::os::fd::AsRawFd::as_raw_fd(&wake))?;
        Ok(Kernel { ring, wake, in_flight: 0, taken: VecDeque::new(), calls: 0, completions: 0 })
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.wake)
    }

    /// Times that the kernel was entered, and completions that it gave.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.calls, self.completions)
    }

    pub(super) fn ring(&self) -> &IoUring {
        &self.ring
    }

    /// Accepts connections until told otherwise.
    pub(super) fn accept(&mut self, listener: RawFd, token: u64) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener)).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: accept without an address writes to no memory of ours.
        unsafe { self.push(entry.user_data(token)) };
    }

    /// Receives into the group's buffers until told otherwise.
    pub(super) fn receive(&mut self, socket: RawFd, group: u16, token: u64) {
        let entry = opcode::RecvMulti::new(types::Fd(socket), group).build();
        // SAFETY: the only memory it writes to are buffers of the group, which belong to the kernel
        // while they are provided (`buffers`).
        unsafe { self.push(entry.user_data(token)) };
    }

    /// Receives datagrams into the group's buffers until told otherwise.
    ///
    /// # Safety
    /// `header` stays valid and unchanged until the last completion of `token`.
    pub(super) unsafe fn receive_datagrams(
        &mut self,
        socket: RawFd,
        header: *const libc::msghdr,
        group: u16,
        token: u64,
    ) {
        let entry = opcode::RecvMsgMulti::new(types::Fd(socket), header, group).build();
        // SAFETY: as for `receive`; for the header the caller vouches.
        unsafe { self.push(entry.user_data(token)) };
    }

    /// Sends bytes, or the first of them.
    ///
    /// # Safety
    /// `bytes` stay where and what they are until the completion of `token`.
    pub(super) unsafe fn send(&mut self, socket: RawFd, bytes: &[u8], token: u64) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(socket), bytes.as_ptr(), length).flags(libc::MSG_NOSIGNAL).build();
        // SAFETY: the caller vouches for the bytes.
        unsafe { self.push(entry.user_data(token)) };
    }

    /// Ends an operation early; its last completion still comes, and one of the cancelling.
    pub(super) fn cancel(&mut self, of: u64, token: u64) {
        let entry = opcode::AsyncCancel::new(of).build();
        // SAFETY: cancelling passes a number and no memory.
        unsafe { self.push(entry.user_data(token)) };
    }

    /// # Safety
    /// All memory that the entry points to stays valid until its last completion.
    unsafe fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        // SAFETY: the caller vouches for what the entry points to.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.enter(0);
            self.take_all();
        }
    }

    /// Enters the kernel if it has something for us or we for it.
    pub(super) fn enter_if_needed(&mut self) {
        let submission = self.ring.submission();
        if submission.taskrun() || submission.cq_overflow() || !submission.is_empty() {
            drop(submission);
            self.enter(0);
        }
    }

    /// Hands over what was pushed, runs the kernel's deferred work, and waits for `wanted`
    /// completions.
    pub(super) fn enter(&mut self, wanted: u32) {
        self.calls += 1;
        setup::enter(&mut self.ring, wanted);
    }

    /// Before sleep: old rings of the bell are forgotten, and all there is made visible.
    pub(super) fn arm(&mut self) {
        self.wake.drain();
        self.enter(0);
    }

    /// Whether a completion waits, or the kernel has work that leads to one.
    pub(super) fn pending(&self) -> bool {
        if !self.taken.is_empty() {
            return true;
        }
        // SAFETY: all other handles to these queues come from `&mut self`, and are dropped before
        // their methods return, so none exists beside these two.
        let (submission, completion) = unsafe { (self.ring.submission_shared(), self.ring.completion_shared()) };
        !completion.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    /// The next completion.
    pub(super) fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.taken.pop_front() {
            return Some(event);
        }
        let entry = self.ring.completion().next()?;
        Some(self.count(&entry))
    }

    /// Takes every completion out of the ring, for a look by [`taken`](Self::taken).
    pub(super) fn take_all(&mut self) {
        while let Some(entry) = { self.ring.completion().next() } {
            let event = self.count(&entry);
            self.taken.push_back(event);
        }
    }

    /// Completions taken ahead of their turn, oldest first.
    pub(super) fn taken(&mut self) -> &mut VecDeque<Event> {
        &mut self.taken
    }

    fn count(&mut self, entry: &cqueue::Entry) -> Event {
        self.completions += 1;
        let event = Event { token: entry.user_data(), result: entry.result(), flags: entry.flags() };
        if !event.more() {
            self.in_flight -= 1;
        }
        event
    }

    /// Cancels everything and waits until the kernel lets go of all memory; `false` if it does not.
    /// Completions that come meanwhile are given to `on`.
    pub(super) fn quiet(&mut self, token: u64, mut on: impl FnMut(Event)) -> bool {
        let entry = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
        // SAFETY: cancelling passes numbers and no memory.
        unsafe { self.push(entry.user_data(token)) };
        for _ in 0..QUIET_ROUNDS_MAX {
            while let Some(event) = self.next() {
                on(event);
            }
            if self.in_flight == 0 {
                return true;
            }
            self.enter(1);
        }
        false
    }
}
