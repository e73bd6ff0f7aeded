//! CRC-32C, the checksum of frames and of the log.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4) over several pieces as if they were one.
#[must_use]
pub fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    pieces.iter().for_each(|piece| digest.update(piece));
    digest.finalize() as u32
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
        }
    }
}
