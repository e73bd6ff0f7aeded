//! Driving connections for a while: flat out (closed loop) or at a rate (open loop).
//!
//! Invariant: in the open loop a frame's due time follows from the rate alone. Where the server or
//! the network holds it up, it goes out late and its latency still counts from the due time (G2).

use crate::Failure;
use crate::args::Rate;
use crate::connection::Connection;
use crate::hiccup::histogram;
use crate::machine;
use crate::timeline::Timeline;
use crate::window::Window;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Frames given to one connection before the next one's turn, when sending flat out.
const BURST_BYTES: u64 = 256 << 10;
/// How long acknowledgements are waited for after the last frame.
const DRAIN: Duration = Duration::from_secs(10);
/// Later than this, frames are gathered before they are written.
const LATE_NS: u64 = 100_000;
/// Nearer than this to the next frame the loop spins: a sleep may wake up too late.
const SPIN_NS: u64 = 2_000_000;

/// Sleeping, no shorter time than this is slept: waking up takes as long.
const SLEEP_NS_MIN: u64 = 5_000;

/// What the open loop does until the next frame is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Reads acknowledgements, and the clock, again and again: a core of its own.
    Spin,
    /// Sleeps, and leaves the core to others: for a thread that gets it back at once.
    Sleep,
}

/// How a measurement is done.
#[derive(Clone, Copy)]
pub(crate) struct Manner<'a> {
    pub(crate) rate: Rate,
    pub(crate) wait: Wait,
    /// What the progress bar says.
    pub(crate) label: &'a str,
    /// No progress bar.
    pub(crate) is_quiet: bool,
}

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
    pub(crate) latency: Timeline,
    /// Frames that were still not acknowledged at the end of draining.
    pub(crate) unacknowledged_frames: u64,
    /// Open loop: due to offered to the kernel, nanoseconds; to gathered for it, where frames leave
    /// together. The sender's own delay, which every latency from the due time contains.
    pub(crate) behind: Histogram<u64>,
    /// Connections that had to be made again.
    pub(crate) reconnects: u64,
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

/// Drives the connections through a window whose clock has just started.
pub(crate) fn drive(connections: &mut [Connection], manner: Manner<'_>, window: Window) -> Result<Outcome, Failure> {
    let mut run = Run {
        clock: window,
        latency: Timeline::new(window),
        behind: histogram(),
        bar: progress(&window, manner.label, manner.is_quiet),
        bar_due: Instant::now(),
    };
    let mut schedule = Schedule::new(manner);
    run.until(window.begin_ns, connections, &mut schedule)?;
    run.behind.reset();
    let begin = Totals::of(connections);
    run.until(window.end_ns, connections, &mut schedule)?;
    let end = Totals::of(connections);
    run.drain(connections)?;
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
    wait: Wait,
}

impl Schedule {
    fn new(manner: Manner<'_>) -> Schedule {
        let sample_ns = match manner.rate {
            Rate::Max => None,
            Rate::PerS(rate) => Some(1e9 / rate),
        };
        Schedule { sample_ns, due_ns: 0.0, turn: 0, wait: manner.wait }
    }
}

struct Run {
    clock: Window,
    latency: Timeline,
    behind: Histogram<u64>,
    bar: ProgressBar,
    bar_due: Instant,
}

impl Run {
    fn until(&mut self, end_ns: u64, connections: &mut [Connection], schedule: &mut Schedule) -> Result<(), Failure> {
        while self.clock.now_ns() < end_ns {
            match schedule.sample_ns {
                None => self.flat_out(connections)?,
                Some(sample_ns) => self.on_schedule(connections, schedule, sample_ns, end_ns)?,
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
                let now_ns = clock.now_ns();
                connection.push(now_ns, now_ns)?;
                is_stuck = false;
            }
            connection.poll(|| clock.now_ns(), &mut self.latency)?;
        }
        if is_stuck && let Some(connection) = connections.iter_mut().max_by_key(|c| c.pending()) {
            connection.poll_for(Duration::from_millis(1), || clock.now_ns(), &mut self.latency)?;
        }
        Ok(())
    }

    /// One turn of the open loop.
    fn on_schedule(
        &mut self,
        connections: &mut [Connection],
        schedule: &mut Schedule,
        sample_ns: f64,
        end_ns: u64,
    ) -> Result<(), Failure> {
        let clock = &self.clock;
        while schedule.due_ns <= clock.now_ns().min(end_ns) as f64 {
            let connection = &mut connections[schedule.turn];
            if !connection.has_room() {
                connection.poll(|| clock.now_ns(), &mut self.latency)?;
                if !connection.has_room() {
                    break;
                }
            }
            let due_ns = schedule.due_ns as u64;
            let samples = connection.next_samples();
            let now_ns = clock.now_ns();
            connection.push(due_ns, now_ns)?;
            // Far behind, frames leave together; in time, each at once.
            if now_ns.saturating_sub(due_ns) < LATE_NS {
                connection.poll(|| clock.now_ns(), &mut self.latency)?;
            }
            self.behind.saturating_record(clock.now_ns().saturating_sub(due_ns).max(1));
            schedule.due_ns += samples as f64 * sample_ns;
            schedule.turn = (schedule.turn + 1) % connections.len();
        }
        let mut pending = 0;
        for connection in connections.iter_mut() {
            connection.poll(|| clock.now_ns(), &mut self.latency)?;
            pending += connection.pending();
        }
        let wait_ns = (schedule.due_ns as u64).saturating_sub(clock.now_ns());
        let rest_ns = match schedule.wait {
            Wait::Spin if pending == 0 => wait_ns.saturating_sub(SPIN_NS),
            Wait::Sleep if wait_ns > SLEEP_NS_MIN => wait_ns,
            _ => 0,
        };
        if rest_ns > 0 {
            clock.sleep_until((clock.now_ns() + rest_ns).min(end_ns));
        }
        Ok(())
    }

    /// Waits for what is not acknowledged yet. Nobody's wait holds up another's: with thousands of connections
    /// that would be most of what their frames seem to take.
    fn drain(&mut self, connections: &mut [Connection]) -> Result<(), Failure> {
        let (clock, until) = (self.clock, Instant::now() + DRAIN);
        while Instant::now() < until {
            let (mut waiting, mut is_stuck) = (None, true);
            for (at, connection) in connections.iter_mut().enumerate().filter(|(_, c)| c.pending() > 0) {
                let before = connection.pending();
                connection.poll(|| clock.now_ns(), &mut self.latency)?;
                is_stuck &= connection.pending() == before;
                waiting = Some(at);
            }
            let Some(at) = waiting else { return Ok(()) };
            if is_stuck {
                connections[at].poll_for(Duration::from_millis(1), || clock.now_ns(), &mut self.latency)?;
            }
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
        let seconds = self.clock.now_ns() as f64 / 1e9;
        self.bar.set_position((seconds * 1_000.0) as u64);
        self.bar.set_message(format!("{:.2} M samples/s", done as f64 / seconds / 1e6));
    }
}

fn progress(window: &Window, label: &str, is_quiet: bool) -> ProgressBar {
    if is_quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(window.end_ns / 1_000_000);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(label.to_owned());
    bar
}
