//! A caller of Millstream's HTTP API over a connection that is kept: one call at a time.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time;

/// Longest body of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of an answer that belong into a message.
const SHOWN_BYTES: usize = 300;

/// One connection and who uses it.
pub(super) struct Caller {
    address: SocketAddr,
    patience: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    pub(super) fn new(address: SocketAddr, patience: Duration) -> Caller {
        Caller { address, patience, connection: None }
    }

    /// The body of the answer to one call, which must have a status of 200 to 299. A call that went wrong ends
    /// the connection.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Bytes, String> {
        let patience = self.patience;
        let exchanged = time::timeout(patience, self.exchange(method, path, body.to_owned())).await;
        let answered = exchanged.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
        answered.map_err(|why| format!("{method} {path}: {why}"))
    }

    async fn exchange(&mut self, method: &str, path: &str, body: String) -> Result<Bytes, String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.address).await.map_err(|why| format!("no connection to {}: {why}", self.address))?,
        };
        connection.ready().await.map_err(|error| error.to_string())?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let answer = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
        if !status.is_success() {
            let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
            return Err(format!("status {status}: {shown}"));
        }
        self.connection = Some(connection);
        Ok(body)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (caller, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // it ends with its caller; what goes wrong with it, the call under way is told
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    const ANSWERS: [&str; 4] = [
        "HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nno!",
        "nonsense\r\n\r\n",
    ];

    /// Answers each call with the next of [`ANSWERS`], over as many connections as it takes.
    async fn serve(listener: TcpListener) {
        let mut answers = ANSWERS.iter();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut bytes = [0; 1024];
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                let Some(answer) = answers.next() else { return };
                stream.write_all(answer.as_bytes()).await.expect("a caller that listens");
            }
        }
    }

    #[test]
    fn answers_are_read_whole_and_a_wrong_one_ends_the_connection_only() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let mut caller = Caller::new(listener.local_addr().expect("bound"), Duration::from_secs(10));
            tokio::task::spawn_local(serve(listener));
            assert_eq!(caller.call("GET", "/a", "").await.expect("a length"), "hello");
            assert_eq!(caller.call("GET", "/b", "").await.expect("chunks"), "hello");
            let refused = caller.call("POST", "/c", "{}").await.expect_err("a refusal");
            assert!(refused.starts_with("POST /c: status 503 Service Unavailable: no!"), "{refused}");
            caller.call("GET", "/d", "").await.expect_err("no HTTP");
        });
    }
}
