//! Reads the Modbus kind of `[[source]]`.

use std::collections::HashMap;

use toml::de::DeValue;

use super::convert::Raw;
use super::parts::range;
use super::row::Row;
use super::tree::Tree;
use crate::{ModbusAddress, ModbusSource, ModbusTag, ModbusUnit, RegisterAddress, RegisterType, WordOrder, names};

/// The words of `type`. The length of a text stands beside it, in `registers`.
const TYPES: [(&str, RegisterType); 10] = [
    ("bool", RegisterType::Bool),
    ("u16", RegisterType::U16),
    ("i16", RegisterType::I16),
    ("u32", RegisterType::U32),
    ("i32", RegisterType::I32),
    ("u64", RegisterType::U64),
    ("i64", RegisterType::I64),
    ("f32", RegisterType::F32),
    ("f64", RegisterType::F64),
    ("text", RegisterType::Text { registers: 0 }),
];

const ORDERS: [(&str, WordOrder); 4] =
    [("ABCD", WordOrder::Abcd), ("DCBA", WordOrder::Dcba), ("BADC", WordOrder::Badc), ("CDAB", WordOrder::Cdab)];

pub(super) fn source(row: &Row<'_>, path: &str, tree: &mut Tree) -> ModbusSource {
    let address = row.parsed("address", str::parse::<ModbusAddress>);
    let units = units(row);
    let (demote_for, demote_max) = (row.duration("demote_for"), row.duration("demote_max"));
    if demote_for > demote_max && !demote_max.is_zero() {
        let name = if row.has("demote_for") { "demote_for" } else { "demote_max" };
        row.refuse(name, "demote_for is longer than demote_max", "write a demote_max that is at least demote_for");
    }
    let max_registers = row.whole("max_registers").unwrap_or_default();
    let rows = row.tables("tag");
    let room = tree.reserve(row, rows.len(), units.len());
    let tags = rows.iter().map(|tag_row| {
        let tag = tag(tag_row, max_registers);
        if room && !path.is_empty() && !tag.name.is_empty() {
            for unit in &units {
                let middle = unit.name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
                if !tree.tag(tag_row, format!("{path}{middle}/{}", tag.name)) {
                    break; // the other units would say the same
                }
            }
        }
        tag
    });
    ModbusSource {
        tags: tags.collect(),
        address: address.unwrap_or(ModbusAddress { host: String::new(), port: 0 }),
        units,
        every: row.duration("every"),
        timeout: row.duration("timeout"),
        depth: row.whole("depth"),
        depth_max: row.whole("depth_max").unwrap_or_default(),
        coalesce_gap: row.whole("coalesce_gap"),
        max_registers,
        max_bits: row.whole("max_bits").unwrap_or_default(),
        connect_delay: row.duration("connect_delay"),
        request_delay: row.duration("request_delay"),
        busy_retries: row.whole("busy_retries").unwrap_or_default(),
        demote_after: row.whole("demote_after").unwrap_or_default(),
        demote_for,
        demote_max,
    }
}

const BROADCAST: &str = "unit 0 is broadcast: no device answers it";
const UNITS_RIGHT: &str = "write units = { 1 = \"meter1\", 2 = \"meter2\" }, with unit ids 1 to 255";

fn units(row: &Row<'_>) -> Vec<ModbusUnit> {
    if row.has("units") {
        if row.has("unit_id") {
            row.refuse_key(
                "unit_id",
                "unit_id stands beside units",
                "keep one of the two: units for several devices behind one address",
            );
        }
        return named_units(row);
    }
    if matches!(row.peek("unit_id"), Some(Raw::Whole(0))) {
        row.refuse("unit_id", BROADCAST, "write the device's unit id, 1 to 255; many devices take 1 or 255");
        return Vec::new();
    }
    row.whole("unit_id").map(|unit_id| ModbusUnit { unit_id, name: None }).into_iter().collect()
}

fn named_units(row: &Row<'_>) -> Vec<ModbusUnit> {
    let Some((key, value)) = row.value("units") else { return Vec::new() };
    let DeValue::Table(table) = value.get_ref() else {
        row.refuse_type(key, value);
        return Vec::new();
    };
    if table.is_empty() {
        row.refuse("units", "units names no unit", UNITS_RIGHT);
    }
    let mut units: Vec<ModbusUnit> = Vec::new();
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for (id, name) in table.iter() {
        let text = id.get_ref().as_ref();
        let path = format!("{}.{text}", row.path_of("units"));
        let refuse = |at: std::ops::Range<usize>, what: &str, fix: &str| row.cx.report(&at, &path, what, fix);
        let unit_id = text.parse::<u8>().ok().filter(|number| number.to_string() == text);
        match unit_id {
            Some(0) => refuse(id.span(), BROADCAST, UNITS_RIGHT),
            None => refuse(id.span(), &format!("{text:?} is no unit id"), UNITS_RIGHT),
            Some(_) => {}
        }
        let DeValue::String(segment) = name.get_ref() else {
            refuse(name.span(), &format!("the name of unit {text} is no text"), UNITS_RIGHT);
            continue;
        };
        if let Err(invalid) = names::check_segment(segment) {
            refuse(name.span(), &invalid.what, &invalid.fix);
            continue;
        }
        if let Some(other) = taken.insert(segment, text) {
            refuse(
                name.span(),
                &format!("units {other} and {text} are both called {segment:?}"),
                "give each unit a name of its own",
            );
            continue;
        }
        if let Some(unit_id) = unit_id {
            units.push(ModbusUnit { unit_id, name: Some(segment.clone().into_owned()) });
        }
    }
    units.sort_by_key(|unit| unit.unit_id);
    units
}

