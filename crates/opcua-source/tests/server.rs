//! The source against a real OPC UA server: what arrives, what is acknowledged, what is recovered.

mod rig;

use model::{GapReason, Quality, SourceState, TimestampNs, Value, ValueKind};
use opcua::client::services::TransferSubscriptions;
use opcua::client::{ClientBuilder, IdentityToken, UARequest};
use opcua::crypto::SecurityPolicy;
use opcua::types::{DateTime, EndpointDescription, MessageSecurityMode, StatusCode};
use rig::proxy::Proxy;
use rig::{Oven, Recorder, Running, USER, folder, node_ref, operator, settings, tag, until};
use std::rc::Rc;
use std::time::Duration;

/// Runs a test on one thread, as a shard does.
fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn running(pass: &Recorder) -> bool {
    matches!(pass.state(), Some(SourceState::Running | SourceState::Degraded { .. }))
}

#[test]
fn values_arrive_and_one_bad_node_is_only_its_own() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Zone1.Temperature", 20.5_f64);
        oven.add("Zone 2", 7_i32);
        oven.add("State", "idle");
        oven.add("Door", true);
        oven.add("Curve", vec![1.0_f64, 2.0]);
        let mut settings = settings(oven.address());
        settings.tags = vec![tag("zone1", "Zone1.Temperature"), tag("gone", "NoSuchNode")];
        settings.browse = vec![folder("zones", "Zones")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("running", &pass, || running(&pass)).await;
        until("all values", &pass, || {
            ["zone1", "zones/Zone1.Temperature", "zones/Zone_2", "zones/State", "zones/Door"]
                .iter()
                .all(|name| !pass.values(&format!("plant/oven/{name}")).is_empty())
        })
        .await;
        oven.set("Zone1.Temperature", 21.5_f64);
        oven.set("State", "heating");
        until("changes", &pass, || {
            pass.values("plant/oven/zone1").last() == Some(&Value::F64(21.5))
                && pass.values("plant/oven/zones/State").last() == Some(&Value::Text("heating".into()))
        })
        .await;
        assert_eq!(pass.values("plant/oven/zones/Zone_2"), [Value::I64(7)]);
        assert_eq!(pass.values("plant/oven/zones/Door"), [Value::Bool(true)]);
        let last = pass.readings("plant/oven/zone1").pop().expect("has readings");
        assert!(last.quality == Quality::GOOD && last.source_time.is_some());
        // Ahead of all others: the server gives a time before the last one another time.
        oven.set_at("Zone1.Temperature", 22.5_f64, DateTime::ymd_hms(2100, 1, 31, 12, 0, 0));
        until("a value with its own time", &pass, || pass.values("plant/oven/zone1").last() == Some(&Value::F64(22.5)))
            .await;
        let last = pass.readings("plant/oven/zone1").pop().expect("has readings");
        assert_eq!(last.source_time, TimestampNs::parse_rfc3339("2100-01-31T12:00:00Z"), "to the nanosecond");
        let bad = pass.readings("plant/oven/gone");
        assert!(bad.iter().all(|reading| reading.value.is_none() && reading.quality == Quality::BAD_NODE_ID_UNKNOWN));
        assert!(!bad.is_empty() && pass.tag("plant/oven/zones/Curve").is_none());
        let Some(SourceState::Degraded { reason }) = pass.state() else { panic!("two are missing") };
        assert!(reason.contains("asked 7, live 5; refused 2"), "{reason}");
        assert!(reason.contains("BadNodeIdUnknown") && reason.contains("plant/oven/gone"), "{reason}");
        assert!(reason.contains("array") && reason.contains("plant/oven/zones/Curve"), "{reason}");
        let kinds: Vec<_> = pass.declared.borrow().iter().map(|d| (d.path.to_string(), d.kind)).collect();
        assert!(kinds.contains(&("plant/oven/zones/Door".into(), ValueKind::Bool)), "{kinds:?}");
        until("an acknowledgement", &pass, || pass.count_of("acks_sent") > 0).await;

        // The node that was missing comes, and the rest is left in peace.
        oven.add("NoSuchNode", 3.5_f64);
        until("the late node", &pass, || pass.values("plant/oven/gone") == [Value::F64(3.5)]).await;
        assert_eq!(pass.gaps_because(GapReason::NotConnected), []);
        source.stop().await;
        until("a clean goodbye", &pass, || oven.subscriptions().is_empty()).await;
    });
}

