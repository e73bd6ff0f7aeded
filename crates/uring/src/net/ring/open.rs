//! Opening the ring: everything that a kernel may lack shows here.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use super::{
    RingNet,
    buffers::Buffers,
    connection::{ACCEPT, CANCEL, RECEIVE, token},
    datagrams::Datagrams,
    kernel::Kernel,
};
use crate::net::{NetOptions, NetStats};

/// Receive buffers: 1 MiB together, see `buffers`.
const BUFFERS: u16 = 64;
const BUFFER_BYTES: usize = 16 << 10;
const STREAMS: u16 = 0;

impl RingNet {
    /// The network of the calling shard's thread.
    ///
    /// # Errors
    /// The kernel's io_uring is forbidden or lacks what is needed; the options come back for
    /// another network.
    pub fn open(options: NetOptions) -> Result<RingNet, (io::Error, NetOptions)> {
        let made = Kernel::new().and_then(|mut kernel| {
            let mut buffers = Buffers::register(kernel.ring(), STREAMS, BUFFERS, BUFFER_BYTES)?;
            let tried = try_multishot(&mut kernel, &mut buffers);
            if tried.is_err() {
                let quiet = kernel.quiet(token(0, CANCEL), |_| {});
                buffers.release(kernel.ring(), quiet);
            }
            tried.map(|()| (kernel, buffers))
        });
        let (kernel, buffers) = match made {
            Ok(made) => made,
            Err(error) => return Err((error, options)),
        };
        let NetOptions { listener, datagrams, connections_max } = options;
        let mut net = RingNet {
            kernel,
            buffers,
            listener: None,
            listener_parked: None,
            datagrams: None,
            connections: HashMap::new(),
            connections_max,
            next: 0,
            paused: false,
            held: VecDeque::new(),
            said: VecDeque::new(),
            starved: BTreeMap::new(),
            last_place: 0,
            closing: VecDeque::new(),
            stats: NetStats::default(),
        };
        if let Some(socket) = datagrams {
            match Datagrams::open(&mut net.kernel, socket) {
                Ok(datagrams) => net.datagrams = Some(datagrams),
                Err((error, socket)) => {
                    return Err((error, NetOptions { listener, datagrams: Some(socket), connections_max }));
                }
            }
        }
        // A socket that does not block would be answered with EAGAIN instead of being waited for.
        if let Some(listener) = listener
            && listener.set_nonblocking(false).is_ok()
        {
            net.kernel.accept(listener.as_raw_fd(), token(0, ACCEPT));
            net.listener = Some(listener);
        }
        Ok(net)
    }
}

/// Receives one byte the way that connections will be received from.
fn try_multishot(kernel: &mut Kernel, buffers: &mut Buffers) -> io::Result<()> {
    let (mut near, far) = UnixStream::pair()?;
    near.write_all(&[1])?;
    drop(near);
    kernel.receive(far.as_raw_fd(), buffers.group(), token(0, RECEIVE));
    let mut received = 0;
    loop {
        kernel.enter(1);
        let Some(event) = kernel.next() else { continue };
        if let Some(buffer) = event.buffer() {
            buffers.discard(buffer);
        }
        match event.result {
            0.. => received += event.result,
            errno => return Err(io::Error::from_raw_os_error(-errno)),
        }
        if !event.more() {
            break;
        }
    }
    if received == 1 { Ok(()) } else { Err(io::Error::from(io::ErrorKind::Unsupported)) }
}
