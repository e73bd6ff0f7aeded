//! How a business system misbehaves, and for how long.
//!
//! The order is JSON, the same on a system's `/_faults` and on the switches' `/system/{name}`:
//! `{"mode": "ok|slow|429|500|503|refuse|reset|hang|down|twice", "delay_ms": …, "count": …, "text": …}`.
//!
//! | mode | what happens |
//! |---|---|
//! | `ok` | it works |
//! | `slow` | it works, and answers `delay_ms` later (1,000 if not given) |
//! | `429`, `503` | it refuses with `Retry-After`: `delay_ms` in whole seconds, at least 1 |
//! | `500` | it refuses |
//! | `refuse` | it refuses with 422 what has `text` in its body, and works for the rest |
//! | `reset` | it works, and closes the connection instead of answering |
//! | `hang` | it takes the request and never answers |
//! | `down` | it accepts connections and closes them at once |
//! | `twice` | it works; a flag for whoever posts in this system's name to post everything twice |
//!
//! Invariant: with a `count`, exactly that many requests (connections in mode `down`) are hit,
//! then the mode is `ok` again. Mode `twice` hits none, so its count stays; what mode `refuse` lets
//! through does not count.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

const DELAY_MS: u64 = 1_000;
const DELAY_MS_MAX: u64 = 3_600_000;

/// How a system behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum FaultMode {
    /// It works.
    #[serde(rename = "ok")]
    Ok,
    /// It works, and answers late.
    #[serde(rename = "slow")]
    Slow,
    /// It answers 429 (too many requests).
    #[serde(rename = "429")]
    TooMany,
    /// It answers 500 (internal error).
    #[serde(rename = "500")]
    Broken,
    /// It answers 503 (unavailable).
    #[serde(rename = "503")]
    Unavailable,
    /// It answers 422 to what has a text in its body.
    #[serde(rename = "refuse")]
    Refuse,
    /// It does what it is asked, and closes the connection without an answer.
    #[serde(rename = "reset")]
    Reset,
    /// It never answers.
    #[serde(rename = "hang")]
    Hang,
    /// It closes every connection.
    #[serde(rename = "down")]
    Down,
    /// It works; what it sends by itself should be sent twice.
    #[serde(rename = "twice")]
    Twice,
}

impl FaultMode {
    const ALL: [(&'static str, Self); 10] = [
        ("ok", Self::Ok),
        ("slow", Self::Slow),
        ("429", Self::TooMany),
        ("500", Self::Broken),
        ("503", Self::Unavailable),
        ("refuse", Self::Refuse),
        ("reset", Self::Reset),
        ("hang", Self::Hang),
        ("down", Self::Down),
        ("twice", Self::Twice),
    ];
}

/// An order to misbehave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FaultOrder {
    /// How.
    pub(crate) mode: FaultMode,
    /// Delay of a slow answer, or the wait that a refusal asks for, ms.
    pub(crate) delay_ms: u64,
    /// How many more times; none is for ever.
    pub(crate) count: Option<u64>,
    /// What a refused body contains; only with mode `refuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

impl FaultOrder {
    /// Works.
    pub(crate) const OK: Self = Self { mode: FaultMode::Ok, delay_ms: DELAY_MS, count: None, text: None };

    /// Reads an order from JSON.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OrderError> {
        let order: Value = serde_json::from_slice(bytes).map_err(|error| OrderError::Json(error.to_string()))?;
        let name = match order.get("mode") {
            Some(Value::String(name)) => name.clone(),
            Some(Value::Number(status)) => status.to_string(),
            _ => return Err(OrderError::Mode(String::new())),
        };
        let mode = FaultMode::ALL
            .into_iter()
            .find_map(|(known, mode)| (known == name).then_some(mode))
            .ok_or(OrderError::Mode(name))?;
        let number = |field: &'static str| match order.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(OrderError::Number(field)),
        };
        let text = match order.get("text") {
            Some(Value::String(text)) if !text.is_empty() && mode == FaultMode::Refuse => Some(text.clone()),
            _ if mode == FaultMode::Refuse => return Err(OrderError::Text),
            _ => None,
        };
        let delay_ms = number("delay_ms")?.unwrap_or(DELAY_MS).min(DELAY_MS_MAX);
        Ok(Self { mode, delay_ms, count: number("count")?, text })
    }
}

