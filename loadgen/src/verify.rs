//! `loadgen verify`: write a series that can be computed again, read it back, compare.
//!
//! The server may be killed and started again at any time meanwhile: the client resumes. One frame
//! holds one number of all tags, so that what is acknowledged is the same for every tag.

use crate::Failure;
use crate::args::{Rate, Verify};
use crate::compare::{Findings, Read, TagCheck};
use crate::http::Reader;
use crate::report::whole;
use crate::series::{Raw, STEP_NS, Series, request};
use client::{Options, Producer, Sample, SendError, Sequence, TagId, TimestampNs};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How often the state file is written and the bar moved.
const STATE_EVERY: Duration = Duration::from_millis(100);
/// How far the server's clock may be from ours.
const CLOCKS_APART_NS: i64 = 3_600_000_000_000;

/// The writing side.
struct Writer<'a> {
    options: &'a Verify,
    producer: Producer,
    tags: Vec<TagId>,
    series: Series,
    /// The frame before the first one of this series.
    before: Sequence,
    /// Numbers written so far; each is one frame of all tags.
    written: u64,
    state_due: Instant,
    bar: ProgressBar,
}

/// Runs the subcommand; `Ok(false)` if something is wrong with the samples.
pub(crate) fn run(options: &Verify) -> Result<bool, Failure> {
    let mut writer = Writer::open(options)?;
    writer.write()?;
    let acknowledged = writer.acknowledged();
    writer.say("reading")?;
    let started = Instant::now();
    let (findings, gaps) = writer.read_back(acknowledged)?;
    let seconds = started.elapsed().as_secs_f64();
    writer.say("done")?;
    writer.bar.finish_and_clear();
    let tags = writer.tags.len() as u64;
    let (written, acknowledged) = (writer.written * tags, acknowledged * tags);
    let stats = *writer.producer.stats();
    if options.json {
        let report = json!({
            "written": written,
            "acknowledged": acknowledged,
            "reconnects": stats.reconnects,
            "forgotten_frames": stats.forgotten,
            "gaps": gaps,
            "good": findings.is_good(),
            "findings": findings.json(),
        });
        println!("{report}");
    } else {
        show(&findings, written, acknowledged, stats.reconnects, gaps, seconds);
    }
    Ok(findings.is_good())
}

fn show(findings: &Findings, written: u64, acknowledged: u64, reconnects: u64, gaps: u64, seconds: f64) {
    println!("written {}, acknowledged {}, reconnects {reconnects}", whole(written as f64), whole(acknowledged as f64));
    println!(
        "read back {} in {seconds:.1} s: lost {}, duplicated {}, altered {}, reordered {}; gaps reported {gaps}",
        whole(findings.read as f64),
        findings.lost,
        findings.duplicated,
        findings.altered,
        findings.reordered,
    );
    for example in &findings.examples {
        println!("  {example}");
    }
    println!("{}", if findings.is_good() { "all acknowledged samples are there, as written" } else { "NOT GOOD" });
}

