//! A fleet of Modbus TCP devices, one port each.
//!
//! Invariants:
//! - Holding register `r` of device `d` shows `value(d, r, n)` the `n`-th time that it is read
//!   (from 0), however the reads are cut: each register counts its own.
//! - Unit ids are ignored; addresses from `tags_per_device` on answer exception 02.

use std::net::{IpAddr, SocketAddr};

use tokio_modbus::{ExceptionCode, Request, Response};

use crate::error::PlantError;
use crate::modbus::{DeviceMode, Machine, ModbusDevice, check_read};
use crate::shared::Shared;

/// The register space of a device (Modbus Application Protocol 1.1b3, 4.4).
const REGISTERS_MAX: usize = 65_536;

/// Running devices.
pub struct ModbusFleet {
    devices: Vec<ModbusDevice>,
    addresses: Vec<SocketAddr>,
    ramps: Vec<Shared<Ramps>>,
}

struct Ramps {
    /// Reads of each register so far; the registers themselves wrap at 2^16.
    reads: Vec<u64>,
    requests: u64,
}

impl ModbusFleet {
    /// Starts `devices` devices of `tags_per_device` holding registers each, on free ports of
    /// `bind`.
    ///
    /// # Errors
    /// [`PlantError::FleetSize`] if there would be no register or more than 65,536 in a device;
    /// [`PlantError::Bind`] if ports or file descriptors run out.
    pub async fn start(bind: IpAddr, devices: usize, tags_per_device: usize) -> Result<Self, PlantError> {
        if devices == 0 || !(1..=REGISTERS_MAX).contains(&tags_per_device) {
            return Err(PlantError::FleetSize {
                detail: format!(
                    "a fleet of {devices} Modbus devices with {tags_per_device} registers each \
                     can't be made; ask for 1 device or more, and 1 to {REGISTERS_MAX} registers"
                ),
            });
        }
        let mut fleet = Self { devices: Vec::new(), addresses: Vec::new(), ramps: Vec::new() };
        for index in 0..devices {
            let ramps = Shared::new(Ramps { reads: vec![0; tags_per_device], requests: 0 });
            let ramp = RampDevice { index, ramps: ramps.clone() };
            let what = format!("fleet device {index}");
            let address = SocketAddr::new(bind, 0);
            let mut device = ModbusDevice::open(&what, address, ramp, index as u64)?;
            let address = device.address();
            device.set_mode(DeviceMode::Ok).await.map_err(|source| PlantError::Bind { what, address, source })?;
            fleet.devices.push(device);
            fleet.addresses.push(address);
            fleet.ramps.push(ramps);
        }
        Ok(fleet)
    }

    /// The devices' addresses, device 0 first.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What holding register `register` of device `device` shows at its read `poll` (from 0).
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the ramp wraps at 2^16, as a 16-bit register does")]
    pub fn value(device: usize, register: usize, poll: u64) -> u16 {
        let start = device.wrapping_mul(7_919).wrapping_add(register.wrapping_mul(31));
        (start as u64).wrapping_add(poll) as u16
    }

    /// How often register `register` of device `device` has been read; 0 for one that does not
    /// exist.
    #[must_use]
    pub fn polls(&self, device: usize, register: usize) -> u64 {
        self.ramps.get(device).and_then(|ramps| ramps.lock().reads.get(register).copied()).unwrap_or(0)
    }

    /// Read requests that a device has answered with values; 0 for one that does not exist.
    #[must_use]
    pub fn requests(&self, device: usize) -> u64 {
        self.ramps.get(device).map_or(0, |ramps| ramps.lock().requests)
    }

    /// Stops the devices and frees their ports.
    pub async fn stop(mut self) {
        for device in &mut self.devices {
            if let Err(error) = device.set_mode(DeviceMode::Stop).await {
                tracing::warn!(%error, "a fleet device did not stop cleanly");
            }
        }
    }
}

struct RampDevice {
    index: usize,
    ramps: Shared<Ramps>,
}

impl Machine for RampDevice {
    fn answer(&self, _unit: u8, request: &Request<'_>) -> Result<Response, ExceptionCode> {
        let Request::ReadHoldingRegisters(address, count) = *request else {
            return Err(ExceptionCode::IllegalFunction);
        };
        let mut ramps = self.ramps.lock();
        check_read(address, count, ramps.reads.len())?;
        let start = usize::from(address);
        let mut values = Vec::with_capacity(usize::from(count));
        for register in start..start + usize::from(count) {
            let poll = &mut ramps.reads[register];
            values.push(ModbusFleet::value(self.index, register, *poll));
            *poll += 1;
        }
        ramps.requests += 1;
        Ok(Response::ReadHoldingRegisters(values))
    }
}
