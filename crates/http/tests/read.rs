//! What is asked: every call of the API over a real connection.

mod fake;

use fake::{Fake, client::Rig};
use millstream_http::Limits;
use model::{TimestampNs, Value};
use serde_json::Value as Json;

const TEMPERATURE: &str = "riverside/press/line1/press1/temperature";

fn text(value: &Json) -> &str {
    value.as_str().expect("text")
}

#[tokio::test]
async fn latest_is_filtered_sorted_and_paged() {
    let rig = Rig::start().await;
    let all = rig.get("/v1/latest?match=riverside/press/**").await;
    let rows = all.json();
    let tags: Vec<&str> = rows.as_array().expect("rows").iter().map(|row| text(&row["tag"])).collect();
    assert_eq!(tags.len(), 24);
    assert!(tags.is_sorted());
    assert_eq!(all.headers["millstream-total"], "24");
    let first = rig.get("/v1/latest?match=riverside/press/**&limit=10").await;
    let next = first.headers["link"].split(['<', '>']).nth(1).expect("an address").to_owned();
    let second = rig.get(&next).await.json();
    assert_eq!(second[0]["tag"], tags[10]);
    let jumped = rig.get("/v1/latest?match=riverside/press/**&offset=20&limit=10").await.json();
    assert_eq!(jumped[0]["tag"], tags[20]);
    let found = rig.get("/v1/latest?search=PRESS2%20temp").await.json();
    assert_eq!((found.as_array().map(Vec::len), text(&found[0]["unit"])), (Some(1), "°C"));
    let worst = rig.get("/v1/latest?quality=abnormal&sort=quality").await.json();
    assert_eq!(worst[0]["quality"], "BadNoCommunication");
    assert!(worst.as_array().expect("rows").iter().all(|row| row["quality"] != "Good"));
    let oldest = rig.get("/v1/latest?sort=age&limit=1").await.json();
    assert_eq!(oldest[0]["tag"], "riverside/paint/line1/oven/zone5");
}

#[tokio::test]
async fn values_that_are_no_numbers_are_null_and_large_ones_exact() {
    let rig = Rig::start().await;
    for (value, expected) in [
        (Value::F64(f64::NAN), "null"),
        (Value::F64(f64::NEG_INFINITY), "null"),
        (Value::I64(9_007_199_254_740_993), "9007199254740993"),
        (Value::Bool(true), "true"),
        (Value::Text("a\"<b>\n".into()), r#""a\"<b>\n""#),
    ] {
        rig.fake.set.lock().expect("lock").insert(TEMPERATURE.to_owned(), (TimestampNs(7), value));
        let answer = rig.get(&format!("/v1/latest?match={TEMPERATURE}")).await;
        assert!(answer.body.contains(&format!("\"value\":{expected},")), "{}", answer.body);
        assert!(answer.body.contains("\"time\":\"1970-01-01T00:00:00.000000007Z\""), "{}", answer.body);
    }
}

#[tokio::test]
async fn samples_come_in_order_with_gaps_and_pages() {
    let rig = Rig::start().await;
    let now = TimestampNs(1_790_000_100_000_000_000);
    *rig.fake.clock.lock().expect("lock") = Some(now);
    let mut address = format!("/v1/samples?tag={TEMPERATURE}&from=-10m&to=now&limit=1000");
    let mut times: Vec<String> = Vec::new();
    loop {
        let answer = rig.get(&address).await;
        let body = answer.json();
        times.extend(body["samples"].as_array().expect("samples").iter().map(|one| text(&one["time"]).to_owned()));
        assert_eq!(body["gaps"][0]["reason"], "timeout");
        assert_eq!(answer.headers["millstream-gaps"], "1");
        match &body["next"] {
            Json::Null => break,
            next => address = format!("/v1/samples?tag={TEMPERATURE}&from=-10m&to=now&limit=1000&after={}", text(next)),
        }
    }
    assert!(times.is_sorted_by(|a, b| a < b), "in order, none twice");
    assert_eq!(times.len(), 5_400, "ten samples a second for nine of ten minutes");
}

#[tokio::test]
async fn times_are_taken_in_every_form() {
    let rig = Rig::start().await;
    *rig.fake.clock.lock().expect("lock") = Some(TimestampNs(1_790_000_100_000_000_000));
    for from in ["-100s", "now-100s", "1790000000000000000", "2026-09-21T14:13:20Z", "2026-09-21T16:13:20+02:00"] {
        let body = rig.get(&format!("/v1/samples?tag={TEMPERATURE}&from={from}&to=now&limit=1")).await.json();
        assert_eq!(body["from"], "2026-09-21T14:13:20.000000000Z", "{from}");
    }
}

#[tokio::test]
async fn rollups_answer_the_columns_that_are_asked_for() {
    let rig = Rig::start().await;
    let body = rig.get(&format!("/v1/rollups?tag={TEMPERATURE}&from=-10m&every=1m&agg=avg,min,max")).await.json();
    assert_eq!(body["every_ms"], 60_000);
    let row = body["rollups"][0].as_object().expect("a row");
    let mut names: Vec<&str> = row.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["avg", "max", "min", "time"]);
    assert!(row["min"].as_f64() <= row["avg"].as_f64() && row["avg"].as_f64() <= row["max"].as_f64());
    for wrong in ["every=0s", "every=500ms", "every=1500ms", "every=soon", "agg=median"] {
        rig.get(&format!("/v1/rollups?tag={TEMPERATURE}&{wrong}")).await.problem(400, "bad-parameter");
    }
    let many = rig.get(&format!("/v1/rollups?tag={TEMPERATURE}&from=-30d&every=1s")).await;
    assert!(many.problem(400, "bad-parameter").contains("100000"));
    let words = rig.get("/v1/rollups?tag=riverside/press/line1/press1/state").await;
    words.problem(422, "not-numeric");
}

