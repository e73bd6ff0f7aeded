//! Modbus TCP devices: the presses, the energy meters' gateway, and how they misbehave.
//!
//! Purpose: answer real requests with the registers of the physics. Framing is
//! tokio-modbus's; what a broken device does to its bytes is [`wire`]'s.
//!
//! Invariants:
//! - What is read in one request comes from one moment of the machine.
//! - An address outside a device's map answers exception 02, a function that it does not know
//!   01, a count that the standard forbids 03, an unknown unit behind the gateway 0B
//!   (Modbus Application Protocol 1.1b3, section 7).
//! - In mode [`DeviceMode::Stop`] the port refuses; every other mode accepts.

mod device;
mod meters;
mod press;
mod registers;
mod wire;

pub(crate) use device::{DeviceMode, Machine, ModbusDevice};
pub(crate) use meters::MeterGateway;
pub(crate) use press::PressPlc;
pub(crate) use registers::check_read;
