//! The kernel's side of `env`: rings, files, sockets, threads, clocks.
//!
//! Purpose: everything that Millstream asks of Linux goes through here, and all unsafe code that
//! talks to a kernel stands here, each block with its proof.
//!
//! Invariants
//! - U1: memory that the kernel may still write to or read from is owned by something that outlives
//!   the operation (a buffer in flight belongs to the operation, not to the one who asked).
//! - U2: where io_uring is forbidden, everything works through epoll and one blocking thread, and
//!   passes the same tests.
//! - U3: `tokio-uring` is named in `host`, `disk::ring` and `disk::writes` only; replacing it touches these.
//!
//! It deliberately knows nothing of frames, logs or shards.

pub mod clock;
pub mod disk;
mod host;
mod mode;
pub mod net;
mod setup;
pub mod thread;
mod wake;

pub use host::block_on;
pub use mode::{IoMode, Unavailable, probe};
pub use wake::{FdListener, TimerFd, WakeFd, wait_for_any};
