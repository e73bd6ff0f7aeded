//! What is generated from the table of keys: schema, reference, starter file.

use millstream_config as config;
use serde_json::Value;

/// The keys of the reference configuration as a JSON tree, by way of a TOML reader of its own.
fn plant() -> Value {
    json(include_str!("plant.toml"))
}

fn json(text: &str) -> Value {
    let table: toml::Table = text.parse().expect("it is TOML");
    serde_json::to_value(table).expect("and has a JSON form")
}

/// As much of JSON Schema as the generated schema uses, patterns left out.
fn misfit(schema: &Value, root: &Value, value: &Value, path: &str) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root["$defs"].get(name.trim_start_matches("#/$defs/"));
        return misfit(target.unwrap_or_else(|| panic!("no definition {name}")), root, value, path);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let misfits: Vec<Option<String>> = choices.iter().map(|c| misfit(c, root, value, path)).collect();
        let fitting = misfits.iter().filter(|m| m.is_none()).count();
        return (fitting != 1).then(|| format!("{path}: {fitting} choices fit: {misfits:?}"));
    }
    let right = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !right || schema.get("const").is_some_and(|c| c != value) {
        return Some(format!("{path}: {value} does not fit {schema}"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return Some(format!("{path}: {value} is none of {words:?}"));
    }
    let required = schema["required"].as_array();
    let lacks = required.and_then(|r| r.iter().find(|n| value.get(n.as_str().unwrap_or_default()).is_none()));
    if let Some(name) = lacks {
        return Some(format!("{path}: no {name}"));
    }
    let in_object = value.as_object().and_then(|object| {
        object.iter().find_map(|(name, below)| {
            let path = format!("{path}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) => misfit(schema, root, below, &path),
                (None, Value::Bool(false)) => Some(format!("{path}: not in the schema")),
                (None, Value::Null) => None,
                (None, other) => misfit(other, root, below, &path),
            }
        })
    });
    in_object.or_else(|| {
        value.as_array().and_then(|array| {
            array
                .iter()
                .enumerate()
                .find_map(|(i, below)| misfit(&schema["items"], root, below, &format!("{path}[{i}]")))
        })
    })
}

#[test]
fn the_plant_fits_the_schema() {
    let schema = config::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(misfit(&schema, &schema, &plant(), "plant"), None);
    assert_eq!(misfit(&schema, &schema, &json(include_str!("patterns.toml")), "patterns"), None);
}

#[test]
fn a_wrong_file_does_not_fit_the_schema() {
    let schema = config::schema();
    let mut wrong = plant();
    wrong["source"][0]["node"] = "i=1".into();
    assert!(misfit(&schema, &schema, &wrong, "plant").is_some());
    let mut wrong = plant();
    wrong["request"][0]["read"] = serde_json::json!({ "source": "oven", "tags": ["zone1"] });
    assert!(misfit(&schema, &schema, &wrong, "plant").is_some());
    let mut wrong = plant();
    wrong["subscriber"][0]["to"] = serde_json::json!({ "http": "http://a", "folder": "b" });
    assert!(misfit(&schema, &schema, &wrong, "plant").is_some());
}

/// The names of all properties of a schema.
fn properties(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                into.extend(properties.keys().cloned());
            }
            map.values().for_each(|below| properties_of(below, into));
        }
        Value::Array(array) => array.iter().for_each(|below| properties_of(below, into)),
        _ => {}
    }
}

fn properties_of(schema: &Value, into: &mut Vec<String>) {
    properties(schema, into);
}

#[test]
fn the_reference_has_every_key_of_the_schema() {
    let mut names = Vec::new();
    properties(&config::schema(), &mut names);
    let reference = config::reference();
    names.retain(|name| {
        !reference.contains(&format!("| `{name}` |"))
            && !reference.contains(&format!("## `[{name}]`"))
            && !reference.contains(&format!("## `[[{name}]]`"))
    });
    assert_eq!(names, Vec::<String>::new());
    for title in ["## `[server]`", "## `[[source]]`", "### `[[source.tag]]` (modbus)", "### `to`", "### `secret`"] {
        assert!(reference.contains(&format!("\n{title}\n")), "{title}");
    }
    for once in ["secret", "basic", "oauth2", "hmac", "retry", "breaker", "to", "interlock", "reconcile"] {
        assert_eq!(reference.matches(&format!("\n### `{once}`\n")).count(), 1, "{once}");
    }
}

#[test]
fn the_starter_file_loads_as_it_is_and_with_its_examples() {
    let text = config::init();
    let plain = config::parse(text).unwrap_or_else(|p| panic!("{}", config::render(&p, "init", text)));
    assert_eq!((plain.sources.len(), plain.inactive().len()), (1, 0));
    let example = |line: &str| line.starts_with('#') && !line.starts_with("# ") || line.starts_with("#  ");
    let all: String = text
        .lines()
        .map(|line| if example(line) { format!("{}\n", &line[1..]) } else { format!("{line}\n") })
        .collect();
    let full = config::parse(&all).unwrap_or_else(|p| panic!("{}", config::render(&p, "init", &all)));
    assert_eq!((full.sources.len(), full.cores.count), (3, Some(2)));
    assert_eq!((full.rules.len(), full.subscribers.len(), full.records.len(), full.syncs.len()), (1, 1, 1, 1));
    assert_eq!(full.inactive().len(), 0);
}

#[test]
fn what_is_not_active_is_said() {
    let plant = config::parse(include_str!("plant.toml")).expect("the reference configuration loads");
    let inactive = plant.inactive();
    assert_eq!(inactive, Vec::<String>::new(), "everything in the reference configuration acts");
    let later = config::parse(
        "[[record]]\nname = \"r\"\nid = \"i\"\n[[batch]]\nname = \"b\"\nat = \"manual\"\nrecords = [\"r\"]\nformat = \"parquet\"\nto = { folder = \"out\" }\n[[forward]]\nname = \"up\"\nto = { nats = \"nats://h:4222\", subject = \"s\" }\n",
    )
    .expect("what comes later is checked");
    let [parquet, forward] = &later.inactive()[..] else { panic!("{:?}", later.inactive()) };
    assert!(parquet.starts_with("[[batch]] b is checked but not active: parquet comes with the archive;"));
    assert!(forward.starts_with("[[forward]] up is checked but not active: "));
}

#[test]
fn an_empty_file_is_all_defaults() {
    let empty = config::parse("").expect("nothing is required");
    assert_eq!(empty.server.http.to_string(), "127.0.0.1:8080");
    assert_eq!((empty.server.time_zone.as_str(), empty.cores.count), ("UTC", None));
    assert!(empty.sources.is_empty() && empty.inactive().is_empty());
}
