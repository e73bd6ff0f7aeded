//! The rules of the house, as tests: layering, sizes, words, licences.
//!
//! Each reads the tree as it is; none looks at a list that someone must remember to extend, but
//! for the layer table, which is the architecture itself (docs/architecture.md shows the same).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate may use crates of lower layers only. `client`, `plant`, `loadgen`, `rig` and `xtask`
/// stand beside the server and name what they may use.
const LAYERS: &[(&str, u32)] = &[
    ("model", 0),
    ("ring", 0),
    ("expr", 0),
    ("frame", 1),
    ("env", 1),
    ("config", 1),
    ("calendar", 1),
    ("uring", 2),
    ("sim", 2),
    ("log", 2),
    ("delivery", 2),
    ("alarms", 2),
    ("batch", 2),
    ("shard", 3),
    ("request", 3),
    ("pipeline", 4),
    ("modbus", 4),
    ("opcua-source", 4),
    ("native", 4),
    ("connect", 4),
    ("flows", 5),
    ("http", 6),
    ("millstream", 7),
];

/// Lower-layer use within one layer that the table above would forbid and that is meant.
const SAME_LAYER: &[(&str, &str)] = &[("ring", "model")];

/// Crates beside the server, and all of ours that each may use.
const BESIDE: &[(&str, &[&str])] = &[
    ("client", &["model", "frame"]),
    ("plant", &[]),
    ("loadgen", &["client", "frame", "model", "plant"]),
    ("rig", &["client", "env", "frame", "log", "model", "native", "pipeline", "ring", "sim"]),
    ("xtask", &[]),
];

/// What the binary uses beside its layers: the demo's plant and its vibration rig.
const BINARY_BESIDE: &[&str] = &["plant", "client"];

/// Longest file and function bodies that need no reason.
const FILE_LINES_MAX: usize = 800;
const LIB_LINES_MAX: usize = 120;

/// Files that may be longer, with the reason. This list only shrinks.
const LONG_FILES: &[(&str, &str)] = &[];

/// Licences that may come in. All allow closed and open use; MPL-2.0 asks for changes to its own
/// files only.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "CC0-1.0",
    "0BSD",
    "BSL-1.0",
    "MIT-0",
];

/// Crates that may not come in at all, with what to use instead.
const BANNED_CRATES: &[(&str, &str)] = &[
    ("openssl", "rustls"),
    ("openssl-sys", "rustls"),
    ("native-tls", "rustls"),
    ("aws-lc-sys", "one TLS provider: ring"),
    ("datafusion", "comes with the archive, behind its own crate"),
    ("parquet", "comes with the archive, behind its own crate"),
    ("rumqttc", "rumqttc-next"),
    ("rodbus", "not free for commercial use"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn metadata() -> cargo_metadata::Metadata {
    cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from).to_vec())
        .exec()
        .expect("cargo metadata answers")
}

