//! The safety envelope of a device write: what may be written, when, and how it is made sure of.
//!
//! Invariants
//! - V1: a number passes only where it is finite and within the range; without a range only a bool or
//!   a text passes.
//! - V2: what a rule looks at must be Good and fresh; what is not known is a refusal, never a yes.
//! - V3: every refusal names its rule and what it saw ([`EnvelopeRefusal`]).
//! - V4: a refused write counts nowhere: only what passed every rule uses up the rate.
//!
//! Between the look at the live value and the write something may change in the device; reading back
//! shows it. It deliberately does not write, read or wait.

use crate::{
    history::{RATE_WRITES_MAX, WriteHistory},
    refusal::{EnvelopeRefusal as Refusal, Seen, Unsure},
    span,
    value::{same, to_json},
};
use expr::Expr;
use model::{Quality, TimestampNs, Value, limits::TEXT_BYTES_MAX};
use serde_json::Value as Json;
use std::fmt;

/// Tags of one interlock.
pub const INTERLOCK_TAGS_MAX: usize = 32;
/// Usual limit of the age of the value that a write goes from: 5 s, several polls.
pub const LIVE_MAX_AGE_NS: u64 = 5_000_000_000;
/// Longest time after which a value goes back by itself: a week.
pub const REVERT_MAX_NS: u64 = 7 * 86_400_000_000_000;
/// The name by which an interlock's expression knows what is to be written.
const WANTED: &str = "value";

/// What may be written to one tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Path of the tag.
    pub tag: String,
    /// Lowest and highest number, both included; `None` only for a bool or a text.
    pub range: Option<[f64; 2]>,
    /// Largest change from the present value.
    pub step_max: Option<f64>,
    /// How often.
    pub rate: Option<Rate>,
    /// What must be true in the plant.
    pub interlock: Option<Interlock>,
    /// Whether the caller must say which value it believes to be there.
    pub expect: bool,
    /// How old the present value may be where a rule looks at it, ns; see [`LIVE_MAX_AGE_NS`].
    pub live_max_age_ns: u64,
    /// Time within which the value is read back and compared, ns; `None`: it is not.
    pub read_back_ns: Option<u64>,
    /// By how much numbers may differ and still be the same, for what is expected and read back.
    pub tolerance: f64,
    /// Time after which the value of before is written again, ns; a caller may ask for less.
    pub revert_ns: Option<u64>,
}

/// At most so many writes in any span of that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, 1 to [`RATE_WRITES_MAX`].
    pub writes: u32,
    /// The length, ns.
    pub per_ns: u64,
}

/// A condition over live values.
#[derive(Clone, Debug, PartialEq)]
pub struct Interlock {
    /// True where writing is safe. It sees the aliases, and what is to be written as `value`.
    pub when: Expr,
    /// Alias and path of each tag.
    pub tags: Vec<(String, String)>,
    /// How old their values may be, ns.
    pub max_age_ns: u64,
}

/// A live value.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// The last value; `None` where there never was one.
    pub value: Option<Value>,
    /// How far to trust it.
    pub quality: Quality,
    /// How long ago it was last confirmed, ns: by a poll, or, where the server sends changes only,
    /// by its last sign of life.
    pub age_ns: u64,
}

/// What a caller wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The value to write.
    pub value: Value,
    /// What it believes to be there.
    pub expected: Option<Value>,
    /// After how long the value of before is to be written again, ns.
    pub revert_after_ns: Option<u64>,
}

/// A write that may be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to write, in the tag's own kind.
    pub write: Value,
    /// The value of before, where it is Good and fresh.
    pub before: Option<Value>,
    /// Time within which to read back, ns.
    pub read_back_ns: Option<u64>,
    /// When to write the value of before again, and that value.
    pub revert: Option<(TimestampNs, Value)>,
}

/// The device has another value than the one written.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// What was written.
    pub written: Value,
    /// What was read.
    pub read: Value,
    /// By how much they might differ.
    pub tolerance: f64,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { written, read, tolerance } = self;
        write!(f, "{written} was written and {read} read back, where they may differ by {tolerance}; ")?;
        f.write_str("the device limits or ignores what is written, or something else writes to it")
    }
}

