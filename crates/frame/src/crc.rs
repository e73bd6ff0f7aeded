//! CRC-32C, the checksum of frames and of the log.

use crc_fast::{CrcAlgorithm, Digest};

/// The polynomial of CRC-32C (RFC 3720, section 12.1) without its highest term, the lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// 1 and x in that order of bits.
const ONE: u32 = 1 << 31;
const X: u32 = 1 << 30;
/// Bits of a number of bytes, as a number of bits.
const LENGTH_BITS: usize = 64 + 3;
/// x to the power of 2 to the power of the index, modulo the polynomial.
const POWERS: [u32; LENGTH_BITS] = {
    let mut powers = [X; LENGTH_BITS];
    let mut n = 1;
    while n < LENGTH_BITS {
        powers[n] = times(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
};

/// The product of two polynomials over GF(2), modulo that of CRC-32C.
const fn times(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
        bit >>= 1;
    }
    product
}

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
///
/// What the first adds to the remainder is shifted by the bits of the second, which is a multiplication by a power
/// of x: at most 64 products whatever the length, where matrices of the shift would be squared anew each time (M.
/// Adler, `crc32_combine` of zlib 1.2.12).
#[must_use]
pub fn crc32c_joined(first: u32, second: u32, second_bytes: u64) -> u32 {
    let powers = (0..64).filter(|n| second_bytes >> n & 1 != 0).map(|n| POWERS[n + 3]);
    times(powers.fold(ONE, times), first) ^ second
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

    #[test]
    fn joining_adds_up_and_agrees_with_the_library_for_every_length() {
        let (first, second) = (0x8a91_36aa, 0x46dd_794e);
        for bit in 0..64 {
            for length in [1_u64 << bit, (1 << bit) - 1, 0x9e37_79b9_7f4a_7c15 >> bit] {
                let library =
                    crc_fast::checksum_combine(CrcAlgorithm::Crc32Iscsi, u64::from(first), u64::from(second), length);
                assert_eq!(u64::from(crc32c_joined(first, second, length)), library, "{length} bytes");
            }
        }
        assert_eq!(crc32c_joined(first, 0, 0), first, "nothing behind it changes nothing");
    }
}
