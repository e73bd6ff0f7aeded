//! CEL expressions, compiled once and evaluated over JSON; and text templates over JSON.
//!
//! Purpose: the one place that knows the Common Expression Language (the CEL specification,
//! `cel-spec` `langdef.md`). Conditions of rules and subscribers, bodies and keys of flows are
//! [`Expr`]s; addresses with places in them are [`Template`]s.
//!
//! What an expression may use
//!
//! | group | names |
//! |---|---|
//! | operators | `+ - * / % == != < <= > >= && \|\| ! in ?: [] .` and `.?field`, `[?index]` for what may be missing |
//! | what is there | `has(record.comment)`, `record.?comment.orValue('')` |
//! | over lists and maps | `x.all(v, …)` `x.exists(v, …)` `x.exists_one(v, …)` `x.map(v, …)` `x.map(v, if, …)` `x.filter(v, …)` |
//! | conversions | `int(x)` `uint(x)` `double(x)` `string(x)` `bytes(x)` `bool(x)` `dyn(x)` `type(x)` |
//! | sizes | `size(x)`, `x.size()` of a text (characters), a list, a map, bytes |
//! | texts | `contains` `startsWith` `endsWith` `matches` (RE2 syntax) `lowerAscii` `upperAscii` `trim` `substring` `indexOf` `lastIndexOf` `charAt` `replace` `split`; `list.join(sep)` |
//! | numbers | `max(a, b, …)` `min(a, b, …)` (two or three values, or a list), `math.abs` `math.ceil` `math.floor` `math.round` `math.trunc` `math.sqrt` `math.sign` `math.isNaN` `math.isInf` `math.isFinite` `math.greatest` `math.least` `math.bitAnd` `math.bitOr` `math.bitXor` `math.bitNot` `math.bitShiftLeft` `math.bitShiftRight` |
//! | optional values | `optional.of(x)` `optional.none()` `.hasValue()` `.value()` `.orValue(x)` `.or(x)` |
//!
//! Numbers: a whole number of JSON is CEL's `int` (`uint` above 2⁶³-1), any other a `double`.
//! Unlike CEL's letter, `+ - * /` take a whole number and a `double` together (the result is a
//! `double`), because a reading of 2 and one of 2.5 are the same to whoever writes the rule.
//! Two whole numbers divide as whole numbers (`7 / 2` is 3); `%` takes whole numbers only.
//! Times are RFC 3339 text; CEL's `timestamp` and `duration` are not offered.
//!
//! Invariants
//! - any text compiles or is refused with a place in it; no text and no value makes it panic (E1);
//! - an evaluation ends: its steps, its depth and the size of what it makes are bounded (E2);
//! - a result is JSON: what JSON cannot hold (NaN, infinities, types) is an error (E3);
//! - evaluation has no effect and needs nothing but its variables (E4).
//!
//! It does not check types before evaluating, read clocks, or keep anything between evaluations.

#![forbid(unsafe_code)]

mod arithmetic;
mod budget;
mod error;
mod expression;
mod json;
mod library;
mod scan;
mod template;
mod tree;

pub use budget::STEPS_MAX;
pub use error::{CompileError, EvalError};
pub use expression::Expr;
pub use json::{INPUT_DEPTH_MAX, RESULT_BYTES_MAX};
pub use scan::{NESTING_MAX, TEXT_BYTES_MAX};
pub use template::Template;
