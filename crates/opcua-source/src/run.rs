//! One source, run: the shell that joins the state machines to a session and to the pass.
//!
//! Everything happens on the caller's thread. One loop waits for whatever comes first (connection,
//! finished work, durability, publish responses, time), tells the state machines, and does what they
//! say. Publish responses come as answers to requests of our own, so what is under way is bounded by
//! the number of requests; there is no queue that could overflow.
//!
//! Invariants
//! - O1: at most one piece of long work (connecting, preparing, fetching, reading) is under way.
//! - O2: while a hole is being fetched, or the pass takes nothing, no message is looked at.
//! - O3: every loss goes to the pass as a gap before the messages after it.
//! - O4: commands run beside all of this and hold up none of it; at most [`COMMANDS_MAX`] are under
//!   way, the others wait in their queue.

mod demand;
mod messages;
mod recover;

use crate::connect::{ConnectError, Target, explain};
use crate::feed::{Flushed, Outbox};
use crate::fetch::Arrival;
use crate::ledger::{Ack, Ledger, Window};
use crate::link::{Link, LinkEvent};
use crate::memo::Memo;
use crate::notification::Content;
use crate::prepare::{Entry, Plan, PrepareError, Prepared};
use crate::sequence::Sequence;
use crate::subscribe::Subscription;
use crate::supervisor::{Action, Event, Now, Supervisor, Timing};
use config::OpcuaSource;
use env::Clock;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use model::device::{Commands, Pending};
use model::{CommitError, Gap, GapReason, Intake, LogPosition, SourceId, TagId, TimestampNs, ValueKind};
use opcua::client::Session;
use opcua::types::{Error, PublishResponse};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::{future::Future, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

/// Failed attempts in a row after which session and endpoint are looked for anew: about half a
/// minute, and a server that was reinstalled has another certificate.
const LINK_ATTEMPTS_MAX: u32 = 6;
/// The pass is asked again this long after it was busy, in nanoseconds.
const BUSY_RETRY_NS: u64 = 20_000_000;
/// Rest after a Publish request that failed, in nanoseconds.
const PUBLISH_REST_NS: u64 = 250_000_000;
/// First and longest wait before refused items are tried again, in nanoseconds.
const ITEM_RETRY_NS: (u64, u64) = (2_000_000_000, 300_000_000_000);
/// Commands that are under way at once.
const COMMANDS_MAX: usize = 64;
/// A clean goodbye may take this long.
const GOODBYE: Duration = Duration::from_secs(1);
/// Operations of one call are not capped below this, however often a connection breaks.
const CAP_MIN: usize = 10;
/// Longest sleep, in nanoseconds: an hour; something else wakes the loop before.
const SLEEP_MAX_NS: u64 = 3_600_000_000_000;

/// The end of a piece of long work.
enum Done {
    Opened(Result<Link, ConnectError>),
    Prepared(Result<Prepared, PrepareError>),
    Retried(Result<Prepared, PrepareError>),
    Resumed(Result<Vec<Arrival>, Error>),
    Fetched(Result<Vec<Arrival>, Error>),
    Reread(Result<Content, Error>),
}

/// Which work is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open,
    Prepare,
    Retry,
    Resume,
    Fetch,
    Reread,
}

/// A Publish request's end, with the acknowledgements that it carried.
struct Published {
    acks: Vec<Ack>,
    answer: Result<PublishResponse, Error>,
}

/// What the loop woke up for.
enum Happened {
    Link(Option<LinkEvent>),
    Done(Done),
    Durable(LogPosition, Result<(), CommitError>),
    Published(Published),
    Command(Pending),
    /// A command ended; whether it was done.
    Commanded(bool),
    Time,
}

