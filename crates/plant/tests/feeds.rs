//! What the business systems send by themselves, at a receiver that can fail.

mod wire;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::any;
use millstream_plant::{FeedOptions, Plant, PlantError, PlantOptions};
use serde_json::{Value, json};
use wire::{call, plant, switch};

/// A request as the receiver saw it: path, idempotency key, body.
type Seen = (String, String, Value);

/// A receiver that records, and refuses as often as it is told to.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    refuse: Arc<Mutex<Vec<u16>>>,
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let receiver = Receiver { address, seen: Arc::default(), refuse: Arc::default() };
        let router = Router::new().fallback(any(take)).with_state(receiver.clone());
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
        receiver
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// Answers so many of the next requests so.
    fn refuse(&self, status: u16, count: usize) {
        self.refuse.lock().expect("not poisoned").extend(std::iter::repeat_n(status, count));
    }

    /// Tells the plant to send here.
    async fn feed(&self, plant: &Plant, period_ms: u64) {
        let order = json!({ "to": format!("http://{}", self.address), "period_ms": period_ms }).to_string();
        let answer = call(plant.addresses().switches, "POST", "/feeds", &order).await;
        assert_eq!((answer.status, &answer.body["period_ms"]), (200, &json!(period_ms)));
    }

    async fn until(&self, what: &str, holds: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let begun = Instant::now();
        loop {
            let seen = self.seen();
            if holds(&seen) {
                return seen;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}; seen {seen:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    receiver.seen.lock().expect("not poisoned").push((uri.path().to_owned(), key, body.clone()));
    let refusal = receiver.refuse.lock().expect("not poisoned").pop();
    match refusal {
        Some(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        None if uri.path().contains("/requests/") => {
            let available = if body["material"] == "scarce" { 1 } else { 1_000 };
            Json(json!({ "reply": { "material": body["material"], "available": available } })).into_response()
        }
        None => (StatusCode::CREATED, Json(json!({ "version": 1 }))).into_response(),
    }
}

async fn posted(address: SocketAddr) -> Vec<Value> {
    call(address, "GET", "/_posted", "").await.body["posted"].as_array().expect("a list").clone()
}

async fn until_settled(address: SocketAddr, count: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let posted = posted(address).await;
        if posted.len() >= count && posted.iter().all(|posting| posting["state"] != "waiting") {
            return posted;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "never settled: {posted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_receipt_is_sent_until_it_is_acknowledged_with_one_key_and_one_body() {
    let (plant, receiver) = (plant().await, Receiver::start().await);
    let wms = plant.addresses().wms;
    // Made before there is a receiver: it waits.
    let made = call(wms, "POST", "/receipts", r#"{"material": "M 1", "quantity": 40, "note": "first"}"#).await;
    assert_eq!(made.status, 201);
    let id = made.body["receipt"].as_str().expect("an id").to_owned();
    receiver.refuse(503, 2);
    receiver.feed(&plant, 0).await;
    let seen = receiver.until("three tries", |seen| seen.len() >= 3).await;
    assert!(seen.iter().all(|try_| *try_ == seen[0]), "{seen:?}");
    let (path, key, body) = &seen[0];
    assert_eq!((path.as_str(), key), ("/v1/records/goods-receipt", &id));
    assert_eq!((&body["material"], &body["quantity"], &body["note"]), (&json!("M 1"), &json!(40), &json!("first")));
    assert!(body["time"].as_str().is_some_and(|time| time.ends_with('Z')) && body["location"].is_string());
    let journal = until_settled(wms, 1).await;
    let posting = &journal[0];
    assert_eq!((&posting["id"], &posting["status"], &posting["tries"]), (&json!(id), &json!(201), &json!(3)));
    assert_eq!((&posting["state"], &posting["body"]), (&json!("acknowledged"), body));
    assert_eq!(posting["answer"], json!({ "version": 1 }));
    let later = call(wms, "GET", "/_posted?after=1", "").await;
    assert_eq!((&later.body["total"], &later.body["posted"]), (&json!(1), &json!([])));
    plant.stop().await;
}

#[tokio::test]
async fn receipts_of_a_material_keep_their_order_while_the_receiver_fails() {
    let (plant, receiver) = (plant().await, Receiver::start().await);
    let wms = plant.addresses().wms;
    receiver.feed(&plant, 0).await;
    receiver.refuse(500, 5);
    for number in 0..12 {
        let material = ["A", "B", "C"][number % 3];
        let body = json!({ "material": material, "quantity": number + 1 }).to_string();
        assert_eq!(call(wms, "POST", "/receipts", &body).await.status, 201);
    }
    let journal = until_settled(wms, 12).await;
    assert!(journal.iter().all(|posting| posting["state"] == "acknowledged"));
    let mut by_material: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (_, _, body) in receiver.seen() {
        let quantities = by_material.entry(body["material"].to_string()).or_default();
        let quantity = body["quantity"].as_u64().expect("a number");
        if quantities.last() != Some(&quantity) {
            quantities.push(quantity);
        }
    }
    assert_eq!(by_material.into_values().collect::<Vec<_>>(), [[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]]);
    plant.stop().await;
}

#[tokio::test]
async fn a_system_that_posts_twice_sends_each_thing_twice_with_its_own_key() {
    let (plant, receiver) = (plant().await, Receiver::start().await);
    let mes = plant.addresses().mes;
    switch(&plant, "/system/mes", "twice").await;
    receiver.feed(&plant, 0).await;
    for kind in ["labour", "consumption", "yield"] {
        let made = call(mes, "POST", "/entries", &json!({ "kind": kind, "work_order": "WO-7" }).to_string()).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let journal = until_settled(mes, 3).await;
    assert!(journal.iter().all(|posting| posting["acknowledgements"] == json!(2)), "{journal:?}");
    let mut times: HashMap<(String, String, String), usize> = HashMap::new();
    for (path, key, body) in receiver.seen() {
        assert_eq!((&body["entry_id"], &body["work_order"]), (&json!(key), &json!("WO-7")));
        assert!(body.get("kind").is_none());
        *times.entry((path, key, body.to_string())).or_default() += 1;
    }
    assert_eq!(times.values().copied().collect::<Vec<_>>(), [2, 2, 2]);
    let mut paths: Vec<String> = times.into_keys().map(|(path, ..)| path).collect();
    paths.sort();
    assert_eq!(paths, ["/v1/records/consumption", "/v1/records/labour", "/v1/records/yield"]);
    let wrong = call(mes, "POST", "/entries", r#"{"kind": "coffee"}"#).await;
    assert_eq!(wrong.status, 422);
    plant.stop().await;
}

#[tokio::test]
async fn systems_send_by_themselves_and_stop_when_told() {
    let receiver = Receiver::start().await;
    let feeds = FeedOptions { to: format!("http://{}/", receiver.address), period: Duration::from_millis(20) };
    let plant = Plant::start(PlantOptions { feeds: Some(feeds), ..PlantOptions::default() }).await.expect("starts");
    let at = plant.addresses().clone();
    let of = |seen: &[Seen], path: &str| seen.iter().filter(|(p, ..)| p == path).count();
    let paths = [
        "/v1/records/goods-receipt",
        "/v1/records/labour",
        "/v1/records/consumption",
        "/v1/records/yield",
        "/v1/requests/material-availability",
    ];
    receiver.until("all of them", |seen| paths.iter().all(|path| of(seen, path) >= 3)).await;
    let view = call(at.switches, "GET", "/", "").await.body;
    assert_eq!(view["feeds"]["to"], json!(format!("http://{}", receiver.address)));
    assert!(view["systems"][1]["posted"]["total"].as_u64() >= Some(3), "{view}");
    assert_eq!(view["systems"][3]["posted"], json!(null));
    let off = call(at.switches, "POST", "/feeds", r#"{"to": null}"#).await;
    assert_eq!((off.status, &off.body), (200, &json!(null)));
    assert_eq!(call(at.switches, "GET", "/feeds", "").await.body, json!(null));
    // What was under way ends; then nothing is made any more.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let totals = || async { (posted(at.wms).await.len(), posted(at.mes).await.len(), posted(at.erp).await.len()) };
    let before = totals().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(totals().await, before);
    let keys: Vec<String> = receiver.seen().into_iter().map(|(_, key, _)| key).collect();
    let different: std::collections::HashSet<&String> = keys.iter().collect();
    assert_eq!(different.len(), keys.len(), "every posting has a key of its own");
    plant.stop().await;
}

#[tokio::test]
async fn a_work_order_is_released_only_on_an_answer_with_enough_in_it() {
    let (plant, receiver) = (plant().await, Receiver::start().await);
    let erp = plant.addresses().erp;
    receiver.refuse(504, 1);
    receiver.feed(&plant, 0).await;
    for material in ["plenty", "scarce"] {
        let body = json!({ "material": material, "quantity": 100 }).to_string();
        assert_eq!(call(erp, "POST", "/work-orders", &body).await.status, 201);
    }
    until_settled(erp, 2).await;
    let asked = call(erp, "GET", "/_asked", "").await.body["asked"].as_array().expect("a list").clone();
    let of = |material: &str| asked.iter().find(|asked| asked["material"] == material).expect("asked").clone();
    let (plenty, scarce) = (of("plenty"), of("scarce"));
    assert_eq!((&plenty["released"], &plenty["available"]), (&json!(true), &json!(1000.0)));
    assert_eq!((&scarce["released"], &scarce["status"]), (&json!(false), &json!(200)));
    let tries: u64 = asked.iter().filter_map(|asked| asked["tries"].as_u64()).sum();
    assert_eq!(tries, 3, "the one without an answer was asked again");
    plant.stop().await;
}

#[tokio::test]
async fn a_refused_document_is_given_up_and_the_next_goes_on() {
    let (plant, receiver) = (plant().await, Receiver::start().await);
    let wms = plant.addresses().wms;
    receiver.refuse(422, 1);
    receiver.feed(&plant, 0).await;
    for quantity in [-1, 5] {
        call(wms, "POST", "/receipts", &json!({ "material": "A", "quantity": quantity }).to_string()).await;
    }
    let journal = until_settled(wms, 2).await;
    let states: Vec<&Value> = journal.iter().map(|posting| &posting["state"]).collect();
    assert_eq!(states, [&json!("refused"), &json!("acknowledged")]);
    assert_eq!(receiver.seen().len(), 2);
    plant.stop().await;
}

#[tokio::test]
async fn a_system_that_hangs_sends_nothing_until_it_is_mended() {
    let (plant, receiver) = (plant().await, Receiver::start().await);
    let mes = plant.addresses().mes;
    receiver.feed(&plant, 0).await;
    call(mes, "POST", "/entries", r#"{"kind": "yield"}"#).await;
    until_settled(mes, 1).await;
    switch(&plant, "/system/mes", "hang").await;
    receiver.feed(&plant, 20).await;
    receiver.until("the others", |seen| seen.iter().filter(|(path, ..)| path.contains("goods")).count() > 4).await;
    assert_eq!(posted(mes).await.len(), 1);
    switch(&plant, "/system/mes", "ok").await;
    receiver.until("it again", |seen| seen.iter().filter(|(path, ..)| path.contains("/labour")).count() > 1).await;
    plant.stop().await;
}

#[tokio::test]
async fn a_target_that_is_none_is_explained() {
    let feeds = FeedOptions { to: "127.0.0.1:8080".into(), period: Duration::ZERO };
    let error = match Plant::start(PlantOptions { feeds: Some(feeds), ..PlantOptions::default() }).await {
        Ok(_) => panic!("started with nowhere to post to"),
        Err(error) => error,
    };
    assert!(matches!(error, PlantError::Feeds { .. }) && error.to_string().contains("http://"), "{error}");
    let plant = plant().await;
    let wrong = call(plant.addresses().switches, "POST", "/feeds", r#"{"to": "ftp://x"}"#).await;
    assert_eq!(wrong.status, 422);
    plant.stop().await;
}
