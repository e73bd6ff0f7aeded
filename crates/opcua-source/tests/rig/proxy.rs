//! A network between client and server that can swallow what the server says, break, and make the
//! server look as if it kept no message for Republish. It reads OPC UA's binary frames as far as that
//! takes (OPC 10000-6, 6.7.2), and works without security only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Length of the headers before a request's type: message, channel, token, sequence.
const HEADERS: usize = 24;
/// Four-byte NodeId of RepublishRequest's binary encoding, i=832.
const REPUBLISH: [u8; 4] = [0x01, 0x00, 0x40, 0x03];

/// A forwarder from a port of its own to a server.
pub struct Proxy {
    pub port: u16,
    will: Arc<Will>,
}

/// What the network does.
#[derive(Default)]
struct Will {
    swallow: AtomicBool,
    forget: AtomicBool,
    generation: AtomicU64,
}

impl Proxy {
    pub async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let will = Arc::new(Will::default());
        let theirs = will.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, theirs.clone()));
            }
        });
        Proxy { port, will }
    }

    /// Whether the server's bytes vanish.
    pub fn swallow(&self, yes: bool) {
        self.will.swallow.store(yes, Ordering::SeqCst);
    }

    /// Whether Republish asks for a message that the server cannot have.
    pub fn forget(&self, yes: bool) {
        self.will.forget.store(yes, Ordering::SeqCst);
    }

    /// Breaks all connections; new ones go through.
    pub fn cut(&self) {
        self.will.generation.fetch_add(1, Ordering::SeqCst);
    }
}

/// Changes the sequence number of each Republish request among whole frames; it is the last field.
fn forget(mut frames: &mut [u8]) {
    while frames.len() > HEADERS + REPUBLISH.len() {
        let size = u32::from_le_bytes([frames[4], frames[5], frames[6], frames[7]]) as usize;
        if size <= HEADERS || size > frames.len() {
            return;
        }
        let (frame, rest) = frames.split_at_mut(size);
        if frame[HEADERS..].starts_with(&REPUBLISH) {
            frame[size - 4..].copy_from_slice(&0x7000_0000_u32.to_le_bytes());
        }
        frames = rest;
    }
}

async fn forward(mut client: TcpStream, server: u16, will: Arc<Will>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let born = will.generation.load(Ordering::SeqCst);
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    while will.generation.load(Ordering::SeqCst) == born {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                if will.forget.load(Ordering::SeqCst) {
                    forget(&mut up[..count]);
                }
                if server.write_all(&up[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if !will.swallow.load(Ordering::SeqCst) && client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}