impl std::error::Error for Mismatch {}

/// What is wrong with an envelope itself.
#[derive(Clone, Debug, PartialEq)]
pub enum EnvelopeError {
    /// The range has no numbers in it, or is not of numbers.
    Range([f64; 2]),
    /// The largest step is not a number above 0.
    Step(f64),
    /// The tolerance is not a number from 0.
    Tolerance(f64),
    /// The rate is of no writes, of more than [`RATE_WRITES_MAX`], or of no time.
    Rate(Rate),
    /// More tags than [`INTERLOCK_TAGS_MAX`].
    TooManyTags(usize),
    /// An alias stands twice, or is `value`, which is what is to be written.
    Alias(String),
    /// The interlock's expression names what is no alias.
    Variable(String),
    /// The value would go back after more than [`REVERT_MAX_NS`].
    Revert(u64),
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvelopeError::Range([low, high]) => {
                write!(f, "the range {low} to {high} holds no number; write the lowest, then the highest")
            }
            EnvelopeError::Step(step) => write!(f, "the largest step is {step}; write a number above 0"),
            EnvelopeError::Tolerance(by) => write!(f, "the tolerance is {by}; write 0 or a number above"),
            EnvelopeError::Rate(Rate { writes, per_ns }) => write!(
                f,
                "the rate is {writes} writes in {}; write 1 to {RATE_WRITES_MAX} in a time above 0",
                span::words(*per_ns)
            ),
            EnvelopeError::TooManyTags(count) => {
                write!(f, "the interlock looks at {count} tags; at most {INTERLOCK_TAGS_MAX} are allowed")
            }
            EnvelopeError::Alias(alias) => write!(
                f,
                "the interlock's alias {alias:?} stands twice or is {WANTED:?}, which is what is to be written; \
                 give each tag its own name"
            ),
            EnvelopeError::Variable(name) => {
                write!(f, "the interlock's expression names {name:?}, which is none of its tags; add it to them")
            }
            EnvelopeError::Revert(ns) => write!(
                f,
                "a value would go back after {}; at most {} are allowed",
                span::words(*ns),
                span::words(REVERT_MAX_NS)
            ),
        }
    }
}

impl std::error::Error for EnvelopeError {}

impl Envelope {
    /// Checks the envelope itself, once, when it is configured.
    ///
    /// # Errors
    /// [`EnvelopeError`] says what is wrong. An envelope that is wrong refuses, too.
    pub fn check(&self) -> Result<(), EnvelopeError> {
        if let Some(range) = self.range
            && !(range[0].is_finite() && range[1].is_finite() && range[0] <= range[1])
        {
            return Err(EnvelopeError::Range(range));
        }
        if let Some(step) = self.step_max.filter(|step| !(step.is_finite() && *step > 0.0)) {
            return Err(EnvelopeError::Step(step));
        }
        if !(self.tolerance.is_finite() && self.tolerance >= 0.0) {
            return Err(EnvelopeError::Tolerance(self.tolerance));
        }
        let none = |rate: &Rate| rate.writes == 0 || rate.writes > RATE_WRITES_MAX || rate.per_ns == 0;
        if let Some(rate) = self.rate.filter(none) {
            return Err(EnvelopeError::Rate(rate));
        }
        if let Some(ns) = self.revert_ns.filter(|ns| *ns > REVERT_MAX_NS) {
            return Err(EnvelopeError::Revert(ns));
        }
        self.interlock.as_ref().map_or(Ok(()), Interlock::check)
    }

    /// Judges a write. `live` gives the live value of a path; `history` is the tag's own, and takes
    /// note of a write that passes.
    ///
    /// # Errors
    /// [`EnvelopeRefusal`](crate::EnvelopeRefusal): the first rule that it breaks.
    pub fn judge(
        &self,
        wanted: &Wanted,
        live: &dyn Fn(&str) -> Option<Live>,
        history: &mut WriteHistory,
        now: TimestampNs,
    ) -> Result<Plan, Refusal> {
        let plan = self.weigh(wanted, live, history, now)?;
        self.count(history, now);
        Ok(plan)
    }

