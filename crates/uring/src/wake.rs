//! Waking a thread that sleeps in its runtime: an eventfd, and waiting for any descriptor.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::Arc,
    time::Duration,
};

use tokio::io::unix::AsyncFd;

/// An eventfd: any thread rings, one thread waits. Rings between two waits are one ring.
#[derive(Clone, Debug)]
pub struct WakeFd {
    /// An eventfd reads and writes 8 bytes like a file.
    file: Arc<File>,
}

impl WakeFd {
    /// A new one, not rung.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<WakeFd> {
        Ok(WakeFd { file: Arc::new(File::from(sys::eventfd()?)) })
    }

    /// Rings. Never blocks: a counter at its limit is as rung as can be.
    pub fn wake(&self) {
        let _ = (&*self.file).write(&1_u64.to_ne_bytes());
    }

    /// Takes all rings so far; whether there was one.
    pub fn drain(&self) -> bool {
        (&*self.file).read(&mut [0; 8]).is_ok()
    }

    /// Waits for it on this thread's runtime.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn listen(&self) -> io::Result<FdListener> {
        FdListener::new(self.as_raw_fd())
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// A descriptor that somebody else owns, watched for reading by this thread's runtime (through a
/// duplicate, so that neither has to outlive the other).
///
/// Readiness is remembered from its edge on until [`clear`](Self::clear): clear first, then look at
/// what the descriptor stands for, then wait, and no edge is lost.
#[derive(Debug)]
pub struct FdListener {
    watched: AsyncFd<OwnedFd>,
}

impl FdListener {
    /// Watches a descriptor. To be called inside a runtime.
    ///
    /// # Errors
    /// It cannot be watched: it is closed or a plain file.
    pub fn new(fd: RawFd) -> io::Result<FdListener> {
        Ok(FdListener { watched: sys::watch(sys::duplicate(fd)?)? })
    }

    /// Waits until the descriptor was readable at some time since the last [`clear`](Self::clear).
    pub async fn ready(&self) {
        // An error means that the runtime is shutting down: then there is nothing to wait for.
        if let Ok(mut guard) = self.watched.readable().await {
            guard.retain_ready();
        }
    }

    /// Polls what [`ready`](Self::ready) waits for.
    pub fn poll_ready(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.watched.poll_read_ready(context).map(|ready| {
            if let Ok(mut guard) = ready {
                guard.retain_ready();
            }
        })
    }

    /// Forgets readiness; whether there was any to forget.
    pub fn clear(&self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(Ok(mut guard)) = self.watched.poll_read_ready(&mut context) else { return false };
        guard.clear_ready();
        true
    }
}

/// A timer that makes a descriptor readable: precise where the runtime's own timers round up to
/// the next millisecond.
#[derive(Debug)]
pub struct TimerFd {
    fd: OwnedFd,
}

impl TimerFd {
    /// A new one, not set.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<TimerFd> {
        Ok(TimerFd { fd: sys::timerfd()? })
    }

    /// Sets when it goes off, in the nanoseconds of `SystemClock::monotonic_ns`; a time that has
    /// passed goes off at once. Replaces what was set.
    pub fn set(&self, at_ns: u64) {
        sys::set_timer(&self.fd, at_ns);
    }

    /// Waits for it on this thread's runtime.
    ///
    /// # Errors
    /// The runtime cannot watch it.
    pub fn listen(&self) -> io::Result<FdListener> {
        FdListener::new(self.fd.as_raw_fd())
    }
}

/// Blocks the thread, its runtime too, until one of the descriptors is readable or the time is over.
pub fn wait_for_any(fds: &[RawFd], at_most: Duration) {
    sys::wait_for_any(fds, at_most);
}

mod sys {
    #![expect(unsafe_code, reason = "the standard library has no eventfd or timerfd and duplicates no raw descriptor")]

    use std::{
        io,
        os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        time::Duration,
    };

    use tokio::io::{Interest, unix::AsyncFd};

    pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
        // SAFETY: an OwnedFd is open, stays the same, and lives as long as the AsyncFd that owns it.
        Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
    }

    pub(super) fn wait_for_any(fds: &[RawFd], at_most: Duration) {
        let mut polled: Vec<libc::pollfd> =
            fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
        let until = libc::timespec {
            tv_sec: at_most.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(at_most.subsec_nanos()),
        };
        // SAFETY: both live over the call; no signal mask is given. Whatever ends it early, a signal or
        // a descriptor that is closed, the caller looks anew.
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &until, std::ptr::null()) };
    }

    pub(super) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: no pointers are passed; a descriptor that is not open is answered with EBADF.
        let fd = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made, is open, and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn timerfd() -> io::Result<OwnedFd> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made, is open, and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub(super) fn set_timer(timer: &OwnedFd, at_ns: u64) {
        // Zero would switch it off; the first nanosecond has passed.
        let at_ns = at_ns.max(1);
        let it_value = libc::timespec {
            tv_sec: (at_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (at_ns % 1_000_000_000) as libc::c_long,
        };
        let value = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // SAFETY: `value` lives over the call, which copies it; the old setting is not asked for.
        let result =
            unsafe { libc::timerfd_settime(timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &value, std::ptr::null_mut()) };
        assert!(result == 0, "the kernel refuses a valid timer: {}", io::Error::last_os_error());
    }

    pub(super) fn eventfd() -> io::Result<OwnedFd> {
        // SAFETY: no pointers are passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made, is open, and nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IoMode, block_on};

    #[test]
    fn rings_are_drained_together() {
        let wake = WakeFd::new().expect("an eventfd");
        assert!(!wake.drain());
        wake.wake();
        wake.wake();
        assert!(wake.drain());
        assert!(!wake.drain());
    }

    #[test]
    fn a_wait_ends_with_a_ring_or_its_time() {
        let (rung, silent) = (WakeFd::new().expect("an eventfd"), WakeFd::new().expect("an eventfd"));
        let began = std::time::Instant::now();
        wait_for_any(&[silent.as_raw_fd()], Duration::from_millis(2));
        assert!(began.elapsed() >= Duration::from_millis(2));
        rung.wake();
        // ends, or the test does not
        wait_for_any(&[silent.as_raw_fd(), rung.as_raw_fd()], Duration::from_secs(3_600));
    }

    #[test]
    fn a_timer_goes_off_again_each_time_it_is_set() {
        use env::Clock;
        block_on(IoMode::Epoll, async {
            let timer = TimerFd::new().expect("a timerfd");
            let listener = timer.listen().expect("watched");
            for after_ns in [0, 1, 200_000] {
                let at_ns = crate::clock::SystemClock.monotonic_ns() + after_ns;
                timer.set(at_ns);
                listener.ready().await;
                assert!(crate::clock::SystemClock.monotonic_ns() >= at_ns, "went off too early");
                listener.clear();
            }
            timer.set(0);
            listener.ready().await;
        })
        .expect("a runtime");
    }

    #[test]
    fn a_ring_from_another_thread_ends_the_wait_and_is_kept_until_cleared() {
        let wake = WakeFd::new().expect("an eventfd");
        block_on(IoMode::Epoll, async {
            let listener = wake.listen().expect("watched");
            for _ in 0..100 {
                let ringer = wake.clone();
                let thread = std::thread::spawn(move || ringer.wake());
                listener.ready().await;
                listener.ready().await;
                listener.clear();
                assert!(wake.drain());
                thread.join().expect("the ringer ends");
            }
        })
        .expect("a runtime");
    }
}
