//! Raw Modbus TCP and raw HTTP for the tests: what a foreign client would put on the wire.
#![expect(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::time::Duration;

use millstream_plant::{Plant, PlantOptions};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for an answer that should come.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A plant on free ports.
pub async fn plant() -> Plant {
    Plant::start(PlantOptions::default()).await.expect("a plant on free ports starts")
}

/// A Modbus TCP connection that sends one request at a time.
pub struct Modbus {
    pub stream: TcpStream,
    transaction: u16,
}

/// What a device answered: the data after the function code, or an exception code.
pub type Answer = Result<Vec<u8>, u8>;

impl Modbus {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connects");
        Self { stream, transaction: 0 }
    }

    /// Sends a request; answers the frame's transaction id.
    pub async fn send(&mut self, unit: u8, pdu: &[u8]) -> u16 {
        self.transaction += 1;
        let mut frame = self.transaction.to_be_bytes().to_vec();
        frame.extend([0, 0]);
        frame.extend((pdu.len() as u16 + 1).to_be_bytes());
        frame.push(unit);
        frame.extend(pdu);
        self.stream.write_all(&frame).await.expect("sends");
        self.transaction
    }

    pub async fn ask(&mut self, unit: u8, pdu: &[u8]) -> Answer {
        let transaction = self.send(unit, pdu).await;
        let mut head = [0; 8];
        timeout(PATIENCE, self.stream.read_exact(&mut head)).await.expect("answers in time").expect("answers");
        assert_eq!(head[..2], transaction.to_be_bytes());
        assert_eq!(head[2..4], [0, 0]);
        assert_eq!(head[6], unit);
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let mut rest = vec![0; length - 2];
        self.stream.read_exact(&mut rest).await.expect("whole");
        if head[7] == pdu[0] | 0x80 {
            return Err(rest[0]);
        }
        assert_eq!(head[7], pdu[0]);
        Ok(rest)
    }

    /// Reads registers with function 3 (holding) or 4 (input).
    pub async fn read(&mut self, unit: u8, function: u8, at: u16, count: u16) -> Result<Vec<u16>, u8> {
        let mut pdu = vec![function];
        pdu.extend(at.to_be_bytes());
        pdu.extend(count.to_be_bytes());
        let data = self.ask(unit, &pdu).await?;
        assert_eq!(usize::from(data[0]), data.len() - 1);
        Ok(data[1..].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
    }
}

/// An f32 from its high and its low word.
pub fn f32_of(high: u16, low: u16) -> f32 {
    f32::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Http {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

impl Http {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// One request on its own connection; `None` if the other side closed without an answer.
pub async fn http(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Http> {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: plant\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    // The other side may close before it has read everything.
    let _sent = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection ends in time");
    let text = String::from_utf8(answer).expect("text");
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Http {
        status: head[9..12].parse().expect("a status"),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    })
}

/// A request that must be answered.
pub async fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Http {
    http(address, method, path, &[], body).await.expect("answers")
}

/// Sets a mode through the switches.
pub async fn switch(plant: &Plant, path: &str, mode: &str) {
    let body = format!(r#"{{"mode": "{mode}"}}"#);
    let answer = call(plant.addresses().switches, "POST", path, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
