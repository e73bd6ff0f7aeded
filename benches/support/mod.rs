//! Benchmarks that start the real server and load it, as `cargo xtask bench` does.

use std::process::{Command, ExitCode};

/// Runs `cargo xtask bench` with these words, and those that stand behind `--`, and prints its table,
/// where this was started by `cargo bench`. Started by a test run it measures nothing: that takes minutes and both cores.
pub fn xtask_bench(words: &[&str]) -> ExitCode {
    let given = |word: &str| std::env::args().any(|argument| argument == word);
    if !given("--bench") || given("--test") {
        println!("left out: `cargo xtask bench {}` is measured by cargo bench alone", words.join(" "));
        return ExitCode::SUCCESS;
    }
    let more = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // what cargo told of this package would make build scripts run again
    let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in told.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        command.env_remove(name);
    }
    match command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["xtask", "bench"]).args(words).args(more).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("cargo xtask bench {} ended with {status}", words.join(" "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cargo could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
