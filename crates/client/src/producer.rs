//! A producer over TCP: sends, keeps, reconnects, resumes.

use crate::bits::{Bits, Sample, time_ns};
use crate::error::{ConnectError, SendError, WaitError};
use crate::link::{self, Link, LinkError, Welcomed};
use crate::options::Options;
use crate::outbox::{Outbox, OutboxError};
use crate::registry::Registry;
use frame::{Samples, Scan};
use model::{Quality, Sequence, TagId, TimestampNs};
use std::time::{Duration, Instant};

/// Longest single wait for the network, so that the other direction is looked at, too.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// What a producer did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames taken for sending.
    pub frames: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes given to the kernel, repeats included.
    pub bytes: u64,
    /// Connections made after the first.
    pub reconnects: u64,
    /// Acknowledged frames that the server had no more after a reconnect. Anything but 0 means that
    /// the server's data was lost or replaced.
    pub forgotten: u64,
}

/// A connection to Millstream that survives its own breaking. See the [crate](crate)'s example.
///
/// Not to be shared between threads; make one per thread, each with its own producer number.
pub struct Producer {
    pub(crate) address: String,
    pub(crate) options: Options,
    pub(crate) outbox: Outbox,
    pub(crate) link: Option<Link>,
    pub(crate) registry: Registry,
    path: String,
    scan: Scan,
    samples: Samples,
    pub(crate) requests: u32,
    retry_at: Instant,
    pause: Duration,
    /// Whether the present connection was of use, so that its end is no reason to wait.
    is_useful: bool,
    /// Why no connection can be made again by itself.
    fatal: Option<String>,
    /// The last failure to connect, for the error after long waiting.
    last_failure: String,
    stats: Stats,
}

impl Producer {
    /// Connects to `host:port` and introduces itself. One try; afterwards the connection is made
    /// again by itself when it breaks.
    ///
    /// # Errors
    /// [`ConnectError`] says what to look at; [`ConnectError::retry`] whether later is better.
    pub fn connect(address: &str, options: Options) -> Result<Producer, ConnectError> {
        let mut outbox = Outbox::new(options.producer, options.acks, options.chunk_bytes, options.in_flight_bytes_max);
        let (link, welcomed) = Link::open(address, &options)?;
        outbox.start_after(welcomed.durable);
        Ok(Producer {
            address: address.to_owned(),
            outbox,
            link: Some(link),
            registry: Registry::default(),
            path: welcomed.path,
            scan: Scan::default(),
            samples: Samples::default(),
            requests: 0,
            retry_at: Instant::now(),
            pause: options.pause_first,
            is_useful: true,
            fatal: None,
            last_failure: String::new(),
            stats: Stats::default(),
            options,
        })
    }

    /// Sends one moment of consecutive tags: value `i` belongs to the tag `first + i`. `time` is when
    /// the values were, `None` where only their arrival is known. Answers the frame's number.
    ///
    /// # Errors
    /// [`SendError`]; the values were then not taken.
    pub fn scan<V: Bits>(
        &mut self,
        first: TagId,
        time: Option<TimestampNs>,
        values: &[V],
    ) -> Result<Sequence, SendError> {
        self.scan_with(first, time, values, &[])
    }

    /// As [`scan`](Self::scan), with the quality of each value; none at all means that all are good.
    ///
    /// # Errors
    /// [`SendError`]; the values were then not taken.
    pub fn scan_with<V: Bits>(
        &mut self,
        first: TagId,
        time: Option<TimestampNs>,
        values: &[V],
        qualities: &[Quality],
    ) -> Result<Sequence, SendError> {
        if !qualities.is_empty() && qualities.len() != values.len() {
            return Err(SendError::Qualities { values: values.len(), qualities: qualities.len() });
        }
        fill_scan(&mut self.scan, first, time, values, qualities);
        let scan = std::mem::take(&mut self.scan);
        let sent = self.send(values.len(), |b, p, s| b.scan(p, s, &scan).map(drop));
        self.scan = scan;
        sent
    }

    /// Sends samples of any tags and times in one frame. Answers the frame's number.
    ///
    /// # Errors
    /// [`SendError`]; the samples were then not taken.
    pub fn samples(&mut self, samples: &[Sample]) -> Result<Sequence, SendError> {
        let mut payload = std::mem::take(&mut self.samples);
        payload.samples.clear();
        payload.samples.extend(samples.iter().map(|sample| sample.0));
        let sent = self.send(samples.len(), |b, p, s| b.samples(p, s, &payload).map(drop));
        self.samples = payload;
        sent
    }

