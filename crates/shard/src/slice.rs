//! The present poll of a lower-lane task, in pieces.
//!
//! A poll that pauses ([`crate::pause`]) ends a piece, telemetry is looked at, and the next piece begins: what
//! telemetry waits for is a piece, so pieces are what is measured.

use std::rc::Rc;

use model::ShardId;

use crate::meter::StageMeter;

/// A poll under way.
pub(crate) struct Slice {
    meter: Rc<StageMeter>,
    /// When its present piece began, and how often memory had been asked for by then.
    began_ns: u64,
    allocated: u64,
    /// What the pieces before it took.
    spent_ns: u64,
}

impl Slice {
    pub(crate) fn begin(meter: &Rc<StageMeter>, now_ns: u64) -> Slice {
        Slice { meter: Rc::clone(meter), began_ns: now_ns, allocated: ring::allocations(), spent_ns: 0 }
    }

    /// Measures the piece that ends now; answers what it took.
    pub(crate) fn end_piece(&mut self, shard: ShardId, quantum_ns: u64, now_ns: u64) -> u64 {
        let took_ns = now_ns.saturating_sub(self.began_ns);
        self.spent_ns += took_ns;
        self.meter.allocated_since(self.allocated);
        self.meter.record(shard, took_ns, quantum_ns, now_ns);
        took_ns
    }

    /// The next piece begins.
    pub(crate) fn go_on(&mut self, now_ns: u64) {
        self.began_ns = now_ns;
        self.allocated = ring::allocations();
    }

    /// What all pieces that have ended took.
    pub(crate) const fn spent_ns(&self) -> u64 {
        self.spent_ns
    }
}
