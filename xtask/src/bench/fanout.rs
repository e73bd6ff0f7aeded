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

use super::rig::{self, Rig, SERVER_CORE, Workers, answer, start};
use super::table::{Stage, middle_of, number, print_stages, time, times};
use super::verdict::{self, LOOK_NS_MAX, THROUGHPUT_MIN, VISIBLE_P50_MORE_US, VISIBLE_P99_MORE_US};
use crate::fault::{Guard, free_port};
use crate::shell::Story;
use serde_json::Value;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

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

/// What one measurement printed.
#[derive(Default)]
struct Measured {
    native: Value,
    fanout: Value,
    core: Value,
    workers: Workers,
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
    rig::prepare("fan-out", is_built)?;
    let rig = Load::new(seconds)?;
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

/// What loads the server, and where all of it runs.
struct Load {
    seconds: u32,
    rig: Rig,
    bind: String,
}

impl Load {
    fn new(seconds: u32) -> Result<Load, Story> {
        let bind = format!("127.0.0.1:{}", free_port()?);
        let receivers = SUBSCRIBERS.to_string();
        let rig = Rig::new("fanout", &["fanout", "--bind", &bind, "--receivers", &receivers])?;
        Ok(Load { seconds, rig, bind })
    }

    fn native(&self, server: &Guard, rate: &str) -> Command {
        let mut command =
            self.rig.loadgen(server, &["native", "--source", "rig", "--connections", "8", "--rate", rate]);
        command.args(["--address", &self.rig.site.native_address(), "--seconds", &self.seconds.to_string()]);
        command.args(["--server-core", &SERVER_CORE.to_string()]);
        command
    }

    fn fanout(&self, server: &Guard, rate: &str, seconds: f64, bare: bool) -> Command {
        let mut command =
            self.rig.loadgen(server, &["fanout", "--receivers", &SUBSCRIBERS.to_string(), "--rate", rate]);
        command.args(["--bind", &self.bind, "--http", &format!("http://{}", self.rig.site.http_address())]);
        command.args(["--seconds", &seconds.to_string()]).args(bare.then_some("--bare"));
        command
    }

    /// Samples a second in closed loop.
    fn limit(&self) -> Result<f64, Story> {
        let server = self.rig.server()?;
        let native = answer(start(&mut self.native(&server, "max"))?)?;
        native["server"][0]["samples_per_s"].as_f64().ok_or_else(|| "loadgen measured no server".to_owned())
    }

    /// Telemetry with fan-out by the server, by a bare loop, or without.
    fn beside(&self, rate: &str, bare: Option<bool>) -> Result<Measured, Story> {
        let server = self.rig.server()?;
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
        let core = self.rig.core()?;
        let fanout = fanout.map_or(Ok(Value::Null), answer)?;
        Ok(Measured { native: answer(native)?, fanout, core, workers })
    }