/// One running source.
struct Source {
    name: String,
    plan: Rc<Plan>,
    target: Target,
    intake: Rc<dyn Intake>,
    clock: Rc<dyn Clock>,
    id: SourceId,
    random: u64,
    machine: Supervisor,
    link: Option<Link>,
    attempts_failed: u32,
    was_up: bool,
    work: Option<(Kind, LocalBoxFuture<'static, Done>)>,
    publishes: FuturesUnordered<BoxFuture<'static, Published>>,
    publish_after: u64,
    commanded: FuturesUnordered<LocalBoxFuture<'static, bool>>,
    memo: Rc<Memo>,
    /// Why there is nothing to command now.
    away: String,
    window: Window,
    ledger: Ledger,
    sequences: BTreeMap<u32, Sequence>,
    subscriptions: Vec<Subscription>,
    poked: u64,
    entries: Vec<Entry>,
    /// Where an entry stands, by its tag's path: a command does not walk through all of them.
    places: HashMap<String, usize>,
    /// Tags by client handle: handles are given from 1 on without a hole.
    tags: Vec<Option<(TagId, ValueKind)>>,
    kinds: HashMap<String, ValueKind>,
    notes: Vec<String>,
    folders_failed: Vec<usize>,
    retry_at: Option<u64>,
    retry_wait: u64,
    cap: usize,
    drops: u32,
    inbox: VecDeque<Arrival>,
    outbox: Outbox,
    reread_wanted: bool,
    last_message: TimestampNs,
    closed: bool,
}

/// Runs an OPC UA source until `stop` is ready: connects, subscribes, feeds the pass, and recovers
/// from whatever happens to the server or the network. `path` is where its tags hang, `pki` the
/// directory of certificates (`own`, `private`, `trusted`, `rejected`; made where missing).
///
/// A notification is acknowledged to the server only after the pass reported its readings durable.
/// Counters: `notifications`, `samples`, `keep_alives`, `republished`, `sequence_gaps` (messages),
/// `overflows`, `unreadable`, `shed`, `items_refused`, `reconnects`, `acks_sent`, `publish_errors`,
/// `commands_done`, `commands_failed`.
///
/// `commands` are carried out on the same session, beside the subscriptions; while there is none each
/// is answered at once with why not.
///
/// It needs a tokio runtime with time and I/O and is not `Send`: spawn it locally. It returns early
/// when the pass is closed, or knows no more sources.
#[expect(clippy::too_many_arguments, reason = "each is a thing of its own that only the wiring joins")]
pub async fn run(
    name: String,
    path: String,
    settings: OpcuaSource,
    pki: PathBuf,
    intake: Rc<dyn Intake>,
    clock: Rc<dyn Clock>,
    stop: impl Future<Output = ()>,
    mut commands: Commands,
) {
    let id = match intake.source(&name) {
        Ok(id) => id,
        Err(refused) => {
            tracing::error!(source = %name, %refused, "OPC UA source cannot start");
            return;
        }
    };
    let mut source = Source::new(name, path, settings, pki, intake, clock, id);
    tokio::pin!(stop);
    source.tell(Event::Start);
    while !source.closed {
        source.go_on();
        let wake = source.wake_after();
        let durable_at = source.ledger.front();
        let may_take = source.may_take();
        let may_command = source.commanded.len() < COMMANDS_MAX;
        let happened = tokio::select! {
            biased;
            () = &mut stop => break,
            event = next_event(&mut source.link) => Happened::Link(event),
            done = next_done(&mut source.work) => Happened::Done(done),
            (at, result) = durable(&*source.intake, durable_at) => Happened::Durable(at, result),
            Some(done) = source.commanded.next(), if !source.commanded.is_empty() => Happened::Commanded(done),
            pending = commands.next(), if may_command => Happened::Command(pending),
            Some(published) = source.publishes.next(), if may_take => Happened::Published(published),
            () = tokio::time::sleep(wake) => Happened::Time,
        };
        source.handle(happened);
    }
    source.say_goodbye().await;
}

async fn next_event(link: &mut Option<Link>) -> Option<LinkEvent> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn next_done(work: &mut Option<(Kind, LocalBoxFuture<'static, Done>)>) -> Done {
    match work {
        Some((_, future)) => {
            let done = future.await;
            *work = None;
            done
        }
        None => std::future::pending().await,
    }
}

async fn durable(intake: &dyn Intake, position: Option<LogPosition>) -> (LogPosition, Result<(), CommitError>) {
    match position {
        Some(position) => (position, model::durable(intake, position).await),
        None => std::future::pending().await,
    }
}

impl Source {
    fn new(
        name: String,
        path: String,
        settings: OpcuaSource,
        pki: PathBuf,
        intake: Rc<dyn Intake>,
        clock: Rc<dyn Clock>,
        id: SourceId,
    ) -> Source {
        let ns = |of: Duration| u64::try_from(of.as_nanos()).unwrap_or(u64::MAX / 4);
        let timing = Timing {
            watchdog_ns: ns(settings.watchdog),
            close_ns: ns(settings.timeout),
            connect_ns: ns(settings.timeout.max(Duration::from_secs(10)) * 8),
        };
        let now = Now { mono: clock.monotonic_ns(), wall: clock.wall() };
        let target = Target {
            address: settings.address.clone(),
            security: settings.security.clone(),
            user: settings.user.clone(),
            timeout: settings.timeout,
            keep_alive: settings.keep_alive,
            pki,
        };
        Source {
            random: RandomState::new().hash_one(&name) | 1,
            name,
            plan: Rc::new(Plan { path, settings }),
            target,
            intake,
            clock,
            id,
            machine: Supervisor::new(timing, now),
            link: None,
            attempts_failed: 0,
            was_up: false,
            work: None,
            publishes: FuturesUnordered::new(),
            publish_after: 0,
            commanded: FuturesUnordered::new(),
            memo: Rc::default(),
            away: "it is being connected to; try again in a moment".to_owned(),
            window: Window::new(),
            ledger: Ledger::default(),
            sequences: BTreeMap::new(),
            subscriptions: Vec::new(),
            poked: now.mono,
            entries: Vec::new(),
            places: HashMap::new(),
            tags: Vec::new(),
            kinds: HashMap::new(),
            notes: Vec::new(),
            folders_failed: Vec::new(),
            retry_at: None,
            retry_wait: ITEM_RETRY_NS.0,
            cap: usize::MAX,
            drops: 0,
            inbox: VecDeque::new(),
            outbox: Outbox::default(),
            reread_wanted: false,
            last_message: now.wall,
            closed: false,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.clock.monotonic_ns(), wall: self.clock.wall() }
    }

    fn count(&self, counter: &'static str, by: u64) {
        if by > 0 {
            self.intake.count(self.id, counter, by);
        }
    }

    fn is_doing(&self, kinds: &[Kind]) -> bool {
        self.work.as_ref().is_some_and(|(kind, _)| kinds.contains(kind))
    }

    /// Whether publish responses may be looked at (O2).
    fn may_take(&self) -> bool {
        self.outbox.is_empty() && !self.is_doing(&[Kind::Fetch, Kind::Resume]) && !self.publishes.is_empty()
    }

    /// How long nothing needs to be done by time alone.
    fn wake_after(&self) -> Duration {
        let now = self.clock.monotonic_ns();
        let mut due = self.machine.deadline().min(now.saturating_add(SLEEP_MAX_NS));
        if !self.outbox.is_empty() {
            due = due.min(now + BUSY_RETRY_NS);
        }
        if self.is_holding() {
            due = due.min(self.poked.saturating_add(self.lifetime_ns() / 4));
        }
        if self.machine.is_running() {
            if self.publish_after > now {
                due = due.min(self.publish_after);
            }
            if let (Some(at), None) = (self.retry_at, &self.work) {
                due = due.min(at);
            }
        }
        Duration::from_nanos(due.saturating_sub(now))
    }

    /// Tells the supervisor, and does what it says.
    fn tell(&mut self, event: Event) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let actions = self.machine.on(self.now(), self.random, event);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::Prepare => self.prepare(),
            Action::Resume => self.resume(),
            Action::Close => {
                self.work = None;
                if let Some(session) = self.session() {
                    tokio::spawn(async move { session.channel().close_channel().await });
                }
            }
            Action::Abandon => {
                self.work = None;
                self.link = None;
            }
            Action::MarkBad => self.mark_bad(),
            Action::Reread => self.reread_wanted = true,
            Action::Gap { from, to } => {
                // The last word of the server may have been data, which was taken a moment later.
                let from = from.max(self.last_message);
                if from < to {
                    self.gap(None, from, to, GapReason::NotConnected, None);
                }
            }
        }
    }

