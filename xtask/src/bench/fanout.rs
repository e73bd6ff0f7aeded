//! `cargo xtask bench fanout`: one event to a hundred subscribers beside telemetry, on one core.
//!
//! The server has one core with one shard; everything that loads it has the other. In turns, each
//! with a server that was started for it:
//! - A: telemetry alone, open loop at half of what the server takes;
//! - B: the same with 100 events a second to 100 subscribers;
//! - C: telemetry as in A while a bare loop keeps the load's core about as busy with the same
//!   subscribers as B does: what the load's own core adds to the times of A, the server having nothing
//!   to do with it. The table shows how busy each kept it, without which C says nothing;
//! - alone: as many deliveries as it takes, without telemetry, and as many as the bare loop makes.

use super::median;
use crate::fault::{Guard, Site, free_port};
use crate::shell::{self, Story, binary, target};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Core of the server, and core of everything that loads it.
const SERVER_CORE: u32 = 1;
const LOAD_CORE: u32 = 0;
/// Events a second, and subscribers of each: 10,000 deliveries a second.
const EVENTS_PER_S: &str = "100";
const SUBSCRIBERS: u32 = 100;
/// Events a second of the bare loop in C: so many that it keeps the load's core as busy as B does.
const BARE_EVENTS_PER_S: &str = "250";
const DELIVERIES_PER_S: f64 = 10_000.0;
/// From the start of `loadgen native` to when it sends: its probe of the platform's hiccups, and
/// connecting. Fan-out begins behind that and ends a little before telemetry does, so that both
/// probes see a quiet server.
const PROBED: Duration = Duration::from_millis(750);
const ENDS_BEFORE_S: f64 = 0.3;
/// Share of the server's core that others may take before a run says nothing certain.
const OTHERS_MAX: f64 = 0.05;
/// Stages that are listed, longest poll first.
const STAGES_SHOWN: usize = 10;
/// Longest time between two looks at telemetry that P4 allows at p99.99, ns.
const LOOK_NS_MAX: f64 = 50_000.0;

/// What one measurement printed.
#[derive(Default)]
struct Measured {
    native: Value,
    fanout: Value,
    core: Value,
    workers: Workers,
}

/// What the kernel's workers for the log took of the server's core while telemetry came.
#[derive(Clone, Copy, Default)]
struct Workers {
    cpu_ns: f64,
    /// Times that one of them got the core.
    turns: f64,
    seconds: f64,
}

impl Workers {
    /// Since the process began (proc_pid_schedstat(5)); those that have ended do not count.
    fn of(pid: u32) -> Workers {
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

    fn since(self, before: Workers, time: Duration) -> Workers {
        Workers { cpu_ns: self.cpu_ns - before.cpu_ns, turns: self.turns - before.turns, seconds: time.as_secs_f64() }
    }
}

/// Everything, in the order in which it was measured.
#[derive(Default)]
struct Table {
    alone: Vec<Measured>,
    with_fanout: Vec<Measured>,
    with_bare: Vec<Measured>,
    most: Vec<Measured>,
    bare: Vec<Measured>,
}

/// Measures, prints, and fails where a delivery is missing or out of order.
pub fn run(seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores < 2 || !shell::works("taskset", &["-V"]) {
        return Err("fan-out is measured with two cores, one for the server and one for the load, and taskset".into());
    }
    if !is_built {
        shell::build(&["millstream", "loadgen"])?;
    }
    let rig = Rig::new(seconds)?;
    let limit = rig.limit()?;
    let rate = (limit / 2.0).round().to_string();
    println!("telemetry, closed loop: {:.1} million samples/s; in open loop half of it", limit / 1e6);
    let mut table = Table::default();
    for _ in 0..rounds {
        table.alone.push(rig.beside(&rate, None)?);
        table.with_fanout.push(rig.beside(&rate, Some(false))?);
        table.with_bare.push(rig.beside(&rate, Some(true))?);
        table.most.push(rig.most(false)?);
        table.bare.push(rig.most(true)?);
    }
    table.print();
    table.check()
}

/// Where everything runs.
struct Rig {
    seconds: u32,
    site: Site,
    bind: String,
    data: std::path::PathBuf,
}

impl Rig {
    fn new(seconds: u32) -> Result<Rig, Story> {
        let data = target().join("fault/fanout-data");
        let folder = target().join("fault/fanout");
        fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let bind = format!("127.0.0.1:{}", free_port()?);
        let sections = folder.join("subscribers.toml");
        let mut command = Command::new(binary("loadgen"));
        command.args(["fanout", "--bind", &bind, "--receivers", &SUBSCRIBERS.to_string(), "--config"]).arg(&sections);
        shell::run(&mut command)?;
        let sections =
            fs::read_to_string(&sections).map_err(|error| format!("cannot read the subscribers: {error}"))?;
        let site = Site::new("fanout", &data, "auto", "64MiB", &format!("[cores]\ncount = 1\n\n{sections}"))?;
        Ok(Rig { seconds, site, bind, data })
    }

