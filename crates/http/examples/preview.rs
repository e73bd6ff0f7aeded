//! The dashboard over a made-up plant: `cargo run -p millstream-http --example preview [PORT [TAGS]]`.

#[path = "../tests/fake/mod.rs"]
mod fake;

use millstream_http::{Limits, router, serve};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(8099);
    let extra: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/", listener.local_addr()?);
    let service =
        router(Arc::new(fake::Fake::plant(extra)), Arc::new(fake::flows::FakeFlows::default()), Limits::default());
    serve(listener, service, |connection| drop(tokio::spawn(connection)), std::future::pending()).await;
    Ok(())
}
