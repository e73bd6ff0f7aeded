//! `rig`: one line of result a command; exit code 1, the seed and how to replay it on a failure.

use clap::{Args, Parser, Subcommand, ValueEnum};
use env::disk::DiskError;
use rig::bitrot::{self, Damage};
use rig::driver::Driver;
use rig::log_system::LogSystem;
use rig::nth::{self, Mode};
use rig::scenario::{self, Done, Size};
use rig::stack::Stack;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(name = "rig", about = "Runs Millstream through simulated crashes, faults and rot")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Several lives under random faults and crashes, for each seed.
    Sim(Sim),
    /// Fails each single disk operation of a short run in turn.
    Nth(NthArguments),
    /// Damages a sample log in one place at a time.
    Bitrot(Bitrot),
}

#[derive(Args)]
struct Sim {
    /// How many seeds, from `--first` on.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Replays this one seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// What runs.
    #[arg(long, value_enum, default_value_t = SystemName::Both)]
    system: SystemName,
    /// Producers with acknowledgements.
    #[arg(long, default_value_t = 3)]
    durable: usize,
    /// Producers without.
    #[arg(long, default_value_t = 1)]
    loose: usize,
    /// Lives of a run at most.
    #[arg(long, default_value_t = 5)]
    lives: u64,
    /// Duty cycles of a life at most.
    #[arg(long, default_value_t = 300)]
    steps: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SystemName {
    /// The log alone.
    Log,
    /// Producers, sessions, the pass and the log.
    Stack,
    /// One after the other.
    Both,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeName {
    Once,
    Sticky,
}

#[derive(Args)]
struct NthArguments {
    /// Which ways to fail.
    #[arg(long, value_delimiter = ',', default_value = "once,sticky")]
    modes: Vec<ModeName>,
    /// Duty cycles of a life.
    #[arg(long, default_value_t = 40)]
    steps: u64,
    /// The run's seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Replays the failure of this operation alone.
    #[arg(long)]
    at: Option<u64>,
}

#[derive(Args)]
struct Bitrot {
    /// Bytes to flip, chosen by seeds from `--first` on; 0: every byte of the log.
    #[arg(long, default_value_t = 2000)]
    flips: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Replays this one seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Duty cycles that write the sample log.
    #[arg(long, default_value_t = 200)]
    steps: u64,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Sim(arguments) => simulate(&arguments),
        Command::Nth(arguments) => fail_each(&arguments),
        Command::Bitrot(arguments) => rot(&arguments),
    }
}

/// Runs a case; a panic is a failure with its story.
fn guarded<T>(case: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let story = panic.downcast_ref::<String>().cloned();
        let story = story.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("panicked: {}", story.unwrap_or_else(|| "without a message".to_owned())))
    })
}

fn simulate(arguments: &Sim) -> ExitCode {
    let mut failures = 0;
    if arguments.system != SystemName::Stack {
        failures += simulate_one(arguments, "log", scenario::run::<Driver<LogSystem>>);
    }
    if arguments.system != SystemName::Log {
        failures += simulate_one(arguments, "stack", scenario::run::<Stack>);
    }
    exit_code(failures)
}

/// Runs every seed of one system; answers how many failed.
fn simulate_one(arguments: &Sim, name: &str, run: fn(u64, Size) -> Result<Done, String>) -> u64 {
    let size =
        Size { durable: arguments.durable, loose: arguments.loose, lives: arguments.lives, steps: arguments.steps };
    let seeds = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => arguments.first..arguments.first + arguments.seeds,
    };
    let (count, began) = (seeds.end - seeds.start, Instant::now());
    let (mut total, mut failures) = (Done::default(), 0);
    for seed in seeds {
        match guarded(|| run(seed, size)) {
            Ok(done) => {
                total.frames += done.frames;
                total.crashes += done.crashes;
                total.faults += done.faults;
                done.met.iter().for_each(|(what, count)| *total.met.entry(what).or_default() += count);
            }
            Err(why) => {
                failures += 1;
                println!("{name}, seed {seed}: {why}");
                println!(
                    "  replay: rig sim --system {name} --seed {seed} --durable {} --loose {} --lives {} --steps {}",
                    size.durable, size.loose, size.lives, size.steps
                );
            }
        }
    }
    let met: String = total.met.iter().map(|(what, count)| format!(" {count} {what},")).collect();
    println!(
        "sim, {name}: {count} seeds, {failures} failures, {} frames, {} crashes, {} faults,{met} {:.1} s",
        total.frames,
        total.crashes,
        total.faults,
        began.elapsed().as_secs_f64()
    );
    failures
}

fn fail_each(arguments: &NthArguments) -> ExitCode {
    let (seed, steps, began) = (arguments.seed, arguments.steps, Instant::now());
    let operations = match guarded(|| nth::count::<LogSystem>(seed, steps)) {
        Ok(operations) => operations,
        Err(why) => {
            println!("the run fails without any fault: {why}");
            return ExitCode::FAILURE;
        }
    };
    let range = arguments.at.map_or(1..=operations, |at| at..=at);
    let (mut runs, mut failures) = (0, 0);
    for mode in &arguments.modes {
        let (mode, name) = match mode {
            ModeName::Once => (Mode::Once, "once"),
            ModeName::Sticky => (Mode::Sticky, "sticky"),
        };
        for at in range.clone() {
            for error in [DiskError::Full, DiskError::Failed("simulated I/O error".to_owned())] {
                runs += 1;
                if let Err(why) = guarded(|| nth::run::<LogSystem>(seed, steps, at, mode, error.clone())) {
                    failures += 1;
                    println!("operation {at} {name} ({error}): {why}");
                    println!("  replay: rig nth --modes {name} --seed {seed} --steps {steps} --at {at}");
                }
            }
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    println!("nth: {operations} operations, {runs} runs, {failures} failures, {elapsed:.1} s");
    exit_code(failures)
}

fn rot(arguments: &Bitrot) -> ExitCode {
    let began = Instant::now();
    let sample = match bitrot::sample(7, arguments.steps) {
        Ok(sample) => sample,
        Err(why) => {
            println!("the sample log cannot be written: {why}");
            return ExitCode::FAILURE;
        }
    };
    let (mut runs, mut failures) = (0_u64, 0);
    let mut judge = |result: Result<(), String>, replay: String| {
        runs += 1;
        if let Err(why) = result {
            failures += 1;
            println!("{why}\n  replay: rig bitrot --steps {} {replay}", arguments.steps);
        }
    };
    if arguments.flips == 0 && arguments.seed.is_none() {
        for at in 0..sample.bytes() {
            judge(guarded(|| sample.flip(at, 1 << (at % 8))), "--flips 0".to_owned());
        }
    } else {
        let seeds = match arguments.seed {
            Some(seed) => seed..seed + 1,
            None => arguments.first..arguments.first + arguments.flips,
        };
        for seed in seeds {
            judge(guarded(|| sample.damage(Damage::Flip, seed)), format!("--seed {seed}"));
            if seed % 10 == 0 {
                for damage in [Damage::Misdirect, Damage::Spoil, Damage::Lose] {
                    judge(guarded(|| sample.damage(damage, seed)), format!("--seed {seed}"));
                }
            }
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    println!(
        "bitrot: {} bytes in {} segments, {runs} runs, {failures} failures, {elapsed:.1} s",
        sample.bytes(),
        sample.segments()
    );
    exit_code(failures)
}

fn exit_code(failures: u64) -> ExitCode {
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
