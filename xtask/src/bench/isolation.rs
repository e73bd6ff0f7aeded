//! `cargo xtask bench isolation`: telemetry beside all lower lanes saturated, against telemetry alone.
//!
//! The server has one core with one shard, the load (`loadgen mixed`) the other. Telemetry's limit is
//! found in closed loop; then at half and at nine tenths of it, in turns, each with a server that was
//! started for it:
//! - A: telemetry alone, open loop;
//! - B: the same, while queries, requests, events and batches take whatever else they get.
//!
//! Telemetry's sender has real-time priority in both, so that the other lanes' load, which must share
//! its core, holds it up as little as can be. What it was held up all the same is in the table.

use super::rig::{self, Rig, SERVER_CORE, answer, start};
use super::table::{Stage, middle_of, number, print_stages, spread, time};
use super::verdict::{
    self, ACKNOWLEDGED_OF_SYNC, LOOK_NS_MAX, OTHERS_MAX, THROUGHPUT_MIN, VISIBLE_NS_MAX, VISIBLE_P50_MORE_US,
    VISIBLE_P99_MORE_US, VISIBLE_P999_MORE_NS,
};
use crate::fault::free_port;
use crate::shell::Story;
use serde_json::Value;

/// Telemetry's rate, of its limit.
const SHARES: [f64; 2] = [0.5, 0.9];
const LOWER: [&str; 4] = ["events", "queries", "requests", "batch"];
/// How long the bare device is synced.
const SYNCED_S: f64 = 1.0;

/// What one run printed.
struct Run(Value);

/// The runs at one share of the limit.
struct Pair {
    share: f64,
    alone: Vec<Run>,
    beside: Vec<Run>,
}

/// Measures, prints, and fails where a delivery is missing or out of order.
pub fn run(seconds: u32, rounds: u32, is_built: bool) -> Result<(), Story> {
    rig::prepare("isolation", is_built)?;
    let bind = format!("127.0.0.1:{}", free_port()?);
    let bench = Bench { seconds, rig: Rig::new("isolation", &["mixed", "--bind", &bind])?, bind };
    let sync_p99_ns = bench.rig.sync_p99_ns(SYNCED_S)?;
    let limit = bench.measure("max", false)?.telemetry()["per_s"].as_f64().ok_or("loadgen measured no telemetry")?;
    println!("telemetry alone, closed loop: {:.1} million samples/s", limit / 1e6);
    println!("a bare write of 4 KiB and its sync: p99 {}", time(sync_p99_ns));
    let mut pairs = SHARES.map(|share| Pair { share, alone: Vec::new(), beside: Vec::new() });
    for _ in 0..rounds {
        for pair in &mut pairs {
            let rate = (limit * pair.share).round().to_string();
            pair.alone.push(bench.measure(&rate, false)?);
            pair.beside.push(bench.measure(&rate, true)?);
        }
    }
    let pairs = pairs.map(Pair::undisturbed);
    print_telemetry(&pairs);
    print_lower(&pairs);
    for pair in &pairs {
        let title = format!("longest polls in B at {:.0} % of the limit", 100.0 * pair.share);
        print_stages(&title, pair.beside.iter().flat_map(Run::stages));
    }
    println!("\ngoals:");
    pairs.iter().for_each(judge);
    judge_alone(&pairs[0], sync_p99_ns);
    check(&pairs)
}

struct Bench {
    seconds: u32,
    rig: Rig,
    bind: String,
}

impl Bench {
    fn measure(&self, rate: &str, beside: bool) -> Result<Run, Story> {
        let server = self.rig.server()?;
        let mut command = self.rig.loadgen(&server, &["mixed", "--realtime", "--rate", rate, "--bind", &self.bind]);
        command.args(["--address", &self.rig.site.native_address(), "--http", &self.rig.site.http_address()]);
        command.args(["--seconds", &self.seconds.to_string(), "--server-core", &SERVER_CORE.to_string()]);
        command.args((!beside).then_some("--lanes=telemetry"));
        let report = answer(start(&mut command)?)?;
        for problem in report["problems"].as_array().into_iter().flatten() {
            eprintln!("at {rate} samples/s: {problem}");
        }
        Ok(Run(report))
    }
}

impl Run {
    fn lane(&self, name: &str) -> &Value {
        let found = self.0["lanes"].as_array().and_then(|lanes| lanes.iter().find(|lane| lane["lane"] == name));
        found.unwrap_or(&Value::Null)
    }

    fn telemetry(&self) -> &Value {
        self.lane("telemetry")
    }

    fn rate(&self) -> f64 {
        number(&self.telemetry()["per_s"])
    }

    fn core(&self) -> &Value {
        &self.0["server"]["cores"][0]
    }

