//! `/metrics`: Prometheus text format 0.0.4.
//!
//! Invariant: a label's value never leaves its quotes, whatever a source or counter is called.

use crate::{
    backend::{CoreInfo, SourceInfo, StageInfo},
    counters::Sums,
    state::App,
};

mod flows;

/// Everything, as one text.
pub(crate) async fn text(app: &App) -> String {
    let measures = flows::measures(app).await;
    let mut out = Text(String::with_capacity(16 << 10));
    let (sources, cores) = (app.backend.sources(), app.backend.cores());
    out.family("millstream_info", "gauge", "Version, always 1.");
    out.sample("millstream_info", &[("version", app.backend.version())], 1.0);
    out.family("millstream_ready", "gauge", "1 while Millstream can do all of its work.");
    out.sample("millstream_ready", &[], f64::from(u8::from(app.backend.ready().is_ok())));
    of_sources(&mut out, &sources, app.backend.now().0);
    of_cores(&mut out, &cores);
    of_logs(&mut out, &cores);
    of_stages(&mut out, &cores);
    flows::write(&mut out, measures.as_ref(), app.backend.now());
    of_http(&mut out, &app.counters.sums());
    out.0
}

fn of_sources(out: &mut Text, sources: &[SourceInfo], now_ns: i64) {
    const STATES: [&str; 4] = ["starting", "running", "degraded", "down"];
    out.family("millstream_source_state", "gauge", "1 for the state that a source is in.");
    for source in sources {
        for state in STATES {
            let here = f64::from(u8::from(source.state == state));
            out.sample("millstream_source_state", &[("source", &source.name), ("state", state)], here);
        }
    }
    out.family("millstream_source_tags", "gauge", "Tags of a source.");
    for source in sources {
        out.sample("millstream_source_tags", &[("source", &source.name)], source.tags as f64);
    }
    out.family("millstream_source_data_age_seconds", "gauge", "Seconds since a source's last data.");
    for (source, last) in sources.iter().filter_map(|source| Some((source, source.last_data?))) {
        let age = now_ns.saturating_sub(last.0) as f64 / 1e9;
        out.sample("millstream_source_data_age_seconds", &[("source", &source.name)], age);
    }
    out.family("millstream_source_counter_total", "counter", "What a source counts, by the counter's name.");
    for source in sources {
        for (name, count) in &source.counters {
            let labels = [("source", source.name.as_str()), ("counter", name.as_str())];
            out.sample("millstream_source_counter_total", &labels, *count as f64);
        }
    }
    out.family("millstream_source_figure", "gauge", "What is so of a source now, by the figure's name.");
    for source in sources {
        for (name, value) in &source.figures {
            let labels = [("source", source.name.as_str()), ("figure", name.as_str())];
            out.sample("millstream_source_figure", &labels, *value as f64);
        }
    }
}

