//! VictoriaMetrics, single node.

use super::{Server, Settled, acknowledged, line_words, process};
use crate::fault::{Guard, free_port};
use crate::shell::Story;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A server of its Debian package.
pub struct Victoria {
    program: PathBuf,
    address: String,
}

impl Victoria {
    pub fn new() -> Result<Victoria, Story> {
        Ok(Victoria { program: process::program("victoria-metrics", "victoria-metrics")?, address: String::new() })
    }

    /// How many samples there are.
    fn count(&self) -> Result<u64, Story> {
        let time = process::now_ns() / 1_000_000_000 + 1_800;
        let query = "sum(count_over_time(loadgen_v[1h]))".replace('[', "%5B").replace(']', "%5D");
        let text = process::get(&self.address, &format!("/api/v1/query?query={query}&time={time}&nocache=1"))?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("/api/v1/query: {error}"))?;
        let count = answer["data"]["result"][0]["value"][1].as_str().and_then(|count| count.parse().ok());
        count.ok_or_else(|| format!("VictoriaMetrics does not say how many samples it has: {text}"))
    }
}

impl Server for Victoria {
    fn name(&self) -> String {
        "VictoriaMetrics 1.79, line protocol to /write".to_owned()
    }

    fn promise(&self) -> &'static str {
        "acknowledged from memory: a power cut loses what was not flushed; parses, indexes and compresses every sample"
    }

    fn flushed(&self) -> &'static str {
        "/internal/force_flush, then asked to end (SIGTERM)"
    }

    fn start(&mut self, folder: &Path) -> Result<Guard, Story> {
        self.address = format!("127.0.0.1:{}", free_port()?);
        let mut command = process::pinned(&self.program);
        command.arg(format!("-storageDataPath={}", folder.join("data").display()));
        command.args([&format!("-httpListenAddr={}", self.address), "-search.latencyOffset=0s", "-loggerLevel=WARN"]);
        process::start(command, folder, || process::get(&self.address, "/health").is_ok())
    }

    fn load(&self) -> Vec<String> {
        line_words(&format!("http://{}/write?db=rig", self.address))
    }

    fn settle(&mut self, server: Guard, folder: &Path, report: &Value) -> Result<Settled, Story> {
        process::get(&self.address, "/internal/force_flush")?;
        let samples = self.count()?;
        process::end(server)?;
        let bytes = process::disk_bytes(&folder.join("data"));
        Ok(Settled { samples, acknowledged: acknowledged(report)?, bytes, written: samples })
    }
}
