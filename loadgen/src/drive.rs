//! Driving connections for a while: flat out (closed loop) or at a rate (open loop).
//!
//! Invariant: in the open loop a frame's due time follows from the rate alone. Where the server or
//! the network holds it up, it goes out late and its latency still counts from the due time (G2).

use crate::Failure;
use crate::args::Rate;
use crate::connection::Connection;
use crate::hiccup::histogram;
use crate::machine;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::thread;
use std::time::{Duration, Instant};

/// Frames given to one connection before the next one's turn, when sending flat out.
const BURST_BYTES: u64 = 256 << 10;
/// How long acknowledgements are waited for after the last frame.
const DRAIN: Duration = Duration::from_secs(10);
/// Later than this, frames are gathered before they are written.
const LATE_NS: u64 = 100_000;
/// Nearer than this to the next frame the loop spins: a sleep may wake up too late.
const SPIN_NS: u64 = 2_000_000;

/// What one measurement found.
pub(crate) struct Outcome {
    /// Measured time, seconds, warm-up and draining left out.
    pub(crate) seconds: f64,
    /// Samples acknowledged in it (or, without acknowledgements, given to the kernel).
    pub(crate) samples: u64,
    /// Frames likewise.
    pub(crate) frames: u64,
    /// Bytes written in it.
    pub(crate) bytes: u64,
    /// CPU time of the sending thread in it, nanoseconds.
    pub(crate) own_cpu_ns: u64,
    /// Due (open loop) or sending (closed loop) to acknowledged, nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Frames that were still not acknowledged at the end of draining.
    pub(crate) unacknowledged_frames: u64,
    /// Open loop: due to offered to the kernel, nanoseconds; to gathered for it, where frames leave
    /// together. The sender's own delay, which every latency from the due time contains.
    pub(crate) behind: Histogram<u64>,
    /// Connections that had to be made again.
    pub(crate) reconnects: u64,
}

struct Clock(Instant);

impl Clock {
    fn ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Sums over the connections at one moment.
struct Totals {
    at: Instant,
    samples: u64,
    frames: u64,
    bytes: u64,
    cpu_ns: u64,
}

impl Totals {
    fn of(connections: &[Connection]) -> Totals {
        Totals {
            at: Instant::now(),
            samples: connections.iter().map(|c| c.done_samples).sum(),
            frames: connections.iter().map(|c| c.done_frames).sum(),
            bytes: connections.iter().map(Connection::written_bytes).sum(),
            cpu_ns: machine::own_thread_ns(),
        }
    }
}

/// Drives the connections for `seconds` after a warm-up.
pub(crate) fn drive(
    connections: &mut [Connection],
    rate: Rate,
    seconds: f64,
    label: &str,
    is_quiet: bool,
) -> Result<Outcome, Failure> {
    let mut run = Run {
        clock: Clock(Instant::now()),
        latency: histogram(),
        behind: histogram(),
        bar: progress(seconds, label, is_quiet),
        bar_due: Instant::now(),
    };
    let warm_up = Duration::from_secs_f64((seconds / 10.0).min(1.0));
    let measured = Duration::from_secs_f64(seconds);
    let mut schedule = Schedule::new(rate);
    run.until(Instant::now() + warm_up, connections, &mut schedule)?;
    run.latency.reset();
    run.behind.reset();
    let begin = Totals::of(connections);
    run.until(begin.at + measured, connections, &mut schedule)?;
    let end = Totals::of(connections);
    let drain_until = Instant::now() + DRAIN;
    while connections.iter().any(|c| c.pending() > 0) && Instant::now() < drain_until {
        for connection in connections.iter_mut().filter(|c| c.pending() > 0) {
            connection.poll_for(Duration::from_millis(1), || run.clock.ns(), &mut run.latency)?;
        }
    }
    run.bar.finish_and_clear();
    Ok(Outcome {
        seconds: (end.at - begin.at).as_secs_f64(),
        samples: end.samples - begin.samples,
        frames: end.frames - begin.frames,
        bytes: end.bytes - begin.bytes,
        own_cpu_ns: end.cpu_ns.saturating_sub(begin.cpu_ns),
        latency: run.latency,
        unacknowledged_frames: connections.iter().map(|c| c.pending() as u64).sum(),
        behind: run.behind,
        reconnects: connections.iter().map(Connection::reconnects).sum(),
    })
}

/// When the next frame is due and whose turn it is.
struct Schedule {
    /// Nanoseconds per sample; `None` when flat out.
    sample_ns: Option<f64>,
    due_ns: f64,
    turn: usize,
}

impl Schedule {
    fn new(rate: Rate) -> Schedule {
        let sample_ns = match rate {
            Rate::Max => None,
            Rate::PerS(rate) => Some(1e9 / rate),
        };
        Schedule { sample_ns, due_ns: 0.0, turn: 0 }
    }
}

struct Run {
    clock: Clock,
    latency: Histogram<u64>,
    behind: Histogram<u64>,
    bar: ProgressBar,
    bar_due: Instant,
}

impl Run {
    fn until(&mut self, end: Instant, connections: &mut [Connection], schedule: &mut Schedule) -> Result<(), Failure> {
        while Instant::now() < end {
            match schedule.sample_ns {
                None => self.flat_out(connections)?,
                Some(sample_ns) => self.on_schedule(connections, schedule, sample_ns, end)?,
            }
            self.show(connections);
        }
        Ok(())
    }

