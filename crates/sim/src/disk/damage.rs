//! What happens to bytes that lie on a disk.

use super::SimDisk;
use env::disk::FileNumber;

impl SimDisk {
    /// Rot: changes bits of one stored byte. Answers whether the byte is there.
    pub fn flip(&mut self, file: FileNumber, offset: u64, mask: u8) -> bool {
        let Some(file) = self.files.get_mut(&file) else { return false };
        let at = offset as usize;
        for copy in [&mut file.cache, &mut file.disk] {
            if let Some(byte) = copy.get_mut(at) {
                *byte ^= mask;
            }
        }
        at < file.cache.len()
    }

    /// A misdirected write, or a stale block: the bytes of one place stand in another.
    /// Answers whether anything changed.
    pub fn misdirect(&mut self, from: (FileNumber, u64), to: (FileNumber, u64), bytes: usize) -> bool {
        let (at, into) = (from.1 as usize, to.1 as usize);
        let Some(source) = self.files.get(&from.0).map(|file| &file.cache) else { return false };
        let block = source[at.min(source.len())..(at + bytes).min(source.len())].to_vec();
        let Some(file) = self.files.get_mut(&to.0) else { return false };
        let before = file.cache.clone();
        for copy in [&mut file.cache, &mut file.disk] {
            let room = copy.len().saturating_sub(into).min(block.len());
            copy[into.min(before.len())..][..room].copy_from_slice(&block[..room]);
        }
        before != file.cache
    }

    /// From now on these bytes cannot be read.
    pub fn spoil(&mut self, file: FileNumber, from: u64, to: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.unreadable.push((from, to));
        }
    }

    /// A file vanishes, durably, without anyone having asked for it. Answers whether it was there.
    pub fn lose(&mut self, file: FileNumber) -> bool {
        self.files.remove(&file).is_some()
    }

    /// Cuts a file without anyone having asked for it.
    pub fn shorten(&mut self, file: FileNumber, length: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.truncate(length as usize);
        }
    }
}
