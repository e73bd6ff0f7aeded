//! The project's own tasks: `cargo xtask test`, the crash rigs, sabotage, fuzz smoke.
//!
//! Each prints what it runs and ends with exit code 0, 1 (a check failed) or 2 (wrong usage). It
//! knows none of our crates: it drives the built binaries from outside.

mod bench;
mod fault;
mod fuzz;
mod peers;
mod races;
mod sabotage;
mod shell;
mod suite;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the Millstream project")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need (Debian: packages by apt) and run all of them
    Test {
        /// Run without foreign peers and without what needs root; says what is left out
        #[arg(long)]
        without_peers: bool,
    },
    /// Install the foreign peers only (Debian packages, a Python environment, npm packages)
    Peers,
    /// Try the lock-free parts in every order (loom), and watch them run (ThreadSanitizer)
    Races,
    /// Seeded simulation of the log over a faulty disk
    Sim {
        /// How many seeds
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// Replay one seed
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Fail the Nth disk operation, for every N of a short run
    Nth {
        /// once, sticky, or both
        #[arg(long, default_value = "once,sticky")]
        modes: String,
    },
    /// Flip bytes of a stored log and see that nothing wrong is served
    Bitrot {
        /// How many flips
        #[arg(long, default_value_t = 2000)]
        flips: u64,
    },
    /// Plant bugs in a copy of the source and see that the simulation catches each
    Sabotage {
        /// Seeds that each planted bug gets
        #[arg(long, default_value_t = 200)]
        seeds: u64,
    },
    /// Kill the real server at random moments while `loadgen verify` writes
    Killsweep {
        /// How many kills
        #[arg(long, default_value_t = 50)]
        points: u32,
        /// `uring` or `epoll`
        #[arg(long, default_value = "uring")]
        io: String,
    },
    /// Cut the power under the real server: a loop-mounted file system shut down while it writes
    Powercut {
        /// How many cuts
        #[arg(long, default_value_t = 5)]
        runs: u32,
        /// `ext4` or `xfs`
        #[arg(long, default_value = "ext4")]
        fs: String,
    },
    /// Measure what one core and two take in, or what is named
    Bench(bench::Bench),
    /// Run each fuzz target for a while
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 20)]
        seconds: u32,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test { without_peers } => suite::run(without_peers),
        Task::Peers => peers::install(),
        Task::Races => races::run(),
        Task::Sim { seeds, seed } => {
            let mut arguments = vec!["sim".to_owned(), "--seeds".to_owned(), seeds.to_string()];
            arguments.extend(seed.into_iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
            suite::rig(&arguments)
        }
        Task::Nth { modes } => suite::rig(&["nth".to_owned(), "--modes".to_owned(), modes]),
        Task::Bitrot { flips } => suite::rig(&["bitrot".to_owned(), "--flips".to_owned(), flips.to_string()]),
        Task::Sabotage { seeds } => sabotage::run(seeds),
        Task::Killsweep { points, io } => fault::killsweep(points, &io),
        Task::Powercut { runs, fs } => fault::powercut(runs, &fs),
        Task::Bench(bench) => bench.run(),
        Task::Fuzz { seconds } => fuzz::run(seconds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(story) => {
            eprintln!("xtask: {story}");
            ExitCode::FAILURE
        }
    }
}
