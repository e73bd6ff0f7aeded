//! The paint oven as an OPC UA server.
//!
//! Namespace `urn:riverside:oven`, string identifiers:
//!
//! | node | what |
//! |---|---|
//! | `Zones` | folder below Objects, organises the twelve zones |
//! | `Zone1.Temperature` … `Zone12.Temperature` | Double, AnalogItemType, °C, EURange 0..300 |
//! | `Oven` | object below Objects, has the nodes below as components |
//! | `State` | Int32, MultiStateDiscreteType: 0 Idle, 1 Heating, 2 Curing, 3 Cooling, 4 Fault |
//! | `SetPoint` | Double, AnalogItemType, °C, EURange 20..240, writable |
//! | `ConveyorSpeed` | Double, AnalogItemType, m/min, EURange 0..5 |
//! | `Recipe` | String |
//! | `StartCycle` | method of `Oven`: no input, output `CycleNumber` UInt32 |
//!
//! Invariants:
//! - A write to `SetPoint` outside its range answers BadOutOfRange and changes nothing.
//! - Values are set every step with their source timestamp; `SetPoint` only when it is written.
//!
//! Standards: OPC UA Part 8 (5.3.2 AnalogItemType, 5.3.3 discrete items), Part 3 (methods).

use opcua::nodes::{MethodBuilder, ObjectBuilder, VariableBuilder};
use opcua::server::address_space::AddressSpace;
use opcua::types::{
    Argument, DataTypeId, DataValue, DateTime, EUInformation, ExtensionObject, LocalizedText, NodeId, ObjectId,
    ObjectTypeId, Range, StatusCode, VariableTypeId, Variant, VariantScalarTypeId,
};

use crate::physics::{OvenReadings, OvenState, SET_POINT_MAX_C, SET_POINT_MIN_C, StartRefused, World, ZONE_COUNT};
use crate::shared::Shared;
use crate::ua::{Endpoint, NodeHooks};

/// URI of the oven's namespace.
pub(crate) const NAMESPACE_URI: &str = "urn:riverside:oven";
/// Path of the oven's endpoint URL.
pub(crate) const PATH: &str = "/plant";

const ZONE_RANGE_C: (f64, f64) = (0.0, 300.0);
const CONVEYOR_RANGE: (f64, f64) = (0.0, 5.0);
/// Unit of an analog node: its sign and its UNECE code as an Int32 (Part 8, 5.6.3).
struct Unit {
    sign: &'static str,
    name: &'static str,
    code: [u8; 3],
}
const CELSIUS: Unit = Unit { sign: "°C", name: "degree Celsius", code: *b"CEL" };
const METRE_PER_MINUTE: Unit = Unit { sign: "m/min", name: "metre per minute", code: *b"2X\0" };

/// The oven's nodes and what writing and calling them does.
pub(crate) struct OvenNodes {
    /// The machines.
    pub(crate) world: Shared<World>,
}

impl NodeHooks for OvenNodes {
    fn namespace_uri(&self) -> &str {
        NAMESPACE_URI
    }

    fn populate(&self, space: &mut AddressSpace, namespace: u16) {
        let now = self.world.lock().oven();
        let oven = node(namespace, "Oven");
        let zones = node(namespace, "Zones");
        ObjectBuilder::new(&oven, browse(namespace, "Oven"), "Oven")
            .has_type_definition(ObjectTypeId::BaseObjectType)
            .organized_by(ObjectId::ObjectsFolder)
            .insert(space);
        ObjectBuilder::new(&zones, browse(namespace, "Zones"), "Zones")
            .is_folder()
            .organized_by(ObjectId::ObjectsFolder)
            .insert(space);
        for (index, celsius) in now.zones_c.iter().enumerate() {
            let name = zone_name(index);
            let builder = VariableBuilder::new(&node(namespace, &name), browse(namespace, &name), name.as_str())
                .value(*celsius)
                .organized_by(zones.clone());
            analog(space, builder, namespace, &name, ZONE_RANGE_C, &CELSIUS);
        }
        let component = |name: &str| {
            VariableBuilder::new(&node(namespace, name), browse(namespace, name), name).component_of(oven.clone())
        };
        let builder = component("SetPoint").value(now.set_point_c).writable();
        let range = (SET_POINT_MIN_C, SET_POINT_MAX_C);
        analog(space, builder, namespace, "SetPoint", range, &CELSIUS);
        let builder = component("ConveyorSpeed").value(now.conveyor_m_min);
        analog(space, builder, namespace, "ConveyorSpeed", CONVEYOR_RANGE, &METRE_PER_MINUTE);
        component("Recipe")
            .value(now.recipe)
            .data_type(DataTypeId::String)
            .has_type_definition(VariableTypeId::BaseDataVariableType)
            .insert(space);
        component("State")
            .value(now.state as i32)
            .data_type(DataTypeId::Int32)
            .has_type_definition(VariableTypeId::MultiStateDiscreteType)
            .insert(space);
        property(
            space,
            namespace,
            "State",
            "EnumStrings",
            DataTypeId::LocalizedText,
            Variant::from((
                VariantScalarTypeId::LocalizedText,
                OvenState::NAMES.iter().map(|name| Variant::from(LocalizedText::new("", name))).collect::<Vec<_>>(),
            )),
        );
        start_cycle(space, namespace, &oven);
    }

