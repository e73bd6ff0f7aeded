//! What the tests of the real binary share: start it, ask it over HTTP, start peers, wait.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod bad_device;
pub mod browser;
pub mod business;
pub mod demo;
pub mod history;
pub mod site;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a test waits for what must come. Never asserted as a duration: only "it came".
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that does not outlive the test.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody uses now and that no other test of this process was given: the port of a
/// server that is just being started again is free for a moment.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        if GIVEN.lock().expect("no test panics here").insert(port) {
            return port;
        }
    }
}

/// The built server.
pub fn millstream() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millstream"))
}

/// The build folder: where the server, `loadgen` and the peers are.
pub fn target() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_millstream"));
    binary.ancestors().nth(2).expect("target/profile/millstream").to_path_buf()
}

/// The load generator, built now if it is not there.
pub fn loadgen() -> Command {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_millstream")).with_file_name("loadgen");
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let release = if cfg!(debug_assertions) { &[][..] } else { &["--release"][..] };
        let built =
            Command::new(cargo).args(["build", "--package", "loadgen"]).args(release).status().expect("cargo runs");
        assert!(built.success(), "loadgen does not build");
    }
    Command::new(binary)
}

/// A running server with a folder of its own.
pub struct Server {
    /// Its folder: configuration, data, output.
    pub folder: tempfile::TempDir,
    /// Its HTTP port.
    pub http: u16,
    /// Its port for native frames.
    pub native: u16,
    io: String,
    process: Option<Guard>,
}

impl Server {
    /// Starts a server with these sections beside `[server]`, and waits until it is ready.
    pub fn start(sections: &str) -> Server {
        Server::start_with(sections, 1, "auto")
    }

    /// The same with a number of shards and a way to the kernel.
    pub fn start_with(sections: &str, cores: usize, io: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let (http, native) = (free_port(), free_port());
        let data = folder.path().join("data");
        let text = format!(
            "[server]\ndata_dir = {:?}\nhttp = \"127.0.0.1:{http}\"\nnative = \"127.0.0.1:{native}\"\n\n\
             [cores]\ncount = {cores}\n\n{sections}",
            data.display().to_string()
        );
        fs::write(folder.path().join("millstream.toml"), text).expect("written");
        let mut server = Server { folder, http, native, io: io.to_owned(), process: None };
        server.run();
        server
    }

    /// Starts the process (again) and waits until it is ready.
    pub fn run(&mut self) {
        let file = self.folder.path().join("millstream.toml");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).expect("a log");
        let mut command = millstream();
        command.arg("run").arg(file).args(["--io", &self.io]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a copy")).stderr(log);
        self.process = Some(Guard(command.spawn().expect("the server starts")));
        wait_for("the server is ready", || {
            let process = &mut self.process.as_mut().expect("running").0;
            assert!(process.try_wait().expect("a state").is_none(), "the server ended:\n{}", self.log());
            self.try_get("/readyz").map(drop)
        });
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to stop with SIGTERM and waits for its end; answers its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("running");
        let asked = Command::new("kill").arg(process.0.id().to_string()).status().expect("kill runs");
        assert!(asked.success());
        process.0.wait().expect("it ends").code()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("running").0.id()
    }

    /// How long its shards and a thread of this test have waited for a core so far: what a machine
    /// with other work takes from them. From the kernel's own account (proc_pid_schedstat).
    pub fn waited_for_core(&self, beside: Option<&str>) -> Duration {
        let waited = |pid: u32, counts: &dyn Fn(&str) -> bool| -> u64 {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let read = |task: fs::DirEntry, file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            tasks
                .filter(|task| counts(fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim()))
                .filter_map(|task| read(task, "schedstat").split(' ').nth(1)?.parse::<u64>().ok())
                .sum()
        };
        let shards = waited(self.pid(), &|name| name.starts_with("shard-"));
        Duration::from_nanos(shards + waited(std::process::id(), &|name| Some(name) == beside))
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// An address of its API.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// JSON of a path; `None` where there is no good answer.
    pub fn try_get(&self, path: &str) -> Option<Value> {
        let mut answer = ureq::get(self.url(path)).call().ok()?;
        answer.body_mut().read_json().ok()
    }

    /// JSON of a path that must answer.
    pub fn get(&self, path: &str) -> Value {
        let mut answer =
            ureq::get(self.url(path)).call().unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()));
        answer.body_mut().with_config().limit(64 << 20).read_json().expect("JSON")
    }

    /// The latest of one tag.
    pub fn latest(&self, tag: &str) -> Option<Value> {
        self.get(&format!("/v1/latest?match={tag}")).as_array().and_then(|all| all.first().cloned())
    }
}

/// Waits until something is there.
pub fn wait_for<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether foreign peers are to be used. Says so where they are left out, and fails where they are
/// required and missing.
pub fn peers_or_say_so(needed: &str) -> bool {
    let there = target().join("peers").join(needed).exists();
    match std::env::var("MILLSTREAM_PEERS").as_deref() {
        Ok("required") => {
            assert!(there, "{needed} is required and not installed: cargo xtask peers");
            true
        }
        Ok("skip") => {
            eprintln!("LEFT OUT: {needed}, as asked");
            false
        }
        _ if there => true,
        _ => {
            eprintln!("LEFT OUT: {needed} is not installed; `cargo xtask test` installs and uses it");
            false
        }
    }
}

/// A peer that prints lines.
pub struct Peer {
    process: Guard,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a peer's program.
    pub fn start(command: &mut Command) -> Peer {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer starts");
        let lines = BufReader::new(process.stdout.take().expect("its output"));
        Peer { process: Guard(process), lines }
    }

    /// Its next line.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("text");
        assert!(length > 0, "the peer ended");
        line.trim().to_owned()
    }

    /// Its next line that is JSON.
    pub fn json(&mut self) -> Value {
        loop {
            let line = self.line();
            if line.starts_with('{') {
                return serde_json::from_str(&line).expect("JSON");
            }
        }
    }

    /// Tells it to go on.
    pub fn go(&mut self) {
        let input = self.process.0.stdin.as_mut().expect("its input");
        input.write_all(b"go\n").and_then(|()| input.flush()).expect("told");
    }
}
