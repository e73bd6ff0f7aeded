//! As much of the NATS client protocol as publishing to JetStream needs.
//!
//! Invariant: acknowledgements come in the order of the messages of a connection, so that they are
//! counted and not matched. (A subject of one stream has one leader, which takes them in turn.)

use crate::Failure;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long the broker may say nothing while it is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// Bytes that are not understood yet; an answer of the broker's API is a few kilobytes.
const UNREAD_BYTES_MAX: usize = 1 << 20;

/// Acknowledgements that were read.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Acks {
    pub(super) taken: usize,
    pub(super) refused: usize,
    /// What the first refusal says.
    pub(super) refusal: Option<String>,
}

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    piece: Vec<u8>,
    /// Subscriptions so far: a broker ignores a second one of the same number.
    subscriptions: u32,
}

/// One thing that the broker says.
enum Said<'a> {
    Message(&'a [u8]),
    Ping,
    Error(String),
    Other,
}

impl Wire {
    pub(super) fn connect(address: &str) -> Result<Wire, Failure> {
        let wrong = |error| Failure::Failed(format!("no connection to nats-server at {address}: {error}"));
        let stream = TcpStream::connect(address).map_err(wrong)?;
        stream.set_nodelay(true).map_err(wrong)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(wrong)?;
        let mut wire = Wire { stream, buffer: Vec::new(), piece: vec![0; READ_BYTES], subscriptions: 0 };
        wire.write(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"loadgen\"}\r\n")?;
        Ok(wire)
    }

    /// Takes everything that is sent to an inbox of this connection, and answers its name.
    pub(super) fn subscribe(&mut self, index: usize) -> Result<String, Failure> {
        let inbox = format!("_INBOX.{:x}.{index}", client::now().0);
        self.subscriptions += 1;
        self.write(format!("SUB {inbox} {}\r\n", self.subscriptions).as_bytes())?;
        Ok(inbox)
    }

    /// A call of the broker's API.
    pub(super) fn ask(&mut self, subject: &str, body: &str) -> Result<Value, Failure> {
        let inbox = self.subscribe(0)?;
        self.write(format!("PUB {subject} {inbox} {}\r\n{body}\r\n", body.len()).as_bytes())?;
        loop {
            let mut answer = None;
            self.read(|said| {
                if let Said::Message(bytes) = said {
                    answer = Some(serde_json::from_slice::<Value>(bytes).unwrap_or_default());
                }
            })?;
            let Some(answer) = answer else { continue };
            return match answer.get("error") {
                Some(error) => Err(Failure::Failed(format!("nats-server refused {subject}: {error}"))),
                None => Ok(answer),
            };
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).map_err(|error| Failure::Failed(format!("nats-server takes nothing: {error}")))
    }

    /// Waits for acknowledgements and counts those that came.
    pub(super) fn acks(&mut self) -> Result<Acks, Failure> {
        let mut acks = Acks::default();
        self.read(|said| {
            if let Said::Message(bytes) = said {
                if bytes.starts_with(b"{\"stream\"") {
                    acks.taken += 1;
                } else {
                    acks.refused += 1;
                    acks.refusal.get_or_insert_with(|| String::from_utf8_lossy(bytes).chars().take(300).collect());
                }
            }
        })?;
        Ok(acks)
    }

    /// Reads once and hands over what is complete.
    fn read(&mut self, mut on: impl FnMut(&Said<'_>)) -> Result<(), Failure> {
        let broken = |why: String| Failure::Failed(format!("nats-server broke the connection off: {why}"));
        let count = self.stream.read(&mut self.piece).map_err(|error| broken(error.to_string()))?;
        if count == 0 {
            return Err(broken("it closed it".to_owned()));
        }
        self.buffer.extend_from_slice(&self.piece[..count]);
        let (mut done, mut pings, mut error) = (0, 0, None);
        while let Some((said, length)) = next(&self.buffer[done..]) {
            match &said {
                Said::Ping => pings += 1,
                Said::Error(text) => error = Some(text.clone()),
                Said::Message(_) | Said::Other => on(&said),
            }
            done += length;
        }
        self.buffer.drain(..done);
        for _ in 0..pings {
            self.write(b"PONG\r\n")?;
        }
        if self.buffer.len() > UNREAD_BYTES_MAX {
            error = Some("what it says is not understood".to_owned());
        }
        error.map_or(Ok(()), |text| Err(broken(text)))
    }
}

/// The first complete thing of what was read, and its length.
fn next(bytes: &[u8]) -> Option<(Said<'_>, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let (line, length) = (&bytes[..end], end + 2);
    if line == b"PING" {
        return Some((Said::Ping, length));
    }
    if let Some(text) = line.strip_prefix(b"-ERR") {
        return Some((Said::Error(String::from_utf8_lossy(text).trim().to_owned()), length));
    }
    if !line.starts_with(b"MSG ") {
        return Some((Said::Other, length));
    }
    let size = line.rsplit(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    let Some(size) = size.filter(|size: &usize| *size <= UNREAD_BYTES_MAX) else {
        return Some((Said::Error("a message has no length".to_owned()), length));
    };
    let message = bytes.get(length..length + size)?;
    (bytes.len() >= length + size + 2).then_some((Said::Message(message), length + size + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_messages_are_handed_over() {
        let text = b"PING\r\nMSG _INBOX.1.0 1 23\r\n{\"stream\":\"s\",\"seq\":17}\r\nMSG a 1 5\r\nhal";
        let (said, first) = next(text).expect("a ping");
        assert!(matches!(said, Said::Ping));
        let (said, second) = next(&text[first..]).expect("a message");
        assert!(matches!(said, Said::Message(b"{\"stream\":\"s\",\"seq\":17}")));
        assert!(next(&text[first + second..]).is_none());
        assert!(matches!(next(b"-ERR 'no'\r\n"), Some((Said::Error(text), 11)) if text == "'no'"));
    }
}
