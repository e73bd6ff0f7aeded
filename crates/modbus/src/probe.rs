//! What is there at an address: for `millstream browse tcp://…`.
//!
//! Purpose: ask an unknown device or gateway what it answers to, and write a configuration that
//! reads it. It only reads.
//!
//! Invariants
//! - Q1: one request is under way at a time, each with the timeout as its deadline; there are at
//!   most [`REQUESTS_MAX`] of them.
//! - Q2: what is printed parses as TOML: verdicts are comments.

use crate::codec::{Answer, Function, REGISTERS_MAX, ReadRequest, Splitter, check};
use crate::exception::Failure;
use crate::source::connect;
use config::ModbusAddress;
use std::fmt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Unit ids that are asked: those that devices commonly have.
pub const UNITS: std::ops::RangeInclusive<u8> = 1..=16;
/// The unit id that a device commonly has that is alone at its address.
pub const UNIT_ALONE: u8 = 255;
/// Most requests of one probe: two for each of 17 units, then of the first that answers the other
/// functions and the block sizes.
pub const REQUESTS_MAX: u32 = 64;
/// Block sizes that are tried, in registers, the largest first.
const SIZES: [u16; 8] = [REGISTERS_MAX, 100, 64, 50, 32, 16, 8, 4];

/// What a device said to one kind of read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Data.
    Data,
    /// An exception code (V1.1b3, 7).
    Exception(u8),
    /// Nothing within the timeout, or something that was no answer.
    Nothing,
}

/// A unit that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitReport {
    /// Its unit id.
    pub unit: u8,
    /// What it said to a read of address 0, by function.
    pub functions: Vec<(Function, Verdict)>,
    /// Most registers that it gave in one read from address 0, and of which function; `None`
    /// where it gave none, or was not asked.
    pub largest: Option<(Function, u16)>,
}

/// What is there at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// The address.
    pub address: ModbusAddress,
    /// Why it could not be reached; `None` where it could.
    pub unreachable: Option<String>,
    /// The units that answered.
    pub units: Vec<UnitReport>,
    /// Unit ids that were asked and did not answer.
    pub silent: Vec<u8>,
    /// Whether the probe ended before everything was asked, because the connection could not be
    /// made again.
    pub cut_short: bool,
}

/// Asks what is there: unit ids 1 to 16 and 255, functions 1 to 4 at address 0, the largest block.
/// `within` is the deadline of the connection and of each request.
pub async fn probe(address: &ModbusAddress, within: Duration) -> ProbeReport {
    let mut report = ProbeReport {
        address: address.clone(),
        unreachable: None,
        units: Vec::new(),
        silent: Vec::new(),
        cut_short: false,
    };
    let mut peer = Peer { address, within, stream: None, transaction: 0, asked: 0 };
    if let Err(loss) = peer.connected().await {
        report.unreachable = Some(loss);
        return report;
    }
    for unit in UNITS.chain([UNIT_ALONE]) {
        match peer.unit(unit, report.units.is_empty()).await {
            Ok(Some(found)) => report.units.push(found),
            Ok(None) => report.silent.push(unit),
            Err(_) => {
                report.cut_short = true;
                break;
            }
        }
    }
    report
}

struct Peer<'a> {
    address: &'a ModbusAddress,
    within: Duration,
    stream: Option<TcpStream>,
    transaction: u16,
    asked: u32,
}

impl Peer<'_> {
    async fn connected(&mut self) -> Result<&mut TcpStream, String> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                connect(&self.address.host, self.address.port, self.within).await.map_err(|loss| loss.to_string())?
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// What a unit says; `thorough` also asks all functions and block sizes.
    async fn unit(&mut self, unit: u8, thorough: bool) -> Result<Option<UnitReport>, String> {
        let mut functions = Vec::new();
        for function in [Function::ReadHoldingRegisters, Function::ReadInputRegisters] {
            let verdict = self.ask(ReadRequest { unit, function, address: 0, quantity: 1 }).await?;
            functions.push((function, verdict));
            // A second question to a silent unit would double the time that a gateway takes.
            let silent = verdict == Verdict::Nothing && !matches!(unit, 1 | UNIT_ALONE);
            if silent || (present(verdict) && !thorough) {
                break;
            }
        }
        if !functions.iter().any(|(_, verdict)| present(*verdict)) {
            return Ok(None);
        }
        let mut largest = None;
        if thorough {
            for function in [Function::ReadCoils, Function::ReadDiscreteInputs] {
                let verdict = self.ask(ReadRequest { unit, function, address: 0, quantity: 1 }).await?;
                functions.push((function, verdict));
            }
            largest = self.largest(unit, &functions).await?;
            functions.sort_by_key(|(function, _)| function.code());
        }
        Ok(Some(UnitReport { unit, functions, largest }))
    }

    async fn largest(&mut self, unit: u8, said: &[(Function, Verdict)]) -> Result<Option<(Function, u16)>, String> {
        let registers = said.iter().find(|(function, verdict)| !function.is_bits() && *verdict == Verdict::Data);
        let Some((function, _)) = registers else { return Ok(None) };
        for quantity in SIZES {
            let request = ReadRequest { unit, function: *function, address: 0, quantity };
            if self.ask(request).await? == Verdict::Data {
                return Ok(Some((*function, quantity)));
            }
        }
        Ok(Some((*function, 1)))
    }

    /// Asks one thing. After anything but a right answer the connection is made anew, so that a
    /// late answer meets nobody.
    async fn ask(&mut self, request: ReadRequest) -> Result<Verdict, String> {
        if self.asked >= REQUESTS_MAX {
            return Ok(Verdict::Nothing);
        }
        self.asked += 1;
        self.transaction = self.transaction.wrapping_add(1);
        let (transaction, within) = (self.transaction, self.within);
        let stream = self.connected().await?;
        match timeout(within, exchange(stream, transaction, request)).await {
            Ok(Some(verdict)) => Ok(verdict),
            Ok(None) | Err(_) => {
                self.stream = None;
                Ok(Verdict::Nothing)
            }
        }
    }
}

