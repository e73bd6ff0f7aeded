//! Commands against a real OPC UA server: what it then holds and was called with, and how refusals,
//! lost connections and deadlines come back.

mod rig;

use model::device::{DeviceAnswer, DeviceCommand, DeviceError};
use model::{Quality, SourceState, Value};
use opcua::types::{DataTypeId, LocalizedText, StatusCode, UAString, Variant};
use rig::proxy::Proxy;
use rig::{NAMESPACE, Oven, Recorder, Running, folder, settings, tag, until};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs a test on one thread, as a shard does.
fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn running(pass: &Recorder) -> bool {
    matches!(pass.state(), Some(SourceState::Running | SourceState::Degraded { .. }))
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn written(outcome: Result<DeviceAnswer, DeviceError>) {
    assert_eq!(outcome, Ok(DeviceAnswer::Written));
}

fn refusal(outcome: Result<DeviceAnswer, DeviceError>) -> (String, String) {
    match outcome {
        Err(DeviceError::Device { code, text }) => (code, text),
        other => panic!("not refused by the device: {other:?}"),
    }
}

#[test]
fn values_are_written_as_the_nodes_own_type_and_read_back() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add_data_type("Celsius", DataTypeId::Float);
        let cases: Vec<(&str, Variant, DataTypeId, Value, Variant)> = vec![
            ("double", 1.0_f64.into(), DataTypeId::Double, Value::I64(180), 180.0_f64.into()),
            ("float", 1.0_f32.into(), DataTypeId::Float, Value::F64(21.5), 21.5_f32.into()),
            ("int16", 1_i16.into(), DataTypeId::Int16, Value::I64(-7), (-7_i16).into()),
            ("byte", 1_u8.into(), DataTypeId::Byte, Value::F64(255.0), 255_u8.into()),
            ("uint64", 1_u64.into(), DataTypeId::UInt64, Value::I64(9), 9_u64.into()),
            ("enum", 1_i32.into(), DataTypeId::Enumeration, Value::I64(2), 2_i32.into()),
            ("any", 1_u32.into(), DataTypeId::BaseDataType, Value::I64(5), 5_u32.into()),
            ("bool", false.into(), DataTypeId::Boolean, Value::Bool(true), true.into()),
            ("string", "a".into(), DataTypeId::String, text("Öfen"), "Öfen".into()),
            (
                "localized",
                LocalizedText::new("en", "a").into(),
                DataTypeId::LocalizedText,
                text("b"),
                LocalizedText { locale: UAString::null(), text: "b".into() }.into(),
            ),
        ];
        for (name, value, data_type, ..) in &cases {
            oven.add_writable(name, value.clone(), *data_type);
        }
        oven.add("Door", false);
        oven.add_writable("own", Variant::Float(1.0), oven.node("Celsius"));
        let mut settings = settings(oven.address());
        settings.tags = cases.iter().map(|(name, ..)| tag(name, name)).collect();
        settings.tags.push(tag("own", "own"));
        settings.browse = vec![folder("zones", "Zones")];
        let source = Running::start(settings, Rc::default());
        until("running", &source.pass, || running(&source.pass)).await;
        for (name, _, _, value, stands) in &cases {
            written(source.write(name, value.clone()).await);
            assert_eq!(oven.holds(name).as_ref(), Some(stands), "{name}");
        }
        written(source.write("own", Value::F64(2.5)).await);
        assert_eq!(oven.holds("own"), Some(Variant::Float(2.5)));
        written(source.write("zones/double", Value::F64(99.5)).await);
        let read = source.read(&["double", "zones/int16", "bool", "string"]).await;
        let good = |tag: &str, value| (tag.to_owned(), Some(value), Quality::GOOD);
        let expected = [
            good("double", Value::F64(99.5)),
            good("zones/int16", Value::I64(-7)),
            good("bool", Value::Bool(true)),
            good("string", text("Öfen")),
        ];
        assert_eq!(read, Ok(DeviceAnswer::Values(expected.to_vec())));
        // The subscriptions were not disturbed.
        oven.set("Door", true);
        until("a value that flows", &source.pass, || {
            source.pass.values("plant/oven/zones/Door").last() == Some(&Value::Bool(true))
        })
        .await;
        assert_eq!((source.pass.count_of("reconnects"), source.pass.count_of("publish_errors")), (0, 0));
        assert_eq!(source.pass.count_of("commands_done"), cases.len() as u64 + 3);
        source.stop().await;
    });
}

