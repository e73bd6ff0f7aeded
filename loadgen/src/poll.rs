//! `loadgen poll`: clients to compare with, against the same devices.
//!
//! They read the same blocks in turn for as long as they are told, and print nothing: the devices
//! measure them (`loadgen modbus --measure --server-pid`). The bare one decodes and stores nothing;
//! it is what the wire and the device allow.

mod paced;

use crate::Failure;
use crate::args::{Poll, PollClient};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio_modbus::Slave;
use tokio_modbus::client::{Reader, tcp};

/// How long the device may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of an answer before its registers: header, function, byte count.
const ANSWER_HEAD_BYTES: usize = 9;

/// Runs it.
pub(crate) fn run(options: &Poll) -> Result<bool, Failure> {
    if !(options.seconds.is_finite() && options.seconds > 0.0 && options.seconds < 1e6) {
        return Err(Failure::Usage("--seconds must be above 0".to_owned()));
    }
    let streams: Vec<TcpStream> =
        (0..options.devices).map(|device| connect(options, device)).collect::<Result<_, _>>()?;
    let until = Instant::now() + Duration::from_secs_f64(options.seconds);
    if options.client == PollClient::Paced {
        return paced::run(streams, options, until).map(|()| true);
    }
    let Some(stream) = streams.into_iter().next() else { return Ok(true) };
    match options.client {
        PollClient::TokioModbus => tokio_modbus(stream, options, until)?,
        PollClient::Bare | PollClient::Paced => bare(stream, options, until)?,
    }
    Ok(true)
}

fn connect(options: &Poll, device: u16) -> Result<TcpStream, Failure> {
    let until = Instant::now() + PATIENCE;
    let mut address = options.address;
    let port = address.port().checked_add(device);
    address.set_port(port.ok_or_else(|| Failure::Usage(format!("device {device} has no port: choose a lower one")))?);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(Failure::of)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() >= until => {
                return Err(Failure::Failed(format!("no device at {address}: {error}")));
            }
            Err(_) => sleep(PAUSE),
        }
    }
}

/// The first register of the `n`-th request.
fn address(options: &Poll, n: u64) -> u16 {
    (n % u64::from(options.blocks)) as u16 * options.registers
}

/// Keeps as many requests under way as it may; each answer that was read lets another go.
fn bare(mut stream: TcpStream, options: &Poll, until: Instant) -> Result<(), Failure> {
    let answer_bytes = ANSWER_HEAD_BYTES + usize::from(options.registers) * 2;
    let mut buffer = vec![0; answer_bytes * usize::from(options.depth)];
    let (mut sent, mut answered, mut kept) = (0_u64, 0_u64, 0);
    let mut out = Vec::new();
    while Instant::now() < until {
        out.clear();
        while sent - answered < u64::from(options.depth) {
            out.extend_from_slice(&(sent as u16).to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 6, 1, 3]);
            out.extend_from_slice(&address(options, sent).to_be_bytes());
            out.extend_from_slice(&options.registers.to_be_bytes());
            sent += 1;
        }
        stream.write_all(&out).map_err(Failure::of)?;
        let before = answered;
        while answered == before {
            kept += match stream.read(&mut buffer[kept..]).map_err(Failure::of)? {
                0 => return Err(Failure::Failed("the device closed the connection".to_owned())),
                bytes => bytes,
            };
            let mut whole = buffer[..kept].chunks_exact(answer_bytes);
            for answer in whole.by_ref() {
                if answer[..2] != (answered as u16).to_be_bytes() || answer[7] != 3 {
                    return Err(Failure::Failed(format!("the device answered {:02x?}", &answer[..ANSWER_HEAD_BYTES])));
                }
                answered += 1;
            }
            let rest = whole.remainder().len();
            buffer.copy_within(kept - rest..kept, 0);
            kept = rest;
        }
    }
    Ok(())
}

fn tokio_modbus(stream: TcpStream, options: &Poll, until: Instant) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)?;
    runtime.block_on(async {
        stream.set_nonblocking(true).map_err(Failure::of)?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(Failure::of)?;
        let mut client = tcp::attach_slave(stream, Slave(1));
        let mut sent = 0;
        while Instant::now() < until {
            let registers = client.read_holding_registers(address(options, sent), options.registers).await;
            registers.map_err(Failure::of)?.map_err(Failure::of)?;
            sent += 1;
        }
        Ok(())
    })
}