fn present(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Data => true,
        Verdict::Exception(code) => !Failure::Exception(code).is_gateway(),
        Verdict::Nothing => false,
    }
}

/// One request and its answer; `None` where the connection or the answer is broken.
async fn exchange(stream: &mut TcpStream, transaction: u16, request: ReadRequest) -> Option<Verdict> {
    stream.write_all(&request.encode(transaction)).await.ok()?;
    let mut splitter = Splitter::default();
    let mut buffer = [0; 512];
    loop {
        let bytes = stream.read(&mut buffer).await.ok().filter(|bytes| *bytes > 0)?;
        let mut input = buffer.get(..bytes)?;
        while let Some(frame) = splitter.next_frame(&mut input).ok()? {
            if frame.transaction == transaction {
                return Some(match check(&request, &frame).ok()? {
                    Answer::Data(_) => Verdict::Data,
                    Answer::Exception(code) => Verdict::Exception(code),
                });
            }
        }
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.unreachable {
            writeln!(f, "# {} cannot be reached: {reason}", self.address)?;
            return Ok(());
        }
        writeln!(f, "# {} takes connections.", self.address)?;
        let Some(first) = self.units.first() else {
            writeln!(f, "# No unit id of 1 to 16 and 255 answers. Check the unit id in the device's manual,")?;
            return writeln!(f, "# that it speaks Modbus TCP, and that it allows this computer.");
        };
        let ids: Vec<String> = self.units.iter().map(|unit| unit.unit.to_string()).collect();
        writeln!(f, "# Units that answer: {}.", ids.join(", "))?;
        if self.silent.is_empty() && !self.cut_short {
            writeln!(f, "# It answers to every unit id, so it is most likely one device, not a gateway.")?;
        }
        if self.cut_short {
            writeln!(f, "# The connection could not be made again, so not everything was asked.")?;
        }
        for (function, verdict) in &first.functions {
            let word = function.area().word();
            match verdict {
                Verdict::Data => writeln!(f, "# Unit {}: {word}:0 can be read.", first.unit)?,
                Verdict::Exception(code) => {
                    writeln!(f, "# Unit {}: {word}:0 is refused with exception {code:02X}.", first.unit)?;
                }
                Verdict::Nothing => writeln!(f, "# Unit {}: a read of {word}:0 is not answered.", first.unit)?,
            }
        }
        if let Some((function, registers)) = first.largest {
            let word = function.area().word();
            writeln!(f, "# Unit {}: {word} gives up to {registers} registers in one read from address 0.", first.unit)?;
        }
        writeln!(f)?;
        self.snippet(first, f)
    }
}

impl ProbeReport {
    /// A `[[source]]` that reads what was found.
    fn snippet(&self, first: &UnitReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let host: String = self.address.host.chars().map(plain).collect();
        let name = format!("modbus-{}-{}", host.trim_matches('-'), self.address.port);
        writeln!(f, "[[source]]\nname    = \"{name}\"\nkind    = \"modbus\"\naddress = \"{}\"", self.address)?;
        let gateway = self.units.len() > 1 && !self.silent.is_empty();
        if gateway {
            let units: Vec<String> =
                self.units.iter().map(|unit| format!("{} = \"unit{}\"", unit.unit, unit.unit)).collect();
            writeln!(f, "units   = {{ {} }}", units.join(", "))?;
        } else {
            writeln!(f, "unit_id = {}", first.unit)?;
        }
        writeln!(f, "path    = \"site/area/line/{name}\"   # where its tags hang in the tree")?;
        writeln!(f, "every   = \"1s\"")?;
        if let Some((_, registers)) = first.largest.filter(|(_, registers)| *registers < REGISTERS_MAX) {
            writeln!(f, "max_registers = {registers}")?;
        }
        let mut readable = first.functions.iter().filter(|(_, verdict)| *verdict == Verdict::Data).peekable();
        if readable.peek().is_none() {
            writeln!(f, "\n  # Address 0 holds nothing; take addresses from the device's manual.")?;
            writeln!(f, "  [[source.tag]]\n  name = \"first\"\n  at   = \"holding:0\"\n  type = \"u16\"")?;
        }
        for (function, _) in readable {
            let (word, kind) = (function.area().word(), if function.is_bits() { "bool" } else { "u16" });
            writeln!(f, "\n  [[source.tag]]\n  name = \"{word}0\"\n  at   = \"{word}:0\"\n  type = \"{kind}\"")?;
        }
        Ok(())
    }
}
