//! Faults on the real server while `loadgen verify` writes: SIGKILL, and power cuts.
//!
//! `loadgen verify` holds what was acknowledged and compares it with what the server answers in the
//! end: lost, duplicated, altered, reordered. A kill keeps the page cache; a power cut (a file
//! system on a loop device, shut down without flushing its journal) does not.

use crate::shell::{self, Story, binary, target, works};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a server may take to be ready, and a verification to end after its last fault.
const PATIENCE: Duration = Duration::from_secs(120);
/// Many segments in little data: more moments for a fault to meet.
const SMALL_SEGMENTS: &str = "segment = \"1MiB\"";

/// A server's place: its folder, its configuration, its ports.
pub struct Site {
    folder: PathBuf,
    configuration: PathBuf,
    native: u16,
    http: u16,
    io: String,
}

impl Site {
    /// A place with one native source named `rig`, these keys of the log, and these sections beside.
    pub fn new(name: &str, data_dir: &Path, io: &str, log: &str, sections: &str) -> Result<Site, Story> {
        let folder = target().join("fault").join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let (native, http) = (free_port()?, free_port()?);
        let configuration = folder.join("millstream.toml");
        let text = format!(
            "[server]\ndata_dir = {:?}\nhttp = \"127.0.0.1:{http}\"\nnative = \"127.0.0.1:{native}\"\n\
             log = {{ {log} }}\n\n[[source]]\nname = \"rig\"\nkind = \"native\"\npath = \"site/rig\"\n\n{sections}",
            data_dir.display().to_string()
        );
        fs::write(&configuration, text).map_err(|error| format!("cannot write the configuration: {error}"))?;
        Ok(Site { folder, configuration, native, http, io: io.to_owned() })
    }

    /// Where it takes native frames.
    pub fn native_address(&self) -> String {
        format!("127.0.0.1:{}", self.native)
    }

    /// Where it answers HTTP.
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http)
    }

    /// Starts the server.
    pub fn start(&self) -> Result<Child, Story> {
        self.start_by(Command::new(binary("millstream")))
    }

    /// Starts the server on one core alone.
    pub fn start_on(&self, core: u32) -> Result<Child, Story> {
        self.start_other_on(&binary("millstream"), core)
    }

    /// Starts another build of the server on one core alone.
    pub fn start_other_on(&self, server: &Path, core: u32) -> Result<Child, Story> {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]).arg(server);
        self.start_by(command)
    }

    fn start_by(&self, mut command: Command) -> Result<Child, Story> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("server.log"));
        let log = log.map_err(|error| format!("cannot open the server's log: {error}"))?;
        command.arg("run").arg(&self.configuration).args(["--io", &self.io]).stdin(Stdio::null());
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        command.stdout(log).stderr(errors).spawn().map_err(|error| format!("the server could not be started: {error}"))
    }

    /// Waits until the server takes connections, so that the next fault meets one that works.
    pub fn wait_ready(&self, server: &mut Child) -> Result<(), Story> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(Some(status)) = server.try_wait() {
                return Err(format!(
                    "the server ended with {status}; see {}",
                    self.folder.join("server.log").display()
                ));
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.native)).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        Err(format!("the server was not ready in {PATIENCE:?}; see {}", self.folder.join("server.log").display()))
    }

    fn verify(&self, seconds: u64) -> Result<Child, Story> {
        let mut command = Command::new(binary("loadgen"));
        command.args(["verify", "--source", "rig", "--seconds", &seconds.to_string(), "--json"]);
        command.args(["--address", &format!("127.0.0.1:{}", self.native)]);
        command.args(["--http", &format!("http://127.0.0.1:{}", self.http)]);
        command.stdin(Stdio::null()).spawn().map_err(|error| format!("loadgen could not be started: {error}"))
    }
}

/// Kills the server at random moments.
pub fn killsweep(points: u32, io: &str) -> Result<(), Story> {
    shell::build(&["millstream", "loadgen"])?;
    let data = target().join("fault").join(format!("kill-{io}-data"));
    let _ = fs::remove_dir_all(&data);
    let site = Site::new(&format!("kill-{io}"), &data, io, SMALL_SEGMENTS, "")?;
    let mut random = Random::new();
    let mut server = Guard(site.start()?);
    site.wait_ready(&mut server.0)?;
    // each kill takes up to 0.4 s of running and what a restart takes; verification goes on a little after the last
    let mut verify = Guard(site.verify(u64::from(points) / 2 + 5)?);
    for point in 0..points {
        sleep(Duration::from_millis(random.below(400)));
        stop(&mut server.0)?;
        server = Guard(site.start()?);
        if point % 5 == 4 {
            site.wait_ready(&mut server.0)?;
        }
    }
    site.wait_ready(&mut server.0)?;
    wait(&mut verify.0, "loadgen verify")?;
    println!("killsweep: {points} kills with --io {io}, nothing acknowledged was lost, doubled or altered");
    Ok(())
}

