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

use crate::connect::{ConnectError, Target, explain};
use crate::feed::{Flushed, Outbox, Parcel};
use crate::fetch::{self, Arrival, Readable};
use crate::items::{self, Status};
use crate::ledger::{Ack, Ledger, Window};
use crate::link::{Link, LinkEvent};
use crate::notification::{self, Content};
use crate::prepare::{self, Bench, Entry, Plan, PrepareError, Prepared, is_connection};
use crate::sequence::{Sequence, Step, steps};
use crate::subscribe::{self, Subscription};
use crate::supervisor::{Action, Event, Now, Supervisor, Timing};
use config::OpcuaSource;
use env::Clock;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use model::{
    CommitError, Gap, GapReason, Intake, LogPosition, Quality, Reading, SourceId, SourceState, TagId, TimestampNs,
    ValueKind,
};
use opcua::client::services::{Publish, SetPublishingMode};
use opcua::client::{Session, UARequest};
use opcua::types::{Error, PublishResponse, StatusCode, SubscriptionAcknowledgement};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
    window: Window,
    ledger: Ledger,
    sequences: BTreeMap<u32, Sequence>,
    subscriptions: Vec<Subscription>,
    poked: u64,
    entries: Vec<Entry>,
    tags: HashMap<u32, (TagId, ValueKind)>,
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
/// `overflows`, `unreadable`, `shed`, `items_refused`, `reconnects`, `acks_sent`, `publish_errors`.
///
/// It needs a tokio runtime with time and I/O and is not `Send`: spawn it locally. It returns early
/// when the pass is closed, or knows no more sources.
pub async fn run(
    name: String,
    path: String,
    settings: OpcuaSource,
    pki: PathBuf,
    intake: Rc<dyn Intake>,
    clock: Rc<dyn Clock>,
    stop: impl Future<Output = ()>,
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
        let happened = tokio::select! {
            biased;
            () = &mut stop => break,
            event = next_event(&mut source.link) => Happened::Link(event),
            done = next_done(&mut source.work) => Happened::Done(done),
            (at, result) = durable(&*source.intake, durable_at) => Happened::Durable(at, result),
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
            window: Window::new(),
            ledger: Ledger::default(),
            sequences: BTreeMap::new(),
            subscriptions: Vec::new(),
            poked: now.mono,
            entries: Vec::new(),
            tags: HashMap::new(),
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

    fn starting(&self, doing: String) {
        self.intake.state(self.id, SourceState::Starting { doing });
    }

    fn connect(&mut self) {
        if self.attempts_failed >= LINK_ATTEMPTS_MAX {
            self.attempts_failed = 0;
            self.link = None;
        }
        if !self.was_up && self.attempts_failed == 0 {
            self.starting(format!("connecting to {}", self.target.address));
        }
        match &self.link {
            Some(link) => link.go(),
            None => {
                let target = self.target.clone();
                let open = async move { Done::Opened(Link::open(&target).await) };
                self.work = Some((Kind::Open, open.boxed_local()));
            }
        }
    }

    fn bench(&self) -> Option<Bench> {
        Some(Bench {
            session: self.session()?,
            plan: self.plan.clone(),
            intake: self.intake.clone(),
            source: self.id,
            cap: self.cap,
            kinds: Rc::new(self.kinds.clone()),
        })
    }

    fn prepare(&mut self) {
        let Some(bench) = self.bench() else {
            return;
        };
        self.starting(format!("browsing and subscribing at {}", self.target.address));
        let old: Vec<u32> = self.subscriptions.drain(..).map(|subscription| subscription.id).collect();
        let work = async move {
            // They may stand on this session and would go on sending; mostly they are gone.
            subscribe::delete(&bench.session, old).await;
            Done::Prepared(prepare::prepare(bench).await)
        };
        self.work = Some((Kind::Prepare, work.boxed_local()));
    }

    fn resume(&mut self) {
        let Some(session) = self.session() else {
            return;
        };
        let expected = self.sequences.iter().map(|(id, sequence)| (*id, sequence.expected())).collect();
        let work = async move { Done::Resumed(fetch::resume(session, expected).await) };
        self.work = Some((Kind::Resume, work.boxed_local()));
    }

    /// Every tag that has one source of truth here turns Bad; the last value stands.
    fn mark_bad(&mut self) {
        let tags: BTreeSet<TagId> = self.entries.iter().filter_map(|(_, item)| Some(item.tag?.0)).collect();
        self.push_qualities(tags.into_iter().map(|tag| (tag, Quality::BAD_NO_COMMUNICATION)));
    }

    fn push_qualities(&mut self, qualities: impl Iterator<Item = (TagId, Quality)>) {
        let readings = qualities.map(|(tag, quality)| Reading { tag, source_time: None, value: None, quality });
        let parcel = Parcel { readings: readings.collect(), at: self.clock.wall(), ack: None };
        self.outbox.push(parcel, &mut self.ledger);
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

    /// Rereads or retries, when nothing else is under way.
    fn start_idle_work(&mut self) {
        if self.work.is_some() {
            return;
        }
        let now = self.clock.monotonic_ns();
        if self.reread_wanted {
            self.start_reread();
        } else if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            let Some(bench) = self.bench() else {
                return;
            };
            let known = self.entries.clone();
            let (folders, subscriptions) = (self.folders_failed.clone(), self.subscriptions.clone());
            let work = async move { Done::Retried(prepare::retry(bench, known, folders, subscriptions).await) };
            self.work = Some((Kind::Retry, work.boxed_local()));
        }
    }

    fn start_reread(&mut self) {
        self.reread_wanted = false;
        let live = self.entries.iter().filter(|(_, item)| matches!(item.status, Status::Live { .. }));
        let tags: Vec<Readable> =
            live.filter_map(|(_, item)| item.tag.and_then(|(tag, kind)| Some((item.id.clone()?, tag, kind)))).collect();
        let Some(session) = self.session() else {
            return;
        };
        let size = self.cap.min(500);
        let work = async move { Done::Reread(fetch::reread(session, size, tags).await) };
        self.work = Some((Kind::Reread, work.boxed_local()));
    }

    /// Sends Publish requests as far as the window allows.
    fn publish(&mut self) {
        if !self.outbox.is_empty() || self.publish_after > self.clock.monotonic_ns() {
            return;
        }
        let Some(session) = self.session() else {
            return;
        };
        let settings = &self.plan.settings;
        let keep_alive = self.subscriptions.iter().map(|s| s.keep_alive_ns).max().unwrap_or(0);
        let timeout = Duration::from_nanos(keep_alive.saturating_mul(4)) + settings.watchdog + settings.timeout;
        while self.window.wants(self.publishes.len(), &self.ledger) {
            let acks = self.ledger.take();
            self.count("acks_sent", acks.len() as u64);
            let session = session.clone();
            let request = async move {
                let carried = acks.iter().map(|ack| SubscriptionAcknowledgement {
                    subscription_id: ack.subscription,
                    sequence_number: ack.number,
                });
                let request = Publish::new(&session).timeout(timeout).acks(carried.collect());
                let answer = request.send(session.channel()).await;
                Published { acks, answer }
            };
            self.publishes.push(request.boxed());
        }
    }

    /// Lifetime of the subscription that dies first.
    fn lifetime_ns(&self) -> u64 {
        self.subscriptions.iter().map(|s| s.lifetime_ns).min().unwrap_or(u64::MAX)
    }

    /// While we ask for nothing, a call that names the subscriptions keeps them from dying of age
    /// (OPC 10000-4, 5.14.1.1: the lifetime counter starts over).
    fn poke(&mut self) {
        let now = self.clock.monotonic_ns();
        if now.saturating_sub(self.poked) < self.lifetime_ns() / 4 {
            return;
        }
        self.poked = now;
        let ids: Vec<u32> = self.subscriptions.iter().map(|s| s.id).collect();
        if let Some(session) = self.session() {
            tokio::spawn(async move {
                let request = SetPublishingMode::new(true, &session).subscription_ids(ids);
                // A failure shows in the Publish requests soon enough.
                let _ = request.send(session.channel()).await;
            });
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
            Happened::Time => {
                if self.is_holding() {
                    self.tell(Event::Held);
                }
                self.tell(Event::Tick);
            }
        }
    }

    fn on_down(&mut self, why: String) {
        self.attempts_failed += 1;
        if self.is_doing(&[Kind::Prepare]) {
            self.drops += 1;
            if self.drops >= 2 {
                // Some devices drop the connection when a call is too large for them.
                self.cap = (self.cap.min(1_000) / 2).max(CAP_MIN);
            }
        }
        self.work = None;
        self.tell(Event::Down);
        self.show_down(&why);
    }

    fn show_down(&self, why: &str) {
        let now = self.clock.monotonic_ns();
        let next = self.machine.next_attempt().map_or(0, |at| at.saturating_sub(now)) as f64 / 1e9;
        let reason = format!("{}: {why}; next attempt in {next:.1} s", self.target.address);
        tracing::warn!(source = %self.name, %reason, "OPC UA source is down");
        self.intake.state(self.id, SourceState::Down { reason });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Opened(Ok(link)) => {
                link.go();
                self.link = Some(link);
            }
            Done::Opened(Err(error)) => self.on_down(error.to_string()),
            Done::Prepared(Ok(prepared)) => self.on_prepared(prepared),
            Done::Prepared(Err(error)) => {
                let lost =
                    matches!(&error, PrepareError::Service { error, .. } if self.is_session_lost(error.status()));
                self.tell(if lost { Event::SessionGone } else { Event::Failed });
                self.show_down(&error.to_string());
            }
            Done::Retried(result) => self.on_retried(result),
            Done::Resumed(Ok(arrivals)) => {
                self.count_republished(&arrivals);
                self.inbox.extend(arrivals);
                self.tell(Event::Resumed);
                self.show_state();
            }
            Done::Resumed(Err(error)) | Done::Fetched(Err(error)) => self.on_lost_request(&error),
            Done::Fetched(Ok(arrivals)) => {
                self.count_republished(&arrivals);
                for arrival in arrivals.into_iter().rev() {
                    self.inbox.push_front(arrival);
                }
            }
            Done::Reread(Ok(content)) => self.take_content(content, None),
            Done::Reread(Err(error)) => {
                tracing::warn!(source = %self.name, %error, "OPC UA current values could not be read");
            }
        }
    }

    fn is_session_lost(&self, status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::BadSessionIdInvalid | StatusCode::BadSessionClosed | StatusCode::BadSessionNotActivated
        )
    }

    /// A Republish failed as a whole: the subscription, the session or the connection is gone.
    fn on_lost_request(&mut self, error: &Error) {
        let status = error.status();
        self.tell(if fetch::is_gone(status) {
            Event::SubscriptionGone
        } else if self.is_session_lost(status) {
            Event::SessionGone
        } else if is_connection(status) {
            Event::Sick
        } else {
            Event::Failed
        });
        self.show_down(&error.to_string());
    }

    fn count_republished(&self, arrivals: &[Arrival]) {
        let messages = arrivals.iter().filter(|arrival| matches!(arrival, Arrival::Message { .. }));
        self.count("republished", messages.count() as u64);
    }

    fn on_prepared(&mut self, prepared: Prepared) {
        self.take_leftovers();
        let before: BTreeSet<TagId> = self.entries.iter().filter_map(|(_, item)| Some(item.tag?.0)).collect();
        self.ledger.clear();
        self.outbox.forget_acks();
        self.publishes = FuturesUnordered::new();
        self.window = Window::new();
        self.drops = 0;
        self.reread_wanted = false;
        self.poked = self.clock.monotonic_ns();
        self.sequences.clear();
        self.entries.clear();
        self.tags.clear();
        self.notes = prepared.notes.clone();
        let subscriptions = prepared.subscriptions.iter().map(|s| s.id).collect();
        self.retry_wait = ITEM_RETRY_NS.0;
        self.adopt(prepared);
        let after: BTreeSet<TagId> = self.entries.iter().filter_map(|(_, item)| Some(item.tag?.0)).collect();
        let vanished: Vec<TagId> = before.difference(&after).copied().collect();
        self.push_qualities(vanished.into_iter().map(|tag| (tag, Quality::BAD_NODE_ID_UNKNOWN)));
        self.tell(Event::Prepared { subscriptions });
        self.show_state();
    }

    /// Takes over new or retried entries and subscriptions.
    fn adopt(&mut self, prepared: Prepared) {
        let keep_alive = prepared.subscriptions.iter().map(|s| s.keep_alive_ns).max().unwrap_or(0);
        self.machine.expect_keep_alive(keep_alive);
        for subscription in &prepared.subscriptions {
            self.sequences.entry(subscription.id).or_insert_with(Sequence::new);
        }
        self.subscriptions = prepared.subscriptions;
        self.folders_failed = prepared.folders_failed;
        let mut refused = Vec::new();
        let mut places: HashMap<u32, usize> =
            self.entries.iter().enumerate().map(|(at, (handle, _))| (*handle, at)).collect();
        for (handle, item) in prepared.entries {
            if let Some((tag, kind)) = item.tag {
                self.tags.insert(handle, (tag, kind));
                self.kinds.insert(item.path.as_str().to_owned(), kind);
                refused.extend(item.quality().map(|quality| (tag, quality)));
            }
            match places.get(&handle) {
                Some(at) => self.entries[*at].1 = item,
                None => {
                    places.insert(handle, self.entries.len());
                    self.entries.push((handle, item));
                }
            }
        }
        self.push_qualities(refused.into_iter());
        let missing = self.entries.len() - items::live_count(self.items());
        if missing > 0 || !self.folders_failed.is_empty() {
            let jitter = self.random % (self.retry_wait / 4);
            self.retry_at = Some(self.clock.monotonic_ns() + self.retry_wait + jitter);
            self.retry_wait = (self.retry_wait * 2).min(ITEM_RETRY_NS.1);
        }
        self.count("items_refused", missing as u64);
    }

    fn items(&self) -> impl Iterator<Item = &items::Item> {
        self.entries.iter().map(|(_, item)| item)
    }

    fn on_retried(&mut self, result: Result<Prepared, PrepareError>) {
        match result {
            Ok(prepared) => {
                self.notes = prepared.notes.clone();
                let known: BTreeSet<u32> = self.sequences.keys().copied().collect();
                self.adopt(prepared);
                let now = self.now();
                for id in self.sequences.keys().filter(|id| !known.contains(id)) {
                    self.machine.adopt(now, *id);
                }
                self.show_state();
            }
            Err(error) => {
                tracing::warn!(source = %self.name, %error, "OPC UA refused items could not be tried again");
                self.retry_at = Some(self.clock.monotonic_ns() + self.retry_wait);
            }
        }
    }

    fn show_state(&self) {
        self.intake.state(self.id, items::state(self.items(), &self.notes));
    }

    /// Takes a publish response and all others that are there, in the order of their numbers: they
    /// may be polled in another order than they came in.
    fn on_published(&mut self, first: Published) {
        let mut answers = vec![first];
        while let Some(Some(next)) = self.publishes.next().now_or_never() {
            answers.push(next);
        }
        let mut arrivals = Vec::new();
        for Published { acks, answer } in answers {
            match answer {
                Ok(answer) => arrivals.extend(self.on_answer(answer)),
                Err(error) => {
                    self.ledger.give_back(acks);
                    self.on_publish_error(&error);
                }
            }
        }
        arrivals.sort_by_key(|(key, _)| *key);
        self.inbox.extend(arrivals.into_iter().map(|(_, arrival)| arrival));
    }

    /// An answered Publish request, with what orders it among others: subscription, distance from
    /// the expected number, keep-alives before the message that they announce.
    fn on_answer(&mut self, answer: PublishResponse) -> Option<((u32, u32, bool), Arrival)> {
        let subscription = answer.subscription_id;
        let expected = self.sequences.get(&subscription)?.expected();
        self.tell(Event::Heard { subscription });
        let message = answer.notification_message;
        let distance = steps(expected, message.sequence_number.max(1));
        if notification::is_keep_alive(&message) {
            self.count("keep_alives", 1);
            let next = message.sequence_number;
            return Some(((subscription, distance, false), Arrival::KeepAlive { subscription, next }));
        }
        Some(((subscription, distance, true), Arrival::Message { subscription, message }))
    }

    fn on_publish_error(&mut self, error: &Error) {
        let status = error.status();
        match status {
            // The request grew old at the server, which is not wrong: another one goes out.
            StatusCode::BadTimeout => {}
            StatusCode::BadTooManyPublishRequests => self.window.shrink(),
            _ if fetch::is_gone(status) => {
                self.tell(Event::SubscriptionGone);
                self.show_down("the server does not know the subscription any more");
            }
            _ if self.is_session_lost(status) => self.tell(Event::SessionGone),
            // The link says that the connection is gone.
            _ if is_connection(status) => {}
            _ => {
                self.count("publish_errors", 1);
                tracing::warn!(source = %self.name, %error, "OPC UA Publish was refused");
            }
        }
        if status != StatusCode::BadTooManyPublishRequests {
            self.publish_after = self.clock.monotonic_ns() + PUBLISH_REST_NS;
        }
    }

    /// Looks at what arrived, up to the first hole or refusal.
    fn take_inbox(&mut self) {
        while self.outbox.is_empty() && !self.closed && !self.is_doing(&[Kind::Fetch, Kind::Resume]) {
            let Some(arrival) = self.inbox.pop_front() else {
                return;
            };
            let (subscription, step) = match &arrival {
                Arrival::Message { subscription, message } => {
                    (*subscription, self.sequences.get(subscription).map(|s| s.on_message(message.sequence_number)))
                }
                Arrival::KeepAlive { subscription, next } => {
                    (*subscription, self.sequences.get(subscription).map(|s| s.on_keep_alive(*next)))
                }
                Arrival::Hole { subscription, from, to } => {
                    self.on_hole(*subscription, *from, *to);
                    continue;
                }
            };
            match (step, arrival) {
                (Some(Step::Missing { from, to }), arrival) => {
                    self.inbox.push_front(arrival);
                    self.start_fetch(subscription, from, to);
                    return;
                }
                (Some(Step::Take | Step::Unnumbered), Arrival::Message { message, .. }) => {
                    self.take_message(subscription, message);
                    self.flush();
                }
                _ => {}
            }
        }
    }

    fn start_fetch(&mut self, subscription: u32, from: u32, to: u32) {
        let Some(session) = self.session() else {
            return;
        };
        if !self.machine.is_running() {
            return;
        }
        tracing::warn!(source = %self.name, subscription, from, to, "OPC UA messages are missing; asking for them again");
        let work = async move { Done::Fetched(fetch::fetch(session, subscription, from, to).await) };
        // A reread or retry that was under way is started again later.
        self.reread_wanted |= self.is_doing(&[Kind::Reread]);
        if self.is_doing(&[Kind::Retry]) {
            self.retry_at = Some(self.clock.monotonic_ns() + self.retry_wait);
        }
        self.work = Some((Kind::Fetch, work.boxed_local()));
    }

    fn on_hole(&mut self, subscription: u32, from: u32, to: u32) {
        let Some(sequence) = self.sequences.get_mut(&subscription) else {
            return;
        };
        sequence.give_up_to(to);
        self.count("sequence_gaps", u64::from(steps(from, to)) + 1);
        let now = self.clock.wall();
        tracing::warn!(source = %self.name, subscription, from, to, "OPC UA messages are lost; current values are read instead");
        self.gap(None, self.last_message, now, GapReason::SequenceGap, None);
        self.reread_wanted = true;
    }

    fn take_message(&mut self, subscription: u32, message: opcua::types::NotificationMessage) {
        let number = message.sequence_number;
        if let Some(sequence) = self.sequences.get_mut(&subscription) {
            sequence.taken(number);
        }
        self.count("notifications", 1);
        let content = notification::read(message, |handle| self.tags.get(&handle).copied());
        let status_change = content.status_change;
        let ack = (number != 0).then_some(Ack { subscription, number });
        self.take_content(content, ack);
        if let Some(status) = status_change {
            self.tell(Event::SubscriptionGone);
            self.show_down(&format!("the server ended the subscription: {}", items::name(status)));
        }
    }

    fn take_content(&mut self, content: Content, ack: Option<Ack>) {
        let now = self.clock.wall();
        self.count("samples", content.readings.len() as u64);
        self.count("overflows", content.overflowed.len() as u64);
        self.count("unreadable", content.unreadable.len() as u64);
        for tag in content.overflowed {
            self.gap(Some(tag), self.last_message, now, GapReason::QueueOverflow, None);
        }
        for (tag, why) in content.unreadable {
            tracing::debug!(source = %self.name, %tag, %why, "OPC UA value not readable");
            self.gap(Some(tag), now, now.plus_ns(1), GapReason::Unreadable, Some(1));
        }
        self.last_message = now;
        self.outbox.push(Parcel { readings: content.readings, at: now, ack }, &mut self.ledger);
    }

    /// Messages that arrived before the subscriptions were lost are data all the same.
    fn take_leftovers(&mut self) {
        for arrival in std::mem::take(&mut self.inbox) {
            let Arrival::Message { subscription, message } = arrival else {
                continue;
            };
            let step = self.sequences.get(&subscription).map(|s| s.on_message(message.sequence_number));
            if matches!(step, Some(Step::Take | Step::Missing { .. })) {
                if let Some(sequence) = self.sequences.get_mut(&subscription) {
                    sequence.taken(message.sequence_number);
                }
                let content = notification::read(message, |handle| self.tags.get(&handle).copied());
                self.take_content(content, None);
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
