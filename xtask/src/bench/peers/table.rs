//! What was measured, as a table in Markdown, and what it says of the goals.

use super::super::table::median;
use super::Figures;
use crate::shell::Story;

/// Share of the server's core that others may take before a run says nothing certain.
const OTHERS_MAX: f64 = 0.05;

/// Every measurement, by row.
pub struct Table {
    rows: Vec<(String, Vec<Figures>)>,
}

impl Table {
    pub fn new(names: Vec<String>) -> Table {
        Table { rows: names.into_iter().map(|name| (name, Vec::new())).collect() }
    }

    pub fn add(&mut self, row: usize, figures: Figures) {
        self.rows[row].1.push(figures);
    }

    /// Prints the table, and for each row its name, what it promises, and how it was flushed.
    pub fn print(&self, heading: &str, notes: &[(String, &str, &str)]) {
        println!("{heading}; medians, and in brackets lowest and highest\n");
        println!(
            "| what | samples/s | CPU a sample | its core: used by it / by others | load's core | bytes a sample on disk | resident |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for (name, runs) in &self.rows {
            println!("| {name} {}", row(runs));
        }
        self.ratios();
        println!("\nWhat they do:");
        for (name, promise, flushed) in notes {
            println!("- {name}: {promise}. Before its files were counted: {flushed}.");
        }
        let sums = |of: fn(&Figures) -> u64| self.rows.iter().flat_map(|(_, runs)| runs).map(of).sum::<u64>();
        println!(
            "\nAsked at the end, they held {} samples of {} that they are known to have acknowledged.",
            sums(|run| run.samples),
            sums(|run| run.acknowledged)
        );
        let others = self.rows.iter().flat_map(|(_, runs)| runs).map(|run| run.others).fold(0.0, f64::max);
        let verdict = if others <= OTHERS_MAX { "certain" } else { "NOT CERTAIN" };
        println!("Others took at most {:.1} % of the server's core: {verdict}.", 100.0 * others);
    }

    /// Each of Millstream's rows over each of the peer's, round by round.
    fn ratios(&self) {
        let (ours, peers): (Vec<_>, Vec<_>) = self.rows.iter().partition(|(name, _)| name.starts_with("Millstream"));
        println!("\n| samples/s of … as a multiple of … | {} |", names(&peers));
        println!("|---|{}", "---:|".repeat(peers.len()));
        for (name, runs) in &ours {
            let cells: Vec<String> = peers
                .iter()
                .map(|(_, others)| {
                    let ratios = runs.iter().zip(others).map(|(a, b)| a.samples_per_s / b.samples_per_s).collect();
                    spread(ratios, |ratio| if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") })
                })
                .collect();
            println!("| {name} | {} |", cells.join(" | "));
        }
    }

    /// Nothing that was acknowledged may be missing.
    pub fn check(&self) -> Result<(), Story> {
        for (name, runs) in &self.rows {
            if let Some(run) = runs.iter().find(|run| run.samples < run.acknowledged) {
                return Err(format!("{name} acknowledged {} samples and holds {}", run.acknowledged, run.samples));
            }
        }
        Ok(())
    }
}

fn names(rows: &[&(String, Vec<Figures>)]) -> String {
    rows.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" | ")
}

fn row(runs: &[Figures]) -> String {
    let of = |figure: fn(&Figures) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    format!(
        "| {} | {} | {} / {} | {} | {} | {} |",
        spread(of(|run| run.samples_per_s), millions),
        spread(of(|run| run.cpu_ns), nanoseconds),
        percent(median(of(|run| run.busy))),
        percent(median(of(|run| run.others))),
        percent(median(of(|run| run.load))),
        spread(of(|run| run.disk_bytes), |bytes| format!("{bytes:.2}")),
        spread(of(|run| run.resident_bytes), |bytes| format!("{:.0} MB", bytes / 1e6)),
    )
}

/// The middle one, lowest and highest.
fn spread(values: Vec<f64>, show: fn(f64) -> String) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{} ({}–{})", show(median(values)), show(lowest), show(highest))
}

fn millions(rate: f64) -> String {
    format!("{:.*} M", if rate < 10e6 { 2 } else { 1 }, rate / 1e6)
}

fn nanoseconds(ns: f64) -> String {
    format!("{:.*} ns", usize::from(ns < 100.0), ns)
}
