//! Servers that answer with exactly the bytes that a test gives them, one thread a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A listener and what it saw.
#[derive(Clone)]
pub struct Raw {
    pub address: SocketAddr,
    /// Connections that were accepted.
    pub connections: Arc<AtomicUsize>,
    /// Requests that were read.
    pub requests: Arc<Mutex<Vec<Request>>>,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// `POST /path HTTP/1.1`
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

impl Raw {
    /// Has every connection served by this function; it is told the connection's number, from 0.
    pub fn start(serve: impl Fn(&Raw, TcpStream, usize) + Send + Sync + 'static) -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let raw = Raw {
            address: listener.local_addr().expect("an address"),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (shared, serve) = (raw.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, serve) = (shared.clone(), serve.clone());
                std::thread::spawn(move || serve(&shared, stream, number));
            }
        });
        raw
    }

    /// Answers every request of every connection with what this makes of it and its number.
    pub fn http(answer: impl Fn(&Request, usize) -> Vec<u8> + Send + Sync + 'static) -> Raw {
        Raw::start(move |raw, mut stream, _| {
            while let Some(request) = read_request(&mut stream) {
                let number = raw.note(request.clone());
                if stream.write_all(&answer(&request, number)).is_err() {
                    return;
                }
            }
        })
    }

    /// Keeps a request; answers its number, from 0.
    pub fn note(&self, request: Request) -> usize {
        let mut requests = self.requests.lock().expect("no panic");
        requests.push(request);
        requests.len() - 1
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }

    pub fn connected(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request with a Content-Length, or none.
pub fn read_request(stream: &mut impl Read) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let mut request = Request { head: String::from_utf8(head).expect("text"), body: Vec::new() };
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a number"));
    request.body = vec![0; length];
    stream.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// An answer with a status line, headers and a body.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
}

/// Waits until the other side closes.
pub fn until_closed(stream: &mut TcpStream) {
    let mut sink = [0; 1024];
    while stream.read(&mut sink).is_ok_and(|length| length > 0) {}
}
