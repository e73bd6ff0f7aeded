//! Presses and meters over Modbus TCP, well and broken.

mod wire;

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use wire::{Modbus, f32_of, plant, switch};

#[tokio::test]
async fn a_press_answers_its_whole_map_and_its_values_move() {
    let plant = plant().await;
    for address in plant.addresses().presses {
        let mut press = Modbus::connect(address).await;
        let holding = press.read(1, 3, 0, 64).await.expect("holes read as zero");
        let temperature = f32_of(holding[0], holding[1]);
        assert!((15.0..60.0).contains(&temperature), "{temperature} °C");
        let vibration = f32_of(holding[3], holding[2]);
        assert!((0.1..20.0).contains(&vibration), "{vibration} mm/s");
        let speed = f32_of(holding[4], holding[5]);
        assert!((100.0..2_000.0).contains(&speed), "{speed} rpm");
        let cycles = u32::from(holding[21]) << 16 | u32::from(holding[20]);
        assert!(cycles >= 120_000, "{cycles} cycles");
        assert_eq!((holding[29], holding[30], holding[31]), (2, 0, 0));
        assert_eq!(f32_of(holding[40], holding[41]), 160.0);
        let coils = press.ask(1, &[1, 0, 0, 0, 1]).await.expect("coil 0");
        assert_eq!(coils[1] & 1, 1);
        sleep(Duration::from_millis(200)).await;
        let later = press.read(1, 3, 0, 6).await.expect("again");
        assert_ne!(later, holding[..6]);
        let pressure = press.read(1, 4, 10, 1).await.expect("pressure");
        assert!((0..2_600).contains(&pressure[0].cast_signed()));
    }
    plant.stop().await;
}

#[tokio::test]
async fn what_is_not_there_answers_the_standard_exceptions() {
    let plant = plant().await;
    let mut press = Modbus::connect(plant.addresses().presses[0]).await;
    assert_eq!(press.read(1, 3, 60, 5).await, Err(2));
    assert_eq!(press.read(1, 4, 64, 1).await, Err(2));
    assert_eq!(press.read(1, 3, 0, 0).await, Err(3));
    assert_eq!(press.read(1, 3, 0, 126).await, Err(3));
    assert_eq!(press.ask(1, &[0x18, 0, 0]).await, Err(1));
    assert_eq!(press.ask(1, &[6, 0, 40, 0, 0]).await, Err(2));
    let mut meters = Modbus::connect(plant.addresses().meters).await;
    assert_eq!(meters.read(9, 4, 0, 6).await, Err(0x0B));
    assert_eq!(meters.read(0, 4, 0, 6).await, Err(0x0B));
    assert_eq!(meters.read(1, 4, 0, 7).await, Err(2));
    assert_eq!(meters.read(1, 3, 0, 2).await, Err(1));
    plant.stop().await;
}

#[tokio::test]
async fn eight_meters_count_up_behind_one_address() {
    let plant = plant().await;
    let mut meters = Modbus::connect(plant.addresses().meters).await;
    let mut before = Vec::new();
    for round in 0..2 {
        for unit in 1..=8 {
            let words = meters.read(unit, 4, 0, 6).await.expect("a meter");
            let bits = words[..4].iter().fold(0_u64, |bits, word| bits << 16 | u64::from(*word));
            let (energy, power) = (f64::from_bits(bits), f32_of(words[4], words[5]));
            assert!((0.0..500.0).contains(&power), "unit {unit}: {power} kW");
            match round {
                0 => before.push(energy),
                _ => assert!(energy > before[usize::from(unit) - 1], "unit {unit}"),
            }
        }
        sleep(Duration::from_millis(300)).await;
    }
    plant.stop().await;
}

#[tokio::test]
async fn the_coil_stops_the_press_and_the_set_point_is_clamped() {
    let plant = plant().await;
    let mut press = Modbus::connect(plant.addresses().presses[2]).await;
    press.ask(1, &[5, 0, 0, 0, 0]).await.expect("stops");
    assert_eq!(press.read(1, 3, 29, 1).await, Ok(vec![1]));
    press.ask(1, &[15, 0, 0, 0, 1, 1, 1]).await.expect("starts again");
    assert_eq!(press.read(1, 3, 29, 1).await, Ok(vec![2]));
    let mut write = vec![16, 0, 40, 0, 2, 4];
    write.extend(900.0_f32.to_be_bytes());
    press.ask(1, &write).await.expect("takes it");
    let now = press.read(1, 3, 40, 2).await.expect("reads back");
    assert_eq!(f32_of(now[0], now[1]), 250.0);
    plant.stop().await;
}