/// Why an order was not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OrderError {
    /// Not JSON.
    Json(String),
    /// No known mode.
    Mode(String),
    /// A field that must be a whole number is something else.
    Number(&'static str),
    /// Mode `refuse` without what to refuse.
    Text,
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(detail) => {
                write!(f, "the body is not JSON ({detail}); send {{\"mode\": \"ok\"}}")
            }
            Self::Mode(name) => {
                write!(f, "there is no mode \"{name}\"; the modes are")?;
                for (known, _) in FaultMode::ALL {
                    write!(f, " {known}")?;
                }
                Ok(())
            }
            Self::Text => f.write_str("mode refuse needs a text that refused bodies contain, e.g. \"poison\""),
            Self::Number(field) => write!(f, "{field} must be a whole number, 0 or more"),
        }
    }
}

/// The present order and how much of it is left.
#[derive(Debug)]
pub(crate) struct Faults {
    order: FaultOrder,
}

impl Faults {
    /// A system that works.
    pub(crate) fn new() -> Self {
        Self { order: FaultOrder::OK }
    }

    /// The present order, with what is left of its count.
    pub(crate) fn order(&self) -> FaultOrder {
        self.order.clone()
    }

    /// Replaces the order; answers the mode before.
    pub(crate) fn set(&mut self, order: FaultOrder) -> FaultMode {
        let before = self.order.mode;
        self.order = if order.count == Some(0) { FaultOrder::OK } else { order };
        before
    }

    /// How the next request fares, which has this body.
    pub(crate) fn take(&mut self, body: &[u8]) -> (FaultMode, Duration) {
        let FaultOrder { mode, delay_ms, .. } = self.order;
        if mode == FaultMode::Refuse && !self.order.text.as_deref().is_some_and(|text| contains(body, text)) {
            return (FaultMode::Ok, Duration::ZERO);
        }
        if mode != FaultMode::Down {
            self.spend();
        }
        (mode, Duration::from_millis(delay_ms))
    }

    /// Whether the next connection is let in.
    pub(crate) fn admit(&mut self) -> bool {
        let down = self.order.mode == FaultMode::Down;
        if down {
            self.spend();
        }
        !down
    }

    fn spend(&mut self) {
        if matches!(self.order.mode, FaultMode::Ok | FaultMode::Twice) {
            return;
        }
        match &mut self.order.count {
            Some(count) if *count <= 1 => self.order = FaultOrder::OK,
            Some(count) => *count -= 1,
            None => {}
        }
    }
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len().max(1)).any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> FaultOrder {
        FaultOrder::parse(text.as_bytes()).expect("an order")
    }

    #[test]
    fn a_counted_fault_hits_exactly_so_many_requests() {
        let mut faults = Faults::new();
        faults.set(order(r#"{"mode": 503, "count": 2, "delay_ms": 2500}"#));
        let hit: Vec<_> = (0..4).map(|_| faults.take(b"").0).collect();
        use FaultMode::{Ok, Unavailable};
        assert_eq!(hit, [Unavailable, Unavailable, Ok, Ok]);
    }

    #[test]
    fn down_counts_connections_and_twice_counts_nothing() {
        let mut faults = Faults::new();
        faults.set(order(r#"{"mode": "down", "count": 1}"#));
        assert!(!faults.admit());
        assert!(faults.admit());
        faults.set(order(r#"{"mode": "twice", "count": 1}"#));
        faults.take(b"");
        assert_eq!(faults.take(b"").0, FaultMode::Twice);
    }

    #[test]
    fn only_what_has_the_text_is_refused_and_counted() {
        let mut faults = Faults::new();
        faults.set(order(r#"{"mode": "refuse", "text": "poison", "count": 1}"#));
        assert_eq!(faults.take(b"{\"note\": \"fine\"}").0, FaultMode::Ok);
        assert_eq!(faults.take(b"{\"note\": \"poison\"}").0, FaultMode::Refuse);
        assert_eq!(faults.take(b"{\"note\": \"poison\"}").0, FaultMode::Ok);
    }

    #[test]
    fn what_is_no_order_is_explained() {
        let text = |body: &str| FaultOrder::parse(body.as_bytes()).expect_err("no order").to_string();
        assert!(text("down").contains("not JSON"));
        assert!(text(r#"{"mode": "dwon"}"#).contains("hang down"));
        assert!(text(r#"{"mode": "refuse"}"#).contains("text"));
        assert!(text(r#"{"mode": "slow", "delay_ms": -1}"#).contains("delay_ms"));
    }
}
