//! One attempt: what is to be sent, what came of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use crate::excerpt::{excerpt, short};
use crate::sent::Sent;

/// Longest time of one attempt, whatever is asked for: a day.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// One thing to send, complete: the same call makes the same bytes.
#[derive(Debug, Clone)]
pub struct Call {
    /// HTTP method, `POST` when empty. Other targets do not look at it.
    pub method: String,
    /// Where to: absolute URL (HTTP), topic (MQTT), subject (NATS), file or object name.
    pub to: String,
    /// HTTP headers, MQTT user properties, NATS headers. Files and objects have none.
    pub headers: Vec<(String, String)>,
    /// Media type of the body; empty: none is said.
    pub content_type: String,
    /// What is sent.
    pub body: Bytes,
    /// Stable over all attempts of a delivery, by which the receiver drops what comes twice.
    pub idempotency_key: Option<String>,
    /// Id of the message.
    pub id: String,
    /// Time that the attempt may take, waiting for a connection included; a day at most.
    pub timeout: Duration,
}

/// What the other side said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It answered with a status (HTTP, or what uses its codes: S3, JetStream's errors).
    Answered {
        /// HTTP status.
        status: u16,
        /// `Retry-After`, as time from now on.
        retry_after: Option<Duration>,
        /// Media type of the body, as it was said.
        content_type: Option<String>,
        /// The body, capped.
        body: Bytes,
        /// Is that the whole body? False: it was longer than the cap, or did not end in time.
        complete: bool,
    },
    /// It took the message over (MQTT, NATS, file, object).
    Acked {
        /// How, for the attempt's log.
        detail: String,
    },
}

/// What a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// This message: it will not be taken at another time, either.
    Message,
    /// The target as it is set up (user, password, a stream or bucket that is not there): no
    /// message's fault; an operator must act.
    Target,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Nothing was sent: try again later.
    Unreachable {
        /// What failed.
        what: String,
    },
    /// It was sent, at least in part, and no answer came: in doubt.
    Lost {
        /// What failed.
        what: String,
    },
    /// The deadline passed.
    Timeout {
        /// May the other side have it (in doubt), or is it certain that nothing was sent?
        sent: bool,
    },
    /// It is larger than the other side takes: permanent.
    TooLarge {
        /// Bytes that were to be sent.
        bytes: usize,
        /// Bytes that may be sent at once.
        max: usize,
    },
    /// It was refused.
    Refused {
        /// Who refused what, and what to do.
        what: String,
        /// Is it the message, or the target?
        of: Refusal,
    },
    /// The target cannot work as it is set up; nothing was sent. An operator must act.
    Setup {
        /// What is wrong, and what to do.
        what: String,
    },
}

impl CallError {
    pub(crate) fn unreachable(what: impl AsRef<str>) -> Self {
        Self::Unreachable { what: short(what.as_ref()) }
    }

    pub(crate) fn lost(what: impl AsRef<str>) -> Self {
        Self::Lost { what: short(what.as_ref()) }
    }

    pub(crate) fn refused(of: Refusal, what: impl AsRef<str>) -> Self {
        Self::Refused { what: short(what.as_ref()), of }
    }

    pub(crate) fn setup(what: impl AsRef<str>) -> Self {
        Self::Setup { what: short(what.as_ref()) }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { what } => write!(f, "nothing was sent: {what}"),
            Self::Lost { what } => write!(f, "sent, but no answer came, so its effect is in doubt: {what}"),
            Self::Timeout { sent: true } => {
                f.write_str("sent, but no answer came before the deadline, so its effect is in doubt")
            }
            Self::Timeout { sent: false } => f.write_str("nothing was sent: no connection before the deadline"),
            Self::TooLarge { bytes, max } => {
                write!(f, "{bytes} bytes were to be sent and the other side takes {max}: make the body smaller")
            }
            Self::Refused { what, of: Refusal::Message } => write!(f, "refused: {what}"),
            Self::Refused { what, of: Refusal::Target } => write!(f, "the target refuses to work with us: {what}"),
            Self::Setup { what } => write!(f, "the target is set up wrong: {what}"),
        }
    }
}

impl std::error::Error for CallError {}

/// One attempt and all that is to be kept of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What came of it.
    pub result: Result<Reply, CallError>,
    /// How long it took.
    pub took: Duration,
    /// What was sent where (`POST http://…`), for the attempt's log. No secret.
    pub sent: String,
    /// Beginning of the answer, control characters escaped, at most
    /// [`EXCERPT_BYTES_MAX`](crate::EXCERPT_BYTES_MAX) bytes.
    pub excerpt: String,
}

impl Exchange {
    pub(crate) fn since(start: Instant, sent: String, result: Result<Reply, CallError>) -> Self {
        let excerpt = match &result {
            Ok(Reply::Answered { body, .. }) => excerpt(body),
            Ok(Reply::Acked { detail }) => excerpt(detail.as_bytes()),
            Err(_) => String::new(),
        };
        Self { result, took: start.elapsed(), sent: excerpt_line(&sent), excerpt }
    }
}

fn excerpt_line(text: &str) -> String {
    excerpt(text.as_bytes())
}

/// A place that takes calls. Many may be under way at once; each is one attempt.
pub trait Target {
    /// Makes one attempt. It ends at the call's deadline at the latest; dropping the future gives
    /// up, and what was sent by then may take effect.
    fn call(&self, call: Call) -> LocalBoxFuture<'_, Exchange>;

    /// The place, for people. No secret.
    fn describe(&self) -> String;
}

/// Runs an attempt until its deadline.
pub(crate) async fn within(
    timeout: Duration,
    sent: &Sent,
    work: impl Future<Output = Result<Reply, CallError>>,
) -> Result<Reply, CallError> {
    match tokio::time::timeout(timeout.min(TIMEOUT_MAX), work).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Timeout { sent: sent.is_set() }),
    }
}
