//! The business side of the simulated plant: systems that say what reached them and what took effect,
//! servers that run against them, and what every test of deliveries must find on the other side.

use super::site::Site;
use super::{Server, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The configuration that the documentation shows; the tests run it with other addresses.
const REFERENCE: &str = include_str!("../../docs/examples/plant.toml");
/// How long a test waits where a minute of the clock must pass first.
pub const LONG_PATIENCE: Duration = Duration::from_secs(240);
/// Retries, breaker and deadline with which an outage ends within moments.
pub const HASTY: &str = "retry = { attempts = 100000, first = \"20ms\", max = \"200ms\" }\n\
     breaker = { failures = 5, open = \"100ms\", open_max = \"300ms\" }\ntimeout = \"400ms\"\n";

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in small letters.
    pub headers: HashMap<String, String>,
    /// Its JSON; null where it has none.
    pub body: Value,
}

impl Answer {
    /// The kind of a problem (RFC 9457), or nothing.
    pub fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or_default()
    }

    /// Whether it is 2xx.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Posts JSON; `None` where nobody answers.
pub fn post(url: &str, headers: &[(&str, &str)], body: &Value) -> Option<Answer> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into();
    let request = headers.iter().fold(agent.post(url), |request, (name, value)| request.header(*name, *value));
    let mut answer = request.send_json(body).ok()?;
    let text = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned())
    };
    let headers = answer.headers().iter().map(text).collect();
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_json().unwrap_or(Value::Null);
    Some(Answer { status, headers, body })
}

/// Waits longer than usual.
pub fn wait_long<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(start.elapsed() < LONG_PATIENCE, "waited {LONG_PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One business system of the plant.
pub struct System {
    /// Its base URL.
    pub url: String,
    name: &'static str,
    switches: String,
}

impl System {
    /// Makes it misbehave, e.g. `{"mode": "down"}`; in force when this returns.
    pub fn fault(&self, order: &Value) {
        let answer = post(&format!("{}/system/{}", self.switches, self.name), &[], order).expect("the switches answer");
        assert_eq!(answer.status, 200, "{order}: {:?}", answer.body);
    }

    /// The same with a mode alone.
    pub fn mode(&self, mode: &str) {
        self.fault(&json!({ "mode": mode }));
    }

    /// JSON of one of its paths, asked until it answers.
    pub fn get(&self, path: &str) -> Value {
        wait_for(&format!("{} answers {path}", self.name), || {
            let mut answer = ureq::get(format!("{}{path}", self.url)).call().ok()?;
            answer.body_mut().with_config().limit(256 << 20).read_json().ok()
        })
    }

    /// Posts to it in a person's name.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = post(&format!("{}{path}", self.url), &[], body).expect("it answers");
        assert!(answer.is_good(), "{} {path}: {answer:?}", self.name);
        answer.body
    }

    fn list(&self, list: &str, field: &str, path: &str) -> Vec<Value> {
        self.get(&format!("/{list}?path={path}"))[field].as_array().expect("a list").clone()
    }

    /// Every request on a path, oldest first.
    pub fn received(&self, path: &str) -> Vec<Value> {
        self.list("_received", "requests", path)
    }

    /// What took effect on a path, oldest first.
    pub fn effects(&self, path: &str) -> Vec<Value> {
        self.list("_effects", "effects", path)
    }

    /// Bodies of what took effect on a path.
    pub fn bodies(&self, path: &str) -> Vec<Value> {
        self.effects(path).into_iter().map(|effect| effect["body"].clone()).collect()
    }
}

impl Site {
    fn system(&self, name: &'static str, at: std::net::SocketAddr) -> System {
        System { url: format!("http://{at}"), name, switches: format!("http://{}", self.at.switches) }
    }

    /// Enterprise resource planning.
    pub fn erp(&self) -> System {
        self.system("erp", self.at.erp)
    }

    /// Warehouse management.
    pub fn wms(&self) -> System {
        self.system("wms", self.at.wms)
    }

    /// Manufacturing execution.
    pub fn mes(&self) -> System {
        self.system("mes", self.at.mes)
    }

    /// Maintenance.
    pub fn cmms(&self) -> System {
        self.system("cmms", self.at.cmms)
    }

    /// The customer portal.
    pub fn portal(&self) -> System {
        self.system("portal", self.at.portal)
    }

