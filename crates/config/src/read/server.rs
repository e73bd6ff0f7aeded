//! Reads `[server]` and `[cores]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::row::Row;
use crate::quantity::show_size;
use crate::{Cores, JournalSettings, LogSettings, Server, names};

/// Stands for an address that could not be read.
const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) fn server(row: &Row<'_>) -> Server {
    let insecure = row.switch("insecure_off_loopback");
    let address = |name: &str| {
        let address = row.parsed(name, names::socket).unwrap_or(NO_ADDRESS);
        if !address.ip().is_loopback() && !insecure {
            let what = format!(
                "{name}: {address} can be reached from other machines, and neither encryption nor tokens protect it yet"
            );
            let fix = format!(
                "write {name} = \"127.0.0.1:{}\", or, if everybody on that network may read and write everything, insecure_off_loopback = true",
                address.port()
            );
            row.refuse(name, &what, &fix);
        }
        address
    };
    let (http, native) = (address("http"), address("native"));
    let meet = http.ip() == native.ip() || http.ip().is_unspecified() || native.ip().is_unspecified();
    if http.port() != 0 && http.port() == native.port() && meet {
        let name = if row.has("native") { "native" } else { "http" };
        row.refuse(name, &format!("http and native both want port {}", http.port()), "give each a port of its own");
    }
    Server {
        data_dir: PathBuf::from(row.required_text("data_dir")),
        http,
        native,
        time_zone: row.required_text("time_zone"),
        log: row.with_table("log", log),
        journal: row.with_table("journal", journal),
        insecure,
    }
}

fn log(row: &Row<'_>) -> LogSettings {
    let segment_bytes = row.size("segment");
    let keep_bytes = two_segments(row, "keep_bytes", segment_bytes);
    LogSettings { sync: row.duration("sync"), segment_bytes, keep: row.duration("keep"), keep_bytes }
}

fn journal(row: &Row<'_>) -> JournalSettings {
    let segment_bytes = row.size("segment");
    JournalSettings {
        keep: row.duration("keep"),
        keep_bytes: two_segments(row, "keep_bytes", segment_bytes),
        backlog_bytes: two_segments(row, "backlog_bytes", segment_bytes),
        segment_bytes,
    }
}

/// A size that has room for the segment that is written and one closed one.
fn two_segments(row: &Row<'_>, name: &str, segment_bytes: u64) -> u64 {
    let bytes = row.size(name);
    if bytes != 0 && bytes < segment_bytes.saturating_mul(2) {
        let place = if row.has(name) { name } else { "segment" };
        let least = show_size(segment_bytes.saturating_mul(2));
        row.refuse(
            place,
            &format!("{name} ({}) is less than two segments", show_size(bytes)),
            &format!("write {name} = \"{least}\" or more, or a smaller segment"),
        );
    }
    bytes
}

pub(super) fn cores(row: &Row<'_>) -> Cores {
    Cores { count: row.whole("count") }
}
