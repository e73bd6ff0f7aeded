//! A shard as a whole, in both ways into the kernel. Orders and counts are asserted, never times.

use std::{
    collections::HashMap,
    fmt::Write as _,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
};

use env::Clock;
use model::ShardId;
use ring::{Counter, Flag};
use uring::{IoMode, WakeFd, clock::SystemClock, probe};

use crate::*;

fn modes() -> Vec<IoMode> {
    let mut modes = vec![IoMode::Epoll];
    match probe() {
        Ok(()) => modes.push(IoMode::Uring),
        Err(why) => eprintln!("testing epoll only: {why}"),
    }
    modes
}

fn settings(mode: IoMode) -> Settings {
    Settings { drain_ns: 200_000_000, ..Settings::new(ShardId(3), mode) }
}

/// A stage that others can see into.
#[derive(Clone, Default)]
struct Shared(Arc<SharedState>);

#[derive(Default)]
struct SharedState {
    polls: Counter,
    /// Always has work.
    busy: Flag,
    /// Panics at its next poll.
    broken: Flag,
    /// Was told to close.
    closed: Flag,
    /// Says that it is not finished.
    stuck: Flag,
}

struct TestStage {
    name: &'static str,
    shared: Shared,
    fd: Option<WakeFd>,
    deadline_ns: Option<u64>,
}

impl TestStage {
    fn boxed(name: &'static str, shared: &Shared) -> Box<dyn Stage> {
        Box::new(TestStage { name, shared: shared.clone(), fd: None, deadline_ns: None })
    }
}

impl Stage for TestStage {
    fn name(&self) -> &'static str {
        self.name
    }

    fn poll(&mut self, _budget: usize) -> usize {
        assert!(!self.shared.0.broken.get(), "the sum of the parts is not the whole");
        self.shared.0.polls.add(1);
        let rung = self.fd.as_ref().is_some_and(WakeFd::drain);
        let due = self.deadline_ns.take_if(|at_ns| SystemClock.monotonic_ns() >= *at_ns).is_some();
        usize::from(self.shared.0.busy.get() || rung || due)
    }

    fn pending(&self) -> bool {
        self.shared.0.busy.get() || self.shared.0.broken.get()
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        self.fd.iter().map(AsRawFd::as_raw_fd).collect()
    }

    fn close(&mut self) {
        self.shared.0.closed.set(true);
    }

    fn drained(&self) -> bool {
        !self.shared.0.stuck.get()
    }
}

fn start(mode: IoMode, build: impl FnOnce(&ShardContext) -> BuildResult + Send + 'static) -> ShardThread {
    spawn_thread(settings(mode), build).expect("a thread")
}

/// Runs something on the shard and waits for its answer.
fn ask<T: Send + 'static>(shard: &ShardThread, question: impl FnOnce(&ShardContext) -> T + Send + 'static) -> T {
    let (to, from) = channel();
    let job = Box::new(move |context: &ShardContext| to.send(question(context)).expect("asked"));
    shard.sender().post(job).expect("room");
    from.recv().expect("an answer")
}

fn end(shard: ShardThread) -> Result<(), ShardError> {
    shard.sender().close();
    shard.join()
}

fn wait_asleep(shard: &ShardThread) {
    let from = shard.sender().stats().sleeps;
    while shard.sender().stats().sleeps < from + 2 {
        std::thread::yield_now();
    }
}

