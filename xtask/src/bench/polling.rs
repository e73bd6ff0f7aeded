//! `cargo xtask bench polling`: Modbus polling, seen from the devices (P6, P7).
//!
//! Whoever polls has one core, the devices another; what is compared is measured in turns in one run,
//! each with devices and a server that were just started. Parts:
//! - `fast`: one device over one connection as fast as it goes, by Millstream, by a bare pipelined
//!   client that decodes and stores nothing, and by tokio-modbus;
//! - `link`: the same with a round trip of 5 ms, made by the device;
//! - `tags`: 100,000 tags every second, with the depth left out (sixteen seconds are enough to find it out
//!   from eight requests a second and device) and told, and what a server costs that polls one;
//! - `jitter`: 1,000 devices every 10 ms, by Millstream and by a bare client that never sleeps, decodes and
//!   stores nothing;
//! - `commands`: writes over HTTP while little, much and as much as possible is polled.

use super::report;
use super::table::median;
use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const SERVER_CORE: u32 = 1;
const LOAD_CORE: u32 = 0;
/// First port of the devices; they are known before the devices are there.
const PORT: u16 = 21_000;
/// Registers of the device that is read as fast as it goes, in blocks of 125: 480 requests a cycle.
const REGISTERS: u32 = 60_000;
/// Registers from tag to tag where a request is to have few of them: 11 of 125.
const SPARSE: u32 = 12;
/// The long link.
const ROUND_TRIP: &str = "5ms";
/// The configuration gives no depth: the server finds it out.
const FOUND_OUT: u32 = 0;
/// Most requests under way at once.
const DEEPEST: u32 = 16;
/// How long a server whose depth is to be found out runs before it is measured: ten cycles of a second are
/// enough for a depth of eight, where nothing disturbs them.
const FINDING: Duration = Duration::from_secs(16);
/// Points of a batch of commands, and single commands a second.
const POINTS: u32 = 100;
const COMMANDS_PER_S: &str = "100";

/// Who polls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Millstream,
    Bare,
    TokioModbus,
    Paced,
}

/// One measurement.
#[derive(Clone, Copy)]
struct Job {
    who: Who,
    devices: u32,
    tags: u32,
    stride: u32,
    every: &'static str,
    depth: u32,
    is_far: bool,
    has_commands: bool,
}

impl Job {
    /// One device, everything of it, as fast as it goes.
    const fn fast(who: Who, depth: u32, stride: u32) -> Job {
        let tags = REGISTERS / stride;
        Job { who, devices: 1, tags, stride, every: "1ms", depth, is_far: false, has_commands: false }
    }

    const fn far(self) -> Job {
        Job { is_far: true, ..self }
    }

    /// Many devices, so often.
    const fn paced(devices: u32, tags: u32, every: &'static str) -> Job {
        let who = Who::Millstream;
        Job { who, devices, tags, stride: 1, every, depth: FOUND_OUT, is_far: false, has_commands: false }
    }

    /// With that depth in the configuration.
    const fn deep(self, depth: u32) -> Job {
        Job { depth, ..self }
    }

    /// By a client that does nothing else.
    const fn bare(self) -> Job {
        Job { who: Who::Paced, depth: 1, ..self }
    }

    const fn commanded(self) -> Job {
        Job { has_commands: true, ..self }
    }

    /// What describes the devices, for their configuration and for themselves.
    fn devices(&self) -> Command {
        let mut command = Command::new(binary("loadgen"));
        command.args(["modbus", "--every", self.every, "--port", &PORT.to_string()]);
        for (name, number) in [
            ("--devices", self.devices),
            ("--tags", self.tags),
            ("--stride", self.stride),
            ("--depth", self.depth),
            ("--points", if self.has_commands { POINTS } else { 0 }),
        ] {
            command.args([name, &number.to_string()]);
        }
        command
    }

    fn measure(&self, seconds: u32) -> Result<Value, Story> {
        let mut devices = self.devices();
        let (pid, _guard) = match self.who {
            Who::Millstream => {
                let (server, http) = self.server()?;
                devices.args(["--http", &http]);
                server
            }
            Who::Bare => self.client("bare")?,
            Who::TokioModbus => self.client("tokio-modbus")?,
            Who::Paced => self.client("paced")?,
        };
        devices.args(["--measure", "--json", "--seconds", &seconds.to_string(), "--server-pid", &pid.to_string()]);
        devices.args(["--core", &LOAD_CORE.to_string(), "--server-core", &SERVER_CORE.to_string()]);
        if self.is_far {
            devices.args(["--round-trip", ROUND_TRIP]);
        }
        if self.has_commands {
            devices.args(["--commands", COMMANDS_PER_S]);
        }
        if self.depth == FOUND_OUT {
            devices.args(["--warm-up", &format!("{}ms", FINDING.as_millis())]);
        }
        let found = report(&mut devices)?;
        if found["commands"]["failed"].as_u64().is_some_and(|failed| failed > 0) {
            return Err(format!("commands failed: {}", found["commands"]));
        }
        Ok(found)
    }

