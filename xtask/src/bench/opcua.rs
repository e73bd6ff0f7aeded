//! `cargo xtask bench opcua`: OPC UA subscriptions, seen between whoever subscribes and the server (P8).
//!
//! Whoever subscribes has one core; the server of the variables, and what looks at everything between
//! the two, have another. Millstream and the bare client are measured in turns in one run, each with a
//! server and a process that were just started. Parts:
//! - `rate`: 1,000, 10,000 and 100,000 variables, by Millstream and by the bare async-opcua client,
//!   whose callback counts and keeps the last value;
//! - `commands`: writes over HTTP while little and much is subscribed to.

use super::rig::{self, LOAD_CORE, SERVER_CORE};
use super::table::{median, middle_of, number, spread, time, times};
use super::{report, verdict};
use crate::fault::{Guard, Site};
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

/// Where the server of the variables is; known before it is there.
const PORT: u16 = 21_840;
/// Points of a batch of commands, and single commands a second.
const POINTS: u32 = 100;
const COMMANDS_PER_S: &str = "50";
/// P8: CPU of the bare client over ours, and how soon this many items stand.
const OF_BARE_MIN: f64 = 0.9;
const ITEMS: u32 = 100_000;
const SUBSCRIBED_NS_MAX: f64 = 10e9;

/// Variables, and how they change.
#[derive(Clone, Copy)]
struct Load {
    devices: u32,
    tags: u32,
    every: &'static str,
    publishing: &'static str,
}

impl Load {
    const fn new(devices: u32, tags: u32, every: &'static str, publishing: &'static str) -> Load {
        Load { devices, tags, every, publishing }
    }

    const fn variables(self) -> u32 {
        self.devices * self.tags
    }

    fn title(self) -> String {
        let (every, publishing) = (self.every, self.publishing);
        format!("{} every {every}, published every {publishing}", thousands(self.variables()))
    }

    /// What describes the variables, for a configuration, for their server and for a client.
    fn words(self, command: &mut Command) {
        command.args(["--devices", &self.devices.to_string(), "--tags", &self.tags.to_string()]);
        command.args(["--every", self.every, "--publishing", self.publishing]);
    }

    fn fleet(self, points: u32) -> Command {
        let mut command = Command::new(binary("loadgen"));
        command.args(["opcua", "--port", &PORT.to_string(), "--points", &points.to_string()]);
        self.words(&mut command);
        command
    }

    /// Measures Millstream, with commands beside if there are points.
    fn millstream(self, seconds: u32, points: u32) -> Result<Value, Story> {
        let data = target().join("fault/opcua-data");
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(target().join("fault")).map_err(|error| format!("cannot create a folder: {error}"))?;
        let file = target().join("fault/opcua-variables.toml");
        shell::run(self.fleet(points).arg("--config-only").arg("--config").arg(&file))?;
        let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let at = text.find("[[source]]").ok_or("the configuration of the variables has no source")?;
        let sections = format!("[cores]\ncount = 1\n\n{}", &text[at..]);
        let site = Site::new("opcua", &data, "auto", rig::LOG, &sections)?;
        let mut server = Guard(site.start_on(SERVER_CORE)?);
        site.wait_ready(&mut server.0)?;
        let mut fleet = self.fleet(points);
        fleet.args(["--http", &site.http_address()]);
        if points > 0 {
            fleet.args(["--commands", COMMANDS_PER_S]);
        }
        let mut found = measure(&mut fleet, server.0.id(), seconds)?;
        if found["commands"]["failed"].as_u64().is_some_and(|failed| failed > 0) {
            return Err(format!("commands failed: {}", found["commands"]));
        }
        found["core"] = rig::core_of(&site)?;
        Ok(found)
    }

    /// Measures the bare client.
    fn bare(self, seconds: u32) -> Result<Value, Story> {
        let mut command = Command::new("taskset");
        command.args(["-c", &SERVER_CORE.to_string()]).arg(binary("loadgen")).arg("subscribe");
        command.args(["--address", &format!("opc.tcp://127.0.0.1:{PORT}/fleet"), "--seconds", "600"]);
        self.words(&mut command);
        let client = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().map(Guard);
        let client = client.map_err(|error| format!("loadgen subscribe could not be started: {error}"))?;
        measure(&mut self.fleet(0), client.0.id(), seconds)
    }
}

fn measure(fleet: &mut Command, pid: u32, seconds: u32) -> Result<Value, Story> {
    fleet.args(["--measure", "--json", "--seconds", &seconds.to_string(), "--server-pid", &pid.to_string()]);
    fleet.args(["--core", &LOAD_CORE.to_string(), "--server-core", &SERVER_CORE.to_string()]);
    report(fleet)
}

/// Measures one part, or both, and prints.
pub fn run(part: &str, seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    rig::prepare("OPC UA", is_built)?;
    let is_asked = |name: &str| part == name || part == "all";
    if is_asked("rate") {
        rate(seconds, rounds)?;
    }
    if is_asked("commands") {
        commands(seconds, rounds)?;
    }
    Ok(())
}

/// The runs of one load.
struct Both {
    load: Load,
    ours: Vec<Value>,
    bare: Vec<Value>,
}