    /// [`Envelope::judge`] without taking note: what passes counts once [`Envelope::count`] says so.
    pub(crate) fn weigh(
        &self,
        wanted: &Wanted,
        live: &dyn Fn(&str) -> Option<Live>,
        history: &mut WriteHistory,
        now: TimestampNs,
    ) -> Result<Plan, Refusal> {
        let present = live(&self.tag);
        let write = fitted(&wanted.value, present.as_ref().and_then(|live| live.value.as_ref()))?;
        self.within_range(&write)?;
        let before = usable(present.as_ref(), self.live_max_age_ns);
        self.expected(wanted, before.as_ref())?;
        self.small_step(&write, before.as_ref())?;
        let revert = self.revert(wanted, before.as_ref(), now)?;
        if let Some(interlock) = &self.interlock {
            interlock.judge(&write, live)?;
        }
        if let Some(rate) = &self.rate {
            let Rate { writes, per_ns } = *rate;
            history.room(rate, now).map_err(|retry_after_ns| Refusal::TooFast { writes, per_ns, retry_after_ns })?;
        }
        Ok(Plan { write, before: before.ok(), read_back_ns: self.read_back_ns, revert })
    }

    /// Takes note of a write that passes.
    pub(crate) fn count(&self, history: &mut WriteHistory, now: TimestampNs) {
        if self.rate.is_some() {
            history.note(now);
        }
    }

    /// Compares what was read back.
    ///
    /// # Errors
    /// [`Mismatch`] where the device has another value.
    pub fn verify(&self, written: &Value, read: &Value) -> Result<(), Mismatch> {
        if same(written, read, self.tolerance) {
            return Ok(());
        }
        Err(Mismatch { written: written.clone(), read: read.clone(), tolerance: self.tolerance })
    }

    fn within_range(&self, write: &Value) -> Result<(), Refusal> {
        match (self.range, write) {
            (Some([low, high]), Value::F64(_) | Value::I64(_)) => {
                // written so that a range of NaN refuses
                let within = write.as_f64().is_some_and(|number| number >= low && number <= high);
                if within { Ok(()) } else { Err(Refusal::OutOfRange { value: write.clone(), low, high }) }
            }
            (Some(_), _) => Err(Refusal::NotANumber { value: write.clone() }),
            (None, Value::F64(_) | Value::I64(_)) => Err(Refusal::NoRange),
            (None, _) => Ok(()),
        }
    }

    fn expected(&self, wanted: &Wanted, before: Result<&Value, &Unsure>) -> Result<(), Refusal> {
        let Some(expected) = &wanted.expected else {
            return if self.expect { Err(Refusal::ExpectedMissing) } else { Ok(()) };
        };
        let actual = before.map_err(|why| Refusal::NotLive { why: why.clone() })?;
        if same(expected, actual, self.tolerance) {
            return Ok(());
        }
        Err(Refusal::ExpectedDiffers { expected: expected.clone(), actual: actual.clone() })
    }

    fn small_step(&self, write: &Value, before: Result<&Value, &Unsure>) -> Result<(), Refusal> {
        let Some(step_max) = self.step_max else { return Ok(()) };
        let from = before.map_err(|why| Refusal::NotLive { why: why.clone() })?;
        let (Some(number), Some(present)) = (write.as_f64(), from.as_f64()) else {
            return Err(Refusal::NotANumber { value: write.clone() });
        };
        if (number - present).abs() <= step_max {
            return Ok(());
        }
        Err(Refusal::StepTooLarge { from: from.clone(), to: write.clone(), step_max })
    }

