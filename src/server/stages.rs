//! The telemetry lane of a shard: frames in, then the log.

use crate::server::shard_main::Local;
use crate::server::sink::PassSink;
use crate::server::site::Site;
use env::Clock;
use env::disk::Disk;
use model::{LogPosition, ShardId};
use native::{Handover, Server};
use pipeline::Pass;
use ring::Flag;
use shard::Stage;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use uring::clock::SystemClock;
use uring::net::ShardNet;

/// Native connections of a shard.
pub struct NativeStage {
    shared: Rc<RefCell<NativeParts>>,
}

/// What the stage and connections that are handed over both use.
pub struct NativeParts {
    net: Box<dyn ShardNet>,
    server: Server,
    sink: PassSink,
    site: Arc<Site>,
    pass: Rc<RefCell<Pass>>,
    acknowledged: LogPosition,
    said_goodbye: bool,
}

impl NativeStage {
    /// The stage over a network, and its parts for handovers.
    pub fn new(net: Box<dyn ShardNet>, sink: PassSink, site: Arc<Site>, pass: Rc<RefCell<Pass>>) -> NativeStage {
        let server = Server::new(native::Limits::default());
        let (acknowledged, said_goodbye) = (LogPosition(0), false);
        NativeStage {
            shared: Rc::new(RefCell::new(NativeParts { net, server, sink, site, pass, acknowledged, said_goodbye })),
        }
    }

    /// The parts.
    pub fn parts(&self) -> Rc<RefCell<NativeParts>> {
        Rc::clone(&self.shared)
    }
}

impl NativeParts {
    fn poll(&mut self, budget: usize) -> usize {
        let now = SystemClock.wall();
        self.sink.now = now;
        if self.sink.closing {
            return self.finish();
        }
        let work = self.server.poll(&mut *self.net, &mut self.sink, now, budget);
        let mut pass = self.pass.borrow_mut();
        if work > 0 && self.sink.has_time() {
            pass.hurry(); // the senders wait for their acknowledgements
        }
        self.acknowledged = pass.durable();
        drop(pass);
        for handover in self.server.drain_handovers() {
            self.hand_over(handover);
        }
        work
    }

    /// While the log drains: acknowledge what becomes durable; then say goodbye.
    fn finish(&mut self) -> usize {
        let (durable, closed) = {
            let pass = self.pass.borrow();
            (pass.durable(), pass.is_closed())
        };
        let mut work = self.server.on_durable(&mut *self.net, durable);
        self.acknowledged = durable;
        if closed && !self.said_goodbye {
            self.server.close_all(&mut *self.net, &mut self.sink);
            self.said_goodbye = true;
            work += 1;
        }
        // what was queued must leave before the thread ends
        work + self.net.poll(usize::from(self.said_goodbye) * 64, &mut |_| {})
    }

    fn hand_over(&mut self, handover: Handover) {
        let shard = match &handover {
            Handover::Connection { shard, .. } | Handover::Datagram { shard, .. } => *shard,
        };
        let Some(sender) = self.site.shards().get(shard.0 as usize).and_then(|port| port.sender()) else { return };
        let posted = match handover {
            Handover::Connection { connection, peer, mut unread, .. } => {
                let Some((stream, rest)) = self.net.release(connection) else { return };
                unread.extend_from_slice(&rest);
                sender.post(Box::new(move |context| {
                    Local::with(|local| {
                        let mut parts = local.native.borrow_mut();
                        let connection = parts.net.adopt(stream);
                        parts.server.adopt(connection, peer, unread, SystemClock.wall());
                    });
                    context.kick();
                }))
            }
            Handover::Datagram { bytes, .. } => sender.post(Box::new(move |context| {
                Local::with(|local| {
                    let parts = &mut *local.native.borrow_mut();
                    parts.sink.now = SystemClock.wall();
                    parts.server.on_datagram(&bytes, &mut parts.sink, SystemClock.wall());
                });
                context.kick();
            })),
        };
        if let Err(error) = posted {
            tracing::warn!(to = shard.0, %error, "a connection or datagram could not be handed over");
        }
    }

    /// Counters for the sources' page, by name.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        let (counters, net) = (self.server.counters(), self.net.stats());
        let mut all: BTreeMap<&'static str, u64> = BTreeMap::from([
            ("frames", counters.frames),
            ("bytes", counters.bytes),
            ("duplicates", counters.duplicates),
            ("refused_connections", counters.refused),
            ("connections_open", counters.connections_open),
            ("handed_over", counters.handed_over),
            ("acks", counters.acks),
            ("datagrams", counters.datagrams),
            ("datagrams_unknown", counters.datagrams_unknown),
            ("datagrams_dropped", net.datagrams_dropped),
            ("datagrams_truncated", net.datagrams_truncated),
            ("shed_frames", counters.shed_frames),
            ("pauses", counters.pauses),
            ("connections_refused", net.refused),
            ("receive_buffers_exhausted", net.starved),
            ("kernel_calls", net.calls),
            ("kernel_completions", net.completions),
        ]);
        for error in native::ProtocolError::ALL {
            all.insert(error.name(), counters.protocol_errors_of(error));
        }
        all
    }
}

impl Stage for NativeStage {
    fn name(&self) -> &'static str {
        "native"
    }

    fn poll(&mut self, budget: usize) -> usize {
        self.shared.borrow_mut().poll(budget)
    }

    fn pending(&self) -> bool {
        let parts = self.shared.borrow();
        parts.net.pending() || parts.pass.borrow().durable() > parts.acknowledged
    }

    fn wake_fds(&self) -> Vec<RawFd> {
        vec![self.shared.borrow().net.raw_fd()]
    }

    fn arm(&mut self) {
        self.shared.borrow_mut().net.arm();
    }

    fn close(&mut self) {
        self.shared.borrow_mut().sink.closing = true;
    }

    fn drained(&self) -> bool {
        self.shared.borrow().said_goodbye
    }
}

/// The log of a shard.
pub struct LogStage {
    pass: Rc<RefCell<Pass>>,
    disk: Box<dyn Disk>,
    /// Raised when a completion is there.
    completed: Arc<Flag>,
    shard: ShardId,
}

impl LogStage {
    /// The stage over a pass and its disk.
    pub fn new(pass: Rc<RefCell<Pass>>, disk: Box<dyn Disk>, completed: Arc<Flag>, shard: ShardId) -> LogStage {
        LogStage { pass, disk, completed, shard }
    }
}

impl Stage for LogStage {
    fn name(&self) -> &'static str {
        "log"
    }

    fn poll(&mut self, _: usize) -> usize {
        self.completed.set(false);
        self.pass.borrow_mut().poll(SystemClock.monotonic_ns(), SystemClock.wall(), &mut *self.disk)
    }

    fn pending(&self) -> bool {
        self.completed.get() || self.disk.pending()
    }

    fn deadline_ns(&self) -> Option<u64> {
        self.pass.borrow().deadline_ns()
    }

    fn close(&mut self) {
        tracing::debug!(shard = self.shard.0, "closing the log");
        self.pass.borrow_mut().close(SystemClock.wall());
    }

    fn drained(&self) -> bool {
        self.pass.borrow().is_closed()
    }
}
