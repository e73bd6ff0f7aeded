//! The register map of a press's PLC.
//!
//! | table | address | value |
//! |---|---|---|
//! | holding | 0..=1 | body temperature, f32 ABCD, °C |
//! | holding | 2..=3 | vibration velocity RMS, f32 CDAB, mm/s |
//! | holding | 4..=5 | spindle speed, f32 ABCD, rpm |
//! | holding | 20..=21 | strokes, u32 CDAB |
//! | holding | 29 | state word: 0 off, 1 idle, 2 running, 3 fault |
//! | holding | 30 | fault word: bit 0 over-temperature, 1 low oil, 3 hydraulic fault |
//! | holding | 40..=41 | pressure set point, f32 ABCD, bar; writable, clamped |
//! | input | 10 | hydraulic pressure, i16, 0.1 bar |
//! | coil | 0 | running; writable, starts and stops |
//!
//! Each table has the addresses 0..=63; those not named read as zero. The PLC answers unit 1,
//! and 0 and 255, which stand for "the device itself" in Modbus TCP
//! (Messaging on TCP/IP Implementation Guide 1.0b, section 4.4.2.1).

use tokio_modbus::{ExceptionCode, Request, Response};

use crate::physics::{PressState, World};
use crate::shared::Shared;

use super::device::Machine;
use super::registers::{Registers, f32_abcd};

const SPACE: usize = 64;
const COILS_MAX: u16 = 2_000;
const COIL_RUNNING: u16 = 0;
const HOLDING_SET_POINT: u16 = 40;
const PRESSURE_SCALE: f32 = 10.0;

/// The PLC of one press, by its index from 0.
#[derive(Debug)]
pub(crate) struct PressPlc {
    /// The machines.
    pub(crate) world: Shared<World>,
    /// Which press, from 0.
    pub(crate) index: usize,
}

impl Machine for PressPlc {
    fn answer(&self, unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        if !matches!(unit, 0 | 1 | 255) {
            return Err(ExceptionCode::GatewayTargetDevice);
        }
        match request {
            Request::ReadCoils(address, count) => self.coils(*address, *count),
            Request::ReadHoldingRegisters(address, count) => {
                self.holding()?.read(*address, *count).map(Response::ReadHoldingRegisters)
            }
            Request::ReadInputRegisters(address, count) => {
                self.input()?.read(*address, *count).map(Response::ReadInputRegisters)
            }
            Request::WriteSingleCoil(address, run) => {
                self.run(*address, *run)?;
                Ok(Response::WriteSingleCoil(*address, *run))
            }
            Request::WriteMultipleCoils(address, runs) => match runs.as_ref() {
                [run] => {
                    self.run(*address, *run)?;
                    Ok(Response::WriteMultipleCoils(*address, 1))
                }
                _ => Err(ExceptionCode::IllegalDataAddress),
            },
            Request::WriteMultipleRegisters(address, words) => {
                self.set_point(*address, words)?;
                Ok(Response::WriteMultipleRegisters(*address, 2))
            }
            // Half a float is no set point.
            Request::WriteSingleRegister(..) => Err(ExceptionCode::IllegalDataAddress),
            _ => Err(ExceptionCode::IllegalFunction),
        }
    }
}

impl PressPlc {
    fn holding(&self) -> Result<Registers<SPACE>, ExceptionCode> {
        let now = self.readings()?;
        let mut registers = Registers::new();
        registers.put_f32_abcd(0, now.temperature_c);
        registers.put_f32_cdab(2, now.vibration_mm_s);
        registers.put_f32_abcd(4, now.speed_rpm);
        registers.put_u32_cdab(20, now.cycles);
        registers.put(29, now.state as u16);
        registers.put(30, now.faults);
        registers.put_f32_abcd(usize::from(HOLDING_SET_POINT), now.set_point_bar);
        Ok(registers)
    }

    fn input(&self) -> Result<Registers<SPACE>, ExceptionCode> {
        let tenths = (self.readings()?.pressure_bar * PRESSURE_SCALE).round();
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as a PLC's conversion does")]
        let tenths = tenths as i16;
        let mut registers = Registers::new();
        registers.put(10, tenths.cast_unsigned());
        Ok(registers)
    }

    fn coils(&self, address: u16, count: u16) -> Result<Response, ExceptionCode> {
        if count == 0 || count > COILS_MAX {
            return Err(ExceptionCode::IllegalDataValue);
        }
        if usize::from(address) + usize::from(count) > SPACE {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        let running = self.readings()?.state == PressState::Running;
        let coils = (address..address + count).map(|coil| coil == COIL_RUNNING && running).collect();
        Ok(Response::ReadCoils(coils))
    }

    fn run(&self, address: u16, run: bool) -> Result<(), ExceptionCode> {
        if address != COIL_RUNNING {
            return Err(ExceptionCode::IllegalDataAddress);
        }
        self.with_press(|press| press.command_run(run))
    }

    fn set_point(&self, address: u16, words: &[u16]) -> Result<(), ExceptionCode> {
        match (address, words) {
            (HOLDING_SET_POINT, [high, low]) => {
                let bar = f32_abcd(*high, *low);
                if bar.is_nan() {
                    return Err(ExceptionCode::IllegalDataValue);
                }
                self.with_press(|press| press.set_pressure(bar))
            }
            _ => Err(ExceptionCode::IllegalDataAddress),
        }
    }

    fn readings(&self) -> Result<crate::physics::PressReadings, ExceptionCode> {
        let world = self.world.lock();
        world.press(self.index).ok_or(ExceptionCode::ServerDeviceFailure)
    }

    fn with_press(&self, act: impl FnOnce(&mut crate::physics::Press)) -> Result<(), ExceptionCode> {
        let mut world = self.world.lock();
        let press = world.press_mut(self.index).ok_or(ExceptionCode::ServerDeviceFailure)?;
        act(press);
        Ok(())
    }
}