#[test]
fn what_does_not_fit_is_refused_and_the_node_keeps_its_value() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add_writable("int16", 1_i16, DataTypeId::Int16);
        oven.add_writable("double", 1.0_f64, DataTypeId::Double);
        oven.add_writable("curve", vec![1.0_f64, 2.0], DataTypeId::Double);
        oven.add("fixed", 7_i32);
        let mut settings = settings(oven.address());
        settings.tags = ["int16", "double", "curve", "fixed", "gone"].iter().map(|name| tag(name, name)).collect();
        let source = Running::start(settings, Rc::default());
        until("running", &source.pass, || running(&source.pass)).await;
        let outside = source.write("int16", Value::I64(32_768)).await;
        assert!(matches!(&outside, Err(DeviceError::OutOfRange { what, .. }) if what.contains("int16")), "{outside:?}");
        let kind = source.write("double", text("hot")).await;
        assert!(matches!(kind, Err(DeviceError::WrongKind { .. })), "{kind:?}");
        let array = source.write("curve", Value::F64(1.0)).await;
        assert!(matches!(&array, Err(DeviceError::Unsupported { what }) if what.contains("array")), "{array:?}");
        assert_eq!((oven.holds("int16"), oven.holds("double")), (Some(1_i16.into()), Some(1.0_f64.into())));
        let (code, advice) = refusal(source.write("fixed", Value::I64(8)).await);
        assert!(["BadNotWritable", "BadUserAccessDenied"].contains(&code.as_str()), "{code}: {advice}");
        assert_eq!(oven.holds("fixed"), Some(7_i32.into()));
        assert_eq!(refusal(source.write("gone", Value::I64(8)).await).0, "BadNodeIdUnknown");
        assert_eq!(refusal(source.read(&["gone"]).await).0, "BadNodeIdUnknown");
        let Ok(DeviceAnswer::Values(values)) = source.read(&["gone", "fixed"]).await else {
            panic!("one of them reads")
        };
        assert_eq!(values[0], ("gone".into(), None, Quality::BAD_NODE_ID_UNKNOWN));
        assert_eq!(values[1], ("fixed".into(), Some(Value::I64(7)), Quality::GOOD));
        let unknown = source.write("doubel", Value::F64(1.0)).await;
        assert_eq!(unknown, Err(DeviceError::UnknownTag { tag: "doubel".into(), nearest: Some("double".into()) }));
        assert!(source.pass.count_of("commands_failed") >= 7);
        source.stop().await;
    });
}

#[test]
fn methods_are_called_with_the_types_that_they_list() {
    on_one_thread(async {
        let oven = Oven::start(0, &["urn:test:before"]).await;
        oven.add("Temperature", 1.0_f64);
        let heard = Arc::new(Mutex::new(Vec::<Vec<Variant>>::new()));
        let called = |answer: Result<Vec<Variant>, StatusCode>| {
            let heard = Arc::clone(&heard);
            Box::new(move |arguments: &[Variant]| {
                heard.lock().expect("not poisoned").push(arguments.to_vec());
                answer.clone()
            })
        };
        let inputs = [("Target", DataTypeId::Float), ("Zone", DataTypeId::Byte), ("Recipe", DataTypeId::String)];
        let outputs = vec![Variant::UInt32(41), "done".into(), Variant::from(vec![1_i32, 2]), Variant::Empty];
        oven.add_method("Heat", &inputs, true, called(Ok(outputs)));
        oven.add_method("Stop", &[], false, called(Ok(vec![])));
        oven.add_method("Unlisted", &[], false, called(Ok(vec![])));
        oven.add_method("Refuses", &[], false, called(Err(StatusCode::BadInvalidState)));
        let mut settings = settings(oven.address());
        settings.tags = vec![tag("temperature", "Temperature")];
        let source = Running::start(settings, Rc::default());
        until("running", &source.pass, || running(&source.pass)).await;

        let arguments = vec![Value::I64(180), Value::I64(3), text("r1")];
        let Ok(DeviceAnswer::Returned(returned)) = source.call("Heat", arguments).await else { panic!("it heats") };
        assert_eq!(returned[..2], [Value::I64(41), text("done")]);
        assert!(matches!((&returned[2], &returned[3]), (Value::Text(list), Value::Text(_)) if list.contains('2')));
        assert_eq!(source.call("Stop", vec![]).await, Ok(DeviceAnswer::Returned(vec![])));
        // Where nothing is listed the arguments go out as they are, and the server judges them.
        let unlisted = source.call("Unlisted", vec![Value::I64(7)]).await;
        assert_eq!(refusal(unlisted).0, "BadTooManyArguments");
        let sent = heard.lock().expect("not poisoned").clone();
        assert_eq!(sent[0], [Variant::Float(180.0), Variant::Byte(3), "r1".into()]);
        assert_eq!(sent[1..], [vec![]]);

        let (code, advice) = refusal(source.call("Refuses", vec![]).await);
        assert!(code == "BadInvalidState" && advice.contains("state"), "{code}: {advice}");
        let few = source.call("Heat", vec![Value::I64(180)]).await;
        assert!(
            matches!(&few, Err(DeviceError::Unsupported { what }) if what.contains("Target, Zone, Recipe")),
            "{few:?}"
        );
        let outside = source.call("Heat", vec![Value::I64(180), Value::I64(256), text("r1")]).await;
        assert!(matches!(&outside, Err(DeviceError::OutOfRange { what, .. }) if what.contains("Zone")), "{outside:?}");
        let (code, _) = refusal(source.call("Nothing", vec![]).await);
        assert!(["BadMethodInvalid", "BadNodeIdUnknown"].contains(&code.as_str()), "{code}");
        let elsewhere = |object: &str| DeviceCommand::Call {
            object: object.into(),
            method: format!("nsu={NAMESPACE};s=Stop"),
            arguments: vec![],
        };
        assert_eq!(refusal(source.command(elsewhere("nsu=urn:nowhere;s=X"), 20_000).await).0, "BadNoMatch");
        let invalid = source.command(elsewhere("Zones"), 20_000).await;
        assert!(matches!(invalid, Err(DeviceError::Unsupported { .. })), "{invalid:?}");
        assert_eq!(heard.lock().expect("not poisoned").len(), 3, "refused calls reached nobody");
        source.stop().await;
    });
}