/// A metric of each shard: name, type, help, and how it is read.
type Family = (&'static str, &'static str, &'static str, fn(&CoreInfo) -> f64);

fn of_cores(out: &mut Text, cores: &[CoreInfo]) {
    let families: [Family; 7] = [
        ("millstream_samples_total", "counter", "Samples taken in.", |core| core.samples_total as f64),
        ("millstream_samples_per_second", "gauge", "Samples taken in a second, lately.", |core| {
            core.samples_per_second
        }),
        ("millstream_frames_per_second", "gauge", "Frames taken in a second, lately.", |core| core.frames_per_second),
        ("millstream_bytes_per_second", "gauge", "Frame bytes taken in a second, lately.", |core| {
            core.bytes_per_second
        }),
        ("millstream_receive_frames_total", "counter", "Native frames taken.", |core| core.receive.frames as f64),
        ("millstream_receive_calls_total", "counter", "System calls made to receive and acknowledge them.", |core| {
            core.receive.calls as f64
        }),
        ("millstream_receive_completions_total", "counter", "Completions that these calls brought.", |core| {
            core.receive.completions as f64
        }),
    ];
    by_shard(out, cores, &families);
    const TAGS: &str = "millstream_tag_bytes";
    out.family(TAGS, "gauge", "Memory that the tags of a shard take: definitions, latest values, windows of rollups.");
    for core in cores {
        let (shard, bytes) = (core.shard.to_string(), core.tag_bytes);
        for (part, bytes) in [("definitions", bytes.definitions), ("latest", bytes.latest), ("rollups", bytes.rollups)]
        {
            out.sample(TAGS, &[("shard", &shard), ("part", part)], bytes as f64);
        }
    }
    out.family("millstream_shard_info", "gauge", "How a shard receives and where it is pinned, always 1.");
    for core in cores {
        let (shard, pinned) = (core.shard.to_string(), core.core.map_or("none".to_owned(), |core| core.to_string()));
        out.sample("millstream_shard_info", &[("shard", &shard), ("core", &pinned), ("io", core.io)], 1.0);
    }
}

fn of_logs(out: &mut Text, cores: &[CoreInfo]) {
    let families: [Family; 6] = [
        ("millstream_log_healthy", "gauge", "1 while the log takes data.", |core| {
            f64::from(u8::from(core.log.health == "healthy"))
        }),
        ("millstream_log_durable_position", "counter", "Position up to which all is on disk.", |core| {
            core.log.durable as f64
        }),
        ("millstream_log_end_position", "counter", "Position up to which was appended.", |core| core.log.end as f64),
        ("millstream_log_segments", "gauge", "Segment files.", |core| core.log.segments as f64),
        ("millstream_log_bytes", "gauge", "Bytes on disk.", |core| core.log.bytes as f64),
        ("millstream_log_syncs_total", "counter", "Syncs.", |core| core.log.syncs as f64),
    ];
    by_shard(out, cores, &families);
}

fn by_shard(out: &mut Text, cores: &[CoreInfo], families: &[Family]) {
    for (name, kind, help, read) in families {
        out.family(name, kind, help);
        for core in cores {
            out.sample(name, &[("shard", &core.shard.to_string())], read(core));
        }
    }
}

fn of_stages(out: &mut Text, cores: &[CoreInfo]) {
    const NAME: &str = "millstream_stage_poll_seconds";
    out.family(NAME, "histogram", "How long one poll of a stage took; stage \"cycle\" is the whole duty cycle.");
    for core in cores {
        core.stages.iter().chain([&core.cycle]).for_each(|stage| histogram(out, NAME, core.shard, stage));
    }
    const VISIBLE: &str = "millstream_frame_to_visible_seconds";
    out.family(VISIBLE, "histogram", "From the source time of a native frame to when its values could be read.");
    for core in cores {
        histogram(out, VISIBLE, core.shard, &core.frame_to_visible);
    }
    const MAX: &str = "millstream_stage_poll_seconds_max";
    out.family(MAX, "gauge", "The longest poll of a stage: how long it kept the others waiting.");
    for core in cores {
        for stage in core.stages.iter().chain([&core.cycle]) {
            let shard = core.shard.to_string();
            let labels = [("shard", shard.as_str()), ("lane", &stage.lane), ("stage", &stage.name)];
            out.sample(MAX, &labels, stage.max_ns as f64 / 1e9);
        }
    }
}

fn histogram(out: &mut Text, name: &str, shard: u16, stage: &StageInfo) {
    let shard = shard.to_string();
    let labels = [("shard", shard.as_str()), ("lane", &*stage.lane), ("stage", &*stage.name)];
    let mut below = 0;
    for (upper, count) in stage.buckets.iter().filter(|(upper, _)| *upper != u64::MAX) {
        below += count;
        let le = (*upper as f64 / 1e9).to_string();
        let [a, b, c] = labels;
        out.sample(&format!("{name}_bucket"), &[a, b, c, ("le", &le)], below as f64);
    }
    let [a, b, c] = labels;
    out.sample(&format!("{name}_bucket"), &[a, b, c, ("le", "+Inf")], stage.polls as f64);
    out.sample(&format!("{name}_sum"), &labels, stage.sum_ns as f64 / 1e9);
    out.sample(&format!("{name}_count"), &labels, stage.polls as f64);
}

fn of_http(out: &mut Text, sums: &Sums) {
    out.family("millstream_http_requests_total", "counter", "Requests by route and status.");
    for ((route, status), count) in &sums.requests {
        let status = status.to_string();
        out.sample("millstream_http_requests_total", &[("route", route), ("status", &status)], *count as f64);
    }
    const NAME: &str = "millstream_http_request_seconds";
    out.family(NAME, "summary", "Time until the head of the answer, by route.");
    for (route, histogram) in &sums.durations {
        for quantile in ["0.5", "0.9", "0.99"] {
            let us = histogram.value_at_quantile(quantile.parse().unwrap_or(0.5));
            out.sample(NAME, &[("route", route), ("quantile", quantile)], us as f64 / 1e6);
        }
        let sum = histogram.mean() * histogram.len() as f64 / 1e6;
        out.sample(&format!("{NAME}_sum"), &[("route", route)], sum);
        out.sample(&format!("{NAME}_count"), &[("route", route)], histogram.len() as f64);
    }
    out.family("millstream_http_limits_total", "counter", "How often a limit of the HTTP side was hit.");
    for (limit, count) in &sums.limits {
        out.sample("millstream_http_limits_total", &[("limit", limit)], *count as f64);
    }
    for (name, kind, help, value) in [
        ("millstream_http_connections_total", "counter", "Connections taken.", sums.connections),
        ("millstream_http_connections", "gauge", "Connections open.", sums.connections_open),
        ("millstream_http_streams", "gauge", "Event streams open.", sums.streams_open),
        ("millstream_http_ingest_samples_total", "counter", "Samples committed over HTTP.", sums.ingest_samples),
        ("millstream_http_ingest_bytes_total", "counter", "Bytes of ingest bodies.", sums.ingest_bytes),
    ] {
        out.family(name, kind, help);
        out.sample(name, &[], value as f64);
    }
}

/// The text as it grows.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            self.0.push_str(&format!("{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.0.push_str(&format!(" {value}\n"));
    }
}