/// The sequence numbers that the server still keeps for a subscription: those not acknowledged. Asked
/// by taking the subscription over into a session of our own (OPC 10000-4, 5.14.7).
async fn kept_by_server(oven: &Oven, pass: &Recorder) -> Vec<u32> {
    let pki = tempfile::tempdir().expect("temporary directory");
    let mut client = ClientBuilder::new()
        .application_name("spy")
        .application_uri("urn:test:spy")
        .pki_dir(pki.path())
        .create_sample_keypair(false)
        .client()
        .expect("valid");
    let endpoint = EndpointDescription::from(oven.address().as_str());
    let identity = IdentityToken::new_user_name(USER, "secret");
    let (session, event_loop) = client.connect_to_matching_endpoint(endpoint, identity).await.expect("endpoint");
    let task = event_loop.spawn();
    tokio::time::timeout(Duration::from_secs(20), session.wait_for_connection()).await.expect("connected");
    let ids = oven.subscriptions();
    assert_eq!(ids.len(), 1, "states {:?}", pass.states.borrow());
    let answer =
        TransferSubscriptions::new(&session).subscription_ids(ids).send(session.channel()).await.expect("transferred");
    let result = answer.results.expect("one result").remove(0);
    assert_eq!(result.status_code, StatusCode::Good);
    let _ = session.disconnect().await;
    task.abort();
    result.available_sequence_numbers.unwrap_or_default()
}

/// Sets a value, and waits until it has come in a message of its own.
async fn one_message_each(oven: &Oven, pass: &Recorder, values: std::ops::Range<i32>) {
    for value in values {
        oven.set("Counter", value);
        until("the value", pass, || pass.values("plant/oven/counter").last() == Some(&Value::I64(i64::from(value))))
            .await;
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Counter", 0_i32);
        let mut settings = settings(oven.address());
        settings.user = Some(operator());
        settings.tags = vec![tag("counter", "Counter")];
        let pass = Rc::new(Recorder::default());
        pass.withhold.set(true);
        let source = Running::start(settings, pass.clone());
        until("the first value", &pass, || !pass.values("plant/oven/counter").is_empty()).await;
        one_message_each(&oven, &pass, 1..5).await;
        let keep_alives = pass.count_of("keep_alives");
        until("further publish requests", &pass, || pass.count_of("keep_alives") > keep_alives + 2).await;
        assert_eq!(pass.count_of("acks_sent"), 0);
        let kept = kept_by_server(&oven, &pass).await;
        assert_eq!(kept, [1, 2, 3, 4, 5], "the server still has every message");
        drop(source);
    });
}

#[test]
fn what_is_durable_is_acknowledged_and_forgotten_by_the_server() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Counter", 0_i32);
        let mut settings = settings(oven.address());
        settings.user = Some(operator());
        settings.tags = vec![tag("counter", "Counter")];
        let pass = Rc::new(Recorder::default());
        pass.withhold.set(true);
        let source = Running::start(settings, pass.clone());
        until("the first value", &pass, || !pass.values("plant/oven/counter").is_empty()).await;
        one_message_each(&oven, &pass, 1..5).await;
        pass.make_durable();
        until("five acknowledgements", &pass, || pass.count_of("acks_sent") >= 5).await;
        pass.withhold.set(true);
        one_message_each(&oven, &pass, 5..7).await;
        let kept = kept_by_server(&oven, &pass).await;
        assert_eq!(kept, [6, 7], "only what is not durable is kept");
        drop(source);
    });
}

