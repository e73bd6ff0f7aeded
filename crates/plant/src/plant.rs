//! Starting, moving and stopping the whole plant.
//!
//! Invariants:
//! - All ports are open before anything runs: a plant that can't have them all starts nothing.
//! - One task moves the machines, [`STEP`] of their time for every [`STEP`] of ours; what it
//!   misses it makes up for, up to [`CATCH_UP_STEPS_MAX`] steps, and the rest is dropped.
//! - After [`Plant::stop`] every port is free and no file is left; every task is gone but those of
//!   OPC UA connections that did not say goodbye in time, which end by their own timeouts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::business::{self, BusinessSystem, FeedTarget, SystemName};
use crate::controls::Controls;
use crate::error::PlantError;
use crate::modbus::{DeviceMode, MeterGateway, ModbusDevice, PressPlc};
use crate::options::{Addresses, Part, PlantOptions};
use crate::oven_unit::{LiveOven, OvenMode, OvenUnit};
use crate::physics::{PRESS_COUNT, STEP, World};
use crate::port::Port;
use crate::shared::Shared;
use crate::switches;
use crate::task::Task;
use crate::web::{self, Door, OpenDoor};

/// Steps that one wake-up may make: two seconds of plant time.
const CATCH_UP_STEPS_MAX: u32 = 40;

/// A running plant. Dropping it ends its tasks too, without waiting for them.
pub struct Plant {
    controls: Arc<Controls>,
    tasks: Vec<Task>,
}

/// What is opened before anything runs.
struct Opened {
    presses: [ModbusDevice; PRESS_COUNT],
    meters: ModbusDevice,
    oven: OvenUnit,
    systems: [Port; SystemName::ALL.len()],
    switches: Port,
}

impl Plant {
    /// Starts the plant on the calling tokio runtime, which must have I/O and time enabled.
    ///
    /// # Errors
    /// See [`PlantError`]; after one, nothing runs and no port is taken.
    pub async fn start(options: PlantOptions) -> Result<Self, PlantError> {
        let feeds = options.feeds.as_ref().map(|feeds| FeedTarget::new(&feeds.to, feeds.period));
        let feeds = feeds.transpose().map_err(|detail| PlantError::Feeds { detail })?;
        let world = Shared::new(World::new(options.seed));
        let live = Shared::new(None);
        let bus_dead = Shared::new(false);
        let mut opened = open(&options, &world, &live, &bus_dead)?;
        let addresses = opened.addresses();
        let controls = Arc::new(Controls {
            world: world.clone(),
            addresses,
            presses: opened.presses.map(Mutex::new),
            meters: Mutex::new(opened.meters),
            bus_dead,
            oven: Mutex::new(opened.oven),
            systems: SystemName::ALL.map(|name| Arc::new(BusinessSystem::new(name, options.seed))),
            spontaneous: Shared::new(true),
            feeds: watch::Sender::new(feeds),
        });
        let mut plant = Self { controls, tasks: Vec::new() };
        plant.start_devices().await?;
        for (index, port) in opened.systems.iter_mut().enumerate() {
            let system = Arc::clone(&plant.controls.systems[index]);
            let router = business::router(Arc::clone(&system));
            if business::SENDERS.contains(&system.name()) {
                let order = plant.controls.feeds.subscribe();
                plant.tasks.push(Task::spawn(business::run_feed(Arc::clone(&system), order)));
            }
            plant.serve(Part::System(system.name()), port, router, system)?;
        }
        let router = switches::router(Arc::clone(&plant.controls));
        plant.serve(Part::Switches, &mut opened.switches, router, Arc::new(OpenDoor))?;
        plant.tasks.push(Task::spawn(run_machines(world, live)));
        Ok(plant)
    }