fn tag(row: &Row<'_>, max_registers: u16) -> ModbusTag {
    let at = row.parsed("at", str::parse::<RegisterAddress>);
    let kind = kind(row, at);
    if let (Some(at), Some(kind)) = (at, kind) {
        check_place(row, at, kind, max_registers);
    }
    let scale = row.number("scale");
    if scale == Some(0.0) {
        row.refuse("scale", "scale: with 0 every value is the same", "write a scale other than 0, for instance 0.1");
    }
    let at = at.unwrap_or(RegisterAddress { area: crate::Area::HoldingRegister, address: 0, bit: None });
    ModbusTag {
        name: row.required_text("name"),
        at,
        kind: kind.unwrap_or(RegisterType::U16),
        order: row.choice("order", &ORDERS).unwrap_or_default(),
        scale: scale.unwrap_or_default(),
        offset: row.number("offset").unwrap_or_default(),
        unit: row.text("unit"),
        range: range(row, "range"),
        deadband: row.number("deadband").unwrap_or_default(),
        heartbeat: row.duration("heartbeat"),
        every: row.optional_duration("every"),
    }
}

/// The type that is written, or what `at` makes of it.
fn kind(row: &Row<'_>, at: Option<RegisterAddress>) -> Option<RegisterType> {
    let bits = at.is_some_and(|at| at.bit.is_some() || !at.area.is_registers());
    let kind = match (row.has("type"), bits) {
        (true, _) => row.choice("type", &TYPES)?,
        (false, true) => RegisterType::Bool,
        (false, false) => RegisterType::U16,
    };
    let registers: Option<u16> = row.whole("registers");
    let text = matches!(kind, RegisterType::Text { .. });
    match (text, row.has("registers")) {
        (true, false) => {
            row.refuse("type", "a text needs its length", "add registers = 8 (two characters a register)");
            None
        }
        (true, true) => registers.map(|registers| RegisterType::Text { registers }),
        (false, true) => {
            row.refuse_key("registers", "registers is only for type = \"text\"", "remove it, or write type = \"text\"");
            Some(kind)
        }
        (false, false) => Some(kind),
    }
}

/// Do address and type go together?
fn check_place(row: &Row<'_>, at: RegisterAddress, kind: RegisterType, max_registers: u16) {
    let bool_ = kind == RegisterType::Bool;
    let typed = if row.has("type") { "type" } else { "at" };
    if !at.area.is_registers() && !bool_ {
        let what = format!("{at} holds bits, not numbers or texts");
        row.refuse(typed, &what, "write type = \"bool\", or an address in holding or input");
    } else if at.bit.is_some() && !bool_ {
        row.refuse(
            typed,
            &format!("{at} is one bit of a register"),
            "write type = \"bool\", or leave the bit out of at",
        );
    } else if bool_ && at.area.is_registers() && at.bit.is_none() {
        let fix =
            format!("name the bit: at = \"{}:{}.0\" to \".15\", or use a type of numbers", at.area.word(), at.address);
        row.refuse("at", &format!("{at} is a whole register, and a bool is one bit"), &fix);
    }
    let registers = kind.registers();
    if u32::from(at.address) + u32::from(registers) > 65_536 {
        let what = format!("{registers} registers from {at} on reach past the last register, 65535");
        row.refuse("at", &what, &format!("write an address up to {}", 65_536 - u32::from(registers)));
    }
    if at.area.is_registers() && max_registers > 0 && registers > max_registers {
        let what = format!("the value takes {registers} registers, and one read takes at most {max_registers}");
        row.refuse(typed, &what, "raise max_registers of the source, or take a shorter type");
    }
    let numbers = !bool_ && !matches!(kind, RegisterType::Text { .. });
    for name in ["scale", "offset", "range", "deadband"] {
        if !numbers && row.has(name) {
            let word = if bool_ { "a bool" } else { "a text" };
            row.refuse_key(name, &format!("{name} has no meaning for {word}"), "remove it");
        }
    }
}
