//! A hydraulic press: warm-up, strokes, vibration, wear, and faults that clear themselves.
//!
//! Invariants:
//! - A fault bit is set exactly while the press is in [`PressState::Fault`].
//! - No spontaneous fault in the first [`QUIET_S`] seconds of a press's life, so that a short
//!   test meets only the faults that it raised; [`Press::set_spontaneous`] turns them off.
//! - `cycles` counts whole strokes and never falls.

use super::rng::Rng;

/// Bit of the fault word: body over its temperature limit.
pub const FAULT_OVER_TEMPERATURE: u16 = 1 << 0;
/// Bit of the fault word: oil level low.
pub const FAULT_LOW_OIL: u16 = 1 << 1;
/// Bit of the fault word: hydraulic fault (the `fault` tag of the reference configuration).
pub const FAULT_HYDRAULIC: u16 = 1 << 3;
/// Seconds after its start in which a press has no spontaneous fault.
pub const QUIET_S: f64 = 180.0;
/// Lowest pressure set point, bar.
pub const SET_POINT_MIN_BAR: f32 = 20.0;
/// Highest pressure set point, bar.
pub const SET_POINT_MAX_BAR: f32 = 250.0;

const AMBIENT_C: f64 = 21.0;
const LOADED_C: f64 = 138.0;
const COOLING_LOST_C: f64 = 240.0;
const OVER_TEMPERATURE_C: f64 = 185.0;
const WARM_UP_TIME_S: f64 = 75.0;
const STROKE_FRICTION_C_PER_S: f64 = 1.0;
const SPEED_NOMINAL_RPM: f64 = 1_450.0;
const SPEED_IDLE_RPM: f64 = 320.0;
const SPEED_TIME_S: f64 = 1.2;
const PRESSURE_REST_BAR: f64 = 8.0;
const PRESSURE_TIME_S: f64 = 0.12;
const WEAR_STROKES: f64 = 4_000.0;
const FAULT_MEAN_S: f64 = 900.0;
const IDLE_TO_OFF_S: f64 = 300.0;
/// Shares of one stroke: closing up to the first mark, pressing up to the second, then opening
/// and loading.
const PRESSING_FROM: f64 = 0.25;
const PRESSING_TO: f64 = 0.60;

/// What the state word of a press says; the discriminant is the register's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum PressState {
    /// Main drive off.
    Off = 0,
    /// On, no strokes.
    Idle = 1,
    /// Making strokes.
    Running = 2,
    /// Stopped by a fault; see the fault word.
    Fault = 3,
}

impl PressState {
    /// The state's name, lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Fault => "fault",
        }
    }
}

/// What the instruments of a press show at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PressReadings {
    /// Body temperature, °C.
    pub temperature_c: f32,
    /// Vibration velocity, RMS, mm/s (ISO 20816 quantity).
    pub vibration_mm_s: f32,
    /// Spindle speed, rpm.
    pub speed_rpm: f32,
    /// Hydraulic pressure, bar.
    pub pressure_bar: f32,
    /// Pressure set point, bar.
    pub set_point_bar: f32,
    /// Whole strokes since the machine was built.
    pub cycles: u32,
    /// State word.
    pub state: PressState,
    /// Fault word, bits `FAULT_*`.
    pub faults: u16,
    /// Electric power drawn, kW.
    pub power_kw: f64,
}

/// One press.
#[derive(Debug)]
pub struct Press {
    rng: Rng,
    age_s: f64,
    body_c: f64,
    speed_rpm: f64,
    pressure_bar: f64,
    set_point_bar: f32,
    stroke_s: f64,
    stroke_phase: f64,
    cycles: u32,
    wear: f64,
    commanded: bool,
    idle_s: f64,
    forced_faults: u16,
    own_faults: u16,
    own_fault_left_s: f64,
    spontaneous: bool,
    state: PressState,
    readings: PressReadings,
}

