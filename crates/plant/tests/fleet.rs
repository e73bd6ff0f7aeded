//! Fleets: every value is what the formula says.

mod wire;

use std::net::{IpAddr, Ipv4Addr};

use millstream_plant::PlantError;
use millstream_plant::fleet::ModbusFleet;
use wire::Modbus;

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn registers_count_their_own_reads_however_they_are_cut() {
    let fleet = ModbusFleet::start(LOCAL, 3, 200).await.expect("a fleet");
    assert_eq!(fleet.addresses().len(), 3);
    let expect = |device, start: usize, count: usize, poll| {
        Ok((start..start + count).map(|register| ModbusFleet::value(device, register, poll)).collect::<Vec<u16>>())
    };
    for (device, address) in fleet.addresses().iter().enumerate() {
        let mut client = Modbus::connect(*address).await;
        for poll in 0..3 {
            assert_eq!(client.read(1, 3, 0, 125).await, expect(device, 0, 125, poll));
            assert_eq!(client.read(1, 3, 125, 75).await, expect(device, 125, 75, poll));
        }
        assert_eq!(client.read(1, 3, 10, 1).await, expect(device, 10, 1, 3));
        assert_eq!(client.read(1, 3, 199, 2).await, Err(2));
        assert_eq!((fleet.polls(device, 10), fleet.polls(device, 11)), (4, 3));
        assert_eq!(fleet.requests(device), 7);
    }
    fleet.stop().await;
}

#[tokio::test]
async fn a_fleet_that_cannot_be_is_refused_in_words() {
    let error = ModbusFleet::start(LOCAL, 1, 70_000).await.err();
    assert!(matches!(&error, Some(PlantError::FleetSize { detail }) if detail.contains("65536")));
}
