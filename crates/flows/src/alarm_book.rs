//! Every alarm: rule times tag, made when its condition first becomes active.
//!
//! Invariants
//! - J17: a transition that publishes names its event by rule, tag and activation, so an activation
//!   is published once, whatever crashes.
//! - J18: at most [`ALARMS_MAX`] alarms are known; what is beyond is counted and not made.

use crate::entry::{Draft, EntryKind};
use crate::message;
use alarms::{Alarm, Input, Options, Refused, Transition};
use expr::Expr;
use model::TimestampNs;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// Alarms that are known; each is a few hundred bytes here and in each segment's snapshot.
pub const ALARMS_MAX: usize = 20_000;

/// What a rule's alarms are told.
#[derive(Clone, Debug)]
pub struct AlarmRule {
    /// Severity, latching, confirmation, re-alarm, event.
    pub options: Options,
    /// Makes the event's text, over `rule`, `tag`, `value`, `unit`, `time`, `limit` and `severity`.
    pub message: Option<Expr>,
    /// The rule's limit, where it has one.
    pub limit: Option<f64>,
}

/// A transition, and what is to be written for it.
#[derive(Clone, Debug)]
pub struct Change {
    /// The alarm's id.
    pub id: String,
    /// What changed.
    pub transition: Transition,
    /// The event that it publishes.
    pub event: Option<Draft>,
    /// The alarm as it is now.
    pub entry: Draft,
}

/// Why nothing was done to an alarm.
#[derive(Clone, Debug, PartialEq)]
pub enum ActError {
    /// There is no such alarm.
    Unknown,
    /// Its state does not allow it.
    Refused(Refused),
}

/// All alarms.
#[derive(Default)]
pub struct AlarmBook {
    rules: HashMap<String, AlarmRule>,
    alarms: BTreeMap<String, Alarm>,
    due: BTreeSet<(TimestampNs, String)>,
    due_of: HashMap<String, TimestampNs>,
    /// Alarms that were not made, because there are too many.
    pub refused: u64,
}

/// The id of a rule's alarm on a tag.
#[must_use]
pub fn alarm_id(rule: &str, tag: &str) -> String {
    format!("{rule}/{tag}")
}

impl AlarmBook {
    /// The rules by name.
    #[must_use]
    pub fn new(rules: HashMap<String, AlarmRule>) -> AlarmBook {
        AlarmBook { rules, ..AlarmBook::default() }
    }

    /// The ids of the alarms whose condition holds: what a rule that has seen nothing yet goes by.
    pub fn active(&self) -> impl Iterator<Item = &str> {
        self.alarms.iter().filter(|(_, alarm)| alarm.is_active()).map(|(id, _)| id.as_str())
    }

    /// A rule's condition began or ended on a tag. The alarm has changed when this returns; what it
    /// answers is to be written, in order.
    pub fn on_edge(&mut self, rule: &str, tag: &str, unit: &str, input: &Input, now: TimestampNs) -> Option<Change> {
        let id = alarm_id(rule, tag);
        let told = self.rules.get(rule)?.clone();
        if !self.alarms.contains_key(&id) {
            if !matches!(input, Input::Active { .. }) {
                return None; // what never was active needs no alarm
            }
            if self.alarms.len() >= ALARMS_MAX {
                self.refused += 1;
                return None;
            }
            self.alarms.insert(id.clone(), Alarm::new(&id, rule, tag, &told.options, now));
        }
        let text = self.text(&told, rule, tag, unit, input);
        let input = match (input, text) {
            (Input::Active { at, value, .. }, Some(text)) => Input::Active { at: *at, value: value.clone(), text },
            (other, _) => other.clone(),
        };
        self.apply(&id, &input, now).ok().flatten()
    }

    /// The event's text by the rule's own expression; one that fails says so in the text.
    fn text(&self, told: &AlarmRule, rule: &str, tag: &str, unit: &str, input: &Input) -> Option<String> {
        let (expression, Input::Active { at, value, .. }) = (told.message.as_ref()?, input) else { return None };
        let (rule, tag, unit, time) = (json!(rule), json!(tag), json!(unit), json!(at.to_string()));
        let (limit, severity, value) = (json!(told.limit), json!(told.options.severity()), json!(value));
        let variables = [
            ("rule", &rule),
            ("tag", &tag),
            ("value", &value),
            ("unit", &unit),
            ("time", &time),
            ("limit", &limit),
            ("severity", &severity),
        ];
        Some(expression.eval_text(&variables).unwrap_or_else(|error| format!("the rule's message failed: {error}")))
    }

    /// Somebody does something to an alarm.
    ///
    /// # Errors
    /// [`ActError`]; nothing has changed.
    pub fn act(&mut self, id: &str, input: &Input, now: TimestampNs) -> Result<Option<Change>, ActError> {
        self.apply(id, input, now)
    }

