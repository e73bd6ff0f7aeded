//! A plain HTTP/1.1 client and a running server, for tests.

use super::{Fake, flows::FakeFlows};
use millstream_http::{Limits, router, serve};
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// Nothing in a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub struct Rig {
    pub fake: Arc<Fake>,
    pub flows: Arc<FakeFlows>,
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }

    /// Checks that this is a problem of a status and kind, and answers its detail.
    pub fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:millstream:problem:{kind}"));
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["instance"].is_string());
        problem["detail"].as_str().expect("a detail").to_owned()
    }
}

impl Rig {
    pub async fn start() -> Rig {
        Rig::with(Limits::default(), Fake::plant(0)).await
    }

    pub async fn with(limits: Limits, fake: Fake) -> Rig {
        let fake = Arc::new(fake);
        let flows = Arc::new(FakeFlows::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = router(fake.clone(), flows.clone(), limits);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let spawn = |connection| drop(tokio::spawn(connection));
            serve(listener, service, spawn, async move { drop(stopped.await) }).await;
        });
        Rig { fake, flows, address, stop: Some(stop), server }
    }

    /// Stops the server and waits for its end.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, &mut self.server).await.expect("the server ends").expect("without a panic");
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, &[], body).await
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut stream = self.connect().await;
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        stream.write_all(text.as_bytes()).await.expect("the head is taken");
        // A refusal may come, and the connection go, before the body is taken.
        drop(stream.write_all(body.as_bytes()).await);
        let mut bytes = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer in time"));
        parse(&String::from_utf8(bytes).expect("text"))
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }
}

fn parse(text: &str) -> Answer {
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if chunked { unchunk(rest) } else { rest.to_owned() };
    Answer { status, headers, body }
}

fn unchunk(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            break;
        }
        out += &after[..size];
        rest = &after[size + 2..];
    }
    out
}

/// Reads a stream's text until it holds a piece.
pub async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut all = String::new();
    let mut bytes = [0; 4096];
    while !all.contains(wanted) {
        let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("in time").expect("readable");
        assert!(read > 0, "the stream ended without {wanted:?}: {all}");
        all += &String::from_utf8_lossy(&bytes[..read]);
    }
    all
}
