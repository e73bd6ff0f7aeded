//! What the machine says of processes, threads and cores, and pinning a thread to a core.

use serde_json::{Value, json};
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

/// What server, load and the server's core have used so far.
pub(crate) struct Usage {
    server: Threads,
    own_ns: u64,
    core_busy_ns: Option<u64>,
}

/// The same between two looks.
pub(crate) struct Used {
    /// CPU time of the server by thread, most first; empty where it is not known.
    pub(crate) server: Vec<(String, u64)>,
    /// CPU time of this process.
    pub(crate) own_ns: u64,
    /// Time that the server's core was busy, whoever used it.
    pub(crate) core_busy_ns: Option<u64>,
}

impl Usage {
    /// A look at it.
    pub(crate) fn now(server_pid: Option<u32>, server_core: Option<u32>) -> Usage {
        Usage {
            server: server_pid.map(|pid| threads_of(&pid.to_string())).unwrap_or_default(),
            own_ns: threads_of("self").values().map(|(_, ns)| ns).sum(),
            core_busy_ns: server_core.and_then(core_busy_ns),
        }
    }

    /// What was used until a later look.
    pub(crate) fn until(&self, later: &Usage) -> Used {
        let busy = self.core_busy_ns.zip(later.core_busy_ns);
        Used {
            server: used_between(&self.server, &later.server),
            own_ns: later.own_ns.saturating_sub(self.own_ns),
            core_busy_ns: busy.map(|(before, after)| after.saturating_sub(before)),
        }
    }
}

impl Used {
    /// CPU time of the whole server.
    pub(crate) fn server_ns(&self) -> u64 {
        self.server.iter().map(|(_, ns)| ns).sum()
    }
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
    tell_of_this_thread("taskset", &["-p", "-c", &core.to_string()], &format!("cannot run on core {core}"))
}

/// Lets the calling thread run before all others that are not of this kind, as soon as it is ready.
///
/// # Errors
/// Why it cannot be done, in words.
pub(crate) fn put_this_thread_first() -> Result<(), String> {
    tell_of_this_thread("chrt", &["-f", "-p", "1"], "gets no real-time priority")
}

/// Has a program of util-linux change something of the calling thread.
fn tell_of_this_thread(program: &str, words: &[&str], otherwise: &str) -> Result<(), String> {
    let thread = thread_id().ok_or("the thread's number cannot be read from /proc")?;
    match Command::new(program).args(words).arg(thread.to_string()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("thread {thread} {otherwise}: {why}"))
        }
        Err(error) => Err(format!("{program} cannot be started ({error}); install util-linux or leave the option out")),
    }
}

/// What this machine is: cores that this process may use, kernel, processor.
pub(crate) fn facts() -> Value {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    json!({
        "cores": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": model.map_or("", |(_, name)| name.trim()),
    })
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
