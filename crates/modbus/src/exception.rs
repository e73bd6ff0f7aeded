//! Exception codes and failures as qualities, gap reasons and words.
//!
//! Standards: *Modbus Application Protocol V1.1b3*, section 7 (exception codes); OPC 10000-4,
//! 7.39 and OPC 10000-8 (status codes).
//!
//! Invariants
//! - X1: every exception code, known or not, has a quality that is not good.

use model::{GapReason, Quality};

/// A value whose worth is not known (OPC 10000-4, 7.39): the device is still at work, or the value
/// is not a number.
pub const UNCERTAIN: Quality = Quality(0x4000_0000);
/// The value lies outside the tag's configured range and is kept as it is
/// (UncertainEngineeringUnitsExceeded, OPC 10000-8).
pub const UNCERTAIN_UNITS_EXCEEDED: Quality = Quality(0x4094_0000);

/// Why a poll brought no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer within the timeout.
    Timeout,
    /// The unit was demoted after timeouts and is only probed.
    Demoted,
    /// There is no connection.
    NotConnected,
    /// The device answered with an exception code.
    Exception(u8),
    /// No request can read the tag: longer than the configured or allowed block, or past 65535.
    Unreadable,
}

impl Failure {
    /// The quality of tags that this failure leaves without a value.
    #[must_use]
    pub const fn quality(self) -> Quality {
        match self {
            Failure::Timeout => Quality::BAD_TIMEOUT,
            Failure::Demoted | Failure::NotConnected | Failure::Exception(0x0A | 0x0B) => Quality::BAD_NO_COMMUNICATION,
            Failure::Exception(0x01) | Failure::Unreadable => Quality::BAD_NOT_SUPPORTED,
            Failure::Exception(0x02) => Quality::BAD_NODE_ID_UNKNOWN,
            Failure::Exception(0x03) => Quality::BAD_OUT_OF_RANGE,
            Failure::Exception(0x04) => Quality::BAD_DEVICE_FAILURE,
            Failure::Exception(0x05) => UNCERTAIN,
            Failure::Exception(0x06) => Quality::BAD_RESOURCE_UNAVAILABLE,
            Failure::Exception(_) => Quality::BAD,
        }
    }

    /// The reason of the gap that it makes.
    #[must_use]
    pub const fn gap(self) -> GapReason {
        match self {
            Failure::Timeout | Failure::Demoted => GapReason::Timeout,
            Failure::NotConnected => GapReason::NotConnected,
            Failure::Exception(_) => GapReason::DeviceError,
            Failure::Unreadable => GapReason::Unreadable,
        }
    }

    /// Whether asking the same again soon is useless: the device does not know the function, the
    /// address or the length.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Failure::Exception(0x01..=0x03))
    }

    /// Whether a gateway says that the unit behind it is not there.
    #[must_use]
    pub const fn is_gateway(self) -> bool {
        matches!(self, Failure::Exception(0x0A | 0x0B))
    }
}

/// What an exception code means and what to look at, in a sentence without a full stop.
#[must_use]
pub const fn exception_text(code: u8) -> &'static str {
    match code {
        0x01 => "exception 01, illegal function: the device does not offer this area; check the area in its manual",
        0x02 => "exception 02, illegal data address: the device has no such address; check it in its manual",
        0x03 => "exception 03, illegal data value: the device does not take this length; try a smaller max_registers",
        0x04 => "exception 04, device failure: the device reports a fault of its own; look at the device",
        0x05 => "exception 05, acknowledge: the device is still at work on the request; it is asked again",
        0x06 => "exception 06, device busy: it is asked again; poll less often if this lasts",
        0x08 => "exception 08, memory parity error: the device reports a fault of its memory; have it serviced",
        0x0A => "exception 0A, gateway path unavailable: the gateway has no way to this unit; check its configuration",
        0x0B => {
            "exception 0B, gateway target silent: the unit behind the gateway does not answer; check its power, wiring and unit id"
        }
        _ => "an exception code that the standard does not name; see the device's manual",
    }
}

/// An exception code as the answer to a command: the standard's name and what to look at.
#[must_use]
pub const fn command_exception(code: u8) -> &'static str {
    match code {
        0x01 => "illegal function: the device does not offer this; look in its manual how it is written",
        0x02 => "illegal data address: the device has no such address, or does not let it be written; check its manual",
        0x03 => "illegal data value: the device does not take this value; check the limits in its manual",
        0x04 => "server device failure: the device failed while it carried this out; look at the device",
        0x05 => "acknowledge: the device took it and is still at work on it; read it back later",
        0x06 => "server device busy: the device did not take it; try again in a moment",
        0x08 => "memory parity error: the device reports a fault of its memory; have it serviced",
        0x0A => "gateway path unavailable: the gateway has no way to this unit; check its configuration",
        0x0B => {
            "gateway target device failed to respond: the unit may have taken it or not; check its power and wiring, and read it back"
        }
        _ => "an exception code that the standard does not name; see the device's manual",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_quality_and_none_is_good() {
        for (code, quality) in [
            (0x01, Quality::BAD_NOT_SUPPORTED),
            (0x02, Quality::BAD_NODE_ID_UNKNOWN),
            (0x03, Quality::BAD_OUT_OF_RANGE),
            (0x04, Quality::BAD_DEVICE_FAILURE),
            (0x05, UNCERTAIN),
            (0x06, Quality::BAD_RESOURCE_UNAVAILABLE),
            (0x08, Quality::BAD),
            (0x0A, Quality::BAD_NO_COMMUNICATION),
            (0x0B, Quality::BAD_NO_COMMUNICATION),
            (0x42, Quality::BAD),
        ] {
            assert_eq!(Failure::Exception(code).quality(), quality, "{code:#04X}");
        }
        for code in 0..=255 {
            assert!(!Failure::Exception(code).quality().is_good());
            assert!(!exception_text(code).is_empty() && !command_exception(code).is_empty());
        }
        assert!(Failure::Exception(2).is_lasting() && !Failure::Exception(6).is_lasting());
    }
}
