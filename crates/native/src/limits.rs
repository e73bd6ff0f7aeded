//! What one shard's native server takes at most.

use model::limits::{FRAME_BYTES_MAX, PRODUCERS_MAX};

/// The limits of one [`Server`](crate::Server); the defaults are those of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; one more is refused and told to try again.
    pub connections_max: usize,
    /// How long a connection may take to send its whole `Hello`, nanoseconds. There is no deadline
    /// after that: a producer may be silent for as long as it likes.
    pub hello_ns_max: i64,
    /// Tags and texts in one `Register`, together.
    pub register_names_max: usize,
    /// Texts that one connection may ask for in all. Tags are bounded by the source's own `tags_max`.
    pub register_texts_max: u32,
    /// Answers to `Register` that may wait for the disk on one connection; the next one is held.
    pub registers_waiting_max: usize,
    /// Acknowledgements that a connection keeps apart while they wait for the disk; beyond it
    /// neighbours merge, which delays some by a commit and loses none. At least 2.
    pub acks_waiting_max: usize,
    /// Unread bytes that a connection may have while the pass is busy: one split frame, and the
    /// chunks that one poll of the network may still deliver before it is paused.
    pub held_bytes_max: usize,
    /// Producers that may send datagrams; a `Hello` datagram of one more is dropped and counted.
    pub datagram_producers_max: usize,
    /// Datagrams that may wait to be given to another shard; more are shed and counted.
    pub datagrams_moving_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 10_240,
            hello_ns_max: 10_000_000_000,
            register_names_max: 16_384,
            register_texts_max: 65_536,
            registers_waiting_max: 64,
            acks_waiting_max: 1_024,
            held_bytes_max: 4 * FRAME_BYTES_MAX,
            datagram_producers_max: PRODUCERS_MAX,
            datagrams_moving_max: 1_024,
        }
    }
}
