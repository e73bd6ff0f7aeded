//! Exact decimal numbers for sums of money and quantities.
//!
//! Invariants
//! - X1: a value is `units / 10^scale`, without trailing zeros in its scale, so equal values are
//!   equal in both.
//! - X2: nothing is ever rounded: what does not fit is `None`, and the caller falls back.

use std::{fmt, str::FromStr};

/// Most digits behind the point. With 38 digits in all, sums of amounts of everyday size fit
/// whatever their scale.
const SCALE_MAX: u32 = 30;
/// Longest text read, in bytes: the digits that fit, and a sign, a point, an exponent.
const TEXT_BYTES_MAX: usize = 64;

/// A decimal number: `units / 10^scale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    /// Nothing.
    pub const ZERO: Decimal = Decimal { units: 0, scale: 0 };

    /// Reads `-12.50`, `7`, `1.5e-7`: the number syntax of JSON (RFC 8259, 6), where leading zeros
    /// are taken, too. `None` where it is none, or where it does not fit 38 digits with at most 30
    /// of them behind the point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, mantissa),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
            None => (digits, ""),
        };
        if whole.is_empty() || !mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') {
            return None;
        }
        let mut units = 0_i128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let digit = i128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
            units = units.checked_mul(10)?.checked_add(digit)?;
        }
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let value = Decimal { units: if negative { -units } else { units }, scale: 0 };
        if units == 0 {
            return Some(Decimal::ZERO);
        }
        if scale < 0 {
            let factor = 10_i128.checked_pow(scale.unsigned_abs())?;
            return Some(Decimal { units: value.units.checked_mul(factor)?, scale: 0 });
        }
        Decimal { scale: scale.unsigned_abs(), ..value }.trimmed()
    }

    /// The sum; `None` where it does not fit.
    #[must_use]
    pub fn plus(self, other: Decimal) -> Option<Decimal> {
        let scale = self.scale.max(other.scale);
        let units = self.units_at(scale)?.checked_add(other.units_at(scale)?)?;
        Decimal { units, scale }.trimmed()
    }

    /// The nearest binary64.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        // the text is exact, and reading it rounds once
        f64::from_str(&self.to_string()).unwrap_or(f64::NAN)
    }

    fn units_at(self, scale: u32) -> Option<i128> {
        self.units.checked_mul(10_i128.checked_pow(scale - self.scale)?)
    }

    fn trimmed(mut self) -> Option<Decimal> {
        while self.scale > 0 && self.units % 10 == 0 {
            self.units /= 10;
            self.scale -= 1;
        }
        (self.scale <= SCALE_MAX).then_some(self)
    }
}

impl fmt::Display for Decimal {
    /// Plain digits without exponent, `-0.05`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, scale) = (self.units.unsigned_abs().to_string(), self.scale as usize);
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.units < 0 { "-" } else { "" };
        match fraction {
            "" => write!(f, "{sign}{whole}"),
            fraction => write!(f, "{sign}{whole}.{fraction}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Option<String> {
        Decimal::parse(text).map(|decimal| decimal.to_string())
    }

    #[test]
    fn texts_are_read_exactly_or_not_at_all() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("007", "7"),
            ("12.50", "12.5"),
            ("-0.05", "-0.05"),
            ("1.5e-7", "0.00000015"),
            ("1e21", "1000000000000000000000"),
            ("2.5E2", "250"),
            ("1e-30", "0.000000000000000000000000000001"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
            ("0e999999", "0"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        let too_many = "9".repeat(40);
        for none in [
            "", "-", ".", ".5", "5.", "1..2", "1.2.3", "--1", "1-2", "+1", "1e", "1e1.5", "e5", "0x10", "NaN", "inf",
            " 1", "1 ", "1,5", "٣", "1e-31", "1e39", "5e-324", &too_many,
        ] {
            assert_eq!(shown(none), None, "{none}");
        }
    }

    #[test]
    fn tenths_add_up() {
        let sum = |texts: &[&str]| {
            texts.iter().try_fold(Decimal::ZERO, |sum, text| sum.plus(Decimal::parse(text)?)).map(|sum| sum.to_string())
        };
        assert_eq!(sum(&["0.1", "0.2"]).as_deref(), Some("0.3"));
        assert_eq!(sum(&["1.5", "1.5"]).as_deref(), Some("3"));
        assert_eq!(sum(&["0.1"; 1000]).as_deref(), Some("100"));
        assert_eq!(sum(&["1e30", "1e-30"]), None);
        assert_eq!(sum(&["99999999999999999999999999999999999999", "99999999999999999999999999999999999999"]), None);
        assert_eq!(Decimal::parse("0.3").map(Decimal::to_f64), Some(0.3));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(units in any::<i64>(), scale in 0..18_u32) {
            let text = Decimal { units: i128::from(units), scale }.trimmed().expect("fits").to_string();
            let back = Decimal::parse(&text).expect("own text");
            prop_assert_eq!(back.units_at(18), Some(i128::from(units) * 10_i128.pow(18 - scale)));
            prop_assert_eq!(back.to_string(), text);
        }

        #[test]
        fn no_text_panics(text in "[-+.eE0-9]{0,70}") {
            if let Some(decimal) = Decimal::parse(&text) {
                let float: f64 = text.parse().expect("a decimal is a number");
                prop_assert!((decimal.to_f64() - float).abs() <= float.abs() * 1e-15);
            }
        }
    }
}
