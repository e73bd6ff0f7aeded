//! The duty cycle: the one task of a shard that never ends before the shard does.

use std::{
    future::poll_fn,
    io,
    os::fd::{AsRawFd, RawFd},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use env::Clock;
use ring::Inbox;
use uring::{FdListener, TimerFd, WakeFd, clock::SystemClock};

use crate::{
    context::ShardContext,
    lane::Lane,
    meter::StageMeter,
    nap::Debt,
    sender::Job,
    stages::Look,
    stats::{ShardStats, StageStats},
};

/// Posted jobs run in one cycle, if their slice allows.
const JOBS_MAX: usize = 64;
/// Snapshots are not refreshed more often; also the longest sleep.
const PUBLISH_EVERY_NS: u64 = 250_000_000;
/// Bounds of the time that the thread spins before it sleeps. Frames that come closer together
/// than the upper one find it awake: a sleeper makes each sender pay for waking it. What else ends a
/// sleep, a source's alarm, an answer or the disk, pays nothing for it and is not waited for.
const SPIN_NS: std::ops::RangeInclusive<u64> = 5_000..=200_000;

pub(crate) struct Cycle {
    context: ShardContext,
    inbox: Inbox<Job>,
    wake: WakeFd,
    timer: TimerFd,
    /// On `wake`, on `timer`, and on what the stages are woken by.
    rung: FdListener,
    timed: FdListener,
    fed: Vec<FdListener>,
    /// What ends a nap: telemetry, and whoever rings.
    alarms: Vec<RawFd>,
    debt: Debt,
    inbox_meter: Rc<StageMeter>,
    published_ns: u64,
    /// Some histograms were walked, not all: no sleep before the snapshot is out.
    walking: bool,
    /// Telemetry-only rounds since the runtime was last let run, and when they began.
    rounds: u32,
    rounds_began_ns: u64,
    worked_ns: u64,
    spin_ns: u64,
    cycles: u64,
    sleeps: u64,
    naps: u64,
    jobs: u64,
    gate: Option<u64>,
}

impl Cycle {
    /// To be called inside the runtime, after the stages were installed.
    pub(crate) fn new(context: ShardContext, inbox: Inbox<Job>, wake: WakeFd) -> io::Result<Cycle> {
        let timer = TimerFd::new()?;
        let (rung, timed) = (wake.listen()?, timer.listen()?);
        let mut alarms = context.inner.stages.wake_fds();
        let fed = alarms.iter().map(|fd| FdListener::new(*fd)).collect::<io::Result<_>>()?;
        alarms.push(wake.as_raw_fd());
        let now_ns = SystemClock.monotonic_ns();
        let inbox_meter = context.inner.meters.of(Lane::Request, "inbox");
        Ok(Cycle {
            context,
            inbox,
            wake,
            timer,
            rung,
            timed,
            fed,
            alarms,
            debt: Debt::default(),
            inbox_meter,
            published_ns: now_ns,
            walking: false,
            rounds: 0,
            rounds_began_ns: now_ns,
            worked_ns: now_ns,
            spin_ns: *SPIN_NS.start(),
            cycles: 0,
            sleeps: 0,
            naps: 0,
            jobs: 0,
            gate: None,
        })
    }

    /// Runs until the shard was closed; names the stages that were not drained in time.
    pub(crate) async fn run(mut self) -> Result<(), Vec<&'static str>> {
        loop {
            self.cycles += 1;
            self.context.take_kick();
            let spent_ns = self.context.spent_ns();
            self.context.refill_lanes();
            let stages = &self.context.inner.stages;
            let budget = self.context.inner.settings.stage_budget;
            let (telemetry, _) = stages.look(Look::All, budget, SystemClock.monotonic_ns());
            let jobs = self.run_jobs();
            if let Some(panic) = self.context.inner.stages.panicked() {
                std::panic::resume_unwind(panic);
            }
            let now_ns = SystemClock.monotonic_ns();
            if let Some(end) = self.pass_gate(now_ns) {
                self.publish_now(self.context.inner.meters.all());
                return end;
            }
            self.publish(now_ns);
            let fired = self.context.inner.alarms.fire(now_ns);
            if let Some(nap_ns) = self.debt.count(self.context.helper().has_work(), now_ns) {
                self.nap(nap_ns);
            }
            // what a lane did not use of a cycle in which it ran went into letting it run
            let busy_ns = if telemetry + jobs > 0 || spent_ns > 0 { u64::MAX } else { 0 };
            self.context.inner.leisure.borrow_mut().count(now_ns, busy_ns);
            if telemetry + jobs > 0 {
                self.worked_ns = now_ns;
                if jobs == 0 && self.may_go_round(now_ns) {
                    continue;
                }
            } else if fired == 0 && !self.walking && now_ns.saturating_sub(self.worked_ns) >= self.spin_ns {
                self.sleep().await;
                self.rounds = 0;
                continue;
            }
            tokio::task::yield_now().await;
            self.rounds = 0;
        }
    }

    /// Whether telemetry may go round once more before the runtime is let run (S2).
    fn may_go_round(&mut self, now_ns: u64) -> bool {
        let settings = &self.context.inner.settings;
        if self.rounds == 0 {
            self.rounds_began_ns = now_ns;
        }
        self.rounds += 1;
        self.rounds < settings.telemetry_rounds_max
            && now_ns.saturating_sub(self.rounds_began_ns) < settings.quantum_ns
            && self.context.inner.stages.pending()
    }

    fn run_jobs(&mut self) -> usize {
        let mut done = 0;
        let quantum_ns = self.context.inner.settings.quantum_ns;
        let mut spent_ns = 0;
        while done < JOBS_MAX && spent_ns < Lane::Request.budget_ns() {
            let Some(job) = self.inbox.pop() else { break };
            if done > 0 {
                self.context.look_between(SystemClock.monotonic_ns());
            }
            let from_ns = self.context.begin_job();
            let allocated = ring::allocations();
            job(&self.context);
            self.inbox_meter.allocated_since(allocated);
            let to_ns = SystemClock.monotonic_ns();
            let took_ns = to_ns.saturating_sub(from_ns);
            spent_ns += took_ns;
            self.inbox_meter.record(self.context.id(), took_ns, quantum_ns, to_ns);
            done += 1;
        }
        self.jobs += done as u64;
        done
    }

    /// Closes the gate once asked to; answers how the shard ended once everything is drained, or
    /// the time for it is over.
    fn pass_gate(&mut self, now_ns: u64) -> Option<Result<(), Vec<&'static str>>> {
        if !self.context.closing() {
            return None;
        }
        let stages = &self.context.inner.stages;
        let until_ns = *self.gate.get_or_insert_with(|| {
            stages.close();
            now_ns.saturating_add(self.context.inner.settings.drain_ns)
        });
        let undrained = stages.undrained();
        if undrained.is_empty() {
            return Some(Ok(()));
        }
        (now_ns >= until_ns).then_some(Err(undrained))
    }

    /// Sleeps until something happens, a stage's time comes, or the snapshots are due. S3: the bell
    /// is hung out and the stages are armed first, and only then is it asked whether something is
    /// there already.
    async fn sleep(&mut self) {
        let lying = self.inbox.lie_down();
        let mut slept_ns = None;
        if lying {
            let stages = &self.context.inner.stages;
            stages.arm();
            if !stages.pending() {
                slept_ns = Some(self.lie().await);
            }
            self.inbox.get_up();
        }
        // Cleared before the next look, which finds what made them ready.
        let fed = self.fed.iter().filter(|listener| listener.clear()).count() > 0;
        self.timed.clear();
        if self.rung.clear() {
            self.wake.drain();
        }
        if let Some(slept_ns) = slept_ns {
            self.adapt(slept_ns, fed);
        }
    }

    /// Lies until something happens; answers for how long.
    async fn lie(&mut self) -> u64 {
        let inner = Rc::clone(&self.context.inner);
        let (from_ns, idle_ns) = (SystemClock.monotonic_ns(), self.context.idle_ns());
        self.context.rests(from_ns);
        self.sleeps += 1;
        let until_ns = self.alarm_ns(from_ns);
        self.timer.set(until_ns);
        inner.alarms.asleep_until(until_ns);
        inner.stages.sleeps();
        self.asleep().await;
        inner.alarms.asleep_until(0);
        inner.stages.slept();
        self.worked_ns = SystemClock.monotonic_ns();
        self.context.is_back(self.worked_ns);
        let lay_ns = self.worked_ns.saturating_sub(from_ns);
        // Tasks ran meanwhile, and the runtime let them: only the rest was the helper's.
        let slept_ns = self.context.idle_ns().saturating_sub(idle_ns);
        self.debt.pay(slept_ns);
        inner.leisure.borrow_mut().count(self.worked_ns, lay_ns.saturating_sub(slept_ns));
        lay_ns
    }

    /// Leaves the core to the helper for a while, unless telemetry is there (S6). The runtime runs and a
    /// whole look is made before the next sleep, so no ring that ends a nap is lost.
    fn nap(&mut self, nap_ns: u64) {
        self.wake.drain();
        let stages = &self.context.inner.stages;
        stages.arm();
        if stages.pending() {
            return;
        }
        let from_ns = SystemClock.monotonic_ns();
        self.naps += 1;
        stages.sleeps();
        uring::wait_for_any(&self.alarms, Duration::from_nanos(nap_ns));
        stages.slept();
        self.worked_ns = SystemClock.monotonic_ns();
        self.debt.pay(self.worked_ns.saturating_sub(from_ns));
    }

    fn alarm_ns(&self, now_ns: u64) -> u64 {
        let publish_ns = now_ns + PUBLISH_EVERY_NS;
        let stage_ns = self.context.inner.stages.deadline_ns().unwrap_or(u64::MAX);
        let task_ns = self.context.inner.alarms.earliest_ns().unwrap_or(u64::MAX);
        publish_ns.min(stage_ns).min(task_ns).min(self.gate.unwrap_or(u64::MAX))
    }

    async fn asleep(&self) {
        poll_fn(|context| {
            let kicked = !self.context.may_sleep(context.waker());
            // All are polled, so that each knows whom to wake.
            let all = [&self.rung, &self.timed].into_iter().chain(&self.fed);
            let ready = all.filter(|listener| listener.poll_ready(context).is_ready()).count();
            if kicked || ready > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Frames that ended a sleep shorter than the longest spin would have been worth it: spin longer
    /// next time.
    fn adapt(&mut self, slept_ns: u64, fed: bool) {
        let wanted = if fed && slept_ns < *SPIN_NS.end() { self.spin_ns * 2 } else { self.spin_ns / 2 };
        self.spin_ns = wanted.clamp(*SPIN_NS.start(), *SPIN_NS.end());
    }

    /// Walks one histogram a cycle while a snapshot is due, and publishes when all were walked.
    fn publish(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.published_ns) < PUBLISH_EVERY_NS {
            return;
        }
        let walked = self.context.inner.meters.walk();
        self.walking = walked.is_none();
        if let Some(stages) = walked {
            self.published_ns = now_ns;
            self.publish_now(stages);
        }
    }

    fn publish_now(&self, stages: Vec<StageStats>) {
        self.context.sender().publish(ShardStats {
            shard: self.context.id(),
            stages,
            look_interval: self.context.inner.stages.interval().snapshot(),
            frame_to_visible: self.context.inner.frame_to_visible.snapshot(),
            cycles: self.cycles,
            sleeps: self.sleeps,
            naps: self.naps,
            jobs: self.jobs,
            cpu_ns: uring::thread::cpu_time_ns(),
            allocations: ring::allocations(),
        });
    }
}
