//! Millstream: one binary for a plant's edge server.
//!
//! This crate is the command line and the wiring: [`commands`] are what a person types, [`server`]
//! puts shards, sources, log and HTTP together. What they are made of stands in `crates/`
//! (docs/architecture.md, code map).

mod commands;
mod demo;
mod report;
mod server;

use clap::{Parser, Subcommand};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// For measurements only: `/v1/cores` shows how often each stage asks for memory.
#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: ring::CountingAllocator = ring::CountingAllocator;

#[derive(Parser)]
#[command(name = "millstream", version, about = "A plant's telemetry: in at line rate, durable, queried over HTTP")]
#[command(after_help = "Without a command the demo starts: a simulated plant, Millstream, and the dashboard.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How to reach the kernel: auto, uring or epoll
    #[arg(long, global = true, default_value = "auto")]
    io: server::IoChoice,
}

#[derive(Subcommand)]
enum Command {
    /// Run with a configuration file
    Run {
        /// The configuration, e.g. plant.toml
        file: PathBuf,
    },
    /// Check a configuration file and show every error at once
    Check {
        /// The configuration
        file: PathBuf,
        /// Errors as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a commented starter configuration
    Init {
        /// Where to; never overwrites. Default: millstream.toml
        #[arg(default_value = "millstream.toml")]
        file: PathBuf,
    },
    /// Print the configuration's JSON Schema
    Schema,
    /// Run the simulated plant alone, on the fixed ports of docs/examples/plant.toml
    Plant {
        /// Seed of the plant's physics
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Look into a stored log
    #[command(subcommand)]
    Log(LogCommand),
    /// Look at a device and print a configuration for it
    Browse {
        /// tcp://host:port (Modbus) or opc.tcp://host:port/path (OPC UA)
        endpoint: String,
    },
}

#[derive(Subcommand)]
enum LogCommand {
    /// Check every byte of a log; changes nothing
    Verify {
        /// A shard's directory, e.g. data/shard-0, or a data directory
        dir: PathBuf,
        /// The report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print every segment, batch and frame
    Dump {
        /// A shard's directory, e.g. data/shard-0
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // the OPC UA library speaks of every session and of certificates that nobody asked it to use
    let filter = std::env::var("MILLSTREAM_LOG")
        .unwrap_or_else(|_| "info,opcua_crypto=off,opcua_client=off,opcua_server=off,opcua_core=off".into());
    let output = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    output.with_ansi(std::io::stderr().is_terminal()).init();
    let outcome = match arguments.command {
        None => demo::run(arguments.io),
        Some(Command::Run { file }) => commands::run(&file, arguments.io),
        Some(Command::Check { file, json }) => commands::check(&file, json),
        Some(Command::Init { file }) => commands::init(&file),
        Some(Command::Schema) => commands::schema(),
        Some(Command::Plant { seed }) => commands::plant(seed),
        Some(Command::Log(LogCommand::Verify { dir, json })) => commands::log_verify(&dir, json),
        Some(Command::Log(LogCommand::Dump { dir })) => commands::log_dump(&dir),
        Some(Command::Browse { endpoint }) => commands::browse(&endpoint),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("millstream: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}
