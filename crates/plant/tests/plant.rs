//! The plant as a whole: overview, errors, and that it leaves nothing behind.

mod wire;

use std::net::TcpListener;

use millstream_plant::{Plant, PlantError, PlantOptions, Ports};
use serde_json::json;
use wire::{call, plant, switch};

#[tokio::test]
async fn the_overview_names_every_part_its_address_and_its_fault() {
    let plant = plant().await;
    let at = plant.addresses().clone();
    switch(&plant, "/press/3", "silent").await;
    switch(&plant, "/system/mes", "twice").await;
    switch(&plant, "/oven", "fault").await;
    switch(&plant, "/spontaneous", "off").await;
    let view = call(at.switches, "GET", "/", "").await.body;
    assert_eq!(view["presses"][2]["name"], "press3");
    assert_eq!(view["presses"][2]["mode"], "silent");
    assert_eq!(view["presses"][0]["address"], json!(at.presses[0]));
    assert_eq!(view["presses"][0]["state"], "running");
    assert_eq!(view["meters"]["mode"], "ok");
    assert_eq!(view["oven"]["address"], json!(at.oven));
    assert_eq!(view["oven"]["state"], "Fault");
    assert_eq!(view["systems"][2]["name"], "mes");
    assert_eq!(view["systems"][2]["fault"]["mode"], "twice");
    assert_eq!(view["systems"][0]["address"], json!(at.erp));
    assert_eq!(view["spontaneous_faults"], json!(false));
    let none = call(at.switches, "POST", "/press/5", r#"{"mode": "ok"}"#).await;
    assert_eq!(none.status, 404);
    let wrong = call(at.switches, "POST", "/press/1", r#"{"mode": "sleep"}"#).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.body["detail"].as_str().is_some_and(|d| d.contains("garbage")));
    plant.stop().await;
}

#[tokio::test]
async fn a_taken_port_stops_the_start_and_is_named() {
    // Someone has the port of the switches, which is opened last.
    let taken = TcpListener::bind("127.0.0.1:9100");
    let options = PlantOptions { ports: Ports::Fixed, ..PlantOptions::default() };
    let error = match Plant::start(options).await {
        Ok(_) => panic!("started on a taken port"),
        Err(error) => error,
    };
    // On a shared machine one of the other fixed ports may be the taken one.
    assert!(matches!(error, PlantError::Bind { .. }), "{error}");
    assert!(error.to_string().contains("free ports"), "{error}");
    drop(taken);
}

#[tokio::test]
async fn two_plants_run_side_by_side_and_stopping_frees_every_port() {
    let one = tokio::spawn(plant()).await.expect("a plant may move between threads");
    let two = plant().await;
    let at = one.addresses().clone();
    assert_ne!(at, *two.addresses());
    one.stop().await;
    let oven = at.oven["opc.tcp://".len()..].trim_end_matches("/plant");
    let mut all = vec![oven.parse().expect("an address")];
    all.extend(at.presses);
    all.extend([at.meters, at.erp, at.wms, at.mes, at.cmms, at.portal, at.switches]);
    for address in all {
        assert!(TcpListener::bind(address).is_ok(), "{address} is still taken");
    }
    let view = call(two.addresses().switches, "GET", "/", "").await;
    assert_eq!(view.status, 200);
    two.stop().await;
}