    /// As many deliveries as there can be, without telemetry.
    fn most(&self, bare: bool) -> Result<Measured, Story> {
        let server = self.rig.server()?;
        let mut command = self.fanout(&server, "max", f64::from(self.seconds), bare);
        command.args(["--batch", "8", "--server-core", &SERVER_CORE.to_string()]);
        let fanout = answer(start(&mut command)?)?;
        // its figures are out within a quarter of a second
        sleep(Duration::from_millis(300));
        Ok(Measured { fanout, native: Value::Null, core: self.rig.core()?, workers: Workers::default() })
    }
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
        let alone = middle_of(&self.alone, rate);
        let each: Vec<String> = self.with_fanout.iter().map(|run| format!("{:.3}", rate(run) / alone)).collect();
        let ratio = middle_of(&self.with_fanout, rate) / alone;
        println!("telemetry's throughput, B / A: {ratio:.3}; of each B: {}", each.join(", "));
        let seen = |name: &'static str| move |m: &Measured| number(&m.visible()[name]);
        for (shown, name) in [("p50", "p50_ns"), ("p99", "p99_ns")] {
            let runs = [&self.alone, &self.with_fanout, &self.with_bare];
            let line = |what: &str, [a, b, c]: [f64; 3]| {
                let ratios = format!("B / A {:.2}, B / C {:.2}", b / a, b / c);
                println!("{what} {shown}: A {}, B {}, C {}; {ratios}", time(a), time(b), time(c));
            };
            line("frame to visible", runs.map(|all| middle_of(all, seen(name))));
            let behind = |m: &Measured| number(&m.telemetry()["behind_schedule"][name]);
            line("of it the sender's own delay", runs.map(|all| middle_of(all, behind)));
            line("frame to acknowledged", runs.map(|all| middle_of(all, of(name))));
        }
        println!(
            "publisher and subscribers kept the load's core busy: B {:.2}, C {:.2}",
            middle_of(&self.with_fanout, fanout_load),
            middle_of(&self.with_bare, fanout_load)
        );
        for (name, all) in [("A", &self.alone), ("B", &self.with_fanout)] {
            println!(
                "the kernel's workers for the log took {:.1} % of the server's core in {name}, {:.0} times a second, {:.0} µs each in the mean",
                middle_of(all, |m| 100.0 * m.workers.cpu_ns / 1e9 / m.workers.seconds),
                middle_of(all, |m| m.workers.turns / m.workers.seconds),
                middle_of(all, |m| m.workers.cpu_ns / 1e3 / m.workers.turns),
            );
        }
        let delivered = |all: &[Measured]| middle_of(all, |m| number(&m.fanout["deliveries_per_s"]));
        let more = middle_of(&self.with_fanout, Measured::cpu) - middle_of(&self.alone, Measured::cpu);
        println!(
            "server's CPU a delivery: {:.1} µs at its most; {:.1} µs more than A beside telemetry (a shard that is awake spins, which hides some)",
            middle_of(&self.most, |m| number(&m.fanout["server_cpu_us_per_delivery"])),
            more * 1e6 / delivered(&self.with_fanout)
        );
        println!(
            "deliveries/s at its most: {:.0}, of the bare loop's: {:.3}",
            delivered(&self.most),
            delivered(&self.most) / delivered(&self.bare)
        );
    }

    fn print_stages(&self) {
        let stages = self.with_fanout.iter().filter_map(|measured| measured.core["stages"].as_array()).flatten();
        print_stages("longest polls in B", stages.map(|stage| Stage { of: stage, times: stage }));
    }

    fn print_goals(&self) {
        let rate = |measured: &Measured| number(&measured.telemetry()["samples_per_s"]);
        let seen = |name: &'static str| move |m: &Measured| number(&m.visible()[name]);
        let more =
            |idle: &[Measured], name| (middle_of(&self.with_fanout, seen(name)) - middle_of(idle, seen(name))) / 1e3;
        // in C the server has telemetry alone, too, and only the sender is held up as in B
        let goal = |shown: &str, name, us: f64| {
            let (c, a) = (more(&self.with_bare, name), more(&self.alone, name));
            println!(
                "P4 frame to visible {shown} at most idle + {us} µs: {} (B - C {c:+.1} µs, B - A {a:+.1} µs)",
                verdict::beyond_the_sender(a, a - c, us)
            );
        };
        let throughput = middle_of(&self.with_fanout, rate) / middle_of(&self.alone, rate);
        let look = |all: &[Measured]| middle_of(all, |measured| number(&measured.core["cycle"]["p9999_ns"]));
        let (look_a, look_b) = (look(&self.alone), look(&self.with_fanout));
        let deliveries = middle_of(&self.with_fanout, |measured| number(&measured.fanout["deliveries_per_s"]));
        let judged = [&self.alone, &self.with_fanout, &self.with_bare].into_iter().flatten();
        println!("\ngoals:");
        verdict::print_disturbed(judged.map(Measured::others));
        println!(
            "P4 throughput at least 0.95 of idle: {} ({throughput:.3})",
            verdict::of(throughput >= THROUGHPUT_MIN)
        );
        goal("p50", "p50_ns", VISIBLE_P50_MORE_US);
        goal("p99", "p99_ns", VISIBLE_P99_MORE_US);
        println!(
            "P4 between two looks p99.99 at most 50 µs: {} (B: {}; A: {})",
            verdict::of(look_b <= LOOK_NS_MAX),
            time(look_b),
            time(look_a)
        );
        println!(
            "P13 10,000 deliveries/s to 100 subscribers beside telemetry: {} ({deliveries:.0}/s)",
            verdict::of(deliveries >= DELIVERIES_PER_S * 0.99)
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
