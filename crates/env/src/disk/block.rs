//! The bytes that a disk writes: memory of its own, or memory that the disk lends.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use super::DIRECT_ALIGN;

/// Memory of a fixed length that a disk lends, because it writes from there at a lower cost (buffers
/// that the kernel knows). Given back when it is dropped.
pub trait Memory: Send + Sync {
    /// All of it. Begins at a multiple of [`DIRECT_ALIGN`].
    fn bytes(&self) -> &[u8];

    /// All of it, to write to.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Bytes aligned so that frames can be read in place and that a disk can write them from where they
/// are. Given to the disk with a write and handed back with its completion.
///
/// Grows like a vector. One over lent memory that outgrows it moves into memory of its own.
#[derive(Default)]
pub struct Block {
    bytes: Bytes,
}

type Own = rkyv::util::AlignedVec<DIRECT_ALIGN>;

enum Bytes {
    Own(Own),
    Lent { memory: Box<dyn Memory>, length: usize },
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::Own(Own::new())
    }
}

impl Block {
    /// An empty one, without memory.
    #[must_use]
    pub fn new() -> Block {
        Block::default()
    }

    /// An empty one with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Block {
        Block { bytes: Bytes::Own(Own::with_capacity(bytes)) }
    }

    /// An empty one over memory that a disk lends.
    #[must_use]
    pub fn lent(memory: Box<dyn Memory>) -> Block {
        Block { bytes: Bytes::Lent { memory, length: 0 } }
    }

    /// Bytes that it takes without moving.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.bytes {
            Bytes::Own(own) => own.capacity(),
            Bytes::Lent { memory, .. } => memory.bytes().len(),
        }
    }

    /// Whether its memory is a disk's.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        matches!(self.bytes, Bytes::Lent { .. })
    }

    /// Makes room for more bytes.
    pub fn reserve(&mut self, more: usize) {
        self.make_room(self.len() + more);
        if let Bytes::Own(own) = &mut self.bytes {
            own.reserve(more);
        }
    }

    /// Takes all bytes out.
    pub fn clear(&mut self) {
        self.resize(0, 0);
    }

    /// Cuts it to a length, or fills it up to one.
    pub fn resize(&mut self, new: usize, fill: u8) {
        self.make_room(new);
        match &mut self.bytes {
            Bytes::Own(own) => own.resize(new, fill),
            Bytes::Lent { memory, length } => {
                let old = std::mem::replace(length, new);
                if old < new {
                    memory.bytes_mut()[old..new].fill(fill);
                }
            }
        }
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, more: &[u8]) {
        self.make_room(self.len() + more.len());
        match &mut self.bytes {
            Bytes::Own(own) => own.extend_from_slice(more),
            Bytes::Lent { memory, length } => {
                memory.bytes_mut()[*length..*length + more.len()].copy_from_slice(more);
                *length += more.len();
            }
        }
    }

    /// Moves out of lent memory that is shorter than this.
    fn make_room(&mut self, length: usize) {
        if let Bytes::Lent { memory, .. } = &self.bytes
            && memory.bytes().len() < length
        {
            let mut own = Own::with_capacity(length);
            own.extend_from_slice(self);
            self.bytes = Bytes::Own(own);
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Own(own) => own,
            Bytes::Lent { memory, length } => &memory.bytes()[..*length],
        }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.bytes {
            Bytes::Own(own) => own,
            Bytes::Lent { memory, length } => &mut memory.bytes_mut()[..*length],
        }
    }
}

/// A copy has memory of its own.
impl Clone for Block {
    fn clone(&self) -> Block {
        let mut own = Own::with_capacity(self.len());
        own.extend_from_slice(self);
        Block { bytes: Bytes::Own(own) }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not aligned, which a block does not ask about.
    struct Shelf(Vec<u8>);

    impl Memory for Shelf {
        fn bytes(&self) -> &[u8] {
            &self.0
        }

        fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    #[test]
    fn lent_memory_holds_what_own_memory_holds_and_is_left_when_it_is_too_short() {
        let mut lent = Block::lent(Box::new(Shelf(vec![9; 64])));
        let mut own = Block::new();
        for block in [&mut lent, &mut own] {
            block.resize(8, 1);
            block.extend_from_slice(&[2; 8]);
            block.resize(12, 0);
            block.resize(14, 3);
            block[0] = 7;
        }
        assert_eq!(lent[..], own[..]);
        assert_eq!(lent[..], [7, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
        assert_eq!(lent.capacity(), 64);
        lent.reserve(50);
        assert_eq!(lent.capacity(), 64, "it just fits");
        lent.extend_from_slice(&[4; 51]);
        assert!(lent.capacity() >= 65, "moved");
        assert_eq!((lent.len(), lent[13], lent[64]), (65, 3, 4));
        lent.clear();
        assert!(lent.is_empty());
    }
}
