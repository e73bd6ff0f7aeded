//! How numbers lie in 16-bit registers, and which reads a register space allows.
//!
//! Word orders are named as engineers name them: for a value with the bytes A (most
//! significant) to D, `ABCD` sends the high word first, `CDAB` the low word first. Bytes within
//! a register are always big-endian (Modbus Application Protocol 1.1b3, section 4.2).

use tokio_modbus::ExceptionCode;

/// Most registers that one read may ask for (Modbus Application Protocol 1.1b3, 6.3 and 6.4).
const READ_REGISTERS_MAX: u16 = 125;

/// A register space that begins at 0 and answers zero where nothing is mapped.
#[derive(Debug)]
pub(crate) struct Registers<const COUNT: usize>([u16; COUNT]);

impl<const COUNT: usize> Registers<COUNT> {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self([0; COUNT])
    }

    /// One register; an address outside the space is ignored.
    pub(crate) fn put(&mut self, at: usize, value: u16) {
        if let Some(register) = self.0.get_mut(at) {
            *register = value;
        }
    }

    /// Two registers, high word first (ABCD).
    pub(crate) fn put_f32_abcd(&mut self, at: usize, value: f32) {
        let [high, low] = words(value.to_bits());
        self.put(at, high);
        self.put(at + 1, low);
    }

    /// Two registers, low word first (CDAB).
    pub(crate) fn put_f32_cdab(&mut self, at: usize, value: f32) {
        self.put_u32_cdab(at, value.to_bits());
    }

    /// Two registers, low word first (CDAB).
    pub(crate) fn put_u32_cdab(&mut self, at: usize, value: u32) {
        let [high, low] = words(value);
        self.put(at, low);
        self.put(at + 1, high);
    }

    /// Four registers, most significant word first.
    pub(crate) fn put_f64(&mut self, at: usize, value: f64) {
        for (index, pair) in value.to_be_bytes().chunks_exact(2).enumerate() {
            self.put(at + index, u16::from_be_bytes([pair[0], pair[1]]));
        }
    }

    /// The registers that a read asks for.
    pub(crate) fn read(&self, address: u16, count: u16) -> Result<Vec<u16>, ExceptionCode> {
        check_read(address, count, COUNT)?;
        let start = usize::from(address);
        Ok(self.0[start..start + usize::from(count)].to_vec())
    }
}

/// Whether `count` registers from `address` may be read of a space of `space` registers.
pub(crate) fn check_read(address: u16, count: u16, space: usize) -> Result<(), ExceptionCode> {
    if count == 0 || count > READ_REGISTERS_MAX {
        return Err(ExceptionCode::IllegalDataValue);
    }
    if usize::from(address) + usize::from(count) > space {
        return Err(ExceptionCode::IllegalDataAddress);
    }
    Ok(())
}

/// A 32-bit float from two registers, high word first (ABCD).
pub(crate) fn f32_abcd(high: u16, low: u16) -> f32 {
    f32::from_bits(u32::from(high) << 16 | u32::from(low))
}

fn words(bits: u32) -> [u16; 2] {
    let [a, b, c, d] = bits.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

#[cfg(test)]
mod tests {
    use super::{Registers, f32_abcd};
    use tokio_modbus::ExceptionCode;

    #[test]
    fn word_orders_are_what_their_letters_say() {
        let mut registers = Registers::<16>::new();
        registers.put_f32_abcd(0, f32::from_bits(0x4142_4344));
        registers.put_f32_cdab(2, f32::from_bits(0x4142_4344));
        registers.put_u32_cdab(4, 0x0102_0304);
        registers.put_f64(6, f64::from_bits(0x4001_0203_0405_0607));
        let read = registers.read(0, 10).expect("inside the space");
        assert_eq!(read[..2], [0x4142, 0x4344]);
        assert_eq!(read[2..4], [0x4344, 0x4142]);
        assert_eq!(read[4..6], [0x0304, 0x0102]);
        assert_eq!(read[6..], [0x4001, 0x0203, 0x0405, 0x0607]);
        assert_eq!(f32_abcd(read[0], read[1]).to_bits(), 0x4142_4344);
    }

    #[test]
    fn reads_are_bounded_by_the_space_and_the_standard() {
        let registers = Registers::<16>::new();
        assert_eq!(registers.read(15, 1), Ok(vec![0]));
        assert_eq!(registers.read(15, 2), Err(ExceptionCode::IllegalDataAddress));
        assert_eq!(registers.read(0, 0), Err(ExceptionCode::IllegalDataValue));
        assert_eq!(registers.read(0, 126), Err(ExceptionCode::IllegalDataValue));
        assert_eq!(registers.read(65_535, 125), Err(ExceptionCode::IllegalDataAddress));
    }
}
