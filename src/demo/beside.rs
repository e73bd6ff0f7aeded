//! What runs beside Millstream in the demo: the plant, and a vibration rig that sends native frames.

use crate::commands::{Failure, failed};
use crate::server;
use client::{Options, Producer, TagRequest};
use model::ValueKind;
use plant::{Addresses, FeedOptions, Plant, PlantOptions};
use std::net::SocketAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two things that each business system has to tell.
const FEED_PERIOD: Duration = Duration::from_secs(1);

/// The plant on a thread of its own, so that it shares nothing with Millstream but sockets.
pub struct PlantThread {
    /// Where it is.
    pub addresses: Addresses,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl PlantThread {
    /// Starts it and waits until it is there. Its business systems speak to Millstream at `http`.
    pub fn start(http: SocketAddr) -> Result<PlantThread, Failure> {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let body = move || {
            let runtime = match server::small_runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            runtime.block_on(async {
                let feeds = Some(FeedOptions { to: format!("http://{http}"), period: FEED_PERIOD });
                let plant = match Plant::start(PlantOptions { feeds, ..PlantOptions::default() }).await {
                    Ok(plant) => plant,
                    Err(error) => return drop(ready.send(Err(error.to_string()))),
                };
                let _ = ready.send(Ok(plant.addresses().clone()));
                // the plant's tasks run on this runtime while its own thread waits for the word
                let _ = tokio::task::spawn_blocking(move || stopped.recv()).await;
                plant.stop().await;
            });
        };
        let thread = std::thread::Builder::new().name("plant".into()).spawn(body);
        let thread = thread.map_err(|error| failed(format!("cannot start the plant's thread: {error}")))?;
        match started.recv() {
            Ok(Ok(addresses)) => Ok(PlantThread { addresses, stop, thread }),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(failed("the plant ended before it began")),
        }
    }

    /// Stops it and waits for its end.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// The rig's number as a producer; its sequences go on where they stopped at the last run.
const RIG: u64 = 0x7269_6701;
/// Accelerometers of the rig.
const BEARINGS: usize = 8;
/// Time between two scans.
const PERIOD: Duration = Duration::from_millis(20);

/// A vibration rig: eight bearings, RMS velocity in mm/s fifty times a second as scan frames.
pub struct Rig {
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    /// Starts it against a server's native address. If it cannot send, it says so and stays quiet.
    pub fn start(native: SocketAddr) -> Rig {
        let (stop, stopped) = mpsc::channel();
        let body = move || {
            if let Err(error) = run(native, &stopped) {
                tracing::warn!(error, "the demo's vibration rig has stopped");
            }
        };
        let thread = std::thread::Builder::new().name("rig".into()).spawn(body).ok();
        Rig { stop, thread }
    }

    /// Stops it and waits for its end.
    pub fn stop(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn run(native: SocketAddr, stopped: &mpsc::Receiver<()>) -> Result<(), String> {
    let mut options = Options::new(RIG, "vibration-rig");
    options.name = "demo vibration rig".into();
    options.patience = Duration::from_secs(1);
    let mut producer = Producer::connect(&native.to_string(), options).map_err(|error| error.to_string())?;
    let name =
        |bearing: usize| TagRequest::new(format!("rig1/bearing{}/rms", bearing + 1), ValueKind::F64).unit("mm/s");
    let wanted: Vec<TagRequest> = (0..BEARINGS).map(name).collect();
    let tags = producer.register(&wanted).map_err(|error| error.to_string())?;
    let mut values = [0.0; BEARINGS];
    let mut seconds = 0.0_f64;
    while stopped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        seconds += PERIOD.as_secs_f64();
        for (bearing, value) in values.iter_mut().enumerate() {
            // a slow load cycle, the shaft's second order, and a bearing that wears with its number
            let load = 1.0 + 0.3 * (seconds * 0.2 + bearing as f64).sin();
            *value =
                load * (1.2 + 0.15 * bearing as f64) + 0.2 * (seconds * 12.5 * (1.0 + 0.01 * bearing as f64)).sin();
        }
        let mut rest = &values[..];
        for (first, count) in client::runs(&tags) {
            let (run, others) = rest.split_at(count);
            producer.scan(first, Some(client::now()), run).map_err(|error| error.to_string())?;
            rest = others;
        }
        producer.flush().and_then(|()| producer.poll().map(drop)).map_err(|error| error.to_string())?;
    }
    Ok(())
}
