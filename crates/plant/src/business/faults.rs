//! How a business system misbehaves, and for how long.
//!
//! The order is JSON, the same on a system's `/_faults` and on the switches' `/system/{name}`:
//! `{"mode": "ok|slow|429|500|503|hang|down|twice", "delay_ms": …, "count": …}`.
//!
//! | mode | what happens |
//! |---|---|
//! | `ok` | it works |
//! | `slow` | it works, and answers `delay_ms` later (1,000 if not given) |
//! | `429`, `503` | it refuses with `Retry-After`: `delay_ms` in whole seconds, at least 1 |
//! | `500` | it refuses |
//! | `hang` | it takes the request and never answers |
//! | `down` | it accepts connections and closes them at once |
//! | `twice` | it works; a flag for whoever posts in this system's name to post everything twice |
//!
//! Invariant: with a `count`, exactly that many requests (connections in mode `down`) are hit,
//! then the mode is `ok` again. Mode `twice` hits none, so its count stays.

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
    const ALL: [(&'static str, Self); 8] = [
        ("ok", Self::Ok),
        ("slow", Self::Slow),
        ("429", Self::TooMany),
        ("500", Self::Broken),
        ("503", Self::Unavailable),
        ("hang", Self::Hang),
        ("down", Self::Down),
        ("twice", Self::Twice),
    ];
}

/// An order to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct FaultOrder {
    /// How.
    pub(crate) mode: FaultMode,
    /// Delay of a slow answer, or the wait that a refusal asks for, ms.
    pub(crate) delay_ms: u64,
    /// How many more times; none is for ever.
    pub(crate) count: Option<u64>,
}

impl FaultOrder {
    /// Works.
    pub(crate) const OK: Self = Self { mode: FaultMode::Ok, delay_ms: DELAY_MS, count: None };

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
        Ok(Self { mode, delay_ms: number("delay_ms")?.unwrap_or(DELAY_MS).min(DELAY_MS_MAX), count: number("count")? })
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
        self.order
    }

    /// Replaces the order; answers the mode before.
    pub(crate) fn set(&mut self, order: FaultOrder) -> FaultMode {
        let before = self.order.mode;
        self.order = if order.count == Some(0) { FaultOrder::OK } else { order };
        before
    }

    /// How the next request fares.
    pub(crate) fn take(&mut self) -> (FaultMode, Duration) {
        let FaultOrder { mode, delay_ms, .. } = self.order;
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
        let hit: Vec<_> = (0..4).map(|_| faults.take().0).collect();
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
        faults.take();
        assert_eq!(faults.take().0, FaultMode::Twice);
    }

    #[test]
    fn what_is_no_order_is_explained() {
        let text = |body: &str| FaultOrder::parse(body.as_bytes()).expect_err("no order").to_string();
        assert!(text("down").contains("not JSON"));
        assert!(text(r#"{"mode": "dwon"}"#).contains("hang down"));
        assert!(text(r#"{"mode": "slow", "delay_ms": -1}"#).contains("delay_ms"));
    }
}
