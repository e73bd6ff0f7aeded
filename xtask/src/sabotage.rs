//! A check that cannot catch a planted bug proves nothing: plant some, and see it catch each.
//!
//! `crates/rig/sabotage/*.txt` and `crates/ring/sabotage/*.txt` each name a file, an exact text in
//! it and what to put instead. The tree is copied, one bug planted, and the rig's simulation or the
//! ring's models built from the copy and run; they must fail.

use crate::shell::{self, Story, root, target};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

struct Bug {
    name: String,
    file: String,
    find: String,
    replace: String,
}

/// Plants every bug of the rig in turn.
pub fn run(seeds: u64) -> Result<(), Story> {
    campaign("crates/rig/sabotage", &|tree| rig_fails(tree, seeds))
}

/// Plants every bug of the lock-free parts in turn.
pub fn run_models() -> Result<(), Story> {
    campaign("crates/ring/sabotage", &models_fail)
}

/// Plants the bugs of a folder; `fails` answers whether the check of a tree fails.
fn campaign(folder: &str, fails: &dyn Fn(&Path) -> Result<bool, Story>) -> Result<(), Story> {
    let bugs = read_bugs(&root().join(folder))?;
    let copy = target().join("sabotage/tree");
    let mut escaped = Vec::new();
    for bug in &bugs {
        copy_tree(&root(), &copy)?;
        plant(bug, &copy)?;
        let caught = fails(&copy)?;
        println!("sabotage {}: {}", bug.name, if caught { "caught" } else { "NOT CAUGHT" });
        if !caught {
            escaped.push(bug.name.clone());
        }
    }
    // the same copy without a bug must pass, or "caught" would say nothing
    copy_tree(&root(), &copy)?;
    if fails(&copy)? {
        return Err(format!("the check of {folder} fails without any planted bug"));
    }
    println!("sabotage, {folder}: {} bugs planted, {} caught", bugs.len(), bugs.len() - escaped.len());
    if escaped.is_empty() { Ok(()) } else { Err(format!("these planted bugs escaped: {}", escaped.join(", "))) }
}

fn read_bugs(folder: &Path) -> Result<Vec<Bug>, Story> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut bugs = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)?.flatten() {
        let text = fs::read_to_string(entry.path()).map_err(unreadable)?;
        let name = entry.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let parts = text.split_once("\n--- find\n").and_then(|(file, rest)| {
            let (find, replace) = rest.split_once("\n--- replace\n")?;
            Some((file.trim().to_owned(), find.to_owned(), replace.trim_end_matches('\n').to_owned()))
        });
        let (file, find, replace) = parts.ok_or_else(|| format!("{name}: not of the form file, find, replace"))?;
        bugs.push(Bug { name, file, find, replace });
    }
    bugs.sort_by(|a, b| a.name.cmp(&b.name));
    if bugs.len() < 3 { Err(format!("only {} bugs in {}", bugs.len(), folder.display())) } else { Ok(bugs) }
}

fn plant(bug: &Bug, tree: &Path) -> Result<(), Story> {
    let path = tree.join(&bug.file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: cannot read {}: {error}", bug.name, bug.file))?;
    if text.matches(&bug.find).count() != 1 {
        return Err(format!(
            "{}: the text to replace stands {} times in {}",
            bug.name,
            text.matches(&bug.find).count(),
            bug.file
        ));
    }
    fs::write(&path, text.replace(&bug.find, &bug.replace))
        .map_err(|error| format!("cannot write {}: {error}", bug.file))
}

/// Builds the rig of a tree and answers whether its simulation fails. A build error is an error.
fn rig_fails(tree: &Path, seeds: u64) -> Result<bool, Story> {
    let build = target().join("sabotage/build");
    let mut cargo = shell::cargo();
    cargo.current_dir(tree).env("CARGO_TARGET_DIR", &build);
    shell::run(cargo.args(["build", "--release", "--quiet", "--locked", "--package", "millstream-rig"]))?;
    let status = Command::new(build.join("release/rig"))
        .args(["sim", "--seeds", &seeds.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("the rig could not be started: {error}"))?;
    Ok(!status.success())
}

/// Builds the models of a tree and answers whether they fail. A build error is an error.
fn models_fail(tree: &Path) -> Result<bool, Story> {
    let mut build = crate::races::models();
    build.current_dir(tree).env("CARGO_TARGET_DIR", target().join("loom"));
    shell::run(build.args(["--quiet", "--no-run"]))?;
    let mut models = crate::races::models();
    models.current_dir(tree).env("CARGO_TARGET_DIR", target().join("loom"));
    let status = models.arg("--quiet").stdout(Stdio::null()).stderr(Stdio::null()).status();
    Ok(!status.map_err(|error| format!("the models could not be started: {error}"))?.success())
}

/// Copies the files that changed, so that cargo builds again only what it must.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Story> {
    let failed = |what: &Path, error: std::io::Error| format!("cannot copy {}: {error}", what.display());
    fs::create_dir_all(to).map_err(|error| failed(to, error))?;
    for entry in fs::read_dir(from).map_err(|error| failed(from, error))?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if [".git", "target", "data"].iter().any(|skip| name == *skip) {
            continue;
        }
        let copy = to.join(&name);
        if path.is_dir() {
            copy_tree(&path, &copy)?;
        } else {
            let bytes = fs::read(&path).map_err(|error| failed(&path, error))?;
            if !fs::read(&copy).is_ok_and(|have| have == bytes) {
                fs::write(&copy, bytes).map_err(|error| failed(&copy, error))?;
            }
        }
    }
    Ok(())
}
