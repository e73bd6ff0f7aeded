//! Listeners and datagram sockets, one for each shard on the same address.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes ahead of accept.
const BACKLOG: i32 = 1024;
/// Wanted receive buffer of a datagram socket: about 100 ms of a 500 Mbit/s flood. The kernel gives
/// what `net.core.rmem_max` allows.
const DATAGRAM_BUFFER_BYTES: usize = 8 << 20;

/// A listener. With `reuse_port` several shards listen on one address and the kernel deals the
/// connections out among them.
///
/// # Errors
/// The address cannot be used; the text names it and says what to look for.
pub fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let open = || {
        let socket = open_socket(address, Type::STREAM, Protocol::TCP, reuse_port)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error| explain(address, "listen", &error))
}

/// A datagram socket with a large receive buffer.
///
/// # Errors
/// The address cannot be used; the text names it and says what to look for.
pub fn bind_datagrams(address: SocketAddr, reuse_port: bool) -> io::Result<UdpSocket> {
    let open = || {
        let socket = open_socket(address, Type::DGRAM, Protocol::UDP, reuse_port)?;
        socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES)?;
        Ok(socket.into())
    };
    open().map_err(|error| explain(address, "receive datagrams", &error))
}

fn open_socket(address: SocketAddr, kind: Type, protocol: Protocol, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if kind == Type::STREAM {
        // A restarted server takes its address back from connections that are still dying.
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn explain(address: SocketAddr, what: &str, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has it: stop that one (`ss -lntup` shows it) or use another port"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot {what} on {address}: {error}{advice}"))
}

/// Datagrams that the kernel threw away because this socket's buffer was full; `None` where it
/// does not say.
#[must_use]
pub fn datagram_drops(socket: &UdpSocket) -> Option<u64> {
    sys::memory_info(socket).map(|info| u64::from(info[sys::DROPS]))
}

mod sys {
    #![expect(unsafe_code, reason = "SO_MEMINFO has no safe call")]

    use std::{net::UdpSocket, os::fd::AsRawFd};

    /// Numbers of `SO_MEMINFO` (linux/sock_diag.h), and the place of the drops among them.
    const NUMBERS: usize = 9;
    pub(super) const DROPS: usize = 8;

    pub(super) fn memory_info(socket: &UdpSocket) -> Option<[u32; NUMBERS]> {
        let mut info = [0_u32; NUMBERS];
        let mut bytes = size_of_val(&info) as libc::socklen_t;
        // SAFETY: `info` is writable for `bytes` bytes, both live over the call, and any bits are
        // valid numbers.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                info.as_mut_ptr().cast(),
                &mut bytes,
            )
        };
        (result == 0 && bytes as usize == size_of_val(&info)).then_some(info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shards_share_an_address_and_a_stranger_is_told_about_it() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = listen(any, true).expect("free");
        let address = first.local_addr().expect("bound");
        let _second = listen(address, true).expect("shared");
        let error = listen(address, false).expect_err("taken").to_string();
        assert!(error.contains(&address.to_string()) && error.contains("another process"), "{error}");
    }

    #[test]
    fn a_full_datagram_socket_counts_what_the_kernel_drops() {
        let socket = bind_datagrams(SocketAddr::from(([127, 0, 0, 1], 0)), false).expect("free");
        assert_eq!(datagram_drops(&socket), Some(0));
        let sender = UdpSocket::bind("127.0.0.1:0").expect("free");
        let to = socket.local_addr().expect("bound");
        // 60 KB a piece: more than the largest buffer that was asked for (the kernel doubles it).
        for _ in 0..600 {
            let _ = sender.send_to(&[0; 60_000], to);
        }
        assert!(datagram_drops(&socket).expect("this kernel says") > 0);
    }
}
