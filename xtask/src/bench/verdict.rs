//! The goals of isolation (P4) and of latency (P5), and how it is said whether they hold.

/// Telemetry's throughput beside other work, of its throughput alone.
pub const THROUGHPUT_MIN: f64 = 0.95;
/// What frame to visible may take more beside other work, microseconds.
pub const VISIBLE_P50_MORE_US: f64 = 10.0;
pub const VISIBLE_P99_MORE_US: f64 = 25.0;
/// Longest time between two looks at telemetry at p99.99, ns.
pub const LOOK_NS_MAX: f64 = 50_000.0;
/// Frame to visible of telemetry alone at half of its limit: p50, and p99.9 beyond the platform's own, ns.
pub const VISIBLE_NS_MAX: f64 = 15_000.0;
pub const VISIBLE_P999_MORE_NS: f64 = 50_000.0;
/// Frame to acknowledged at p99, of a bare sync's p99.
pub const ACKNOWLEDGED_OF_SYNC: f64 = 3.0;
/// Share of the server's core that others may take before a run says nothing certain.
pub const OTHERS_MAX: f64 = 0.05;

/// The word for it.
pub fn of(holds: bool) -> &'static str {
    if holds { "holds" } else { "DOES NOT HOLD" }
}

/// The word for a time, or what there is more of it, that holds the sender's own delay, too.
pub fn beyond_the_sender(all: f64, own: f64, goal: f64) -> &'static str {
    match (all <= goal, all - own <= goal) {
        (true, _) => "holds",
        (false, true) => "CANNOT BE TOLD from what the sender's own core adds",
        (false, false) => "DOES NOT HOLD",
    }
}

/// Says in how many runs others took too much of the server's core, if in any.
pub fn print_disturbed(others: impl Iterator<Item = f64>) {
    let shares: Vec<f64> = others.collect();
    let disturbed = shares.iter().filter(|share| **share > OTHERS_MAX).count();
    if disturbed > 0 {
        println!(
            "NOTHING CERTAIN: in {disturbed} of {} runs others took more than {:.0} % of the server's core",
            shares.len(),
            100.0 * OTHERS_MAX
        );
    }
}
