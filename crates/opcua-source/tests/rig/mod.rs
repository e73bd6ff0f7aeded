//! What the tests stand on: an OPC UA server in the same process, a pass that records, and a network
//! that can be cut. Nothing here asserts by time: waits poll for a condition, generously.

#![allow(dead_code, reason = "each test file uses a part of this")]

pub mod actuators;
pub mod proxy;

use config::{NodeRef, OpcuaBrowse, OpcuaSource, OpcuaTag, OpcuaUser, Secret};
use env::Clock;
use model::device::{Commander, DeviceAnswer, DeviceCommand, DeviceError, commands};
use model::{
    CommitError, Gap, GapReason, Intake, LogPosition, Reading, Refused, SourceId, SourceState, TagDeclaration, TagId,
    TimestampNs, Value,
};
use opcua::crypto::SecurityPolicy;
pub use opcua::server::ANONYMOUS_USER_TOKEN_ID as ANONYMOUS;
use opcua::server::address_space::Variable;
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{ServerBuilder, ServerHandle, ServerUserToken};
use opcua::types::{DataValue, DateTime, MessageSecurityMode, NodeId, Variant};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The test server's namespace.
pub const NAMESPACE: &str = "urn:test:oven";
/// A user that may log in beside anonymous.
pub const USER: &str = "operator";

/// A server with folder `Zones` (string identifier) and whatever variables a test adds.
pub struct Oven {
    pub handle: ServerHandle,
    pub manager: Arc<SimpleNodeManager>,
    pub namespace: u16,
    pub port: u16,
    task: JoinHandle<Result<(), String>>,
    _pki: tempfile::TempDir,
}

impl Oven {
    /// Starts on a port; 0 takes a free one. `before` are namespaces that come before the test's own,
    /// so that its index moves.
    pub async fn start(port: u16, before: &[&str]) -> Oven {
        Oven::start_with(port, before, |builder| builder).await
    }

    /// As [`Oven::start`], with a server that is configured otherwise.
    pub async fn start_with(port: u16, before: &[&str], with: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Oven {
        let listener = bind(port).await;
        let port = listener.local_addr().expect("bound").port();
        let pki = tempfile::tempdir().expect("temporary directory");
        let mut builder = ServerBuilder::new()
            .application_name("oven")
            .application_uri("urn:test:server")
            .product_uri("urn:test:server")
            .create_sample_keypair(false)
            .pki_dir(pki.path())
            .host("127.0.0.1")
            .port(port)
            .discovery_urls(vec![format!("opc.tcp://127.0.0.1:{port}/")])
            .subscription_poll_interval_ms(20)
            .max_array_length(100_000)
            .max_message_size(64 << 20)
            .max_chunk_count(4_096)
            .add_user_token(USER, ServerUserToken::user_pass(USER, "secret"))
            .add_endpoint(
                "none",
                ("/", SecurityPolicy::None, MessageSecurityMode::None, &[ANONYMOUS, USER] as &[&str]),
            );
        let limits = builder.limits_mut();
        limits.subscriptions.min_publishing_interval_ms = 20.0;
        limits.subscriptions.min_sampling_interval_ms = 20.0;
        limits.subscriptions.max_monitored_items_per_sub = 1_200;
        builder = with(builder);
        for uri in before {
            builder = builder.with_node_manager(namespace(uri));
        }
        let (server, handle) = builder.with_node_manager(namespace(NAMESPACE)).build().expect("valid configuration");
        let manager = handle.node_managers().get_by_name::<SimpleNodeManager>(NAMESPACE).expect("our node manager");
        let index = handle.get_namespace_index(NAMESPACE).expect("registered");
        let task = tokio::spawn(server.run_with(listener));
        let oven = Oven { handle, manager, namespace: index, port, task, _pki: pki };
        let folder = oven.node("Zones");
        oven.manager.address_space().write().add_folder(&folder, "Zones", "Zones", &NodeId::objects_folder_id());
        oven
    }

    pub fn node(&self, name: &str) -> NodeId {
        NodeId::new(self.namespace, name)
    }

    pub fn address(&self) -> String {
        format!("opc.tcp://127.0.0.1:{}/", self.port)
    }

    /// Adds a variable below `Zones`.
    pub fn add(&self, name: &str, value: impl Into<Variant>) {
        let variable = Variable::new(&self.node(name), name, name, value);
        let folder = self.node("Zones");
        self.manager.address_space().write().add_variables(vec![variable], &folder);
    }

    /// Sets a variable, now.
    pub fn set(&self, name: &str, value: impl Into<Variant>) {
        let value = DataValue::new_now(value);
        self.manager
            .set_value(self.handle.subscriptions(), &self.node(name), None, value)
            .expect("the variable is there");
    }

    /// Sets a variable with a time of the device's own.
    pub fn set_at(&self, name: &str, value: impl Into<Variant>, at: DateTime) {
        let value = DataValue { source_timestamp: Some(at), ..DataValue::new_now(value) };
        self.manager
            .set_value(self.handle.subscriptions(), &self.node(name), None, value)
            .expect("the variable is there");
    }

    /// Ids of all subscriptions of all sessions.
    pub fn subscriptions(&self) -> Vec<u32> {
        let sessions = (0..100).filter_map(|id| self.handle.subscriptions().get_session_subscriptions(id));
        sessions.flat_map(|session| session.lock().subscription_ids()).collect()
    }

    /// Stops the server, as if its process died: no goodbye to anybody.
    pub async fn stop(self) -> u16 {
        self.handle.cancel();
        self.task.abort();
        let _ = self.task.await;
        self.port
    }
}

fn namespace(uri: &str) -> impl opcua::server::node_manager::NodeManagerBuilder + 'static {
    let metadata = NamespaceMetadata { namespace_uri: uri.to_owned(), ..NamespaceMetadata::default() };
    simple_node_manager(metadata, uri)
}

