//! The demo's opening scene: within the first seconds each of the five patterns has carried
//! something. A press faults and is mended (an event for the maintenance system, the planners and the
//! customers), and the shift so far is reported (a batch). Receipts, entries and questions come from
//! the plant's business systems all the time.

use crate::server;
use bytes::Bytes;
use connect::{Call, HttpSettings, HttpTarget, Target};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// The press that faults.
const PRESS: u8 = 2;
/// Deadline of one call.
const TIME: Duration = Duration::from_secs(2);

/// The opening, on a thread of its own.
pub struct Opening {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Opening {
    /// Starts it against Millstream's API and the plant's switches.
    pub fn start(http: SocketAddr, switches: SocketAddr) -> Opening {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("opening".into()).spawn(move || play(http, switches, &stopped));
        Opening { stop, thread: thread.ok() }
    }

    /// Stops it and waits for its end.
    pub fn stop(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn play(http: SocketAddr, switches: SocketAddr, stopped: &Receiver<()>) {
    let Ok(runtime) = server::small_runtime() else { return };
    let press = format!("http://{switches}/press/{PRESS}");
    let run = format!("http://{http}/v1/batches/shift-report/run");
    let scenes: [(u64, String, Value); 3] = [
        (4, press.clone(), json!({ "mode": "fault" })),
        (1, run, json!({ "from": "-1h", "by": "demo" })),
        (20, press, json!({ "mode": "ok" })),
    ];
    for (after_s, url, body) in scenes {
        if stopped.recv_timeout(Duration::from_secs(after_s)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        if let Err(error) = runtime.block_on(post(&url, &body)) {
            tracing::warn!(url, error, "a scene of the demo's opening was left out");
        }
    }
}

async fn post(url: &str, body: &Value) -> Result<(), String> {
    let target = HttpTarget::new(HttpSettings::new(url)).map_err(|error| error.to_string())?;
    let call = Call {
        method: "POST".to_owned(),
        to: url.to_owned(),
        headers: Vec::new(),
        content_type: "application/json".to_owned(),
        body: Bytes::from(body.to_string()),
        idempotency_key: None,
        id: String::new(),
        timeout: TIME,
    };
    let exchange = target.call(call).await;
    match exchange.result {
        Ok(connect::Reply::Answered { status: 200..=299, .. }) => Ok(()),
        Ok(_) => Err(exchange.excerpt),
        Err(error) => Err(error.to_string()),
    }
}