#[tokio::test]
async fn csv_comes_where_it_is_accepted() {
    let rig = Rig::start().await;
    let set = |value: &str| (TimestampNs(1_000_000_000), Value::Text(value.into()));
    rig.fake.set.lock().expect("lock").insert("riverside/press/line1/press1/state".to_owned(), set("=cmd|'/c x'!A1"));
    let csv = [("Accept", "text/csv")];
    let answer = rig.call("GET", "/v1/latest?match=**/press1/state", &csv, "").await;
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<&str> = answer.body.split("\r\n").collect();
    assert_eq!(lines[0], "tag,time,source_time,value,quality,unit,seen");
    assert!(lines[1].contains(",\"'=cmd|'/c x'!A1\",Good,"), "{}", lines[1]);
    let samples = rig.call("GET", &format!("/v1/samples?tag={TEMPERATURE}&limit=3"), &csv, "").await;
    assert_eq!(samples.body.split("\r\n").count(), 5, "head, three rows, end: {}", samples.body);
    assert!(samples.headers["link"].contains("rel=\"next\""));
    let tags = rig.call("GET", "/v1/tags", &csv, "").await;
    assert!(tags.body.starts_with("tag,kind,unit,low,high,source,shard\r\n"));
    let rollups = rig.call("GET", &format!("/v1/rollups?tag={TEMPERATURE}&agg=max,count"), &csv, "").await;
    assert!(rollups.body.starts_with("time,max,count\r\n"));
    let arrow = rig.call("GET", "/v1/tags", &[("Accept", "application/vnd.apache.arrow.stream")], "").await;
    arrow.problem(406, "not-acceptable");
}

#[tokio::test]
async fn what_is_not_understood_is_said_with_what_would_be_right() {
    let rig = Rig::start().await;
    let detail = rig.get("/v1/latest?mach=**").await.problem(400, "unknown-parameter");
    assert!(detail.contains("did you mean \"match\""), "{detail}");
    let detail = rig.get("/healthz?verbose").await.problem(400, "unknown-parameter");
    assert!(detail.contains("it takes none"), "{detail}");
    let detail = rig.get("/v1/samples?tag=river/nothing").await.problem(404, "unknown-tag");
    assert!(detail.contains("did you mean"), "{detail}");
    let detail = rig.get("/v1/sample").await.problem(404, "not-found");
    assert!(detail.contains("/v1/samples"), "{detail}");
    let detail = rig.get("/v1/ingest").await.problem(405, "method");
    assert!(detail.contains("takes POST"), "{detail}");
    rig.get("/v1/samples").await.problem(400, "bad-parameter");
    for wrong in ["from=tomorrow", "limit=0", "limit=100001", "limit=many", "after=x", "from=now&to=-1m", "tag=b"] {
        rig.get(&format!("/v1/samples?tag={TEMPERATURE}&{wrong}")).await.problem(400, "bad-parameter");
    }
    for wrong in ["sort=size", "quality=nice", "sort=age&after=a"] {
        rig.get(&format!("/v1/latest?{wrong}")).await.problem(400, "bad-parameter");
    }
}

