//! Where the systems send to, and how often they have something to say.

use std::time::Duration;

use axum::http::Uri;
use serde::Serialize;
use serde_json::{Value, json};

/// Shortest time between two postings that a system makes by itself.
const PERIOD_MIN: Duration = Duration::from_millis(10);
/// What is sent where nothing else is said: one posting a second of each system.
const PERIOD_MS: u64 = 1_000;

/// A receiver: `http://host:port`, perhaps with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receiver {
    /// Host and port for a connection.
    pub(crate) host: String,
    /// See `host`.
    pub(crate) port: u16,
    /// The `Host` header.
    pub(crate) authority: String,
    /// What stands before every path; empty or `/…` without a slash at its end.
    pub(crate) prefix: String,
}

impl Receiver {
    /// Reads a base URL.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{url:?} {why}; give a base URL such as \"http://127.0.0.1:8080\"");
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("does not begin with http://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if uri.query().is_some() {
            return Err(wrong("has a query"));
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.prefix)
    }
}

/// Where to, and how often by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedTarget {
    /// The receiver.
    pub(crate) receiver: Receiver,
    /// Time between two postings that each system makes by itself; none: only what it is told to.
    pub(crate) period: Option<Duration>,
}

impl FeedTarget {
    /// A target; a period of zero makes nothing by itself.
    pub(crate) fn new(to: &str, period: Duration) -> Result<Self, String> {
        let period = (!period.is_zero()).then_some(period.max(PERIOD_MIN));
        Ok(Self { receiver: Receiver::parse(to)?, period })
    }

    /// Reads `{"to": …, "period_ms": …}`; `to` null or missing means to nobody.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, String> {
        let order: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not JSON ({error}); send {{\"to\": \"http://127.0.0.1:8080\"}}"))?;
        let period_ms = match order.get("period_ms") {
            None | Some(Value::Null) => PERIOD_MS,
            Some(value) => value.as_u64().ok_or("period_ms must be a whole number, 0 or more")?,
        };
        match order.get("to") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(to)) => Self::new(to, Duration::from_millis(period_ms)).map(Some),
            Some(_) => Err("to must be a URL, or null for nobody".to_owned()),
        }
    }
}

impl Serialize for FeedTarget {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let period_ms = self.period.map_or(0, |period| period.as_millis() as u64);
        json!({ "to": self.receiver.url(), "period_ms": period_ms }).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_taken_apart_and_nonsense_is_explained() {
        let plain = Receiver::parse("http://127.0.0.1:8080").expect("a URL");
        assert_eq!((plain.host.as_str(), plain.port, plain.prefix.as_str()), ("127.0.0.1", 8080, ""));
        let deep = Receiver::parse("http://[::1]:81/plant/").expect("a URL");
        assert_eq!((deep.host.as_str(), deep.port, deep.prefix.as_str()), ("::1", 81, "/plant"));
        assert_eq!(deep.url(), "http://[::1]:81/plant");
        assert_eq!(Receiver::parse("http://edge").map(|receiver| receiver.port), Ok(80));
        for wrong in ["", "127.0.0.1:8080", "https://x", "http://x?y=1", "tcp://x:1"] {
            let error = Receiver::parse(wrong).expect_err("no base URL");
            assert!(error.contains("http://127.0.0.1:8080"), "{error}");
        }
    }

    #[test]
    fn an_order_names_target_and_period() {
        let order = |text: &str| FeedTarget::parse(text.as_bytes());
        let target = order(r#"{"to": "http://x:1"}"#).expect("an order").expect("somebody");
        assert_eq!(target.period, Some(Duration::from_secs(1)));
        let quiet = order(r#"{"to": "http://x:1", "period_ms": 0}"#).expect("an order").expect("somebody");
        assert_eq!(quiet.period, None);
        assert_eq!(json!(quiet), json!({ "to": "http://x:1", "period_ms": 0 }));
        let fast = order(r#"{"to": "http://x:1", "period_ms": 1}"#).expect("an order").expect("somebody");
        assert_eq!(fast.period, Some(PERIOD_MIN));
        assert_eq!(order(r#"{"to": null}"#), Ok(None));
        for wrong in ["x", r#"{"to": 7}"#, r#"{"to": "http://x", "period_ms": -1}"#] {
            assert!(order(wrong).is_err(), "{wrong}");
        }
    }
}