    /// What time alone changes: shelves that end, alarms that come again.
    pub fn on_time(&mut self, now: TimestampNs) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((_, id)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            self.reckon(&id, None);
            changes.extend(self.apply(&id, &Input::Time, now).ok().flatten());
            self.schedule(&id);
        }
        changes
    }

    /// When [`on_time`](Self::on_time) must be called again.
    #[must_use]
    pub fn deadline(&self) -> Option<TimestampNs> {
        self.due.first().map(|(due, _)| *due)
    }

    fn apply(&mut self, id: &str, input: &Input, now: TimestampNs) -> Result<Option<Change>, ActError> {
        let alarm = self.alarms.get_mut(id).ok_or(ActError::Unknown)?;
        let options = self.rules.get(alarm.rule()).map_or_else(gone, |rule| rule.options.clone());
        let transition = alarm.apply(input, &options, now).map_err(ActError::Refused)?;
        let change = transition.map(|transition| change(alarm, &transition, now));
        self.schedule(id);
        Ok(change)
    }

    fn schedule(&mut self, id: &str) {
        let due = self.alarms.get(id).and_then(|alarm| {
            let options = self.rules.get(alarm.rule()).map_or_else(gone, |rule| rule.options.clone());
            alarm.deadline(&options)
        });
        self.reckon(id, due);
    }

    fn reckon(&mut self, id: &str, due: Option<TimestampNs>) {
        if let Some(before) = self.due_of.remove(id) {
            self.due.remove(&(before, id.to_owned()));
        }
        if let Some(due) = due {
            self.due_of.insert(id.to_owned(), due);
            self.due.insert((due, id.to_owned()));
        }
    }

    /// An alarm as the journal says that it is. An alarm whose rule is gone is forgotten.
    pub(crate) fn fold(&mut self, body: Value) {
        let alarm = body.get("alarm").cloned().unwrap_or(body);
        let Ok(mut alarm) = serde_json::from_value::<Alarm>(alarm) else { return };
        let Some(rule) = self.rules.get(alarm.rule()) else { return };
        alarm.configure(&rule.options);
        let id = alarm.id().to_owned();
        self.alarms.insert(id.clone(), alarm);
        self.schedule(&id);
    }

    /// What a snapshot holds.
    pub(crate) fn to_keep(&self) -> impl Iterator<Item = (&str, Value)> {
        self.alarms.iter().map(|(id, alarm)| (id.as_str(), json!({ "alarm": alarm })))
    }

    /// All alarms, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values()
    }

    /// The alarms behind an id, by id.
    pub fn behind(&self, id: Option<&str>) -> impl Iterator<Item = &Alarm> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.alarms.range::<str, _>((from, Bound::Unbounded)).map(|(_, alarm)| alarm)
    }

    /// One alarm.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Alarm> {
        self.alarms.get(id)
    }
}

/// Options of an alarm whose rule is gone: it ends quietly.
const fn gone() -> Options {
    Options { severity: 1, latch: false, confirm: false, re_alarm_ns: None, event: None }
}

fn change(alarm: &Alarm, transition: &Transition, now: TimestampNs) -> Change {
    let id = alarm.id().to_owned();
    let body = json!({ "alarm": alarm, "transition": transition });
    let entry = Draft::new(EntryKind::Alarm, now, 0, format!("alarm/{}", alarm.rule()), &body).named(&*id);
    let event = transition.notify.then(|| alarm.event().map(|kind| event(alarm, kind, transition))).flatten();
    Change { id, transition: transition.clone(), event, entry }
}

/// The event of an alarm: its source is what the tag belongs to, its subject the tag.
fn event(alarm: &Alarm, kind: &str, transition: &Transition) -> Draft {
    let tag = alarm.tag();
    let source = tag.rsplit_once('/').map_or(tag, |(above, _)| above);
    let id = match transition.what {
        alarms::What::Activated => format!("{}#{}", alarm.id(), transition.count),
        what => format!("{}#{}.{}.{}", alarm.id(), transition.count, what.word(), transition.at.0),
    };
    let mut more = Map::new();
    more.insert("subject".to_owned(), json!(tag));
    more.insert("severity".to_owned(), json!(alarm.severity()));
    more.insert("message".to_owned(), json!(alarm.message()));
    let data = json!({ "alarm": alarm.id(), "rule": alarm.rule(), "tag": tag, "value": alarm.value(), "count": transition.count });
    more.insert("data".to_owned(), data);
    let body = message::event_body(&id, source, kind, transition.at, more);
    message::event_draft(kind, &format!("{source}#{id}"), transition.at, &body)
}
