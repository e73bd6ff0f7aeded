//! Running programs, with the command shown and a failure that says which.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What went wrong, for a person.
pub type Story = String;

/// The top of the source tree.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Where build output goes.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A built binary of the release profile.
pub fn binary(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// The cargo that runs us, without what it told us of this package: build scripts that look at it
/// would run again, and everything behind them be compiled again, each time that cargo is called by
/// hand after us or by us after a hand.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let is_ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

/// Set when the whole workspace was built by this process.
static BUILT: OnceLock<()> = OnceLock::new();

/// Builds everything once, tests and benchmarks included: one set of features, one build.
pub fn build_all() -> Result<(), Story> {
    run(cargo().args(["build", "--release", "--workspace", "--all-targets", "--locked"]))?;
    BUILT.get_or_init(|| ());
    Ok(())
}

/// Builds these packages, unless everything was built already.
pub fn build(packages: &[&str]) -> Result<(), Story> {
    if BUILT.get().is_some() {
        return Ok(());
    }
    let named = packages.iter().flat_map(|package| ["--package", package]);
    run(cargo().args(["build", "--release", "--quiet", "--locked"]).args(named))
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<(), Story> {
    let shown = show(command);
    eprintln!("+ {shown}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: ended with {status}")),
        Err(error) => Err(format!("{shown}: could not be started: {error}")),
    }
}

/// Runs a command quietly; whether it ended well.
pub fn works(program: &str, arguments: &[&str]) -> bool {
    let quiet =
        Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

fn show(command: &Command) -> String {
    let root = root().display().to_string();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| word.to_string_lossy().replace(&format!("{root}/"), "")).collect();
    line.join(" ")
}
