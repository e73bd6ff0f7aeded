//! Device values as JSON, there and back without a change of kind.

use model::{Value, limits::TEXT_BYTES_MAX};
use serde_json::Value as Json;

/// The JSON of a value; null for a number that is not finite, as JSON has none for it.
#[must_use]
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::F64(number) => Json::from(*number),
        Value::I64(number) => Json::from(*number),
        Value::Bool(flag) => Json::from(*flag),
        Value::Text(text) => Json::from(&**text),
    }
}

/// The value of a JSON number, bool or text; `None` for the rest, and for a text that is longer
/// than `model::limits::TEXT_BYTES_MAX`. A whole number beyond 64 bits becomes the nearest binary64.
#[must_use]
pub fn from_json(json: &Json) -> Option<Value> {
    match json {
        Json::Bool(flag) => Some(Value::Bool(*flag)),
        Json::Number(number) => number.as_i64().map(Value::I64).or_else(|| number.as_f64().map(Value::F64)),
        Json::String(text) if text.len() <= TEXT_BYTES_MAX => Some(Value::Text(text.as_str().into())),
        _ => None,
    }
}

/// Whether two values are the same within a tolerance. Numbers of which one is a binary64 are the
/// same, too, where they are the same binary32: so much is what most devices store.
pub(crate) fn same(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::I64(a), Value::I64(b)) => a == b || a.abs_diff(*b) as f64 <= tolerance,
        (Value::F64(_) | Value::I64(_), Value::F64(_) | Value::I64(_)) => {
            let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else { return false };
            let single = (a as f32).is_finite() && a as f32 == b as f32;
            a.is_finite() && b.is_finite() && (single || a == b || (a - b).abs() <= tolerance)
        }
        (a, b) => a == b,
    }
}

/// Values in what is kept in the journal.
pub(crate) mod kept {
    use super::{Value, from_json, to_json};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
        to_json(value).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        from_json(&json).ok_or_else(|| D::Error::custom(format!("{json} is no value of a tag")))
    }
}

/// Times in what is kept in the journal, as RFC 3339.
pub(crate) mod time {
    use model::TimestampNs;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &TimestampNs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimestampNs, D::Error> {
        let text = String::deserialize(deserializer)?;
        TimestampNs::parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_keep_their_kind_through_text() {
        for value in [Value::F64(5.0), Value::I64(5), Value::I64(i64::MIN), Value::Bool(true), Value::Text("5".into())]
        {
            let text = to_json(&value).to_string();
            let back = serde_json::from_str(&text).expect("JSON");
            assert_eq!(from_json(&back), Some(value), "{text}");
        }
        assert_eq!(to_json(&Value::F64(f64::NAN)), Json::Null);
        for none in [json!(null), json!([1]), json!({}), json!("x".repeat(TEXT_BYTES_MAX + 1))] {
            assert_eq!(from_json(&none), None);
        }
        assert_eq!(from_json(&json!(u64::MAX)), Some(Value::F64(u64::MAX as f64)));
    }

    #[test]
    fn sameness_knows_tolerance_and_single_precision() {
        let (f, i) = (Value::F64, Value::I64);
        assert!(same(&f(180.3), &f(f64::from(180.3_f32)), 0.0));
        assert!(!same(&f(180.3), &f(180.31), 0.0) && same(&f(180.3), &f(180.31), 0.011));
        assert!(same(&f(5.0), &i(5), 0.0));
        assert!(!same(&i(16_777_217), &i(16_777_216), 0.0), "whole numbers are exact");
        assert!(!same(&f(f64::NAN), &f(f64::NAN), 1e300) && !same(&f(f64::INFINITY), &f(f64::INFINITY), 1.0));
        assert!(!same(&Value::Bool(true), &i(1), 1.0) && !same(&Value::Text("1".into()), &i(1), 1.0));
        assert!(!same(&f(1.0), &f(2.0), f64::NAN));
    }
}
