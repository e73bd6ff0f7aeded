//! What runs on a shard sees of it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    rc::Rc,
    sync::Arc,
    task::Waker,
    thread::ThreadId,
};

use env::Clock;
use model::ShardId;
use tokio::task::JoinHandle;
use uring::{IoMode, WakeFd, clock::SystemClock};

use crate::{
    alarms::Alarms,
    helper::Helper,
    lane::{LANES, Lane},
    leisure::Leisure,
    meter::{Meter, Meters, StageMeter},
    parking::{Parking, RELEASED, Ticket},
    sender::ShardSender,
    slice::Slice,
    stages::{Look, Stages},
    task::Measured,
    thread::Settings,
};

/// A pause comes to nothing where less than this went by since the last look.
const PIECE_NS_MIN: u64 = 5_000;
/// A shorter time between two polls is what the runtime takes.
const SLEEP_NS_MIN: u64 = 20_000;

thread_local! {
    static CURRENT: RefCell<Option<ShardContext>> = const { RefCell::new(None) };
}

/// The shard of the calling thread; `None` on a thread that is no shard's, or whose shard has
/// ended.
#[must_use]
pub fn current() -> Option<ShardContext> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Looks at telemetry in the middle of a lower-lane poll, for code that is about to do something long that
/// cannot be divided (a system call, a text to be read or written), or has just done it. Costs a reading of the clock
/// or two where telemetry has nothing. Does nothing outside of such a poll.
///
/// What telemetry's stages may touch must not be borrowed meanwhile.
pub fn pause() {
    CURRENT.with(|current| {
        if let Some(context) = &*current.borrow() {
            context.pause();
        }
    });
}

/// A shard, from its own thread. Cheap to clone, never leaves the thread.
#[derive(Clone)]
pub struct ShardContext {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) stages: Stages,
    pub(crate) meters: Meters,
    pub(crate) frame_to_visible: Meter,
    pub(crate) alarms: Alarms,
    pub(crate) leisure: RefCell<Leisure>,
    sender: ShardSender,
    helper: Helper,
    wake: WakeFd,
    thread: ThreadId,
    /// Somebody wants a duty cycle soon; kept until the next one begins.
    kicked: Cell<bool>,
    /// The sleeping duty cycle.
    sleeper: RefCell<Option<Waker>>,
    /// When the present piece of a lower-lane poll, or the present job, began.
    slice_began_ns: Cell<u64>,
    /// The lower-lane poll under way.
    slice: RefCell<Option<Slice>>,
    /// When the thread was last seen at work, and how long it had nothing to do, all in all.
    active_ns: Cell<u64>,
    idle_ns: Cell<u64>,
    /// What each lane used up in the present duty cycle (S2).
    lane_spent_ns: [Cell<u64>; LANES],
    /// The tasks that wait for its next.
    lane_parking: [RefCell<Parking>; LANES],
}

impl ShardContext {
    pub(crate) fn new(settings: Settings, sender: ShardSender, helper: Helper, wake: WakeFd) -> ShardContext {
        ShardContext {
            inner: Rc::new(Inner {
                stages: Stages::new(settings.id, settings.quantum_ns, settings.mode),
                meters: Meters::default(),
                frame_to_visible: Meter::new(),
                alarms: Alarms::default(),
                leisure: RefCell::default(),
                sender,
                helper,
                wake,
                thread: std::thread::current().id(),
                kicked: Cell::new(false),
                sleeper: RefCell::default(),
                slice_began_ns: Cell::new(0),
                slice: RefCell::default(),
                active_ns: Cell::new(0),
                idle_ns: Cell::new(0),
                lane_spent_ns: Default::default(),
                lane_parking: Default::default(),
                settings,
            }),
        }
    }

