//! `loadgen modbus` and `loadgen opcua`: plants to poll against, and a configuration that fits.

use crate::args::{Fleet, Modbus, Opcua};
use crate::{Failure, polling, subscribing};
use plant::fleet::{ModbusFleet, OpcuaFleet};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;
use std::{fs, thread};
use tokio::sync::oneshot;

/// Tags that one Millstream configuration file may have, points beside.
const CONFIG_TAGS_MAX: usize = 100_000;

/// Nodes that are named by the URI of their namespace; with more the file would be too large, and they are
/// named by its index, which the fleet's server never changes.
const CONFIG_URIS_MAX: usize = 50_000;

/// What tags that are written are named, before their numbers: a device's registers, and a server's variables.
pub(crate) const REGISTER: &str = "t";
pub(crate) const VARIABLE: &str = "p";

/// Runs `loadgen modbus`.
pub(crate) fn modbus(options: &Modbus) -> Result<bool, Failure> {
    let (fleet, polling) = (&options.fleet, &options.polling);
    let config = |addresses: &[SocketAddr]| write_config(fleet, &modbus_config(addresses, options));
    if polling.measure {
        return polling::run(options, config);
    }
    if polling.port != 0 {
        if fleet.config.is_none() {
            return Err(Failure::Usage("--port is for --measure, or for --config".to_owned()));
        }
        return config(&polling::fixed_addresses(options)?).map(|()| true);
    }
    runtime()?.block_on(async {
        let plant = ModbusFleet::start(fleet.bind, fleet.devices, fleet.tags).await.map_err(Failure::of)?;
        let addresses: Vec<String> = plant.addresses().iter().map(SocketAddr::to_string).collect();
        config(plant.addresses())?;
        announce(fleet, &addresses);
        wait(fleet.seconds).await;
        let requests: u64 = (0..fleet.devices).map(|device| plant.requests(device)).sum();
        finish(fleet, "requests", requests);
        plant.stop().await;
        Ok(true)
    })
}

/// Runs `loadgen opcua`.
pub(crate) fn opcua(options: &Opcua) -> Result<bool, Failure> {
    let fleet = &options.fleet;
    let config = |address: &str| write_config(fleet, &opcua_config(address, options));
    let listen = SocketAddr::new(fleet.bind, options.port);
    if options.subscribing.config_only {
        return config(&format!("opc.tcp://{listen}/fleet")).map(|()| true);
    }
    if options.subscribing.measure {
        return subscribing::run(options, config);
    }
    runtime()?.block_on(async {
        let plant = OpcuaFleet::start(subscribing::fleet(options, listen, None)).await.map_err(Failure::of)?;
        let address = plant.address().to_owned();
        config(&address)?;
        announce(fleet, &[address]);
        wait(fleet.seconds).await;
        finish(fleet, "ticks", u64::from(plant.ticks()));
        plant.stop().await;
        Ok(true)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)
}

fn announce(fleet: &Fleet, addresses: &[String]) {
    if fleet.json {
        println!("{}", json!({ "addresses": addresses, "devices": fleet.devices, "tags": fleet.tags }));
        return;
    }
    println!("{} devices with {} tags each at", fleet.devices, fleet.tags);
    for address in addresses.iter().take(10) {
        println!("  {address}");
    }
    if addresses.len() > 10 {
        println!("  … and {} more", addresses.len() - 10);
    }
    if let Some(file) = &fleet.config {
        println!("configuration: millstream run {}", file.display());
    }
    if fleet.seconds.is_none() {
        println!("runs until standard input ends (Ctrl-D) or Ctrl-C");
    }
}

fn finish(fleet: &Fleet, what: &str, count: u64) {
    if fleet.json {
        println!("{}", json!({ what: count }));
    } else {
        println!("{count} {what}");
    }
}

/// Waits for the time, or without one for the end of standard input.
async fn wait(seconds: Option<f64>) {
    if let Some(seconds) = seconds {
        tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 1e8))).await;
        return;
    }
    let (ended, end) = oneshot::channel();
    // A thread of its own, because reading standard input cannot be given up.
    thread::spawn(move || {
        let mut sink = [0; 1024];
        while io::stdin().read(&mut sink).is_ok_and(|count| count > 0) {}
        let _ = ended.send(());
    });
    let _ = end.await;
}

fn write_config(fleet: &Fleet, text: &str) -> Result<(), Failure> {
    let Some(file) = &fleet.config else { return Ok(()) };
    if fleet.devices.saturating_mul(fleet.tags) > CONFIG_TAGS_MAX {
        return Err(Failure::Usage(format!(
            "one configuration has at most {CONFIG_TAGS_MAX} tags, and this fleet {}; ask for fewer, or leave \
             --config out",
            fleet.devices.saturating_mul(fleet.tags)
        )));
    }
    fs::write(file, text).map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", file.display())))
}

