//! `cargo bench --bench line_rate`: what one core and two take in, beside a receiver that throws the same bytes
//! away and a bare writer of the log's bytes.
//!
//! Prints what `cargo xtask bench intake` prints, and takes its options: `-- --seconds 1 --rounds 1`.

mod support;

fn main() -> std::process::ExitCode {
    support::xtask_bench(&["intake"])
}
