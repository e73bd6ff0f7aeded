//! The oven over OPC UA: the raw handshake, and then a foreign client's whole round.

mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_plant::Plant;
use millstream_plant::fleet::{OpcuaFleet, OpcuaFleetOptions};
use opcua::client::{ClientBuilder, DataChangeCallback, IdentityToken, MonitoredItem, Session};
use opcua::types::{
    BrowseDescription, BrowseDirection, DataValue, MessageSecurityMode, MonitoredItemCreateRequest, NodeClassMask,
    NodeId, ObjectId, ReadValueId, ReferenceTypeId, StatusCode, TimestampsToReturn, UserTokenPolicy, Variant,
    WriteValue,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wire::{PATIENCE, plant, switch};

/// A client of an endpoint and the index of its one own namespace, 2.
struct Client {
    session: Arc<Session>,
    loops: tokio::task::JoinHandle<StatusCode>,
    _pki: tempfile::TempDir,
}

const NAMESPACE: u16 = 2;

impl Client {
    async fn connect(url: &str) -> Self {
        let pki = tempfile::tempdir().expect("a directory");
        let mut client = ClientBuilder::new()
            .application_name("test")
            .application_uri("urn:test")
            .pki_dir(pki.path())
            .session_retry_limit(0)
            .max_array_length(100_000)
            .client()
            .expect("a client");
        let endpoint = (url, "None", MessageSecurityMode::None, UserTokenPolicy::anonymous());
        let (session, event_loop) =
            client.connect_to_matching_endpoint(endpoint, IdentityToken::Anonymous).await.expect("an endpoint");
        let loops = event_loop.spawn();
        assert!(timeout(PATIENCE, session.wait_for_connection()).await.expect("connects in time"));
        Self { session, loops, _pki: pki }
    }

    async fn read(&self, name: &str) -> DataValue {
        let node = ReadValueId::from(NodeId::new(NAMESPACE, name));
        self.session.read(&[node], TimestampsToReturn::Both, 0.0).await.expect("reads").remove(0)
    }

    async fn write(&self, name: &str, value: impl Into<Variant>) -> StatusCode {
        let write = WriteValue {
            node_id: NodeId::new(NAMESPACE, name),
            attribute_id: opcua::types::AttributeId::Value as u32,
            value: DataValue::value_only(value),
            ..Default::default()
        };
        self.session.write(&[write]).await.expect("writes")[0]
    }

    async fn children(&self, node: impl Into<NodeId>) -> Vec<String> {
        let browse = BrowseDescription {
            node_id: node.into(),
            browse_direction: BrowseDirection::Forward,
            reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
            include_subtypes: true,
            node_class_mask: NodeClassMask::empty().bits(),
            result_mask: 63,
        };
        let result = self.session.browse(&[browse], 1_000, None).await.expect("browses").remove(0);
        let references = result.references.unwrap_or_default();
        let mut names: Vec<String> =
            references.iter().map(|reference| reference.browse_name.name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// Subscribes to nodes at 50 ms; answers the items' statuses and the stream of values.
    async fn subscribe(&self, names: &[&str]) -> (Vec<StatusCode>, mpsc::UnboundedReceiver<(NodeId, DataValue)>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let callback = DataChangeCallback::new(move |value, item: &MonitoredItem| {
            let _gone = sender.send((item.item_to_monitor().node_id.clone(), value));
        });
        let subscription = self
            .session
            .create_subscription(Duration::from_millis(50), 100, 10, 0, 0, true, callback)
            .await
            .expect("subscribes");
        let items = names
            .iter()
            .map(|name| {
                let mut item = MonitoredItemCreateRequest::from(NodeId::new(NAMESPACE, *name));
                item.requested_parameters.sampling_interval = 50.0;
                item.requested_parameters.queue_size = 10;
                item
            })
            .collect();
        let created = self
            .session
            .create_monitored_items(subscription, TimestampsToReturn::Both, items)
            .await
            .expect("creates items");
        let statuses = created.iter().map(|item| item.result.status_code).collect();
        (statuses, receiver)
    }

    async fn close(self) {
        let _said = timeout(PATIENCE, self.session.disconnect()).await;
        self.loops.abort();
    }
}

fn double(value: &DataValue) -> f64 {
    match value.value {
        Some(Variant::Double(value)) => value,
        ref other => panic!("no double: {other:?}"),
    }
}

fn socket(plant: &Plant) -> String {
    let url = &plant.addresses().oven;
    let address = url.strip_prefix("opc.tcp://").expect("an OPC UA URL");
    address.strip_suffix("/plant").expect("the path").to_owned()
}

#[tokio::test]
async fn the_port_acknowledges_a_raw_hello() {
    let plant = plant().await;
    let url = plant.addresses().oven.clone();
    let mut hello = b"HELF".to_vec();
    hello.extend((32 + url.len() as u32).to_le_bytes());
    for word in [0, 65_535, 65_535, 0, 0, url.len() as u32] {
        hello.extend(u32::to_le_bytes(word));
    }
    hello.extend(url.as_bytes());
    let mut stream = TcpStream::connect(socket(&plant)).await.expect("connects");
    stream.write_all(&hello).await.expect("sends");
    let mut answer = [0; 28];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer[..4], b"ACKF");
    assert_eq!(answer[4..8], 28_u32.to_le_bytes());
    plant.stop().await;
}

#[tokio::test]
async fn a_client_browses_reads_writes_and_calls() {
    let plant = plant().await;
    let client = Client::connect(&plant.addresses().oven).await;
    let objects = client.children(ObjectId::ObjectsFolder).await;
    assert!(objects.contains(&"Zones".to_owned()), "{objects:?}");
    let zones = client.children(NodeId::new(NAMESPACE, "Zones")).await;
    assert_eq!(zones.len(), 12, "{zones:?}");
    let properties = client.children(NodeId::new(NAMESPACE, "SetPoint")).await;
    assert_eq!(properties, ["EURange", "EngineeringUnits"]); // upper case sorts first

    let zone = client.read("Zone1.Temperature").await;
    assert!((10.0..250.0).contains(&double(&zone)));
    assert!(zone.source_timestamp.is_some());
    assert!(matches!(client.read("Recipe").await.value, Some(Variant::String(_))));
    assert!(matches!(client.read("State").await.value, Some(Variant::Int32(1 | 2))));
    assert_eq!(client.read("Nothing").await.status, Some(StatusCode::BadNodeIdUnknown));

    assert_eq!(client.write("SetPoint", 95.5_f64).await, StatusCode::Good);
    assert_eq!(double(&client.read("SetPoint").await), 95.5);
    for outside in [19.9, 240.1, f64::NAN] {
        let status = client.write("SetPoint", outside).await;
        assert_eq!(status, StatusCode::BadOutOfRange);
    }
    assert_eq!(client.write("SetPoint", "hot").await, StatusCode::BadTypeMismatch);
    assert_eq!(double(&client.read("SetPoint").await), 95.5);
    assert!(client.write("Zone1.Temperature", 1.0_f64).await.is_bad());

    let method = |name: &str| NodeId::new(NAMESPACE, name);
    let start = || (method("Oven"), method("StartCycle"), None);
    let first = client.session.call_one(start()).await.expect("calls");
    assert_eq!(first.status_code, StatusCode::Good);
    assert_eq!(first.output_arguments, Some(vec![Variant::UInt32(2)]));
    switch(&plant, "/oven", "fault").await;
    let refused = client.session.call_one(start()).await.expect("calls");
    assert_eq!(refused.status_code, StatusCode::BadInvalidState);
    client.close().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_subscription_sees_every_zone_move_and_a_write_at_once() {
    let plant = plant().await;
    let client = Client::connect(&plant.addresses().oven).await;
    let names = ["Zone1.Temperature", "Zone12.Temperature", "SetPoint", "Nothing"];
    let (statuses, mut values) = client.subscribe(&names).await;
    assert_eq!(statuses[..3], [StatusCode::Good; 3]);
    assert_eq!(statuses[3], StatusCode::BadNodeIdUnknown);
    let mut seen = [0; 2];
    let mut last = None;
    timeout(PATIENCE, async {
        while seen.iter().any(|count| *count < 10) {
            let (node, value) = values.recv().await.expect("values go on");
            for (index, count) in seen.iter_mut().enumerate() {
                *count += u32::from(node == NodeId::new(NAMESPACE, names[index]));
            }
            if node == NodeId::new(NAMESPACE, names[0]) {
                assert!(value.source_timestamp > last, "source time stands still");
                last = value.source_timestamp;
            }
        }
    })
    .await
    .expect("ten changes each in time");
    assert_eq!(client.write("SetPoint", 123.0_f64).await, StatusCode::Good);
    timeout(PATIENCE, async {
        loop {
            let (node, value) = values.recv().await.expect("values go on");
            if node == NodeId::new(NAMESPACE, "SetPoint") && double(&value) == 123.0 {
                break;
            }
        }
    })
    .await
    .expect("the set point is notified");
    client.close().await;
    plant.stop().await;
}

#[tokio::test]
async fn stop_shuts_the_server_down_and_ok_brings_it_back_at_its_address() {
    let plant = plant().await;
    let url = plant.addresses().oven.clone();
    let client = Client::connect(&url).await;
    assert_eq!(client.write("SetPoint", 77.0_f64).await, StatusCode::Good);
    let start = Instant::now();
    switch(&plant, "/oven", "stop").await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(TcpStream::connect(socket(&plant)).await.is_err());
    client.loops.abort();
    switch(&plant, "/oven", "ok").await;
    let client = Client::connect(&url).await;
    assert_eq!(double(&client.read("SetPoint").await), 77.0);
    client.close().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_fleet_counts_in_every_variable() {
    let options = OpcuaFleetOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        named: None,
        devices: 4,
        tags_per_device: 25,
        points: 2,
        every: Duration::from_millis(100),
        parts: 3,
    };
    let fleet = OpcuaFleet::start(options).await.expect("a fleet");
    let client = Client::connect(fleet.address()).await;
    let tags = client.children(NodeId::new(NAMESPACE, "d3")).await;
    assert_eq!(tags.len(), 25);
    assert_eq!(client.write("p1", 7_i32).await, StatusCode::Good);
    assert_ne!(client.write("d3.t24", 7.0).await, StatusCode::Good);
    let (statuses, mut values) = client.subscribe(&["d3.t24"]).await;
    assert_eq!(statuses, [StatusCode::Good]);
    let mut ticks: Vec<u32> = Vec::new();
    timeout(PATIENCE, async {
        while ticks.len() < 10 {
            let (_, value) = values.recv().await.expect("values go on");
            ticks.push((double(&value) - OpcuaFleet::value(99, 0)) as u32);
        }
    })
    .await
    .expect("ten ticks in time");
    let gapless = ticks.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(gapless, "{ticks:?}");
    assert!(fleet.ticks() + 1 >= ticks[9] && fleet.changes() >= u64::from(ticks[9]) * 75, "{}", fleet.changes());
    client.close().await;
    fleet.stop().await;
}
