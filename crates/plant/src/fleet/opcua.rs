//! A fleet of devices behind one OPC UA server.
//!
//! Namespace `urn:riverside:fleet`: folder `Fleet` below Objects, in it a folder `d{device}` per
//! device, in that a Double variable `d{device}.t{tag}` per tag; and in a folder `Points` the Int32
//! variables `p{point}`, which clients may write and which change in no other way.
//!
//! Invariants:
//! - Every variable of a device changes once per tick, those of one part of the fleet with the same
//!   source timestamp. None leaves a tick out: where the server can't keep up, ticks come later.
//! - A value is `index × 2^32 + tick` with `index = device × tags_per_device + tag`: exact in a
//!   Double, and both parts can be read back from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opcua::nodes::VariableBuilder;
use opcua::server::address_space::AddressSpace;
use opcua::types::{
    DataTypeId, DataValue, DateTime, NodeId, ObjectId, QualifiedName, StatusCode, VariableTypeId, Variant,
};
use tokio::time::MissedTickBehavior;

use crate::error::PlantError;
use crate::port::Port;
use crate::shared::Shared;
use crate::task::Task;
use crate::ua::{Endpoint, Launch, NodeHooks};

const NAMESPACE_URI: &str = "urn:riverside:fleet";
const PATH: &str = "/fleet";
/// Ticks that fit below the index in a value.
const TICK_SPAN: f64 = 4_294_967_296.0;
/// Variables in one fleet, points included: the index has 21 bits above the tick's 32 in a Double's 53.
const TAGS_MAX: usize = 1 << 21;

/// What a fleet is, where it listens and how it changes.
#[derive(Clone, Copy, Debug)]
pub struct OpcuaFleetOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address that its endpoints name, where clients reach it by way of another; else that at
    /// which it listens.
    pub named: Option<SocketAddr>,
    /// Devices.
    pub devices: usize,
    /// Variables of each.
    pub tags_per_device: usize,
    /// Variables that can be written.
    pub points: usize,
    /// Every variable of a device changes once in it.
    pub every: Duration,
    /// Parts of the fleet that change one after the other, spread over `every`; one: all at once.
    pub parts: usize,
}

/// What a fleet has done.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    ticks: u32,
    changes: u64,
}

/// A running server.
pub struct OpcuaFleet {
    url: String,
    endpoint: Arc<Endpoint>,
    ticker: Task,
    done: Shared<Done>,
}

impl OpcuaFleet {
    /// Starts a server.
    ///
    /// # Errors
    /// [`PlantError::FleetSize`] for no variable, more than 2,097,152, no part, or a period that is
    /// too short for its parts; else as [`crate::Plant::start`].
    pub async fn start(options: OpcuaFleetOptions) -> Result<Self, PlantError> {
        let OpcuaFleetOptions { devices, tags_per_device, points, every, .. } = options;
        let tags = devices.saturating_mul(tags_per_device);
        let part = tags.div_ceil(options.parts.max(1)).max(1);
        let pause = every.checked_div(u32::try_from(tags.div_ceil(part)).unwrap_or(u32::MAX)).unwrap_or_default();
        if tags == 0 || tags.saturating_add(points) > TAGS_MAX || options.parts == 0 || pause.is_zero() {
            return Err(PlantError::FleetSize {
                detail: format!(
                    "an OPC UA fleet of {devices} devices with {tags_per_device} tags each and {points} points, \
                     changing every {every:?} in {} parts, can't be made; ask for 1 to {TAGS_MAX} tags and points \
                     in all, at least one part and a period above zero",
                    options.parts
                ),
            });
        }
        let mut port = Port::open("opcua fleet", options.listen)?;
        let address = port.address();
        let hooks = Arc::new(FleetNodes { devices, tags_per_device, points });
        let launch = Launch { what: "fleet", address: options.named.unwrap_or(address), path: PATH, hooks };
        let listener =
            port.listener().map_err(|source| PlantError::Bind { what: "opcua fleet".to_owned(), address, source })?;
        let endpoint = Arc::new(launch.start(listener).await?);
        let namespace = endpoint.namespace(NAMESPACE_URI).ok_or_else(|| PlantError::Opcua {
            what: "fleet".to_owned(),
            endpoint: launch.url(),
            detail: "it does not know its own namespace".to_owned(),
        })?;
        let nodes: Vec<NodeId> =
            (0..tags).map(|index| variable(namespace, index / tags_per_device, index % tags_per_device)).collect();
        let done = Shared::new(Done::default());
        let ticker = Task::spawn(tick(Arc::clone(&endpoint), nodes, part, pause, done.clone()));
        Ok(Self { url: launch.url(), endpoint, ticker, done })
    }

