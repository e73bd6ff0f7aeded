//! The demo: the simulated plant on free ports, Millstream beside it, the dashboard's address.
//! The plant and a vibration rig that speaks native frames run on threads of their own (`beside`).
//!
//! The plant speaks its real protocols over real sockets; Millstream runs with a configuration that
//! is docs/examples/plant.toml with the demo's addresses, written beside its data so that it can be
//! read, changed and used with `millstream run`.

use crate::commands::{Outcome, failed};
use crate::server::{self, IoChoice};
use plant::Addresses;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

mod beside;
mod opening;

use beside::{PlantThread, Rig};
use opening::Opening;

const EXAMPLE: &str = include_str!("../docs/examples/plant.toml");
/// Where the demo keeps its data and its configuration, below the working directory.
const FOLDER: &str = "data/demo";
/// Preferred ports; a free one is taken where somebody else has it.
const HTTP_PORT: u16 = 8080;
const NATIVE_PORT: u16 = 7070;

/// `millstream`
pub fn run(io: IoChoice) -> Outcome {
    let (http, native) = (free_address(HTTP_PORT), free_address(NATIVE_PORT));
    let plant = PlantThread::start(http)?;
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).map_err(|error| failed(format!("cannot create {FOLDER}: {error}")))?;
    let text = configuration(&plant.addresses, folder, http, native);
    let file = folder.join("plant.toml");
    fs::write(&file, &text).map_err(|error| failed(format!("cannot write {}: {error}", file.display())))?;
    let config = config::parse(&text)
        .map_err(|problems| failed(config::render(&problems, &file.display().to_string(), &text)))?;
    let server = server::start(config, io, Some(plant.addresses.switches)).map_err(failed)?;
    println!("The simulated plant runs: 4 presses and 8 energy meters (Modbus TCP), a paint oven (OPC UA).");
    println!("Its switches (break something): http://{}/", plant.addresses.switches);
    println!("Its configuration: {}", file.display());
    server.announce();
    let rig = Rig::start(server.native());
    let opening = Opening::start(server.http(), plant.addresses.switches);
    let outcome = server.run_until_signal().map_err(failed);
    opening.stop();
    rig.stop();
    plant.stop();
    outcome
}

/// The example with the demo's addresses, and a source for each of the four presses.
fn configuration(at: &Addresses, folder: &Path, http: SocketAddr, native: SocketAddr) -> String {
    let press = block(EXAMPLE, "name    = \"press1\"");
    let mut text = EXAMPLE.replace(&press, "@presses@");
    let presses: String = (0..4)
        .map(|i| {
            press.replace("press1", &format!("press{}", i + 1)).replace("127.0.0.1:5021", &at.presses[i].to_string())
        })
        .collect();
    text = text.replace("@presses@", &presses);
    let data = folder.join("log").display().to_string();
    for (from, to) in [
        ("\"data\"", format!("{data:?}")),
        ("127.0.0.1:8080", http.to_string()),
        ("127.0.0.1:7070", native.to_string()),
        ("127.0.0.1:5025", at.meters.to_string()),
        ("opc.tcp://127.0.0.1:4840/plant", at.oven.clone()),
        ("127.0.0.1:9101", at.erp.to_string()),
        ("127.0.0.1:9102", at.wms.to_string()),
        ("127.0.0.1:9103", at.mes.to_string()),
        ("127.0.0.1:9104", at.cmms.to_string()),
        ("127.0.0.1:9105", at.portal.to_string()),
        ("count = 2   ", "# count = 2 ".to_owned()),
    ] {
        text = text.replace(from, &to);
    }
    text
}

/// The `[[source]]` that holds a line, whole.
fn block(text: &str, line: &str) -> String {
    let at = text.find(line).unwrap_or_default();
    let start = text[..at].rfind("[[source]]").unwrap_or_default();
    let end = text[at..].find("\n[[source]]").map_or(text.len(), |length| at + length + 1);
    text[start..end].to_owned()
}

/// The loopback address with this port, or with a free one where it is taken.
fn free_address(port: u16) -> SocketAddr {
    let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let taken = TcpListener::bind(loopback(port)).or_else(|_| TcpListener::bind(loopback(0)));
    taken.and_then(|listener| listener.local_addr()).unwrap_or(loopback(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_configuration_has_every_press_and_no_problem() {
        let any = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let at = Addresses {
            presses: [any(41), any(42), any(43), any(44)],
            meters: any(45),
            oven: "opc.tcp://127.0.0.1:46/plant".into(),
            erp: any(51),
            wms: any(52),
            mes: any(53),
            cmms: any(54),
            portal: any(55),
            switches: any(56),
        };
        let text = configuration(&at, Path::new("somewhere"), any(61), any(62));
        let config = config::parse(&text).unwrap_or_else(|p| panic!("{}", config::render(&p, "demo", &text)));
        let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["press1", "press2", "press3", "press4", "energy-meters", "oven", "vibration-rig"]);
        assert_eq!(config.sources[3].path, "riverside/press/line1/press4");
        assert!(!text.contains(":5021") && !text.contains(":9101"));
    }
}