    /// Has the systems post to a server what they are told to post.
    pub fn feed(&self, server: &Server) {
        let order = json!({ "to": server.url(""), "period_ms": 0 });
        let answer = post(&format!("http://{}/feeds", self.at.switches), &[], &order).expect("the switches answer");
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The oven as it is, whatever a server believes.
    pub fn set_point(&self) -> f64 {
        let mut answer = ureq::get(format!("http://{}/", self.at.switches)).call().expect("the switches answer");
        let plant: Value = answer.body_mut().read_json().expect("JSON");
        plant["oven"]["set_point_c"].as_f64().expect("a set point")
    }

    /// The reference configuration with this plant's addresses and two presses, without its
    /// `[server]` and `[cores]`.
    pub fn reference(&self) -> String {
        let from = REFERENCE.find("[[source]]").expect("sources");
        let text = &REFERENCE[from..];
        let press = &text[..text[1..].find("\n[[source]]").expect("another source") + 2];
        let second = press.replace("press1", "press2").replace("127.0.0.1:5021", &self.at.presses[1].to_string());
        let mut text = format!("{second}{text}");
        for (from, to) in [
            ("127.0.0.1:5021", self.at.presses[0].to_string()),
            ("127.0.0.1:5025", self.at.meters.to_string()),
            ("opc.tcp://127.0.0.1:4840/plant", self.at.oven.clone()),
            ("127.0.0.1:9101", self.at.erp.to_string()),
            ("127.0.0.1:9102", self.at.wms.to_string()),
            ("127.0.0.1:9103", self.at.mes.to_string()),
            ("127.0.0.1:9104", self.at.cmms.to_string()),
            ("127.0.0.1:9105", self.at.portal.to_string()),
            // an outage of the reference is given minutes; the tests' outages last moments
            ("retry = { attempts = 12, first = \"500ms\", max = \"1m\" }\n", String::new()),
        ] {
            text = text.replace(from, &to);
        }
        let flows = ["cmms-ticket", "erp-replan", "portal-delay", "goods-receipt-to-erp", "oven-state-to-mes"];
        flows.iter().fold(text, |text, flow| tuned(&text, flow, &HASTY.replace("400ms", "2s")))
    }
}

/// A configuration with these lines behind the name of a section.
pub fn tuned(text: &str, name: &str, lines: &str) -> String {
    let named = |line: &str| {
        let (key, value) = line.split_once('=').unwrap_or_default();
        key.trim() == "name" && value.trim() == format!("{name:?}")
    };
    assert_eq!(text.lines().filter(|line| named(line)).count(), 1, "{name} is there once");
    text.lines().map(|line| if named(line) { format!("{line}\n{lines}") } else { format!("{line}\n") }).collect()
}

/// A port that the system gives to nobody by itself: a server that is killed and started again would
/// lose another one to any connection.
pub fn kept_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: Mutex<Option<u32>> = Mutex::new(None);
    let mut next = NEXT.lock().expect("no test panics here");
    loop {
        let candidate = next.unwrap_or_else(|| std::process::id().wrapping_mul(41)) % COUNT;
        *next = Some(candidate + 1);
        let port = u16::try_from(FIRST + candidate).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// A server in this time zone with these sections, ready.
    pub fn start_in(time_zone: &str, sections: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let (http, native) = (kept_port(), kept_port());
        let mut server = Server { folder, http, native, io: "auto".to_owned(), process: None };
        let data = server.folder.path().join("data").display().to_string();
        let text = format!(
            "[server]\ndata_dir = {data:?}\nhttp = \"127.0.0.1:{http}\"\nnative = \"127.0.0.1:{native}\"\n\
             time_zone = {time_zone:?}\n\n[cores]\ncount = 1\n\n{sections}"
        );
        server.configure(&text);
        server.run();
        server
    }

    /// Its configuration.
    pub fn configuration(&self) -> String {
        fs::read_to_string(self.folder.path().join("millstream.toml")).expect("a configuration")
    }

    /// Writes its configuration; the next start reads it.
    pub fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("millstream.toml"), text).expect("written");
    }

    /// Posts JSON; `None` where it does not answer.
    pub fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        post(&self.url(path), &[], body)
    }

    /// Posts JSON to what must answer.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).unwrap_or_else(|| panic!("no answer to POST {path}\n{}", self.log()))
    }

    /// Posts what must be taken.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let answer = self.post(path, body);
        assert!(answer.is_good(), "POST {path} {body}: {answer:?}\n{}", self.log());
        answer
    }

    /// A flow as it is now.
    pub fn flow(&self, name: &str) -> Value {
        self.ask(&format!("/v1/flows/{name}"))
    }

    /// Waits until so many tries of a flow have failed since the start.
    pub fn fails(&self, name: &str, tries: u64) {
        wait_for(&format!("{tries} tries of {name} fail"), || {
            (self.flow(name)["attempts_failed"].as_u64() >= Some(tries)).then_some(())
        });
    }

    /// The lines of the audit, newest first.
    pub fn audit(&self) -> Vec<Value> {
        self.ask("/v1/audit?limit=10000").as_array().expect("a list").clone()
    }
}

/// What took effect, as numbers by key in their order: bodies with `key` and `n`.
pub fn ledger(bodies: &[Value]) -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for body in bodies {
        let (Some(key), Some(n)) = (body["key"].as_str(), body["n"].as_u64()) else {
            panic!("{body} has no key and n")
        };
        found.entry(key.to_owned()).or_default().push(n);
    }
    found
}

/// Every key with 1 to its last number, once each, in order: nothing lost, nothing twice, nothing
/// out of order.
pub fn complete(last: &BTreeMap<String, u64>) -> BTreeMap<String, Vec<u64>> {
    last.iter().filter(|(_, n)| **n > 0).map(|(key, n)| (key.clone(), (1..=*n).collect())).collect()
}

/// Each delivery was tried with one `Idempotency-Key` and one body, and no two shared a key; answers
/// the most tries that one had.
pub fn same_on_every_try(received: &[Value]) -> usize {
    let mut bodies: HashMap<&str, (&Value, usize)> = HashMap::new();
    let mut keys: HashMap<String, &str> = HashMap::new();
    for request in received {
        let key = request["idempotency_key"].as_str().unwrap_or_else(|| panic!("without a key: {request}"));
        let body = &request["body"];
        let known = bodies.entry(key).or_insert((body, 0));
        assert_eq!(known.0, body, "another body under the key {key}");
        known.1 += 1;
        assert_eq!(*keys.entry(body.to_string()).or_insert(key), key, "one body under two keys: {body}");
    }
    bodies.values().map(|(_, tries)| *tries).max().unwrap_or_default()
}

/// A small generator of numbers (Steele, Lea, Flood 2014), so that a run can be had again.
pub struct Random(pub u64);

impl Random {
    /// The next number below a limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}