#[test]
fn a_busy_pass_loses_nothing_and_the_server_keeps_what_waits() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Counter", 0_i32);
        let mut settings = settings(oven.address());
        settings.watchdog = Duration::from_secs(1);
        settings.tags = vec![tag("counter", "Counter")];
        let pass = Rc::new(Recorder::default());
        let source = Running::start(settings, pass.clone());
        one_message_each(&oven, &pass, 1..3).await;
        until("acknowledgements", &pass, || pass.count_of("acks_sent") > 0).await;
        pass.busy.set(true);
        for value in 3..9 {
            oven.set("Counter", value);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Longer than the watchdog: holding back is not silence.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        pass.busy.set(false);
        until("the last value", &pass, || pass.values("plant/oven/counter").last() == Some(&Value::I64(8))).await;
        let expected: Vec<Value> = (3..9).map(Value::I64).collect();
        assert!(pass.values("plant/oven/counter").ends_with(&expected), "{:?}", pass.values("plant/oven/counter"));
        assert_eq!(pass.count_of("reconnects"), 0);
        assert_eq!(*pass.gaps.borrow(), []);
        source.stop().await;
    });
}

#[test]
fn a_restarted_server_is_found_again_though_its_namespaces_moved() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Zone1.Temperature", 1.0_f64);
        let mut settings = settings(oven.address());
        settings.watchdog = Duration::from_secs(1);
        settings.tags = vec![tag("zone1", "Zone1.Temperature")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("a value", &pass, || pass.values("plant/oven/zone1") == [Value::F64(1.0)]).await;
        let index = oven.namespace;
        let port = oven.stop().await;
        until("bad quality", &pass, || {
            pass.readings("plant/oven/zone1").last().is_some_and(|r| r.quality == Quality::BAD_NO_COMMUNICATION)
        })
        .await;
        until("down", &pass, || matches!(pass.state(), Some(SourceState::Down { .. }))).await;
        let gaps_while_down = pass.gaps_because(GapReason::NotConnected).len();
        assert!(gaps_while_down >= 1, "said while it lasts");

        let oven = Oven::start(port, &["urn:test:other"]).await;
        assert_ne!(oven.namespace, index, "the index moved");
        oven.add("Zone1.Temperature", 2.0_f64);
        until("the value of the new server", &pass, || {
            pass.values("plant/oven/zone1").last() == Some(&Value::F64(2.0))
        })
        .await;
        until("running", &pass, || pass.state() == Some(SourceState::Running)).await;
        let bad = pass.readings("plant/oven/zone1").iter().filter(|r| r.quality.is_bad()).count();
        assert_eq!(bad, 1, "marked bad once");
        let gaps = pass.gaps_because(GapReason::NotConnected);
        assert!(gaps.len() > gaps_while_down, "the end is said: {gaps:?}");
        assert!(gaps.windows(2).all(|pair| pair[0].to == pair[1].from), "without holes between: {gaps:?}");
        let submits: Vec<_> = pass.submits.borrow().iter().map(|(at, _)| *at).collect();
        assert!(submits.first() <= Some(&gaps[0].from), "after old values");
        assert!(gaps.last().map(|gap| gap.to) <= submits.last().copied(), "before new values");
        assert!(pass.count_of("reconnects") >= 1);
        source.stop().await;
    });
}

