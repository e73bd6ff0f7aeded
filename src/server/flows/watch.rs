//! Rules and tag syncs of one shard: samples of watched tags go through the rules' evaluators, and
//! what changed goes to the flows.
//!
//! A rule that only asks how long a tag has been silent sees no samples: when its time comes it
//! looks when the tag was last heard, so a tag at line rate costs it nothing.

use crate::server::site::Site;
use alarms::{Condition, Edge, Evaluator, Input, Rule, Sample};
use env::Clock;
use model::{Glob, Quality, TagId, TimestampNs, Value, ValueKind};
use pipeline::Pass;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use uring::clock::SystemClock;

/// How soon a tag that is new is watched, and the longest sleep.
const LOOK: Duration = Duration::from_millis(200);
/// Samples and timers that are seen to between two looks at telemetry.
const SEEN_PER_POLL: usize = 32;
/// How often a tag's silence is looked at within the time that matters.
const SILENCE_LOOKS: u64 = 4;
/// Edges and changes that wait for the flows' shard; beyond, samples wait in the pass.
const UNSENT_MAX: usize = 10_000;
/// Wait before what the flows' shard did not take is sent again.
const AGAIN: Duration = Duration::from_millis(20);

/// Something for the flows.
enum Told {
    Edge { rule: Arc<Rule>, tag: Arc<str>, unit: String, input: Input },
    Change { tag: Arc<str>, value: serde_json::Value, quality: &'static str, time: TimestampNs },
}

struct Watching {
    path: Arc<str>,
    unit: String,
    evaluators: Vec<Evaluator>,
    is_synced: bool,
}

struct Watcher {
    pass: Rc<RefCell<Pass>>,
    site: Arc<Site>,
    rules: Vec<(Arc<Rule>, Glob)>,
    syncs: Vec<Glob>,
    known: usize,
    tags: HashMap<u32, Watching>,
    due: BinaryHeap<Reverse<(TimestampNs, u32, usize)>>,
    unsent: Vec<Told>,
    /// Newest changes of tags that the journal did not take, by path: shared with the flows' shard.
    untaken: Arc<std::sync::Mutex<BTreeMap<Arc<str>, Told>>>,
}

/// Watches what rules and tag syncs ask for, until the shard ends.
pub async fn watch(pass: Rc<RefCell<Pass>>, site: Arc<Site>) {
    let mut watcher = match Watcher::new(pass, site) {
        Some(watcher) => watcher,
        None => return, // nobody watches anything
    };
    // an alarm between its limit and where it clears stays what it was
    while !watcher.site.flows().is_recovered() {
        tokio::time::sleep(AGAIN).await;
    }
    loop {
        watcher.meet();
        let seen = watcher.see() + watcher.on_time();
        let sent = watcher.send();
        if seen > 0 {
            tokio::task::yield_now().await;
        } else if !sent {
            tokio::time::sleep(AGAIN).await;
        } else {
            watcher.wait().await;
        }
    }
}

impl Watcher {
    fn new(pass: Rc<RefCell<Pass>>, site: Arc<Site>) -> Option<Watcher> {
        let rules: Vec<(Arc<Rule>, Glob)> = site.config().rules.iter().filter_map(rule).collect();
        let syncs: Vec<Glob> = site
            .config()
            .syncs
            .iter()
            .filter_map(|sync| match &sync.on {
                config::SyncOn::Tag(glob) => Some(Glob::new(glob)),
                _ => None,
            })
            .collect();
        if rules.is_empty() && syncs.is_empty() {
            return None;
        }
        let (tags, due, unsent) = (HashMap::new(), BinaryHeap::new(), Vec::new());
        let untaken = Arc::default();
        Some(Watcher { pass, site, rules, syncs, known: 0, tags, due, unsent, untaken })
    }

    /// Tags that are new since the last look.
    fn meet(&mut self) {
        let count = self.pass.borrow().state().definitions.tags().len();
        let upto = count.min(self.known + SEEN_PER_POLL);
        for number in self.known..upto {
            let id = TagId(number as u32);
            let info =
                self.pass.borrow().state().definitions.tag(id).map(|tag| (tag.path.to_owned(), tag.unit.to_owned()));
            if let Some((path, unit)) = info {
                self.meet_one(id, path.into(), unit);
            }
        }
        self.known = upto;
    }

