//! One life of the server: sessions, pass, log and disk, polled as a shard's duty cycle polls them.

use super::model::Record;
use super::net::SimNet;
use super::sink::{PassSink, Seen, Site};
use crate::log_system::SHARD;
use crate::system::{Setup, StartError};
use env::Clock;
use log::{Recovered, Settings, Writer};
use model::TimestampNs;
use native::{Limits, ProtocolError, Server};
use pipeline::{Pass, ShardView, State};
use sim::{Crash, SimClock, SimDisk};
use std::cell::{Ref, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

/// A server that runs.
pub struct Life {
    pass: Rc<RefCell<Pass>>,
    server: Server,
    sink: PassSink,
    disk: SimDisk,
    clock: Rc<SimClock>,
    /// Where the log ended when this life began.
    pub recovered: Recovered,
    said_goodbye: bool,
}

impl Life {
    /// Starts on a disk; answers what recovery visited too.
    ///
    /// # Errors
    /// [`StartError`] where it refuses to start.
    pub fn start(
        mut disk: SimDisk,
        clock: Rc<SimClock>,
        setup: Setup,
        sites: &[Site],
    ) -> Result<(Life, Record), Box<StartError>> {
        let (writer, reader) = ring::latest_table();
        let mut state = State::new(writer);
        let mut record = Record::default();
        let recovered = log::recover(&mut disk, SHARD, &mut |frame, position| {
            state.absorb(frame, frame.received());
            record.take(frame, position);
        });
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => return Err(Box::new(StartError { why: error.to_string(), disk })),
        };
        let settings = Settings {
            segment_bytes: setup.segment_bytes,
            sync_ns: setup.sync_ns,
            whole_blocks_from: setup.whole_blocks_from,
            whole_blocks_again_from: setup.whole_blocks_from / 4,
            ..Settings::new(SHARD)
        };
        let view = Arc::new(ShardView::new(SHARD, reader));
        let pass = Pass::new(state, Writer::new(settings, &recovered), &recovered, view);
        let pass = Rc::new(RefCell::new(pass));
        let sink = PassSink::new(Rc::clone(&pass), sites, clock.wall());
        let server = Server::new(Limits::default());
        Ok((Life { pass, server, sink, disk, clock, recovered, said_goodbye: false }, record))
    }

    /// One duty cycle.
    pub fn step(&mut self, net: &mut SimNet, budget: usize) {
        let (now, now_ns) = (self.clock.wall(), self.clock.monotonic_ns());
        self.sink.now = now;
        if self.sink.closing {
            let (durable, closed) = (self.pass.borrow().durable(), self.pass.borrow().is_closed());
            self.server.on_durable(net, durable);
            if closed && !self.said_goodbye {
                self.server.close_all(net, &mut self.sink);
                self.said_goodbye = true;
            }
        } else {
            self.server.poll(net, &mut self.sink, now, budget);
        }
        self.disk.set_now(now_ns);
        self.pass.borrow_mut().poll(now_ns, now, &mut self.disk);
    }

    /// Everything durable, as a query reads it.
    ///
    /// # Errors
    /// It cannot be read, or damage is met.
    pub fn read(&self) -> Result<Record, String> {
        let spans = self.pass.borrow().spans(TimestampNs(i64::MIN), TimestampNs(i64::MAX));
        let mut record = Record::default();
        let report = log::read(&self.disk, &spans, &mut |frame, position| {
            record.take(frame, position);
            ControlFlow::Continue(())
        });
        let report = report.map_err(|error| error.to_string())?;
        match report.fences.first() {
            Some(fence) => Err(format!("a query met damage where there is none: {fence}")),
            None => Ok(record),
        }
    }

    /// The pass, to look at.
    #[must_use]
    pub fn pass(&self) -> Ref<'_, Pass> {
        self.pass.borrow()
    }

    /// Makes the pass look busy, or no more.
    pub fn set_busy(&mut self, busy: bool) {
        self.sink.busy = busy;
    }

    /// Whether all that was taken is durable, as far as the log knows.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        let pass = self.pass.borrow();
        pass.durable() == pass.end()
    }

    /// The disk.
    pub fn disk(&mut self) -> &mut SimDisk {
        &mut self.disk
    }

    /// Begins to stop in order.
    pub fn close(&mut self) {
        self.sink.closing = true;
        self.pass.borrow_mut().close(self.clock.wall());
    }

    /// Whether stopping is done.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.said_goodbye
    }

    /// What the sink saw.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.sink.seen
    }

    /// How often the network was paused.
    #[must_use]
    pub fn pauses(&self) -> u64 {
        self.server.counters().pauses
    }

    /// Every counter says what happened.
    ///
    /// # Errors
    /// One that does not.
    pub fn check_counters(&self) -> Result<(), String> {
        let (seen, counters, pass) = (&self.sink.seen, self.server.counters(), self.pass.borrow());
        let shown = pass.view().totals.duplicates.get();
        let pairs = [
            ("frames", seen.stored, counters.frames),
            ("duplicates", seen.duplicates, counters.duplicates),
            ("duplicates of the pass", seen.duplicates, shown),
            ("shed frames", seen.shed.len() as u64, counters.shed_frames),
        ];
        if let Some((what, saw, counted)) = pairs.into_iter().find(|(_, saw, counted)| saw != counted) {
            return Err(format!("{saw} {what} happened, {counted} were counted"));
        }
        // A Hello may come too late where the clock jumps.
        let errors: u64 =
            counters.protocol_errors.iter().sum::<u64>() - counters.protocol_errors_of(ProtocolError::Hello);
        if errors > 0 {
            return Err(format!("{errors} protocol errors of producers that make none"));
        }
        Ok(())
    }

    /// Crashes; answers the disk that is left.
    #[must_use]
    pub fn crash(self, crash: Crash) -> SimDisk {
        self.disk.crash(crash)
    }
}
