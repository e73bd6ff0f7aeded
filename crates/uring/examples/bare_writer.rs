//! The second limit of intake (`cargo xtask bench intake`): how many bytes a second this disk takes from
//! somebody who does nothing else, in the manner of the log and with its lengths.
//!
//! `taskset -c 1 cargo run --release -p millstream-uring --example bare_writer -- DIRECTORY SECONDS [sync]`
//!
//! How it writes stands in `bare/mod.rs`. With `sync` one sync is always under way, and only what a sync that
//! was begun later has covered is counted; without, what was written. Prints one JSON object.

mod bare;

use bare::{BLOCK_BYTES, Files, Memory, Writer};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: bare_writer DIRECTORY SECONDS [sync]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (directory, seconds, syncs) = match &arguments[..] {
        [directory, seconds] => (directory, seconds, false),
        [directory, seconds, word] if word == "sync" => (directory, seconds, true),
        _ => return Err(usage.into()),
    };
    let time = Duration::try_from_secs_f64(seconds.parse().map_err(|_| usage)?)?;
    let memory = Memory::new();
    let files = Files::new(Path::new(directory), &memory)?;
    let mut writer = Writer::new(&memory, &files, syncs)?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        while writer.free() > 0 {
            // No two turns of a block are alike.
            writer.block()[0] = writer.block()[0].wrapping_add(1);
            writer.begin()?;
        }
        writer.sync()?;
        writer.enter(1)?;
    }
    let (blocks, took) = (writer.done(), begun.elapsed().as_secs_f64());
    while writer.under_way() {
        writer.enter(1)?;
    }
    let bytes = blocks * BLOCK_BYTES as u64;
    println!(
        "{{\"seconds\":{took:.3},\"bytes\":{bytes},\"bytes_per_s\":{:.0},\"syncs\":{}}}",
        bytes as f64 / took,
        writer.syncs
    );
    Ok(())
}