/// S1: ten tasks that burn a millisecond a poll: the telemetry stage is polled between any two.
#[test]
fn telemetry_is_looked_at_between_any_two_lower_polls() {
    for mode in modes() {
        let telemetry = Shared::default();
        telemetry.0.busy.set(true);
        let (to, from): (Sender<u64>, Receiver<u64>) = channel();
        let stage = telemetry.clone();
        let shard = start(mode, move |context| {
            for number in 0..10 {
                let (to, telemetry, lane) = (to.clone(), stage.clone(), Lane::ALL[1 + number % 3]);
                context.spawn(lane, "burner", async move {
                    for _ in 0..20 {
                        to.send(telemetry.0.polls.get()).expect("the test listens");
                        let until_ns = SystemClock.monotonic_ns() + 1_000_000;
                        while SystemClock.monotonic_ns() < until_ns {}
                        tokio::task::yield_now().await;
                    }
                });
            }
            Ok(vec![TestStage::boxed("telemetry", &stage)])
        });
        let looks: Vec<u64> = from.iter().collect();
        assert_eq!(looks.len(), 200, "every task had its turns beside a telemetry flood ({mode})");
        for pair in looks.windows(2) {
            assert!(pair[1] > pair[0], "two lower polls without a look at telemetry between them ({mode})");
        }
        let sender = shard.sender();
        end(shard).expect("a clean end");
        let stats = sender.stats();
        let polls: u64 = stats.stages.iter().filter(|stage| stage.name == "burner").map(|stage| stage.poll.count).sum();
        assert_eq!(polls, 10 * 21);
        assert!(stats.stage("telemetry").expect("measured").poll.count >= 200);
        assert!(stats.look_interval.count >= 200);
    }
}

/// S1: one poll in ten pieces: telemetry is looked at between any two, and each is measured.
#[test]
fn telemetry_is_looked_at_in_the_middle_of_a_poll_that_pauses() {
    for mode in modes() {
        let telemetry = Shared::default();
        telemetry.0.busy.set(true);
        let (to, from): (Sender<u64>, Receiver<u64>) = channel();
        let stage = telemetry.clone();
        let shard = start(mode, move |context| {
            let telemetry = stage.clone();
            context.spawn(Lane::Event, "long", async move {
                for _ in 0..10 {
                    to.send(telemetry.0.polls.get()).expect("the test listens");
                    let until_ns = SystemClock.monotonic_ns() + 100_000;
                    while SystemClock.monotonic_ns() < until_ns {}
                    crate::pause();
                }
            });
            Ok(vec![TestStage::boxed("telemetry", &stage)])
        });
        let looks: Vec<u64> = from.iter().collect();
        assert_eq!(looks.len(), 10);
        for pair in looks.windows(2) {
            assert!(pair[1] > pair[0], "a pause without a look at telemetry ({mode})");
        }
        // neither a job nor another thread has a poll to pause in
        assert_eq!(ask(&shard, |_| std::iter::repeat_with(crate::pause).take(3).count()), 3);
        crate::pause();
        let sender = shard.sender();
        end(shard).expect("a clean end");
        let stats = sender.stats();
        let long = stats.stage("long").expect("measured");
        assert!((10..=11).contains(&long.poll.count), "{} pieces ({mode})", long.poll.count);
        assert!(long.poll.sum_ns >= 10 * 100_000, "all pieces are counted ({mode})");
    }
}

/// S2: a lane that never rests has used its budget, and the others still run.
#[test]
fn a_flood_in_one_lane_does_not_stop_another() {
    for mode in modes() {
        let (to, from) = channel();
        let shard = start(mode, move |context| {
            for _ in 0..50 {
                context.spawn(Lane::Batch, "flood", async {
                    loop {
                        let until_ns = SystemClock.monotonic_ns() + 100_000;
                        while SystemClock.monotonic_ns() < until_ns {}
                        tokio::task::yield_now().await;
                    }
                });
            }
            context.spawn(Lane::Request, "answer", async move {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                to.send(()).expect("the test listens");
            });
            Ok(Vec::new())
        });
        from.recv().expect("answered beside the flood");
        assert_eq!(ask(&shard, |_| 7), 7);
        end(shard).expect("a clean end");
    }
}

