//! All machines of the plant together, and who draws power from whom.
//!
//! Invariant: the incomer (meter 8) shows the sum of the seven feeders.

use std::time::Duration;

use super::meter::{Meter, MeterReadings};
use super::oven::{Oven, OvenReadings};
use super::press::{Press, PressReadings};
use super::rng::Rng;

/// Presses of the plant.
pub const PRESS_COUNT: usize = 4;
/// Energy meters of the plant: 1..=4 the presses, 5 the oven, 6 compressed air, 7 light and
/// ventilation, 8 the incomer.
pub const METER_COUNT: usize = 8;
/// How often the plant's state moves.
pub const STEP: Duration = Duration::from_millis(50);

const FEEDER_COUNT: usize = METER_COUNT - 1;
const COMPRESSOR_ON_KW: f64 = 28.0;
const COMPRESSOR_OFF_KW: f64 = 1.5;
const LIGHT_KW: f64 = 11.0;

/// What every instrument of the plant shows at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorldReadings {
    /// The presses, press 1 first.
    pub presses: [PressReadings; PRESS_COUNT],
    /// The meters, meter 1 (unit id 1) first.
    pub meters: [MeterReadings; METER_COUNT],
    /// The oven.
    pub oven: OvenReadings,
}

/// The machines.
#[derive(Debug)]
pub struct World {
    presses: [Press; PRESS_COUNT],
    meters: [Meter; METER_COUNT],
    oven: Oven,
    rng: Rng,
    age_s: f64,
    compressor_on: bool,
    compressor_left_s: f64,
}

impl World {
    /// The machines as they stand when the plant starts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let mut feeders: [f64; METER_COUNT] = std::array::from_fn(|_| rng.between(12_000.0, 90_000.0));
        feeders[FEEDER_COUNT] = feeders[..FEEDER_COUNT].iter().sum();
        Self {
            presses: std::array::from_fn(|index| Press::new(seed, index)),
            meters: feeders.map(Meter::new),
            oven: Oven::new(seed),
            rng,
            age_s: 0.0,
            compressor_on: true,
            compressor_left_s: 9.0,
        }
    }

    /// One press, by its index from 0.
    pub fn press_mut(&mut self, index: usize) -> Option<&mut Press> {
        self.presses.get_mut(index)
    }

    /// One press's readings, by its index from 0.
    #[must_use]
    pub fn press(&self, index: usize) -> Option<PressReadings> {
        self.presses.get(index).map(Press::readings)
    }

    /// One meter's readings, by its index from 0.
    #[must_use]
    pub fn meter(&self, index: usize) -> Option<MeterReadings> {
        self.meters.get(index).map(Meter::readings)
    }

    /// The oven's readings.
    #[must_use]
    pub fn oven(&self) -> OvenReadings {
        self.oven.readings()
    }

    /// The oven.
    pub fn oven_mut(&mut self) -> &mut Oven {
        &mut self.oven
    }

    /// Allows or forbids faults that no one raised, on every press.
    pub fn set_spontaneous(&mut self, allowed: bool) {
        for press in &mut self.presses {
            press.set_spontaneous(allowed);
        }
    }

    /// What every instrument shows now.
    #[must_use]
    pub fn readings(&self) -> WorldReadings {
        WorldReadings {
            presses: std::array::from_fn(|index| self.presses[index].readings()),
            meters: std::array::from_fn(|index| self.meters[index].readings()),
            oven: self.oven.readings(),
        }
    }

    /// Lets `dt` pass for every machine.
    pub fn step(&mut self, dt: Duration) {
        let dt_s = dt.as_secs_f64();
        self.age_s += dt_s;
        for press in &mut self.presses {
            press.step(dt_s);
        }
        self.oven.step(dt_s);
        self.step_meters(dt_s);
    }

    fn step_meters(&mut self, dt_s: f64) {
        self.compressor_left_s -= dt_s;
        if self.compressor_left_s <= 0.0 {
            self.compressor_on = !self.compressor_on;
            self.compressor_left_s = self.rng.between(5.0, 14.0);
        }
        let compressor = if self.compressor_on { COMPRESSOR_ON_KW } else { COMPRESSOR_OFF_KW };
        let swing = 1.0 + 0.15 * (self.age_s / 97.0).sin();
        let powers: [f64; FEEDER_COUNT] = std::array::from_fn(|feeder| match feeder {
            0..PRESS_COUNT => self.presses[feeder].readings().power_kw,
            4 => self.oven.readings().power_kw,
            5 => compressor + self.rng.noise(0.3),
            _ => LIGHT_KW * swing + self.rng.noise(0.05),
        });
        let mut incomer_kw = 0.0;
        for (meter, power) in self.meters.iter_mut().zip(powers) {
            meter.step(dt_s, power);
            incomer_kw += f64::from(meter.readings().power_kw);
        }
        self.meters[FEEDER_COUNT].step(dt_s, incomer_kw);
    }
}

#[cfg(test)]
mod tests {
    use super::{METER_COUNT, STEP, World};

    #[test]
    fn the_incomer_is_the_sum_of_its_feeders() {
        let mut world = World::new(11);
        for _ in 0..20_000 {
            world.step(STEP);
        }
        let meters = world.readings().meters;
        let power: f32 = meters[..7].iter().map(|m| m.power_kw).sum();
        let energy: f64 = meters[..7].iter().map(|m| m.energy_kwh).sum();
        assert!((power - meters[7].power_kw).abs() < 0.01);
        assert!((energy - meters[7].energy_kwh).abs() < 0.01);
        assert!(power > 20.0, "a working plant draws {power} kW");
    }

    #[test]
    fn every_instrument_moves_and_a_seed_repeats_itself() {
        let (mut one, mut two) = (World::new(3), World::new(3));
        let start = one.readings();
        for _ in 0..200 {
            one.step(STEP);
            two.step(STEP);
        }
        let (end, again) = (one.readings(), two.readings());
        assert_eq!(end, again);
        for index in 0..METER_COUNT {
            assert!(end.meters[index].energy_kwh > start.meters[index].energy_kwh);
        }
        for (before, after) in start.presses.iter().zip(&end.presses) {
            assert!(after.temperature_c > before.temperature_c);
            assert!(after.cycles > before.cycles);
        }
        for (before, after) in start.oven.zones_c.iter().zip(&end.oven.zones_c) {
            assert!(after > before);
        }
    }
}
