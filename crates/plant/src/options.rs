//! What a plant is started with, and where its parts are then found.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::business::SystemName;
use crate::physics::PRESS_COUNT;

/// How a plant is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlantOptions {
    /// Seed of everything random; the same seed gives the same machines.
    pub seed: u64,
    /// Which ports.
    pub ports: Ports,
    /// Address to listen on; the default is 127.0.0.1. Nothing in the plant asks who is there,
    /// so leave it on the loopback interface.
    pub bind: IpAddr,
    /// Where business systems post what they have to tell; none by default. The switches change
    /// it while the plant runs.
    pub feeds: Option<FeedOptions>,
}

/// What the business systems post by themselves, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedOptions {
    /// Base URL of the receiver, e.g. `http://127.0.0.1:8080`.
    pub to: String,
    /// Time between two postings that each of ERP, WMS and MES makes by itself, at least 10 ms; zero:
    /// only what they are told to.
    pub period: Duration,
}

impl Default for PlantOptions {
    fn default() -> Self {
        Self { seed: 1, ports: Ports::Free, bind: IpAddr::V4(Ipv4Addr::LOCALHOST), feeds: None }
    }
}

/// Which ports a plant takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// The ports of the reference configuration: presses 5021..=5024, meters 5025, oven 4840,
    /// ERP 9101, WMS 9102, MES 9103, CMMS 9104, portal 9105, switches 9100.
    Fixed,
    /// Free ports that the system chooses.
    Free,
}

/// A part of the plant that has a port.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A press, by its index from 0.
    Press(usize),
    Meters,
    Oven,
    System(SystemName),
    Switches,
}

impl Part {
    /// The part's name.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Press(index) => format!("press{}", index + 1),
            Self::Meters => "energy-meters".to_owned(),
            Self::Oven => "oven".to_owned(),
            Self::System(name) => name.text().to_owned(),
            Self::Switches => "the fault switches".to_owned(),
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Press(0) => 5021,
            Self::Press(1) => 5022,
            Self::Press(2) => 5023,
            Self::Press(_) => 5024,
            Self::Meters => 5025,
            Self::Oven => 4840,
            Self::Switches => 9100,
            Self::System(SystemName::Erp) => 9101,
            Self::System(SystemName::Wms) => 9102,
            Self::System(SystemName::Mes) => 9103,
            Self::System(SystemName::Cmms) => 9104,
            Self::System(SystemName::Portal) => 9105,
        }
    }
}

impl PlantOptions {
    /// Where a part should listen.
    pub(crate) fn address(&self, part: Part) -> SocketAddr {
        let port = match self.ports {
            Ports::Fixed => part.port(),
            Ports::Free => 0,
        };
        SocketAddr::new(self.bind, port)
    }
}

/// Where the parts of a running plant are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The presses' PLCs, press 1 first: Modbus TCP, unit 1.
    pub presses: [SocketAddr; PRESS_COUNT],
    /// The energy meters' gateway: Modbus TCP, units 1..=8.
    pub meters: SocketAddr,
    /// The oven's OPC UA endpoint URL, `opc.tcp://HOST:PORT/plant`.
    pub oven: String,
    /// The ERP: HTTP.
    pub erp: SocketAddr,
    /// The warehouse management system: HTTP.
    pub wms: SocketAddr,
    /// The manufacturing execution system: HTTP.
    pub mes: SocketAddr,
    /// The maintenance system: HTTP.
    pub cmms: SocketAddr,
    /// The customer portal: HTTP.
    pub portal: SocketAddr,
    /// The fault switches and the overview: HTTP.
    pub switches: SocketAddr,
}

impl Addresses {
    /// Where a business system is.
    pub(crate) fn system(&self, name: SystemName) -> SocketAddr {
        match name {
            SystemName::Erp => self.erp,
            SystemName::Wms => self.wms,
            SystemName::Mes => self.mes,
            SystemName::Cmms => self.cmms,
            SystemName::Portal => self.portal,
        }
    }
}
