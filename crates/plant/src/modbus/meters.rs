//! The gateway of the energy meters: one address, units 1..=8.
//!
//! | table | address | value |
//! |---|---|---|
//! | input | 0..=3 | energy, f64, most significant word first, kWh |
//! | input | 4..=5 | power, f32 ABCD, kW |
//!
//! A unit that is not there answers exception 0B (gateway target failed to respond).

use tokio_modbus::{ExceptionCode, Request, Response};

use crate::physics::{MeterReadings, World};
use crate::shared::Shared;

use super::device::Machine;
use super::registers::Registers;

const SPACE: usize = 6;

/// The gateway.
#[derive(Debug)]
pub(crate) struct MeterGateway {
    /// The machines.
    pub(crate) world: Shared<World>,
    /// True while the bus behind the gateway is dead.
    pub(crate) bus_dead: Shared<bool>,
}

impl Machine for MeterGateway {
    fn answer(&self, unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        let meter = self.meter(unit)?;
        match request {
            Request::ReadInputRegisters(address, count) => {
                let mut registers = Registers::<SPACE>::new();
                registers.put_f64(0, meter.energy_kwh);
                registers.put_f32_abcd(4, meter.power_kw);
                registers.read(*address, *count).map(Response::ReadInputRegisters)
            }
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

impl MeterGateway {
    fn meter(&self, unit: u8) -> Result<MeterReadings, ExceptionCode> {
        if *self.bus_dead.lock() {
            return Err(ExceptionCode::GatewayTargetDevice);
        }
        usize::from(unit)
            .checked_sub(1)
            .and_then(|index| self.world.lock().meter(index))
            .ok_or(ExceptionCode::GatewayTargetDevice)
    }
}
