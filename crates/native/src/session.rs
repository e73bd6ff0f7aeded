//! One connection: bytes in, frames to the sink, bytes out.
//!
//! Invariants
//! - The unread bytes of a held session are exactly those from the held frame on (N2): the frame is
//!   neither half taken nor taken twice.
//! - A session that is done takes nothing more.

use crate::counters::{Counters, ProtocolError};
use crate::dialogue::{Dialogue, Link, Stop};
use crate::limits::Limits;
use crate::sink::FrameSink;
use frame::Splitter;
use model::{LogPosition, ProducerId, ShardId, TimestampNs};

/// What is to be done with a connection after its session saw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Open,
    /// The pass takes nothing now: pause the network, and [`Session::resume`] later.
    Held,
    /// Send what is in [`Session::outgoing`], then close.
    Close,
    /// Give the connection and [`Session::into_unread`] to this shard.
    HandOver(ShardId),
}

/// The state machine of one connection. It knows no socket and no clock.
pub struct Session {
    splitter: Splitter,
    dialogue: Dialogue,
    /// Bytes from the frame on that could not be taken; everything that comes later joins them.
    unread: Vec<u8>,
    verdict: Verdict,
    limits: Limits,
    why_closed: String,
}

impl Session {
    /// A connection of which nothing is known yet.
    #[must_use]
    pub fn new(limits: Limits) -> Session {
        Session {
            splitter: Splitter::new(),
            dialogue: Dialogue::new(limits),
            unread: Vec::new(),
            verdict: Verdict::Open,
            limits,
            why_closed: String::new(),
        }
    }

    /// A connection that another shard handed over; its unread bytes wait for the first
    /// [`resume`](Self::resume).
    #[must_use]
    pub fn adopted(limits: Limits, unread: Vec<u8>) -> Session {
        let verdict = if unread.is_empty() { Verdict::Open } else { Verdict::Held };
        Session { unread, verdict, ..Session::new(limits) }
    }

    /// Takes the next bytes of the stream. `received` is stamped by the sink on what it stores.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FrameSink,
        received: TimestampNs,
        counters: &mut Counters,
    ) -> Verdict {
        match self.verdict {
            Verdict::Close => {}
            Verdict::Held | Verdict::HandOver(_) => self.hold(bytes, counters),
            Verdict::Open => self.read(bytes, sink, received, counters),
        }
        self.verdict
    }

    /// Tries again what was held.
    pub fn resume(&mut self, sink: &mut dyn FrameSink, received: TimestampNs, counters: &mut Counters) -> Verdict {
        if self.verdict == Verdict::Held {
            self.verdict = Verdict::Open;
            let unread = std::mem::take(&mut self.unread);
            self.read(&unread, sink, received, counters);
        }
        self.verdict
    }

    /// Writes the `Welcome` and `Ack` frames that the durable position allows.
    pub fn on_durable(&mut self, durable: LogPosition, counters: &mut Counters) {
        if self.verdict != Verdict::Close {
            self.dialogue.on_durable(durable, counters);
        }
    }

    /// Ends the session from this side: the peer is told why, and whether to try again by itself.
    pub fn refuse(&mut self, reason: &str, retry: bool) {
        if self.verdict != Verdict::Close {
            self.dialogue.refuse(reason, retry);
            self.end(reason);
        }
    }

    /// Bytes to be sent, whole frames; cleared by [`sent`](Self::sent).
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        self.dialogue.out.bytes()
    }

    /// The outgoing bytes were given to the network.
    pub fn sent(&mut self) {
        self.dialogue.out.clear();
    }

    /// What is to be done with the connection.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether a `Welcome` or an `Ack` waits for the disk.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.verdict != Verdict::Close && self.dialogue.is_waiting()
    }

    /// Who it is, once it said so.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerId> {
        self.link().map(|link| link.producer)
    }

    /// Why this side closes; empty before.
    #[must_use]
    pub fn why_closed(&self) -> &str {
        &self.why_closed
    }

    /// Bytes that were received and not yet taken, the held frame first.
    #[must_use]
    pub fn into_unread(self) -> Vec<u8> {
        self.unread
    }

    /// Bytes of memory that wait in this session: unread, or of a frame that is not whole yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.unread.len() + self.splitter.pending_bytes()
    }

    pub(crate) fn link(&self) -> Option<&Link> {
        self.dialogue.link()
    }

    fn read(&mut self, bytes: &[u8], sink: &mut dyn FrameSink, received: TimestampNs, counters: &mut Counters) {
        let Session { splitter, dialogue, unread, .. } = self;
        // Bytes of this chunk that lie before the next frame's end: whole frames, less what of the
        // first one came with earlier chunks.
        let before = splitter.pending_bytes();
        let mut taken = 0;
        let read = splitter.push(bytes, |frame| {
            let done = dialogue.on_frame(frame, sink, received, counters);
            taken += frame.header().length;
            if let Err(Stop::Hold | Stop::Elsewhere(_)) = done {
                unread.extend_from_slice(frame.bytes());
            }
            done
        });
        match read {
            Ok(()) => {}
            Err(Stop::Hold) => self.stop_at(&bytes[taken - before..], Verdict::Held, counters),
            Err(Stop::Elsewhere(shard)) => self.stop_at(&bytes[taken - before..], Verdict::HandOver(shard), counters),
            Err(Stop::PeerCloses) => self.end("the producer closed the connection"),
            Err(Stop::NotAFrame(error)) => {
                counters.protocol_error(ProtocolError::Frame);
                self.refuse(&error.to_string(), false);
            }
            Err(Stop::Fault { error, reason, retry }) => {
                match error {
                    Some(error) => counters.protocol_error(error),
                    None => counters.refused += 1,
                }
                self.refuse(&reason, retry);
            }
        }
    }

    /// `unread` holds the frame that stopped the reading; `rest` is what came behind it.
    fn stop_at(&mut self, rest: &[u8], verdict: Verdict, counters: &mut Counters) {
        self.splitter = Splitter::new();
        self.verdict = verdict;
        self.hold(rest, counters);
    }

    fn hold(&mut self, bytes: &[u8], counters: &mut Counters) {
        if self.unread.len() + bytes.len() > self.limits.held_bytes_max {
            counters.refused += 1;
            self.refuse("more came than can be held while the disk is busy; connect again and resume", true);
            return;
        }
        self.unread.extend_from_slice(bytes);
    }

    fn end(&mut self, reason: &str) {
        self.verdict = Verdict::Close;
        reason.clone_into(&mut self.why_closed);
        self.unread = Vec::new();
        self.splitter = Splitter::new();
    }
}