    fn revert(
        &self,
        wanted: &Wanted,
        before: Result<&Value, &Unsure>,
        now: TimestampNs,
    ) -> Result<Option<(TimestampNs, Value)>, Refusal> {
        let asked = [wanted.revert_after_ns, self.revert_ns];
        let Some(after_ns) = asked.into_iter().flatten().min() else { return Ok(None) };
        if after_ns > REVERT_MAX_NS {
            return Err(Refusal::RevertTooLate { after_ns });
        }
        let old = before.map_err(|why| Refusal::NotLive { why: why.clone() })?;
        if self.within_range(old).is_err() {
            return Err(Refusal::RevertOutOfRange { old: old.clone() });
        }
        Ok(Some((now.plus_ns(i64::try_from(after_ns).unwrap_or(i64::MAX)), old.clone())))
    }
}

impl Interlock {
    fn check(&self) -> Result<(), EnvelopeError> {
        if self.tags.len() > INTERLOCK_TAGS_MAX {
            return Err(EnvelopeError::TooManyTags(self.tags.len()));
        }
        for (index, (alias, _)) in self.tags.iter().enumerate() {
            if alias == WANTED || self.tags[..index].iter().any(|(other, _)| other == alias) {
                return Err(EnvelopeError::Alias(alias.clone()));
            }
        }
        let known = |name: &String| name == WANTED || self.tags.iter().any(|(alias, _)| alias == name);
        match self.when.variables().into_iter().find(|name| !known(name)) {
            Some(name) => Err(EnvelopeError::Variable(name)),
            None => Ok(()),
        }
    }

    fn judge(&self, write: &Value, live: &dyn Fn(&str) -> Option<Live>) -> Result<(), Refusal> {
        let mut seen = vec![(WANTED.to_owned(), to_json(write))];
        for (alias, path) in self.tags.iter().take(INTERLOCK_TAGS_MAX) {
            let value = usable(live(path).as_ref(), self.max_age_ns)
                .map_err(|why| Refusal::InterlockUnsure { tag: path.clone(), why })?;
            seen.push((alias.clone(), to_json(&value)));
        }
        let vars: Vec<(&str, &Json)> = seen.iter().map(|(alias, value)| (alias.as_str(), value)).collect();
        match self.when.eval_bool(&vars) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::InterlockFalse { expression: self.when.text().to_owned(), seen: Seen(seen) }),
            Err(error) => Err(Refusal::InterlockError { what: error.to_string() }),
        }
    }
}

/// A live value that a rule may go by: there, Good, finite, fresh.
fn usable(live: Option<&Live>, max_age_ns: u64) -> Result<Value, Unsure> {
    let Some(Live { value, quality, age_ns }) = live else { return Err(Unsure::Unknown) };
    if !quality.is_good() {
        return Err(Unsure::Bad { quality: *quality });
    }
    match value {
        None => Err(Unsure::NoValue),
        Some(_) if *age_ns > max_age_ns => Err(Unsure::TooOld { age_ns: *age_ns, max_age_ns }),
        Some(Value::F64(number)) if !number.is_finite() => Err(Unsure::NotFinite),
        Some(value) => Ok(value.clone()),
    }
}

/// The wanted value in the tag's own kind, as far as that is known.
fn fitted(wanted: &Value, present: Option<&Value>) -> Result<Value, Refusal> {
    match wanted {
        Value::F64(number) if !number.is_finite() => return Err(Refusal::NotFinite),
        Value::Text(text) if text.len() > TEXT_BYTES_MAX => return Err(Refusal::TextTooLong { bytes: text.len() }),
        _ => {}
    }
    let Some(present) = present else { return Ok(wanted.clone()) };
    match (wanted, present) {
        (Value::I64(number), Value::F64(_)) if *number as f64 as i128 == i128::from(*number) => {
            Ok(Value::F64(*number as f64))
        }
        // whole, and so small that the conversion is exact
        (Value::F64(number), Value::I64(_)) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            Ok(Value::I64(*number as i64))
        }
        (wanted, present) if wanted.kind() == present.kind() => Ok(wanted.clone()),
        (wanted, present) => Err(Refusal::WrongKind { value: wanted.clone(), kind: present.kind() }),
    }
}
