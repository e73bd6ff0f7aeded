//! Bytes on their way to one connection: a batch that is being sent, and what waits behind it.
//!
//! The batch never changes while it is being sent, so its address may be given to the kernel.

use env::net::SendError;

use super::SEND_BYTES_MAX;

#[derive(Debug, Default)]
pub(super) struct SendQueue {
    batch: Vec<u8>,
    sent: usize,
    waiting: Vec<u8>,
}

impl SendQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.waiting.is_empty()
    }

    /// Queues bytes, all or nothing.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        if self.batch.len() - self.sent + self.waiting.len() + bytes.len() > SEND_BYTES_MAX {
            return Err(SendError::Full);
        }
        self.waiting.extend_from_slice(bytes);
        Ok(())
    }

    /// The bytes to send next. Not to be called while the last ones are still with the kernel.
    pub(super) fn next(&mut self) -> &[u8] {
        if self.batch.is_empty() {
            std::mem::swap(&mut self.batch, &mut self.waiting);
        }
        &self.batch[self.sent..]
    }

    /// Notes that the first `count` bytes of [`next`](Self::next) were sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.batch.len(), "more bytes were sent than there were");
        if self.sent == self.batch.len() {
            self.batch.clear();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_over_partial_sends_and_refuses_beyond_the_limit() {
        let mut queue = SendQueue::default();
        assert!(queue.is_empty());
        queue.push(b"abc").expect("room");
        assert_eq!(queue.next(), b"abc");
        queue.push(b"def").expect("room");
        queue.advance(2);
        assert_eq!(queue.next(), b"c");
        queue.advance(1);
        assert_eq!(queue.next(), b"def");
        assert_eq!(queue.push(&vec![0; SEND_BYTES_MAX - 2]), Err(SendError::Full));
        queue.push(&vec![0; SEND_BYTES_MAX - 3]).expect("exactly full");
        queue.advance(3);
        assert!(!queue.is_empty());
        let rest = queue.next().len();
        queue.advance(rest);
        assert!(queue.is_empty());
    }
}
