//! What Millstream sends to: one small HTTP/1.1 server on a thread of its own.
//!
//! It reads what a call must have (path, length, body), hands it over, and sends the answer;
//! connections stay open. Nothing else of HTTP is spoken: what it cannot read ends the connection.

use crate::Failure;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{self, LocalSet};

/// The answer to what needs none.
pub(crate) const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// Longest request: head and body.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// Takes a call, and answers what goes back, whole.
pub(crate) type Handler = dyn Fn(&Request<'_>) -> &'static [u8] + Send + Sync;

/// The server; it stops when dropped.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    joined: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at an address, from now on.
    pub(crate) fn start(bind: SocketAddr, handler: Arc<Handler>) -> Result<Listener, Failure> {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let joined = thread::Builder::new()
            .name("receivers".to_owned())
            .spawn(move || {
                if let Err(failure) = serve(bind, handler, stopped, &tell) {
                    // The other end is gone only if nobody wants to know any more.
                    let _ = tell.send(Err(failure));
                }
            })
            .map_err(Failure::of)?;
        let address = told.recv().map_err(Failure::of)??;
        Ok(Listener { address, stop: Some(stop), joined: Some(joined) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(joined) = self.joined.take() {
            let _ = joined.join();
        }
    }
}

fn serve(
    bind: SocketAddr,
    handler: Arc<Handler>,
    stopped: oneshot::Receiver<()>,
    tell: &mpsc::Sender<Result<SocketAddr, Failure>>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::of)?;
    LocalSet::new().block_on(&runtime, async move {
        let listening = TcpListener::bind(bind).await;
        let listener =
            listening.map_err(|error| Failure::Failed(format!("cannot receive at {bind} (--bind): {error}")))?;
        let address = listener.local_addr().map_err(Failure::of)?;
        let _ = tell.send(Ok(address));
        task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                task::spawn_local(receive(stream, Arc::clone(&handler)));
            }
        });
        // Ends when the other side is dropped.
        let _ = stopped.await;
        Ok(())
    })
}

/// One connection, until it ends.
async fn receive(mut stream: TcpStream, handler: Arc<Handler>) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::with_capacity(CHUNK_BYTES);
    let mut answers = Vec::new();
    loop {
        bytes.reserve(CHUNK_BYTES);
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        answers.clear();
        let mut at = 0;
        loop {
            match Request::read(&bytes[at..]) {
                Ok(None) => break,
                Err(Unreadable) => return,
                Ok(Some((request, length))) => {
                    answers.extend_from_slice(handler(&request));
                    at += length;
                }
            }
        }
        bytes.drain(..at);
        if !answers.is_empty() && stream.write_all(&answers).await.is_err() {
            return;
        }
    }
}

/// What came is no call that this server can read.
#[derive(Debug, PartialEq)]
struct Unreadable;

/// One call.
#[derive(Debug, PartialEq)]
pub(crate) struct Request<'a> {
    /// Path and query.
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    /// The request that some bytes begin with, and its length; `None` while it is not whole.
    fn read(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, Unreadable> {
        let Some(head_bytes) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if bytes.len() > REQUEST_BYTES_MAX { Err(Unreadable) } else { Ok(None) };
        };
        let head = std::str::from_utf8(&bytes[..head_bytes]).map_err(|_| Unreadable)?;
        let mut lines = head.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).ok_or(Unreadable)?;
        let mut body_bytes = 0;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body_bytes = value.trim().parse().map_err(|_| Unreadable)?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(Unreadable);
            }
        }
        if body_bytes > REQUEST_BYTES_MAX {
            return Err(Unreadable);
        }
        let length = head_bytes + 4 + body_bytes;
        Ok(bytes.get(head_bytes + 4..length).map(|body| (Request { path, body }, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_cut_apart_and_half_ones_waited_for() {
        let body = br#"{"a":1}"#;
        let mut bytes =
            format!("POST /r/12 HTTP/1.1\r\nHost: a\r\ncontent-Length: {}\r\n\r\n", body.len()).into_bytes();
        let head_bytes = bytes.len();
        bytes.extend_from_slice(body);
        let length = bytes.len();
        for half in [0, 5, head_bytes, length - 1] {
            assert_eq!(Request::read(&bytes[..half]), Ok(None), "{half} bytes");
        }
        bytes.extend_from_slice(b"POST /elsewhere HTTP/1.1\r\n\r\n");
        let (first, read) = Request::read(&bytes).expect("readable").expect("whole");
        assert_eq!(read, length);
        assert_eq!(first, Request { path: "/r/12", body });
        let (second, _) = Request::read(&bytes[read..]).expect("readable").expect("whole");
        assert_eq!(second, Request { path: "/elsewhere", body: b"" });
        for wrong in
            ["\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "P / H\r\nTransfer-Encoding: chunked\r\n\r\n"]
        {
            assert_eq!(Request::read(wrong.as_bytes()), Err(Unreadable), "{wrong:?}");
        }
    }
}
