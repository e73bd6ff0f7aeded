//! One rule over one tag.
//!
//! Invariants
//! - between two opposite edges the condition held, on good samples, for the whole delay (A2);
//! - samples count in the order of their arrival; their times never go back (as the log orders);
//! - when the clock is set back, what is held moves with it, so no delay grows by the step;
//! - at most [`FAILURES_MAX`] distinct errors are told, each once (A7).
//!
//! A call gives at most one edge. There is more to tell when [`Evaluator::deadline`] is not
//! after now: call [`Evaluator::on_time`] again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use model::{TimestampNs, Value};

use super::condition::{self, Asks, Facts, after, signed};
use super::window::Window;
use super::{Condition, Edge, Rule, Sample};

/// Distinct errors of one evaluator that are told.
pub const FAILURES_MAX: usize = 8;

/// One rule over one tag. About 200 bytes; a rate has its window besides.
#[derive(Clone, Debug)]
pub struct Evaluator {
    rule: Arc<Rule>,
    tag: Arc<str>,
    asks: Asks,
    /// What was last told.
    told: Option<bool>,
    /// What the condition is at present, before its delay; `None` while that is not known.
    raw: Option<bool>,
    /// Since when `raw` is so.
    since: TimestampNs,
    /// Newest time that was seen, of a sample or a call.
    seen: Option<TimestampNs>,
    /// The newest sample was bad.
    bad: bool,
    /// Newest good value.
    value: Option<Value>,
    /// What a level is within its band, before it was ever outside.
    assumed: bool,
    memory: Memory,
    /// Hashes of the errors that were told.
    failures: Vec<u64>,
}

/// What some kinds of conditions remember.
#[derive(Clone, Debug, Default)]
enum Memory {
    #[default]
    Nothing,
    /// A rate's values.
    Window(Box<Window>),
    /// A change's value before, and the time of a change that is yet to be told.
    Change { before: Option<Value>, untold: Option<TimestampNs> },
    /// When the newest sample came, or the evaluator began.
    Heard(TimestampNs),
}

impl Evaluator {
    /// An evaluator that has seen nothing.
    #[must_use]
    pub fn new(rule: &Arc<Rule>, tag: Arc<str>) -> Evaluator {
        let memory = match rule.condition {
            Condition::Rate { .. } => Memory::Window(Box::default()),
            Condition::Change => Memory::Change { before: None, untold: None },
            _ => Memory::Nothing,
        };
        Evaluator {
            rule: Arc::clone(rule),
            tag,
            asks: Asks::of(&rule.condition),
            told: None,
            raw: None,
            since: TimestampNs(0),
            seen: None,
            bad: false,
            value: None,
            assumed: false,
            memory,
            failures: Vec::new(),
        }
    }

    /// Its rule.
    #[must_use]
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// Its tag.
    #[must_use]
    pub fn tag(&self) -> &Arc<str> {
        &self.tag
    }

    /// What was last told: is it active? `None` before the first edge.
    #[must_use]
    pub fn is_active(&self) -> Option<bool> {
        self.told
    }

    /// What the alarm was when it was last known, after a restart: within the band between limit
    /// and clear it stays that. To be called before anything else.
    #[must_use]
    pub fn assuming(mut self, active: bool) -> Evaluator {
        self.assumed = active;
        self
    }

    /// Takes a sample, in the order of arrival.
    ///
    /// A bad one changes nothing that was told and breaks a delay that runs: the condition must
    /// hold on good samples all the while. To a stale rule any sample is a sign of life.
    pub fn on_sample(&mut self, sample: &Sample, now: TimestampNs) -> Option<Edge> {
        let floor = self.keep_pace(now);
        let time = TimestampNs(sample.time.0.min(now.0).max(floor.0));
        self.seen = Some(time.max(floor));
        let due = self.pass_time(time);
        let usable = !sample.quality.is_bad() && sample.value.as_ref().is_some_and(condition::is_usable);
        let failed = match &self.rule.condition {
            Condition::Stale { .. } => {
                self.heard(time);
                None
            }
            Condition::Expression { when } if usable || self.asks.quality => {
                match condition::expression(when, self.asks, sample, &self.tag) {
                    Ok(state) => {
                        self.raw_is(state, time);
                        None
                    }
                    Err(what) => {
                        self.broken();
                        self.failed(&what)
                    }
                }
            }
            _ if usable => sample.value.as_ref().and_then(|value| self.good(value, time)),
            _ => {
                self.broken();
                None
            }
        };
        self.bad = !usable;
        if usable {
            self.value.clone_from(&sample.value);
        }
        due.or(failed).or_else(|| self.pass_time(time))
    }