#[test]
fn messages_sent_into_a_dead_connection_are_republished() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Counter", 0_i32);
        let proxy = Proxy::start(oven.port).await;
        let mut settings = settings(format!("opc.tcp://127.0.0.1:{}/", proxy.port));
        settings.watchdog = Duration::from_secs(30);
        settings.tags = vec![tag("counter", "Counter")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("the first value", &pass, || !pass.values("plant/oven/counter").is_empty()).await;
        one_message_each(&oven, &pass, 1..3).await;
        // The server's answers to the outstanding Publish requests vanish on the way.
        proxy.swallow(true);
        for value in 3..5 {
            oven.set("Counter", value);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert_eq!(pass.values("plant/oven/counter").last(), Some(&Value::I64(2)));
        proxy.cut();
        proxy.swallow(false);
        until("the lost values", &pass, || pass.values("plant/oven/counter").last() == Some(&Value::I64(4))).await;
        one_message_each(&oven, &pass, 5..7).await;
        let expected: Vec<Value> = (0..7).map(Value::I64).collect();
        assert_eq!(pass.values("plant/oven/counter"), expected, "each once, in order");
        assert!(pass.count_of("republished") >= 1, "{:?}", pass.counts.borrow());
        assert_eq!(pass.count_of("reconnects"), 1);
        assert_eq!(*pass.gaps.borrow(), [], "nothing was lost, so nothing is missing");
        source.stop().await;
    });
}

#[test]
fn messages_that_cannot_be_had_again_are_a_gap_and_current_values_are_read() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Counter", 0_i32);
        let proxy = Proxy::start(oven.port).await;
        let mut settings = settings(format!("opc.tcp://127.0.0.1:{}/", proxy.port));
        settings.watchdog = Duration::from_secs(30);
        settings.tags = vec![tag("counter", "Counter")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("the first value", &pass, || !pass.values("plant/oven/counter").is_empty()).await;
        one_message_each(&oven, &pass, 1..3).await;
        proxy.forget(true);
        proxy.swallow(true);
        for value in 3..5 {
            oven.set("Counter", value);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        proxy.cut();
        proxy.swallow(false);
        // A keep-alive tells the next number, and so that messages are missing.
        until("a gap", &pass, || !pass.gaps_because(GapReason::SequenceGap).is_empty()).await;
        until("the current value", &pass, || pass.values("plant/oven/counter").last() == Some(&Value::I64(4))).await;
        proxy.forget(false);
        one_message_each(&oven, &pass, 5..7).await;
        let expected: Vec<Value> = [0, 1, 2, 4, 5, 6].map(Value::I64).to_vec();
        assert_eq!(pass.values("plant/oven/counter"), expected, "3 is lost, 4 was read");
        assert!(pass.count_of("sequence_gaps") >= 1);
        let gaps = pass.gaps.borrow().clone();
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert!(gaps[0].from < gaps[0].to && gaps[0].tags.is_none());
        source.stop().await;
    });
}

#[test]
fn a_subscription_that_was_taken_away_is_made_anew_with_a_gap() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Counter", 0_i32);
        let mut settings = settings(oven.address());
        settings.user = Some(operator());
        settings.tags = vec![tag("counter", "Counter")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        one_message_each(&oven, &pass, 1..3).await;
        let before = pass.values("plant/oven/counter").len();
        kept_by_server(&oven, &pass).await;
        until("a new initial value", &pass, || pass.values("plant/oven/counter").len() > before).await;
        one_message_each(&oven, &pass, 3..5).await;
        assert!(!pass.gaps_because(GapReason::NotConnected).is_empty());
        assert_eq!(pass.count_of("reconnects"), 0, "on the same session");
        source.stop().await;
    });
}

