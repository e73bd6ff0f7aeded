//! A caller of Millstream's HTTP API over a connection that is kept.
//!
//! As little as can be, so that little of the load's core goes into it: HTTP/1.1, bodies with their
//! length said ahead, one call at a time. What it cannot read is an error and ends the connection.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;

/// Longest answer: head and body.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of an answer that belong into a message.
const SHOWN_BYTES: usize = 300;

/// One connection and who uses it.
pub(super) struct Caller {
    address: SocketAddr,
    patience: Duration,
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
}

/// Status and body; the body lies in the caller's memory until the next call.
#[derive(Debug, PartialEq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Caller {
    pub(super) fn new(address: SocketAddr, patience: Duration) -> Caller {
        Caller { address, patience, stream: None, bytes: Vec::new() }
    }

    /// One call that must be answered with a status of 200 to 299.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: &str) -> Result<&[u8], String> {
        let wrong = |why: String| format!("{method} {path}: {why}");
        let (address, patience) = (self.address, self.patience);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(address).await.map_err(|error| wrong(format!("no connection to {address}: {error}")))?,
        };
        let exchanged = time::timeout(patience, exchange(&mut stream, request.as_bytes(), &mut self.bytes)).await;
        let (status, head_bytes) = match exchanged {
            Ok(done) => done.map_err(wrong)?,
            Err(_) => return Err(wrong(format!("no answer within {patience:?}"))),
        };
        self.stream = Some(stream);
        let answer = Answer { status, body: &self.bytes[head_bytes..] };
        if !(200..=299).contains(&answer.status) {
            let shown = String::from_utf8_lossy(&answer.body[..answer.body.len().min(SHOWN_BYTES)]);
            return Err(wrong(format!("status {}: {shown}", answer.status)));
        }
        Ok(answer.body)
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and reads its whole answer into `bytes`: the status and the length of the head.
async fn exchange(stream: &mut TcpStream, request: &[u8], bytes: &mut Vec<u8>) -> Result<(u16, usize), String> {
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    bytes.clear();
    let mut whole = None;
    loop {
        match stream.read_buf(bytes).await {
            Ok(0) => return Err("the connection ended before the answer did".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        if whole.is_none() {
            whole = head(bytes)?;
        }
        if let Some((status, head_bytes, length)) = whole {
            if bytes.len() >= length {
                bytes.truncate(length);
                return Ok((status, head_bytes));
            }
            bytes.reserve(length - bytes.len());
        }
    }
}

/// Status, length of the head and of the whole; `None` while the head is not whole.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > ANSWER_BYTES_MAX { Err("a head without an end".to_owned()) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is no text".to_owned())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    match (status, length) {
        (Some(status), Some(length)) if length <= ANSWER_BYTES_MAX => Ok(Some((status, end + 4, end + 4 + length))),
        _ => Err(format!("an answer without a status or a length: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_how_long_an_answer_is() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(head(answer), Ok(Some((202, 44, 49))));
        assert_eq!(head(&answer[..20]), Ok(None));
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"nonsense\r\n\r\n").is_err());
    }
}