    fn server(&self) -> Result<Guard, Story> {
        let _ = fs::remove_dir_all(&self.data);
        let mut server = Guard(self.site.start_on(SERVER_CORE)?);
        self.site.wait_ready(&mut server.0)?;
        Ok(server)
    }

    fn loadgen(&self, server: &Guard, words: &[&str]) -> Command {
        let mut command = Command::new(binary("loadgen"));
        command.args(words).args(["--json", "--core", &LOAD_CORE.to_string()]);
        command.args(["--server-pid", &server.0.id().to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn native(&self, server: &Guard, rate: &str) -> Command {
        let mut command = self.loadgen(server, &["native", "--source", "rig", "--connections", "8", "--rate", rate]);
        command.args(["--address", &self.site.native_address(), "--seconds", &self.seconds.to_string()]);
        command.args(["--server-core", &SERVER_CORE.to_string()]);
        command
    }

    fn fanout(&self, server: &Guard, rate: &str, seconds: f64, bare: bool) -> Command {
        let mut command = self.loadgen(server, &["fanout", "--receivers", &SUBSCRIBERS.to_string(), "--rate", rate]);
        command.args(["--bind", &self.bind, "--http", &format!("http://{}", self.site.http_address())]);
        command.args(["--seconds", &seconds.to_string()]).args(bare.then_some("--bare"));
        command
    }

    /// Samples a second in closed loop.
    fn limit(&self) -> Result<f64, Story> {
        let server = self.server()?;
        let native = answer(start(&mut self.native(&server, "max"))?)?;
        native["server"][0]["samples_per_s"].as_f64().ok_or_else(|| "loadgen measured no server".to_owned())
    }

    /// Telemetry with fan-out by the server, by a bare loop, or without.
    fn beside(&self, rate: &str, bare: Option<bool>) -> Result<Measured, Story> {
        let server = self.server()?;
        let native = start(&mut self.native(&server, rate))?;
        sleep(PROBED);
        let whole = f64::from(self.seconds) + (f64::from(self.seconds) / 10.0).min(1.0) - ENDS_BEFORE_S;
        let fanout = match bare {
            Some(bare) => {
                // of `whole`, loadgen takes a tenth, at most a second, to warm up
                let seconds = (whole / 1.1).max(whole - 1.0);
                let rate = if bare { BARE_EVENTS_PER_S } else { EVENTS_PER_S };
                Some(start(&mut self.fanout(&server, rate, seconds, bare))?)
            }
            None => None,
        };
        let (begun, before) = (Instant::now(), Workers::of(server.0.id()));
        // while telemetry still comes: afterwards its sender's probe spins on the server's core
        sleep(Duration::from_secs_f64(whole));
        let workers = Workers::of(server.0.id()).since(before, begun.elapsed());
        let core = self.core()?;
        let fanout = fanout.map_or(Ok(Value::Null), answer)?;
        Ok(Measured { native: answer(native)?, fanout, core, workers })
    }

    /// As many deliveries as there can be, without telemetry.
    fn most(&self, bare: bool) -> Result<Measured, Story> {
        let server = self.server()?;
        let mut command = self.fanout(&server, "max", f64::from(self.seconds), bare);
        command.args(["--batch", "8", "--server-core", &SERVER_CORE.to_string()]);
        let fanout = answer(start(&mut command)?)?;
        // its figures are out within a quarter of a second
        sleep(Duration::from_millis(300));
        Ok(Measured { fanout, native: Value::Null, core: self.core()?, workers: Workers::default() })
    }

    /// What the shard says of itself.
    fn core(&self) -> Result<Value, Story> {
        let wrong = |error: std::io::Error| format!("/v1/cores did not answer: {error}");
        let mut stream = TcpStream::connect(self.site.http_address()).map_err(wrong)?;
        let request = format!("GET /v1/cores HTTP/1.0\r\nhost: {}\r\n\r\n", self.site.http_address());
        stream.write_all(request.as_bytes()).map_err(wrong)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(wrong)?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let cores: Value = serde_json::from_str(body).map_err(|error| format!("/v1/cores: {error}"))?;
        cores.get(0).cloned().ok_or_else(|| format!("/v1/cores shows no core: {body}"))
    }
}

fn start(command: &mut Command) -> Result<Guard, Story> {
    command.spawn().map(Guard).map_err(|error| format!("loadgen could not be started: {error}"))
}

/// Waits for what a load prints. Its exit code says whether something is missing, and so does that.
fn answer(mut load: Guard) -> Result<Value, Story> {
    let mut text = String::new();
    let read = |child: &mut Child, text: &mut String| child.stdout.take().map(|mut out| out.read_to_string(text));
    read(&mut load.0, &mut text);
    let status = load.0.wait().map_err(|error| format!("loadgen could not be waited for: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("loadgen ended with {status} and no report: {error}"))
}

impl Measured {
    fn telemetry(&self) -> &Value {
        &self.native["server"][0]
    }

    fn row(&self, name: &str) -> String {
        let (telemetry, fanout) = (self.telemetry(), &self.fanout);
        let acknowledged = &telemetry["frame_to_acknowledged"];
        let hiccups = if self.native.is_null() { &fanout["hiccups"] } else { &self.native["hiccups"] };
        let millions =
            telemetry["samples_per_s"].as_f64().map_or("–".to_owned(), |rate| format!("{:.2} million", rate / 1e6));
        let deliveries = fanout["deliveries_per_s"].as_f64().map_or("–".to_owned(), |rate| format!("{rate:.0}"));
        let cpu =
            fanout["server_cpu_us_per_delivery"].as_f64().filter(|_| self.native.is_null() && fanout["bare"] == false);
        let cpu = cpu.map_or("–".to_owned(), |us| format!("{us:.1} µs"));
        let busy = (!fanout.is_null()).then(|| 100.0 * fanout_load(self));
        let busy = busy.map_or("–".to_owned(), |percent| format!("{percent:.0} %"));
        format!(
            "| {name} | {millions} | {} | {} | {} | {} | {deliveries} | {} | {cpu} | {busy} | {:.0} % | {} |",
            times(self.visible(), &["p50_ns", "p99_ns", "p999_ns"]),
            times(&telemetry["behind_schedule"], &["p50_ns", "p99_ns", "p99_9_ns"]),
            times(acknowledged, &["p50_ns", "p99_ns"]),
            times(hiccups, &["p50_ns", "p99_ns", "p99_9_ns", "p99_99_ns"]),
            times(&fanout["due_to_received"], &["p50_ns", "p99_ns"]),
            100.0 * self.others(),
            times(&self.core["cycle"], &["p50_ns", "p99_ns", "p999_ns", "p9999_ns"]),
        )
    }

    /// From when a frame was due to when its values could be read; nothing where none was sent.
    fn visible(&self) -> &Value {
        if self.native.is_null() { &Value::Null } else { &self.core["frame_to_visible"] }
    }

    /// Share of the server's core that was busy with something else than the server.
    fn others(&self) -> f64 {
        let (all, seconds) = if self.native.is_null() {
            (&self.fanout, number(&self.fanout["seconds"]))
        } else {
            (self.telemetry(), number(&self.telemetry()["seconds"]))
        };
        ((number(&all["server_core_busy_s"]) - number(&all["server_cpu_s"])) / seconds).max(0.0)
    }

    /// CPU seconds of the server a second.
    fn cpu(&self) -> f64 {
        if self.fanout.is_null() || self.fanout["bare"] == true {
            let telemetry = self.telemetry();
            number(&telemetry["server_cpu_s"]) / number(&telemetry["seconds"])
        } else {
            number(&self.fanout["server_cpu_s"]) / number(&self.fanout["seconds"])
        }
    }
}

/// Share of the load's core that publisher and subscribers used.
fn fanout_load(measured: &Measured) -> f64 {
    number(&measured.fanout["own_cpu_s"]) / number(&measured.fanout["seconds"])
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns.abs() < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

fn times(percentiles: &Value, names: &[&str]) -> String {
    if percentiles.is_null() {
        return "–".to_owned();
    }
    names.iter().map(|name| time(number(&percentiles[name]))).collect::<Vec<_>>().join(" / ")
}

fn middle(all: &[Measured], of: impl Fn(&Measured) -> f64) -> f64 {
    median(all.iter().map(of).collect())
}

impl Table {
    fn print(&self) {
        println!(
            "\n| run | telemetry samples/s | frame to visible p50 / p99 / p99.9 | of it the sender's own delay | frame to acknowledged p50 / p99 | platform's hiccups p50 / p99 / p99.9 / p99.99 \
             | deliveries/s | due to received p50 / p99 | server CPU a delivery | publisher and subscribers busy | others on the server's core | between two looks at telemetry p50 / p99 / p99.9 / p99.99 |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
        let rows = [
            ("A: telemetry", &self.alone),
            ("B: with fan-out", &self.with_fanout),
            ("C: with the bare loop", &self.with_bare),
            ("fan-out, as much as it takes", &self.most),
            ("the bare loop, as much as it makes", &self.bare),
        ];
        for (name, all) in rows {
            all.iter().for_each(|measured| println!("{}", measured.row(name)));
        }
        self.print_ratios();
        self.print_stages();
        self.print_goals();
    }

    fn print_ratios(&self) {
        let rate = |measured: &Measured| number(&measured.telemetry()["samples_per_s"]);
        let of = |name: &'static str| move |m: &Measured| number(&m.telemetry()["frame_to_acknowledged"][name]);
        println!("\nmedians:");
        let alone = middle(&self.alone, rate);
        let each: Vec<String> = self.with_fanout.iter().map(|run| format!("{:.3}", rate(run) / alone)).collect();
        let ratio = middle(&self.with_fanout, rate) / alone;
        println!("telemetry's throughput, B / A: {ratio:.3}; of each B: {}", each.join(", "));
        let seen = |name: &'static str| move |m: &Measured| number(&m.visible()[name]);
        for (shown, name) in [("p50", "p50_ns"), ("p99", "p99_ns")] {
            let runs = [&self.alone, &self.with_fanout, &self.with_bare];
            let line = |what: &str, [a, b, c]: [f64; 3]| {
                let ratios = format!("B / A {:.2}, B / C {:.2}", b / a, b / c);
                println!("{what} {shown}: A {}, B {}, C {}; {ratios}", time(a), time(b), time(c));
            };
            line("frame to visible", runs.map(|all| middle(all, seen(name))));
            let behind = |m: &Measured| number(&m.telemetry()["behind_schedule"][name]);
            line("of it the sender's own delay", runs.map(|all| middle(all, behind)));
            line("frame to acknowledged", runs.map(|all| middle(all, of(name))));
        }
        println!(
            "publisher and subscribers kept the load's core busy: B {:.2}, C {:.2}",
            middle(&self.with_fanout, fanout_load),
            middle(&self.with_bare, fanout_load)
        );
        for (name, all) in [("A", &self.alone), ("B", &self.with_fanout)] {
            println!(
                "the kernel's workers for the log took {:.1} % of the server's core in {name}, {:.0} times a second, {:.0} µs each in the mean",
                middle(all, |m| 100.0 * m.workers.cpu_ns / 1e9 / m.workers.seconds),
                middle(all, |m| m.workers.turns / m.workers.seconds),
                middle(all, |m| m.workers.cpu_ns / 1e3 / m.workers.turns),
            );
        }
        let delivered = |all: &[Measured]| middle(all, |m| number(&m.fanout["deliveries_per_s"]));
        let more = middle(&self.with_fanout, Measured::cpu) - middle(&self.alone, Measured::cpu);
        println!(
            "server's CPU a delivery: {:.1} µs at its most; {:.1} µs more than A beside telemetry (a shard that is awake spins, which hides some)",
            middle(&self.most, |m| number(&m.fanout["server_cpu_us_per_delivery"])),
            more * 1e6 / delivered(&self.with_fanout)
        );
        println!(
            "deliveries/s at its most: {:.0}, of the bare loop's: {:.3}",
            delivered(&self.most),
            delivered(&self.most) / delivered(&self.bare)
        );
    }

    /// The longest polls of the runs with fan-out, the worst of each stage over the rounds.
    fn print_stages(&self) {
        let mut worst: Vec<(String, f64, f64, f64)> = Vec::new();
        let stages = self.with_fanout.iter().filter_map(|measured| measured.core["stages"].as_array()).flatten();
        for stage in stages {
            let name = format!("{} {}", stage["lane"].as_str().unwrap_or(""), stage["name"].as_str().unwrap_or(""));
            let [p50, p999, max] = ["p50_ns", "p999_ns", "max_ns"].map(|name| number(&stage[name]));
            match worst.iter_mut().find(|known| known.0 == name) {
                Some(known) => *known = (name, known.1.max(p50), known.2.max(p999), known.3.max(max)),
                None => worst.push((name, p50, p999, max)),
            }
        }
        worst.sort_by(|one, other| other.3.total_cmp(&one.3));
        println!("\nlongest polls in B, worst of the rounds (p50 / p99.9 / max):");
        for (name, p50, p999, max) in worst.into_iter().take(STAGES_SHOWN) {
            println!("  {name}: {} / {} / {}", time(p50), time(p999), time(max));
        }
    }

    fn print_goals(&self) {
        let verdict = |holds: bool| if holds { "holds" } else { "DOES NOT HOLD" };
        let rate = |measured: &Measured| number(&measured.telemetry()["samples_per_s"]);
        let seen = |name: &'static str| move |m: &Measured| number(&m.visible()[name]);
        let more = |idle: &[Measured], name| (middle(&self.with_fanout, seen(name)) - middle(idle, seen(name))) / 1e3;
        // in C the server has telemetry alone, too, and only the sender is held up as in B
        let goal = |shown: &str, name, us: f64| {
            let (c, a) = (more(&self.with_bare, name), more(&self.alone, name));
            println!(
                "P4 frame to visible {shown} at most idle + {us} µs: {} (B - C {c:+.1} µs, B - A {a:+.1} µs)",
                match (a <= us, c <= us) {
                    (true, _) => "holds",
                    (false, true) => "CANNOT BE TOLD from what the sender's own core adds",
                    (false, false) => "DOES NOT HOLD",
                }
            );
        };
        let throughput = middle(&self.with_fanout, rate) / middle(&self.alone, rate);
        let look = |all: &[Measured]| middle(all, |measured| number(&measured.core["cycle"]["p9999_ns"]));
        let (look_a, look_b) = (look(&self.alone), look(&self.with_fanout));
        let deliveries = middle(&self.with_fanout, |measured| number(&measured.fanout["deliveries_per_s"]));
        let judged = [&self.alone, &self.with_fanout, &self.with_bare].into_iter().flatten();
        let disturbed = judged.clone().filter(|run| run.others() > OTHERS_MAX).count();
        println!("\ngoals:");
        if disturbed > 0 {
            println!(
                "NOTHING CERTAIN: in {disturbed} of {} runs others took more than {:.0} % of the server's core",
                judged.count(),
                100.0 * OTHERS_MAX
            );
        }
        println!("P4 throughput at least 0.95 of idle: {} ({throughput:.3})", verdict(throughput >= 0.95));
        goal("p50", "p50_ns", 10.0);
        goal("p99", "p99_ns", 25.0);
        println!(
            "P4 between two looks p99.99 at most 50 µs: {} (B: {}; A: {})",
            verdict(look_b <= LOOK_NS_MAX),
            time(look_b),
            time(look_a)
        );
        println!(
            "P13 10,000 deliveries/s to 100 subscribers beside telemetry: {} ({deliveries:.0}/s)",
            verdict(deliveries >= DELIVERIES_PER_S * 0.99)
        );
    }

    /// Speed depends on the machine; what is missing or out of order does not.
    fn check(&self) -> Result<(), Story> {
        let all = self.with_fanout.iter().chain(&self.most);
        let sum = |name: &str| -> u64 { all.clone().filter_map(|measured| measured.fanout[name].as_u64()).sum() };
        let [received, missing, reordered, again] = ["received", "missing", "reordered", "duplicates"].map(sum);
        println!(
            "\n{received} deliveries through the server: {missing} missing, {reordered} out of order, {again} came again"
        );
        if received == 0 || missing + reordered > 0 {
            return Err("deliveries are missing or out of order".into());
        }
        Ok(())
    }
}
