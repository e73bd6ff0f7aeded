//! Native frames, the server's side: producers over TCP and UDP, acknowledged only when durable.
//!
//! Purpose: turn what arrives on a shard's telemetry network into checked frames for the pass, and
//! tell each producer how far its frames are on disk. [`Session`] is one connection as a pure state
//! machine, [`Server`] drives all sessions of a shard from `env::net` events, and [`FrameSink`] is
//! what the wiring implements over the pass and the log.
//!
//! A connection's life: `Hello` → `Welcome` (its header's sequence is the last durable one) →
//! any number of `Register` → `Registered` and of telemetry frames → `Ack` after each commit. The
//! side that has enough says so with `Refuse`.
//!
//! Invariants
//! - N1: an `Ack` of sequence *s* is sent only when the sink's durable position has reached the
//!   position of every frame up to *s* that this session took. The same holds for the sequence in a
//!   `Welcome` of a producer that wants acknowledgements.
//! - N2: no frame of a producer that wants acknowledgements is dropped: what the sink cannot take
//!   now is held and the network is paused, which lets TCP hold the senders.
//! - N3: within a connection sequences only grow; a frame out of order ends the connection, because
//!   it would otherwise pass for a duplicate.
//! - N4: every byte of a peer is hostile until `frame::check` passed it; whatever comes, the answer is
//!   a counted refusal, never a panic, and memory per connection is bounded by [`Limits`].
//! - N5: how a stream of bytes is cut into chunks changes nothing of what a session does.
//! - N6: one producer has at most one connection; the newest wins.
//!
//! It deliberately does not know sockets, the log, what a tag means, or which shard a source belongs
//! to: the sink says so, and a connection that belongs elsewhere is given away with its unread bytes.

#![forbid(unsafe_code)]

mod acks;
mod counters;
mod datagrams;
mod dialogue;
mod limits;
mod server;
mod session;
mod sink;

pub use counters::{Counters, ProtocolError};
pub use limits::Limits;
pub use server::{Connection, Handover, Server};
pub use session::{Session, Verdict};
pub use sink::{FrameSink, Opened, Refusal, Registered, TagWanted, TakeError, Taken};
