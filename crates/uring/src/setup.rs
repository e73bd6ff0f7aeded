//! How the raw rings are made and entered.

#![expect(unsafe_code, reason = "a raw ring is entered here, with a proof")]

use std::io;

use io_uring::{EnterFlags, IoUring};

/// A ring that runs the kernel's deferred work when this thread enters with GETEVENTS, and tells in shared
/// memory that there is some.
///
/// A kernel that refuses these flags (they came with 6.1, 5.19 and 5.18) gets fewer.
///
/// # Errors
/// io_uring is forbidden or not there, or a limit is reached.
pub(crate) fn build(submissions: u32, completions: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(completions).setup_submit_all().dontfork();
    let best = { builder.clone() }.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().build(submissions);
    let refused = |built: &io::Result<IoUring>| matches!(built, Err(e) if e.raw_os_error() == Some(libc::EINVAL));
    if !refused(&best) {
        return best;
    }
    let cooperative = { builder.clone() }.setup_coop_taskrun().setup_taskrun_flag().build(submissions);
    if refused(&cooperative) { builder.build(submissions) } else { cooperative }
}

/// Hands over what was pushed, runs the kernel's deferred work, and waits for `wanted` completions.
///
/// # Panics
/// Where the kernel refuses for a reason that a ring of this thread cannot have.
pub(crate) fn enter(ring: &mut IoUring, wanted: u32) {
    let submit = ring.submission().len() as u32;
    let flags = EnterFlags::GETEVENTS.bits();
    // SAFETY: no argument is passed that the kernel would read, and what the entries point to
    // was vouched for when they were pushed.
    let entered = unsafe { ring.submitter().enter::<libc::sigset_t>(submit, wanted, flags, None) };
    if let Err(error) = entered {
        // Interrupted, or the kernel wants its completions taken first: the next entering goes on.
        let passes = matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY));
        assert!(passes, "io_uring_enter failed on a ring that this thread owns: {error}");
    }
}