    /// One turn of the closed loop.
    fn flat_out(&mut self, connections: &mut [Connection]) -> Result<(), Failure> {
        let clock = &self.clock;
        let mut is_stuck = true;
        for connection in connections.iter_mut() {
            let burst = (BURST_BYTES / (connection.next_samples() * 8).max(1)).clamp(1, 1_024);
            for _ in 0..burst {
                if !connection.has_room() {
                    break;
                }
                let now_ns = clock.ns();
                connection.push(now_ns, now_ns)?;
                is_stuck = false;
            }
            connection.poll(|| clock.ns(), &mut self.latency)?;
        }
        if is_stuck && let Some(connection) = connections.iter_mut().max_by_key(|c| c.pending()) {
            connection.poll_for(Duration::from_millis(1), || clock.ns(), &mut self.latency)?;
        }
        Ok(())
    }

    /// One turn of the open loop.
    fn on_schedule(
        &mut self,
        connections: &mut [Connection],
        schedule: &mut Schedule,
        sample_ns: f64,
        end: Instant,
    ) -> Result<(), Failure> {
        let clock = &self.clock;
        while schedule.due_ns <= clock.ns() as f64 && Instant::now() < end {
            let connection = &mut connections[schedule.turn];
            if !connection.has_room() {
                connection.poll(|| clock.ns(), &mut self.latency)?;
                if !connection.has_room() {
                    break;
                }
            }
            let due_ns = schedule.due_ns as u64;
            let samples = connection.next_samples();
            let now_ns = clock.ns();
            connection.push(due_ns, now_ns)?;
            // Far behind, frames leave together; in time, each at once.
            if now_ns.saturating_sub(due_ns) < LATE_NS {
                connection.poll(|| clock.ns(), &mut self.latency)?;
            }
            self.behind.saturating_record(clock.ns().saturating_sub(due_ns).max(1));
            schedule.due_ns += samples as f64 * sample_ns;
            schedule.turn = (schedule.turn + 1) % connections.len();
        }
        let mut pending = 0;
        for connection in connections.iter_mut() {
            connection.poll(|| clock.ns(), &mut self.latency)?;
            pending += connection.pending();
        }
        let wait_ns = (schedule.due_ns as u64).saturating_sub(clock.ns());
        if pending == 0 && wait_ns > SPIN_NS {
            thread::sleep(Duration::from_nanos(wait_ns - SPIN_NS).min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn show(&mut self, connections: &[Connection]) {
        let now = Instant::now();
        if self.bar.is_hidden() || now < self.bar_due {
            return;
        }
        self.bar_due = now + Duration::from_millis(200);
        let done: u64 = connections.iter().map(|c| c.done_samples).sum();
        let seconds = self.clock.ns() as f64 / 1e9;
        self.bar.set_position((seconds * 1_000.0) as u64);
        self.bar.set_message(format!("{:.2} M samples/s", done as f64 / seconds / 1e6));
    }
}

fn progress(seconds: f64, label: &str, is_quiet: bool) -> ProgressBar {
    if is_quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(((seconds + (seconds / 10.0).min(1.0)) * 1_000.0) as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar
}