    /// Makes this the thread's shard until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered {
        CURRENT.with(|current| *current.borrow_mut() = Some(self.clone()));
        Entered
    }

    /// Which shard.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.inner.settings.id
    }

    /// How it speaks to the kernel.
    #[must_use]
    pub fn mode(&self) -> IoMode {
        self.inner.settings.mode
    }

    /// The way to this shard from other threads.
    #[must_use]
    pub fn sender(&self) -> ShardSender {
        self.inner.sender.clone()
    }

    /// The core's background thread.
    #[must_use]
    pub fn helper(&self) -> &Helper {
        &self.inner.helper
    }

    /// Whether the shard's end has begun ([`ShardSender::close`]).
    #[must_use]
    pub fn closing(&self) -> bool {
        self.inner.sender.closing()
    }

    /// Spawns a task in a lane. Each of its polls comes after a look at the telemetry stages and is
    /// measured under `name`, which many tasks may share. A panic ends the task only.
    pub fn spawn<F>(&self, lane: Lane, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        tokio::task::spawn_local(self.measured(lane, name, future))
    }

    /// The future that [`spawn`](Self::spawn) spawns, for whoever must spawn it otherwise.
    pub fn measured<F: Future>(&self, lane: Lane, name: &'static str, future: F) -> Measured<F> {
        Measured::new(self.clone(), lane, self.inner.meters.of(lane, name), future)
    }

    /// Whether a long loop in a lower lane should yield now: telemetry waits, or the loop has had
    /// its slice.
    #[must_use]
    pub fn need_preempt(&self) -> bool {
        let slice_ns = SystemClock.monotonic_ns().saturating_sub(self.inner.slice_began_ns.get());
        slice_ns >= self.inner.settings.slice_ns || self.inner.stages.pending()
    }

    /// Whether the thread had time to spare lately: what is cheaper together may then be done at once.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.inner.leisure.borrow().has_time()
    }

    /// The values of a frame can be read now, so many ns after the time that its sender gave it.
    pub fn visible(&self, after_ns: u64) {
        self.inner.frame_to_visible.record(after_ns);
    }

    /// Has the duty cycle run soon, for a task that left a stage something to do.
    pub fn kick(&self) {
        self.inner.kicked.set(true);
        if let Some(sleeper) = self.inner.sleeper.borrow_mut().take() {
            sleeper.wake();
        }
    }

    /// A call that has the duty cycle run soon, for any thread: on the shard's own it costs no
    /// system call. Made for `uring::disk::Notice`.
    #[must_use]
    pub fn notice(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (wake, thread) = (self.inner.wake.clone(), self.inner.thread);
        Arc::new(move || match current().filter(|_| std::thread::current().id() == thread) {
            Some(here) => here.kick(),
            None => wake.wake(),
        })
    }

    pub(crate) fn take_kick(&self) -> bool {
        self.inner.kicked.replace(false)
    }

    /// Notes who sleeps; `false` when somebody has kicked meanwhile.
    pub(crate) fn may_sleep(&self, waker: &Waker) -> bool {
        *self.inner.sleeper.borrow_mut() = Some(waker.clone());
        !self.inner.kicked.get()
    }

    /// A posted job begins.
    pub(crate) fn begin_job(&self) -> u64 {
        self.inner.slice.take(); // of a task that panicked
        let now_ns = SystemClock.monotonic_ns();
        self.inner.slice_began_ns.set(now_ns);
        now_ns
    }

    /// The thread is at work until now.
    pub(crate) fn rests(&self, now_ns: u64) {
        self.inner.active_ns.set(now_ns);
    }

    /// The thread is at work again; a short pause went into changing over, a longer one is a sleep.
    pub(crate) fn is_back(&self, now_ns: u64) {
        let paused_ns = now_ns.saturating_sub(self.inner.active_ns.replace(now_ns));
        if paused_ns >= SLEEP_NS_MIN {
            self.inner.idle_ns.set(self.inner.idle_ns.get().saturating_add(paused_ns));
        }
    }

    /// How long the thread had nothing to do, since it was started.
    pub(crate) fn idle_ns(&self) -> u64 {
        self.inner.idle_ns.get()
    }

    /// A lower-lane poll begins.
    pub(crate) fn begin_poll(&self, meter: &Rc<StageMeter>, now_ns: u64) {
        self.inner.slice_began_ns.set(now_ns);
        *self.inner.slice.borrow_mut() = Some(Slice::begin(meter, now_ns));
    }

    /// It has ended.
    pub(crate) fn end_poll(&self, lane: Lane) {
        let Some(mut slice) = self.inner.slice.take() else { return };
        let now_ns = SystemClock.monotonic_ns();
        self.end_piece(&mut slice, now_ns);
        self.rests(now_ns);
        let spent = &self.inner.lane_spent_ns[lane as usize];
        spent.set(spent.get().saturating_add(slice.spent_ns()));
    }

    fn end_piece(&self, slice: &mut Slice, now_ns: u64) {
        let took_ns = slice.end_piece(self.id(), self.inner.settings.quantum_ns, now_ns);
        self.inner.stages.busy(took_ns);
    }

    /// See [`pause`]. The slice is taken out meanwhile: telemetry's own code does not pause.
    fn pause(&self) {
        let now_ns = SystemClock.monotonic_ns();
        if now_ns.saturating_sub(self.inner.slice_began_ns.get()) < PIECE_NS_MIN {
            return;
        }
        let Some(mut slice) = self.inner.slice.take() else { return };
        self.end_piece(&mut slice, now_ns);
        let now_ns = self.look_between(now_ns);
        slice.go_on(now_ns);
        self.inner.slice_began_ns.set(now_ns);
        *self.inner.slice.borrow_mut() = Some(slice);
    }

    /// A look between lower-lane polls, from now on; a duty cycle that sleeps is woken to see to what
    /// follows. Answers when the look was over.
    pub(crate) fn look_between(&self, now_ns: u64) -> u64 {
        let (work, now_ns) = self.inner.stages.look(Look::Pending, self.inner.settings.stage_budget, now_ns);
        if work > 0 || self.inner.stages.has_panicked() {
            self.kick();
        }
        now_ns
    }

    pub(crate) fn lane_exhausted(&self, lane: Lane) -> bool {
        self.inner.lane_spent_ns[lane as usize].get() >= lane.budget_ns()
    }

    /// What all lanes used up in the present duty cycle.
    pub(crate) fn spent_ns(&self) -> u64 {
        self.inner.lane_spent_ns.iter().map(Cell::get).fold(0, u64::saturating_add)
    }

    /// A task waits until its lane has its next budget; the duty cycle that gives it may be asleep.
    pub(crate) fn wait_in_line(&self, lane: Lane, ticket: &mut Option<Ticket>, waker: &Waker) {
        self.inner.lane_parking[lane as usize].borrow_mut().wait(ticket, waker);
        self.kick();
    }

    /// Lets the next in line go; answers whether some still wait.
    pub(crate) fn release_one(&self, lane: Lane) -> bool {
        let parking = &self.inner.lane_parking[lane as usize];
        let next = parking.borrow_mut().pop();
        // the last that knows of a task drops it here, which may run any code of that task's
        next.into_iter().for_each(Waker::wake);
        !parking.borrow().is_empty()
    }

    /// New budgets; while somebody still waits, the next cycle comes soon.
    pub(crate) fn refill_lanes(&self) {
        self.inner.lane_spent_ns.iter().for_each(|spent| spent.set(0));
        for lane in Lane::ALL {
            let some_still_wait = (0..RELEASED).all(|_| self.release_one(lane));
            if some_still_wait {
                self.kick();
            }
        }
    }
}

impl fmt::Debug for ShardContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardContext").field("shard", &self.id()).finish_non_exhaustive()
    }
}

/// While it lives, the thread is the shard's.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with(|current| current.borrow_mut().take());
    }
}