impl Writer<'_> {
    fn open(options: &Verify) -> Result<Writer<'_>, Failure> {
        let client_options = Options {
            name: "loadgen verify".to_owned(),
            patience: options.patience,
            pause_max: Duration::from_millis(500),
            ..Options::new(options.producer, &options.source)
        };
        let mut producer = connect(options, client_options)?;
        let wanted: Vec<_> = (0..options.tags as usize).map(request).collect();
        let tags = producer.register(&wanted).map_err(Failure::of)?;
        // A start on a whole step makes every time's number exact.
        let start_ns = client::now().0 / STEP_NS * STEP_NS;
        let bar = if options.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Ok(Writer {
            options,
            before: producer.last(),
            producer,
            tags,
            series: Series { start_ns, seed: options.seed },
            written: 0,
            state_due: Instant::now(),
            bar,
        })
    }

    /// Writes for as long as was asked, and waits for the acknowledgements.
    fn write(&mut self) -> Result<(), Failure> {
        let per_frame = self.tags.len() as u64;
        let frames_max = self.options.samples.map(|samples| samples.div_ceil(per_frame));
        let end = Instant::now() + Duration::from_secs_f64(self.options.seconds.clamp(0.0, 1e8));
        let pause = match self.options.rate {
            Rate::Max => Duration::ZERO,
            Rate::PerS(rate) => Duration::from_secs_f64(per_frame as f64 / rate),
        };
        let mut due = Instant::now();
        while frames_max.map_or_else(|| Instant::now() < end, |max| self.written < max) {
            self.write_one()?;
            due += pause;
            // Where the server was away, what is late is made up for; the client holds it up.
            if pause > Duration::ZERO && due > Instant::now() {
                self.poll()?;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            self.tell("writing")?;
        }
        self.say("waiting")?;
        let last = self.producer.last();
        self.producer.wait_acknowledged(last, self.options.patience).map_err(Failure::of)
    }

    /// Frames of both kinds, in turn: they must survive alike.
    fn write_one(&mut self) -> Result<(), Failure> {
        let index = self.written;
        let time = Some(self.series.time(index));
        let is_one_run = client::runs(&self.tags).len() == 1;
        let sent = if is_one_run && index.is_multiple_of(2) {
            let values: Vec<Raw> = (0..self.tags.len()).map(|tag| self.series.bits(tag, index)).collect();
            self.producer.scan(self.tags[0], time, &values)
        } else {
            let samples: Vec<Sample> = self
                .tags
                .iter()
                .enumerate()
                .map(|(tag, id)| Sample::new(*id, time, self.series.bits(tag, index)))
                .collect();
            self.producer.samples(&samples)
        };
        match sent {
            Ok(sequence) if sequence.0 == self.before.0 + index + 1 => {
                self.written += 1;
                Ok(())
            }
            Ok(sequence) => {
                Err(Failure::Failed(format!("frame {index} got sequence {sequence}; sequences must not jump")))
            }
            Err(error) => Err(Failure::of(error)),
        }
    }

    fn poll(&mut self) -> Result<(), Failure> {
        match self.producer.poll() {
            Ok(_) | Err(SendError::Disconnected { retry: true, .. }) => Ok(()),
            Err(error) => Err(Failure::of(error)),
        }
    }

    /// Numbers that are acknowledged, of every tag.
    fn acknowledged(&self) -> u64 {
        self.producer.acknowledged().0.saturating_sub(self.before.0).min(self.written)
    }

    fn tell(&mut self, phase: &str) -> Result<(), Failure> {
        if Instant::now() < self.state_due {
            return Ok(());
        }
        self.say(phase)
    }

    /// Moves the bar and writes the state file (whole or not at all).
    fn say(&mut self, phase: &str) -> Result<(), Failure> {
        self.state_due = Instant::now() + STATE_EVERY;
        let tags = self.tags.len() as u64;
        let (written, acknowledged) = (self.written * tags, self.acknowledged() * tags);
        let reconnects = self.producer.stats().reconnects;
        self.bar.set_message(format!(
            "{phase}: {} written, {} acknowledged, {reconnects} reconnects",
            whole(written as f64),
            whole(acknowledged as f64)
        ));
        self.bar.tick();
        let Some(file) = &self.options.state else { return Ok(()) };
        let state = json!({
            "phase": phase,
            "written": written,
            "acknowledged": acknowledged,
            "reconnects": reconnects,
            "is_connected": self.producer.is_connected(),
        });
        let beside = file.with_extension("new");
        fs::write(&beside, state.to_string())
            .and_then(|()| fs::rename(&beside, file))
            .map_err(|error| Failure::Failed(format!("the state file {} cannot be written: {error}", file.display())))
    }

    fn read_back(&mut self, acknowledged: u64) -> Result<(Findings, u64), Failure> {
        let reader = Reader::new(&self.options.http, self.options.patience);
        let from = TimestampNs(self.series.start_ns).plus_ns(-CLOCKS_APART_NS);
        let to = client::now().plus_ns(CLOCKS_APART_NS);
        let mut findings = Findings::default();
        let mut gaps = 0;
        for tag in 0..self.tags.len() {
            let path = format!("{}/{}", self.producer.path(), request(tag).name);
            let mut check = TagCheck::new(&mut findings, self.series, tag, &path, self.written, acknowledged);
            gaps += reader.samples(&path, from, to, |sample| check.on_sample(&read(sample)))?;
            check.finish();
            self.bar.set_message(format!("reading: {} of {} tags", tag + 1, self.tags.len()));
            self.bar.tick();
        }
        Ok((findings, gaps))
    }
}

/// The first connection; a server that is just starting is waited for.
fn connect(options: &Verify, client_options: Options) -> Result<Producer, Failure> {
    let until = Instant::now() + options.patience;
    loop {
        match Producer::connect(&options.address, client_options.clone()) {
            Ok(producer) => return Ok(producer),
            Err(error) if error.retry() && Instant::now() < until => thread::sleep(Duration::from_millis(200)),
            Err(error) => return Err(Failure::of(error)),
        }
    }
}

/// A sample as JSON has it; what is not as agreed becomes something that was never written.
fn read(sample: &Value) -> Read<'_> {
    Read {
        source_time: sample["source_time"].as_str().and_then(TimestampNs::parse_rfc3339),
        value: &sample["value"],
        quality: sample["quality"].as_str().unwrap_or(""),
    }
}
