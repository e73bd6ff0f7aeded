//! The machine itself.

use model::TimestampNs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::moment;
use super::shape::{Input, Options, Shelved, Transition};
use super::words::{Priority, Refused, State, What};

/// A day, in nanoseconds.
pub(super) const DAY_NS: i64 = 86_400_000_000_000;

/// Longest time on a shelf, in nanoseconds (MaxTimeShelved, OPC 10000-9, 5.8.2): 7 days.
pub const SHELF_NS_MAX: i64 = 7 * DAY_NS;

/// One alarm: a rule over a tag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    id: String,
    rule: String,
    tag: String,
    event: Option<String>,
    severity: u16,
    active: bool,
    acknowledged: bool,
    /// False from an acknowledgement that asks for it until the confirmation.
    confirmed: bool,
    latched: bool,
    shelved: Option<Shelved>,
    suppressed: bool,
    out_of_service: bool,
    /// Active, or asking again, and nobody was told, as it is set aside.
    untold: bool,
    value: Option<Value>,
    message: String,
    #[serde(with = "moment::maybe")]
    since: Option<TimestampNs>,
    #[serde(with = "moment::maybe")]
    cleared: Option<TimestampNs>,
    #[serde(with = "moment::maybe")]
    acknowledged_at: Option<TimestampNs>,
    count: u64,
    #[serde(with = "moment")]
    last_change: TimestampNs,
    by: Option<String>,
    comment: Option<String>,
}

/// A step that was taken, and its time where that is not now.
struct Step(What, Option<TimestampNs>);

type Taken = Result<Option<Step>, Refused>;

impl Alarm {
    /// An alarm that was never active.
    #[must_use]
    pub fn new(id: &str, rule: &str, tag: &str, options: &Options, now: TimestampNs) -> Alarm {
        Alarm {
            id: id.to_owned(),
            rule: rule.to_owned(),
            tag: tag.to_owned(),
            event: options.event.clone(),
            severity: options.severity(),
            active: false,
            acknowledged: true,
            confirmed: true,
            latched: false,
            shelved: None,
            suppressed: false,
            out_of_service: false,
            untold: false,
            value: None,
            message: String::new(),
            since: None,
            cleared: None,
            acknowledged_at: None,
            count: 0,
            last_change: now,
            by: None,
            comment: None,
        }
    }

    /// Takes an input. `None`: it was so already. A shelf whose time is over ends with any input
    /// that is taken; [`Input::Time`] ends it by itself.
    ///
    /// # Errors
    /// Where the input makes no sense in this state; nothing is changed then.
    pub fn apply(&mut self, input: &Input, options: &Options, now: TimestampNs) -> Result<Option<Transition>, Refused> {
        input.check()?;
        let mut next = self.clone();
        let ended = next.end_shelf(now);
        let step = match input {
            Input::Time if ended => None,
            _ => next.step(input, options, now)?,
        };
        let step = step.or(ended.then_some(Step(What::ShelfEnded, None)));
        let Some(Step(what, at)) = step else { return Ok(None) };
        let at = at.unwrap_or(now);
        let notify = next.untold && !next.is_set_aside();
        if notify {
            next.untold = false;
        }
        // an end by time is nobody's act, whoever's input came with it
        let acts = what != What::ShelfEnded;
        let by = input.by().filter(|_| acts).map(str::to_owned);
        let comment = input.comment().filter(|_| acts).map(str::to_owned);
        if by.is_some() {
            next.by.clone_from(&by);
            next.comment.clone_from(&comment);
        }
        next.last_change = at;
        next.configure(options);
        let (from, to, count) = (self.state(), next.state(), next.count);
        *self = next;
        Ok(Some(Transition { at, from, to, what, by, comment, notify, count }))
    }

    /// Takes over what the configuration says now.
    pub fn configure(&mut self, options: &Options) {
        self.severity = options.severity();
        if self.event != options.event {
            self.event.clone_from(&options.event);
        }
    }