#[test]
fn a_server_that_takes_one_publish_request_is_asked_with_one() {
    on_one_thread(async {
        let oven = Oven::start_with(0, &[], |mut builder| {
            let limits = builder.limits_mut();
            limits.subscriptions.max_publish_requests_per_subscription = 1;
            limits.subscriptions.max_pending_publish_requests = 1;
            limits.operational.max_monitored_items_per_call = 3;
            limits.operational.max_nodes_per_read = 2;
            limits.operational.max_nodes_per_browse = 1;
            builder
        })
        .await;
        oven.add("Counter", 0_i32);
        for at in 0..10 {
            oven.add(&format!("v{at}"), at);
        }
        let mut settings = settings(oven.address());
        settings.tags = vec![tag("counter", "Counter")];
        settings.browse = vec![folder("all", "Zones")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        one_message_each(&oven, &pass, 1..10).await;
        until("all of them", &pass, || pass.values("plant/oven/all/v9") == [Value::I64(9)]).await;
        assert_eq!((pass.state(), pass.count_of("reconnects")), (Some(SourceState::Running), 0));
        source.stop().await;
    });
}

#[test]
fn an_unknown_certificate_is_refused_until_a_person_trusts_it() {
    on_one_thread(async {
        let oven = Oven::start_with(0, &[], |builder| {
            let users = &[rig::ANONYMOUS] as &[&str];
            let mode = MessageSecurityMode::SignAndEncrypt;
            builder
                .create_sample_keypair(true)
                .trust_client_certs(true)
                .add_endpoint("secure", ("/", SecurityPolicy::Basic256Sha256, mode, users))
        })
        .await;
        oven.add("Zone1.Temperature", 5.0_f64);
        let mut settings = settings(oven.address());
        settings.timeout = Duration::from_secs(30);
        settings.security = "Basic256Sha256/SignAndEncrypt".parse().expect("valid");
        settings.tags = vec![tag("zone1", "Zone1.Temperature")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("down", &pass, || matches!(pass.state(), Some(SourceState::Down { .. }))).await;
        let reason = pass.state().expect("a state").reason().to_owned();
        assert!(reason.contains("trusted") && reason.contains("rejected"), "{reason}");
        let rejected = source.pki.path().join("rejected");
        let certificate = std::fs::read_dir(&rejected).expect("there").next().expect("one").expect("readable");
        let trusted = source.pki.path().join("trusted").join(certificate.file_name());
        std::fs::rename(certificate.path(), trusted).expect("moved");
        until("a value", &pass, || pass.values("plant/oven/zone1") == [Value::F64(5.0)]).await;
        source.stop().await;
    });
}

#[test]
fn a_notification_with_more_than_a_thousand_values_arrives_whole() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        // More than one subscription takes, too: the server allows 1,200 items each.
        for at in 0..1_500 {
            oven.add(&format!("v{at}"), f64::from(at));
        }
        let mut settings = settings(oven.address());
        settings.publishing = Duration::from_millis(500);
        settings.browse = vec![folder("all", "Zones")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("all values", &pass, || pass.count_of("samples") >= 1_500).await;
        until("running", &pass, || pass.state() == Some(SourceState::Running)).await;
        let largest = pass.submits.borrow().iter().map(|(_, readings)| readings.len()).max();
        assert!(largest > Some(1_000), "{largest:?}");
        assert_eq!(pass.values("plant/oven/all/v1499"), [Value::F64(1_499.0)]);
        assert_eq!(oven.subscriptions().len(), 2, "what one subscription does not take is on another");
        source.stop().await;
    });
}

#[test]
fn an_overflowed_queue_is_a_gap_of_that_tag() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Fast", 0_i32);
        oven.add("Slow", 0_i32);
        let mut settings = settings(oven.address());
        settings.queue = 2;
        settings.publishing = Duration::from_millis(500);
        settings.tags = vec![tag("fast", "Fast"), tag("slow", "Slow")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("first values", &pass, || {
            !pass.values("plant/oven/fast").is_empty() && !pass.values("plant/oven/slow").is_empty()
        })
        .await;
        // Slower than the sampling interval, and many times in a publishing interval.
        for value in 1..=20 {
            oven.set("Fast", value);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        oven.set("Slow", 1);
        until("the last value", &pass, || pass.values("plant/oven/fast").last() == Some(&Value::I64(20))).await;
        let gaps = pass.gaps_because(GapReason::QueueOverflow);
        let fast = pass.tag("plant/oven/fast").expect("declared");
        assert!(
            !gaps.is_empty() && gaps.iter().all(|gap| gap.tags == Some((fast, 1)) && gap.count.is_none()),
            "{gaps:?}"
        );
        assert!(pass.readings("plant/oven/fast").iter().any(|reading| reading.quality.overflowed()));
        assert!(pass.count_of("overflows") >= 1);
        source.stop().await;
    });
}

