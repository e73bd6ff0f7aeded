//! The simulated plant: four presses, eight energy meters, a paint oven and five business
//! systems, each on a real socket with its real protocol.
//!
//! Purpose: the other side of a plant server, for demonstrations, tests and load tests. It knows
//! nothing of the server that it is used with.
//!
//! | part | protocol | fixed port |
//! |---|---|---|
//! | presses 1 to 4 | Modbus TCP, unit 1 | 5021 to 5024 |
//! | energy meters | Modbus TCP, units 1 to 8 | 5025 |
//! | oven | OPC UA, `opc.tcp://…/plant`, namespace `urn:riverside:oven` | 4840 |
//! | ERP, WMS, MES, CMMS, portal | HTTP/JSON | 9101 to 9105 |
//! | fault switches and overview | HTTP/JSON | 9100 |
//!
//! Invariants:
//! - **Real**: nothing is short-circuited in memory; what is asked of the plant goes through its
//!   sockets.
//! - **Mendable**: whatever was broken through the switches is whole again after `ok`, at the
//!   same address.
//! - **Clean**: a stopped plant leaves no open port and no file behind.
//!
//! What it deliberately does not do: authenticate anyone, encrypt, or keep state over a restart.
//!
//! Start reading at [`Plant`]; the machines are in [`physics`], fleets for load in [`fleet`].

pub mod fleet;
pub mod physics;

mod business;
mod controls;
mod error;
mod modbus;
mod options;
mod oven;
mod oven_unit;
mod plant;
mod port;
mod shared;
mod switches;
mod task;
mod ua;
mod web;

pub use error::PlantError;
pub use options::{Addresses, FeedOptions, PlantOptions, Ports};
pub use plant::Plant;
