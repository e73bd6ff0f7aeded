//! Many devices, each read in its time: what the wire, the devices and one core allow.
//!
//! One loop over epoll that never sleeps. Due times are spread evenly over the interval and keep their
//! phase; a device that has not answered when its time comes is asked right after its answer, and a
//! further due time meanwhile is left out, as Millstream does.

use super::ANSWER_HEAD_BYTES;
use crate::Failure;
use crate::args::Poll;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// Events taken at once.
const EVENTS: usize = 1_024;
/// Bytes read at once; an answer is shorter, so a read that does not fill them has read all.
const BUFFER_BYTES: usize = 4_096;

/// One device.
struct Line {
    stream: TcpStream,
    under_way: bool,
    /// Its time has come meanwhile.
    is_late: bool,
    /// Bytes of the answer that are there.
    kept: usize,
}

/// Polls them for as long as it is told.
pub(super) fn run(streams: Vec<std::net::TcpStream>, options: &Poll, until: Instant) -> Result<(), Failure> {
    let mut poll = mio::Poll::new().map_err(Failure::of)?;
    let mut lines = Vec::with_capacity(streams.len());
    for (at, stream) in streams.into_iter().enumerate() {
        stream.set_nonblocking(true).map_err(Failure::of)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(at), Interest::READABLE).map_err(Failure::of)?;
        lines.push(Line { stream, under_way: false, is_late: false, kept: 0 });
    }
    let answer_bytes = ANSWER_HEAD_BYTES + usize::from(options.registers) * 2;
    let count = lines.len() as u64;
    let due = |n: u64| options.every.mul_f64(n as f64 / count as f64);
    let (mut events, mut buffer) = (Events::with_capacity(EVENTS), vec![0; BUFFER_BYTES]);
    let (begin, mut next) = (Instant::now(), 0_u64);
    loop {
        let now = Instant::now();
        if now >= until {
            return Ok(());
        }
        while due(next) <= now - begin {
            lines[(next % count) as usize].on_due(options)?;
            next += 1;
        }
        match poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(Failure::of(error)),
            _ => {}
        }
        for event in &events {
            lines[event.token().0].on_readable(options, &mut buffer, answer_bytes)?;
        }
    }
}

impl Line {
    fn on_due(&mut self, options: &Poll) -> Result<(), Failure> {
        if self.under_way {
            self.is_late = true;
            return Ok(());
        }
        self.ask(options)
    }

    fn ask(&mut self, options: &Poll) -> Result<(), Failure> {
        let [high, low] = options.registers.to_be_bytes();
        let request = [0, 0, 0, 0, 0, 6, 1, 3, 0, 0, high, low];
        self.under_way = true;
        // One short request is under way at most: the socket has room for it.
        self.stream.write_all(&request).map_err(Failure::of)
    }

    fn on_readable(&mut self, options: &Poll, buffer: &mut [u8], answer_bytes: usize) -> Result<(), Failure> {
        let bytes = match self.stream.read(buffer) {
            Ok(0) => return Err(Failure::Failed("a device closed its connection".to_owned())),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Failure::of(error)),
        };
        if self.kept == 0 && buffer.get(7) != Some(&3) {
            return Err(Failure::Failed(format!("a device answered {:02x?}", &buffer[..bytes.min(ANSWER_HEAD_BYTES)])));
        }
        self.kept += bytes;
        if self.kept < answer_bytes {
            return Ok(());
        }
        (self.kept, self.under_way) = (0, false);
        if std::mem::take(&mut self.is_late) {
            return self.ask(options);
        }
        Ok(())
    }
}
