//! One expression, compiled.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cel::{Context, ExecutionError, IdedExpr, OverloadError, ParseErrors};
use serde_json::Value;

use crate::arithmetic::word;
use crate::error::{CompileError, EvalError};
use crate::{budget, json, library, scan, tree};

/// Most characters of the interpreter's own words in an error.
const WORDS_CHARS: usize = 200;

/// A compiled expression. Cheap to clone; equal to another of the same text.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    text: String,
    tree: IdedExpr,
    /// Every name that is not bound inside, sorted.
    names: Vec<String>,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expr {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.0.text)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Expr {
    /// Compiles a text of at most [`crate::TEXT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// Where it is not CEL, calls a function that there is not, or is too long or too deep.
    pub fn compile(text: &str) -> Result<Expr, CompileError> {
        scan::check(text)?;
        // The parser is generated code with unreachable!s in it; a person's text must not end the process (E1).
        let parsed = catch_unwind(AssertUnwindSafe(|| library::env().compile(text)))
            .map_err(|_| CompileError::at(text, 0, "this is not an expression"))?;
        let program = parsed.map_err(|errors| said(text, &errors))?;
        let mut tree = program.expression().clone();
        let names = tree::prepare(&mut tree).map_err(|fault| {
            let place = program.source_info().offset_for(fault.node).map_or(0, |(start, _)| start as usize);
            CompileError::at(text, name_before(text, place), fault.what)
        })?;
        Ok(Expr(Arc::new(Inner { text: text.to_owned(), tree, names: names.into_iter().collect() })))
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The names of the variables it refers to, sorted. Not the variables that its own
    /// comprehensions bind, nor functions, nor the names of types (`int`, `type`, …).
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        self.0.names.iter().filter(|name| !library::TYPES.contains(&name.as_str())).cloned().collect()
    }

    /// Its value over these variables. Those that it does not refer to cost nothing.
    ///
    /// An optional value that is not there becomes null; bytes become base64 text.
    ///
    /// # Errors
    /// Where a field or variable is missing, types do not fit, or a bound is hit.
    pub fn eval(&self, vars: &[(&str, &Value)]) -> Result<Value, EvalError> {
        let mut context = Context::with_env(Arc::clone(library::env()));
        for name in &self.0.names {
            if let Some((_, value)) = vars.iter().find(|(known, _)| known == name) {
                let value = json::to_cel(value, 0).map_err(|what| self.failed(format!("'{name}': {what}")))?;
                context.add_variable_as_val(name.as_str(), value);
            }
        }
        budget::fill();
        // The interpreter has panics for trees that its parser does not make; none may end the process (E1).
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let value = cel::Value::resolve_val(&self.0.tree, &context).map_err(|error| self.explain(&error, vars))?;
            json::from_cel(value.as_ref())
        }));
        outcome.unwrap_or_else(|_| Err("the interpreter failed over it".to_owned())).map_err(|what| self.failed(what))
    }

    /// Its value, which must be true or false.
    ///
    /// # Errors
    /// As [`Expr::eval`]; any other kind of value is one.
    pub fn eval_bool(&self, vars: &[(&str, &Value)]) -> Result<bool, EvalError> {
        match self.eval(vars)? {
            Value::Bool(value) => Ok(value),
            other => Err(self.unfit(&other, "true or false")),
        }
    }

    /// Its value as text: numbers, true and false as JSON writes them.
    ///
    /// # Errors
    /// As [`Expr::eval`]; null, lists and objects are errors.
    pub fn eval_text(&self, vars: &[(&str, &Value)]) -> Result<String, EvalError> {
        match self.eval(vars)? {
            Value::String(text) => Ok(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            other => Err(self.unfit(&other, "a text or a number")),
        }
    }

    /// Its value as a number.
    ///
    /// # Errors
    /// As [`Expr::eval`]; anything but a number is one.
    pub fn eval_number(&self, vars: &[(&str, &Value)]) -> Result<f64, EvalError> {
        let value = self.eval(vars)?;
        value.as_f64().ok_or_else(|| self.unfit(&value, "a number"))
    }

    fn failed(&self, what: impl Into<String>) -> EvalError {
        EvalError { expression: self.0.text.clone(), what: what.into() }
    }

    fn unfit(&self, value: &Value, wanted: &str) -> EvalError {
        self.failed(format!("it must give {wanted}, and gave {}", kind_of(value)))
    }

    /// The interpreter's error in words for whoever wrote the expression.
    fn explain(&self, error: &ExecutionError, vars: &[(&str, &Value)]) -> String {
        match error {
            ExecutionError::NoSuchKey(field) => {
                let way = tree::path_to(&self.0.tree, field).unwrap_or_else(|| field.to_string());
                format!("'{way}' is not there; has(…) asks for it first")
            }
            ExecutionError::UndeclaredReference(name) => {
                let known: Vec<&str> = vars.iter().map(|(name, _)| *name).collect();
                format!("there is no '{name}' here; there are: {}", known.join(", "))
            }
            ExecutionError::NoSuchOverload(overload) => no_overload(overload),
            ExecutionError::UnexpectedType { got, want } => {
                format!("there is a {} where a {} is needed", word(got), word(want))
            }
            ExecutionError::IndexOutOfBounds(_) => "the list has no element at that index".to_owned(),
            ExecutionError::Overflow(..) => "a whole number became too large".to_owned(),
            ExecutionError::FunctionError { function, message } if function.is_empty() => message.clone(),
            ExecutionError::FunctionError { function, message } => format!("{function}(): {message}"),
            ExecutionError::ValuesNotComparable(..) => {
                "values of two kinds, or one that is not a number, cannot be ordered".to_owned()
            }
            other => other.to_string().chars().take(WORDS_CHARS).collect(),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn no_overload(overload: &OverloadError) -> String {
    let kinds: Vec<&str> = overload.argument_types().iter().map(|kind| word(kind)).collect();
    let name = overload.function();
    let sign = match name {
        "@in" => "in",
        "_._" | "_[_]" => return format!("a {} has no fields or elements", kinds.first().unwrap_or(&"value")),
        other => other.trim_matches(|c| c == '_' || c == '@'),
    };
    let shape = if sign.chars().all(char::is_alphabetic) && sign != "in" { "()" } else { "" };
    format!("'{sign}{shape}' cannot take {}", kinds.join(" and "))
}

/// The first error of the parser, in words.
fn said(text: &str, errors: &ParseErrors) -> CompileError {
    let Some(first) = errors.errors.first() else { return CompileError::at(text, 0, "this is not an expression") };
    let (line, column) = first.pos;
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let of_line = text[start..].split('\n').next().unwrap_or("");
    let chars = usize::try_from(column).unwrap_or(1).max(1) - 1;
    let place = start + of_line.char_indices().nth(chars).map_or(of_line.len(), |(byte, _)| byte);
    CompileError::at(text, place, what_said(&first.msg))
}

fn what_said(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let quoted = |from: &str| -> Option<String> {
        let rest = message.split_once(from)?.1.trim_start();
        let rest = rest.strip_prefix('\'')?;
        let end = rest.find("' expecting").or_else(|| rest.rfind('\''))?;
        Some(rest[..end].to_owned())
    };
    for from in
        ["mismatched input", "extraneous input", "no viable alternative at input", "token recognition error at:"]
    {
        if let Some(found) = quoted(from) {
            return match found.as_str() {
                found if found.contains("<EOF>") => "the expression ends too early".to_owned(),
                found => format!("'{found}' is not expected here"),
            };
        }
    }
    if let Some((_, missing)) = message.split_once("missing ") {
        return format!("missing {missing}").chars().take(WORDS_CHARS).collect();
    }
    if message.contains("ecursion") {
        return "the expression is nested too deeply here; split it".to_owned();
    }
    message.chars().take(WORDS_CHARS).collect()
}

/// Where a call is written: the parser places it at its bracket, a person looks for its name.
fn name_before(text: &str, place: usize) -> usize {
    let before = text.get(..place).unwrap_or("");
    if text.as_bytes().get(place) != Some(&b'(') {
        return place;
    }
    let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    before.trim_end_matches(name).len()
}