    /// A server that polls these devices, its process and its HTTP address.
    fn server(&self) -> Result<((u32, Guard), String), Story> {
        let data = target().join("fault/polling-data");
        let _ = fs::remove_dir_all(&data);
        let file = target().join("fault/polling-devices.toml");
        fs::create_dir_all(target().join("fault")).map_err(|error| format!("cannot create a folder: {error}"))?;
        shell::run(self.devices().arg("--config").arg(&file))?;
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let at = text.find("[[source]]").ok_or("the configuration of the devices has no source")?;
        let site = Site::new(
            "polling",
            &data,
            "auto",
            "segment = \"64MiB\"",
            &format!("[cores]\ncount = 1\n\n{}", &text[at..]),
        )?;
        let mut server = Guard(site.start_on(SERVER_CORE)?);
        site.wait_ready(&mut server.0)?;
        Ok(((server.0.id(), server), site.http_address()))
    }

    /// A client that polls the first device, or all, until it is ended.
    fn client(&self, name: &str) -> Result<(u32, Guard), Story> {
        let mut command = Command::new("taskset");
        command.args(["-c", &SERVER_CORE.to_string()]).arg(binary("loadgen"));
        command.args(["poll", "--client", name, "--depth", &self.depth.to_string(), "--seconds", "600"]);
        if self.who == Who::Paced {
            command.args(["--devices", &self.devices.to_string(), "--every", self.every]);
            command.args(["--registers", &self.tags.to_string()]);
        }
        command.args(["--address", &format!("127.0.0.1:{PORT}")]).stdin(Stdio::null()).stderr(Stdio::null());
        let client = command.spawn().map_err(|error| format!("loadgen poll could not be started: {error}"))?;
        Ok((client.id(), Guard(client)))
    }
}

/// Measures one part, or all, and prints.
pub fn run(part: &str, seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    if !is_built {
        shell::build(&["millstream", "loadgen"])?;
    }
    let is_asked = |name: &str| part == name || part == "all";
    if is_asked("fast") {
        println!("\none device, one connection, as fast as it goes:\n");
        compare(Job::fast, seconds, rounds)?;
    }
    if is_asked("link") {
        println!(
            "\nthe same with a round trip of {ROUND_TRIP} (the device's timer rounds up to the next millisecond):\n"
        );
        compare(|who, depth, stride| Job::fast(who, depth, stride).far(), seconds, rounds)?;
    }
    if is_asked("tags") {
        println!("\nwhere the depth is left out, measured after {} s:", FINDING.as_secs());
        paced(
            &[
                ("one tag every second", Job::paced(1, 1, "1s")),
                ("100,000 tags every second", Job::paced(100, 1_000, "1s")),
                ("the same, depth 16", Job::paced(100, 1_000, "1s").deep(DEEPEST)),
            ],
            seconds,
            rounds,
        )?;
    }
    if is_asked("jitter") {
        let many = Job::paced(1_000, 10, "10ms");
        paced(
            &[
                ("1,000 devices with 10 tags each every 10 ms", many),
                ("the same by a bare client that never sleeps", many.bare()),
            ],
            seconds,
            rounds,
        )?;
    }
    if is_asked("commands") {
        commands(seconds, rounds)?;
    }
    Ok(())
}

/// The figures of one kind of run, over all rounds.
struct Runs(Vec<Value>);

impl Runs {
    fn middle(&self, path: &str) -> f64 {
        median(self.0.iter().filter_map(|run| run.pointer(path)?.as_f64()).collect())
    }

    fn ms(&self, path: &str) -> f64 {
        self.middle(path) / 1e6
    }

    /// CPU of whoever polls, of one request.
    fn cpu_us_per_poll(&self) -> f64 {
        self.middle("/server_cpu_share") / self.middle("/polls_per_s") * 1e6
    }
}

/// Measures each job once a round, in turns.
fn in_turns(jobs: &[Job], seconds: u32, rounds: u32) -> Result<Vec<Runs>, Story> {
    let mut all: Vec<Runs> = jobs.iter().map(|_| Runs(Vec::new())).collect();
    for _ in 0..rounds {
        for (job, runs) in jobs.iter().zip(&mut all) {
            runs.0.push(job.measure(seconds)?);
        }
    }
    Ok(all)
}