/// S2: those that wait for their lane's next budget cost nothing, however many they are: telemetry
/// is looked at for the polls that take place, not for those that wait.
#[test]
fn a_crowd_beyond_the_budget_waits_without_cost() {
    const TASKS: u64 = 400;
    for mode in modes() {
        let telemetry = Shared::default();
        telemetry.0.busy.set(true);
        let (to, from) = channel();
        let stage = telemetry.clone();
        let shard = start(mode, move |context| {
            for number in 0..TASKS {
                let to = to.clone();
                context.spawn(Lane::Event, "crowd", async move {
                    for _ in 0..3 {
                        let until_ns = SystemClock.monotonic_ns() + 100_000;
                        while SystemClock.monotonic_ns() < until_ns {}
                        tokio::task::yield_now().await;
                    }
                    to.send(number).expect("the test listens");
                });
            }
            Ok(vec![TestStage::boxed("telemetry", &stage)])
        });
        let mut done: Vec<u64> = from.iter().collect();
        let polls = telemetry.0.polls.get();
        done.sort_unstable();
        assert!(done.iter().copied().eq(0..TASKS), "each had its turns ({mode})");
        // a cycle's own looks, and one for each of the few polls that its budget serves
        let turns = TASKS * 4;
        assert!(polls < turns * 20, "{polls} looks for {turns} turns ({mode})");
        end(shard).expect("a clean end");
    }
}

