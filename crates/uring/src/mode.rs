//! Which of the two ways into the kernel is used, and why the better one may be closed.

use std::{fmt, io};

/// How a shard speaks to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// io_uring: telemetry through a raw ring, files through tokio-uring.
    Uring,
    /// epoll for sockets, one blocking thread a shard for files.
    Epoll,
}

impl fmt::Display for IoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoMode::Uring => "io_uring",
            IoMode::Epoll => "epoll",
        })
    }
}

/// io_uring cannot be used here. Says the likely cause and what to do.
#[derive(Debug)]
pub struct Unavailable {
    error: io::Error,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, advice) = match self.error.raw_os_error() {
            Some(libc::ENOSYS) => (
                "the kernel does not know io_uring, or a seccomp filter hides it (container runtimes do)",
                "run on Linux 6.0 or later, and in a container allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
            ),
            Some(libc::EPERM) | Some(libc::EACCES) => (
                "io_uring is forbidden: by a seccomp filter (container runtimes do so) or by the sysctl kernel.io_uring_disabled",
                "allow the io_uring system calls in the container's seccomp profile, or set `sysctl kernel.io_uring_disabled=0`",
            ),
            Some(libc::ENOMEM) => (
                "the limit on locked memory is too small for a ring",
                "raise it: `ulimit -l unlimited`, LimitMEMLOCK=infinity in the systemd unit, or --ulimit memlock=-1 for a container",
            ),
            Some(libc::EMFILE) | Some(libc::ENFILE) => (
                "there are no file descriptors left",
                "raise the limit on open files: `ulimit -n 65536`, or LimitNOFILE=65536 in the systemd unit",
            ),
            Some(libc::EINVAL) => ("the kernel is too old for what is asked of io_uring", "run on Linux 6.0 or later"),
            _ => ("the kernel refused a ring", "see the error"),
        };
        write!(f, "io_uring is not available ({}): {cause}; to use it: {advice}", self.error)
    }
}

impl std::error::Error for Unavailable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Unavailable { error }
    }
}

/// Whether io_uring can be used here: builds a small ring and throws it away.
///
/// # Errors
/// [`Unavailable`], whose text names the likely cause and the remedy.
pub fn probe() -> Result<(), Unavailable> {
    io_uring::IoUring::new(8)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        for (errno, words) in [
            (libc::ENOSYS, ["seccomp", "Linux 6.0"]),
            (libc::EPERM, ["seccomp", "kernel.io_uring_disabled"]),
            (libc::ENOMEM, ["locked memory", "ulimit -l"]),
        ] {
            let text = Unavailable::from(io::Error::from_raw_os_error(errno)).to_string();
            for word in words {
                assert!(text.contains(word), "{text} should name {word}");
            }
        }
    }
}
