//! Quality as the OPC UA StatusCode (OPC 10000-4, 7.39), for every protocol.

use std::fmt;

/// A 32-bit OPC UA StatusCode. The two top bits are the severity: 00 good, 01 uncertain, 10 bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quality(pub u32);

/// Code and symbolic name, as OPC 10000-6 annex A.2 lists them. The only list of them here.
const NAMES: &[(u32, &str)] = &[
    (0x0000_0000, "Good"),
    (0x002F_0000, "GoodOverload"),
    (0x4000_0000, "Uncertain"),
    (0x4090_0000, "UncertainLastUsableValue"),
    (0x8000_0000, "Bad"),
    (0x8002_0000, "BadInternalError"),
    (0x8005_0000, "BadCommunicationError"),
    (0x8007_0000, "BadDecodingError"),
    (0x800A_0000, "BadTimeout"),
    (0x800B_0000, "BadServiceUnsupported"),
    (0x800D_0000, "BadServerNotConnected"),
    (0x8010_0000, "BadTooManyOperations"),
    (0x8031_0000, "BadNoCommunication"),
    (0x8032_0000, "BadWaitingForInitialData"),
    (0x8033_0000, "BadNodeIdInvalid"),
    (0x8034_0000, "BadNodeIdUnknown"),
    (0x803C_0000, "BadOutOfRange"),
    (0x803D_0000, "BadNotSupported"),
    (0x8074_0000, "BadTypeMismatch"),
    (0x808A_0000, "BadNotConnected"),
    (0x808B_0000, "BadDeviceFailure"),
    (0x808C_0000, "BadSensorFailure"),
    (0x808D_0000, "BadOutOfService"),
    (0x8004_0000, "BadResourceUnavailable"),
];

impl Quality {
    /// The value is what the device says it is.
    pub const GOOD: Quality = Quality(0x0000_0000);
    /// Last usable value; whatever was updating it has stopped.
    pub const UNCERTAIN_LAST_USABLE: Quality = Quality(0x4090_0000);
    /// Bad, for no more specific reason.
    pub const BAD: Quality = Quality(0x8000_0000);
    /// No value was ever received.
    pub const BAD_WAITING: Quality = Quality(0x8032_0000);
    /// Communication with the device is not established.
    pub const BAD_NO_COMMUNICATION: Quality = Quality(0x8031_0000);
    /// The device did not answer in time.
    pub const BAD_TIMEOUT: Quality = Quality(0x800A_0000);
    /// The device answered what cannot be understood.
    pub const BAD_DECODING: Quality = Quality(0x8007_0000);
    /// The device reports a failure of itself.
    pub const BAD_DEVICE_FAILURE: Quality = Quality(0x808B_0000);
    /// The address or node does not exist in the device.
    pub const BAD_NODE_ID_UNKNOWN: Quality = Quality(0x8034_0000);
    /// The value lies outside its range, or the device says so.
    pub const BAD_OUT_OF_RANGE: Quality = Quality(0x803C_0000);
    /// The device does not support the operation.
    pub const BAD_NOT_SUPPORTED: Quality = Quality(0x803D_0000);
    /// The device is busy; try again later.
    pub const BAD_RESOURCE_UNAVAILABLE: Quality = Quality(0x8004_0000);
    /// The value's type is not the tag's.
    pub const BAD_TYPE_MISMATCH: Quality = Quality(0x8074_0000);

    /// Severity bits 00.
    #[must_use]
    #[inline]
    pub const fn is_good(self) -> bool {
        self.0 >> 30 == 0
    }

    /// Severity bits 10 or 11.
    #[must_use]
    #[inline]
    pub const fn is_bad(self) -> bool {
        self.0 >> 31 == 1
    }

    /// Severity bits 01.
    #[must_use]
    #[inline]
    pub const fn is_uncertain(self) -> bool {
        self.0 >> 30 == 1
    }

    /// The overflow bit with its DataValue info type (OPC 10000-4, 7.39.1: 0x480): the server's
    /// queue for this item lost values.
    #[must_use]
    pub const fn overflowed(self) -> bool {
        self.0 & 0x480 == 0x480
    }

    /// This code without its info bits (the low 16).
    #[must_use]
    pub const fn code(self) -> Quality {
        Quality(self.0 & 0xFFFF_0000)
    }
}

impl fmt::Display for Quality {
    /// The symbolic name where it is known, else severity and code, e.g. `Bad(0x80AB0000)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(code, _)| *code == self.code().0) {
            Some((_, name)) => f.write_str(name),
            None => {
                let severity = if self.is_good() {
                    "Good"
                } else if self.is_uncertain() {
                    "Uncertain"
                } else {
                    "Bad"
                };
                write!(f, "{severity}({:#010X})", self.0)
            }
        }
    }
}

impl Quality {
    /// Reads what [`Display`](fmt::Display) writes: a symbolic name, or a code as `0x80AB0000` or decimal.
    #[must_use]
    pub fn parse(text: &str) -> Option<Quality> {
        if let Some((code, _)) = NAMES.iter().find(|(_, name)| *name == text) {
            return Some(Quality(*code));
        }
        let digits = text.rsplit_once('(').map_or(text, |(_, rest)| rest.trim_end_matches(')'));
        match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok().map(Quality),
            None => digits.parse().ok().map(Quality),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_the_top_two_bits() {
        assert!(Quality::GOOD.is_good() && !Quality::GOOD.is_bad());
        assert!(Quality::UNCERTAIN_LAST_USABLE.is_uncertain());
        assert!(Quality::BAD_TIMEOUT.is_bad());
    }

    #[test]
    fn every_name_reads_back_and_none_stands_twice() {
        for (i, (code, name)) in NAMES.iter().enumerate() {
            assert_eq!(Quality::parse(name), Some(Quality(*code)));
            assert_eq!(Quality(*code).to_string(), *name);
            assert!(NAMES[..i].iter().all(|(c, n)| c != code && n != name));
        }
        assert_eq!(Quality::parse(&Quality(0x80AB_0000).to_string()), Some(Quality(0x80AB_0000)));
    }

    #[test]
    fn overflow_needs_both_info_bits() {
        assert!(Quality(0x0000_0480).overflowed());
        assert!(!Quality(0x0000_0080).overflowed());
        assert_eq!(Quality(0x0000_0480).to_string(), "Good");
    }
}