#[test]
fn a_server_that_is_not_there_is_down_with_a_reason_until_it_comes() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        let port = oven.stop().await;
        let mut settings = settings(format!("opc.tcp://127.0.0.1:{port}/"));
        settings.tags = vec![tag("zone1", "Zone1.Temperature")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("down", &pass, || matches!(pass.state(), Some(SourceState::Down { .. }))).await;
        let reason = pass.state().expect("a state").reason().to_owned();
        assert!(reason.contains(&port.to_string()) && reason.contains("check the address"), "{reason}");
        let oven = Oven::start(port, &[]).await;
        oven.add("Zone1.Temperature", 5.0_f64);
        until("a value", &pass, || pass.values("plant/oven/zone1") == [Value::F64(5.0)]).await;
        source.stop().await;
    });
}

#[test]
fn security_that_is_not_offered_is_refused_and_never_downgraded() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        let mut settings = settings(oven.address());
        settings.security = "Basic256Sha256/SignAndEncrypt".parse().expect("valid");
        settings.tags = vec![tag("zone1", "Zones")];
        let source = Running::start(settings, Rc::default());
        let pass = source.pass.clone();
        until("down", &pass, || matches!(pass.state(), Some(SourceState::Down { .. }))).await;
        let reason = pass.state().expect("a state").reason().to_owned();
        assert!(reason.contains("does not offer Basic256Sha256/SignAndEncrypt"), "{reason}");
        source.stop().await;
    });
}

#[test]
fn browsing_shows_endpoints_variables_and_a_configuration() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add("Zone1.Temperature", 20.5_f64);
        oven.add("Curve", vec![1.0_f64]);
        let pki = tempfile::tempdir().expect("temporary directory");
        let mut request = millstream_opcua_source::BrowseRequest {
            address: oven.address(),
            security: "None".parse().expect("valid"),
            user: None,
            pki: pki.path().to_owned(),
            timeout: Duration::from_secs(10),
            below: Some(node_ref("Zones")),
            max: 100,
        };
        let report = millstream_opcua_source::browse(&request).await.expect("answers");
        assert_eq!(report.endpoints, ["None (anonymous, user name)"]);
        assert!(report.namespaces.contains(&rig::NAMESPACE.to_owned()) && !report.cut && report.refused.is_none());
        let variable = report.variables.iter().find(|v| v.name == "Zone1.Temperature").expect("found");
        assert_eq!((variable.kind.clone(), variable.node.clone()), (Ok(ValueKind::F64), node_ref("Zone1.Temperature")));
        assert_eq!(variable.value.as_deref(), Some("20.5"));
        let curve = report.variables.iter().find(|v| v.name == "Curve").expect("found");
        assert!(curve.kind.is_err());
        let parsed: toml::Table = report.toml.parse().expect("valid TOML");
        let node = parsed["source"][0]["tag"][0]["node"].as_str().expect("a node");
        assert_eq!(node.parse(), Ok(node_ref("Zone1.Temperature")));

        request.user = Some(operator());
        request.security = "Basic256Sha256/Sign".parse().expect("valid");
        let report = millstream_opcua_source::browse(&request).await.expect("answers");
        assert!(report.refused.is_some_and(|why| why.contains("does not offer")));
        request.address = format!("opc.tcp://127.0.0.1:{}/", oven.stop().await);
        let error = millstream_opcua_source::browse(&request).await.expect_err("nobody there").to_string();
        assert!(error.contains("cannot be reached"), "{error}");
    });
}
