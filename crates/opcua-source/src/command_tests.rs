use super::*;
use model::{TagId, TagPath};

fn item(name: &str, id: Option<NodeId>, status: Status) -> Item {
    Item {
        path: TagPath::new(&format!("plant/oven/{name}")).expect("valid"),
        node: "i=1".parse().expect("valid"),
        id,
        unit: None,
        range: None,
        deadband: 0.0,
        tag: Some((TagId(1), ValueKind::F64)),
        status,
    }
}

fn items() -> Vec<Item> {
    vec![
        item("setpoint", Some(NodeId::new(1, "SetPoint")), Status::Live { queue: 10 }),
        item("zones/Zone1", Some(NodeId::new(1, "Zone1")), Status::Live { queue: 10 }),
        item("elsewhere", None, Status::Refused(StatusCode::BadNoMatch)),
        item("curve", Some(NodeId::new(1, "Curve")), Status::Unsupported("its value is an array".into())),
    ]
}

fn found(command: DeviceCommand) -> Result<Task, DeviceError> {
    let items = items();
    find(command, "plant/oven", |path| items.iter().find(|item| item.path.as_str() == path), items.iter())
}

fn write(tag: &str) -> DeviceCommand {
    DeviceCommand::Write { tag: tag.into(), value: Value::I64(1) }
}

fn error(command: DeviceCommand) -> DeviceError {
    found(command).err().expect("refused")
}

#[test]
fn tags_are_found_below_the_sources_path() {
    assert!(matches!(found(write("zones/Zone1")), Ok(Task::Write { node, .. }) if node == NodeId::new(1, "Zone1")));
    let unknown = DeviceError::UnknownTag { tag: "setpiont".into(), nearest: Some("setpoint".into()) };
    assert_eq!(error(write("setpiont")), unknown);
    assert!(matches!(error(write("plant/oven/setpoint")), DeviceError::UnknownTag { .. }));
    assert!(matches!(error(write("elsewhere")), DeviceError::Device { code, .. } if code == "BadNoMatch"));
    assert!(matches!(error(write("curve")), DeviceError::Unsupported { what } if what.contains("array")));
    let read = |tags: &[&str]| DeviceCommand::Read { tags: tags.iter().map(|tag| (*tag).to_owned()).collect() };
    let Ok(Task::Read(wanted)) = found(read(&["elsewhere", "setpoint"])) else { panic!("both are known") };
    let nodes: Vec<_> = wanted.into_iter().map(|wanted| wanted.node).collect();
    assert_eq!(nodes, [Err(StatusCode::BadNoMatch), Ok(NodeId::new(1, "SetPoint"))]);
    assert!(matches!(error(read(&["setpoint"; READ_TAGS_MAX + 1])), DeviceError::Unsupported { .. }));
    let call = DeviceCommand::Call { object: "Oven".into(), method: "i=1".into(), arguments: vec![] };
    assert!(matches!(error(call), DeviceError::Unsupported { what } if what.contains("nsu=")));
}

#[test]
fn arguments_take_the_listed_types_or_their_own() {
    let input = |name: &str, takes| Input { name: name.into(), takes, array: false };
    let inputs = [input("a", Some(VariantScalarTypeId::Float)), input("b", None)];
    let made = in_types(Some(&inputs), &[Value::I64(2), Value::I64(3)]);
    assert_eq!(made, Ok(vec![Variant::Float(2.0), Variant::Int64(3)]));
    assert_eq!(in_types(None, &[Value::Bool(true)]), Ok(vec![Variant::Boolean(true)]));
    assert!(matches!(in_types(Some(&inputs), &[]), Err(DeviceError::Unsupported { what }) if what.contains("a, b")));
    let array = [Input { array: true, ..input("list", Some(VariantScalarTypeId::Float)) }];
    assert!(matches!(in_types(Some(&array), &[Value::I64(1)]), Err(DeviceError::Unsupported { .. })));
}

#[test]
fn outputs_are_values_and_what_is_none_is_text_within_its_limit() {
    assert_eq!(returned(&Variant::UInt16(7)), Value::I64(7));
    assert_eq!(returned(&Variant::Empty), Value::Text("".into()));
    let long = returned(&Variant::String("ö".repeat(limits::TEXT_BYTES_MAX).into()));
    let Value::Text(long) = long else { panic!("text stays text") };
    assert!(long.len() <= limits::TEXT_BYTES_MAX && long.len() > limits::TEXT_BYTES_MAX - 4);
    let large = returned(&Variant::UInt64(u64::MAX));
    assert_eq!(large, Value::Text(u64::MAX.to_string().into()));
}

#[test]
fn a_failed_request_says_whether_it_may_have_had_effect() {
    let failed = |status| Error::new(status, "");
    for (status, doubt) in [
        (StatusCode::BadTimeout, true),
        (StatusCode::BadConnectionClosed, true),
        (StatusCode::BadNotConnected, false),
        (StatusCode::BadSessionIdInvalid, false),
        (StatusCode::BadServiceUnsupported, false),
        (StatusCode::BadUserAccessDenied, false),
    ] {
        let error = undone(failed(status));
        assert_eq!(error.is_in_doubt(), doubt, "{error}");
    }
    assert!(matches!(unread(failed(StatusCode::BadConnectionClosed)), DeviceError::NotConnected { .. }));
    assert!(matches!(refused(StatusCode::BadUserAccessDenied), DeviceError::Device { code, text }
        if code == "BadUserAccessDenied" && text.contains("rights")));
}