/// Every file of ours that git knows or would take, by ending.
fn files(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("readable").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let skip = ["target", ".git", "node_modules", "corpus", "artifacts", "data"];
            if path.is_dir() {
                if !skip.contains(&name.as_str()) {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), endings, &mut found);
    assert!(!found.is_empty(), "no files with {endings:?}: the walk is broken");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn dependencies_point_down_only() {
    let metadata = metadata();
    let layers: BTreeMap<&str, u32> = LAYERS.iter().copied().collect();
    let short = |name: &str| name.strip_prefix("millstream-").unwrap_or(name).to_owned();
    let members: Vec<_> = metadata.workspace_packages();
    let ours: Vec<String> = members.iter().map(|p| short(p.name.as_ref())).collect();
    let mut wrong = Vec::new();
    for package in &members {
        let name = short(package.name.as_ref());
        let used = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
        for dependency in used.map(|d| short(&d.name)).filter(|d| ours.contains(d)) {
            let allowed = match (layers.get(name.as_str()), layers.get(dependency.as_str())) {
                (Some(7), None) => BINARY_BESIDE.contains(&dependency.as_str()),
                (Some(upper), Some(lower)) => {
                    lower < upper || SAME_LAYER.contains(&(name.as_str(), dependency.as_str()))
                }
                (Some(_), None) => false,
                (None, _) => match BESIDE.iter().find(|(beside, _)| *beside == name) {
                    Some((_, may)) => may.contains(&dependency.as_str()),
                    None => {
                        wrong.push(format!("{name} stands in no layer: give it one in tests/house.rs"));
                        true
                    }
                },
            };
            if !allowed {
                wrong.push(format!("{name} may not use {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_licence_is_one_that_we_take() {
    let mut wrong = Vec::new();
    for package in &metadata().packages {
        let Some(licence) = &package.license else {
            wrong.push(format!("{} names no licence", package.name));
            continue;
        };
        if !licence_is_taken(licence) {
            wrong.push(format!("{}: {licence}", package.name));
        }
    }
    assert!(wrong.is_empty(), "licences that are not on the list:\n{}", wrong.join("\n"));
}

/// Whether an SPDX expression can be met with licences of the list: one side of every OR, both of
/// every AND.
fn licence_is_taken(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let parts = top_level(&expression, " AND ");
    if parts.len() > 1 {
        return parts.iter().all(|part| licence_is_taken(part));
    }
    let parts = top_level(&expression, " OR ");
    if parts.len() > 1 {
        return parts.iter().any(|part| licence_is_taken(part));
    }
    let one = expression.trim();
    match one.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => licence_is_taken(inner),
        None => LICENCES.contains(&one),
    }
}

/// Splits at an operator outside parentheses.
fn top_level(expression: &str, operator: &str) -> Vec<String> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 && expression[at..].starts_with(operator) {
            parts.push(expression[start..at].to_owned());
            start = at + operator.len();
        }
    }
    parts.push(expression[start..].to_owned());
    parts
}

#[test]
fn licence_expressions_are_read_right() {
    assert!(licence_is_taken("MIT OR GPL-3.0"));
    assert!(licence_is_taken("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!licence_is_taken("MIT AND GPL-3.0"));
    assert!(!licence_is_taken("LGPL-3.0"));
}

#[test]
fn banned_crates_stay_out() {
    let metadata = metadata();
    let wrong: Vec<String> = BANNED_CRATES
        .iter()
        .filter(|(name, _)| metadata.packages.iter().any(|p| p.name.as_str() == *name))
        .map(|(name, instead)| format!("{name}: use {instead}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_keep_their_size() {
    let mut wrong = Vec::new();
    for path in files(&[".rs", ".js"]) {
        let (name, lines) = (shown(&path), fs::read_to_string(&path).expect("text").lines().count());
        let excused = LONG_FILES.iter().any(|(file, _)| *file == name);
        if lines > FILE_LINES_MAX && !excused {
            wrong.push(format!("{name}: {lines} lines; at most {FILE_LINES_MAX}: split it by duty"));
        }
        if lines <= FILE_LINES_MAX && excused {
            wrong.push(format!("{name} needs no exemption any more: take it off the list"));
        }
        if name.ends_with("/lib.rs") && lines > LIB_LINES_MAX {
            wrong.push(format!("{name}: {lines} lines; a lib.rs is documentation, modules and re-exports"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unfinished_marks_and_grab_bags_stay_out() {
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("XX", "X"),
    ];
    let bags = ["common", "utils", "util", "helpers", "misc", "types", "impls"];
    let mut wrong = Vec::new();
    for path in files(&[".rs", ".toml", ".js", ".css", ".html", ".md", ".sh", ".py"]) {
        let text = fs::read_to_string(&path).expect("text");
        for (number, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                wrong.push(format!("{}:{}: {mark}", shown(&path), number + 1));
            }
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if bags.contains(&stem.as_str()) && path.extension().is_some_and(|e| e == "rs") {
            wrong.push(format!("{}: name it after what it holds", shown(&path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `allow` hides a lint for ever; `expect` with a reason says so when it is no longer needed. What
/// several test binaries share is used in part by each, which only `allow` can say.
#[test]
fn lints_are_expected_with_a_reason_not_allowed() {
    let mut wrong = Vec::new();
    for path in files(&[".rs"]) {
        let shared = shown(&path).contains("tests/");
        for (number, line) in fs::read_to_string(&path).expect("text").lines().enumerate() {
            if shared && line.contains("(dead_code, reason") {
                continue;
            }
            if line.trim_start().starts_with(concat!("#[al", "low("))
                || line.trim_start().starts_with(concat!("#![al", "low("))
            {
                wrong.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Exactly one crate touches the kernel's rings, one names raw atomics, one accesses an archive
/// unchecked.
#[test]
fn dangerous_things_stand_in_one_crate_each() {
    let rules: &[(&str, &[&str])] = &[
        (concat!("access_", "unchecked"), &["crates/frame/src/"]),
        (
            concat!("sync::", "atomic"),
            &[
                "crates/ring/src/",
                "tests/",
                "/tests/",
                "crates/plant/",
                "loadgen/",
                "crates/client/",
                "xtask/",
                "/examples/",
            ],
        ),
        (concat!("io_uring", "::"), &["crates/uring/"]),
        (concat!("tokio_uring", "::"), &["crates/uring/src/"]),
    ];
    let mut wrong = Vec::new();
    for path in files(&[".rs"]) {
        let name = shown(&path);
        let text = fs::read_to_string(&path).expect("text");
        // a module of tests at the end of a file may use what it needs
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for (needle, homes) in rules {
            let at_home =
                homes.iter().any(|home| name.starts_with(home) || (home.starts_with('/') && name.contains(home)));
            if !at_home && code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(needle)) {
                wrong.push(format!("{name} names {needle}, which belongs in {}", homes[0]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
