//! Expressions and templates of the file: compiled once, to see that they can be and that they
//! name nothing that is not there.
//!
//! What it does not do: keep what was compiled. The configuration holds texts, and whoever evaluates
//! them compiles them.

use expr::{Expr, Template};

use super::convert::nearest;
use crate::problem::Invalid;
use crate::web;

/// Longest expression, in bytes.
pub(crate) const EXPRESSION_BYTES_MAX: usize = 4096;

/// What is wrong with a text, and where in it.
#[derive(Debug, PartialEq)]
pub(crate) struct Fault {
    /// Byte of the text; `None` where it is the whole text.
    pub(super) at: Option<usize>,
    pub(super) invalid: Invalid,
}

impl Fault {
    fn new(at: Option<usize>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { at, invalid: Invalid::new(what, fix) }
    }
}

/// A CEL expression that names no variables but these.
pub(crate) fn check(text: &str, over: &[&str]) -> Result<(), Fault> {
    let variables = format!("the variables here are {}", over.join(", "));
    if text.trim().is_empty() {
        let fix = "write a CEL expression, or leave the key out where it is optional";
        return Err(Fault::new(None, "this is an empty expression", fix));
    }
    if text.len() > EXPRESSION_BYTES_MAX {
        let what = format!("the expression is longer than {EXPRESSION_BYTES_MAX} bytes");
        return Err(Fault::new(None, what, "write a shorter expression"));
    }
    let compiled = Expr::compile(text).map_err(|error| {
        Fault::new(
            Some(place(text, error.line as usize, error.column as usize)),
            format!("this is no CEL expression: {}", error.what),
            format!("correct it at the mark; {variables}"),
        )
    })?;
    let Some(unknown) = compiled.variables().into_iter().find(|name| !over.contains(&name.as_str())) else {
        return Ok(());
    };
    let fix = match nearest(&unknown, over.iter().copied()) {
        Some(near) => format!("did you mean {near:?}? In all, {variables}"),
        None => format!("{variables}; a text stands in quotes"),
    };
    Err(Fault::new(Some(word(text, &unknown)), format!("there is no variable {unknown:?} here"), fix))
}

/// A URL template, with the fields that it may name where they are known.
pub(crate) fn check_template(text: &str, fields: Option<&[&str]>) -> Result<(), Fault> {
    web::check_template(text).map_err(|invalid| Fault { at: None, invalid })?;
    let template = Template::parse(text).map_err(|error| {
        Fault::new(
            Some(place(text, error.line as usize, error.column as usize)),
            format!("the URL's fields are not well-formed: {}", error.what),
            "write {name} or {a.b}, with letters, digits and '_'",
        )
    })?;
    let Some(known) = fields else { return Ok(()) };
    let unknown = template.fields().into_iter().find(|field| {
        let first = field.split('.').next().unwrap_or(field);
        !known.contains(&first)
    });
    let Some(field) = unknown else { return Ok(()) };
    let at = text.find(&format!("{{{field}"));
    let fix = match (nearest(field, known.iter().copied()), known) {
        (Some(near), _) => format!("did you mean {{{near}}}?"),
        (None, []) => "write the URL without fields".to_owned(),
        (None, known) => format!("the fields here are {}", known.join(", ")),
    };
    Err(Fault::new(at, format!("there is no field {field:?} for the URL here"), fix))
}

/// The byte of a line and column, both from 1, the column in characters.
fn place(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let within = text[before..].char_indices().nth(column.saturating_sub(1));
    within.map_or(text.len(), |(byte, _)| before + byte)
}

/// Where a variable stands in an expression: its first appearance as a whole word that is neither
/// within quotes nor a field of something.
fn word(text: &str, name: &str) -> usize {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, _) => {
                let whole = || text[at..].strip_prefix(name).is_some_and(|rest| !rest.starts_with(part));
                if !part(before) && before != '.' && whole() {
                    return at;
                }
            }
        }
        before = c;
    }
    0
}
