//! Millstream, by its own frames and by the peers' protocols.

use super::{CONNECTIONS, Server, Settled, TAGS_OF_EACH, acknowledged, line_words, process, words};
use crate::fault::{Guard, Site};
use crate::shell::Story;
use serde_json::Value;
use std::path::Path;

/// Samples that one page of an answer holds at most.
const PAGE: u64 = 100_000;
/// Around now, the source times of a run lie within so many nanoseconds.
const AROUND_NS: u128 = 3_600_000_000_000;

/// How samples come in.
#[derive(Clone, Copy)]
pub enum Way {
    /// Native scan frames.
    Scan,
    /// Native frames of so many general samples.
    Samples(u32),
    /// Line protocol over HTTP, to this path.
    Line(&'static str),
}

/// One server with one shard.
pub struct Millstream {
    way: Way,
    site: Option<Site>,
}

impl Millstream {
    pub fn new(way: Way) -> Millstream {
        Millstream { way, site: None }
    }

    /// How many samples of a tag there are.
    fn count(&self, tag: &str) -> Result<u64, Story> {
        let address = self.site.as_ref().map(Site::http_address).unwrap_or_default();
        let now = process::now_ns();
        let (from, to) = (now - AROUND_NS, now + AROUND_NS);
        let (mut count, mut after) = (0, String::new());
        loop {
            let path = format!("/v1/samples?tag={tag}&from={from}&to={to}&limit={PAGE}{after}");
            let page: Value = serde_json::from_str(&process::get(&address, &path)?)
                .map_err(|error| format!("/v1/samples: {error}"))?;
            let here = page["samples"].as_array().map_or(0, Vec::len) as u64;
            count += here;
            match page["next"].as_str() {
                Some(next) if here > 0 => after = format!("&after={next}"),
                _ => return Ok(count),
            }
        }
    }
}

impl Server for Millstream {
    fn name(&self) -> String {
        match self.way {
            Way::Scan => format!("Millstream, native scan frames of {TAGS_OF_EACH}"),
            Way::Samples(1) => "Millstream, native frames of 1 sample".to_owned(),
            Way::Samples(samples) => format!("Millstream, native frames of {samples} samples"),
            Way::Line(path) => format!("Millstream, line protocol to {}", path.split('?').next().unwrap_or(path)),
        }
    }

    fn promise(&self) -> &'static str {
        "acknowledged after the sync of its log; checks, log, latest value and rollups of every sample"
    }

    fn flushed(&self) -> &'static str {
        "asked to end (SIGTERM)"
    }

    fn start(&mut self, folder: &Path) -> Result<Guard, Story> {
        let site = Site::new("peers", &folder.join("data"), "auto", "segment = \"64MiB\"", "[cores]\ncount = 1\n")?;
        let mut server = Guard(site.start_on(super::SERVER_CORE)?);
        site.wait_ready(&mut server.0)?;
        self.site = Some(site);
        Ok(server)
    }

    fn load(&self) -> Vec<String> {
        let Some(site) = &self.site else { return Vec::new() };
        let native = |kind: &str, frame: u32| {
            let (address, frame) = (site.native_address(), frame.to_string());
            words("native", &["--source", "rig", "--address", &address, "--kind", kind, "--frame", &frame])
        };
        match self.way {
            Way::Scan => native("scan", TAGS_OF_EACH),
            Way::Samples(samples) => native("samples", samples),
            Way::Line(path) => line_words(&format!("http://{}{path}", site.http_address())),
        }
    }

    /// Every body of line protocol holds each tag of its connection once, so the first tags tell of all. Of
    /// native frames there may be more than the report says: it leaves out warm-up and draining.
    fn settle(&mut self, server: Guard, folder: &Path, report: &Value) -> Result<Settled, Story> {
        let (below, wanted) = match self.way {
            Way::Line(_) => ("/v", acknowledged(report)?),
            _ => ("", report["server"][0]["samples"].as_u64().unwrap_or(u64::MAX)),
        };
        let mut samples = 0;
        for connection in 0..CONNECTIONS {
            samples += self.count(&format!("site/rig/loadgen/c{connection}/t0{below}"))? * u64::from(TAGS_OF_EACH);
        }
        process::end(server)?;
        let bytes = process::disk_bytes(&folder.join("data"));
        Ok(Settled { samples, acknowledged: wanted, bytes, written: samples })
    }
}
