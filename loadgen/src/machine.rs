//! What the machine says of processes, threads and cores, and pinning a thread to a core.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// Nanoseconds of one clock tick in /proc (`CLK_TCK` is 100 on every Linux that Millstream runs on).
const TICK_NS: u64 = 10_000_000;

/// CPU time of each thread of a process: thread id → name and nanoseconds.
pub(crate) type Threads = BTreeMap<u32, (String, u64)>;

/// CPU time used by a process so far, by thread; empty if there is no such process.
pub(crate) fn threads_of(process: &str) -> Threads {
    let mut threads = Threads::new();
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { return threads };
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let folder = entry.path();
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default().trim().to_owned();
        let exact = fs::read_to_string(folder.join("schedstat")).ok().and_then(|text| first_number(&text));
        let ticks = fs::read_to_string(folder.join("stat")).ok().and_then(|text| stat_ns(&text));
        // Some kernels have no schedstat, or one that stands at zero.
        let used = exact.filter(|ns| *ns > 0).or(ticks).unwrap_or(0);
        threads.insert(id, (name, used));
    }
    threads
}

/// What was used between two looks: name and nanoseconds of each thread, most first.
pub(crate) fn used_between(before: &Threads, after: &Threads) -> Vec<(String, u64)> {
    let mut used: Vec<(String, u64)> = after
        .iter()
        .map(|(id, (name, ns))| (name.clone(), ns.saturating_sub(before.get(id).map_or(0, |(_, ns)| *ns))))
        .filter(|(_, ns)| *ns > 0)
        .collect();
    used.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    used
}

/// CPU time of all threads of a process so far, those that have ended included, nanoseconds.
pub(crate) fn process_ns(process: &str) -> Option<u64> {
    stat_ns(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Id of the calling thread.
pub(crate) fn thread_id() -> Option<u32> {
    fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
}

/// CPU time of the calling thread, nanoseconds.
pub(crate) fn own_thread_ns() -> u64 {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/{file}")).ok();
    let exact = read("schedstat").and_then(|text| first_number(&text)).filter(|ns| *ns > 0);
    exact.or_else(|| read("stat").and_then(|text| stat_ns(&text))).unwrap_or(0)
}

/// Time that a core was not idle, nanoseconds; whoever used it.
pub(crate) fn core_busy_ns(core: u32) -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&format!("cpu{core}")))?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = ticks.iter().enumerate().filter(|(i, _)| !matches!(i, 3 | 4) && *i < 8).map(|(_, n)| n).sum();
    Some(busy * TICK_NS)
}

/// Binds the calling thread to a core.
///
/// # Errors
/// Why it cannot be done, in words.
pub(crate) fn pin_this_thread(core: u32) -> Result<(), String> {
    let thread = thread_id().ok_or("the thread's number cannot be read from /proc")?;
    let told = Command::new("taskset").args(["-p", "-c", &core.to_string(), &thread.to_string()]).output();
    match told {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("thread {thread} cannot run on core {core}: {why}"))
        }
        Err(error) => Err(format!("taskset cannot be started ({error}); install util-linux or leave the core out")),
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// User and system time of a `stat` file; the name in it may hold anything, so read behind it.
fn stat_ns(text: &str) -> Option<u64> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK_NS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_proc_says() {
        let stat = "42 (a b) c) S 1 1 1 0 -1 4194304 5 0 0 0 7 3 0 0 20 0 1 0 100 1 1";
        assert_eq!(stat_ns(stat), Some(10 * TICK_NS));
        let mine = threads_of("self");
        assert!(mine.contains_key(&thread_id().expect("on Linux")));
        let busy = core_busy_ns(0).expect("core 0 is there");
        assert!(busy > 0);
    }

    #[test]
    fn only_what_was_used_between_counts() {
        let before = Threads::from([(1, ("a".to_owned(), 10))]);
        let after = Threads::from([(1, ("a".to_owned(), 15)), (2, ("b".to_owned(), 7)), (3, ("c".to_owned(), 0))]);
        assert_eq!(used_between(&before, &after), [("b".to_owned(), 7), ("a".to_owned(), 5)]);
    }
}