    /// Where the parts of the plant are.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.controls.addresses
    }

    /// Stops everything and frees every port.
    pub async fn stop(self) {
        for task in self.tasks {
            task.stop().await;
        }
        for press in &self.controls.presses {
            log_failure(press.lock().await.set_mode(DeviceMode::Stop).await);
        }
        let mut meters = self.controls.meters.lock().await;
        log_failure(meters.set_mode(DeviceMode::Stop).await);
        log_failure(self.controls.set_oven(OvenMode::Stop).await);
    }

    async fn start_devices(&self) -> Result<(), PlantError> {
        for (index, press) in self.controls.presses.iter().enumerate() {
            let mut device = press.lock().await;
            let failed = bind_error(Part::Press(index), device.address());
            device.set_mode(DeviceMode::Ok).await.map_err(failed)?;
        }
        let mut meters = self.controls.meters.lock().await;
        let failed = bind_error(Part::Meters, meters.address());
        meters.set_mode(DeviceMode::Ok).await.map_err(failed)?;
        self.controls.set_oven(OvenMode::Ok).await
    }

    fn serve(
        &mut self,
        part: Part,
        port: &mut Port,
        router: axum::Router,
        door: Arc<dyn Door>,
    ) -> Result<(), PlantError> {
        let listener = port.listener().map_err(bind_error(part, port.address()))?;
        self.tasks.push(Task::spawn(web::serve(listener, router, door)));
        Ok(())
    }
}

impl Opened {
    fn addresses(&self) -> Addresses {
        let [erp, wms, mes, cmms, portal] = &self.systems;
        Addresses {
            presses: std::array::from_fn(|index| self.presses[index].address()),
            meters: self.meters.address(),
            oven: self.oven.url(),
            erp: erp.address(),
            wms: wms.address(),
            mes: mes.address(),
            cmms: cmms.address(),
            portal: portal.address(),
            switches: self.switches.address(),
        }
    }
}

fn open(
    options: &PlantOptions,
    world: &Shared<World>,
    live: &LiveOven,
    bus_dead: &Shared<bool>,
) -> Result<Opened, PlantError> {
    let press = |index| {
        let machine = PressPlc { world: world.clone(), index };
        let part = Part::Press(index);
        let seed = options.seed.wrapping_add(index as u64);
        ModbusDevice::open(&part.name(), options.address(part), machine, seed)
    };
    let gateway = MeterGateway { world: world.clone(), bus_dead: bus_dead.clone() };
    let port = |part: Part| Port::open(&part.name(), options.address(part));
    let [erp, wms, mes, cmms, portal] = SystemName::ALL.map(Part::System);
    Ok(Opened {
        presses: [press(0)?, press(1)?, press(2)?, press(3)?],
        meters: ModbusDevice::open(&Part::Meters.name(), options.address(Part::Meters), gateway, options.seed)?,
        oven: OvenUnit::open(options.address(Part::Oven), world.clone(), live.clone())?,
        systems: [port(erp)?, port(wms)?, port(mes)?, port(cmms)?, port(portal)?],
        switches: port(Part::Switches)?,
    })
}

async fn run_machines(world: Shared<World>, live: LiveOven) {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut elapsed = Duration::ZERO;
    loop {
        ticks.tick().await;
        let mut steps = 0;
        let oven = {
            let mut world = world.lock();
            while elapsed + STEP <= start.elapsed() {
                if steps == CATCH_UP_STEPS_MAX {
                    elapsed = start.elapsed();
                    break;
                }
                world.step(STEP);
                elapsed += STEP;
                steps += 1;
            }
            world.oven()
        };
        // A runtime timer may wake a hair early; then there is nothing new to show.
        if steps > 0
            && let Some((endpoint, feed)) = &*live.lock()
            && let Err(status) = feed.publish(endpoint, &oven)
        {
            tracing::warn!(%status, "the oven's values could not be shown");
        }
    }
}

fn bind_error(part: Part, address: SocketAddr) -> impl FnOnce(std::io::Error) -> PlantError {
    move |source| PlantError::Bind { what: part.name(), address, source }
}

fn log_failure<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a part of the plant did not stop cleanly");
    }
}
