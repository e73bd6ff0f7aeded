//! An answer: its head as it is, its body up to a cap and a deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use hyper::http::response::Parts;

use crate::call::Reply;
use crate::excerpt::short;
use crate::retry_after;

/// What came back.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    /// Is that the whole body?
    pub(crate) complete: bool,
}

impl Answer {
    /// The answer as a target's.
    pub(crate) fn reply(self) -> Reply {
        let Self { head, body, complete } = self;
        let retry_after = wait(&head.headers);
        let content_type = field(&head.headers, &CONTENT_TYPE).map(short);
        Reply::Answered { status: head.status.as_u16(), retry_after, content_type, body, complete }
    }
}

fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long an answer asks to wait.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let asked = field(headers, &RETRY_AFTER)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    retry_after::parse(asked, field(headers, &DATE), now)
}
