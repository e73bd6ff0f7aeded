//! Rot: damages a sample log in one place at a time. Never a wrong value, never a start that
//! fails, the rest served, the damage said.

use crate::driver::Driver;
use crate::log_system::{LogSystem, SHARD};
use crate::system::{Contents, Setup, Stored, System};
use env::clock::Random;
use env::disk::{FileNumber, Storage};
use log::{Fence, Span};
use model::{LogPosition, TimestampNs};
use sim::{SimClock, SimDisk, SimRandom};
use std::ops::ControlFlow;
use std::rc::Rc;

/// A fence of one damaged place is never wider: the sample log's batches are smaller than this.
const FENCE_BYTES_MAX: u64 = 64 << 10;

/// A log that was closed in order, and what is in it.
pub struct Sample {
    disk: SimDisk,
    contents: Contents,
    spans: Vec<Span>,
    /// Each file and its length.
    files: Vec<(FileNumber, u64)>,
}

/// One kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Bits of one byte.
    Flip,
    /// A block that belongs elsewhere.
    Misdirect,
    /// A sector that cannot be read.
    Spoil,
    /// A whole segment in the middle.
    Lose,
}

/// Writes a sample log of a few segments.
///
/// # Errors
/// The run that writes it fails.
pub fn sample(seed: u64, steps: u64) -> Result<Sample, String> {
    let setup = Setup { segment_bytes: 24 << 10, sync_ns: 2_000_000, whole_blocks_from: 2_000, keep_bytes: 0 };
    let mut driver = Driver::<LogSystem>::new(seed, setup, 3, 0, 200)?;
    for _ in 0..steps {
        driver.step(1_000_000, 300_000)?;
    }
    driver.settle(false)?;
    driver.close()?;
    let (contents, _) = driver.system().query()?;
    let spans = driver.system().writer().spans(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
    let disk = driver.system().disk().copy();
    let numbers = disk.list().map_err(|error| error.to_string())?;
    let files = numbers.into_iter().map(|file| (file, disk.length(file).unwrap_or(0))).collect();
    Ok(Sample { disk, contents, spans, files })
}

impl Sample {
    /// Bytes of the log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, length)| length).sum()
    }

    /// Segments of the log.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.files.len()
    }

    /// The file and offset of a byte of the log.
    fn place(&self, mut at: u64) -> (FileNumber, u64) {
        for (file, length) in &self.files {
            if at < *length {
                return (*file, at);
            }
            at -= length;
        }
        (FileNumber(0), 0)
    }

    /// Flips bits of the byte at an offset of the whole log.
    ///
    /// # Errors
    /// The broken promise.
    pub fn flip(&self, at: u64, mask: u8) -> Result<(), String> {
        let (file, offset) = self.place(at);
        let mut disk = self.disk.copy();
        disk.flip(file, offset, mask);
        self.check(disk, 1).map_err(|why| format!("{file} byte {offset} mask {mask:#04x}: {why}"))
    }

    /// Does one damage that a seed chooses.
    ///
    /// # Errors
    /// The broken promise.
    pub fn damage(&self, damage: Damage, seed: u64) -> Result<(), String> {
        let mut random = SimRandom::new(seed);
        let (file, offset) = self.place(random.below(self.bytes()));
        let mut disk = self.disk.copy();
        match damage {
            Damage::Flip => return self.flip(random.below(self.bytes()), 1 << random.below(8)),
            Damage::Misdirect => {
                let from = self.place(random.below(self.bytes()));
                let block = [512, 4096][random.below(2) as usize];
                if !disk.misdirect((from.0, from.1 / 512 * 512), (file, offset / 512 * 512), block) {
                    return Ok(());
                }
            }
            Damage::Spoil => {
                disk.spoil(file, offset, offset + 1 + random.next_u64() % 512);
            }
            Damage::Lose => {
                let inner = self.files.len() as u64 - 2;
                disk.lose(self.files[1 + random.below(inner) as usize].0);
            }
        }
        self.check(disk, 4096).map_err(|why| format!("{damage:?} {file} {offset}: {why}"))
    }

    /// `batches`: how many of them the damage may cost at most.
    fn check(&self, disk: SimDisk, batches: u64) -> Result<(), String> {
        let (served, fences) = read(&disk, &self.spans)?;
        let lost = self.compare(&served, &fences, LogPosition(u64::MAX)).map_err(|why| format!("in a query: {why}"))?;
        if lost > 0 && fences.is_empty() {
            return Err(format!("{lost} frames are missing in a query that says nothing"));
        }
        let verified = log::verify(&disk, Some(SHARD)).map_err(|error| format!("verify: {error}"))?;
        let clock = Rc::new(SimClock::new(TimestampNs(0)));
        let setup = Setup { segment_bytes: 1 << 20, sync_ns: 0, whole_blocks_from: usize::MAX, keep_bytes: 0 };
        let (_, found) =
            LogSystem::start(disk, clock, setup).map_err(|failed| format!("does not start: {}", failed.why))?;
        self.compare(&found.contents, &found.rot, found.end).map_err(|why| format!("after recovery: {why}"))?;
        if found.rot.is_empty() && found.truncated.is_none() {
            return Err("the damage is not reported".to_owned());
        }
        if verified.rot != found.rot || verified.torn != found.truncated {
            return Err("verify does not say what recovery says".to_owned());
        }
        let widest = found.rot.iter().map(|fence| fence.to.0 - fence.from.0).max().unwrap_or(0);
        if widest > FENCE_BYTES_MAX * batches {
            return Err(format!("{widest} bytes are fenced for one damaged place"));
        }
        Ok(())
    }

    /// Everything served is what was stored, in order, and only what lies in a fence or behind the
    /// end is missing. Answers how many frames are.
    fn compare(&self, served: &Contents, fences: &[Fence], end: LogPosition) -> Result<usize, String> {
        let mut rest = served.frames.iter().peekable();
        let mut lost = 0;
        for original in &self.contents.frames {
            if rest.next_if(|frame| *frame == original).is_some() {
                continue;
            }
            lost += 1;
            let Stored { position, producer, sequence, .. } = original;
            let fenced = fences.iter().any(|fence| fence.from < *position && *position <= fence.to);
            if !fenced && *position <= end {
                return Err(format!("producer {producer} sequence {sequence} at {position} is missing and not fenced"));
            }
        }
        match rest.next() {
            None => Ok(lost),
            Some(wrong) => {
                Err(format!("producer {} sequence {} is not what was stored", wrong.producer, wrong.sequence))
            }
        }
    }
}

fn read(disk: &SimDisk, spans: &[Span]) -> Result<(Contents, Vec<Fence>), String> {
    let mut contents = Contents::default();
    let report = log::read(disk, spans, &mut |frame, position| {
        crate::log_system::take(&mut contents, frame, position);
        ControlFlow::Continue(())
    });
    let report = report.map_err(|error| error.to_string())?;
    let mut fences = report.fences;
    // A file that is gone is said as such; its spans count as one fence each here.
    let there = disk.list().map_err(|error| error.to_string())?;
    fences.extend(spans.iter().filter(|span| !there.contains(&span.file)).map(|span| Fence {
        kind: log::FenceKind::Missing,
        file: span.file,
        offset: span.offset,
        bytes: span.bytes,
        from: span.from,
        to: span.to,
        received_from: None,
        received_to: None,
    }));
    Ok((contents, fences))
}
