//! Fuzz smoke: each target of `fuzz/` for a while, with coverage feedback, on the stable compiler.
//!
//! The flags are those that `cargo fuzz --sanitizer none` passes; the targets link libFuzzer.

use crate::shell::{self, Story, root, target};
use std::fs;
use std::process::Command;

const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cdebug-assertions --cfg fuzzing -Ccodegen-units=1";

/// Builds and runs every target.
pub fn run(seconds: u32) -> Result<(), Story> {
    let build = target().join("fuzz");
    let triple = host()?;
    let mut cargo = shell::cargo();
    cargo.current_dir(root().join("fuzz")).env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", &build);
    shell::run(cargo.args(["build", "--release", "--locked", "--bins", "--target", &triple]))?;
    let folder = root().join("fuzz/targets");
    let names = fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    for entry in names.flatten() {
        let name = entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let corpus = build.join("corpus").join(&name);
        fs::create_dir_all(&corpus).map_err(|error| format!("cannot create {}: {error}", corpus.display()))?;
        let mut fuzzer = Command::new(build.join(&triple).join("release").join(&name));
        fuzzer.current_dir(&build).arg(&corpus).arg(format!("-max_total_time={seconds}"));
        shell::run(fuzzer.args([
            "-rss_limit_mb=512",
            "-timeout=5",
            "-max_len=4096",
            "-print_final_stats=1",
            "-verbosity=0",
        ]))?;
        println!("fuzz {name}: {seconds} s, no finding");
    }
    Ok(())
}

/// The triple of this machine; naming it keeps the coverage flags off build scripts.
pub fn host() -> Result<String, Story> {
    let output = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc -vV: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
    host.ok_or_else(|| "rustc -vV names no host".into())
}
