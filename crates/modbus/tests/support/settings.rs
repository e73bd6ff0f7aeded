//! Settings for tests.

use config::{Area, ModbusAddress, ModbusSource, ModbusTag, ModbusUnit, RegisterAddress, RegisterType, WordOrder};
use std::time::Duration;

/// A tag of a kind at a place.
pub fn tag(area: Area, address: u16, kind: RegisterType) -> ModbusTag {
    ModbusTag {
        name: format!("{}{address}", area.word()),
        at: RegisterAddress { area, address, bit: None },
        kind,
        order: WordOrder::Abcd,
        scale: 1.0,
        offset: 0.0,
        unit: None,
        range: None,
        deadband: 0.0,
        heartbeat: Duration::ZERO,
        every: None,
    }
}

/// A source with units 1 to `units`, the defaults of the configuration, and a 100 ms cycle.
pub fn source(port: u16, units: u8, tags: Vec<ModbusTag>) -> ModbusSource {
    let name = |unit_id: u8| (units > 1).then(|| format!("u{unit_id}"));
    ModbusSource {
        address: ModbusAddress { host: "127.0.0.1".into(), port },
        units: (1..=units).map(|unit_id| ModbusUnit { unit_id, name: name(unit_id) }).collect(),
        every: Duration::from_millis(100),
        timeout: Duration::from_millis(200),
        depth: Some(1),
        depth_max: 16,
        coalesce_gap: Some(16),
        max_registers: 125,
        max_bits: 2000,
        connect_delay: Duration::ZERO,
        request_delay: Duration::ZERO,
        busy_retries: 2,
        demote_after: 3,
        demote_for: Duration::from_secs(10),
        demote_max: Duration::from_secs(300),
        tags,
    }
}
