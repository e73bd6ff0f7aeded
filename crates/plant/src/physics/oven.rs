//! The paint oven: twelve zones that heat, cure and cool in cycles.
//!
//! Invariants:
//! - The set point stays within [`SET_POINT_MIN_C`]..=[`SET_POINT_MAX_C`].
//! - Every cycle has the next cycle number and another recipe than the one before.
//! - In [`OvenState::Fault`] no zone is heated, and no cycle starts.

use super::press::approach;
use super::rng::Rng;

/// Zones of the oven.
pub const ZONE_COUNT: usize = 12;
/// Lowest set point, °C.
pub const SET_POINT_MIN_C: f64 = 20.0;
/// Highest set point, °C.
pub const SET_POINT_MAX_C: f64 = 240.0;

const AMBIENT_C: f64 = 22.0;
const IDLE_S: f64 = 4.0;
const HEATING_LIMIT_S: f64 = 45.0;
const CURING_S: f64 = 30.0;
const COOLING_S: f64 = 20.0;
const HEATING_TIME_S: f64 = 9.0;
const COOLING_TIME_S: f64 = 16.0;
const REACHED_C: f64 = 4.0;
const KW_PER_ZONE_DEGREE: f64 = 0.055;
const RECIPES: [&str; 6] =
    ["RAL 9010 gloss", "RAL 7016 matt", "RAL 5005 satin", "RAL 3020 gloss", "Primer EP-2", "Clear coat 30"];

/// The oven's state; the discriminant is the value of the `State` node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum OvenState {
    /// Waiting for the next cycle.
    Idle = 0,
    /// Zones on their way to the set point.
    Heating = 1,
    /// Zones at the set point, parts passing.
    Curing = 2,
    /// Heaters off, fans on.
    Cooling = 3,
    /// Stopped by a fault.
    Fault = 4,
}

impl OvenState {
    /// Names of all states, in the order of their values (OPC UA Part 3, EnumStrings).
    pub const NAMES: [&'static str; 5] = ["Idle", "Heating", "Curing", "Cooling", "Fault"];
}

/// Why a cycle did not start: the oven is in fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartRefused;

/// What the oven shows at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OvenReadings {
    /// Temperature of each zone, °C.
    pub zones_c: [f64; ZONE_COUNT],
    /// State.
    pub state: OvenState,
    /// Set point, °C.
    pub set_point_c: f64,
    /// Conveyor speed, m/min.
    pub conveyor_m_min: f64,
    /// The cycle's recipe.
    pub recipe: &'static str,
    /// Number of the present cycle, from 1.
    pub cycle: u32,
    /// Electric power drawn, kW.
    pub power_kw: f64,
}

/// The oven.
#[derive(Debug)]
pub struct Oven {
    rng: Rng,
    bodies_c: [f64; ZONE_COUNT],
    shown_c: [f64; ZONE_COUNT],
    state: OvenState,
    in_state_s: f64,
    set_point_c: f64,
    conveyor_m_min: f64,
    conveyor_shown: f64,
    cycle: u32,
    power_kw: f64,
}

