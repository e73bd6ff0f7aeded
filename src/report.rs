//! Reports as text and JSON.

use opcua_source::BrowseReport;
use serde_json::{Value, json};
use std::fmt::Write;

/// What `log verify` found in one log, for a person.
pub fn verify_text(report: &log::VerifyReport) -> String {
    let mut text = format!(
        "{}: {} segments, {} batches, {} frames, {} samples, {} bytes, positions {} to {}",
        if report.is_sound() { "sound" } else { "DAMAGED" },
        report.segments,
        report.batches,
        report.frames,
        report.samples,
        report.bytes,
        report.from,
        report.to
    );
    if let Some((first, last)) = report.received {
        let _ = write!(text, "\n  received {first} to {last}");
    }
    if let Some(torn) = &report.torn {
        let _ = write!(text, "\n  the end is torn and is cut at the next start: {torn}");
    }
    for fence in &report.rot {
        let _ = write!(text, "\n  damaged, fenced off: {fence}");
    }
    text
}

/// The same as JSON.
pub fn verify_json(directory: &str, report: &log::VerifyReport) -> Value {
    json!({
        "directory": directory,
        "sound": report.is_sound(),
        "clean": report.clean,
        "segments": report.segments,
        "batches": report.batches,
        "frames": report.frames,
        "samples": report.samples,
        "bytes": report.bytes,
        "from": report.from.0,
        "to": report.to.0,
        "torn": report.torn.as_ref().map(ToString::to_string),
        "rot": report.rot.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// What an OPC UA server offers, and a configuration for it.
pub fn browse_text(report: &BrowseReport) -> String {
    let mut text = format!("# {}\n", report.address);
    for endpoint in &report.endpoints {
        let _ = writeln!(text, "# offers {endpoint}");
    }
    for (index, namespace) in report.namespaces.iter().enumerate() {
        let _ = writeln!(text, "# namespace {index}: {namespace}");
    }
    if let Some(why) = &report.refused {
        let _ = writeln!(text, "# no session: {why}");
    }
    let readable = report.variables.iter().filter(|variable| variable.kind.is_ok()).count();
    let more = if report.cut { " (there are more)" } else { "" };
    let _ = writeln!(text, "# {} variables{more}, {readable} of them can be tags", report.variables.len());
    for variable in &report.variables {
        let line = match (&variable.kind, &variable.value) {
            (Err(why), _) => format!("{} cannot be a tag: {why}", variable.name),
            (Ok(kind), Some(value)) => format!("{} ({}) = {value} {}", variable.name, kind.name(), variable.unit),
            (Ok(kind), None) => format!("{} ({})", variable.name, kind.name()),
        };
        let _ = writeln!(text, "#   {}", line.trim_end());
    }
    text + &report.toml
}
