//! The demo, `millstream` without arguments, in a folder of the test's choice.

use super::{Guard, PATIENCE, millstream};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A running demo.
pub struct Demo {
    /// Where its dashboard and API are, without the last slash.
    pub url: String,
    log: PathBuf,
    process: Option<Guard>,
}

impl Demo {
    /// Starts it with this working folder and waits for the address that it prints.
    pub fn start(folder: &Path) -> Demo {
        let (out, log) = (folder.join("out"), folder.join("log"));
        let file = |path: &PathBuf| fs::File::create(path).expect("a file");
        let mut command = millstream();
        command.current_dir(folder).stdin(Stdio::null()).stdout(file(&out)).stderr(file(&log));
        let mut process = Guard(command.spawn().expect("the demo starts"));
        let url = super::wait_for("the demo prints its address", || {
            let ended = process.0.try_wait().expect("a state");
            assert!(ended.is_none(), "the demo ended: {}", fs::read_to_string(&log).unwrap_or_default());
            let said = fs::read_to_string(&out).expect("text");
            let line = said.lines().find(|line| line.starts_with("Dashboard"))?.to_owned();
            let at = line.find("http://")?;
            said.ends_with('\n').then(|| line[at..].trim().trim_end_matches('/').to_owned())
        });
        Demo { url, log, process: Some(process) }
    }

    /// JSON of a path; `None` where there is no good answer.
    pub fn try_get(&self, path: &str) -> Option<Value> {
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().ok()?;
        answer.body_mut().read_json().ok()
    }

    /// The latest of all tags that match, asked again while the server does not answer.
    pub fn latest(&self, glob: &str) -> Vec<Value> {
        let path = format!("/v1/latest?match={glob}&limit=10000");
        let all = super::wait_for(&path, || self.try_get(&path));
        all.as_array().expect("a list").clone()
    }

    /// Waits until so many tags match and all of them are good; answers them.
    pub fn good(&self, glob: &str, count: usize) -> Vec<Value> {
        super::wait_for(&format!("{count} good tags of {glob} within {PATIENCE:?}"), || {
            let all = self.latest(glob);
            (all.len() == count && all.iter().all(|latest| latest["quality"] == "Good")).then_some(all)
        })
    }

    /// Asks it to stop with SIGTERM and waits for its end; answers its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let mut process = self.process.take().expect("running");
        let asked = Command::new("kill").arg(process.0.id().to_string()).status().expect("kill runs");
        assert!(asked.success());
        super::wait_for("the demo ends", || process.0.try_wait().expect("a state")).code()
    }

    /// What it said on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
