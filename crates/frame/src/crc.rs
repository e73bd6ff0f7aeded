//! CRC-32C, the checksum of frames and of the log.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) over several pieces as if they were one.
#[must_use]
pub fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finalize() as u32
}

/// The CRC32C of bytes that come one after the other.
#[derive(Clone, Debug)]
pub struct Crc32c(Digest);

impl Default for Crc32c {
    fn default() -> Crc32c {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

/// The CRC32C of two runs of bytes behind each other, from their own and the length of the second in bytes.
#[must_use]
pub fn crc32c_joined(first: u32, second: u32, second_bytes: u64) -> u32 {
    checksum_combine(CrcAlgorithm::Crc32Iscsi, u64::from(first), u64::from(second), second_bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 3720, appendix B.4.
    #[test]
    fn it_is_the_one_of_the_rfc_however_it_is_cut() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, crc) in [(vec![0; 32], 0x8a91_36aa), (vec![0xff; 32], 0x62a8_ab43), (ascending, 0x46dd_794e)] {
            for cut in 0..=bytes.len() {
                assert_eq!(crc32c(&[&bytes[..cut], &bytes[cut..]]), crc, "cut at {cut}");
            }
        }
        let long: Vec<u8> = (0..70_000_u32).map(|n| (n * 31) as u8).collect();
        let whole = crc32c(&[&long]);
        for cut in [1, 15, 16, 63, 64, 255, 256, 1024, 4096, 65_535] {
            assert_eq!(crc32c(&[&long[..cut], &[], &long[cut..]]), whole, "cut at {cut}");
            let (first, second) = (crc32c(&[&long[..cut]]), crc32c(&[&long[cut..]]));
            assert_eq!(crc32c_joined(first, second, (long.len() - cut) as u64), whole, "joined at {cut}");
            let mut running = Crc32c::default();
            running.update(&long[..cut]);
            assert_eq!(running.value(), first, "running to {cut}");
            running.update(&long[cut..]);
            assert_eq!(running.value(), whole, "running over {cut}");
        }
    }
}
