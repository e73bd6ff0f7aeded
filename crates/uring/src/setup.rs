//! How the raw rings are made.

use std::io;

use io_uring::IoUring;

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