    /// As the server saw it; since it started, which is this run and its warm-up.
    fn visible(&self, name: &str) -> f64 {
        number(&self.core()["frame_to_visible"]["since_start"][name])
    }

    fn look(&self, name: &str) -> f64 {
        number(&self.core()["cycle"]["since_start"][name])
    }

    fn acknowledged(&self, name: &str) -> f64 {
        number(&self.telemetry()["latency"][name])
    }

    fn own_delay(&self, name: &str) -> f64 {
        number(&self.telemetry()["behind_schedule"][name])
    }

    /// The worse of before and after.
    fn hiccup(&self, name: &str) -> f64 {
        number(&self.0["hiccups_before"][name]).max(number(&self.0["hiccups_after"][name]))
    }

    /// How late the platform alone hears who comes at a fixed time; the worse of before and after.
    fn late(&self, name: &str) -> f64 {
        number(&self.0["hiccups_before"]["late"][name]).max(number(&self.0["hiccups_after"]["late"][name]))
    }

    /// Share of the server's core that was busy with something else than the server.
    fn others(&self) -> f64 {
        let server = &self.0["server"];
        number(&server["core_used_by_others_s"]) / number(&server["looked_at_for_s"])
    }

    /// Share of the server's core that threads of the server took whose name begins so.
    fn threads(&self, prefix: &str) -> f64 {
        let server = &self.0["server"];
        let named = |thread: &&Value| thread["thread"].as_str().is_some_and(|name| name.starts_with(prefix));
        let threads = server["cpu_s_by_thread"].as_array().into_iter().flatten().filter(named);
        threads.map(|thread| number(&thread["cpu_s"])).sum::<f64>() / number(&server["looked_at_for_s"])
    }

    fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        let stages = self.core()["stages"].as_array().into_iter().flatten();
        stages.map(|stage| Stage { of: stage, times: &stage["since_start"] })
    }
}

impl Pair {
    /// Without the runs in which others took too much of the server's core, and says how many.
    fn undisturbed(mut self) -> Pair {
        for (name, runs) in [("A", &mut self.alone), ("B", &mut self.beside)] {
            let all = runs.len();
            runs.retain(|run| run.others() <= OTHERS_MAX);
            if runs.len() < all {
                println!(
                    "{name} at {:.0} %: {} of {all} runs left out, others took more than {:.0} % of the server's core",
                    100.0 * self.share,
                    all - runs.len(),
                    100.0 * OTHERS_MAX
                );
            }
        }
        self
    }
}

/// Medians of several percentiles, each with lowest and highest.
fn cell(runs: &[Run], of: fn(&Run, &str) -> f64, names: &[&str]) -> String {
    names.iter().map(|name| spread(runs, |run| of(run, name), time)).collect::<Vec<_>>().join(" / ")
}

fn print_telemetry(pairs: &[Pair]) {
    println!(
        "\n| run | telemetry samples/s | frame to visible p50 / p99 / p99.9 / p99.99 | frame to acknowledged p50 / p99 / p99.9 / p99.99 \
         | of both the sender's own delay p50 / p99 / p99.9 | between two looks at telemetry p50 / p99 / p99.9 / p99.99 \
         | platform's hiccups p99 / p99.9 / p99.99 | others on the server's core | the log's kernel workers |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    for pair in pairs {
        for (name, runs) in [("A: alone", &pair.alone), ("B: beside all lower lanes", &pair.beside)] {
            println!(
                "| {name}, {:.0} % of the limit | {} | {} | {} | {} | {} | {} | {} | {} |",
                100.0 * pair.share,
                spread(runs, Run::rate, |rate| format!("{:.2} million", rate / 1e6)),
                cell(runs, Run::visible, &["p50_ns", "p99_ns", "p999_ns", "p9999_ns"]),
                cell(runs, Run::acknowledged, &["p50_ns", "p99_ns", "p99_9_ns", "p99_99_ns"]),
                cell(runs, Run::own_delay, &["p50_ns", "p99_ns", "p99_9_ns"]),
                cell(runs, Run::look, &["p50_ns", "p99_ns", "p999_ns", "p9999_ns"]),
                cell(runs, Run::hiccup, &["p99_ns", "p99_9_ns", "p99_99_ns"]),
                spread(runs, Run::others, percent),
                spread(runs, |run| run.threads("iou-wrk"), percent),
            );
        }
    }
}

