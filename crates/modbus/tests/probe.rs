//! The probe against devices of several kinds; what it prints must load as a configuration.

mod support;

use config::{ModbusAddress, SourceKind};
use millstream_modbus::probe::{Verdict, probe};
use millstream_modbus::{ProbeReport, codec::Function};
use std::time::Duration;
use support::{Act, Device};

fn probed(port: u16) -> ProbeReport {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let address = ModbusAddress { host: "127.0.0.1".into(), port };
    runtime.block_on(probe(&address, Duration::from_millis(150)))
}

/// The Modbus source that the report's text configures.
fn loaded(report: &ProbeReport) -> config::ModbusSource {
    let config = config::parse(&report.to_string()).unwrap_or_else(|problems| panic!("{report}\n{problems:?}"));
    match config.sources.into_iter().next().map(|source| source.kind) {
        Some(SourceKind::Modbus(source)) => source,
        other => panic!("{report}\n{other:?}"),
    }
}

#[test]
fn a_device_alone_answers_to_every_unit_and_its_limits_are_found() {
    let device = Device::start(|asked| {
        let refused = match (asked.function, asked.quantity) {
            (1 | 2, _) => Some(1),
            (_, 65..) => Some(3),
            _ => None,
        };
        vec![Act::Send(refused.map_or_else(|| asked.own(), |code| asked.exception(code)))]
    });
    let report = probed(device.port);
    assert_eq!((report.units.len(), report.silent.len()), (17, 0));
    assert_eq!(report.units[0].largest.map(|(_, registers)| registers), Some(64));
    assert!(report.units[0].functions.contains(&(Function::ReadCoils, Verdict::Exception(1))));
    let source = loaded(&report);
    assert_eq!((source.units.len(), source.max_registers, source.tags.len()), (1, 64, 2));
    assert!(report.to_string().contains("most likely one device"), "{report}");
}

#[test]
fn a_gateway_shows_its_units() {
    let gateway = Device::start(|asked| match asked.unit {
        2 | 5 => vec![Act::Send(asked.own())],
        3 => Vec::new(),
        _ => vec![Act::Send(asked.exception(0x0B))],
    });
    let report = probed(gateway.port);
    let units: Vec<u8> = report.units.iter().map(|unit| unit.unit).collect();
    assert_eq!(units, [2, 5]);
    let source = loaded(&report);
    assert_eq!(source.units.iter().map(|unit| unit.unit_id).collect::<Vec<_>>(), [2, 5]);
    assert_eq!((source.max_registers, source.tags.len()), (125, 4));
}

#[test]
fn what_is_not_there_or_says_nothing_is_said_plainly() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let report = probed(port);
    assert!(report.unreachable.is_some() && report.to_string().contains("cannot be reached"), "{report}");
    let mute = Device::start(|_| vec![Act::Send(b"HTTP/1.0 400 Bad Request\r\n\r\n".to_vec()), Act::Close]);
    let report = probed(mute.port);
    assert!(report.units.is_empty() && report.to_string().contains("No unit id"), "{report}");
}