/// Cuts the power under the server.
pub fn powercut(runs: u32, fs_kind: &str) -> Result<(), Story> {
    if !works("sh", &["-c", "test $(id -u) = 0 && test -e /dev/loop-control"]) {
        if std::env::var_os("CI").is_some() {
            return Err("power cuts need root and loop devices, and CI skips nothing".into());
        }
        println!("powercut: LEFT OUT: it needs root and loop devices, which this machine does not give");
        return Ok(());
    }
    shell::build(&["millstream", "loadgen"])?;
    let disk = LoopDisk::new(fs_kind)?;
    let site = Site::new(&format!("power-{fs_kind}"), &disk.mount.join("data"), "uring", SMALL_SEGMENTS, "")?;
    let mut random = Random::new();
    let mut server = Guard(site.start()?);
    site.wait_ready(&mut server.0)?;
    let mut verify = Guard(site.verify(u64::from(runs) * 3 + 5)?);
    for _ in 0..runs {
        sleep(Duration::from_millis(300 + random.below(1_500)));
        disk.cut()?;
        stop(&mut server.0)?;
        disk.again()?;
        server = Guard(site.start()?);
        site.wait_ready(&mut server.0)?;
    }
    let outcome = wait(&mut verify.0, "loadgen verify");
    drop(server);
    outcome?;
    println!("powercut: {runs} cuts on {fs_kind}, nothing acknowledged was lost, doubled or altered");
    Ok(())
}

/// A file system in a file, which can lose its power.
struct LoopDisk {
    image: PathBuf,
    mount: PathBuf,
    xfs: bool,
}

impl LoopDisk {
    fn new(kind: &str) -> Result<LoopDisk, Story> {
        let folder = target().join("fault").join(format!("disk-{kind}"));
        let disk = LoopDisk { image: folder.join("image"), mount: folder.join("mount"), xfs: kind == "xfs" };
        let _ = Command::new("umount").arg(&disk.mount).stderr(Stdio::null()).status();
        fs::create_dir_all(&disk.mount).map_err(|error| format!("cannot create {}: {error}", disk.mount.display()))?;
        let image = fs::File::create(&disk.image).and_then(|file| file.set_len(512 << 20));
        image.map_err(|error| format!("cannot create {}: {error}", disk.image.display()))?;
        let mkfs = if disk.xfs { "mkfs.xfs" } else { "mkfs.ext4" };
        shell::run(Command::new(mkfs).arg(if disk.xfs { "-fq" } else { "-Fq" }).arg(&disk.image))?;
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), Story> {
        shell::run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    /// Stops the file system at once: nothing in memory reaches the image.
    fn cut(&self) -> Result<(), Story> {
        let mut command = Command::new("xfs_io");
        command.arg("-x").args(if self.xfs { &[][..] } else { &["-F"][..] });
        shell::run(command.args(["-c", "shutdown"]).arg(&self.mount))
    }

    fn again(&self) -> Result<(), Story> {
        // the kernel drops a dead process's io_uring files a moment after the process is gone
        let start = Instant::now();
        while let Err(story) = shell::run(Command::new("umount").arg(&self.mount)) {
            if start.elapsed() > PATIENCE {
                return Err(story);
            }
            sleep(Duration::from_millis(100));
        }
        self.mount()
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.mount).status();
    }
}

/// A process of ours that does not outlive the task.
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stop(server: &mut Child) -> Result<(), Story> {
    server.kill().map_err(|error| format!("the server could not be killed: {error}"))?;
    server.wait().map(drop).map_err(|error| format!("the server could not be waited for: {error}"))
}

fn wait(child: &mut Child, name: &str) -> Result<(), Story> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE * 3 {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{name} ended with {status}")),
            Ok(None) => sleep(Duration::from_millis(50)),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Err(format!("{name} did not end"))
}

/// A port that nobody uses at this moment.
pub fn free_port() -> Result<u16, Story> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// Moments for the faults; their seed is shown, though timing never repeats exactly.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() as u64 | 1;
        eprintln!("fault moments: seed {seed}");
        Random(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