    /// The endpoint URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.url
    }

    /// Ticks so far: every variable has shown the values of the ticks 0 to this one.
    #[must_use]
    pub fn ticks(&self) -> u32 {
        self.done.lock().ticks
    }

    /// Changes of a value so far, of all variables together.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.done.lock().changes
    }

    /// What the variable with the given index, `device × tags_per_device + tag`, shows after
    /// `tick` changes.
    #[must_use]
    pub fn value(index: u32, tick: u32) -> f64 {
        f64::from(index) * TICK_SPAN + f64::from(tick)
    }

    /// Stops the server and frees its port.
    pub async fn stop(self) {
        self.ticker.stop().await;
        if let Some(endpoint) = Arc::into_inner(self.endpoint) {
            endpoint.stop().await;
        }
    }
}

/// Changes one part after the other, each with a pause behind it; all of them are a tick.
async fn tick(endpoint: Arc<Endpoint>, nodes: Vec<NodeId>, part: usize, pause: Duration, done: Shared<Done>) {
    let mut interval = tokio::time::interval(pause);
    // What is late is made up for, so that the rate is what was asked for as long as the server can.
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    interval.tick().await;
    loop {
        let tick = done.lock().ticks.wrapping_add(1);
        for (nodes, first) in nodes.chunks(part).zip((0..).step_by(part)) {
            interval.tick().await;
            let now = DateTime::now();
            let values = nodes
                .iter()
                .zip(first..)
                .map(|(node, index)| (node, DataValue::new_at(OpcuaFleet::value(index, tick), now)));
            if let Err(status) = endpoint.publish(values) {
                tracing::warn!(%status, "the fleet's values could not be shown");
            }
            done.lock().changes += nodes.len() as u64;
        }
        done.lock().ticks = tick;
    }
}

struct FleetNodes {
    devices: usize,
    tags_per_device: usize,
    points: usize,
}

impl NodeHooks for FleetNodes {
    fn namespace_uri(&self) -> &str {
        NAMESPACE_URI
    }

    fn populate(&self, space: &mut AddressSpace, namespace: u16) {
        let fleet = NodeId::new(namespace, "Fleet");
        let browse = |name: &str| QualifiedName::new(namespace, name);
        space.add_folder(&fleet, browse("Fleet"), "Fleet", &ObjectId::ObjectsFolder.into());
        let mut indices = 0..;
        for device in 0..self.devices {
            let name = format!("d{device}");
            let folder = NodeId::new(namespace, name.as_str());
            space.add_folder(&folder, browse(&name), name.as_str(), &fleet);
            for (tag, index) in (0..self.tags_per_device).zip(&mut indices) {
                let name = format!("t{tag}");
                VariableBuilder::new(&variable(namespace, device, tag), browse(&name), name.as_str())
                    .value(OpcuaFleet::value(index, 0))
                    .data_type(DataTypeId::Double)
                    .has_type_definition(VariableTypeId::BaseDataVariableType)
                    .organized_by(folder.clone())
                    .insert(space);
            }
        }
        let points = NodeId::new(namespace, "Points");
        space.add_folder(&points, browse("Points"), "Points", &fleet);
        for point in 0..self.points {
            let name = format!("p{point}");
            VariableBuilder::new(&NodeId::new(namespace, name.as_str()), browse(&name), name.as_str())
                .value(0_i32)
                .data_type(DataTypeId::Int32)
                .has_type_definition(VariableTypeId::BaseDataVariableType)
                .writable()
                .organized_by(points.clone())
                .insert(space);
        }
    }

    /// Only points are writable variables, so only they come here.
    fn write(&self, _node: &NodeId, _value: &Variant) -> Result<(), StatusCode> {
        Ok(())
    }

    fn call(&self, _method: &NodeId) -> Result<Vec<Variant>, StatusCode> {
        Err(StatusCode::BadMethodInvalid)
    }
}

fn variable(namespace: u16, device: usize, tag: usize) -> NodeId {
    NodeId::new(namespace, format!("d{device}.t{tag}"))
}
