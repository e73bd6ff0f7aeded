//! One TCP connection to Millstream: frames out, answers in.
//!
//! The socket is non-blocking; only [`Link::wait_read`] and [`Link::write_all`] block, for a bounded
//! time, so that the usual path costs one system call per chunk and one per look at the answers.

use frame::{Builder, EncodeError, FrameError, Hello, Register, Splitter, View};
use model::{ProducerId, Sequence};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::error::ConnectError;
use crate::options::Options;

/// Bytes read at a time: some hundred acknowledgements.
const READ_BYTES: usize = 16 << 10;

/// Why a connection is of no more use.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The kernel's word, or the server closed (`UnexpectedEof`).
    Io(io::Error),
    /// The server's word.
    Refused { reason: String, retry: bool },
    /// Not the server's language.
    Protocol(String),
    /// Nothing came in time.
    TimedOut { what: &'static str, after: Duration },
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        LinkError::Io(error)
    }
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        LinkError::Protocol(error.to_string())
    }
}

impl LinkError {
    pub(crate) fn at(self, address: &str) -> ConnectError {
        let address = address.to_owned();
        match self {
            LinkError::Io(source) => ConnectError::Unreachable { address, source },
            LinkError::Refused { reason, retry } => ConnectError::Refused { address, reason, retry },
            LinkError::Protocol(detail) => ConnectError::Protocol { address, detail },
            LinkError::TimedOut { what, after } => ConnectError::TimedOut { address, what, after },
        }
    }
}

/// The server's answer to a Hello.
#[derive(Clone, Debug)]
pub(crate) struct Welcomed {
    pub(crate) durable: Sequence,
    pub(crate) path: String,
}

/// The server's answer to a Register.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    pub(crate) request: u32,
    pub(crate) tags: Vec<u32>,
    pub(crate) texts: Vec<u32>,
}

/// What was heard and not yet looked at.
#[derive(Default)]
struct Heard {
    acknowledged: Option<Sequence>,
    welcomed: Option<Welcomed>,
    numbers: Option<Numbers>,
    refused: Option<(String, bool)>,
}

pub(crate) struct Link {
    stream: TcpStream,
    splitter: Splitter,
    chunk: Box<[u8]>,
    producer: ProducerId,
    heard: Heard,
}

impl Link {
    /// Connects and says Hello; answers what the Welcome said.
    pub(crate) fn open(address: &str, options: &Options) -> Result<(Link, Welcomed), ConnectError> {
        let stream = connect(address, options.timeout)?;
        let mut link = Link {
            stream,
            splitter: Splitter::new(),
            chunk: vec![0; READ_BYTES].into_boxed_slice(),
            producer: options.producer,
            heard: Heard::default(),
        };
        link.greet(options).map(|welcomed| (link, welcomed)).map_err(|error| error.at(address))
    }

    fn greet(&mut self, options: &Options) -> Result<Welcomed, LinkError> {
        self.stream.set_nodelay(true)?;
        self.stream.set_nonblocking(true)?;
        let mut first = Builder::new();
        first
            .hello(options.producer, Sequence(0), &hello(options))
            .map_err(|error| LinkError::Protocol(error.to_string()))?;
        self.write_all(first.bytes(), options.timeout)?;
        self.wait_for("a Welcome", options.timeout, |heard| heard.welcomed.take())
    }

    /// Registers names; answers their numbers.
    pub(crate) fn register(&mut self, register: &Builder, timeout: Duration) -> Result<Numbers, LinkError> {
        self.write_all(register.bytes(), timeout)?;
        self.wait_for("the numbers of registered tags", timeout, |heard| heard.numbers.take())
    }