#[tokio::test]
async fn a_fault_raises_bit_three_and_ok_clears_it() {
    let plant = plant().await;
    let mut press = Modbus::connect(plant.addresses().presses[0]).await;
    switch(&plant, "/press/1", "fault").await;
    assert_eq!(press.read(1, 3, 29, 2).await, Ok(vec![3, 8]));
    let coils = press.ask(1, &[1, 0, 0, 0, 1]).await.expect("coil 0");
    assert_eq!(coils[1] & 1, 0);
    switch(&plant, "/press/1", "ok").await;
    assert_eq!(press.read(1, 3, 29, 2).await, Ok(vec![2, 0]));
    let mut meters = Modbus::connect(plant.addresses().meters).await;
    switch(&plant, "/meters", "fault").await;
    assert_eq!(meters.read(1, 4, 0, 2).await, Err(0x0B));
    switch(&plant, "/meters", "ok").await;
    assert!(meters.read(1, 4, 0, 2).await.is_ok());
    plant.stop().await;
}

#[tokio::test]
async fn exception_silent_and_garbage_do_what_they_say_and_pass() {
    let plant = plant().await;
    let address = plant.addresses().presses[1];
    let mut press = Modbus::connect(address).await;
    switch(&plant, "/press/2", "exception").await;
    assert_eq!(press.read(1, 3, 0, 2).await, Err(4));

    switch(&plant, "/press/2", "silent").await;
    press.send(1, &[3, 0, 0, 0, 2]).await;
    let mut byte = [0; 1];
    let quiet = timeout(Duration::from_millis(300), press.stream.read(&mut byte)).await;
    assert!(quiet.is_err(), "a silent press answered");
    switch(&plant, "/press/2", "ok").await;
    assert!(press.read(1, 3, 0, 2).await.is_ok());

    switch(&plant, "/press/2", "garbage").await;
    for _ in 0..5 {
        let transaction = press.send(1, &[3, 0, 0, 0, 2]).await.to_be_bytes();
        let mut answer = [0; 13];
        press.stream.read_exact(&mut answer).await.expect("bytes");
        let good = [transaction[0], transaction[1], 0, 0, 0, 7, 1, 3, 4];
        assert_ne!(answer[..9], good, "an answer that is no garbage");
    }
    switch(&plant, "/press/2", "ok").await;
    assert!(press.read(1, 3, 0, 2).await.is_ok());
    plant.stop().await;
}

#[tokio::test]
async fn drop_closes_the_connections_and_stop_refuses_new_ones() {
    let plant = plant().await;
    let address = plant.addresses().presses[3];
    let mut press = Modbus::connect(address).await;
    assert!(press.read(1, 3, 0, 2).await.is_ok());
    switch(&plant, "/press/4", "drop").await;
    let mut byte = [0; 1];
    let end = timeout(wire::PATIENCE, press.stream.read(&mut byte)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "still open: {end:?}");
    let mut press = Modbus::connect(address).await;
    assert!(press.read(1, 3, 0, 2).await.is_ok());

    switch(&plant, "/press/4", "stop").await;
    let end = timeout(wire::PATIENCE, press.stream.read(&mut byte)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "still open: {end:?}");
    assert!(TcpStream::connect(address).await.is_err());
    switch(&plant, "/press/4", "ok").await;
    let mut press = Modbus::connect(address).await;
    assert!(press.read(1, 3, 0, 2).await.is_ok());
    plant.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let plant = plant().await;
    let mut press = Modbus::connect(plant.addresses().presses[0]).await;
    let mut sent = Vec::new();
    for _ in 0..16 {
        sent.push(press.send(1, &[3, 0, 0, 0, 1]).await);
    }
    for transaction in sent {
        let mut answer = [0; 11];
        press.stream.read_exact(&mut answer).await.expect("bytes");
        assert_eq!(answer[..2], transaction.to_be_bytes());
    }
    plant.stop().await;
}