/// What each lower lane achieved.
fn print_lower(pairs: &[Pair]) {
    println!("\n| lower lane in B | at | throughput | latency p50 / p99 | errors |\n|---|---:|---:|---:|---:|");
    for name in LOWER {
        for pair in pairs {
            let runs = &pair.beside;
            let unit = runs.first().and_then(|run| run.lane(name)["unit"].as_str()).unwrap_or("");
            let latency = |key: &str| spread(runs, |run| number(&run.lane(name)["latency"][key]), time);
            println!(
                "| {name} | {:.0} % | {} {unit}/s | {} / {} | {} |",
                100.0 * pair.share,
                spread(runs, |run| number(&run.lane(name)["per_s"]), |rate| format!("{rate:.1}")),
                latency("p50_ns"),
                latency("p99_ns"),
                runs.iter().filter_map(|run| run.lane(name)["errors"].as_u64()).sum::<u64>(),
            );
        }
    }
}

/// P4, at one share of the limit.
fn judge(pair: &Pair) {
    let at = format!("P4 at {:.0} %", 100.0 * pair.share);
    if pair.alone.is_empty() || pair.beside.is_empty() {
        return println!("{at}: CANNOT BE TOLD, others took the server's core in every run of A or of B");
    }
    let throughput = middle_of(&pair.beside, Run::rate) / middle_of(&pair.alone, Run::rate);
    println!(
        "{at}, throughput at least {THROUGHPUT_MIN} of alone: {} ({throughput:.3})",
        verdict::of(throughput >= THROUGHPUT_MIN)
    );
    for (shown, name, goal_us) in [("p50", "p50_ns", VISIBLE_P50_MORE_US), ("p99", "p99_ns", VISIBLE_P99_MORE_US)] {
        let more = |of: fn(&Run, &str) -> f64| {
            (middle_of(&pair.beside, |run| of(run, name)) - middle_of(&pair.alone, |run| of(run, name))) / 1e3
        };
        let (visible, own) = (more(Run::visible), more(Run::own_delay));
        println!(
            "{at}, frame to visible {shown} at most alone + {goal_us} µs: {} (B - A {visible:+.1} µs; the sender's own delay {own:+.1} µs)",
            verdict::beyond_the_sender(visible, own, goal_us)
        );
    }
    let look = |runs: &[Run]| middle_of(runs, |run| run.look("p9999_ns"));
    let net = middle_of(&pair.beside, |run| run.look("p9999_ns") - run.hiccup("p99_99_ns"));
    println!(
        "{at}, between two looks p99.99 at most 50 µs, the platform's hiccups taken off: {} (B {}; alone {}; B without hiccups {})",
        verdict::of(net <= LOOK_NS_MAX),
        time(look(&pair.beside)),
        time(look(&pair.alone)),
        time(net),
    );
}

/// P5, of telemetry alone at half of its limit.
fn judge_alone(pair: &Pair, sync_p99_ns: f64) {
    if pair.alone.is_empty() {
        return println!("P5: CANNOT BE TOLD, others took the server's core in every run of A");
    }
    let middle = |of: fn(&Run, &str) -> f64, name: &str| middle_of(&pair.alone, |run| of(run, name));
    let (p50, own) = (middle(Run::visible, "p50_ns"), middle(Run::own_delay, "p50_ns"));
    println!(
        "P5, frame to visible p50 at most 15 µs: {} ({}; the sender's own delay {})",
        verdict::beyond_the_sender(p50, own, VISIBLE_NS_MAX),
        time(p50),
        time(own)
    );
    let (rare, own, hiccup) =
        (middle(Run::visible, "p999_ns"), middle(Run::own_delay, "p99_9_ns"), middle(Run::late, "p99_9_ns"));
    println!(
        "P5, frame to visible p99.9 at most the platform's own + 50 µs: {} ({}; the platform {}; the sender's own delay {})",
        verdict::beyond_the_sender(rare, own, hiccup + VISIBLE_P999_MORE_NS),
        time(rare),
        time(hiccup),
        time(own)
    );
    let acknowledged = middle(Run::acknowledged, "p99_ns");
    println!(
        "P5, frame to acknowledged p99 at most {ACKNOWLEDGED_OF_SYNC} × a bare sync's: {} ({}; a bare sync {})",
        verdict::of(acknowledged <= ACKNOWLEDGED_OF_SYNC * sync_p99_ns),
        time(acknowledged),
        time(sync_p99_ns)
    );
}

/// Speed depends on the machine; what is missing or out of order does not.
fn check(pairs: &[Pair]) -> Result<(), Story> {
    let events = || pairs.iter().flat_map(|pair| &pair.beside).map(|run| run.lane("events"));
    let sum = |name: &str| -> u64 { events().filter_map(|lane| lane[name].as_u64()).sum() };
    let [received, missing, reordered, again] = ["received", "missing", "reordered", "duplicates"].map(sum);
    println!("\n{received} deliveries: {missing} missing, {reordered} out of order, {again} came again");
    if received == 0 || missing + reordered > 0 {
        return Err("deliveries are missing or out of order".into());
    }
    Ok(())
}