    /// Writes as much as the kernel takes now; 0 where it takes nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, LinkError> {
        match self.stream.write(bytes) {
            Ok(0) => Err(LinkError::Io(ErrorKind::WriteZero.into())),
            Ok(count) => Ok(count),
            Err(error) if is_later(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until the kernel takes some bytes or the time is over (0 then).
    pub(crate) fn wait_write(&mut self, bytes: &[u8], wait: Duration) -> Result<usize, LinkError> {
        self.stream.set_write_timeout(Some(wait.max(Duration::from_millis(1))))?;
        self.stream.set_nonblocking(false)?;
        let written = self.write(bytes);
        self.stream.set_nonblocking(true)?;
        written
    }

    /// Reads what is there; answers the newest acknowledgement.
    pub(crate) fn read(&mut self) -> Result<Option<Sequence>, LinkError> {
        while self.read_once()? == self.chunk.len() {}
        Ok(self.heard.acknowledged.take())
    }

    /// Blocks until something comes or the time is over; answers the newest acknowledgement.
    pub(crate) fn wait_read(&mut self, wait: Duration) -> Result<Option<Sequence>, LinkError> {
        self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        self.stream.set_nonblocking(false)?;
        let read = self.read_once();
        self.stream.set_nonblocking(true)?;
        read?;
        Ok(self.heard.acknowledged.take())
    }

    fn write_all(&mut self, mut bytes: &[u8], timeout: Duration) -> Result<(), LinkError> {
        let until = Instant::now() + timeout;
        while !bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LinkError::TimedOut { what: "room to write", after: timeout });
            }
            let written = self.wait_write(bytes, left)?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn wait_for<T>(
        &mut self,
        what: &'static str,
        timeout: Duration,
        mut take: impl FnMut(&mut Heard) -> Option<T>,
    ) -> Result<T, LinkError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(found) = take(&mut self.heard) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LinkError::TimedOut { what, after: timeout });
            }
            // An acknowledgement that comes meanwhile is kept.
            if let Some(acknowledged) = self.wait_read(left)? {
                self.heard.acknowledged = Some(acknowledged);
            }
        }
    }

    /// One read; 0 where nothing is there.
    fn read_once(&mut self) -> Result<usize, LinkError> {
        let count = match self.stream.read(&mut self.chunk) {
            Ok(0) => {
                return Err(LinkError::Io(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the server closed the connection",
                )));
            }
            Ok(count) => count,
            Err(error) if is_later(&error) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let (heard, producer) = (&mut self.heard, self.producer);
        self.splitter.push::<LinkError>(&self.chunk[..count], |frame| {
            match frame.view() {
                View::Ack if frame.producer() == producer => heard.acknowledged = Some(frame.sequence()),
                View::Welcome(welcome) => {
                    heard.welcomed = Some(Welcomed { durable: frame.sequence(), path: welcome.path.to_string() });
                }
                View::Registered(numbers) => {
                    heard.numbers = Some(Numbers {
                        request: numbers.request.to_native(),
                        tags: numbers.tags.iter().map(|n| n.to_native()).collect(),
                        texts: numbers.texts.iter().map(|n| n.to_native()).collect(),
                    });
                }
                View::Refuse(refuse) => heard.refused = Some((refuse.reason.to_string(), refuse.retry)),
                _ => return Err(LinkError::Protocol(format!("a server does not send {:?}", frame.kind()))),
            }
            Ok(())
        })?;
        match self.heard.refused.take() {
            Some((reason, retry)) => Err(LinkError::Refused { reason, retry }),
            None => Ok(count),
        }
    }
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, ConnectError> {
    let wrong = |source| ConnectError::Address { address: address.to_owned(), source };
    let found: Vec<SocketAddr> = address.to_socket_addrs().map_err(wrong)?.collect();
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in found {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Unreachable { address: address.to_owned(), source: last })
}

/// What the first frame of a connection says.
pub(crate) fn hello(options: &Options) -> Hello {
    Hello { source: options.source.clone(), acks: options.acks, name: options.name.clone() }
}

/// A request for numbers.
pub(crate) fn register(producer: ProducerId, register: &Register) -> Result<Builder, EncodeError> {
    let mut builder = Builder::new();
    builder.register(producer, Sequence(0), register)?;
    Ok(builder)
}

/// A Refuse: this side closes.
pub(crate) fn goodbye(producer: ProducerId) -> Result<Builder, EncodeError> {
    let mut builder = Builder::new();
    let refuse = frame::Refuse { reason: "the program ends".to_owned(), retry: false };
    builder.refuse(producer, Sequence(0), &refuse)?;
    Ok(builder)
}

/// Not an error: nothing there, no room, or a signal came.
fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
