//! Every part of the plant in one place, for the switches to act on.
//!
//! Invariant: a mode that was set is in force when the call that set it returns.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::business::{BusinessSystem, FeedTarget, SystemName};
use crate::error::PlantError;
use crate::modbus::{DeviceMode, ModbusDevice};
use crate::options::Addresses;
use crate::oven_unit::{OvenMode, OvenUnit};
use crate::physics::{FAULT_HYDRAULIC, OvenState, PRESS_COUNT, World};
use crate::shared::Shared;

/// The parts that can be told to misbehave.
pub(crate) struct Controls {
    pub(crate) world: Shared<World>,
    pub(crate) addresses: Addresses,
    pub(crate) presses: [Mutex<ModbusDevice>; PRESS_COUNT],
    pub(crate) meters: Mutex<ModbusDevice>,
    /// True while the bus behind the meters' gateway is dead.
    pub(crate) bus_dead: Shared<bool>,
    pub(crate) oven: Mutex<OvenUnit>,
    pub(crate) systems: [Arc<BusinessSystem>; SystemName::ALL.len()],
    /// Whether presses may have faults that no one raised.
    pub(crate) spontaneous: Shared<bool>,
    /// Where the business systems post to.
    pub(crate) feeds: watch::Sender<Option<FeedTarget>>,
}

impl Controls {
    /// Makes a press, by its index from 0, behave so; `None` if there is no such press.
    pub(crate) async fn set_press(&self, index: usize, mode: DeviceMode) -> Option<io::Result<()>> {
        let press = self.presses.get(index)?;
        let mut device = press.lock().await;
        let bits = if mode == DeviceMode::Fault { FAULT_HYDRAULIC } else { 0 };
        if let Some(press) = self.world.lock().press_mut(index) {
            press.force_faults(bits);
        }
        Some(device.set_mode(mode).await)
    }

    /// Makes the meters' gateway behave so.
    pub(crate) async fn set_meters(&self, mode: DeviceMode) -> io::Result<()> {
        let mut device = self.meters.lock().await;
        *self.bus_dead.lock() = mode == DeviceMode::Fault;
        device.set_mode(mode).await
    }

    /// Makes the oven behave so.
    pub(crate) async fn set_oven(&self, mode: OvenMode) -> Result<(), PlantError> {
        self.oven.lock().await.set_mode(mode).await
    }

    /// A business system by its name.
    pub(crate) fn system(&self, name: &str) -> Option<&Arc<BusinessSystem>> {
        self.systems.iter().find(|system| system.name().text() == name)
    }

    /// Allows or forbids faults that no one raised.
    pub(crate) fn set_spontaneous(&self, allowed: bool) {
        *self.spontaneous.lock() = allowed;
        self.world.lock().set_spontaneous(allowed);
    }

    /// Everything that stands in the plant, where it is and how it behaves.
    pub(crate) async fn overview(&self) -> Value {
        let now = self.world.lock().readings();
        let mut presses = Vec::new();
        for (index, press) in self.presses.iter().enumerate() {
            let device = press.lock().await;
            let machine = now.presses[index];
            presses.push(json!({
                "name": format!("press{}", index + 1),
                "address": device.address(),
                "mode": device.mode(),
                "state": machine.state.name(),
                "fault_bits": machine.faults,
                "temperature_c": machine.temperature_c,
                "pressure_bar": machine.pressure_bar,
                "vibration_mm_s": machine.vibration_mm_s,
                "cycles": machine.cycles,
            }));
        }
        let meters = {
            let device = self.meters.lock().await;
            let power_kw: Vec<f32> = now.meters.iter().map(|meter| meter.power_kw).collect();
            json!({ "address": device.address(), "mode": device.mode(), "power_kw": power_kw })
        };
        let oven = {
            let unit = self.oven.lock().await;
            json!({
                "address": unit.url(),
                "mode": unit.mode(),
                "state": OvenState::NAMES[now.oven.state as usize],
                "set_point_c": now.oven.set_point_c,
                "recipe": now.oven.recipe,
                "cycle": now.oven.cycle,
            })
        };
        let systems: Vec<Value> = self
            .systems
            .iter()
            .map(|system| {
                json!({
                    "name": system.name(),
                    "address": self.addresses.system(system.name()),
                    "fault": system.fault(),
                    "posted": system.posted().map(|(total, waiting)| json!({ "total": total, "waiting": waiting })),
                })
            })
            .collect();
        json!({
            "presses": presses,
            "meters": meters,
            "oven": oven,
            "systems": systems,
            "feeds": *self.feeds.borrow(),
            "spontaneous_faults": *self.spontaneous.lock(),
        })
    }
}