async fn bind(port: u16) -> TcpListener {
    for _ in 0..200 {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("port {port} does not become free");
}

/// A pass that writes down what it is told, and is durable when the test says so.
#[derive(Default)]
pub struct Recorder {
    pub declared: RefCell<Vec<TagDeclaration>>,
    ids: RefCell<HashMap<String, TagId>>,
    pub submits: RefCell<Vec<(TimestampNs, Vec<Reading>)>>,
    pub gaps: RefCell<Vec<Gap>>,
    pub states: RefCell<Vec<SourceState>>,
    pub counts: RefCell<BTreeMap<&'static str, u64>>,
    /// Withholds durability.
    pub withhold: Cell<bool>,
    /// Takes nothing.
    pub busy: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Recorder {
    pub fn count_of(&self, counter: &str) -> u64 {
        self.counts.borrow().get(counter).copied().unwrap_or(0)
    }

    pub fn tag(&self, path: &str) -> Option<TagId> {
        self.ids.borrow().get(path).copied()
    }

    /// All readings of a tag, in order.
    pub fn readings(&self, path: &str) -> Vec<Reading> {
        let Some(tag) = self.tag(path) else {
            return Vec::new();
        };
        let submits = self.submits.borrow();
        submits.iter().flat_map(|(_, readings)| readings).filter(|reading| reading.tag == tag).cloned().collect()
    }

    /// All values of a tag, in order.
    pub fn values(&self, path: &str) -> Vec<Value> {
        self.readings(path).into_iter().filter_map(|reading| reading.value).collect()
    }

    pub fn state(&self) -> Option<SourceState> {
        self.states.borrow().last().cloned()
    }

    pub fn gaps_because(&self, reason: GapReason) -> Vec<Gap> {
        self.gaps.borrow().iter().filter(|gap| gap.reason == reason).copied().collect()
    }

    pub fn make_durable(&self) {
        self.withhold.set(false);
        self.wakers.borrow_mut().drain(..).for_each(Waker::wake);
    }
}

impl Intake for Recorder {
    fn source(&self, _: &str) -> Result<SourceId, Refused> {
        Ok(SourceId(1))
    }

    fn declare(&self, _: SourceId, tags: &[TagDeclaration]) -> Result<Vec<TagId>, Refused> {
        self.declared.borrow_mut().extend_from_slice(tags);
        let mut ids = self.ids.borrow_mut();
        let mut answer = Vec::new();
        for tag in tags {
            let next = TagId(ids.len() as u32 + 1);
            answer.push(*ids.entry(tag.path.as_str().to_owned()).or_insert(next));
        }
        Ok(answer)
    }

    fn submit(&self, _: SourceId, at: TimestampNs, readings: &[Reading]) -> Result<LogPosition, Refused> {
        if self.busy.get() {
            return Err(Refused::Busy);
        }
        let mut submits = self.submits.borrow_mut();
        submits.push((at, readings.to_vec()));
        Ok(LogPosition(submits.len() as u64))
    }

    fn gap(&self, gap: Gap) {
        self.gaps.borrow_mut().push(gap);
    }

    fn state(&self, _: SourceId, state: SourceState) {
        self.states.borrow_mut().push(state);
    }

    fn count(&self, _: SourceId, counter: &'static str, by: u64) {
        *self.counts.borrow_mut().entry(counter).or_default() += by;
    }

    fn poll_durable(&self, _: LogPosition, cx: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
        if self.withhold.get() {
            self.wakers.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

/// The machine's clocks.
pub struct RealClock(Instant);

impl Default for RealClock {
    fn default() -> Self {
        RealClock(Instant::now())
    }
}

impl Clock for RealClock {
    fn wall(&self) -> TimestampNs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        TimestampNs(i64::try_from(since.as_nanos()).expect("before 2262"))
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// Settings with short times, anonymous, without tags.
pub fn settings(address: String) -> OpcuaSource {
    OpcuaSource {
        address,
        security: "None".parse().expect("valid"),
        user: None,
        publishing: Duration::from_millis(50),
        sampling: Duration::from_millis(20),
        queue: 10,
        keep_alive: Duration::from_millis(500),
        watchdog: Duration::from_secs(3),
        timeout: Duration::from_secs(5),
        tags: Vec::new(),
        browse: Vec::new(),
    }
}

pub fn node_ref(name: &str) -> NodeRef {
    format!("nsu={NAMESPACE};s={name}").parse().expect("valid")
}

pub fn tag(name: &str, node: &str) -> OpcuaTag {
    OpcuaTag { name: name.into(), node: node_ref(node), unit: None, range: None, deadband: 0.0 }
}

pub fn folder(name: &str, node: &str) -> OpcuaBrowse {
    OpcuaBrowse { node: node_ref(node), name: name.into(), max: 10_000 }
}

pub fn operator() -> OpcuaUser {
    let password = Secret::Env { name: "MILLSTREAM_TEST_UNSET".into(), default: Some("secret".into()) };
    OpcuaUser { name: USER.into(), password }
}

/// A source under test, spawned on the current LocalSet.
pub struct Running {
    pub pass: Rc<Recorder>,
    pub pki: tempfile::TempDir,
    pub commander: Commander,
    clock: Rc<dyn Clock>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(settings: OpcuaSource, pass: Rc<Recorder>) -> Running {
        let pki = tempfile::tempdir().expect("temporary directory");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (commander, commands) = commands(64);
        let clock: Rc<dyn Clock> = Rc::new(RealClock::default());
        let run = millstream_opcua_source::run(
            "oven".into(),
            "plant/oven".into(),
            settings,
            pki.path().to_owned(),
            pass.clone(),
            clock.clone(),
            async move {
                let _ = stopped.await;
            },
            commands,
        );
        let task = tokio::task::spawn_local(run);
        Running { pass, pki, commander, clock, stop: Some(stop), task }
    }

    /// Gives a command with a deadline so many milliseconds from now.
    pub async fn command(&self, command: DeviceCommand, within_ms: u64) -> Result<DeviceAnswer, DeviceError> {
        let deadline = self.clock.monotonic_ns() + within_ms * 1_000_000;
        let answer = self.commander.submit(command, deadline);
        tokio::time::timeout(Duration::from_secs(60), answer).await.expect("it is answered")
    }

    pub async fn write(&self, tag: &str, value: Value) -> Result<DeviceAnswer, DeviceError> {
        self.command(DeviceCommand::Write { tag: tag.into(), value }, 20_000).await
    }

    pub async fn read(&self, tags: &[&str]) -> Result<DeviceAnswer, DeviceError> {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.command(DeviceCommand::Read { tags }, 20_000).await
    }

    /// Calls a method of the test's namespace.
    pub async fn call(&self, method: &str, arguments: Vec<Value>) -> Result<DeviceAnswer, DeviceError> {
        let node = |name: &str| format!("nsu={NAMESPACE};s={name}");
        let command = DeviceCommand::Call { object: node("Zones"), method: node(method), arguments };
        self.command(command, 20_000).await
    }

    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it stops").expect("it did not panic");
    }
}

/// Waits until something holds; panics with `what` and the pass's story after a minute.
pub async fn until(what: &str, pass: &Recorder, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!(
        "never: {what}\nstates {:?}\ncounts {:?}\ngaps {:?}",
        pass.states.borrow(),
        pass.counts.borrow(),
        pass.gaps.borrow()
    );
}
