//! What a condition says of one good value, and how it is put into words.

use model::{Quality, TimestampNs, Value};

use super::{Condition, Rule, Sample};

/// A second, in nanoseconds.
const SECOND: f64 = 1e9;

/// A value as JSON has it; NaN and the infinities are null.
pub(super) fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::F64(v) => serde_json::Value::from(*v),
        Value::I64(v) => serde_json::Value::from(*v),
        Value::Bool(v) => serde_json::Value::from(*v),
        Value::Text(v) => serde_json::Value::from(&**v),
    }
}

/// Severity of a quality in the word that expressions compare with.
pub(super) const fn quality_word(quality: Quality) -> &'static str {
    if quality.is_good() {
        "Good"
    } else if quality.is_uncertain() {
        "Uncertain"
    } else {
        "Bad"
    }
}

/// Is it a value that conditions are about? NaN is none: it compares with nothing.
pub(super) const fn is_usable(value: &Value) -> bool {
    !matches!(value, Value::F64(v) if v.is_nan())
}

/// The number of a value; what is wrong where it has none.
pub(super) fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| "the value is a text, and the rule needs a number".to_owned())
}

/// Is a level condition active at this number? `None` within the band: as before.
pub(super) fn level(condition: &Condition, value: f64) -> Option<bool> {
    let (active, clear) = match condition {
        Condition::High { limit, clear } => (value > *limit, value <= *clear),
        Condition::Low { limit, clear } => (value < *limit, value >= *clear),
        Condition::Deviation { setpoint, limit, clear } => {
            let distance = (value - setpoint).abs();
            (distance > *limit, distance <= *clear)
        }
        _ => return None,
    };
    if active {
        Some(true)
    } else if clear {
        Some(false)
    } else {
        None
    }
}

/// Has the bit of a value the state?
pub(super) fn bit(value: &Value, bit: u8, state: bool) -> Result<bool, String> {
    let word = match value {
        Value::I64(v) => *v,
        Value::Bool(v) => i64::from(*v),
        // the range in which a double holds whole numbers exactly
        Value::F64(v) if v.fract() == 0.0 && v.abs() <= 9_007_199_254_740_992.0 => *v as i64,
        Value::F64(_) => return Err("the value is not a whole number, and has no bits".to_owned()),
        Value::Text(_) => return Err("the value is a text, and has no bits".to_owned()),
    };
    let set = word.checked_shr(u32::from(bit)).is_some_and(|shifted| shifted & 1 == 1);
    Ok(set == state)
}

/// Which variables an expression asks for, so that others cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Asks {
    pub value: bool,
    pub quality: bool,
    pub tag: bool,
    pub time: bool,
}

impl Asks {
    pub(super) fn of(condition: &Condition) -> Asks {
        let Condition::Expression { when } = condition else { return Asks::default() };
        let names = when.variables();
        let has = |name: &str| names.iter().any(|known| known == name);
        Asks { value: has("value"), quality: has("quality"), tag: has("tag"), time: has("time") }
    }
}

/// What an expression says of a sample.
pub(super) fn expression(when: &expr::Expr, asks: Asks, sample: &Sample, tag: &str) -> Result<bool, String> {
    use serde_json::Value as Json;
    let of = |asked: bool, value: &dyn Fn() -> Json| if asked { value() } else { Json::Null };
    let value = of(asks.value, &|| sample.value.as_ref().map_or(Json::Null, json));
    let quality = of(asks.quality, &|| Json::from(quality_word(sample.quality)));
    let name = of(asks.tag, &|| Json::from(tag));
    let time = of(asks.time, &|| Json::from(sample.time.to_string()));
    let vars = [("value", &value), ("quality", &quality), ("tag", &name), ("time", &time)];
    when.eval_bool(&vars).map_err(|error| error.to_string())
}

/// What there is to say besides the rule, when it becomes active.
pub(super) struct Facts<'a> {
    pub value: Option<&'a Value>,
    /// The value before, of a change.
    pub before: Option<&'a Value>,
    /// Greatest change in the window, of a rate.
    pub change: f64,
}

/// Rule, value and limit in words.
pub(super) fn text(rule: &Rule, facts: &Facts<'_>) -> String {
    let name = &rule.name;
    let shown = |value: Option<&Value>| value.map_or_else(|| "no value".to_owned(), Value::to_string);
    let value = shown(facts.value);
    match &rule.condition {
        Condition::High { limit, .. } => format!("{name}: {value}, above {limit}"),
        Condition::Low { limit, .. } => format!("{name}: {value}, below {limit}"),
        Condition::Rate { limit, over_ns } => {
            let (change, over) = (facts.change, seconds(*over_ns));
            format!("{name}: {value}, changed by {change} within {over} s, more than {limit} a second")
        }
        Condition::Deviation { setpoint, limit, .. } => {
            let away = facts.value.and_then(Value::as_f64).map_or(f64::NAN, |v| (v - setpoint).abs());
            format!("{name}: {value}, which is {away} from {setpoint}, more than {limit}")
        }
        Condition::Change => format!("{name}: changed from {} to {value}", shown(facts.before)),
        Condition::Bit { bit, state } => {
            format!("{name}: {value}, bit {bit} is {}", if *state { "set" } else { "clear" })
        }
        Condition::Stale { after_ns } => format!("{name}: no sample for {} s; last value {value}", seconds(*after_ns)),
        Condition::Expression { when } => format!("{name}: {value}, `{}` is true", when.text()),
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND
}

/// A length of time as the clock's difference.
pub(super) fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// `time` plus a length.
pub(super) fn after(time: TimestampNs, ns: u64) -> TimestampNs {
    time.plus_ns(signed(ns))
}
