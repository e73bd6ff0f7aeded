//! Datagrams through the ring: one multishot receive into buffers of their own, as a datagram may
//! be as long as 64 KiB.

#![expect(unsafe_code, reason = "a message header that the kernel reads")]

use std::{io, net::UdpSocket, os::fd::AsRawFd};

use env::net::NetEvent;
use io_uring::{IoUring, types::RecvMsgOut};

use super::{
    buffers::Buffers,
    connection::{DATAGRAM, token},
    kernel::{Event, Kernel},
};
use crate::net::{NetStats, address, datagram_drops};

const GROUP: u16 = 1;
const BUFFERS: u16 = 32;
/// Room for the sender's address: a `sockaddr_in6` and more.
const NAME_BYTES: usize = 64;
/// The longest datagram, its address, and the kernel's header of both, to whole pages.
const BUFFER_BYTES: usize = (64 + 4) << 10;

pub(super) struct Datagrams {
    socket: UdpSocket,
    buffers: Buffers,
    /// How long an address may be, and nothing else; the kernel reads it when a receive begins.
    header: Box<libc::msghdr>,
}

impl Datagrams {
    pub(super) fn open(kernel: &mut Kernel, socket: UdpSocket) -> Result<Datagrams, (io::Error, UdpSocket)> {
        let opened =
            socket.set_nonblocking(false).and_then(|()| Buffers::register(kernel.ring(), GROUP, BUFFERS, BUFFER_BYTES));
        let buffers = match opened {
            Ok(buffers) => buffers,
            Err(error) => return Err((error, socket)),
        };
        // SAFETY: a message header is numbers and pointers; zero is valid for all of them.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = NAME_BYTES as libc::socklen_t;
        let datagrams = Datagrams { socket, buffers, header };
        datagrams.receive_on(kernel);
        Ok(datagrams)
    }

    fn receive_on(&self, kernel: &mut Kernel) {
        // SAFETY: the header is boxed, never changed, and freed only when the ring is quiet
        // (`release`).
        unsafe {
            kernel.receive_datagrams(
                self.socket.as_raw_fd(),
                &raw const *self.header,
                self.buffers.group(),
                token(0, DATAGRAM),
            );
        }
    }

    /// Handles a completion; answers how many events it gave.
    pub(super) fn on_event(
        &mut self,
        kernel: &mut Kernel,
        event: Event,
        stats: &mut NetStats,
        on: &mut (dyn FnMut(NetEvent<'_>) + '_),
    ) -> usize {
        let mut handled = 0;
        if let Some(buffer) = event.buffer() {
            let filled = self.buffers.filled(buffer, usize::try_from(event.result).unwrap_or(0));
            if let Ok(message) = RecvMsgOut::parse(filled, &self.header) {
                match address::parse(message.name_data()) {
                    Some(peer) if !message.is_payload_truncated() => {
                        stats.datagrams += 1;
                        handled = 1;
                        on(NetEvent::Datagram { peer, bytes: message.payload_data() });
                    }
                    _ => stats.datagrams_truncated += 1,
                }
            }
            self.buffers.give_back(buffer);
        }
        if !event.more() {
            match -event.result {
                // Ended by a full queue or for lack of buffers, which are back: on with it.
                ..=0 | libc::ENOBUFS | libc::EAGAIN | libc::EINTR => self.receive_on(kernel),
                errno => {
                    let error = io::Error::from_raw_os_error(errno);
                    tracing::error!(%error, "datagrams are no longer received; restart to try again");
                }
            }
        }
        handled
    }

    pub(super) fn drops(&self) -> Option<u64> {
        datagram_drops(&self.socket)
    }

    /// Takes all memory back from the kernel, or gives it up if the kernel may still use it.
    pub(super) fn release(mut self, ring: &IoUring, quiet: bool) {
        self.buffers.release(ring, quiet);
        if !quiet {
            std::mem::forget(self.header);
        }
    }
}