#[tokio::test]
async fn readiness_says_its_reasons() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/readyz").await.status, 200);
    rig.fake.reasons.lock().expect("lock").push("shard 1: the disk is full; free space".to_owned());
    let answer = rig.get("/readyz").await;
    assert!(answer.problem(503, "not-ready").contains("disk is full"));
    assert_eq!(rig.get("/healthz").await.status, 200, "alive all the same");
    assert_eq!(rig.get("/v1/status").await.json()["status"], "not-ready");
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let rig = Rig::start().await;
    rig.get("/v1/tags?nonsense").await;
    let answer = rig.get("/metrics").await;
    assert!(answer.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    for wanted in [
        "millstream_source_state{source=\"press3\",state=\"down\"} 1",
        "millstream_source_counter_total{source=\"press3\",counter=\"timeouts\"} 21",
        "millstream_stage_poll_seconds_bucket{shard=\"0\",lane=\"request\",stage=\"http\",le=\"+Inf\"} 1999",
        "millstream_log_healthy{shard=\"1\"} 0",
        "millstream_http_requests_total{route=\"/v1/tags\",status=\"400\"} 1",
    ] {
        assert!(answer.body.contains(wanted), "{wanted} is missing");
    }
    let mut families: Vec<&str> = Vec::new();
    for line in answer.body.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().expect("a name");
            assert!(!families.contains(&name), "{name} stands twice");
            families.push(name);
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let name = name.split('{').next().expect("a name");
            assert!(families.last().is_some_and(|family| name.starts_with(family)), "{line} stands outside its family");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[tokio::test]
async fn a_long_answer_comes_in_pieces_and_whole() {
    let rig = Rig::with(Limits::default(), Fake::plant(20_000)).await;
    let answer = rig.get("/v1/latest").await;
    assert_eq!(answer.headers["transfer-encoding"], "chunked");
    assert_eq!(answer.json().as_array().map(Vec::len), Some(20_052));
}

#[tokio::test]
async fn the_dashboard_is_whole_small_and_from_here_alone() {
    let rig = Rig::start().await;
    let page = rig.get("/").await;
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let mut wanted = vec!["/".to_owned()];
    let mut total = 0;
    let mut at = 0;
    while at < wanted.len() {
        let path = wanted[at].clone();
        let answer = rig.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        let kind = match path.rsplit('.').next() {
            Some("js") => "text/javascript",
            Some("css") => "text/css",
            Some("svg") => "image/svg+xml",
            _ => "text/html",
        };
        assert!(answer.headers["content-type"].starts_with(kind), "{path}");
        let foreign = answer.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{path} names another address");
        assert!(!foreign.contains("innerHTML") && !foreign.contains("eval("), "{path} parses text as code");
        let known = [("If-None-Match", answer.headers["etag"].as_str())];
        assert_eq!(rig.call("GET", &path, &known, "").await.status, 304, "{path}");
        total += answer.body.len();
        for linked in linked(&path, &answer.body) {
            if !wanted.contains(&linked) {
                wanted.push(linked);
            }
        }
        at += 1;
    }
    assert!(wanted.len() >= 15, "only {wanted:?} was found");
    assert!(total < 300 << 10, "{total} bytes");
}

/// Addresses that a file loads: `href`, `src` and `import … from`.
fn linked(path: &str, body: &str) -> Vec<String> {
    let folder = &path[..=path.rfind('/').unwrap_or(0)];
    let quoted = |mark: &str| -> Vec<String> {
        body.split(mark).skip(1).filter_map(|rest| Some(rest.split('"').next()?.to_owned())).collect()
    };
    let mut found: Vec<String> =
        ["href=\"", "src=\""].iter().flat_map(|mark| quoted(mark)).filter(|one| one.starts_with('/')).collect();
    for import in quoted("from \"") {
        let mut parts: Vec<&str> = folder.trim_matches('/').split('/').collect();
        for part in import.split('/').filter(|part| *part != ".") {
            match part {
                ".." => parts.truncate(parts.len().saturating_sub(1)),
                other => parts.push(other),
            }
        }
        found.push(format!("/{}", parts.join("/")));
    }
    found
}

#[test]
fn the_scripts_are_well_formed() {
    let node = std::process::Command::new("node").arg("--version").output();
    if node.is_err() {
        println!("skipped: there is no node on this machine");
        return;
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard/js");
    let folders = [root.clone(), root.join("views")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder").flatten());
    let mut checked = 0;
    for file in files.filter(|file| file.path().extension().is_some_and(|kind| kind == "js")) {
        let text = std::fs::File::open(file.path()).expect("readable");
        let output = std::process::Command::new("node")
            .args(["--input-type=module", "--check", "-"])
            .stdin(text)
            .output()
            .expect("node runs");
        assert!(output.status.success(), "{:?}: {}", file.path(), String::from_utf8_lossy(&output.stderr));
        checked += 1;
    }
    assert!(checked >= 15);
}