impl Press {
    /// A cold press, commanded to run; `index` (from 0) makes each press of a seed different.
    #[must_use]
    pub fn new(seed: u64, index: usize) -> Self {
        let mut rng = Rng::new(seed, 100 + index as u64);
        let body_c = AMBIENT_C + rng.between(2.0, 9.0);
        let stroke_s = rng.between(3.2, 4.4);
        let wear = rng.between(0.05, 0.35);
        let cycles = 120_000 + rng.next_u32() % 60_000;
        let mut press = Self {
            rng,
            age_s: 0.0,
            body_c,
            speed_rpm: SPEED_IDLE_RPM,
            pressure_bar: PRESSURE_REST_BAR,
            set_point_bar: 160.0,
            stroke_s,
            stroke_phase: 0.0,
            cycles,
            wear,
            commanded: true,
            idle_s: 0.0,
            forced_faults: 0,
            own_faults: 0,
            own_fault_left_s: 0.0,
            spontaneous: true,
            state: PressState::Running,
            readings: PressReadings {
                temperature_c: 0.0,
                vibration_mm_s: 0.0,
                speed_rpm: 0.0,
                pressure_bar: 0.0,
                set_point_bar: 0.0,
                cycles: 0,
                state: PressState::Running,
                faults: 0,
                power_kw: 0.0,
            },
        };
        press.measure();
        press
    }

    /// What the instruments show now.
    #[must_use]
    pub fn readings(&self) -> PressReadings {
        self.readings
    }

    /// Starts or stops the strokes (coil 0).
    pub fn command_run(&mut self, run: bool) {
        self.commanded = run;
        self.idle_s = 0.0;
        self.choose_state();
        self.measure();
    }

    /// Sets the pressure set point, bar; clamped to the machine's range, a value that is no
    /// number is ignored.
    pub fn set_pressure(&mut self, bar: f32) {
        if bar.is_finite() {
            self.set_point_bar = bar.clamp(SET_POINT_MIN_BAR, SET_POINT_MAX_BAR);
            self.readings.set_point_bar = self.set_point_bar;
        }
    }

    /// Holds the given fault bits until called again with others; 0 releases them.
    pub fn force_faults(&mut self, bits: u16) {
        self.forced_faults = bits;
        self.choose_state();
        self.measure();
    }

    /// Allows or forbids faults of the press's own.
    pub fn set_spontaneous(&mut self, allowed: bool) {
        self.spontaneous = allowed;
        if !allowed {
            self.own_faults = 0;
            self.own_fault_left_s = 0.0;
            self.choose_state();
        }
    }

    /// Lets `dt_s` seconds pass.
    pub fn step(&mut self, dt_s: f64) {
        self.age_s += dt_s;
        self.step_faults(dt_s);
        self.choose_state();
        if self.state == PressState::Idle {
            self.idle_s += dt_s;
        }
        self.step_stroke(dt_s);
        self.step_heat(dt_s);
        self.measure();
    }

    /// True while the tool presses: the part of the stroke that takes pressure and power.
    #[must_use]
    pub fn pressing(&self) -> bool {
        self.state == PressState::Running && (PRESSING_FROM..PRESSING_TO).contains(&self.stroke_phase)
    }

    /// Wear of the spindle bearings, 0 (new) to 1 (due for service).
    #[must_use]
    pub fn wear(&self) -> f64 {
        self.wear
    }

    fn step_faults(&mut self, dt_s: f64) {
        if self.own_faults != 0 {
            self.own_fault_left_s -= dt_s;
            if self.own_fault_left_s <= 0.0 {
                self.own_faults = 0;
            }
            return;
        }
        if !self.spontaneous || self.age_s < QUIET_S || self.state != PressState::Running {
            return;
        }
        let mean_s = FAULT_MEAN_S / (0.5 + self.wear);
        if self.rng.happens(mean_s, dt_s) {
            self.own_faults = match self.rng.next_u32() % 4 {
                0 => FAULT_LOW_OIL,
                1 => FAULT_OVER_TEMPERATURE,
                _ => FAULT_HYDRAULIC,
            };
            self.own_fault_left_s = self.rng.between(6.0, 20.0);
            if self.own_faults == FAULT_OVER_TEMPERATURE {
                self.body_c = self.body_c.max(OVER_TEMPERATURE_C);
            }
        }
    }

