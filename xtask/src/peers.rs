//! Foreign peers: software that nobody here wrote, which our protocols are tested against.

use crate::shell::{Story, root, run, target, works};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Debian packages: libmodbus (server and client), a browser, the tools of the power-cut test, an
/// MQTT broker with its clients, NATS. Where a service manager runs, Debian starts the brokers on
/// their usual ports; the tests start their own on free ones.
const PACKAGES: &[&str] = &[
    "libmodbus-dev",
    "mbpoll",
    "chromium",
    "xfsprogs",
    "e2fsprogs",
    "gcc",
    "libc6-dev",
    "mosquitto",
    "mosquitto-clients",
    "nats-server",
];
/// Python packages, pinned. `moto` is an S3 store.
const PYTHON: &[&str] = &["pymodbus==3.16.1", "asyncua==2.1.0", "moto[server]==5.2.5"];
/// npm packages, pinned.
const NPM: &[&str] = &["node-opcua@2.182.2", "modbus-serial@8.0.25"];

/// Where peers are installed.
pub fn folder() -> PathBuf {
    target().join("peers")
}

/// Installs whatever is missing.
pub fn install() -> Result<(), Story> {
    fs::create_dir_all(folder()).map_err(|error| format!("cannot create {}: {error}", folder().display()))?;
    debian()?;
    python()?;
    npm()?;
    libmodbus()
}

fn debian() -> Result<(), Story> {
    if !works("sh", &["-c", "command -v apt-get"]) {
        return Err("the foreign peers are installed with apt-get, which this system has not; \
             run `cargo xtask test --without-peers` and it says what is left out"
            .into());
    }
    let missing: Vec<&str> = PACKAGES.iter().copied().filter(|name| !is_installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let sudo = !works("sh", &["-c", "test $(id -u) = 0"]);
    let apt = |arguments: &[&str]| {
        let mut command = if sudo { Command::new("sudo") } else { Command::new("env") };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]).args(arguments);
        run(&mut command)
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())
}

/// Whether a package is there. One that was removed and left its configuration is known to dpkg,
/// too, so its state is read.
fn is_installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]).output();
    asked.is_ok_and(|answer| answer.stdout == b"installed")
}

fn python() -> Result<(), Story> {
    let venv = folder().join("venv");
    let stamp = venv.join("installed");
    let wanted = PYTHON.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(PYTHON))?;
    fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

fn npm() -> Result<(), Story> {
    let folder = folder().join("npm");
    let stamp = folder.join("installed");
    let wanted = NPM.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let manifest = folder.join("package.json");
    fs::write(&manifest, "{\"private\":true}\n").map_err(|error| format!("cannot write package.json: {error}"))?;
    run(Command::new("npm").current_dir(&folder).args(["install", "--no-audit", "--no-fund", "--silent"]).args(NPM))?;
    fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

/// Our small server around libmodbus, so that the library answers and not we.
fn libmodbus() -> Result<(), Story> {
    let source = root().join("tests/peers/libmodbus_server.c");
    let program = folder().join("libmodbus_server");
    let newer = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if newer(&program).is_some_and(|built| newer(&source).is_some_and(|written| built > written)) {
        return Ok(());
    }
    run(Command::new("gcc").args(["-O1", "-Wall", "-o"]).arg(&program).arg(&source).arg("-lmodbus"))
}
