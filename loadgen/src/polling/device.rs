//! Measured devices: as light as can be, so that who polls them is measured and not they.
//!
//! Invariants
//! - All devices and their meter live on one thread.
//! - What waits to be sent is bounded: a connection with [`WAITING_MAX`] answers is not read.
//! - With a round trip, every answer leaves that long after its request was read, several under way
//!   at once: a long line, not a slow device. The timer rounds up to the next millisecond.

use super::meter::Meter;
use super::wire::{self, Asked, FRAME_BYTES_MAX, Registers};
use crate::Failure;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

/// Registers of a device: all that there can be.
const REGISTERS: usize = 65_536;
/// Answers that may wait on a connection for the round trip to be over.
const WAITING_MAX: usize = 1_024;
/// Requests read at once.
const BUFFER_BYTES: usize = 32 * FRAME_BYTES_MAX;
/// Rest after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of all devices share.
pub(crate) struct Plant {
    pub(crate) meter: RefCell<Meter>,
    start: std::time::Instant,
    round_trip: Duration,
}

impl Plant {
    /// Opens the devices' ports, `port` and those behind it (0: free ones), and serves them as local
    /// tasks; answers their addresses, too.
    pub(crate) async fn start(
        (bind, port): (IpAddr, u16),
        meter: Meter,
        devices: usize,
        round_trip: Duration,
    ) -> Result<(Rc<Plant>, Vec<SocketAddr>), Failure> {
        let plant = Rc::new(Plant { meter: RefCell::new(meter), start: std::time::Instant::now(), round_trip });
        let mut addresses = Vec::with_capacity(devices);
        for index in 0..devices {
            let at = address(bind, port, index)?;
            let listener = TcpListener::bind(at).await;
            let listener = listener.map_err(|error| {
                Failure::Failed(format!("device {index} cannot listen at {at}: {error}; choose another --port"))
            })?;
            addresses.push(listener.local_addr().map_err(Failure::of)?);
            spawn_local(accept(Rc::clone(&plant), index, listener));
        }
        Ok((plant, addresses))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Where a device listens.
pub(crate) fn address(bind: IpAddr, port: u16, index: usize) -> Result<SocketAddr, Failure> {
    let own = if port == 0 { Some(0) } else { u16::try_from(index).ok().and_then(|index| port.checked_add(index)) };
    let own =
        own.ok_or_else(|| Failure::Usage(format!("device {index} has no port: --port {port} is too high for it")))?;
    Ok(SocketAddr::new(bind, own))
}

async fn accept(plant: Rc<Plant>, device: usize, listener: TcpListener) {
    let registers = Rc::new(RefCell::new(Registers(vec![0; REGISTERS])));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let connection = Connection { plant: Rc::clone(&plant), device, registers: Rc::clone(&registers) };
                spawn_local(async move {
                    // However a connection ends, who polls sees it.
                    let _ = connection.serve(stream).await;
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

struct Connection {
    plant: Rc<Plant>,
    device: usize,
    registers: Rc<RefCell<Registers>>,
}

impl Connection {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let (mut buffer, mut kept) = (vec![0; BUFFER_BYTES], 0);
        let mut out = Vec::with_capacity(BUFFER_BYTES);
        let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        loop {
            let due = waiting.front().map(|(due, _)| *due);
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let now = Instant::now();
                    while let Some((_, bytes)) = waiting.pop_front_if(|(due, _)| *due <= now) {
                        out.extend_from_slice(&bytes);
                    }
                }
                ready = stream.readable(), if waiting.len() < WAITING_MAX => {
                    ready?;
                    match stream.try_read(&mut buffer[kept..]) {
                        Ok(0) => return Ok(()),
                        Ok(bytes) => kept = self.answer(&mut buffer, kept + bytes, &mut out)?,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                        Err(error) => return Err(error),
                    }
                    if !self.plant.round_trip.is_zero() {
                        waiting.push_back((Instant::now() + self.plant.round_trip, std::mem::take(&mut out)));
                    }
                }
            }
            if !out.is_empty() {
                stream.write_all(&out).await?;
                out.clear();
            }
        }
    }

    /// Answers every whole request of the first `filled` bytes, and moves the rest to the front;
    /// answers how long it is.
    fn answer(&self, buffer: &mut [u8], filled: usize, out: &mut Vec<u8>) -> io::Result<usize> {
        let now_ns = self.plant.now_ns();
        let mut input = &buffer[..filled];
        let (mut meter, mut registers) = (self.plant.meter.borrow_mut(), self.registers.borrow_mut());
        while let Some(asked) =
            wire::answer(&mut input, &mut registers, out).map_err(|_| io::Error::from(ErrorKind::InvalidData))?
        {
            match asked {
                Asked::Read(address, count) => meter.on_read(self.device, address, count, now_ns),
                Asked::Write => meter.on_write(self.device),
                Asked::Other => {}
            }
        }
        let rest = input.len();
        buffer.copy_within(filled - rest..filled, 0);
        Ok(rest)
    }
}
