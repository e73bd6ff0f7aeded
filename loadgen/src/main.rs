//! loadgen: Millstream from outside. Makes load, measures it, and checks that nothing is lost.
//!
//! Purpose: `native` drives frames and measures throughput and latency, `http` and `nats` drive what else
//! one could take with the same samples, `fanout` publishes events and is their subscribers, `mixed`
//! drives all lanes of a server at once, `verify` writes a series that it can compute again and reads it
//! back sample by sample, `modbus` and `opcua` are plants to poll and to subscribe to, which measure how
//! well that is done; `poll` and `subscribe` are clients to compare with.
//!
//! Invariants
//! - G1: nothing of the server's crates is used: what is measured is what any producer sees.
//! - G2: in an open loop, latency counts from the time at which a frame or event was due, so that a server that
//!   stalls cannot make its own measurement stop (coordinated omission).
//! - G3: a ratio is only given for two things measured in one run, taken in turns.
//! - G4: `verify` calls a sample lost only if it had been acknowledged.
//!
//! It deliberately kills and starts nothing: a wrapper does that while `verify` runs.
//!
//! Exit codes: 0 fine, 1 it failed (or samples are lost, doubled, altered or out of order), 2 wrong
//! usage.

#![forbid(unsafe_code)]

mod args;
mod compare;
mod connection;
mod drive;
mod fanout;
mod fleet;
mod hiccup;
mod http;
mod ingest;
mod listener;
mod load;
mod machine;
mod mixed;
mod native;
mod nats;
mod poll;
mod polling;
mod reading;
mod receiver;
mod report;
mod series;
mod subscribe;
mod subscribing;
mod timeline;
mod verify;
mod window;

use args::{Args, Command};
use clap::Parser;
use std::fmt;
use std::process::ExitCode;

/// Why loadgen ends with an error.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It went wrong: exit code 1.
    Failed(String),
    /// It was asked for something that makes no sense: exit code 2.
    Usage(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(what) | Failure::Usage(what) => f.write_str(what),
        }
    }
}

impl Failure {
    /// Wraps an error of something else.
    pub(crate) fn of(error: impl fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Native(options) => native::run(&options),
        Command::Http(options) => ingest::run(&options),
        Command::Nats(options) => nats::run(&options),
        Command::Fanout(options) => fanout::run(&options),
        Command::Mixed(options) => mixed::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Modbus(options) => fleet::modbus(&options),
        Command::Poll(options) => poll::run(&options),
        Command::Opcua(options) => fleet::opcua(&options),
        Command::Subscribe(options) => subscribe::run(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            ExitCode::from(match failure {
                Failure::Failed(_) => 1,
                Failure::Usage(_) => 2,
            })
        }
    }
}