impl Oven {
    /// A cold oven at the start of its first cycle.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 200);
        let bodies_c = std::array::from_fn(|_| AMBIENT_C + rng.between(0.0, 12.0));
        Self {
            rng,
            bodies_c,
            shown_c: bodies_c,
            state: OvenState::Heating,
            in_state_s: 0.0,
            set_point_c: 180.0,
            conveyor_m_min: 0.0,
            conveyor_shown: 0.0,
            cycle: 1,
            power_kw: 0.0,
        }
    }

    /// What the oven shows now.
    #[must_use]
    pub fn readings(&self) -> OvenReadings {
        OvenReadings {
            zones_c: self.shown_c,
            state: self.state,
            set_point_c: self.set_point_c,
            conveyor_m_min: self.conveyor_shown,
            recipe: RECIPES[self.cycle as usize % RECIPES.len()],
            cycle: self.cycle,
            power_kw: self.power_kw,
        }
    }

    /// Sets the set point, °C; false (and no change) if it is outside the range or no number.
    #[must_use]
    pub fn set_set_point(&mut self, celsius: f64) -> bool {
        let fits = (SET_POINT_MIN_C..=SET_POINT_MAX_C).contains(&celsius);
        if fits {
            self.set_point_c = celsius;
        }
        fits
    }

    /// Starts the next cycle at once, giving up the present one; answers its number.
    pub fn start_cycle(&mut self) -> Result<u32, StartRefused> {
        if self.state == OvenState::Fault {
            return Err(StartRefused);
        }
        self.next_cycle();
        Ok(self.cycle)
    }

    /// Raises or clears the fault; a cleared fault leaves the oven idle.
    pub fn set_fault(&mut self, fault: bool) {
        match (fault, self.state) {
            (true, _) => self.enter(OvenState::Fault),
            (false, OvenState::Fault) => self.enter(OvenState::Idle),
            (false, _) => {}
        }
    }

    /// Lets `dt_s` seconds pass.
    pub fn step(&mut self, dt_s: f64) {
        self.in_state_s += dt_s;
        self.advance();
        self.step_zones(dt_s);
        let belt = match self.state {
            OvenState::Curing => 2.4,
            OvenState::Heating | OvenState::Cooling => 0.6,
            OvenState::Idle | OvenState::Fault => 0.0,
        };
        approach(&mut self.conveyor_m_min, belt, 1.5, dt_s);
        self.conveyor_shown = (self.conveyor_m_min + self.rng.noise(0.01)).max(0.0);
    }

    fn advance(&mut self) {
        match self.state {
            OvenState::Idle if self.in_state_s >= IDLE_S => self.next_cycle(),
            OvenState::Heating if self.all_reached() || self.in_state_s >= HEATING_LIMIT_S => {
                self.enter(OvenState::Curing);
            }
            OvenState::Curing if self.in_state_s >= CURING_S => self.enter(OvenState::Cooling),
            OvenState::Cooling if self.in_state_s >= COOLING_S => self.enter(OvenState::Idle),
            _ => {}
        }
    }

    fn next_cycle(&mut self) {
        self.cycle = self.cycle.wrapping_add(1);
        self.enter(OvenState::Heating);
    }

    fn enter(&mut self, state: OvenState) {
        if self.state != state || state == OvenState::Heating {
            self.state = state;
            self.in_state_s = 0.0;
        }
    }

    fn all_reached(&self) -> bool {
        (0..ZONE_COUNT).all(|zone| (self.bodies_c[zone] - self.target_c(zone)).abs() < REACHED_C)
    }

    /// Entry and exit zones run cooler than the middle of the oven.
    fn target_c(&self, zone: usize) -> f64 {
        match self.state {
            OvenState::Heating | OvenState::Curing => {
                let edge = zone.min(ZONE_COUNT - 1 - zone);
                let cooler = match edge {
                    0 => 12.0,
                    1 => 5.0,
                    _ => 0.0,
                };
                (self.set_point_c - cooler).max(AMBIENT_C)
            }
            OvenState::Idle | OvenState::Cooling | OvenState::Fault => AMBIENT_C,
        }
    }

    fn step_zones(&mut self, dt_s: f64) {
        let heated = matches!(self.state, OvenState::Heating | OvenState::Curing);
        let time_s = if heated { HEATING_TIME_S } else { COOLING_TIME_S };
        let mut power_kw = 2.0;
        for zone in 0..ZONE_COUNT {
            let target = self.target_c(zone);
            if heated {
                let lift = (target - self.bodies_c[zone]).max(0.0);
                let held = (self.bodies_c[zone] - AMBIENT_C).max(0.0) * 0.35;
                power_kw += KW_PER_ZONE_DEGREE * (lift + held);
            }
            // Zones of one oven are not alike: the later ones are a little slower.
            let slower = 1.0 + 0.03 * f64::from(u32::try_from(zone).unwrap_or_default());
            approach(&mut self.bodies_c[zone], target, time_s * slower, dt_s);
            self.shown_c[zone] = self.bodies_c[zone] + self.rng.noise(0.2);
        }
        self.power_kw = power_kw + self.rng.noise(0.2).abs();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(oven: &mut Oven, seconds: f64) -> Vec<OvenState> {
        let mut seen = vec![oven.readings().state];
        for _ in 0..(seconds / 0.05) as usize {
            oven.step(0.05);
            if seen.last() != Some(&oven.readings().state) {
                seen.push(oven.readings().state);
            }
        }
        seen
    }

    #[test]
    fn a_cycle_heats_cures_cools_and_the_next_has_another_recipe() {
        let mut oven = Oven::new(1);
        let first = oven.readings();
        let seen = run(&mut oven, 130.0);
        use OvenState::{Cooling, Curing, Heating, Idle};
        assert_eq!(seen[..5], [Heating, Curing, Cooling, Idle, Heating]);
        assert_eq!(oven.readings().cycle, first.cycle + 1);
        assert_ne!(oven.readings().recipe, first.recipe);
    }

    #[test]
    fn zones_reach_the_set_point_and_follow_it() {
        let mut oven = Oven::new(2);
        run(&mut oven, 40.0);
        let middle = oven.readings().zones_c[5];
        assert!((middle - 180.0).abs() < 5.0, "zone 6 at {middle}");
        assert!(oven.set_set_point(90.0));
        assert_eq!(oven.start_cycle(), Ok(2));
        run(&mut oven, 44.0);
        let middle = oven.readings().zones_c[5];
        assert!((middle - 90.0).abs() < 5.0, "zone 6 at {middle}");
    }

    #[test]
    fn set_points_outside_the_range_are_refused() {
        let mut oven = Oven::new(3);
        assert!(!oven.set_set_point(19.9));
        assert!(!oven.set_set_point(240.1));
        assert!(!oven.set_set_point(f64::NAN));
        assert_eq!(oven.readings().set_point_c, 180.0);
    }

    #[test]
    fn a_fault_stops_the_heat_and_refuses_cycles() {
        let mut oven = Oven::new(4);
        run(&mut oven, 30.0);
        oven.set_fault(true);
        let hot = oven.readings().zones_c[5];
        run(&mut oven, 20.0);
        assert!(oven.readings().zones_c[5] < hot - 40.0);
        assert_eq!(oven.start_cycle(), Err(StartRefused));
        oven.set_fault(false);
        assert_eq!(oven.readings().state, OvenState::Idle);
        assert!(oven.start_cycle().is_ok());
    }
}