    fn meet_one(&mut self, id: TagId, path: Arc<str>, unit: String) {
        let wanted = self.rules.iter().filter(|(_, glob)| glob.matches(&path));
        let evaluator = |rule: &Arc<Rule>| {
            let active = self.site.flows().was_active(&rule.name, &path);
            Evaluator::new(rule, Arc::clone(&path)).assuming(active)
        };
        let evaluators: Vec<Evaluator> = wanted.map(|(rule, _)| evaluator(rule)).collect();
        let is_synced = self.syncs.iter().any(|glob| glob.matches(&path));
        if evaluators.is_empty() && !is_synced {
            return;
        }
        let sees_samples = is_synced || evaluators.iter().any(|one| !is_silence(one));
        if sees_samples {
            self.pass.borrow_mut().watch().add(id.0);
        }
        let now = SystemClock.wall();
        let silent: Vec<usize> = (0..evaluators.len()).filter(|at| is_silence(&evaluators[*at])).collect();
        self.tags.insert(id.0, Watching { path, unit, evaluators, is_synced });
        for at in silent {
            self.due.push(Reverse((now, id.0, at)));
        }
        if sees_samples {
            self.look_at_latest(id);
        }
    }

    /// What a tag is now, where its samples were not seen one by one.
    fn look_at_latest(&mut self, id: TagId) {
        let latest = self.pass.borrow().state().latest(id);
        let Some(latest) = latest else { return };
        // what was recovered says how it was; the rules wait for the source's own word
        if Quality(latest.quality) != Quality::UNCERTAIN_LAST_USABLE {
            let time = TimestampNs(latest.seen_ns);
            self.on_sample(id.0, latest.kind, latest.bits, Quality(latest.quality), time);
        }
    }

    fn see(&mut self) -> usize {
        if self.unsent.len() >= UNSENT_MAX {
            return 0;
        }
        let mut seen = 0;
        while seen < SEEN_PER_POLL {
            let Some(sample) = self.pass.borrow_mut().watch().take() else { break };
            self.on_sample(sample.tag, sample.kind, sample.bits, sample.quality, sample.received);
            seen += 1;
        }
        let missed: BTreeSet<u32> =
            if seen == 0 { self.pass.borrow_mut().watch().take_missed() } else { BTreeSet::new() };
        missed.into_iter().for_each(|tag| self.look_at_latest(TagId(tag)));
        seen
    }

    fn on_sample(&mut self, tag: u32, kind: ValueKind, bits: u64, quality: Quality, time: TimestampNs) {
        let value = self.value(kind, bits);
        let now = SystemClock.wall();
        let Some(watching) = self.tags.get_mut(&tag) else { return };
        let sample = Sample { time, value: (!quality.is_bad()).then(|| value.clone()).flatten(), quality };
        for (at, evaluator) in watching.evaluators.iter_mut().enumerate() {
            if is_silence(evaluator) {
                continue;
            }
            let edge = evaluator.on_sample(&sample, now);
            if let Some(due) = evaluator.deadline() {
                self.due.push(Reverse((due, tag, at)));
            }
            tell(&mut self.unsent, evaluator, &watching.unit, edge);
        }
        if watching.is_synced {
            let json = sample.value.as_ref().map_or(serde_json::Value::Null, request::to_json);
            let quality = quality_word(quality);
            self.unsent.push(Told::Change { tag: Arc::clone(&watching.path), value: json, quality, time });
        }
    }

    fn value(&self, kind: ValueKind, bits: u64) -> Option<Value> {
        Some(match kind {
            ValueKind::F64 => Value::F64(f64::from_bits(bits)),
            ValueKind::I64 => Value::I64(bits.cast_signed()),
            ValueKind::Bool => Value::Bool(bits != 0),
            ValueKind::Text => {
                let pass = self.pass.borrow();
                Value::Text(pass.state().definitions.texts().get(usize::try_from(bits).ok()?)?.clone())
            }
        })
    }

    fn on_time(&mut self) -> usize {
        let now = SystemClock.wall();
        let mut done = 0;
        while done < SEEN_PER_POLL {
            let Some(Reverse((_, tag, at))) = self.due.peek().copied().filter(|Reverse((due, ..))| *due <= now) else {
                break;
            };
            self.due.pop();
            done += 1;
            let heard = self.pass.borrow().state().latest(TagId(tag)).map(|latest| TimestampNs(latest.seen_ns));
            let Some(watching) = self.tags.get_mut(&tag) else { continue };
            let Some(evaluator) = watching.evaluators.get_mut(at) else { continue };
            let mut edge = None;
            if is_silence(evaluator)
                && let Some(time) = heard
            {
                edge = evaluator.on_sample(&Sample { time, value: None, quality: Quality::GOOD }, now);
            }
            let edge = edge.or_else(|| evaluator.on_time(now));
            let next = match &evaluator.rule().condition {
                // asked often enough that two looks never lie as far apart as the silence that matters
                Condition::Stale { after_ns } => Some(now.plus_ns((after_ns / SILENCE_LOOKS).cast_signed())),
                _ => evaluator.deadline().map(|due| due.max(now.plus_ns(1_000_000))),
            };
            self.due.extend(next.map(|next| Reverse((next, tag, at))));
            tell(&mut self.unsent, evaluator, &watching.unit, edge);
        }
        done
    }