    fn write(&self, node: &NodeId, value: &Variant) -> Result<(), StatusCode> {
        if !is(node, "SetPoint") {
            return Err(StatusCode::BadNotWritable);
        }
        let Variant::Double(celsius) = value else {
            return Err(StatusCode::BadTypeMismatch);
        };
        if self.world.lock().oven_mut().set_set_point(*celsius) { Ok(()) } else { Err(StatusCode::BadOutOfRange) }
    }

    fn call(&self, method: &NodeId) -> Result<Vec<Variant>, StatusCode> {
        if !is(method, "StartCycle") {
            return Err(StatusCode::BadMethodInvalid);
        }
        match self.world.lock().oven_mut().start_cycle() {
            Ok(number) => Ok(vec![Variant::UInt32(number)]),
            Err(StartRefused) => Err(StatusCode::BadInvalidState),
        }
    }
}

/// The nodes that change with every step, and their values.
pub(crate) struct OvenFeed {
    zones: [NodeId; ZONE_COUNT],
    state: NodeId,
    conveyor: NodeId,
    recipe: NodeId,
}

impl OvenFeed {
    /// The feed of a server; `None` if it does not know the oven's namespace.
    pub(crate) fn new(endpoint: &Endpoint) -> Option<Self> {
        let namespace = endpoint.namespace(NAMESPACE_URI)?;
        Some(Self {
            zones: std::array::from_fn(|index| node(namespace, &zone_name(index))),
            state: node(namespace, "State"),
            conveyor: node(namespace, "ConveyorSpeed"),
            recipe: node(namespace, "Recipe"),
        })
    }

    /// Shows the readings on the server, with now as their source timestamp.
    pub(crate) fn publish(&self, endpoint: &Endpoint, readings: &OvenReadings) -> Result<(), StatusCode> {
        let now = DateTime::now();
        let zones =
            self.zones.iter().zip(readings.zones_c).map(|(node, celsius)| (node, DataValue::new_at(celsius, now)));
        let rest = [
            (&self.state, DataValue::new_at(readings.state as i32, now)),
            (&self.conveyor, DataValue::new_at(readings.conveyor_m_min, now)),
            (&self.recipe, DataValue::new_at(readings.recipe, now)),
        ];
        endpoint.publish(zones.chain(rest))
    }
}

fn start_cycle(space: &mut AddressSpace, namespace: u16, oven: &NodeId) {
    let method = node(namespace, "StartCycle");
    let output = Argument {
        name: "CycleNumber".into(),
        data_type: DataTypeId::UInt32.into(),
        value_rank: -1,
        array_dimensions: None,
        description: LocalizedText::new("en", "Number of the cycle that was started"),
    };
    MethodBuilder::new(&method, browse(namespace, "StartCycle"), "StartCycle")
        .component_of(oven.clone())
        .executable(true)
        .user_executable(true)
        .output_args(space, &node(namespace, "StartCycle.OutputArguments"), &[output])
        .insert(space);
}

/// Inserts an AnalogItemType variable with its two properties (OPC UA Part 8, 5.3.2.3).
fn analog(
    space: &mut AddressSpace,
    builder: VariableBuilder,
    namespace: u16,
    name: &str,
    (low, high): (f64, f64),
    unit: &Unit,
) {
    builder.data_type(DataTypeId::Double).has_type_definition(VariableTypeId::AnalogItemType).insert(space);
    let range = ExtensionObject::from_message(Range { low, high });
    property(space, namespace, name, "EURange", DataTypeId::Range, range.into());
    let [a, b, c] = unit.code;
    let trimmed = if c == 0 { [0, 0, a, b] } else { [0, a, b, c] };
    let units = ExtensionObject::from_message(EUInformation {
        namespace_uri: "http://www.opcfoundation.org/UA/units/un/cefact".into(),
        unit_id: i32::from_be_bytes(trimmed),
        display_name: LocalizedText::new("", unit.sign),
        description: LocalizedText::new("en", unit.name),
    });
    property(space, namespace, name, "EngineeringUnits", DataTypeId::EUInformation, units.into());
}

fn property(space: &mut AddressSpace, namespace: u16, owner: &str, name: &str, data_type: DataTypeId, value: Variant) {
    let rank = if matches!(value, Variant::Array(_)) { 1 } else { -1 };
    // The browse names of standard properties are in the standard's namespace, 0.
    VariableBuilder::new(&node(namespace, &format!("{owner}.{name}")), name, name)
        .property_of(node(namespace, owner))
        .has_type_definition(VariableTypeId::PropertyType)
        .data_type(data_type)
        .value_rank(rank)
        .value(value)
        .insert(space);
}

fn zone_name(index: usize) -> String {
    format!("Zone{}.Temperature", index + 1)
}

fn node(namespace: u16, name: &str) -> NodeId {
    NodeId::new(namespace, name)
}

fn browse(namespace: u16, name: &str) -> opcua::types::QualifiedName {
    opcua::types::QualifiedName::new(namespace, name)
}

fn is(node: &NodeId, name: &str) -> bool {
    matches!(&node.identifier, opcua::types::Identifier::String(text) if text.as_ref() == name)
}