    /// When [`Input::Time`] has something to do: the end of the shelf, or of the patience with
    /// what was acknowledged and is still active.
    #[must_use]
    pub fn deadline(&self, options: &Options) -> Option<TimestampNs> {
        let shelf = self.shelved.as_ref().map(|shelf| shelf.until);
        match (shelf, self.asks_again(options)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn step(&mut self, input: &Input, options: &Options, now: TimestampNs) -> Taken {
        match input {
            Input::Active { at, value, text } => Ok(self.activate(*at, value.as_ref(), text, options)),
            Input::Normal { at, value } => Ok(self.clear(*at, value.as_ref())),
            Input::Acknowledge { .. } => self.acknowledge(options, now),
            Input::Confirm { .. } => self.confirm(),
            Input::Shelve { by, until, .. } => self.shelve(by, *until, false, now),
            Input::ShelveOnce { by, .. } => self.shelve(by, now.plus_ns(SHELF_NS_MAX), true, now),
            Input::Unshelve { .. } => {
                self.shelved.take().ok_or(Refused::NotShelved)?;
                taken(What::Unshelved)
            }
            Input::Suppress { .. } => Ok(put(&mut self.suppressed, What::Suppressed)),
            Input::Unsuppress { .. } => lift(&mut self.suppressed, What::Unsuppressed, Refused::NotSuppressed),
            Input::OutOfService { .. } => Ok(put(&mut self.out_of_service, What::OutOfService)),
            Input::InService { .. } => lift(&mut self.out_of_service, What::InService, Refused::NotOutOfService),
            Input::Reset { .. } => self.reset(),
            Input::Time => Ok(self.ask_again(options, now)),
        }
    }

    fn activate(&mut self, at: TimestampNs, value: Option<&Value>, text: &str, options: &Options) -> Option<Step> {
        if self.active {
            return None;
        }
        (self.active, self.acknowledged, self.confirmed, self.untold) = (true, false, true, true);
        self.latched = options.latch;
        (self.since, self.cleared, self.acknowledged_at) = (Some(at), None, None);
        self.value = value.cloned();
        self.message = text.to_owned();
        self.count += 1;
        Some(Step(What::Activated, Some(at)))
    }

    fn clear(&mut self, at: TimestampNs, value: Option<&Value>) -> Option<Step> {
        if !self.active {
            return None;
        }
        (self.active, self.untold) = (false, false);
        self.cleared = Some(at);
        self.acknowledged_at = None;
        if value.is_some() {
            self.value = value.cloned();
        }
        if self.shelved.as_ref().is_some_and(|shelf| shelf.one_shot) {
            self.shelved = None;
        }
        Some(Step(What::Cleared, Some(at)))
    }

    fn acknowledge(&mut self, options: &Options, now: TimestampNs) -> Taken {
        if self.acknowledged {
            return Err(Refused::NotUnacknowledged);
        }
        (self.acknowledged, self.untold) = (true, false);
        self.confirmed = !options.confirm;
        self.acknowledged_at = self.active.then_some(now);
        taken(What::Acknowledged)
    }

    fn confirm(&mut self) -> Taken {
        if !self.acknowledged {
            return Err(Refused::NotYetAcknowledged);
        }
        if self.confirmed {
            return Err(Refused::NothingToConfirm);
        }
        self.confirmed = true;
        taken(What::Confirmed)
    }

    fn shelve(&mut self, by: &str, until: TimestampNs, one_shot: bool, now: TimestampNs) -> Taken {
        if until <= now {
            return Err(Refused::ShelfInPast);
        }
        if until > now.plus_ns(SHELF_NS_MAX) {
            return Err(Refused::ShelfTooLong);
        }
        let same = |shelf: &Shelved| shelf.one_shot == one_shot && (one_shot || shelf.until == until);
        if self.shelved.as_ref().is_some_and(same) {
            return Ok(None);
        }
        self.shelved = Some(Shelved { one_shot, until, by: by.to_owned() });
        taken(What::Shelved)
    }

    fn reset(&mut self) -> Taken {
        if !self.latched {
            Err(Refused::NotLatched)
        } else if self.active {
            Err(Refused::StillActive)
        } else if !self.acknowledged {
            Err(Refused::NotYetAcknowledged)
        } else if !self.confirmed {
            Err(Refused::NotYetConfirmed)
        } else {
            self.latched = false;
            taken(What::Reset)
        }
    }

    fn end_shelf(&mut self, now: TimestampNs) -> bool {
        let over = self.shelved.as_ref().is_some_and(|shelf| shelf.until <= now);
        if over {
            self.shelved = None;
        }
        over
    }

    /// When it asks again. Not while it is set aside: then it does so when it comes back.
    fn asks_again(&self, options: &Options) -> Option<TimestampNs> {
        let patience = i64::try_from(options.re_alarm_ns?).unwrap_or(i64::MAX);
        let waits = self.active && self.acknowledged && !self.is_set_aside();
        self.acknowledged_at.filter(|_| waits).map(|at| at.plus_ns(patience))
    }

    fn ask_again(&mut self, options: &Options, now: TimestampNs) -> Option<Step> {
        self.asks_again(options).filter(|at| *at <= now)?;
        (self.acknowledged, self.confirmed, self.untold) = (false, true, true);
        self.acknowledged_at = None;
        Some(Step(What::ReAlarmed, None))
    }

    /// Is it shelved, suppressed or out of service?
    #[must_use]
    pub const fn is_set_aside(&self) -> bool {
        self.shelved.is_some() || self.suppressed || self.out_of_service
    }

    /// The state that it is shown in.
    #[must_use]
    pub const fn state(&self) -> State {
        if self.out_of_service {
            State::OutOfService
        } else if self.suppressed {
            State::Suppressed
        } else if self.shelved.is_some() {
            State::Shelved
        } else {
            self.beneath()
        }
    }

    /// The state that it would be shown in if it were not set aside.
    #[must_use]
    pub const fn beneath(&self) -> State {
        let stands = self.active || self.latched;
        match (stands, self.acknowledged) {
            (true, false) => State::Unacknowledged,
            (true, true) => State::Acknowledged,
            (false, false) => State::ClearedUnacknowledged,
            (false, true) if !self.confirmed => State::Acknowledged,
            (false, true) => State::Normal,
        }
    }

    /// The alarm as the interface shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let time = |time: Option<TimestampNs>| time.map(|time| time.to_string());
        let shelved = self.shelved.as_ref().map(|shelf| {
            let kind = if shelf.one_shot { "one-shot" } else { "timed" };
            json!({"kind": kind, "until": shelf.until.to_string(), "by": shelf.by})
        });
        json!({
            "id": self.id,
            "rule": self.rule,
            "tag": self.tag,
            "event": self.event,
            "severity": self.severity,
            "priority": self.priority().word(),
            "state": self.state().word(),
            "active": self.active,
            "acknowledged": self.acknowledged,
            "confirmed": self.confirmed,
            "latched": self.latched,
            "shelved": shelved,
            "suppressed": self.suppressed,
            "out_of_service": self.out_of_service,
            "value": self.value,
            "message": self.message,
            "since": time(self.since),
            "cleared": time(self.cleared),
            "count": self.count,
            "last_change": self.last_change.to_string(),
            "by": self.by,
            "comment": self.comment,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its rule's name.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Its tag's path.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The event that it publishes.
    #[must_use]
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// 1 to 1000.
    #[must_use]
    pub const fn severity(&self) -> u16 {
        self.severity
    }

    /// Its severity in four steps.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        Priority::of(self.severity)
    }

    /// Does its condition hold?
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// Has somebody seen it, or was it never active?
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Is there nothing to confirm?
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Does it wait for a reset once its condition is gone?
    #[must_use]
    pub const fn is_latched(&self) -> bool {
        self.latched
    }

    /// Its shelf.
    #[must_use]
    pub const fn shelved(&self) -> Option<&Shelved> {
        self.shelved.as_ref()
    }

    /// Is it suppressed?
    #[must_use]
    pub const fn is_suppressed(&self) -> bool {
        self.suppressed
    }

    /// Is it out of service?
    #[must_use]
    pub const fn is_out_of_service(&self) -> bool {
        self.out_of_service
    }

    /// The value of its last edge.
    #[must_use]
    pub const fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// What it says.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When it last became active.
    #[must_use]
    pub const fn since(&self) -> Option<TimestampNs> {
        self.since
    }

    /// When it cleared, if it has since.
    #[must_use]
    pub const fn cleared(&self) -> Option<TimestampNs> {
        self.cleared
    }

    /// How often it became active.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// When it last changed in any way.
    #[must_use]
    pub const fn last_change(&self) -> TimestampNs {
        self.last_change
    }

    /// Who last acted on it.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        self.by.as_deref()
    }

    /// What that person wrote.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }
}

/// A step at the time of its input.
fn taken(what: What) -> Taken {
    Ok(Some(Step(what, None)))
}

/// Sets a mark that may be set already.
fn put(mark: &mut bool, what: What) -> Option<Step> {
    (!std::mem::replace(mark, true)).then_some(Step(what, None))
}

/// Takes a mark away that must be set.
fn lift(mark: &mut bool, what: What, refused: Refused) -> Taken {
    if std::mem::replace(mark, false) { taken(what) } else { Err(refused) }
}
