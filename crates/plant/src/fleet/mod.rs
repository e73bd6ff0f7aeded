//! Fleets of devices for load tests: many, cheap, and with values that can be checked.
//!
//! Invariant: every value follows from the device, the tag and a count alone
//! ([`ModbusFleet::value`], [`OpcuaFleet::value`]), so that a reader's loss, repetition or mix-up
//! of samples is seen in the values themselves.

mod modbus;
mod opcua;

pub use modbus::ModbusFleet;
pub use opcua::{OpcuaFleet, OpcuaFleetOptions};
