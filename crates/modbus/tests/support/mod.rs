//! A scripted device over real sockets, and a source that runs against it.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod recorder;
pub mod settings;

use env::Clock;
use env::clock::Alarm;
use model::TimestampNs;
use recorder::Recorder;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};

/// Longest wait for something that should happen within a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as the device sees it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub connection: usize,
    pub transaction: u16,
    pub unit: u8,
    pub function: u8,
    pub address: u16,
    pub quantity: u16,
}

/// What the device does then.
pub enum Act {
    Send(Vec<u8>),
    Wait(u64),
    Close,
}

impl Asked {
    /// A frame with this request's transaction and unit.
    pub fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let mut bytes = self.transaction.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, pdu.len() as u8 + 1, self.unit]);
        bytes.extend(pdu);
        bytes
    }

    /// The right answer of a device whose registers hold their own address, and whose bits are
    /// set where it is odd.
    pub fn own(&self) -> Vec<u8> {
        let addresses = (0..self.quantity).map(|i| self.address.wrapping_add(i));
        let data: Vec<u8> = if self.function <= 2 {
            let mut bits = vec![0; usize::from(self.quantity.div_ceil(8))];
            addresses.zip(0..).for_each(|(a, i): (u16, usize)| bits[i / 8] |= (a as u8 & 1) << (i % 8));
            bits
        } else {
            addresses.flat_map(u16::to_be_bytes).collect()
        };
        let mut pdu = vec![self.function, data.len() as u8];
        pdu.extend(data);
        self.frame(&pdu)
    }

    /// An exception.
    pub fn exception(&self, code: u8) -> Vec<u8> {
        self.frame(&[self.function | 0x80, code])
    }
}

/// A device on a free port of the loopback; it ends when dropped.
pub struct Device {
    pub port: u16,
    ended: Arc<AtomicBool>,
}

impl Device {
    pub fn start(script: impl FnMut(Asked) -> Vec<Act> + Send + 'static) -> Device {
        Device::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), script)
    }

    /// Serves one connection after the other.
    pub fn on(listener: TcpListener, mut script: impl FnMut(Asked) -> Vec<Act> + Send + 'static) -> Device {
        let port = listener.local_addr().expect("bound").port();
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        std::thread::spawn(move || {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let _ = serve(stream, connection, &mut script);
            }
        });
        Device { port, ended }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)));
    }
}

fn serve(mut stream: TcpStream, connection: usize, script: &mut impl FnMut(Asked) -> Vec<Act>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    loop {
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes)?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let asked = Asked {
            connection,
            transaction: word(0),
            unit: bytes[6],
            function: bytes[7],
            address: word(8),
            quantity: word(10),
        };
        for act in script(asked) {
            match act {
                Act::Send(bytes) => stream.write_all(&bytes)?,
                Act::Wait(ms) => std::thread::sleep(Duration::from_millis(ms)),
                Act::Close => return Ok(()),
            }
        }
    }
}

/// The machine's clocks.
pub struct RealClock(pub Instant);

impl Clock for RealClock {
    fn wall(&self) -> TimestampNs {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        TimestampNs(since.as_nanos() as i64)
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// An alarm by the runtime's own timer.
pub struct SleepAlarm {
    pub clock: Rc<dyn Clock>,
    pub sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Alarm for SleepAlarm {
    fn set(&mut self, at_ns: u64, waker: &Waker) {
        let wait = Duration::from_nanos(at_ns.saturating_sub(self.clock.monotonic_ns())).min(PATIENCE);
        let sleep = self.sleep.insert(Box::pin(tokio::time::sleep(wait)));
        if sleep.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
            waker.wake_by_ref();
        }
    }
}

/// Runs sources on one thread until `enough` says so of their recorders; fails after 30 s.
pub fn run_until(sources: Vec<config::ModbusSource>, enough: impl Fn(&[Rc<Recorder>]) -> bool) -> Vec<Rc<Recorder>> {
    let recorders: Vec<Rc<Recorder>> = sources.iter().map(|_| Rc::default()).collect();
    run_with(sources, recorders, enough)
}

pub fn run_with(
    sources: Vec<config::ModbusSource>,
    recorders: Vec<Rc<Recorder>>,
    enough: impl Fn(&[Rc<Recorder>]) -> bool,
) -> Vec<Rc<Recorder>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let clock: Rc<dyn Clock> = Rc::new(RealClock(Instant::now()));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let mut tasks = Vec::new();
        for (source, recorder) in sources.into_iter().zip(&recorders) {
            let (intake, clock, mut stopped) = (recorder.clone(), clock.clone(), stopped.clone());
            let stop = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            let (_, commands) = model::device::commands(1);
            let alarm = Box::new(SleepAlarm { clock: clock.clone(), sleep: None });
            let time = millstream_modbus::Time { clock, alarm };
            let running =
                millstream_modbus::run("device".into(), "site/device".into(), source, intake, time, stop, commands);
            tasks.push(tokio::task::spawn_local(running));
        }
        let begun = Instant::now();
        while !enough(&recorders) {
            assert!(begun.elapsed() < PATIENCE, "it did not come to pass; {}", told(&recorders));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).expect("the sources listen");
        for task in tasks {
            task.await.expect("a source ends cleanly");
        }
    });
    recorders
}

fn told(recorders: &[Rc<Recorder>]) -> String {
    let of = |r: &Rc<Recorder>| format!("states {:?}, counts {:?}", r.states.borrow(), r.counts.borrow());
    recorders.iter().map(of).collect::<Vec<_>>().join("; ")
}
