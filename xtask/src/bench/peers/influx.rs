//! InfluxDB 1.x.

use super::{Server, Settled, acknowledged, line_words, process};
use crate::fault::{Guard, free_port};
use crate::shell::Story;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long its cache may take to become files.
const SNAPSHOT: Duration = Duration::from_secs(20);
/// What it says when its cache is in files. It leaves the last write-ahead log where it is.
const SNAPSHOT_END: &str = "Cache snapshot (end)";

/// A server of its Debian package.
pub struct Influx {
    program: PathBuf,
    address: String,
}

impl Influx {
    pub fn new() -> Result<Influx, Story> {
        Ok(Influx { program: process::program("influxdb", "influxd")?, address: String::new() })
    }

    fn command(&mut self, folder: &Path) -> Result<Command, Story> {
        self.address = format!("127.0.0.1:{}", free_port()?);
        let file = folder.join("influxdb.conf");
        let place = |name: &str| format!("{:?}", folder.join("data").join(name).display().to_string());
        // the log of every request and the monitoring of itself are work that the others do not do
        let text = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n[meta]\ndir = {}\n[data]\ndir = {}\nwal-dir = {}\n\
             query-log-enabled = false\n[http]\nbind-address = {:?}\nlog-enabled = false\n[monitor]\nstore-enabled = false\n",
            free_port()?,
            place("meta"),
            place("tsm"),
            place("wal"),
            self.address
        );
        fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let mut command = process::pinned(&self.program);
        command.arg("-config").arg(file);
        Ok(command)
    }

    fn answer(&self, query: &str) -> Result<Value, Story> {
        let text = process::get(&self.address, &format!("/query?db=rig&q={}", query.replace(' ', "%20")))?;
        serde_json::from_str(&text).map_err(|error| format!("/query: {error}"))
    }

    fn count(&self) -> Result<u64, Story> {
        let answer = self.answer("SELECT COUNT(v) FROM loadgen")?;
        let count = answer["results"][0]["series"][0]["values"][0][1].as_u64();
        count.ok_or_else(|| format!("InfluxDB does not say how many samples it has: {answer}"))
    }
}

impl Server for Influx {
    fn name(&self) -> String {
        "InfluxDB 1.6, line protocol to /write".to_owned()
    }

    fn promise(&self) -> &'static str {
        "acknowledged after the sync of its write-ahead log (its default); parses, indexes and caches every sample"
    }

    fn flushed(&self) -> &'static str {
        "ended (SIGTERM) and started again with cache-snapshot-write-cold-duration = 1s, until its cache was in files; its write-ahead log is not counted"
    }

    fn start(&mut self, folder: &Path) -> Result<Guard, Story> {
        let command = self.command(folder)?;
        let server = process::start(command, folder, || process::get(&self.address, "/ping").is_ok())?;
        process::post(&self.address, "/query?q=CREATE%20DATABASE%20rig")?;
        Ok(server)
    }

    fn load(&self) -> Vec<String> {
        line_words(&format!("http://{}/write?db=rig", self.address))
    }

    fn settle(&mut self, server: Guard, folder: &Path, report: &Value) -> Result<Settled, Story> {
        process::end(server)?;
        // what the load's own snapshots said is not asked for
        fs::write(folder.join("log"), "").map_err(|error| format!("cannot empty InfluxDB's log: {error}"))?;
        let mut command = self.command(folder)?;
        command.env("INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION", "1s");
        let server = process::start(command, folder, || process::get(&self.address, "/ping").is_ok())?;
        let samples = self.count()?;
        let began = Instant::now();
        let said = |words: &str| fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains(words));
        while !said(SNAPSHOT_END) {
            if began.elapsed() > SNAPSHOT {
                return Err(format!("InfluxDB did not write its cache within {SNAPSHOT:?}"));
            }
            sleep(Duration::from_millis(50));
        }
        process::end(server)?;
        let bytes = process::disk_bytes(&folder.join("data/tsm"));
        Ok(Settled { samples, acknowledged: acknowledged(report)?, bytes, written: samples })
    }
}
