//! A fleet of devices behind one OPC UA server.
//!
//! Namespace `urn:riverside:fleet`: folder `Fleet` below Objects, in it a folder `d{device}` per
//! device, in that a Double variable `d{device}.t{tag}` per tag.
//!
//! Invariants:
//! - Every variable changes once per tick, all with the same source timestamp.
//! - A value is `index × 2^32 + tick` with `index = device × tags_per_device + tag`: exact in a
//!   Double, and both parts can be read back from it.

use std::net::{IpAddr, SocketAddr};
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
/// Variables in one fleet: the index has 21 bits above the tick's 32 in a Double's 53.
const TAGS_MAX: usize = 1 << 21;

/// A running server.
pub struct OpcuaFleet {
    url: String,
    endpoint: Arc<Endpoint>,
    ticker: Task,
    ticks: Shared<u32>,
}

impl OpcuaFleet {
    /// Starts a server at `bind`:`port` (0 takes a free port) with `devices` ×
    /// `tags_per_device` variables that change every `every`.
    ///
    /// # Errors
    /// [`PlantError::FleetSize`] for no variable, more than 2,097,152, or a period of zero; else
    /// as [`crate::Plant::start`].
    pub async fn start(
        bind: IpAddr,
        port: u16,
        devices: usize,
        tags_per_device: usize,
        every: Duration,
    ) -> Result<Self, PlantError> {
        let tags = devices.saturating_mul(tags_per_device);
        if tags == 0 || tags > TAGS_MAX || every.is_zero() {
            return Err(PlantError::FleetSize {
                detail: format!(
                    "an OPC UA fleet of {devices} devices with {tags_per_device} tags each, \
                     changing every {every:?}, can't be made; ask for 1 to {TAGS_MAX} tags in all \
                     and a period above zero"
                ),
            });
        }
        let mut port = Port::open("opcua fleet", SocketAddr::new(bind, port))?;
        let address = port.address();
        let launch =
            Launch { what: "fleet", address, path: PATH, hooks: Arc::new(FleetNodes { devices, tags_per_device }) };
        let listener =
            port.listener().map_err(|source| PlantError::Bind { what: "opcua fleet".to_owned(), address, source })?;
        let endpoint = Arc::new(launch.start(listener).await?);
        let namespace = endpoint.namespace(NAMESPACE_URI).ok_or_else(|| PlantError::Opcua {
            what: "fleet".to_owned(),
            endpoint: launch.url(),
            detail: "it does not know its own namespace".to_owned(),
        })?;
        let nodes =
            (0..tags).map(|index| variable(namespace, index / tags_per_device, index % tags_per_device)).collect();
        let ticks = Shared::new(0);
        let ticker = Task::spawn(tick(Arc::clone(&endpoint), nodes, every, ticks.clone()));
        Ok(Self { url: launch.url(), endpoint, ticker, ticks })
    }

    /// The endpoint URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.url
    }

    /// Ticks so far: every variable has shown the values of the ticks 0 to this one.
    #[must_use]
    pub fn ticks(&self) -> u32 {
        *self.ticks.lock()
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

async fn tick(endpoint: Arc<Endpoint>, nodes: Vec<NodeId>, every: Duration, ticks: Shared<u32>) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval.tick().await;
    loop {
        interval.tick().await;
        let tick = ticks.lock().wrapping_add(1);
        let now = DateTime::now();
        let values =
            nodes.iter().zip(0..).map(|(node, index)| (node, DataValue::new_at(OpcuaFleet::value(index, tick), now)));
        if let Err(status) = endpoint.publish(values) {
            tracing::warn!(%status, "the fleet's values could not be shown");
        }
        *ticks.lock() = tick;
    }
}

struct FleetNodes {
    devices: usize,
    tags_per_device: usize,
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
    }

    fn write(&self, _node: &NodeId, _value: &Variant) -> Result<(), StatusCode> {
        Err(StatusCode::BadNotWritable)
    }

    fn call(&self, _method: &NodeId) -> Result<Vec<Variant>, StatusCode> {
        Err(StatusCode::BadMethodInvalid)
    }
}

fn variable(namespace: u16, device: usize, tag: usize) -> NodeId {
    NodeId::new(namespace, format!("d{device}.t{tag}"))
}