fn rate(seconds: u32, rounds: u32) -> Result<(), Story> {
    let loads = [
        Load::new(10, 100, "100ms", "100ms"),
        Load::new(10, 1_000, "100ms", "100ms"),
        Load::new(100, 1_000, "1s", "100ms"),
        Load::new(100, 1_000, "400ms", "100ms"),
    ];
    let mut all: Vec<Both> = loads.map(|load| Both { load, ours: Vec::new(), bare: Vec::new() }).into();
    for _ in 0..rounds {
        for both in &mut all {
            both.ours.push(both.load.millstream(seconds, 0)?);
            both.bare.push(both.load.bare(seconds)?);
        }
    }
    println!(
        "\n| variables | client | values/s of changed, of asked | ticks missing | overflows | CPU a value | of the bare client | its core | the other core | items made in | interval's deviation p50 / p99 | hiccups p99.9 |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for both in &all {
        print_rows(both);
    }
    println!();
    for both in &all {
        print_verdict(both);
    }
    verdict::print_disturbed(
        all.iter().flat_map(|both| both.ours.iter().chain(&both.bare)).map(|run| number(&run["others_on_server_core"])),
    );
    Ok(())
}

fn print_rows(both: &Both) {
    let of_bare = cpu_of_bare(both);
    for (client, runs, of) in [("Millstream", &both.ours, format!("{of_bare:.2}")), ("bare", &both.bare, "1.00".into())]
    {
        let middle = |name: &str| middle_of(runs, |run| number(&run[name]));
        let sum = |name: &str| runs.iter().map(|run| number(&run[name])).sum::<f64>();
        println!(
            "| {} | {client} | {:.0} of {:.0}, of {:.0} | {:.0} | {:.0} | {} | {of} | {:.1} % | {:.1} % | {} | {} | {} |",
            both.load.title(),
            middle("values_per_s"),
            middle("changes_per_s"),
            middle("values_asked_per_s"),
            sum("missing"),
            sum("overflowed"),
            spread(runs, |run| number(&run["server_cpu_ns_per_value"]), time),
            middle("server_cpu_share") * 100.0,
            middle("own_cpu_share") * 100.0,
            spread(runs, |run| number(&run["subscribed_ns"]), time),
            times(&runs[0]["interval_deviation"], &["p50_ns", "p99_ns"]),
            times(&runs[0]["hiccups"], &["p99_9_ns"]),
        );
    }
}

/// CPU a value of the bare client over ours, round by round: each pair was measured one after the other.
fn cpu_of_bare(both: &Both) -> f64 {
    let pairs = both.bare.iter().zip(&both.ours);
    median(pairs.map(|(bare, ours)| cpu(bare) / cpu(ours)).collect())
}

fn cpu(run: &Value) -> f64 {
    number(&run["server_cpu_ns_per_value"])
}

fn print_verdict(both: &Both) {
    let of_bare = cpu_of_bare(both);
    let rates = both.ours.iter().zip(&both.bare);
    let rate =
        median(rates.map(|(ours, bare)| number(&ours["values_per_s"]) / number(&bare["values_per_s"])).collect());
    let title = both.load.title();
    println!(
        "{title}: CPU of the bare client over ours {of_bare:.2} (goal {OF_BARE_MIN}): {}; values/s over the bare client's {rate:.2}",
        verdict::of(of_bare >= OF_BARE_MIN)
    );
    let counted = |name: &str| both.ours.iter().filter_map(|run| run["server_counters"][name].as_u64()).sum::<u64>();
    let stored = |name: &str| both.ours.iter().filter_map(|run| run["stored"][name].as_u64()).sum::<u64>();
    println!(
        "  Millstream counted {} samples, {} messages, {} overflows, {} lost messages, {} shed, {} reconnects; of {} values read back, {} variables differ",
        counted("samples"),
        counted("notifications"),
        counted("overflows"),
        counted("sequence_gaps"),
        counted("shed"),
        counted("reconnects"),
        stored("values"),
        stored("differing")
    );
    if both.load.variables() >= ITEMS {
        let worst = both.ours.iter().map(|run| number(&run["subscribed_ns"])).fold(0.0, f64::max);
        println!(
            "  {} items made in {} at most (goal {}): {}",
            thousands(both.load.variables()),
            time(worst),
            time(SUBSCRIBED_NS_MAX),
            verdict::of(worst <= SUBSCRIBED_NS_MAX)
        );
    }
}

fn commands(seconds: u32, rounds: u32) -> Result<(), Story> {
    let loads = [
        Load::new(1, 100, "1s", "1s"),
        Load::new(10, 1_000, "100ms", "100ms"),
        Load::new(99, 1_000, "1s", "100ms"),
        Load::new(99, 1_000, "400ms", "100ms"),
    ];
    let mut all: Vec<(Load, Vec<Value>)> = loads.map(|load| (load, Vec::new())).into();
    for _ in 0..rounds {
        for (load, runs) in &mut all {
            runs.push(load.millstream(seconds, POINTS)?);
        }
    }
    println!(
        "\n| variables meanwhile | values/s | one point p50 / p99 | {POINTS} points, one call after the other p50 / p99 | {POINTS} points, all calls at once p50 / p99 | {POINTS} points in one call p50 / p99 | its core | the other core |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (load, runs) in &all {
        let of = |what: &str| {
            let middle = |percentile: &str| time(middle_of(runs, |run| number(&run["commands"][what][percentile])));
            format!("{} / {}", middle("p50_ns"), middle("p99_ns"))
        };
        let middle = |name: &str| middle_of(runs, |run| number(&run[name]));
        println!(
            "| {} | {:.0} | {} | {} | {} | {} | {:.1} % | {:.1} % |",
            load.title(),
            middle("values_per_s"),
            of("single"),
            of("in_a_row"),
            of("at_once"),
            of("batch"),
            middle("server_cpu_share") * 100.0,
            middle("own_cpu_share") * 100.0
        );
    }
    Ok(())
}

/// A number with its thousands apart.
fn thousands(number: u32) -> String {
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}