    /// Sends what was told to the flows; `false` where they take nothing now.
    fn send(&mut self) -> bool {
        let untaken = std::mem::take(&mut *self.untaken.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.unsent.splice(0..0, untaken.into_values());
        if self.unsent.is_empty() {
            return true;
        }
        let count = self.unsent.len().min(SEEN_PER_POLL);
        let part: Vec<Told> = self.unsent.drain(..count).collect();
        let part = Arc::new(std::sync::Mutex::new(part));
        let (sent, untaken) = (Arc::clone(&part), Arc::clone(&self.untaken));
        let posted = self.site.flows().post(move |flow| {
            let part = std::mem::take(&mut *sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            let now = SystemClock.wall();
            let mut desk = flow.desk.borrow_mut();
            for told in part {
                match told {
                    Told::Edge { rule, tag, unit, input } => desk.on_edge(&rule.name, &tag, &unit, &input, now),
                    Told::Change { tag, value, quality, time } => {
                        if desk.tag_changed(&tag, &value, quality, time, now).is_err() {
                            // tried again until it is taken; a newer value takes its place
                            let again = Told::Change { tag: Arc::clone(&tag), value, quality, time };
                            let mut untaken = untaken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                            untaken.insert(tag, again);
                        }
                    }
                }
            }
            drop(desk);
            flow.wanted.notify_one();
        });
        if !posted {
            let part = std::mem::take(&mut *part.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            self.unsent.splice(0..0, part);
        }
        posted
    }

    /// Waits for a sample, a timer, or the next look at new tags.
    async fn wait(&mut self) {
        let now = SystemClock.wall();
        let due =
            self.due.peek().map(|Reverse((due, ..))| Duration::from_nanos(u64::try_from(due.0 - now.0).unwrap_or(0)));
        let sleep = due.unwrap_or(LOOK).min(LOOK);
        let pass = Rc::clone(&self.pass);
        let sample = std::future::poll_fn(move |cx| {
            let mut pass = pass.borrow_mut();
            if pass.watch().is_waiting() {
                return Poll::Ready(());
            }
            pass.watch().wake_with(cx.waker());
            Poll::Pending
        });
        let _ = tokio::time::timeout(sleep, sample).await;
    }
}

fn tell(unsent: &mut Vec<Told>, evaluator: &Evaluator, unit: &str, edge: Option<Edge>) {
    match edge {
        Some(Edge::Failed { what }) => tracing::warn!("{what}"),
        Some(edge) => {
            if let Some(input) = edge.input() {
                let (rule, tag) = (Arc::clone(evaluator.rule()), Arc::clone(evaluator.tag()));
                unsent.push(Told::Edge { rule, tag, unit: unit.to_owned(), input });
            }
        }
        None => {}
    }
}

fn is_silence(evaluator: &Evaluator) -> bool {
    matches!(evaluator.rule().condition, Condition::Stale { .. })
}

/// Good, Uncertain or Bad.
pub fn quality_word(quality: Quality) -> &'static str {
    if quality.is_good() {
        "Good"
    } else if quality.is_bad() {
        "Bad"
    } else {
        "Uncertain"
    }
}

fn rule(told: &config::Rule) -> Option<(Arc<Rule>, Glob)> {
    let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let condition = match &told.condition {
        config::Condition::High { limit, clear } => Condition::High { limit: *limit, clear: *clear },
        config::Condition::Low { limit, clear } => Condition::Low { limit: *limit, clear: *clear },
        config::Condition::Rate { limit, over } => Condition::Rate { limit: *limit, over_ns: ns(*over) },
        config::Condition::Deviation { setpoint, limit, clear } => {
            Condition::Deviation { setpoint: *setpoint, limit: *limit, clear: *clear }
        }
        config::Condition::Change => Condition::Change,
        config::Condition::Bit { bit, state } => Condition::Bit { bit: *bit, state: *state },
        config::Condition::Stale { after } => Condition::Stale { after_ns: ns(*after) },
        config::Condition::Expression { when } => Condition::Expression { when: expr::Expr::compile(when).ok()? },
    };
    let (on_delay_ns, off_delay_ns) = (ns(told.on_delay), ns(told.off_delay));
    let rule = Rule { name: told.name.clone(), condition, on_delay_ns, off_delay_ns };
    Some((Arc::new(rule), Glob::new(&told.match_)))
}
