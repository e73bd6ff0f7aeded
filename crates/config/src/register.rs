//! Addresses of Modbus data: area, number, and a bit of a register.
//!
//! Two notations are taken and both are given back, because mixing them up by one is the field's
//! commonest mistake: the protocol's own (`holding:0`, from 0) and the reference number printed in
//! device manuals (`40001`, from 1). Data model: *Modbus Application Protocol V1.1b3*, 4.3 and 4.4.

use std::fmt;
use std::str::FromStr;

use crate::problem::Invalid;

/// One of Modbus's four tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// Bits that can be read and written: function codes 1, 5, 15.
    Coil,
    /// Bits that can be read: function code 2.
    DiscreteInput,
    /// Registers that can be read: function code 4.
    InputRegister,
    /// Registers that can be read and written: function codes 3, 6, 16.
    HoldingRegister,
}

impl Area {
    /// The word that stands for it in `at`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::DiscreteInput => "discrete",
            Self::InputRegister => "input",
            Self::HoldingRegister => "holding",
        }
    }

    /// The leading digit of its reference numbers.
    fn digit(self) -> u32 {
        match self {
            Self::Coil => 0,
            Self::DiscreteInput => 1,
            Self::InputRegister => 3,
            Self::HoldingRegister => 4,
        }
    }

    /// Does it hold 16-bit registers (and not bits)?
    #[must_use]
    pub fn is_registers(self) -> bool {
        matches!(self, Self::InputRegister | Self::HoldingRegister)
    }
}

/// Where a value begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegisterAddress {
    /// The table.
    pub area: Area,
    /// Protocol address, from 0.
    pub address: u16,
    /// Bit of a register, 0 (least significant) to 15.
    pub bit: Option<u8>,
}

/// What would be right, for every message about an address.
const RIGHT: &str = "write \"holding:0\", \"input:10\", \"coil:0\", \"discrete:3\" (from 0), \"holding:30.3\" for a bit, or a reference number such as \"40001\"";

impl RegisterAddress {
    /// The reference number of device manuals: five digits, or six where five do not reach.
    #[must_use]
    pub fn reference(&self) -> String {
        let number = u32::from(self.address) + 1;
        let digit = self.area.digit();
        let mut text = if number <= 9_999 { format!("{digit}{number:04}") } else { format!("{digit}{number:05}") };
        if let Some(bit) = self.bit {
            text.push_str(&format!(".{bit}"));
        }
        text
    }

    /// Both notations: `holding:0 (40001)`.
    #[must_use]
    pub fn register(&self) -> String {
        self.to_string()
    }

    fn from_words(word: &str, number: &str, whole: &str) -> Result<Self, Invalid> {
        let area = match word {
            "coil" => Area::Coil,
            "discrete" => Area::DiscreteInput,
            "input" => Area::InputRegister,
            "holding" => Area::HoldingRegister,
            _ => {
                return Err(Invalid::new(
                    format!("{word:?} in {whole:?} is none of holding, input, coil, discrete"),
                    RIGHT,
                ));
            }
        };
        let address = digits(number)
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| Invalid::new(format!("address {number:?} in {whole:?} is not 0 to 65535"), RIGHT))?;
        Ok(Self { area, address, bit: None })
    }

    fn from_reference(number: &str, whole: &str) -> Result<Self, Invalid> {
        let bad = |what: String| Invalid::new(what, RIGHT);
        if !(number.len() == 5 || number.len() == 6) || digits(number).is_none() {
            return Err(bad(format!("{whole:?} is neither area:address nor a reference number of 5 or 6 digits")));
        }
        let (digit, rest) = number.split_at(1);
        let area = match digit {
            "0" => Area::Coil,
            "1" => Area::DiscreteInput,
            "3" => Area::InputRegister,
            "4" => Area::HoldingRegister,
            _ => return Err(bad(format!("no reference number begins with {digit} ({whole:?})"))),
        };
        let address =
            digits(rest).and_then(|n| n.checked_sub(1)).and_then(|n| u16::try_from(n).ok()).ok_or_else(|| {
                bad(format!(
                    "reference number {whole:?} is not {digit}{:0>1$} to {digit}{2}",
                    1,
                    number.len() - 1,
                    if number.len() == 5 { "9999" } else { "65536" }
                ))
            })?;
        Ok(Self { area, address, bit: None })
    }
}

/// A number of digits only: no sign, no space.
fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

impl FromStr for RegisterAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (main, bit) = match text.split_once('.') {
            Some((main, bit)) => (main, Some(bit)),
            None => (text, None),
        };
        let mut at = match main.split_once(':') {
            Some((word, number)) => Self::from_words(word, number, text)?,
            None => Self::from_reference(main, text)?,
        };
        if let Some(bit) = bit {
            if !at.area.is_registers() {
                return Err(Invalid::new(
                    format!("{text:?} names a bit of a {}, which is a bit itself", at.area.word()),
                    format!("write \"{}:{}\"", at.area.word(), at.address),
                ));
            }
            let number = digits(bit).and_then(|n| u8::try_from(n).ok()).filter(|n| *n <= 15);
            at.bit = Some(number.ok_or_else(|| {
                Invalid::new(
                    format!("bit {bit:?} in {text:?} is not 0 to 15"),
                    "a register has bits 0 (least significant) to 15, for instance \"holding:30.3\"",
                )
            })?);
        }
        Ok(at)
    }
}

impl fmt::Display for RegisterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.area.word(), self.address)?;
        if let Some(bit) = self.bit {
            write!(f, ".{bit}")?;
        }
        write!(f, " ({})", self.reference())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> RegisterAddress {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn both_notations_name_the_same_register() {
        assert_eq!(at("holding:0"), at("40001"));
        assert_eq!(at("40001"), at("400001"));
        assert_eq!(at("input:10"), at("30011"));
        assert_eq!(at("coil:0"), at("00001"));
        assert_eq!(at("discrete:0"), at("10001"));
        assert_eq!(at("holding:65535"), at("465536"));
        assert_eq!(at("holding:30.3").bit, Some(3));
        assert_eq!(at("40031.3"), at("holding:30.3"));
    }

    #[test]
    fn both_notations_are_given_back() {
        assert_eq!(at("holding:0").to_string(), "holding:0 (40001)");
        assert_eq!(at("holding:30.3").to_string(), "holding:30.3 (40031.3)");
        assert_eq!(at("input:9999").register(), "input:9999 (310000)");
        assert_eq!(at("coil:7").reference(), "00008");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in [
            "",
            "holding",
            "holding:",
            "holding:-1",
            "holding:+1",
            "holding:65536",
            "hold:1",
            "40000",
            "400000",
            "465537",
            "50001",
            "4001",
            "4000001",
            "coil:0.3",
            "holding:1.16",
            "holding:1.",
            "holding:1.x",
            "holding: 1",
            "00000",
            "holding:1.3.4",
            "４0001",
        ] {
            assert!(wrong.parse::<RegisterAddress>().is_err(), "{wrong:?}");
        }
    }
}