/// S6: a lower lane that never rests leaves the helper its part, and naps end with the helper's work.
#[test]
fn a_busy_shard_naps_for_its_helper() {
    // short polls, too: then the runtime takes more of the time than the helper's part
    for (mode, poll_ns) in modes().into_iter().flat_map(|mode| [(mode, 20_000), (mode, 200)]) {
        let shard = start(mode, move |context| {
            context.spawn(Lane::Batch, "restless", async move {
                loop {
                    let until_ns = SystemClock.monotonic_ns() + poll_ns;
                    while SystemClock.monotonic_ns() < until_ns {}
                    tokio::task::yield_now().await;
                }
            });
            Ok(Vec::new())
        });
        let sender = shard.sender();
        let until = |holds: &dyn Fn(&ShardStats) -> bool| {
            while !holds(&sender.stats()) {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        };
        let (release, held) = channel::<()>();
        ask(&shard, move |context| {
            context.helper().run(Box::new(move || held.recv().expect("the test ends it"))).expect("room");
        });
        until(&|stats| stats.naps >= 3);
        release.send(()).expect("the helper waits");
        let (done, is_done) = channel();
        ask(&shard, move |context| {
            context.helper().run(Box::new(move || done.send(()).expect("the test listens"))).expect("room");
        });
        is_done.recv().expect("the helper works on");
        // two snapshots later nothing that was counted before is new
        let published = |more: u64| {
            for _ in 0..more {
                let cycles = sender.stats().cycles;
                until(&|stats| stats.cycles > cycles);
            }
            sender.stats().naps
        };
        let naps = published(2);
        assert_eq!(published(2), naps, "nothing to do, no nap ({mode})");
        end(shard).expect("a clean end");
    }
}

/// A task that is polled before the duty cycle wakes does not count the sleep as time between looks.
#[test]
fn sleep_is_nobodys_delay() {
    for mode in modes() {
        let began_ns = SystemClock.monotonic_ns();
        let (to, from) = channel();
        let shard = start(mode, move |context| {
            context.spawn(Lane::Batch, "dozes", async move {
                for _ in 0..20 {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                to.send(()).expect("the test listens");
            });
            Ok(Vec::new())
        });
        from.recv().expect("it woke up");
        let sender = shard.sender();
        end(shard).expect("a clean end");
        let took_ns = SystemClock.monotonic_ns() - began_ns;
        let between = sender.stats().look_interval;
        assert!(between.count > 20 && between.sum_ns < took_ns / 2, "{between:?} of {took_ns} ns ({mode})");
    }
}

/// S3: a shard that sleeps is woken by a post from another thread, every time.
#[test]
fn a_post_wakes_a_sleeping_shard() {
    for mode in modes() {
        let shard = start(mode, |_| Ok(Vec::new()));
        wait_asleep(&shard);
        for n in 0..200 {
            assert_eq!(ask(&shard, move |context| (n, context.id())), (n, ShardId(3)));
            if n % 20 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        let sender = shard.sender();
        end(shard).expect("a clean end");
        assert_eq!(sender.stats().jobs, 200);
        assert_eq!(sender.post(Box::new(|_| ())), Err(PostError::Ended));
    }
}

/// S3: so do a stage's descriptor, its deadline, a notice from a task, and one from a thread.
#[test]
fn descriptors_deadlines_and_notices_wake_a_sleeping_shard() {
    for mode in modes() {
        let wake = WakeFd::new().expect("an eventfd");
        let fd = wake.clone();
        let (to, from) = channel();
        let telemetry = Shared::default();
        let stage = telemetry.clone();
        let shard = start(mode, move |context| {
            to.send(context.notice()).expect("the test listens");
            let at_ns = SystemClock.monotonic_ns() + 5_000_000;
            Ok(vec![Box::new(TestStage { name: "woken", shared: stage, fd: Some(fd), deadline_ns: Some(at_ns) })])
        });
        let notice = from.recv().expect("built");
        wait_asleep(&shard);
        for round in 0..50 {
            let before = telemetry.0.polls.get();
            match round % 3 {
                0 => wake.wake(),
                1 => notice(),
                _ => ask(&shard, {
                    let notice = notice.clone();
                    move |context| {
                        context.spawn(Lane::Batch, "notifier", async move { notice() });
                    }
                }),
            }
            while telemetry.0.polls.get() == before {
                std::thread::yield_now();
            }
        }
        let sender = shard.sender();
        end(shard).expect("a clean end");
        assert!(sender.stats().stage("woken").expect("measured").poll.count >= 2, "descriptor and deadline gave work");
    }
}

#[test]
fn closing_drains_every_stage_and_drops_the_tasks() {
    for mode in modes() {
        let slow = Shared::default();
        slow.0.stuck.set(true);
        let stage = slow.clone();
        let dropped = Arc::new(());
        let held = dropped.clone();
        let shard = start(mode, move |context| {
            context.spawn(Lane::Event, "waits for ever", async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            Ok(vec![TestStage::boxed("slow", &stage)])
        });
        assert!(!ask(&shard, ShardContext::closing));
        shard.sender().close();
        while !slow.0.closed.get() {
            std::thread::yield_now();
        }
        assert!(!shard.is_finished(), "ended before the stage was drained");
        slow.0.stuck.set(false);
        shard.sender().wake();
        shard.join().expect("a clean end");
        assert_eq!(Arc::strong_count(&dropped), 1, "the task was dropped");
    }
}

#[test]
fn what_does_not_drain_is_named() {
    for mode in modes() {
        let (fine, stuck) = (Shared::default(), Shared::default());
        stuck.0.stuck.set(true);
        let shard = start(mode, move |_| Ok(vec![TestStage::boxed("fine", &fine), TestStage::boxed("commit", &stuck)]));
        let error = end(shard).expect_err("it never drains");
        assert_eq!(error.to_string(), "shard 3 ended before these had finished: commit");
    }
}

/// S4: from the duty cycle itself, and from a look between lower-lane polls.
#[test]
fn a_panic_in_a_stage_ends_the_shard_with_its_story() {
    for mode in modes() {
        for between in [false, true] {
            let telemetry = Shared::default();
            let stage = telemetry.clone();
            let shard = start(mode, move |_| Ok(vec![TestStage::boxed("sums", &stage)]));
            let broken = telemetry.clone();
            let post = shard.sender().post(Box::new(move |context| {
                if between {
                    context.spawn(Lane::Request, "query", async move {
                        broken.0.broken.set(true);
                        tokio::task::yield_now().await;
                    });
                } else {
                    broken.0.broken.set(true);
                }
            }));
            post.expect("room");
            let error = shard.join().expect_err("it panicked").to_string();
            assert!(error.contains("shard 3") && error.contains("the sum of the parts"), "{error}");
        }
    }
}

#[test]
fn a_panic_in_a_task_ends_that_task_only() {
    for mode in modes() {
        let (to, from) = channel();
        let shard = start(mode, move |context| {
            let task = context.spawn(Lane::Request, "clumsy", async { panic!("oops") });
            context.spawn(Lane::Request, "waits", async move {
                to.send(task.await.is_err_and(|error| error.is_panic())).expect("the test listens");
            });
            Ok(Vec::new())
        });
        assert!(from.recv().expect("told"));
        assert_eq!(ask(&shard, |_| 1), 1);
        end(shard).expect("a clean end");
    }
}

#[test]
fn what_cannot_start_says_why() {
    let shard = start(IoMode::Epoll, |_| Err("the log is locked by process 17".into()));
    let error = shard.join().expect_err("not built").to_string();
    assert_eq!(error, "shard 3 cannot start: the log is locked by process 17");
    let pinned = Settings { core: Some(100_000), ..settings(IoMode::Epoll) };
    let shard = spawn_thread(pinned, |_| Ok(Vec::new())).expect("a thread");
    let error = shard.join().expect_err("no such core").to_string();
    assert!(error.contains("core 100000") && error.contains("name one of them"), "{error}");
}

#[test]
fn long_loops_are_asked_to_yield_and_current_is_the_shard() {
    for mode in modes() {
        assert!(current().is_none(), "the test's thread is no shard");
        let shard = start(mode, |_| Ok(Vec::new()));
        let yielded = ask(&shard, |context| {
            let id = current().expect("on a shard").id();
            assert_eq!(id, context.id());
            assert_eq!(context.helper().run(Box::new(|| panic!("ignored"))), Ok(()));
            while !context.need_preempt() {}
            true
        });
        assert!(yielded);
        let (to, from) = channel();
        ask(&shard, move |context| {
            context.helper().run(Box::new(move || to.send(()).expect("the test listens"))).expect("room");
        });
        from.recv().expect("the helper works on after a panic");
        end(shard).expect("a clean end");
    }
}

#[test]
fn an_overrun_is_counted_and_named_in_the_log() {
    let lines = logged();
    for mode in modes() {
        let shard = start(mode, |context| {
            for name in ["sluggish report", "brisk"] {
                context.spawn(Lane::Batch, name, async move {
                    let until_ns = SystemClock.monotonic_ns() + 3_000_000 * u64::from(name != "brisk");
                    while SystemClock.monotonic_ns() < until_ns {}
                });
            }
            Ok(Vec::new())
        });
        ask(&shard, |_| ());
        let sender = shard.sender();
        loop {
            let stats = ask(&shard, |context| context.sender().stats());
            if stats.stage("sluggish report").is_some_and(|stage| stage.poll.count == 1) {
                break;
            }
        }
        end(shard).expect("a clean end");
        let stats = sender.stats();
        assert_eq!(stats.stage("sluggish report").expect("measured").overruns, 1);
        let lines = lines.lock().expect("no panic in a test's log").clone();
        let line = lines.iter().find(|line| line.contains("stage=sluggish report")).expect("named");
        for word in ["overran its quantum", "lane=batch", "shard=3", "quantum_us=1000", "took_us="] {
            assert!(line.contains(word), "{line} lacks {word}");
        }
    }
}

/// What the shards of this process log, as `message key=value …`.
fn logged() -> Arc<Mutex<Vec<String>>> {
    static LINES: OnceLock<Arc<Mutex<Vec<String>>>> = OnceLock::new();
    LINES
        .get_or_init(|| {
            let lines = Arc::new(Mutex::new(Vec::new()));
            tracing::subscriber::set_global_default(Log(lines.clone())).expect("the only one here");
            lines
        })
        .clone()
}

struct Log(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = fields.0.remove("message").unwrap_or_default();
        for (key, value) in fields.0 {
            write!(line, " {key}={value}").expect("a string takes everything");
        }
        self.0.lock().expect("no panic in a test's log").push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
