//! An energy meter: it reports a power and counts its integral.
//!
//! Invariant: energy rises by exactly reported power × time (kWh = kW × s ÷ 3600), and never
//! falls.

const SECONDS_PER_HOUR: f64 = 3_600.0;

/// What a meter shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeterReadings {
    /// Counter, kWh.
    pub energy_kwh: f64,
    /// Present power, kW.
    pub power_kw: f32,
}

/// One meter.
#[derive(Debug)]
pub struct Meter {
    energy_kwh: f64,
    power_kw: f32,
}

impl Meter {
    /// A meter whose counter stands at `energy_kwh`.
    #[must_use]
    pub fn new(energy_kwh: f64) -> Self {
        Self { energy_kwh, power_kw: 0.0 }
    }

    /// What the meter shows now.
    #[must_use]
    pub fn readings(&self) -> MeterReadings {
        MeterReadings { energy_kwh: self.energy_kwh, power_kw: self.power_kw }
    }

    /// Lets `dt_s` seconds pass at `power_kw`; a negative or undefined power counts as none.
    pub fn step(&mut self, dt_s: f64, power_kw: f64) {
        self.power_kw = super::press::single(power_kw.max(0.0));
        self.energy_kwh += f64::from(self.power_kw) * dt_s / SECONDS_PER_HOUR;
    }
}

#[cfg(test)]
mod tests {
    use super::Meter;

    #[test]
    fn energy_is_the_integral_of_the_reported_power() {
        let mut meter = Meter::new(500.0);
        let mut integral = 0.0;
        for step in 0..72_000 {
            let power = 20.0 + 10.0 * (f64::from(step) / 500.0).sin();
            meter.step(0.05, power);
            integral += f64::from(meter.readings().power_kw) * 0.05;
        }
        let gained = meter.readings().energy_kwh - 500.0;
        assert!((gained - integral / 3_600.0).abs() < 1e-6, "gained {gained}");
        assert!((19.0..21.0).contains(&gained), "an hour at about 20 kW gains {gained}");
    }

    #[test]
    fn power_that_makes_no_sense_does_not_turn_the_counter_back() {
        let mut meter = Meter::new(1.0);
        meter.step(10.0, -5.0);
        meter.step(10.0, f64::NAN);
        assert_eq!(meter.readings().energy_kwh, 1.0);
    }
}
