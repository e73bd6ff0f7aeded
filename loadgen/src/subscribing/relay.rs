//! Between whoever subscribes and the server: bytes are handed on as they come, and looked at.
//!
//! Invariants
//! - What is measured is what was handed on, at the time at which it was: reading it comes after.
//! - A direction has a thread of its own, which waits for nothing but its two sockets; nothing gathers
//!   here, so that the one's back pressure reaches the other.
//! - At most [`CONNECTIONS_MAX`] connections; what comes beyond is closed at once.

use super::meter::Meter;
use super::wire::Framer;
use crate::{Failure, machine};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 32;
/// Bytes handed on at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Rest after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A meter that the threads of a relay share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Meter>>);

impl Shared {
    pub(crate) fn new(meter: Meter) -> Shared {
        Shared(Arc::new(Mutex::new(meter)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where everything of one relay leads.
#[derive(Clone)]
struct Way {
    server: SocketAddr,
    core: Option<u32>,
    meter: Shared,
    start: Instant,
}

/// Hands on what comes to a listener to the server behind it, until the process ends.
///
/// # Errors
/// A thread cannot be started.
pub(crate) fn start(
    listener: TcpListener,
    server: SocketAddr,
    core: Option<u32>,
    meter: Shared,
) -> Result<(), Failure> {
    let way = Way { server, core, meter, start: Instant::now() };
    spawn("relay", move || accept(&listener, &way))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(|_| ()).map_err(Failure::of)
}

fn accept(listener: &TcpListener, way: &Way) {
    // Each connection holds a clone for as long as it lasts.
    let open = Arc::new(());
    loop {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        if Arc::strong_count(&open) <= CONNECTIONS_MAX {
            // The server is gone, or there is no thread: the connection closes, and its client tries again.
            let _ = join(client, way, Arc::clone(&open));
        }
    }
}

fn join(client: TcpStream, way: &Way, open: Arc<()>) -> Result<(), Failure> {
    let server = TcpStream::connect(way.server).map_err(Failure::of)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true).map_err(Failure::of)?;
    }
    let (up_from, up_to) = (client.try_clone().map_err(Failure::of)?, server.try_clone().map_err(Failure::of)?);
    let core = way.core;
    spawn("relay up", move || {
        let _open = open;
        carry(core, up_from, up_to, |_| {});
    })?;
    let (way, began) = (way.clone(), Instant::now());
    spawn("relay down", move || down(&way, began, server, client))
}

/// From the server to whoever subscribed, with a look at everything.
fn down(way: &Way, began: Instant, server: TcpStream, client: TcpStream) {
    let mut framer = Some(Framer::default());
    carry(way.core, server, client, |bytes| {
        let Some(reading) = &mut framer else { return };
        let now = Instant::now();
        let wall_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
        let ns = |since: Instant| u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
        let read = reading.take(bytes, |seen| way.meter.lock().on(&seen, ns(way.start), wall_ns, ns(began)));
        if read.is_err() {
            way.meter.lock().on_garbled();
            framer = None;
        }
    });
}

/// Hands on until one of the two has enough; both end then.
fn carry(core: Option<u32>, mut from: TcpStream, mut to: TcpStream, mut on: impl FnMut(&[u8])) {
    if let Some(core) = core
        && let Err(why) = machine::pin_this_thread(core)
    {
        eprintln!("loadgen: the relay is not pinned: {why}");
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hand_on = || -> io::Result<usize> {
        let count = from.read(&mut buffer)?;
        to.write_all(&buffer[..count])?;
        on(&buffer[..count]);
        Ok(count)
    };
    while hand_on().is_ok_and(|count| count > 0) {}
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
