//! A TCP port that can be closed and opened again at the same address.
//!
//! Invariants:
//! - Once open, the address never changes, even when it was chosen freely.
//! - [`Port::listener`] hands out clones of one socket, so a server that is restarted on an open
//!   port misses no connection attempt; [`Port::close`] makes the port refuse.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::error::PlantError;

/// A TCP port of a named part of the plant.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    socket: Option<TcpListener>,
}

impl Port {
    /// Opens a port; port 0 takes a free one.
    pub(crate) fn open(what: &str, address: SocketAddr) -> Result<Self, PlantError> {
        let bind_error = |source| PlantError::Bind { what: what.to_owned(), address, source };
        let socket = bind(address).map_err(bind_error)?;
        let address = socket.local_addr().map_err(bind_error)?;
        Ok(Self { address, socket: Some(socket) })
    }

    /// Where the port is, or will be when it is opened again.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A listener on the port for the calling runtime, opening the port again if it was closed.
    pub(crate) fn listener(&mut self) -> io::Result<tokio::net::TcpListener> {
        let socket = match &self.socket {
            Some(socket) => socket.try_clone()?,
            None => {
                let socket = bind(self.address)?;
                let clone = socket.try_clone()?;
                self.socket = Some(socket);
                clone
            }
        };
        tokio::net::TcpListener::from_std(socket)
    }

    /// Gives up the port; it refuses as soon as the last listener on it is gone.
    pub(crate) fn close(&mut self) {
        self.socket = None;
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
