//! The reference of the file in Markdown, from the table of keys.

use std::fmt::Write as _;

use crate::quantity::{show_duration, show_size};
use crate::read::{EXPRESSION_BYTES_MAX, one_of};
use crate::table::{By, FILE, Key, Kind, Need, Preset, Section};
use crate::{FILE_BYTES_MAX, SOURCES_MAX, TAGS_MAX};

/// Every section and key of the file: type, default, limits and meaning, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = intro();
    let mut pending: Vec<&'static Section> = Vec::new();
    let mut later: Vec<&'static Section> = Vec::new();
    for key in FILE.keys {
        let Some(top) = below(&key.kind) else { continue };
        section(&mut out, "##", top);
        // Sections below, those first that stand first; what several sections share comes last.
        pending.extend(top.all_keys().filter_map(|key| below(&key.kind)).rev_order());
        drain(&mut out, &mut pending, &mut later);
    }
    out.push_str("## Tables that several sections share\n\n");
    let mut index = 0;
    while let Some(shared) = later.get(index).copied() {
        index += 1;
        section(&mut out, "###", shared);
        pending.extend(shared.all_keys().filter_map(|key| below(&key.kind)).rev_order());
        drain(&mut out, &mut pending, &mut later);
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
    out
}

/// Writes the pending sections and those below them, but for shared ones, which are put off.
fn drain(out: &mut String, pending: &mut Vec<&'static Section>, later: &mut Vec<&'static Section>) {
    while let Some(next) = pending.pop() {
        if users(next) == 1 {
            section(out, "###", next);
            pending.extend(next.all_keys().filter_map(|key| below(&key.kind)).rev_order());
        } else if !later.iter().any(|known| std::ptr::eq(*known, next)) {
            later.push(next);
        }
    }
}

/// The last first, for a stack.
trait RevOrder: Iterator + Sized {
    fn rev_order(self) -> std::iter::Rev<std::vec::IntoIter<Self::Item>> {
        self.collect::<Vec<_>>().into_iter().rev()
    }
}

impl<I: Iterator> RevOrder for I {}

fn intro() -> String {
    format!(
        "# Configuration\n\n\
One TOML file configures a Millstream server. `millstream check FILE` reads it whole and lists every \
problem with its line, what is wrong and what would be right; `millstream schema` prints its JSON Schema; \
`millstream init` prints a file to start from. An unknown key is a problem.\n\n\
- **Durations** are numbers with units in quotes: `\"100ms\"`, `\"5s\"`, `\"2m\"`, `\"1h30m\"`, `\"7d\"`.\n\
- **Sizes** are whole numbers with a unit in quotes: `\"64MiB\"`, `\"512KiB\"`, `\"1GB\"`.\n\
- **Secrets** never stand in the file: `{{ env = \"NAME\" }}` or `{{ file = \"PATH\" }}`.\n\
- **Expressions** are CEL (Common Expression Language); an expression that makes a map makes JSON.\n\
- **Limits** of a file: {} of text, {SOURCES_MAX} sources, {TAGS_MAX} tags (after `units` are multiplied out).\n\n",
        show_size(FILE_BYTES_MAX as u64),
    )
}

fn below(kind: &Kind) -> Option<&'static Section> {
    match kind {
        Kind::Table(section) | Kind::Tables { of: section, .. } => Some(section),
        _ => None,
    }
}

/// From how many sections a section is referred to.
fn users(wanted: &'static Section) -> usize {
    let mut seen: Vec<&'static Section> = vec![&FILE];
    let mut index = 0;
    let mut count = 0;
    while let Some(section) = seen.get(index).copied() {
        index += 1;
        let mut here: Vec<&'static Section> = Vec::new();
        for next in section.all_keys().filter_map(|key| below(&key.kind)) {
            if !here.iter().any(|known| std::ptr::eq(*known, next)) {
                here.push(next);
            }
        }
        count += here.iter().filter(|next| std::ptr::eq(**next, wanted)).count();
        here.retain(|next| !seen.iter().any(|known| std::ptr::eq(*known, *next)));
        seen.extend(here);
    }
    count
}

