//! `cargo xtask races`: the lock-free parts, tried in every order and watched while they run.
//!
//! One crate, `crates/ring`, names raw atomics. Its models run under loom, which tries every
//! interleaving and every value that the memory model allows a load to see. Its stress program runs
//! under ThreadSanitizer, which watches real threads; the compiler calls that unstable, so it is
//! left out, and said so, where a compiler does not do it.
//!
//! Miri is not used: it comes with nightly compilers only, and this project is built with a stable
//! one.

use crate::fuzz::host;
use crate::sabotage;
use crate::shell::{self, Story, target};
use std::fs;
use std::process::Command;

/// The crate that names raw atomics.
const PACKAGE: &str = "millstream-ring";
/// The flags that instrument memory accesses. The second lets the standard library stay as it comes,
/// not instrumented: to the watcher, what is ordered by its inside alone would look like a race, so a
/// program that is watched must hand over by our own atomics or by joining.
const WATCHED: &str = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer";

/// Runs the models, has them catch bugs that are planted for it, and runs the stress program, watched,
/// where the compiler can do that.
pub fn run() -> Result<(), Story> {
    shell::run(models().env("CARGO_TARGET_DIR", target().join("loom")))?;
    sabotage::run_models()?;
    if let Err(why) = can_watch() {
        eprintln!("left out: ThreadSanitizer, {why}");
        return Ok(());
    }
    let mut watched = shell::cargo();
    // the variable lets a stable compiler take the flag; naming the target keeps it off build scripts
    watched.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", WATCHED).env("CARGO_TARGET_DIR", target().join("watched"));
    // the first race ends the run
    watched.env("TSAN_OPTIONS", "halt_on_error=1");
    let program = ["run", "--release", "--locked", "--package", PACKAGE, "--example", "stress"];
    shell::run(watched.args(program).args(["--target", &host()?]))
}

/// What builds and runs the models.
pub fn models() -> Command {
    let mut loom = shell::cargo();
    loom.env("RUSTFLAGS", "--cfg loom").args(["test", "--release", "--locked", "--package", PACKAGE, "--lib"]);
    loom
}

/// Whether a program with two threads can be built, is watched, and runs.
fn can_watch() -> Result<(), Story> {
    let folder = target().join("watched");
    fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let (source, program) = (folder.join("race.rs"), folder.join("race"));
    // a race on purpose: where it is not reported, nothing would be
    let race = "static mut N: u64 = 0;
        fn add() { for _ in 0..1000 { unsafe { N += 1 } } }
        fn main() { let other = std::thread::spawn(add); add(); other.join().unwrap(); }";
    fs::write(&source, race).map_err(|error| format!("{} cannot be written: {error}", source.display()))?;
    let mut rustc = Command::new("rustc");
    rustc
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["--edition", "2021", "-Copt-level=0"])
        .args(WATCHED.split(' '))
        .arg("-o")
        .arg(&program);
    let built = rustc.arg(&source).output().map_err(|error| format!("rustc could not be started: {error}"))?;
    if !built.status.success() {
        return Err("this compiler does not build with it".into());
    }
    let ran = Command::new(&program).output().map_err(|error| format!("what it builds does not run: {error}"))?;
    let told = String::from_utf8_lossy(&ran.stderr);
    if told.contains("data race") { Ok(()) } else { Err("it does not report a race that is there".into()) }
}
