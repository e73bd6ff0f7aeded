//! Whatever stands in a file, reading it ends with a configuration or with problems that have a
//! place: never in a panic.

use millstream_config as config;
use proptest::prelude::*;

/// What is mutated.
const FILES: [&str; 2] = [include_str!("plant.toml"), include_str!("patterns.toml")];

/// Pieces that are likely to lead somewhere.
const PIECES: [&str; 28] = [
    "[[source]]\n",
    "[[source.tag]]\n",
    "[server]\n",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "=",
    ",",
    ".",
    "\n",
    "kind = \"opcua\"\n",
    "units = { 0 = 1 }\n",
    "-1",
    "99999999999999999999",
    "inf",
    "\u{0}",
    "°",
    "1979-05-27",
    "[[]]",
    "true",
    "\\",
    "'''",
    "&& (value",
    "{tag}",
];

/// One edit: where (share of the text), how much is removed, what is put there.
fn edit() -> impl Strategy<Value = (f64, usize, String)> {
    let piece = prop_oneof![
        (0..PIECES.len()).prop_map(|index| PIECES[index].to_owned()),
        any::<String>(),
        // A part of a file, from another place.
        (0..FILES.len(), 0.0..1.0_f64, 0..200_usize).prop_map(|(file, at, length)| {
            let start = boundary(FILES[file], at);
            FILES[file][start..].chars().take(length).collect()
        }),
    ];
    (0.0..1.0_f64, prop_oneof![Just(0_usize), 0..8_usize, 0..300_usize], piece)
}

/// The character boundary at or before a share of the text.
fn boundary(text: &str, share: f64) -> usize {
    let mut at = (text.len() as f64 * share) as usize;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let Err(problems) = config::parse(text) else { return Ok(()) };
    prop_assert!(!problems.is_empty());
    let lines = text.split('\n').count();
    for problem in &problems {
        prop_assert!(problem.line >= 1 && problem.line as usize <= lines, "{problem:?}");
        prop_assert!(problem.column >= 1 && !problem.what.is_empty() && !problem.fix.is_empty(), "{problem:?}");
    }
    prop_assert!(problems.is_sorted_by_key(|problem| problem.line));
    prop_assert!(!config::render(&problems, "mutated.toml", text).is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_file_never_panics(file in 0..FILES.len(), edits in proptest::collection::vec(edit(), 1..8)) {
        let mut text = FILES[file].to_owned();
        for (at, removed, piece) in edits {
            let start = boundary(&text, at);
            let end = boundary(&text, (start + removed) as f64 / text.len().max(1) as f64).clamp(start, text.len());
            text.replace_range(start..end, &piece);
        }
        check(&text)?;
    }

    #[test]
    fn any_text_never_panics(text in any::<String>()) {
        check(&text)?;
    }
}
