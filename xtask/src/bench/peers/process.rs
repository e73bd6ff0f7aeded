//! Peers as processes: got from Debian, started on a core, asked over HTTP, ended, their files counted.

use super::SERVER_CORE;
use crate::fault::Guard;
use crate::shell::{self, Story, target};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a peer may take to start, to answer, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer's program: what the system has, or what the Debian package holds. The package is unpacked
/// below target/peers and not installed, so that nothing is started and nothing needs root.
pub fn program(package: &str, name: &str) -> Result<PathBuf, Story> {
    let folder = target().join("peers/debian");
    let found = || {
        let places = ["/usr/sbin", "/usr/bin"].map(|place| PathBuf::from(place).join(name));
        let unpacked = ["usr/sbin", "usr/bin"].map(|place| folder.join(place).join(name));
        places.into_iter().chain(unpacked).find(|path| path.exists())
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let download = ["-qq", "-o", "APT::Sandbox::User=root", "download", package];
    if shell::run(Command::new("apt-get").current_dir(&folder).args(download)).is_err() {
        let sudo = if shell::works("sh", &["-c", "test $(id -u) = 0"]) { "env" } else { "sudo" };
        shell::run(Command::new(sudo).args(["apt-get", "-qq", "update"]))?;
        shell::run(Command::new("apt-get").current_dir(&folder).args(download))?;
    }
    let packages = fs::read_dir(&folder).map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
    let begin = format!("{package}_");
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&begin));
    let file = packages.into_iter().find(is_it).ok_or("apt-get downloaded nothing")?;
    shell::run(Command::new("dpkg").arg("-x").arg(file).arg(&folder))?;
    found().ok_or_else(|| format!("the package {package} holds no {name}"))
}

/// A command that runs on the server's core alone.
pub fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &SERVER_CORE.to_string()]).arg(program).stdin(Stdio::null());
    command
}

/// Starts a server whose words go to `log` in its folder, and waits until it answers at `is_ready`.
pub fn start(mut command: Command, folder: &Path, is_ready: impl Fn() -> bool) -> Result<Guard, Story> {
    let file = folder.join("log");
    let log = fs::OpenOptions::new().create(true).append(true).open(&file);
    let log = log.map_err(|error| format!("cannot open {}: {error}", file.display()))?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let shown = format!("{command:?}");
    let child = command.stdout(log).stderr(errors).spawn();
    let mut server = Guard(child.map_err(|error| format!("{shown} could not be started: {error}"))?);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(Some(status)) = server.0.try_wait() {
            let said = fs::read_to_string(&file).unwrap_or_default();
            return Err(format!("{shown} ended with {status}: {said}"));
        }
        if is_ready() {
            return Ok(server);
        }
        sleep(Duration::from_millis(20));
    }
    Err(format!("{shown} did not answer within {PATIENCE:?}"))
}

/// Asks a server to end and waits until it has.
pub fn end(mut server: Guard) -> Result<(), Story> {
    shell::works("kill", &["-TERM", &server.0.id().to_string()]);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(Some(_)) = server.0.try_wait() {
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
    Err(format!("process {} did not end within {PATIENCE:?}, and was killed", server.0.id()))
}

/// What a server answers to GET.
pub fn get(address: &str, path: &str) -> Result<String, Story> {
    call(address, "GET", path)
}

/// What a server answers to POST without a body.
pub fn post(address: &str, path: &str) -> Result<String, Story> {
    call(address, "POST", path)
}

fn call(address: &str, method: &str, path: &str) -> Result<String, Story> {
    let wrong = |error: std::io::Error| format!("http://{address}{path} did not answer: {error}");
    let mut stream = TcpStream::connect(address).map_err(wrong)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(wrong)?;
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(wrong)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(wrong)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.split(' ').nth(1) {
        Some("200" | "204") => Ok(body.to_owned()),
        _ => Err(format!("http://{address}{path} answered {}: {body}", head.lines().next().unwrap_or("nothing"))),
    }
}

/// Bytes that the files below a folder take on the disk.
pub fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |path: PathBuf| match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => disk_bytes(&path),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(|entry| size(entry.path())).sum()
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
}
