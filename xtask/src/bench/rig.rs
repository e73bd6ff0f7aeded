//! Where a benchmark runs that gives the server one core and everything that loads it another.

use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Core of the server, and core of everything that loads it.
pub const SERVER_CORE: u32 = 1;
pub const LOAD_CORE: u32 = 0;

/// A log that is as long as it may be a second after the start, as a plant's is for most of its life: files
/// are used again.
pub const LOG: &str = "segment = \"64MiB\", keep_bytes = \"256MiB\"";

/// Says why it cannot be measured here, or builds what is measured.
pub fn prepare(what: &str, is_built: bool) -> Result<(), Story> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores < 2 || !shell::works("taskset", &["-V"]) {
        return Err(format!("{what} is measured with two cores, one for the server and one for the load, and taskset"));
    }
    if is_built { Ok(()) } else { shell::build(&["millstream", "loadgen"]) }
}

/// A server's place; each measurement starts it anew.
pub struct Rig {
    pub site: Site,
    data: PathBuf,
}

impl Rig {
    /// A place under a name of its own, with one shard and the sections that these words of loadgen
    /// write.
    pub fn new(name: &str, words: &[&str]) -> Result<Rig, Story> {
        let folder = target().join("fault").join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let sections = folder.join("sections.toml");
        let mut command = Command::new(binary("loadgen"));
        shell::run(command.args(words).arg("--config").arg(&sections))?;
        let sections =
            fs::read_to_string(&sections).map_err(|error| format!("cannot read {}: {error}", sections.display()))?;
        let data = target().join("fault").join(format!("{name}-data"));
        let site = Site::new(name, &data, "auto", LOG, &format!("[cores]\ncount = 1\n\n{sections}"))?;
        Ok(Rig { site, data })
    }

    /// A server without data, alone on its core.
    pub fn server(&self) -> Result<Guard, Story> {
        let _ = fs::remove_dir_all(&self.data);
        let mut server = Guard(self.site.start_on(SERVER_CORE)?);
        self.site.wait_ready(&mut server.0)?;
        Ok(server)
    }

    /// How long a write of 4 KiB and its sync take where the server's data lies, p99 in nanoseconds.
    pub fn sync_p99_ns(&self, seconds: f64) -> Result<f64, Story> {
        let wrong = |error: std::io::Error| format!("cannot sync a file in {}: {error}", self.data.display());
        fs::create_dir_all(&self.data).map_err(wrong)?;
        let path = self.data.join("bare");
        let mut file = fs::File::create(&path).map_err(wrong)?;
        let (start, mut took) = (Instant::now(), Vec::new());
        while start.elapsed().as_secs_f64() < seconds {
            let begun = Instant::now();
            file.write_all(&[0xA5; 4_096]).and_then(|()| file.sync_data()).map_err(wrong)?;
            took.push(begun.elapsed().as_nanos() as f64);
        }
        fs::remove_file(&path).map_err(wrong)?;
        took.sort_by(f64::total_cmp);
        Ok(took[(took.len() * 99 / 100).min(took.len() - 1)])
    }

    /// A load that knows the server's process and prints one JSON object.
    pub fn loadgen(&self, server: &Guard, words: &[&str]) -> Command {
        let mut command = Command::new(binary("loadgen"));
        command.args(words).args(["--json", "--core", &LOAD_CORE.to_string()]);
        command.args(["--server-pid", &server.0.id().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// What the shard says of itself.
    pub fn core(&self) -> Result<Value, Story> {
        core_of(&self.site)
    }
}

/// What the first shard of a server says of itself.
pub fn core_of(site: &Site) -> Result<Value, Story> {
    let cores = cores_of(site)?;
    cores.get(0).cloned().ok_or_else(|| format!("/v1/cores shows no core: {cores}"))
}

/// What all shards of a server say of themselves.
pub fn cores_of(site: &Site) -> Result<Value, Story> {
    let wrong = |error: std::io::Error| format!("/v1/cores did not answer: {error}");
    let mut stream = TcpStream::connect(site.http_address()).map_err(wrong)?;
    let request = format!("GET /v1/cores HTTP/1.0\r\nhost: {}\r\n\r\n", site.http_address());
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(wrong)?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(|error| format!("/v1/cores: {error}"))
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// Starts a load.
pub fn start(command: &mut Command) -> Result<Guard, Story> {
    command.spawn().map(Guard).map_err(|error| format!("loadgen could not be started: {error}"))
}

/// Waits for what a load prints. Its exit code says whether something is missing, and so does that.
pub fn answer(mut load: Guard) -> Result<Value, Story> {
    let mut text = String::new();
    let read = |child: &mut Child, text: &mut String| child.stdout.take().map(|mut out| out.read_to_string(text));
    read(&mut load.0, &mut text);
    let status = load.0.wait().map_err(|error| format!("loadgen could not be waited for: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("loadgen ended with {status} and no report: {error}"))
}

/// What the kernel's workers for the log took of the server's core while telemetry came.
#[derive(Clone, Copy, Default)]
pub struct Workers {
    pub cpu_ns: f64,
    /// Times that one of them got the core.
    pub turns: f64,
    pub seconds: f64,
}

impl Workers {
    /// Since the process began (proc_pid_schedstat(5)); those that have ended do not count.
    pub fn of(pid: u32) -> Workers {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let mut all = Workers::default();
        for thread in threads {
            let read = |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            if read("comm").starts_with("iou-wrk") {
                let figures: Vec<f64> =
                    read("schedstat").split(' ').filter_map(|word| word.trim().parse().ok()).collect();
                all.cpu_ns += figures.first().unwrap_or(&0.0);
                all.turns += figures.get(2).unwrap_or(&0.0);
            }
        }
        all
    }

    pub fn since(self, before: Workers, time: Duration) -> Workers {
        Workers { cpu_ns: self.cpu_ns - before.cpu_ns, turns: self.turns - before.turns, seconds: time.as_secs_f64() }
    }
}