    fn choose_state(&mut self) {
        self.state = if self.fault_bits() != 0 {
            PressState::Fault
        } else if self.commanded {
            PressState::Running
        } else if self.idle_s > IDLE_TO_OFF_S {
            PressState::Off
        } else {
            PressState::Idle
        };
    }

    fn fault_bits(&self) -> u16 {
        self.forced_faults | self.own_faults
    }

    fn step_stroke(&mut self, dt_s: f64) {
        let mut speed_target = match self.state {
            PressState::Running => SPEED_NOMINAL_RPM,
            PressState::Idle => SPEED_IDLE_RPM,
            PressState::Off | PressState::Fault => 0.0,
        };
        let mut pressure_target = match self.state {
            PressState::Running | PressState::Idle => PRESSURE_REST_BAR,
            PressState::Off | PressState::Fault => 0.0,
        };
        if self.state == PressState::Running {
            self.stroke_phase += dt_s / self.stroke_s;
            while self.stroke_phase >= 1.0 {
                self.stroke_phase -= 1.0;
                self.cycles = self.cycles.wrapping_add(1);
                self.wear += 1.0 / WEAR_STROKES;
                if self.wear >= 1.0 {
                    self.wear = 0.05; // new bearings
                }
            }
            if self.pressing() {
                pressure_target = f64::from(self.set_point_bar);
                speed_target -= 110.0;
            }
        }
        approach(&mut self.speed_rpm, speed_target, SPEED_TIME_S, dt_s);
        approach(&mut self.pressure_bar, pressure_target, PRESSURE_TIME_S, dt_s);
    }

    fn step_heat(&mut self, dt_s: f64) {
        let target = match self.state {
            PressState::Running => LOADED_C,
            PressState::Fault if self.fault_bits() & FAULT_OVER_TEMPERATURE != 0 => COOLING_LOST_C,
            PressState::Idle => AMBIENT_C + 18.0,
            PressState::Off | PressState::Fault => AMBIENT_C,
        };
        approach(&mut self.body_c, target, WARM_UP_TIME_S, dt_s);
        if self.pressing() {
            self.body_c += STROKE_FRICTION_C_PER_S * dt_s;
        }
    }

    fn measure(&mut self) {
        let speed_share = self.speed_rpm / SPEED_NOMINAL_RPM;
        let pressing = if self.pressing() { 1.0 } else { 0.0 };
        let vibration = 0.25 + 1.6 * speed_share * (1.0 + 2.2 * self.wear) + 0.7 * pressing + self.rng.noise(0.06);
        let load_share = self.pressure_bar / f64::from(SET_POINT_MAX_BAR);
        let base_kw = match self.state {
            PressState::Running => 4.0,
            PressState::Idle => 2.2,
            PressState::Fault => 0.6,
            PressState::Off => 0.05,
        };
        let power = base_kw + 6.0 * speed_share + 52.0 * load_share + self.rng.noise(0.1);
        let temperature = self.body_c + self.rng.noise(0.15);
        let pressure = self.pressure_bar + self.rng.noise(0.3);
        let speed = self.speed_rpm + self.rng.noise(2.0);
        self.readings = PressReadings {
            temperature_c: single(temperature),
            vibration_mm_s: single(vibration.max(0.0)),
            speed_rpm: single(speed.max(0.0)),
            pressure_bar: single(pressure.max(0.0)),
            set_point_bar: self.set_point_bar,
            cycles: self.cycles,
            state: self.state,
            faults: self.fault_bits(),
            power_kw: power.max(0.0),
        };
    }
}

/// First-order lag: moves `value` towards `target` with the given time constant.
pub(super) fn approach(value: &mut f64, target: f64, time_s: f64, dt_s: f64) {
    *value += (target - *value) * (1.0 - (-dt_s / time_s).exp());
}

/// An instrument's single precision.
#[expect(clippy::cast_possible_truncation, reason = "instruments report 32-bit floats")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[path = "press_tests.rs"]
mod tests;