fn section(out: &mut String, level: &str, section: &'static Section) {
    let title = match section.title.split_once(" (") {
        Some((title, rest)) => format!("`{title}` ({rest}"),
        None => format!("`{}`", section.title),
    };
    push(out, format_args!("{level} {title}\n\n{}\n\n", section.doc));
    if let Some(later) = section.later {
        push(out, format_args!("*Checked but not active yet: {later}.*\n\n"));
    }
    if !section.keys.is_empty() {
        table(out, section.keys);
    }
    let Some(variants) = &section.variants else { return };
    match variants.by {
        By::Value(_) => {}
        By::Presence => {
            push(out, format_args!("Exactly one of {} must be there.\n\n", words(variants.of.iter().map(|v| v.name))))
        }
    }
    for variant in variants.of {
        match variants.by {
            By::Value(key) => push(out, format_args!("**With `{key} = \"{}\"`.** {}\n\n", variant.name, variant.doc)),
            By::Presence => push(out, format_args!("**With `{}`**: {}.\n\n", variant.name, variant.doc)),
        }
        if !variant.keys.is_empty() {
            table(out, variant.keys);
        }
    }
}

fn table(out: &mut String, keys: &[Key]) {
    out.push_str("| key | type | default | limits | meaning |\n|---|---|---|---|---|\n");
    for key in keys {
        let need = match key.need {
            Need::Required => "**required**".to_owned(),
            Need::Optional(without) => without.to_owned(),
            Need::Default(preset) => format!("`{}`", shown(preset)),
        };
        let cells = [word(&key.kind), need, limits(&key.kind), key.doc.to_owned()].map(|cell| cell.replace('|', "\\|"));
        push(out, format_args!("| `{}` | {} |\n", key.name, cells.join(" | ")));
    }
    out.push('\n');
}

/// A default as it would be written in the file.
fn shown(preset: Preset) -> String {
    match preset {
        Preset::Text(text) => format!("{text:?}"),
        Preset::Whole(number) => number.to_string(),
        Preset::Number(number) => number.to_string(),
        Preset::Switch(value) => value.to_string(),
        Preset::List(words) => format!("{words:?}"),
    }
}

fn word(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => form.word().to_owned(),
        Kind::Expression { .. } => "CEL expression".to_owned(),
        Kind::Choice(_) => "word".to_owned(),
        Kind::Whole { .. } => "integer".to_owned(),
        Kind::Number { .. } => "number".to_owned(),
        Kind::Switch => "boolean".to_owned(),
        Kind::Duration { .. } => "duration".to_owned(),
        Kind::Size { .. } => "size".to_owned(),
        Kind::Range => "`[low, high]`".to_owned(),
        Kind::List { of, .. } => format!("list of {}s", word(of)),
        Kind::StartAt => "word or integer".to_owned(),
        Kind::Units | Kind::Texts { .. } => "table of texts".to_owned(),
        Kind::Json => "table".to_owned(),
        Kind::Table(section) => format!("table `{}`", section.title),
        Kind::Tables { .. } => "list of tables".to_owned(),
    }
}

fn limits(kind: &Kind) -> String {
    match kind {
        Kind::Text(form) => form.limits().to_owned(),
        Kind::Expression { over, .. } => {
            format!("over {}; at most {EXPRESSION_BYTES_MAX} bytes", words(over.iter().copied()))
        }
        Kind::Choice(options) => words(options.iter().copied()),
        Kind::Whole { min, max } => format!("{min} to {max}"),
        Kind::Number { min, .. } if *min == 0.0 => "0 or more".to_owned(),
        Kind::Duration { min, max } => format!("{} to {}", show_duration(*min), show_duration(*max)),
        Kind::Size { min, max } => format!("{} to {}", show_size(*min), show_size(*max)),
        Kind::Range => "the lower first".to_owned(),
        Kind::List { of: Kind::Choice(options), min, max } => {
            format!("{min} to {max} of {}", words(options.iter().copied()))
        }
        Kind::List { min, max, .. } => format!("{min} to {max} entries, each once"),
        Kind::StartAt => one_of(&["now", "earliest"]) + ", or an offset from 0",
        Kind::Units => "1 to 255 units, names once each".to_owned(),
        Kind::Texts { names, of, max } => {
            let limits = [names, of].map(|form| format!("{}: {}", form.word(), form.limits()));
            format!("1 to {max}; {}", limits.join("; "))
        }
        Kind::Tables { max, .. } => format!("at most {max}"),
        Kind::Number { .. } | Kind::Switch | Kind::Json | Kind::Table(_) => String::new(),
    }
}

fn words<'w>(words: impl Iterator<Item = &'w str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
