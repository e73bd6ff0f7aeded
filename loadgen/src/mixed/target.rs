//! What the server sends to: subscribers, who replies, and who takes the documents.

use crate::fanout::Run;
use crate::listener::{NO_CONTENT, Request};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The reply to every request: head and body.
const REPLY_WHOLE: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 18\r\n\r\n{\"available\":true}";
/// The reply's body.
pub(super) const REPLY: &[u8] = b"{\"available\":true}";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
/// What every gzip file begins with (RFC 1952, 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];

#[derive(Default)]
struct State {
    replies: u64,
    documents: u64,
    /// Of the newest document: its bytes, or what is wrong with it.
    newest: Option<Result<usize, String>>,
}

/// What came in beside deliveries.
#[derive(Default)]
pub(super) struct Documents {
    state: Mutex<State>,
    came: Notify,
}

impl Documents {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every call, so what a panicked thread left can be read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Documents so far.
    pub(super) fn count(&self) -> u64 {
        self.state().documents
    }

    /// Replies so far.
    pub(super) fn replies(&self) -> u64 {
        self.state().replies
    }

    /// Waits for a document beyond the first `known`: its length, or what is wrong with it.
    pub(super) async fn next(&self, known: u64) -> Result<usize, String> {
        loop {
            {
                let mut state = self.state();
                if state.documents > known
                    && let Some(newest) = state.newest.take()
                {
                    return newest;
                }
            }
            self.came.notified().await;
        }
    }

    fn take(&self, body: &[u8]) {
        let mut state = self.state();
        state.documents += 1;
        state.newest = Some(match body.starts_with(GZIP) {
            true => Ok(body.len()),
            false => Err(format!("a document of {} bytes that is not compressed", body.len())),
        });
        drop(state);
        self.came.notify_one();
    }
}

/// Answers a call, wherever it goes.
pub(super) fn take(request: &Request<'_>, run: &Arc<Run>, documents: &Documents) -> &'static [u8] {
    match request.path {
        "/reply" => {
            documents.state().replies += 1;
            REPLY_WHOLE
        }
        "/batch" => {
            documents.take(request.body);
            NO_CONTENT
        }
        path if path.starts_with("/r/") => run.take(request),
        _ => NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_says_its_own_length() {
        assert!(REPLY_WHOLE.ends_with(REPLY));
        let text = String::from_utf8_lossy(REPLY_WHOLE);
        assert!(text.contains(&format!("content-length: {}\r\n", REPLY.len())), "{text}");
    }
}