const SERVER: &str = "\
[server]
data_dir = \"fleet-data\"
http     = \"127.0.0.1:8080\"
native   = \"127.0.0.1:7070\"
";

fn modbus_config(addresses: &[SocketAddr], options: &Modbus) -> String {
    let (tags, polling) = (options.fleet.tags, &options.polling);
    let (every, depth) = (options.every.as_millis(), polling.depth);
    let mut text = format!("# Made by loadgen modbus.\n\n{SERVER}");
    for (device, address) in addresses.iter().enumerate() {
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "\n[[source]]\nname    = \"d{device}\"\nkind    = \"modbus\"\naddress = \"tcp://{address}\"\nunit_id = 1\n\
             path    = \"fleet/d{device}\"\nevery   = \"{every}ms\"\ntimeout = \"1s\"\n"
        );
        if depth > 0 {
            let _ = writeln!(text, "depth   = {depth}");
        }
        // One short line a tag: a configuration with as many tags as it may have stays below its size.
        text.push_str("tag = [\n");
        for tag in 0..tags {
            let at = tag * usize::from(polling.stride);
            let _ = writeln!(text, "{{name=\"{REGISTER}{tag}\",at=\"holding:{at}\"}},");
        }
        text.push_str("]\n");
    }
    text + &polling::requests(polling.points, "d0", REGISTER)
}

fn opcua_config(address: &str, options: &Opcua) -> String {
    let (fleet, own) = (&options.fleet, &options.subscribing);
    let publishing = own.publishing.unwrap_or(options.every).as_millis();
    // Half of it: a server may leave out a value that comes a little before its sampling interval is over.
    let sampling = (options.every / 2).as_millis();
    let mut text = format!(
        "# Made by loadgen opcua.\n\n{SERVER}\n[[source]]\nname       = \"fleet\"\nkind       = \"opcua\"\n\
         address    = \"{address}\"\nsecurity   = \"None\"\npath       = \"fleet\"\npublishing = \"{publishing}ms\"\n\
         sampling   = \"{sampling}ms\"\nqueue      = 10\n"
    );
    // One short line a tag: a configuration with as many tags as it may have stays below its size.
    text.push_str("tag = [\n");
    let names = (0..fleet.devices).flat_map(|device| (0..fleet.tags).map(move |tag| (device, tag)));
    let is_large = fleet.devices.saturating_mul(fleet.tags) > CONFIG_URIS_MAX;
    let namespace = if is_large { "ns=2" } else { "nsu=urn:riverside:fleet" };
    // Writing into a String cannot fail.
    for (device, tag) in names {
        let _ = writeln!(text, "{{name=\"d{device}/t{tag}\",node=\"{namespace};s=d{device}.t{tag}\"}},");
    }
    for point in 0..own.points {
        let _ = writeln!(text, "{{name=\"{VARIABLE}{point}\",node=\"{namespace};s=p{point}\"}},");
    }
    text.push_str("]\n");
    text + &polling::requests(own.points, "fleet", VARIABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    #[test]
    fn a_configuration_has_every_device_and_tag() {
        let line = "loadgen modbus --tags 3 --every 50ms --stride 5 --depth 4 --points 2";
        let Command::Modbus(options) = Args::parse_from(line.split(' ')).command else { panic!("not modbus") };
        let addresses = [5001, 5002].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let text = modbus_config(&addresses, &options);
        assert_eq!((text.matches("[[source]]").count(), text.matches("{name=").count()), (2, 6));
        assert!(text.contains("address = \"tcp://127.0.0.1:5002\"") && text.contains("every   = \"50ms\""));
        assert!(text.contains("at=\"holding:10\"") && text.contains("depth   = 4"));
        assert_eq!((text.matches("[[request]]").count(), text.matches("tag = \"t1\"").count()), (3, 2));
        let line = "loadgen opcua --devices 2 --tags 2 --every 1s --publishing 250ms --points 2";
        let Command::Opcua(options) = Args::parse_from(line.split(' ')).command else { panic!("not opcua") };
        let text = opcua_config("opc.tcp://127.0.0.1:4841/fleet", &options);
        assert_eq!((text.matches("[[source]]").count(), text.matches("{name=").count()), (1, 6));
        assert!(text.contains("node=\"nsu=urn:riverside:fleet;s=d1.t1\"") && text.contains("publishing = \"250ms\""));
        assert!(text.contains("sampling   = \"500ms\"") && text.matches("[[request]]").count() == 3, "{text}");
    }
}