    /// Takes the time. To be called when [`Evaluator::deadline`] has come, again while it has,
    /// and once at the beginning: silence is measured from the first call.
    pub fn on_time(&mut self, now: TimestampNs) -> Option<Edge> {
        let floor = self.keep_pace(now);
        self.seen = Some(now.max(floor));
        if let (Condition::Stale { .. }, Memory::Nothing) = (&self.rule.condition, &self.memory) {
            self.memory = Memory::Heard(now);
        }
        self.pass_time(now)
    }

    /// When [`Evaluator::on_time`] has something to do, if no sample comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<TimestampNs> {
        let settles = self.raw.filter(|raw| self.told != Some(*raw)).map(|raw| after(self.since, self.delay(raw)));
        let own = match (&self.rule.condition, &self.memory) {
            (Condition::Stale { .. }, Memory::Nothing) => Some(TimestampNs(i64::MIN)),
            (Condition::Stale { after_ns }, Memory::Heard(at)) if self.raw != Some(true) => Some(after(*at, *after_ns)),
            (Condition::Rate { over_ns, .. }, Memory::Window(window)) if self.raw == Some(true) && !self.bad => {
                window.next_loss(*over_ns)
            }
            (Condition::Change, Memory::Change { untold, .. }) => *untold,
            _ => None,
        };
        match (settles, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The newest time that was seen, after what is held was moved where the clock went back.
    fn keep_pace(&mut self, now: TimestampNs) -> TimestampNs {
        let Some(seen) = self.seen else { return TimestampNs(i64::MIN) };
        let back = seen.0.saturating_sub(now.0);
        if back > 0 {
            self.since = self.since.plus_ns(-back);
            match &mut self.memory {
                Memory::Heard(at) => *at = at.plus_ns(-back),
                Memory::Window(window) => {
                    if let Condition::Rate { over_ns, .. } = self.rule.condition {
                        window.set_back(back, over_ns);
                    }
                }
                Memory::Change { untold: Some(at), .. } => *at = at.plus_ns(-back),
                Memory::Nothing | Memory::Change { .. } => {}
            }
            return now;
        }
        seen
    }

    /// What becomes due up to `time` without any sample.
    fn pass_time(&mut self, time: TimestampNs) -> Option<Edge> {
        let turn = match (&self.rule.condition, &mut self.memory) {
            (Condition::Stale { after_ns }, Memory::Heard(at)) if self.raw != Some(true) => {
                Some((true, after(*at, *after_ns))).filter(|(_, silent)| *silent <= time)
            }
            (Condition::Rate { limit, over_ns }, Memory::Window(window)) if self.raw == Some(true) && !self.bad => {
                slowed(window, *limit, *over_ns, time).map(|loss| (false, loss))
            }
            (Condition::Change, Memory::Change { untold, .. }) => {
                if let Some(at) = untold.take() {
                    return Some(self.pulse(at));
                }
                None
            }
            _ => None,
        };
        let Some((state, at)) = turn else { return self.settle(time) };
        // what the condition was until then may have become due before
        let before = self.settle(at);
        self.raw_is(state, at);
        before.or_else(|| self.settle(time))
    }

    /// What a usable value says; the failure that it makes.
    fn good(&mut self, value: &Value, time: TimestampNs) -> Option<Edge> {
        let state = match (&self.rule.condition, &mut self.memory) {
            (Condition::Rate { limit, over_ns }, Memory::Window(window)) => condition::number(value).map(|number| {
                window.add(time, number, *over_ns);
                Some(is_fast(window, *limit, *over_ns))
            }),
            (Condition::Bit { bit, state }, _) => condition::bit(value, *bit, *state).map(Some),
            (Condition::Change, _) => {
                self.changed(value, time);
                return None;
            }
            (level, _) => condition::number(value).map(|number| condition::level(level, number)),
        };
        match state {
            Ok(Some(state)) => self.raw_is(state, time),
            // within the band: as before, and what was never outside is not active
            Ok(None) if self.raw.is_none() => self.raw_is(self.told.unwrap_or(self.assumed), time),
            Ok(None) => {}
            Err(what) => {
                self.broken();
                return self.failed(&what);
            }
        }
        None
    }

    /// A value to a change rule.
    fn changed(&mut self, value: &Value, time: TimestampNs) {
        let Some(old) = self.value.clone() else { return self.raw_is(false, time) };
        if old == *value {
            return;
        }
        let Memory::Change { before, untold } = &mut self.memory else { return };
        *before = Some(old);
        if self.told == Some(true) {
            // within the off-delay of the change before: active for longer
            self.since = time;
        } else {
            *untold = Some(time);
        }
    }

    /// A change is told, and its end is due after the off-delay.
    fn pulse(&mut self, time: TimestampNs) -> Edge {
        (self.told, self.raw, self.since) = (Some(true), Some(false), time);
        Edge::Active { at: time, value: self.value.clone(), text: self.text() }
    }

    fn heard(&mut self, time: TimestampNs) {
        self.memory = Memory::Heard(time);
        self.raw_is(false, time);
    }

    fn raw_is(&mut self, state: bool, time: TimestampNs) {
        if self.raw != Some(state) {
            (self.raw, self.since) = (Some(state), time);
        }
    }

    /// A delay that runs is broken: the condition counts as what was told.
    fn broken(&mut self) {
        if !matches!(self.rule.condition, Condition::Change) {
            self.raw = self.told;
        }
    }

    fn delay(&self, raw: bool) -> u64 {
        if raw { self.rule.on_delay_ns } else { self.rule.off_delay_ns }
    }

    /// Tells what the condition is, when that is new and its delay is over.
    fn settle(&mut self, time: TimestampNs) -> Option<Edge> {
        let raw = self.raw.filter(|raw| self.told != Some(*raw))?;
        let at = after(self.since, self.delay(raw));
        if at > time {
            return None;
        }
        self.told = Some(raw);
        let value = self.value.clone();
        Some(if raw { Edge::Active { at, value, text: self.text() } } else { Edge::Normal { at, value } })
    }

    fn text(&self) -> String {
        let (before, change) = match &self.memory {
            Memory::Change { before, .. } => (before.as_ref(), 0.0),
            Memory::Window(window) => (None, window.change()),
            Memory::Nothing | Memory::Heard(_) => (None, 0.0),
        };
        condition::text(&self.rule, &Facts { value: self.value.as_ref(), before, change })
    }

    fn failed(&mut self, what: &str) -> Option<Edge> {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let hash = hasher.finish();
        if self.failures.contains(&hash) || self.failures.len() >= FAILURES_MAX {
            return None;
        }
        self.failures.push(hash);
        Some(Edge::Failed { what: format!("rule {} over {}: {what}", self.rule.name, self.tag) })
    }
}

/// When the rate is no longer fast by the passing of time alone, up to `time`.
fn slowed(window: &mut Window, limit: f64, over_ns: u64, time: TimestampNs) -> Option<TimestampNs> {
    while let Some(loss) = window.next_loss(over_ns).filter(|loss| *loss <= time) {
        window.forget(loss, over_ns);
        if !is_fast(window, limit, over_ns) {
            return Some(loss);
        }
    }
    None
}

fn is_fast(window: &Window, limit: f64, over_ns: u64) -> bool {
    window.change() > limit * (signed(over_ns) as f64 / 1e9)
}
