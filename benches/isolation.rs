//! `cargo bench --bench isolation`: telemetry beside all lower lanes saturated, against telemetry alone.
//!
//! Prints what `cargo xtask bench isolation` prints, and takes its options: `-- --seconds 1 --rounds 1`.

mod support;

fn main() -> std::process::ExitCode {
    support::xtask_bench(&["isolation"])
}