fn compare(job: impl Fn(Who, u32, u32) -> Job, seconds: u32, rounds: u32) -> Result<(), Story> {
    let rows = [
        ("Millstream, 11 tags a request", job(Who::Millstream, 1, SPARSE)),
        ("Millstream, 125 tags a request", job(Who::Millstream, 1, 1)),
        ("tokio-modbus", job(Who::TokioModbus, 1, 1)),
        ("bare client", job(Who::Bare, 1, 1)),
        ("Millstream, 11 tags a request", job(Who::Millstream, 16, SPARSE)),
        ("Millstream, 125 tags a request", job(Who::Millstream, 16, 1)),
        ("Millstream, 125 tags a request, depth found out", job(Who::Millstream, FOUND_OUT, 1)),
        ("bare client", job(Who::Bare, 16, 1)),
    ];
    let jobs = rows.map(|(_, job)| job);
    let all = in_turns(&jobs, seconds, rounds)?;
    let rate = |who: Who, depth: u32| {
        let at = jobs.iter().position(|job| job.who == who && job.depth == depth);
        at.map_or(f64::NAN, |at| all[at].middle("/polls_per_s"))
    };
    println!(
        "| client | depth | requests/s | of the bare client | of tokio-modbus | tag values/s | its CPU a request | its core | the device's core |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for ((title, job), runs) in rows.iter().zip(&all) {
        let polls = runs.middle("/polls_per_s");
        let values =
            if job.who == Who::Millstream { format!("{:.0}", polls * values_a_poll(job)) } else { "–".into() };
        println!(
            "| {title} | {} | {polls:.0} | {:.2} | {:.2} | {values} | {:.1} µs | {:.0} % | {:.0} % |",
            if job.depth == FOUND_OUT { "–".to_owned() } else { job.depth.to_string() },
            // what is found out could be as deep as the deepest
            polls / rate(Who::Bare, if job.depth == FOUND_OUT { DEEPEST } else { job.depth }),
            polls / rate(Who::TokioModbus, 1),
            runs.cpu_us_per_poll(),
            runs.middle("/server_cpu_share") * 100.0,
            runs.middle("/own_cpu_share") * 100.0
        );
    }
    Ok(())
}

/// Tags that one of the device's requests has.
fn values_a_poll(job: &Job) -> f64 {
    f64::from(125_u32.div_ceil(job.stride).min(job.tags))
}

fn paced(rows: &[(&str, Job)], seconds: u32, rounds: u32) -> Result<(), Story> {
    let jobs: Vec<Job> = rows.iter().map(|(_, job)| *job).collect();
    let all = in_turns(&jobs, seconds, rounds)?;
    println!(
        "\n| | requests/s of asked | tag values/s | cycles left out | interval's deviation p50 / p99 / p99.9 | the server's core | the devices' core | CPU a value | hiccups p99.9 |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for ((title, _), runs) in rows.iter().zip(&all) {
        println!(
            "| {title} | {:.0} of {:.0} | {:.0} | {:.0} | {:.3} / {:.3} / {:.3} ms | {:.1} % | {:.1} % | {:.0} ns | {:.3} ms |",
            runs.middle("/polls_per_s"),
            runs.middle("/polls_asked_per_s"),
            runs.middle("/values_per_s"),
            runs.middle("/cycles_missed"),
            runs.ms("/interval_deviation/p50_ns"),
            runs.ms("/interval_deviation/p99_ns"),
            runs.ms("/interval_deviation/p99_9_ns"),
            runs.middle("/server_cpu_share") * 100.0,
            runs.middle("/own_cpu_share") * 100.0,
            runs.middle("/server_cpu_ns_per_value"),
            runs.ms("/hiccups/p99_9_ns")
        );
    }
    Ok(())
}

fn commands(seconds: u32, rounds: u32) -> Result<(), Story> {
    let rows = [
        ("100 tags every second", Job::paced(1, POINTS, "1s").commanded()),
        ("100,000 tags every second", Job::paced(100, 1_000, "1s").commanded()),
        ("100 devices with 100 tags each every 10 ms", Job::paced(100, 100, "10ms").commanded()),
        ("the written device as fast as it goes, depth 1", Job::fast(Who::Millstream, 1, SPARSE).commanded()),
        ("the same, depth 16", Job::fast(Who::Millstream, 16, SPARSE).commanded()),
    ];
    let jobs = rows.map(|(_, job)| job);
    let all = in_turns(&jobs, seconds, rounds)?;
    println!(
        "\n| polled meanwhile | requests/s | one point p50 / p99 | {POINTS} points, one call after the other p50 / p99 | {POINTS} points, all calls at once p50 / p99 | {POINTS} points in one call p50 / p99 |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    for ((title, _), runs) in rows.iter().zip(&all) {
        let time = |what: &str| {
            let ms = |percentile: &str| runs.ms(&format!("/commands/{what}/{percentile}_ns"));
            format!("{:.2} / {:.2} ms", ms("p50"), ms("p99"))
        };
        let polls = runs.middle("/polls_per_s");
        println!(
            "| {title} | {polls:.0} | {} | {} | {} | {} |",
            time("single"),
            time("in_a_row"),
            time("at_once"),
            time("batch")
        );
    }
    Ok(())
}