    /// Whether the next frame would be taken without waiting.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// Writes all that was gathered; blocks while the server does not take it.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::Disconnected`] after [`Options::patience`]; what was not
    /// written is kept.
    pub fn flush(&mut self) -> Result<(), SendError> {
        self.work_until(self.options.patience, |producer| producer.outbox.unsent_bytes() == 0)
    }

    /// Never waits for the server: writes what the kernel takes now, reads acknowledgements, and tries
    /// to connect again when that is due. Answers the last acknowledged frame.
    ///
    /// # Errors
    /// [`SendError::Disconnected`] if no connection can be made again by itself.
    pub fn poll(&mut self) -> Result<Sequence, SendError> {
        self.pump()?;
        Ok(self.outbox.acknowledged())
    }

    /// As [`poll`](Self::poll), and waits up to `wait` for an answer if there is nothing to write.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn poll_for(&mut self, wait: Duration) -> Result<Sequence, SendError> {
        self.pump()?;
        self.rest(wait)?;
        Ok(self.outbox.acknowledged())
    }

    /// The last frame that is on the server's disk, as far as is known.
    #[must_use]
    pub const fn acknowledged(&self) -> Sequence {
        self.outbox.acknowledged()
    }

    /// The last frame taken for sending.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.outbox.last()
    }

    /// Bytes of frames that are kept: not written yet, or not acknowledged.
    #[must_use]
    pub const fn in_flight_bytes(&self) -> usize {
        self.outbox.bytes()
    }

    /// Blocks until a frame is on the server's disk. Flushes first.
    ///
    /// # Errors
    /// [`WaitError`]; the frame is kept and will be sent again.
    pub fn wait_acknowledged(&mut self, sequence: Sequence, timeout: Duration) -> Result<(), WaitError> {
        if !self.options.acks {
            return Err(WaitError::NoAcks);
        }
        match self.work_until(timeout, |producer| producer.outbox.acknowledged() >= sequence) {
            Ok(()) => Ok(()),
            Err(SendError::Disconnected { reason, retry: false }) => Err(WaitError::Disconnected { reason }),
            Err(_) => Err(WaitError::TimedOut { wanted: sequence, acknowledged: self.outbox.acknowledged() }),
        }
    }

    /// Whether there is a connection now.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Makes a new connection now, also after an error that is not tried again by itself. What was
    /// not acknowledged is sent again.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub fn reconnect(&mut self) -> Result<(), ConnectError> {
        self.fatal = None;
        self.link = None;
        let (mut link, welcomed) = Link::open(&self.address, &self.options)?;
        self.register_again(&mut link)?;
        self.resume(&welcomed)?;
        self.link = Some(link);
        self.is_useful = false;
        self.stats.reconnects += 1;
        Ok(())
    }

    /// Path in Millstream's tree below which this producer's tags hang.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn send(
        &mut self,
        samples: usize,
        build: impl FnOnce(&mut frame::Builder, model::ProducerId, Sequence) -> Result<(), frame::EncodeError>,
    ) -> Result<Sequence, SendError> {
        if samples == 0 {
            return Err(SendError::Empty);
        }
        if !self.outbox.has_room() {
            self.work_until(self.options.patience, |producer| producer.outbox.has_room())?;
        }
        let sequence = match self.outbox.push(build) {
            Ok(sequence) => sequence,
            Err(OutboxError::Encode(error)) => return Err(SendError::Encode(error)),
            Err(_) => return Err(SendError::Full { in_flight_bytes: self.outbox.bytes() }),
        };
        self.stats.frames += 1;
        self.stats.samples += samples as u64;
        if self.outbox.unsent_bytes() >= self.options.chunk_bytes {
            // The frame is taken; if there is no connection for good, the next call says so.
            let _ = self.pump();
        }
        Ok(sequence)
    }

    /// Works and waits until `done`, or the time is over.
    pub(crate) fn work_until(&mut self, timeout: Duration, done: impl Fn(&Producer) -> bool) -> Result<(), SendError> {
        let until = Instant::now() + timeout;
        loop {
            self.pump()?;
            if done(self) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(match self.link {
                    Some(_) => SendError::Full { in_flight_bytes: self.outbox.bytes() },
                    None => SendError::Disconnected { reason: self.last_failure.clone(), retry: true },
                });
            }
            self.rest(left)?;
        }
    }

    /// Writes and reads without waiting.
    fn pump(&mut self) -> Result<(), SendError> {
        self.connect_if_due()?;
        while let Some(link) = &mut self.link {
            let bytes = self.outbox.unsent();
            if bytes.is_empty() {
                break;
            }
            match link.write(bytes) {
                Ok(0) => break,
                Ok(count) => self.wrote(count),
                Err(error) => self.broken(error)?,
            }
        }
        if let Some(link) = &mut self.link {
            let read = link.read();
            self.heard(read)?;
        }
        Ok(())
    }

    /// Waits for room to write, for an answer, or until the next try to connect.
    fn rest(&mut self, wait: Duration) -> Result<(), SendError> {
        let wait = wait.min(WAIT_MAX);
        let bytes = self.outbox.unsent();
        match &mut self.link {
            None => std::thread::sleep(wait.min(self.retry_at.saturating_duration_since(Instant::now()))),
            Some(link) if bytes.is_empty() => {
                let read = link.wait_read(wait);
                self.heard(read)?;
            }
            Some(link) => match link.wait_write(bytes, wait) {
                Ok(count) => self.wrote(count),
                Err(error) => self.broken(error)?,
            },
        }
        Ok(())
    }

    fn wrote(&mut self, count: usize) {
        self.outbox.sent(count);
        self.stats.bytes += count as u64;
        self.is_useful |= !self.options.acks;
    }

    fn heard(&mut self, read: Result<Option<Sequence>, LinkError>) -> Result<(), SendError> {
        match read {
            Ok(None) => Ok(()),
            Ok(Some(sequence)) => match self.outbox.acknowledge(sequence) {
                Ok(is_news) => {
                    self.is_useful |= is_news;
                    Ok(())
                }
                Err(error) => self.broken(LinkError::Protocol(error.to_string())),
            },
            Err(error) => self.broken(error),
        }
    }

    /// The connection is gone. Tried again by itself unless that cannot help.
    fn broken(&mut self, error: LinkError) -> Result<(), SendError> {
        self.link = None;
        // A server that was of use is back at once or not for a while: try now, then with pauses.
        if self.is_useful {
            self.pause = self.options.pause_first;
            self.retry_at = Instant::now();
        } else {
            self.back_off();
        }
        let error = error.at(&self.address);
        self.last_failure = error.to_string();
        if error.retry() { Ok(()) } else { self.give_up() }
    }

    fn give_up(&mut self) -> Result<(), SendError> {
        self.fatal = Some(self.last_failure.clone());
        Err(SendError::Disconnected { reason: self.last_failure.clone(), retry: false })
    }

    fn connect_if_due(&mut self) -> Result<(), SendError> {
        if self.link.is_some() {
            return Ok(());
        }
        if let Some(reason) = &self.fatal {
            return Err(SendError::Disconnected { reason: reason.clone(), retry: false });
        }
        let now = Instant::now();
        if now < self.retry_at {
            return Ok(());
        }
        let Err(error) = self.reconnect() else { return Ok(()) };
        self.last_failure = error.to_string();
        if !error.retry() {
            return self.give_up();
        }
        self.back_off();
        Ok(())
    }

    fn back_off(&mut self) {
        // Between half and the whole pause, so that many producers do not come at once.
        let spread = self.options.producer.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let part = 0.5 + 0.5 * (spread as f64 / f64::from(u32::MAX));
        self.retry_at = Instant::now() + self.pause.mul_f64(part);
        self.pause = (self.pause * 2).min(self.options.pause_max);
    }

    fn resume(&mut self, welcomed: &Welcomed) -> Result<(), ConnectError> {
        welcomed.path.clone_into(&mut self.path);
        match self.outbox.rewind(welcomed.durable) {
            Ok(forgotten) => {
                self.stats.forgotten += forgotten;
                Ok(())
            }
            Err(_) => Err(ConnectError::SharedProducer {
                address: self.address.clone(),
                producer: self.options.producer.0,
                theirs: welcomed.durable,
                ours: self.outbox.last(),
            }),
        }
    }
}

impl Drop for Producer {
    /// Writes what the kernel takes without waiting, and says goodbye. Waiting for acknowledgements is
    /// the program's decision: see [`Producer::wait_acknowledged`].
    fn drop(&mut self) {
        if self.link.is_none() {
            return;
        }
        let _ = self.pump();
        if self.outbox.unsent_bytes() == 0
            && let (Some(link), Ok(goodbye)) = (&mut self.link, link::goodbye(self.options.producer))
        {
            let _ = link.write(goodbye.bytes());
        }
    }
}

pub(crate) fn fill_scan<V: Bits>(
    scan: &mut Scan,
    first: TagId,
    time: Option<TimestampNs>,
    values: &[V],
    qualities: &[Quality],
) {
    scan.source_time_ns = time_ns(time);
    scan.tag_first = first.0;
    scan.values.clear();
    scan.values.extend(values.iter().map(|value| value.bits()));
    scan.qualities.clear();
    scan.qualities.extend(qualities.iter().map(|quality| quality.0));
}