    fn gap(&self, tag: Option<TagId>, from: TimestampNs, to: TimestampNs, reason: GapReason, count: Option<u64>) {
        let tags = tag.map(|tag| (tag, 1));
        self.intake.gap(Gap { source: self.id, tags, from, to: to.max(from.plus_ns(1)), reason, count });
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.link.as_ref().map(|link| link.session().clone())
    }

    /// Does what can be done without waiting, before the loop rests.
    fn go_on(&mut self) {
        self.flush();
        self.take_inbox();
        if self.machine.is_running() {
            self.start_idle_work();
            self.publish();
            if self.is_holding() {
                self.tell(Event::Held);
                self.poke();
            }
        }
    }

    /// Whether we ask the server for nothing, so that its silence is our own.
    fn is_holding(&self) -> bool {
        self.machine.is_running() && (!self.outbox.is_empty() || self.publishes.is_empty())
    }

    fn flush(&mut self) {
        if self.outbox.flush(&*self.intake, self.id, &mut self.ledger) == Flushed::Closed {
            self.closed = true;
        }
    }

    fn handle(&mut self, happened: Happened) {
        match happened {
            Happened::Link(Some(LinkEvent::Up { reactivated })) => {
                self.attempts_failed = 0;
                if self.was_up {
                    self.count("reconnects", 1);
                }
                self.was_up = true;
                self.publish_after = 0;
                self.window = Window::new();
                tracing::info!(source = %self.name, address = %self.target.address, reactivated, "OPC UA session is up");
                self.tell(Event::Up { reactivated });
            }
            Happened::Link(Some(LinkEvent::Down { status })) => self.on_down(explain(status, &self.target.pki)),
            Happened::Link(None) => {
                self.link = None;
                self.on_down("the session's task has ended".to_owned());
            }
            Happened::Done(done) => self.on_done(done),
            Happened::Durable(at, Ok(())) => self.ledger.durable(at),
            Happened::Durable(_, Err(CommitError::Closed)) => self.closed = true,
            Happened::Published(first) => self.on_published(first),
            Happened::Command(pending) => self.on_command(pending),
            Happened::Commanded(done) => self.count(if done { "commands_done" } else { "commands_failed" }, 1),
            Happened::Time => {
                if self.is_holding() {
                    self.tell(Event::Held);
                }
                self.tell(Event::Tick);
            }
        }
    }

    /// Closes the session, so that the server frees it at once.
    async fn say_goodbye(self) {
        if let Some(session) = self.session() {
            let _ = tokio::time::timeout(GOODBYE, session.disconnect()).await;
        }
    }
}
