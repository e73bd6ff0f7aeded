//! Runtime types of a Modbus TCP source.
//!
//! Terms and limits are those of the *Modbus Application Protocol Specification V1.1b3*.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::problem::Invalid;
use crate::{Area, RegisterAddress};

/// A Modbus TCP device, or a gateway with several units behind one address.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusSource {
    /// Where it listens.
    pub address: ModbusAddress,
    /// The units that are polled, each with every tag of the source. Never empty.
    pub units: Vec<ModbusUnit>,
    /// Time between two polls of a tag. Default 1 s, at least 1 ms.
    pub every: Duration,
    /// Deadline of one request. Default 1 s.
    pub timeout: Duration,
    /// Requests that are under way at once, 1 to 16. `None`: found out for the device, from 1 up to
    /// `depth_max`, because many devices lose or reorder pipelined requests.
    pub depth: Option<u8>,
    /// Most requests under way at once where that is found out. Default 16.
    pub depth_max: u8,
    /// Unused registers that may be read along to join two tags into one request. `None`: what the
    /// device's measured costs make worth it, 16 while they are not known.
    pub coalesce_gap: Option<u16>,
    /// Most registers of one read; the protocol allows 125 (V1.1b3, 6.3).
    pub max_registers: u16,
    /// Most bits of one read; the protocol allows 2000 (V1.1b3, 6.1).
    pub max_bits: u16,
    /// Wait after connecting before the first request. Default 0.
    pub connect_delay: Duration,
    /// Wait between an answer and the next request. Default 0.
    pub request_delay: Duration,
    /// Tries again after exception 06, server device busy (V1.1b3, 7). Default 2.
    pub busy_retries: u8,
    /// Timeouts in a row after which a unit is demoted: probed instead of polled. Default 3.
    pub demote_after: u8,
    /// First time of demotion; it doubles up to `demote_max`. Default 10 s.
    pub demote_for: Duration,
    /// Longest time between two probes of a demoted unit. Default 5 min.
    pub demote_max: Duration,
    /// The tags, in file order.
    pub tags: Vec<ModbusTag>,
}

/// Host and port of a Modbus TCP device: `tcp://host:port`, port 502 when left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusAddress {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
}

/// One unit behind an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusUnit {
    /// Unit identifier, 1 to 255; 0 is broadcast and has no answer.
    pub unit_id: u8,
    /// Path segment between the source's path and its tags; `None` for a source with one unit.
    pub name: Option<String>,
}

/// One tag of a Modbus source. Read for every unit of the source.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusTag {
    /// Name below the source's (and unit's) path.
    pub name: String,
    /// First register or bit.
    pub at: RegisterAddress,
    /// What the registers hold.
    pub kind: RegisterType,
    /// Order of the bytes within the registers. Default ABCD.
    pub order: WordOrder,
    /// The value is raw × scale + offset. Default 1.
    pub scale: f64,
    /// See `scale`. Default 0.
    pub offset: f64,
    /// Engineering unit, as text for people.
    pub unit: Option<String>,
    /// Lowest and highest plausible value after scaling; a value outside is kept with an
    /// uncertain quality.
    pub range: Option<[f64; 2]>,
    /// A change of less than this from the last stored value is not stored. Default 0: every value
    /// is stored.
    pub deadband: f64,
    /// A value within the deadband is stored again after this. Default 1 min.
    pub heartbeat: Duration,
    /// Poll interval of this tag where it differs from the source's.
    pub every: Option<Duration>,
}

/// What a tag's registers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterType {
    /// A coil, a discrete input, or one bit of a register.
    Bool,
    /// One register, unsigned.
    U16,
    /// One register, signed.
    I16,
    /// Two registers, unsigned.
    U32,
    /// Two registers, signed.
    I32,
    /// Four registers, unsigned.
    U64,
    /// Four registers, signed.
    I64,
    /// Two registers, IEEE 754 single.
    F32,
    /// Four registers, IEEE 754 double.
    F64,
    /// Characters, two a register, up to the first NUL.
    Text {
        /// How many registers.
        registers: u16,
    },
}

impl RegisterType {
    /// Registers that one value takes; 1 for a bool, which takes one bit of one register (or one
    /// coil).
    #[must_use]
    pub fn registers(self) -> u16 {
        match self {
            Self::Bool | Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
            Self::Text { registers } => registers,
        }
    }
}

/// Order of bytes within a multi-register value, named by what arrives for the value `ABCD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WordOrder {
    /// Big-endian words of big-endian bytes: the order of the protocol itself.
    #[default]
    Abcd,
    /// Everything reversed.
    Dcba,
    /// Bytes swapped within each register.
    Badc,
    /// Registers swapped.
    Cdab,
}

/// Modbus TCP's registered port.
const PORT: u16 = 502;

impl FromStr for ModbusAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let right = "write \"tcp://host:port\", for instance \"tcp://192.168.1.20:502\"";
        let rest = text
            .strip_prefix("tcp://")
            .ok_or_else(|| Invalid::new(format!("address {text:?} does not begin with tcp://"), right))?;
        let (host, port) = split_host_port(rest)
            .ok_or_else(|| Invalid::new(format!("address {text:?} is not a host and a port"), right))?;
        Ok(Self { host: host.to_owned(), port: port.unwrap_or(PORT) })
    }
}

impl fmt::Display for ModbusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "tcp://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "tcp://{}:{}", self.host, self.port)
        }
    }
}

/// Splits `host:port`, `host` or `[v6]:port`; `None` when it is neither, or the port is not 1 to
/// 65535.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (host, rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, rest) = text.split_at(end);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(plain) {
            return None;
        }
        (host, rest)
    };
    if rest.is_empty() {
        return Some((host, None));
    }
    let port = rest.strip_prefix(':')?;
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
    Some((host, Some(port)))
}

impl ModbusTag {
    /// May a request write this tag? Only coils and holding registers can be written.
    #[must_use]
    pub fn writable(&self) -> bool {
        matches!(self.at.area, Area::Coil | Area::HoldingRegister)
    }
}
