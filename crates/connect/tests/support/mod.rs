//! What the tests of the targets share: a runtime like a shard's, calls, raw servers, peers.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod raw;

use bytes::Bytes;
use connect::{Call, CallError, Exchange, Reply, Target};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a test waits for what must come. Never asserted as a duration: only "it came".
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Deadline of a call that the other side will not answer.
pub const SHORT: Duration = Duration::from_millis(300);

/// Runs a test as a shard would: one thread, local tasks.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// A call with a small JSON body and a patient deadline.
pub fn call(to: impl Into<String>) -> Call {
    Call {
        method: String::new(),
        to: to.into(),
        headers: Vec::new(),
        content_type: "application/json".to_owned(),
        body: Bytes::from_static(b"{\"quantity\":5}"),
        idempotency_key: Some("key-1".to_owned()),
        id: "message-1".to_owned(),
        timeout: PATIENCE,
    }
}

/// The same with another body.
pub fn with_body(to: impl Into<String>, body: impl Into<Bytes>) -> Call {
    Call { body: body.into(), ..call(to) }
}

/// The same with a deadline that passes.
pub fn hasty(to: impl Into<String>) -> Call {
    Call { timeout: SHORT, ..call(to) }
}

/// Status of an answer.
pub fn status(exchange: &Exchange) -> u16 {
    match &exchange.result {
        Ok(Reply::Answered { status, .. }) => *status,
        other => panic!("no answer: {other:?}"),
    }
}

/// How it was acknowledged.
pub fn acked(exchange: &Exchange) -> String {
    match &exchange.result {
        Ok(Reply::Acked { detail }) => detail.clone(),
        other => panic!("not acknowledged: {other:?}"),
    }
}

/// Is it certain that nothing was sent?
pub fn is_unsent(exchange: &Exchange) -> bool {
    matches!(exchange.result, Err(CallError::Unreachable { .. } | CallError::Timeout { sent: false }))
}

/// Was it sent, at least in part, without an answer?
pub fn is_in_doubt(exchange: &Exchange) -> bool {
    matches!(exchange.result, Err(CallError::Lost { .. } | CallError::Timeout { sent: true }))
}

/// Calls again until it succeeds: what a delivery does while a peer comes back.
pub async fn until_acked(target: &impl Target, call: impl Fn() -> Call) -> String {
    let start = Instant::now();
    loop {
        let exchange = target.call(call()).await;
        if exchange.result.is_ok() {
            return acked(&exchange);
        }
        assert!(start.elapsed() < PATIENCE, "it does not come back: {exchange:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A certificate or key of the tests.
pub fn pem(name: &str) -> Vec<u8> {
    std::fs::read(pem_path(name)).expect("a file")
}

/// Where it is.
pub fn pem_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certificates").join(name)
}

/// The test authority, and our own certificate if it is asked for.
pub fn tls(with_identity: bool) -> connect::Tls {
    let key_pem = || connect::SecretText::new(String::from_utf8(pem("client.key")).expect("text"));
    let identity = || connect::Identity { certificate_pem: pem("client.pem"), key_pem: key_pem() };
    connect::Tls { ca_pem: Some(pem("ca.pem")), identity: with_identity.then(identity) }
}

/// A process that does not outlive the test.
pub struct Peer {
    process: Child,
    /// Where it listens on loopback.
    pub port: u16,
}

impl Peer {
    /// Starts a server and waits until it takes connections.
    pub fn start(command: &mut Command, port: u16) -> Peer {
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut peer = Peer { process: process.expect("the peer starts"), port };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(peer.process.try_wait().expect("a state").is_none(), "the peer ended: {command:?}");
            assert!(start.elapsed() < PATIENCE, "the peer does not listen: {command:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        peer
    }

    /// A process that is no server.
    pub fn of(process: Child) -> Peer {
        Peer { process, port: 0 }
    }

    /// Freezes it: what is sent to it stays unanswered, its connections stay open.
    pub fn freeze(&self) {
        let status = Command::new("kill").args(["-STOP", &self.process.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        // the signal is sent; each thread stops when it next enters or leaves the kernel
        let threads = PathBuf::from(format!("/proc/{}/task", self.process.id()));
        let is_stopped = |thread: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // the state stands behind the name, which is in brackets (proc_pid_stat(5))
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        for _ in 0..10_000 {
            let mut all = std::fs::read_dir(&threads).expect("its threads").flatten();
            if all.all(is_stopped) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("process {} did not stop", self.process.id());
    }

    /// Kills it with SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("gone");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that nobody uses now and that no other test of this process was given. It lies below
/// those that the system gives by itself, to our raw servers and to every connection: a peer that is
/// just starting would lose it to them.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: Mutex<Option<u32>> = Mutex::new(None);
    let mut next = NEXT.lock().expect("no test panics here");
    loop {
        let candidate = next.unwrap_or_else(|| std::process::id().wrapping_mul(37)) % COUNT;
        *next = Some(candidate + 1);
        let port = u16::try_from(FIRST + candidate).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A foreign peer's program. Says so where it is left out, and fails where it is required and
/// missing.
pub fn peer_or_say_so(program: &str) -> Option<PathBuf> {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target").join("peers/venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // servers are not on everybody's path
    folders.extend([peers, PathBuf::from("/usr/sbin")]);
    let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
    match std::env::var("MILLSTREAM_PEERS").as_deref() {
        Ok("required") => {
            assert!(found.is_some(), "{program} is required and not installed: cargo xtask peers");
            found
        }
        Ok("skip") => {
            eprintln!("LEFT OUT: {program}, as asked");
            None
        }
        _ => {
            if found.is_none() {
                eprintln!("LEFT OUT: {program} is not installed; `cargo xtask test` installs and uses it");
            }
            found
        }
    }
}
