//! What a thread asks of the scheduler: a core of its own, or the lowest priority there is.

#![expect(unsafe_code, reason = "the standard library has no scheduler calls")]

use std::{io, mem};

/// Binds the calling thread to one core (0-based, as the kernel counts them).
///
/// # Errors
/// The core does not exist or is not this process's to use; the text names the ones that are.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    let refused = |why: io::Error| {
        let have = available_cores();
        io::Error::new(
            why.kind(),
            format!("cannot run on core {core} ({why}); this process may use the cores {have:?}: name one of them"),
        )
    };
    if core >= libc::CPU_SETSIZE as usize {
        return Err(refused(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    // SAFETY: a cpu_set_t is a bit array; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `core` is below CPU_SETSIZE (above), so the bit lies within the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set lives over the call and its size is given; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) };
    if result == 0 { Ok(()) } else { Err(refused(io::Error::last_os_error())) }
}

/// The cores that this thread may run on, ascending. Empty when the kernel does not say.
#[must_use]
pub fn available_cores() -> Vec<usize> {
    // SAFETY: a cpu_set_t is a bit array; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set lives over the call, which fills at most the size given.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) } != 0 {
        return Vec::new();
    }
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: `core` is below CPU_SETSIZE.
        .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
        .collect()
}

/// Gives the calling thread idle priority (SCHED_IDLE): it runs when nothing else on its core wants
/// to, and is preempted at once by whoever does.
///
/// # Errors
/// The kernel refuses; the thread then runs at normal priority.
pub fn idle_priority() -> io::Result<()> {
    // SAFETY: all fields of a sched_param are numbers; zero is the only priority that SCHED_IDLE has.
    let parameters: libc::sched_param = unsafe { mem::zeroed() };
    // SAFETY: the parameters live over the call; 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Processor time that the calling thread used so far, in nanoseconds.
#[must_use]
pub fn cpu_time_ns() -> u64 {
    crate::clock::read_clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_to_each_available_core_and_names_them_when_it_cannot() {
        let cores = available_cores();
        assert!(!cores.is_empty());
        for core in &cores {
            let core = *core;
            let seen = std::thread::spawn(move || pin_to_core(core).map(|()| available_cores()))
                .join()
                .expect("the thread ends");
            assert_eq!(seen.expect("pinned"), [core]);
        }
        for wrong in [1_000, 1_000_000] {
            let error = pin_to_core(wrong).expect_err("there is no such core").to_string();
            assert!(error.contains(&format!("{cores:?}")), "{error}");
        }
    }

    #[test]
    fn an_idle_thread_still_runs_and_counts_its_time() {
        let used = std::thread::spawn(|| {
            idle_priority().expect("anybody may be idle");
            let from = cpu_time_ns();
            while cpu_time_ns() == from {
                std::hint::spin_loop();
            }
            cpu_time_ns()
        })
        .join()
        .expect("the thread ends");
        assert!(used > 0);
    }
}