#[test]
fn a_server_that_is_away_refuses_at_once_and_works_again_when_it_is_back() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add_writable("SetPoint", 1.0_f64, DataTypeId::Double);
        let mut settings = settings(oven.address());
        settings.watchdog = Duration::from_secs(1);
        settings.tags = vec![tag("setpoint", "SetPoint")];
        let source = Running::start(settings, Rc::default());
        let early = source.write("setpoint", Value::F64(2.0)).await;
        assert!(matches!(early, Err(DeviceError::NotConnected { .. })), "{early:?}");
        until("running", &source.pass, || running(&source.pass)).await;
        written(source.write("setpoint", Value::F64(2.0)).await);
        let port = oven.stop().await;
        until("down", &source.pass, || matches!(source.pass.state(), Some(SourceState::Down { .. }))).await;
        let away = source.write("setpoint", Value::F64(3.0)).await;
        assert!(matches!(&away, Err(DeviceError::NotConnected { why }) if why.contains("attempt")), "{away:?}");
        // Its namespaces moved and the type of its node changed: nothing of the old session is used.
        let oven = Oven::start(port, &["urn:test:before"]).await;
        oven.add_writable("SetPoint", 1.0_f32, DataTypeId::Float);
        until("up again", &source.pass, || running(&source.pass) && source.pass.count_of("reconnects") > 0).await;
        written(source.write("setpoint", Value::F64(4.0)).await);
        assert_eq!(oven.holds("SetPoint"), Some(4.0_f32.into()));
        source.stop().await;
    });
}

#[test]
fn a_network_that_swallows_the_answer_leaves_doubt_by_the_deadline() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add_writable("SetPoint", 1.0_f64, DataTypeId::Double);
        let proxy = Proxy::start(oven.port).await;
        let mut settings = settings(format!("opc.tcp://127.0.0.1:{}/", proxy.port));
        settings.watchdog = Duration::from_secs(60);
        settings.keep_alive = Duration::from_secs(20);
        settings.timeout = Duration::from_secs(30);
        settings.tags = vec![tag("setpoint", "SetPoint")];
        let source = Running::start(settings, Rc::default());
        until("running", &source.pass, || running(&source.pass)).await;
        written(source.write("setpoint", Value::F64(2.0)).await);
        proxy.swallow(true);
        let write = DeviceCommand::Write { tag: "setpoint".into(), value: Value::F64(3.0) };
        let swallowed = source.command(write.clone(), 1_500).await.expect_err("nothing comes back");
        assert_eq!(swallowed, DeviceError::Timeout { sent: true });
        until("the write itself", &source.pass, || oven.holds("SetPoint") == Some(3.0_f64.into())).await;
        // One that is under way when the connection breaks is in doubt, and not sent again.
        let (broken, ()) = tokio::join!(source.command(write, 20_000), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            proxy.swallow(false);
            proxy.cut();
        });
        let broken = broken.expect_err("the connection broke");
        assert!(broken.is_in_doubt(), "{broken}");
        source.stop().await;
    });
}

#[test]
fn commands_do_not_disturb_the_values_that_flow() {
    on_one_thread(async {
        let oven = Oven::start(0, &[]).await;
        oven.add_writable("SetPoint", 0.0_f64, DataTypeId::Double);
        oven.add("Counter", 0_i32);
        let mut settings = settings(oven.address());
        settings.queue = 100;
        settings.tags = vec![tag("setpoint", "SetPoint"), tag("counter", "Counter")];
        let source = Running::start(settings, Rc::default());
        until("running", &source.pass, || running(&source.pass)).await;
        until("a first value", &source.pass, || !source.pass.values("plant/oven/counter").is_empty()).await;
        let writes = async {
            for value in 1..=60 {
                written(source.write("setpoint", Value::I64(value)).await);
                assert!(source.read(&["setpoint", "counter"]).await.is_ok());
            }
        };
        let values = async {
            for value in 1..=20 {
                oven.set("Counter", value);
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        };
        tokio::join!(writes, values);
        let expected: Vec<Value> = (0..=20).map(Value::I64).collect();
        until("every value", &source.pass, || source.pass.values("plant/oven/counter") == expected).await;
        assert_eq!(oven.holds("SetPoint"), Some(60.0_f64.into()));
        assert_eq!(*source.pass.gaps.borrow(), []);
        source.stop().await;
    });
}
