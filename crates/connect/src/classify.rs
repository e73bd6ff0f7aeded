//! What an attempt means for its delivery.
//!
//! Whoever answers 2xx has taken it over; what
//! says "not now" (408, 425, 429, 502, 503, 504, no connection) is nobody's fault and waits; other
//! 5xx count against the message; 3xx and other 4xx will not change by trying again. What was sent
//! and not answered is in doubt.

use std::time::Duration;

use delivery::Outcome;

use crate::call::{CallError, Exchange, Refusal, Reply};

/// What an answer 409 means at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// It will not be taken: the dead letters.
    #[default]
    Rejected,
    /// It is there already: delivered.
    Done,
    /// It is being worked on: try again.
    Retry,
}

/// What an attempt means. A status 2xx is success even if its body was cut or did not end in time
/// (`complete: false`). An expression over a successful answer's body, if the flow has one, is its
/// owner's business, and should be given whole bodies only.
#[must_use]
pub fn classify(exchange: &Exchange, conflict: Conflict) -> Outcome {
    match &exchange.result {
        Ok(Reply::Acked { .. }) => Outcome::Delivered,
        Ok(Reply::Answered { status, retry_after, .. }) => by_status(*status, retry_after.map(nanoseconds), conflict),
        Err(CallError::Lost { .. } | CallError::Timeout { sent: true }) => Outcome::InDoubt,
        Err(CallError::TooLarge { .. } | CallError::Refused { of: Refusal::Message, .. }) => Outcome::Rejected,
        // no message's fault: it waits until somebody has put the target right
        Err(
            CallError::Unreachable { .. }
            | CallError::Timeout { sent: false }
            | CallError::Refused { of: Refusal::Target, .. }
            | CallError::Setup { .. },
        ) => Outcome::Unavailable { retry_after_ns: None },
    }
}

fn by_status(status: u16, retry_after_ns: Option<u64>, conflict: Conflict) -> Outcome {
    match (status, conflict) {
        (200..=299, _) | (409, Conflict::Done) => Outcome::Delivered,
        (408 | 425 | 429 | 502 | 503 | 504, _) => Outcome::Unavailable { retry_after_ns },
        (500.., _) | (409, Conflict::Retry) => Outcome::Failed { retry_after_ns },
        _ => Outcome::Rejected,
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn outcome(result: Result<Reply, CallError>, conflict: Conflict) -> Outcome {
        let exchange = Exchange { result, took: Duration::ZERO, sent: String::new(), excerpt: String::new() };
        classify(&exchange, conflict)
    }

    fn status(status: u16) -> Result<Reply, CallError> {
        let retry_after = Some(Duration::from_secs(2));
        Ok(Reply::Answered { status, retry_after, content_type: None, body: Bytes::new(), complete: true })
    }

    #[test]
    fn every_status_has_its_outcome() {
        let wait = Some(2_000_000_000);
        for code in 100..=999 {
            let expected = match code {
                200..=299 => Outcome::Delivered,
                408 | 425 | 429 | 502 | 503 | 504 => Outcome::Unavailable { retry_after_ns: wait },
                500..=999 => Outcome::Failed { retry_after_ns: wait },
                _ => Outcome::Rejected,
            };
            assert_eq!(outcome(status(code), Conflict::Rejected), expected, "{code}");
        }
        assert_eq!(outcome(status(409), Conflict::Done), Outcome::Delivered);
        assert_eq!(outcome(status(409), Conflict::Retry), Outcome::Failed { retry_after_ns: wait });
        assert_eq!(outcome(status(404), Conflict::Done), Outcome::Rejected);
    }

    #[test]
    fn only_what_was_not_sent_is_unavailable() {
        let no_wait = || Outcome::Unavailable { retry_after_ns: None };
        for (error, expected) in [
            (CallError::unreachable("x"), no_wait()),
            (CallError::Timeout { sent: false }, no_wait()),
            (CallError::refused(Refusal::Target, "x"), no_wait()),
            (CallError::setup("x"), no_wait()),
            (CallError::lost("x"), Outcome::InDoubt),
            (CallError::Timeout { sent: true }, Outcome::InDoubt),
            (CallError::TooLarge { bytes: 2, max: 1 }, Outcome::Rejected),
            (CallError::refused(Refusal::Message, "x"), Outcome::Rejected),
        ] {
            assert_eq!(outcome(Err(error.clone()), Conflict::Rejected), expected, "{error}");
        }
        let acked = Ok(Reply::Acked { detail: String::new() });
        assert_eq!(outcome(acked, Conflict::Rejected), Outcome::Delivered);
    }
}
