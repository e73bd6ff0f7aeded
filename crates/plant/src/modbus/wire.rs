//! A connection whose answers can turn to garbage.
//!
//! Invariant: outside garbage mode every byte passes unchanged; in it, every answer keeps its
//! length on the wire and is wrong in one of [`GARBAGE_KINDS`] ways, taken in turn, so that a
//! reader meets each of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::physics::Rng;
use crate::shared::Shared;

use super::device::DeviceMode;

/// Ways in which an answer is spoiled: random bytes, a wrong transaction id, a wrong protocol
/// id, a length of 65535, a length of 0.
const GARBAGE_KINDS: u32 = 5;
/// Bytes of an MBAP header that come before the unit id.
const MBAP_BYTES: usize = 6;

/// A device's side of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    mode: Shared<DeviceMode>,
    rng: Rng,
    spoiled_count: u32,
}

impl Wire {
    /// Puts the device's mode between it and a connection.
    pub(crate) fn new(stream: TcpStream, mode: Shared<DeviceMode>, seed: u64) -> Self {
        Self { stream, mode, rng: Rng::new(seed, 300), spoiled_count: 0 }
    }

    fn spoil(&mut self, answer: &[u8]) -> Vec<u8> {
        let mut bytes = answer.to_vec();
        let kind = self.spoiled_count % GARBAGE_KINDS;
        match (kind, bytes.get_mut(..MBAP_BYTES)) {
            (1, Some(header)) => header[0] ^= 0xA5,
            (2, Some(header)) => header[2..4].fill(0xEE),
            (3, Some(header)) => header[4..6].fill(0xFF),
            (4, Some(header)) => header[4..6].fill(0),
            _ => {
                for byte in &mut bytes {
                    let [random, ..] = self.rng.next_u32().to_le_bytes();
                    *byte = random;
                }
            }
        }
        bytes
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if *wire.mode.lock() != DeviceMode::Garbage {
            return Pin::new(&mut wire.stream).poll_write(cx, buf);
        }
        let spoiled = wire.spoil(buf);
        let written = Pin::new(&mut wire.stream).poll_write(cx, &spoiled);
        if written.is_ready() {
            wire.spoiled_count = wire.spoiled_count.wrapping_add(1);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
