//! NATS JetStream with file storage.

use super::{Server, Settled, acknowledged, process, words};
use crate::fault::{Guard, free_port};
use crate::shell::{self, Story, target};
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// A server of its Debian package, which gets messages of so many samples.
pub struct Nats {
    program: PathBuf,
    samples: u32,
    /// Syncs before it acknowledges.
    syncs: bool,
    address: String,
}

/// One for each size of message, and again with a sync before each acknowledgement where this version can do that.
pub fn all(sizes: &[u32]) -> Result<Vec<Nats>, Story> {
    let program = process::program("nats-server", "nats-server")?;
    let one = |samples, syncs| Nats { program: program.clone(), samples, syncs, address: String::new() };
    let mut all: Vec<Nats> = sizes.iter().map(|samples| one(*samples, false)).collect();
    if can_sync(&program)? {
        all.extend(sizes.iter().map(|samples| one(*samples, true)));
    } else {
        println!("this nats-server knows no `sync_interval: always`: JetStream is measured without sync only\n");
    }
    Ok(all)
}

/// Whether the program takes the setting (version 2.10 and later do).
fn can_sync(program: &Path) -> Result<bool, Story> {
    let folder = target().join("peers");
    let file = folder.join("sync.conf");
    let text = configuration("127.0.0.1:4222", &folder.join("none"), true);
    fs::create_dir_all(&folder).and_then(|()| fs::write(&file, text)).map_err(|error| error.to_string())?;
    Ok(shell::works(&program.display().to_string(), &["-t", "-c", &file.display().to_string()]))
}

fn configuration(address: &str, store: &Path, syncs: bool) -> String {
    let sync = if syncs { ", sync_interval: always" } else { "" };
    format!("listen: {address:?}\njetstream {{ store_dir: {:?}{sync} }}\n", store.display().to_string())
}

impl Server for Nats {
    fn name(&self) -> String {
        let samples = if self.samples == 1 { "sample" } else { "samples" };
        let sync = if self.syncs { ", synced" } else { "" };
        format!("NATS JetStream, file{sync}, messages of {} {samples}", self.samples)
    }

    fn promise(&self) -> &'static str {
        if self.syncs {
            "acknowledged after a sync of its file; messages are opaque: no work per sample, no value can be asked for"
        } else {
            "acknowledged after a write, synced every two minutes; messages are opaque: no work per sample, no value can be asked for"
        }
    }

    fn flushed(&self) -> &'static str {
        "asked to end (SIGTERM)"
    }

    fn start(&mut self, folder: &Path) -> Result<Guard, Story> {
        self.address = format!("127.0.0.1:{}", free_port()?);
        let file = folder.join("nats.conf");
        let text = configuration(&self.address, &folder.join("data"), self.syncs);
        fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let mut command = process::pinned(&self.program);
        command.arg("-c").arg(file);
        process::start(command, folder, || TcpStream::connect(&self.address).is_ok())
    }

    fn load(&self) -> Vec<String> {
        words("nats", &["--address", &self.address, "--message", &self.samples.to_string()])
    }

    fn settle(&mut self, server: Guard, folder: &Path, report: &Value) -> Result<Settled, Story> {
        process::end(server)?;
        let samples = report["samples_stored"].as_u64().unwrap_or(0);
        let bytes = process::disk_bytes(&folder.join("data"));
        Ok(Settled { samples, acknowledged: acknowledged(report)?, bytes, written: samples })
    }
}
