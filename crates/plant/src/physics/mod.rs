//! The plant's machines as pure state machines.
//!
//! Purpose: give every simulated register and node a value that moves the way a real one does.
//!
//! Invariants:
//! - **Pure**: nothing here knows a socket, a clock or a runtime; time comes in through `step`.
//! - **Seeded**: the same seed and the same steps give the same readings, bit for bit.
//! - **Alive**: every machine's analog readings change from step to step, running or not.
//! - **Conserved**: a meter's energy is the integral of the power that it reports.
//!
//! Not here: encodings (`modbus`, `oven`) and the ticking task (`plant`).

mod meter;
mod oven;
mod press;
mod rng;
mod world;

pub use meter::{Meter, MeterReadings};
pub use oven::{Oven, OvenReadings, OvenState, SET_POINT_MAX_C, SET_POINT_MIN_C, StartRefused, ZONE_COUNT};
pub use press::{
    FAULT_HYDRAULIC, FAULT_LOW_OIL, FAULT_OVER_TEMPERATURE, Press, PressReadings, PressState, QUIET_S,
    SET_POINT_MAX_BAR, SET_POINT_MIN_BAR,
};
pub use rng::Rng;
pub use world::{METER_COUNT, PRESS_COUNT, STEP, World, WorldReadings};
