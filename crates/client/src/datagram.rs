//! A producer over UDP: cheapest to send, and nothing is sent twice.
//!
//! Tags are registered over TCP, because their numbers must arrive; the TCP connection stays for the
//! next registration. Samples go out as datagrams of whole frames, with a Hello in front of one every
//! second, so that a server that was started again knows the sender.

use crate::bits::{Bits, Sample};
use crate::error::{ConnectError, RegisterError, SendError};
use crate::link;
use crate::options::{Options, TagRequest};
use crate::producer::{Producer, Stats, fill_scan};
use frame::{Builder, EncodeError, Hello, Samples, Scan};
use model::{ProducerId, Sequence, TagId, TimestampNs};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

/// How often the sender says who it is.
const HELLO_EVERY: Duration = Duration::from_secs(1);

/// Sends frames over UDP to the address of Millstream's `[server] native`.
pub struct DatagramProducer {
    control: Producer,
    socket: UdpSocket,
    producer: ProducerId,
    hello: Hello,
    hello_due: Instant,
    /// The datagram that is being filled.
    datagram: Builder,
    bytes_max: usize,
    last: Sequence,
    scan: Scan,
    samples: Samples,
    stats: Stats,
}

impl DatagramProducer {
    /// Connects over TCP for registrations and opens the UDP socket. Acknowledgements are off whatever
    /// the options say.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub fn connect(address: &str, options: Options) -> Result<DatagramProducer, ConnectError> {
        let options = Options { acks: false, ..options };
        let hello = link::hello(&options);
        let control = Producer::connect(address, options.clone())?;
        let socket =
            open(address).map_err(|source| ConnectError::Unreachable { address: address.to_owned(), source })?;
        Ok(DatagramProducer {
            last: control.last(),
            control,
            socket,
            producer: options.producer,
            hello,
            hello_due: Instant::now(),
            datagram: Builder::new(),
            bytes_max: options.datagram_bytes_max,
            scan: Scan::default(),
            samples: Samples::default(),
            stats: Stats::default(),
        })
    }

    /// Registers tags, as [`Producer::register`].
    ///
    /// # Errors
    /// [`RegisterError`]
    pub fn register(&mut self, tags: &[TagRequest]) -> Result<Vec<TagId>, RegisterError> {
        self.control.register(tags)
    }

    /// Adds one moment of consecutive tags, as [`Producer::scan`]; a full datagram is sent.
    ///
    /// # Errors
    /// [`SendError`]; a frame that no datagram holds is an [`SendError::Encode`].
    pub fn scan<V: Bits>(
        &mut self,
        first: TagId,
        time: Option<TimestampNs>,
        values: &[V],
    ) -> Result<Sequence, SendError> {
        let mut scan = std::mem::take(&mut self.scan);
        fill_scan(&mut scan, first, time, values, &[]);
        let sent = self.add(values.len(), |b, p, s| b.scan(p, s, &scan).map(drop));
        self.scan = scan;
        sent
    }

    /// Adds samples of any tags and times, as [`Producer::samples`]; a full datagram is sent.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn samples(&mut self, samples: &[Sample]) -> Result<Sequence, SendError> {
        let mut payload = std::mem::take(&mut self.samples);
        payload.samples.clear();
        payload.samples.extend(samples.iter().map(|sample| sample.0));
        let sent = self.add(samples.len(), |b, p, s| b.samples(p, s, &payload).map(drop));
        self.samples = payload;
        sent
    }

    /// Sends what was gathered.
    ///
    /// # Errors
    /// [`SendError::Datagram`]; what was gathered is lost then.
    pub fn flush(&mut self) -> Result<(), SendError> {
        let end = self.datagram.bytes().len();
        self.send_up_to(end)?;
        self.datagram.clear();
        Ok(())
    }

    /// The last frame taken for sending.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// What was done so far.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn add(
        &mut self,
        samples: usize,
        build: impl Fn(&mut Builder, ProducerId, Sequence) -> Result<(), EncodeError>,
    ) -> Result<Sequence, SendError> {
        if samples == 0 {
            return Err(SendError::Empty);
        }
        let sequence = self.last.next();
        self.begin()?;
        let before = self.datagram.bytes().len();
        build(&mut self.datagram, self.producer, sequence).map_err(SendError::Encode)?;
        if self.datagram.bytes().len() > self.bytes_max {
            // It does not fit behind what is there: send that, and start the next one with it.
            let bytes = self.datagram.bytes().len() - before;
            self.send_up_to(before)?;
            self.datagram.clear();
            if bytes > self.bytes_max {
                return Err(SendError::Encode(EncodeError::TooLong { bytes }));
            }
            build(&mut self.datagram, self.producer, sequence).map_err(SendError::Encode)?;
        }
        self.last = sequence;
        self.stats.frames += 1;
        self.stats.samples += samples as u64;
        Ok(sequence)
    }

    /// Puts a Hello in front of the datagram where one is due.
    fn begin(&mut self) -> Result<(), SendError> {
        if self.datagram.bytes().is_empty() && Instant::now() >= self.hello_due {
            self.datagram.hello(self.producer, Sequence(0), &self.hello).map_err(SendError::Encode)?;
            self.hello_due = Instant::now() + HELLO_EVERY;
        }
        Ok(())
    }

    fn send_up_to(&mut self, end: usize) -> Result<(), SendError> {
        if end == 0 {
            return Ok(());
        }
        match self.socket.send(&self.datagram.bytes()[..end]) {
            Ok(_) => self.stats.bytes += end as u64,
            // Nobody listens at the moment: as lost as any datagram.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(SendError::Datagram(error)),
        }
        Ok(())
    }
}

fn open(address: &str) -> io::Result<UdpSocket> {
    let to = address.to_socket_addrs()?.next().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
    let any: SocketAddr = if to.is_ipv6() { ([0_u16; 8], 0).into() } else { ([0, 0, 0, 0], 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket)
}
