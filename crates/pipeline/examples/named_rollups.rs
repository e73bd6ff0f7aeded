//! What the windows of `[[rollup]]` sections cost a sample (docs/adr/011-tag-state.md): scans of 1,000 tags, all
//! good, a millisecond apart, by how many rollups match them and how many tags there are.
//!
//! `taskset -c 1 cargo run --release -p millstream-pipeline --example named_rollups`
//!
//! Bounded: eighteen runs of three million samples.

use millstream_pipeline::rollup::{Aggregate, Named, Point, RollupSpec};
use model::{Glob, TimestampNs};
use std::time::Instant;

const SCAN: usize = 1_000;
const SAMPLES: usize = 3_000_000;
const SECOND_NS: i64 = 1_000_000_000;

fn main() {
    println!("| tags | rollups | ns a sample | bytes a tag |");
    println!("|---:|---|---:|---:|");
    for _ in 0..2 {
        for tags in [1_000, 8_000, 64_000] {
            for widths in [&[60][..], &[1, 60], &[1, 60, 3_600]] {
                run(tags, widths);
            }
        }
    }
}

fn run(tags: usize, widths_s: &[i64]) {
    let aggregates = Aggregate::ALL.map(|(_, aggregate)| aggregate).to_vec();
    let spec = |width_s: &i64| RollupSpec {
        name: format!("{width_s}s"),
        glob: Glob::new("**"),
        every_ns: width_s * SECOND_NS,
        aggregates: aggregates.clone(),
        late_ns: 10 * SECOND_NS,
    };
    let mut named = Named::default();
    named.configure(widths_s.iter().map(spec).collect());
    (0..tags as u32).for_each(|tag| named.declare(tag, "a", None));
    // noise, as a signal has: no step can be told from the one before
    let mut noise = 1_u64;
    let mut value = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 40) as f64
    };
    let values: Vec<f64> = (0..64 * SCAN).map(|_| value()).collect();
    let mut scan = |round: usize| {
        let time = TimestampNs(round as i64 * 1_000_000);
        for first in (0..tags).step_by(SCAN) {
            let values = &values[round % 64 * SCAN..][..SCAN];
            let points = values.iter().map(|number| Point { time, number: *number, usable: true });
            named.add_run(first as u32, time, time, points);
        }
    };
    // the first windows are made before the measurement
    scan(0);
    let rounds = SAMPLES / tags;
    let begun = Instant::now();
    (1..=rounds).for_each(&mut scan);
    let ns = begun.elapsed().as_nanos() as f64 / (rounds * tags) as f64;
    let widths = widths_s.iter().map(|width| format!("{width} s")).collect::<Vec<_>>().join(", ");
    println!("| {tags} | {widths} | {ns:.1} | {} |", named.bytes() / tags);
}
