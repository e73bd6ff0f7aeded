//! The runtime that hosts a shard's thread: tokio's current-thread runtime, with or without
//! tokio-uring around it.
//!
//! Both ways have timers and sockets enabled and a `LocalSet` entered, so that
//! `tokio::task::spawn_local` and `tokio::spawn` work in either and land on this thread.
//!
//! tokio-uring hands its submissions to the kernel only when the runtime is about to *park*. A
//! shard whose lower lanes are busy never parks, so a log write would wait for ever. Therefore the
//! submission queue has a single entry, and whoever submits an operation pushes a no-op behind it
//! ([`hand_over`]): for that to fit, tokio-uring has to enter the kernel with the operation.
//! Deferred task run hangs it for ever (nothing would enter with GETEVENTS), so the flags stop at
//! cooperative task run.

use std::{
    future::Future,
    io,
    pin::pin,
    task::{Context, Waker},
};

use crate::mode::IoMode;

/// Submission entries of tokio-uring's ring; one, see above.
const SUBMISSIONS: u32 = 1;
/// Completion entries: a shard's file operations in flight and their no-ops, with room.
const COMPLETIONS: u32 = 1024;

/// Runs a future on this thread until it is done, with all that it spawned locally beside it; what
/// was spawned and is not done then is dropped.
///
/// # Errors
/// The runtime or its ring could not be made. Nothing was run then.
pub fn block_on<F: Future>(mode: IoMode, future: F) -> io::Result<F::Output> {
    match mode {
        IoMode::Uring => Ok(uring_runtime()?.block_on(future)),
        IoMode::Epoll => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
        }
    }
}

fn uring_runtime() -> io::Result<tokio_uring::Runtime> {
    let mut flags = tokio_uring::uring_builder();
    flags.setup_cqsize(COMPLETIONS).setup_coop_taskrun();
    let mut builder = tokio_uring::builder();
    builder.entries(SUBMISSIONS).uring_builder(&flags);
    match tokio_uring::Runtime::new(&builder) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Before Linux 5.19 there is no cooperative task run; the default interrupts instead.
            let mut plain = tokio_uring::uring_builder();
            plain.setup_cqsize(COMPLETIONS);
            tokio_uring::Runtime::new(builder.uring_builder(&plain))
        }
        made => made,
    }
}

/// Makes sure that the kernel has the file operation that was submitted last (see the module).
pub(crate) fn hand_over() {
    let no_op = pin!(tokio_uring::no_op());
    // Polled once, which queues it; its completion is of no interest, and dropping it says so.
    let _ = no_op.poll(&mut Context::from_waker(Waker::noop()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe;

    fn modes() -> Vec<IoMode> {
        match probe() {
            Ok(()) => vec![IoMode::Uring, IoMode::Epoll],
            Err(why) => {
                eprintln!("testing epoll only: {why}");
                vec![IoMode::Epoll]
            }
        }
    }

    #[test]
    fn hosts_local_tasks_timers_and_spawned_tasks() {
        for mode in modes() {
            let answer = block_on(mode, async {
                let local = std::rc::Rc::new(20);
                let task = tokio::task::spawn_local(async move { *local });
                let sent = tokio::spawn(async {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    22
                });
                task.await.expect("local task") + sent.await.expect("spawned task")
            });
            assert_eq!(answer.expect("a runtime"), 42, "{mode}");
        }
    }
}
