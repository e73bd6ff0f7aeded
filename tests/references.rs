//! Generated references are what their sources say. `UPDATE_REFERENCES=1 cargo test --test references`
//! writes them anew.

use std::fs;
use std::path::PathBuf;

fn holds(file: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let have = fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("UPDATE_REFERENCES").is_some() {
        fs::write(&path, expected).expect("written");
    } else {
        assert!(have == expected, "{file} is stale: UPDATE_REFERENCES=1 cargo test --test references writes it anew");
    }
}

/// Puts generated text between two marks of a document that is otherwise written by hand.
fn between(file: &str, name: &str, generated: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(path).expect("the document");
    let (open, close) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let (head, rest) = text.split_once(&open).unwrap_or_else(|| panic!("{file} lacks {open}"));
    let (_, tail) = rest.split_once(&close).unwrap_or_else(|| panic!("{file} lacks {close}"));
    format!("{head}{open}{generated}{close}{tail}")
}

#[test]
fn the_configuration_reference_is_fresh() {
    holds("docs/configuration.md", &config::reference());
}

#[test]
fn the_format_tables_are_fresh() {
    let text = between("docs/format.md", "frames", &frame::layout::markdown());
    if std::env::var_os("UPDATE_REFERENCES").is_some() {
        holds("docs/format.md", &text);
    }
    holds("docs/format.md", &between("docs/format.md", "frames", &frame::layout::markdown()));
    for (name, generated) in [("log", log::layout::markdown()), ("entries", flows::entry::markdown())] {
        let text = between("docs/format.md", name, &generated);
        holds("docs/format.md", &text);
    }
}

#[test]
fn the_example_is_the_reference_configuration_of_the_tests() {
    let example = include_str!("../docs/examples/plant.toml");
    let tested = include_str!("../crates/config/tests/plant.toml");
    assert!(example == tested, "docs/examples/plant.toml and crates/config/tests/plant.toml differ");
}
