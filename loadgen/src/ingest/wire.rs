//! HTTP/1.1 over a kept connection, as little of it as a load needs: a request out, a status back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of an answer's body that are kept for a message.
const SHOWN_BYTES: usize = 300;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The beginning of its body.
    pub(super) text: String,
}

/// One connection, made when it is needed.
pub(super) struct Wire {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(address: &str) -> Wire {
        Wire { address: address.to_owned(), stream: None, buffer: Vec::new() }
    }

    /// Sends a request and reads the answer. After an error the next call connects anew.
    pub(super) fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address)?,
        };
        stream.write_all(request)?;
        let (answer, is_kept) = read(&mut stream, &mut self.buffer)?;
        self.stream = is_kept.then_some(stream);
        Ok(answer)
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer is no HTTP/1.1: {what}"))
}

/// Reads one answer (RFC 9112, 6); says whether the connection is kept.
fn read(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<(Answer, bool)> {
    buffer.clear();
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(wrong("its head does not end"));
        }
        more(stream, buffer)?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| wrong("it has no status"))?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let length = header("content-length").and_then(|value| value.parse::<usize>().ok());
    let is_chunked = header("transfer-encoding").is_some_and(|value| value.contains("chunked"));
    let is_kept = header("connection") != Some("close");
    buffer.drain(..end);
    match length {
        _ if matches!(status, 204 | 304) => {}
        _ if is_chunked => {
            while !buffer.ends_with(b"0\r\n\r\n") {
                if buffer.len() > HEAD_BYTES_MAX {
                    return Err(wrong("its body is longer than a refusal should be"));
                }
                more(stream, buffer)?;
            }
        }
        Some(length) if length > HEAD_BYTES_MAX => return Err(wrong("its body is longer than a refusal should be")),
        Some(length) => {
            while buffer.len() < length {
                more(stream, buffer)?;
            }
        }
        None => return Err(wrong("its body has no length")),
    }
    let shown = &buffer[..buffer.len().min(SHOWN_BYTES)];
    Ok((Answer { status, text: String::from_utf8_lossy(shown).into_owned() }, is_kept))
}

fn more(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4_096];
    match stream.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            buffer.extend_from_slice(&piece[..count]);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &str) -> io::Result<(u16, String, bool)> {
        let (answer, is_kept) = read(&mut bytes.as_bytes(), &mut Vec::new())?;
        Ok((answer.status, answer.text, is_kept))
    }

    #[test]
    fn every_way_to_end_a_body_is_known() {
        assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\n").expect("read"), (204, String::new(), true));
        let sized = answer("HTTP/1.1 400 Bad\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwrong").expect("read");
        assert_eq!(sized, (400, "wrong".to_owned(), false));
        let chunked =
            answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").expect("read");
        assert_eq!((chunked.0, chunked.2), (200, true));
        assert!(answer("HTTP/1.1 200 OK\r\n\r\n").is_err() && answer("HTTP/1.1 200").is_err());
    }
}
