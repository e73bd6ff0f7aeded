//! `cargo bench --bench line_rate`: what one core and two take in, beside a receiver that throws the same bytes away.
//!
//! Prints what `cargo xtask bench intake` prints.

mod support;

fn main() -> std::process::ExitCode {
    support::xtask_bench(&["intake"])
}
