//! The long work of a source: connecting, preparing, resuming, trying again, and what comes of it.

use super::{CAP_MIN, Done, ITEM_RETRY_NS, Kind, LINK_ATTEMPTS_MAX, Source};
use crate::feed::Parcel;
use crate::fetch::{self, Readable};
use crate::items::{self, Status};
use crate::ledger::Window;
use crate::link::Link;
use crate::prepare::{self, Bench, PrepareError, Prepared, is_connection};
use crate::sequence::Sequence;
use crate::subscribe;
use crate::supervisor::Event;
use futures_util::FutureExt;
use futures_util::stream::FuturesUnordered;
use model::{Quality, Reading, SourceState, TagId};
use opcua::types::{Error, StatusCode};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

impl Source {
    pub(super) fn starting(&self, doing: String) {
        self.intake.state(self.id, SourceState::Starting { doing });
    }

    pub(super) fn connect(&mut self) {
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

    pub(super) fn bench(&self) -> Option<Bench> {
        Some(Bench {
            session: self.session()?,
            plan: self.plan.clone(),
            intake: self.intake.clone(),
            source: self.id,
            cap: self.cap,
            kinds: Rc::new(self.kinds.clone()),
        })
    }

    pub(super) fn prepare(&mut self) {
        let Some(bench) = self.bench() else {
            return;
        };
        self.starting(format!("browsing and subscribing at {}", self.target.address));
        // Indices of namespaces and what hangs on them are of the session before.
        self.memo = Rc::default();
        let old: Vec<u32> = self.subscriptions.drain(..).map(|subscription| subscription.id).collect();
        let work = async move {
            // They may stand on this session and would go on sending; mostly they are gone.
            subscribe::delete(&bench.session, old).await;
            Done::Prepared(prepare::prepare(bench).await)
        };
        self.work = Some((Kind::Prepare, work.boxed_local()));
    }

    pub(super) fn resume(&mut self) {
        let Some(session) = self.session() else {
            return;
        };
        let expected = self.sequences.iter().map(|(id, sequence)| (*id, sequence.expected())).collect();
        let work = async move { Done::Resumed(fetch::resume(session, expected).await) };
        self.work = Some((Kind::Resume, work.boxed_local()));
    }

    /// Every tag that has one source of truth here turns Bad; the last value stands.
    pub(super) fn mark_bad(&mut self) {
        let tags: BTreeSet<TagId> = self.entries.iter().filter_map(|(_, item)| Some(item.tag?.0)).collect();
        self.push_qualities(tags.into_iter().map(|tag| (tag, Quality::BAD_NO_COMMUNICATION)));
    }

    pub(super) fn push_qualities(&mut self, qualities: impl Iterator<Item = (TagId, Quality)>) {
        let readings = qualities.map(|(tag, quality)| Reading { tag, source_time: None, value: None, quality });
        let parcel = Parcel { readings: readings.collect(), at: self.clock.wall(), ack: None };
        self.outbox.push(parcel, &mut self.ledger);
    }

    /// Rereads or retries, when nothing else is under way.
    pub(super) fn start_idle_work(&mut self) {
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

    pub(super) fn start_reread(&mut self) {
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

    pub(super) fn on_down(&mut self, why: String) {
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

    pub(super) fn show_down(&mut self, why: &str) {
        let now = self.clock.monotonic_ns();
        let next = self.machine.next_attempt().map_or(0, |at| at.saturating_sub(now)) as f64 / 1e9;
        let reason = format!("{}: {why}; next attempt in {next:.1} s", self.target.address);
        tracing::warn!(source = %self.name, %reason, "OPC UA source is down");
        self.away.clone_from(&reason);
        self.intake.state(self.id, SourceState::Down { reason });
    }

    pub(super) fn on_done(&mut self, done: Done) {
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

    pub(super) fn is_session_lost(&self, status: StatusCode) -> bool {
        matches!(
            status,
            StatusCode::BadSessionIdInvalid | StatusCode::BadSessionClosed | StatusCode::BadSessionNotActivated
        )
    }

    /// A Republish failed as a whole: the subscription, the session or the connection is gone.
    pub(super) fn on_lost_request(&mut self, error: &Error) {
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

    pub(super) fn on_prepared(&mut self, prepared: Prepared) {
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
        self.places.clear();
        self.tags.clear();
        self.notes = prepared.notes.clone();
        let subscriptions = prepared.subscriptions.iter().map(|s| s.id).collect();
        self.retry_wait = ITEM_RETRY_NS.0;
        self.adopt(prepared);
        self.count("items_refused", (self.entries.len() - items::live_count(self.items())) as u64);
        let after: BTreeSet<TagId> = self.entries.iter().filter_map(|(_, item)| Some(item.tag?.0)).collect();
        let vanished: Vec<TagId> = before.difference(&after).copied().collect();
        self.push_qualities(vanished.into_iter().map(|tag| (tag, Quality::BAD_NODE_ID_UNKNOWN)));
        self.tell(Event::Prepared { subscriptions });
        self.show_state();
    }

    /// Takes over new or retried entries and subscriptions.
    pub(super) fn adopt(&mut self, prepared: Prepared) {
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
                let at = handle as usize;
                if self.tags.len() <= at {
                    self.tags.resize(at + 1, None);
                }
                self.tags[at] = Some((tag, kind));
                self.kinds.insert(item.path.as_str().to_owned(), kind);
                refused.extend(item.quality().map(|quality| (tag, quality)));
            }
            match places.get(&handle) {
                Some(at) => self.entries[*at].1 = item,
                None => {
                    places.insert(handle, self.entries.len());
                    self.places.insert(item.path.as_str().to_owned(), self.entries.len());
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
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &items::Item> + Clone {
        self.entries.iter().map(|(_, item)| item)
    }

    pub(super) fn on_retried(&mut self, result: Result<Prepared, PrepareError>) {
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

    pub(super) fn show_state(&self) {
        self.intake.state(self.id, items::state(self.items(), &self.notes));
    }
}
