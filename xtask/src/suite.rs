//! `cargo xtask test`: everything, in the order in which it fails soonest.

use crate::shell::{self, Story, binary, cargo};
use crate::{fault, peers, races, sabotage};
use std::process::Command;

/// The rigs over the simulated disk, at the per-change sizes of docs/reliability.md.
fn rigs() -> Result<(), Story> {
    rig(&["sim", "--seeds", "200"])?;
    rig(&["nth", "--modes", "once,sticky"])?;
    rig(&["bitrot", "--flips", "2000"])
}

/// Installs what is needed and runs all tests.
pub fn run(without_peers: bool) -> Result<(), Story> {
    if without_peers {
        eprintln!("left out: asyncua, node-opcua, pymodbus, libmodbus, the browser, and power cuts");
    } else {
        peers::install()?;
    }
    shell::build_all()?;
    let peers = if without_peers { "skip" } else { "required" };
    shell::run(cargo().args(["test", "--release", "--workspace", "--locked"]).env("MILLSTREAM_PEERS", peers))?;
    races::run()?;
    rigs()?;
    sabotage::run(200)?;
    fault::killsweep(50, "uring")?;
    fault::killsweep(10, "epoll")?;
    if without_peers {
        return Ok(());
    }
    fault::powercut(5, "ext4")?;
    fault::powercut(5, "xfs")
}

/// Runs the crash rig with arguments.
pub fn rig<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Result<(), Story> {
    shell::build(&["millstream-rig"])?;
    shell::run(Command::new(binary("rig")).args(arguments))
}
