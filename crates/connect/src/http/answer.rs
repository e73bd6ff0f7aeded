//! Reading an answer: its head as it is, its body up to a cap and a deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use crate::call::{CallError, Reply};
use crate::excerpt::short;
use crate::http::chain;
use crate::retry_after;

/// Reads an answer.
///
/// # Errors
/// [`CallError::Lost`] when it breaks off before its announced end.
pub(crate) async fn read(mut answer: Response, bytes_max: usize, deadline: Instant) -> Result<Reply, CallError> {
    let status = answer.status().as_u16();
    let retry_after = wait(answer.headers());
    let content_type = field(answer.headers(), &CONTENT_TYPE).map(short);
    let mut body = BytesMut::new();
    let mut complete = true;
    loop {
        match timeout_at(deadline, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => complete = take(&mut body, &chunk, bytes_max),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => {
                let what = chain(&error.without_url());
                return Err(CallError::lost(format!("the answer {status} broke off: {what}")));
            }
            Err(_) => complete = false,
        }
        if !complete {
            break;
        }
    }
    Ok(Reply::Answered { status, retry_after, content_type, body: body.freeze(), complete })
}

/// Adds a chunk as far as the cap allows; answers whether all of it had room.
fn take(body: &mut BytesMut, chunk: &Bytes, bytes_max: usize) -> bool {
    let room = bytes_max.saturating_sub(body.len());
    body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    chunk.len() <= room
}

fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// How long an answer asks to wait.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    retry_after::parse(field(headers, &RETRY_AFTER)?, field(headers, &DATE), now)
}
