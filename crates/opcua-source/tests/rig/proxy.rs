//! A network between client and server that can swallow what the server says, and break.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A forwarder from a port of its own to a server.
pub struct Proxy {
    pub port: u16,
    swallow: Arc<AtomicBool>,
    generation: Arc<AtomicU64>,
}

impl Proxy {
    pub async fn start(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (swallow, generation) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (s, g) = (swallow.clone(), generation.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, s.clone(), g.clone()));
            }
        });
        Proxy { port, swallow, generation }
    }

    /// Whether the server's bytes vanish.
    pub fn swallow(&self, yes: bool) {
        self.swallow.store(yes, Ordering::SeqCst);
    }

    /// Breaks all connections; new ones go through.
    pub fn cut(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

async fn forward(mut client: TcpStream, server: u16, swallow: Arc<AtomicBool>, generation: Arc<AtomicU64>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let born = generation.load(Ordering::SeqCst);
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    while generation.load(Ordering::SeqCst) == born {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(1..) => if server.write_all(&up[..read.unwrap_or(0)]).await.is_err() { return },
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(count @ 1..) => {
                    if !swallow.load(Ordering::SeqCst) && client.write_all(&down[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}
