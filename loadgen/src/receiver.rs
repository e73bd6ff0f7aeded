//! The discarding receiver: what a core takes in when it does nothing with it.
//!
//! It answers the handshake and the registrations, so that the very same client sends the very same
//! bytes, and drops everything from the first telemetry frame on, in chunks of 64 KiB into one buffer.

use crate::{Failure, machine};
use frame::{Builder, FrameError, Registered, Splitter, View, Welcome};
use model::Sequence;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{self, LocalSet};

/// Bytes taken at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// A receiver on a thread of its own; stops when dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    /// Its thread, for CPU accounting.
    pub(crate) thread: Option<u32>,
    stop: Option<oneshot::Sender<()>>,
    joined: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts on a free loopback port, on a core if one is given.
    pub(crate) fn start(core: Option<u32>) -> Result<Receiver, Failure> {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let joined = thread::Builder::new()
            .name("discard".to_owned())
            .spawn(move || {
                if let Err(failure) = serve(core, stopped, &tell) {
                    // The other end is gone only if nobody wants to know any more.
                    let _ = tell.send(Err(failure));
                }
            })
            .map_err(Failure::of)?;
        let (address, thread) = told.recv().map_err(Failure::of)??;
        Ok(Receiver { address, thread, stop: Some(stop), joined: Some(joined) })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(joined) = self.joined.take() {
            let _ = joined.join();
        }
    }
}

type Started = Result<(SocketAddr, Option<u32>), Failure>;

fn serve(core: Option<u32>, stopped: oneshot::Receiver<()>, tell: &mpsc::Sender<Started>) -> Result<(), Failure> {
    if let Some(core) = core {
        machine::pin_this_thread(core).map_err(Failure::Failed)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Failure::of)?;
    let chunk = Rc::new(RefCell::new(vec![0; CHUNK_BYTES]));
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Failure::of)?;
        let address = listener.local_addr().map_err(Failure::of)?;
        let _ = tell.send(Ok((address, machine::thread_id())));
        task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                task::spawn_local(receive(stream, Rc::clone(&chunk)));
            }
        });
        // Ends when the other side is dropped.
        let _ = stopped.await;
        Ok(())
    })
}

/// One connection, until it ends.
async fn receive(mut stream: TcpStream, chunk: Rc<RefCell<Vec<u8>>>) {
    let _ = stream.set_nodelay(true);
    let mut greeting = Some(Greeting::default());
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        let answer = {
            let mut chunk = chunk.borrow_mut();
            match stream.try_read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => greeting.as_mut().map(|greeting| greeting.on_bytes(&chunk[..count])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => return,
            }
        };
        let Some(answer) = answer else { continue };
        let Some(answer) = answer else {
            greeting = None;
            continue;
        };
        if stream.write_all(answer.bytes()).await.is_err() {
            return;
        }
    }
}

/// The conversation before the first telemetry frame.
#[derive(Default)]
struct Greeting {
    splitter: Splitter,
    tags: u32,
}

/// Telemetry began, or what comes is no frame.
struct Over;

impl From<FrameError> for Over {
    fn from(_: FrameError) -> Over {
        Over
    }
}

impl Greeting {
    /// What to answer; `None` once there is nothing to be looked at any more.
    fn on_bytes(&mut self, bytes: &[u8]) -> Option<Builder> {
        let mut answers = Builder::new();
        let Greeting { splitter, tags } = self;
        let read = splitter.push::<Over>(bytes, |frame| {
            let done = match frame.view() {
                View::Hello(_) => {
                    let welcome = Welcome {
                        path: "discarded".to_owned(),
                        frame_bytes_max: model::limits::FRAME_BYTES_MAX as u32,
                        tags_max: u32::MAX,
                    };
                    answers.welcome(frame.producer(), Sequence(0), &welcome).is_ok()
                }
                View::Register(register) => {
                    let first = *tags;
                    *tags += register.tags.len() as u32;
                    let numbers = Registered {
                        request: register.request.to_native(),
                        tags: (first..*tags).collect(),
                        texts: Vec::new(),
                    };
                    answers.registered(frame.producer(), Sequence(0), &numbers).is_ok()
                }
                _ => false,
            };
            if done { Ok(()) } else { Err(Over) }
        });
        read.is_ok().then_some(answers)
    }
}
