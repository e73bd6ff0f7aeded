//! `+ - * / %` over whole numbers and doubles together, and joining.
//!
//! CEL refuses `2.5 * 2` when the 2 is an `int`. Here whoever writes an expression cannot know
//! whether a reading or a field is whole, so the operators take both; see the crate's head.

use cel::ExecutionError;
use cel::common::types::{CelBytes, CelDouble, CelInt, CelList, CelString, CelUInt};
use cel::common::value::{CowVal, Val};

use crate::budget;
use crate::json::RESULT_BYTES_MAX;

/// A number of one of CEL's three kinds.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Uint(u64),
    Double(f64),
}

impl Number {
    fn of(value: &dyn Val) -> Option<Number> {
        if let Some(n) = value.downcast_ref::<CelInt>() {
            Some(Number::Int(*n.inner()))
        } else if let Some(n) = value.downcast_ref::<CelUInt>() {
            Some(Number::Uint(*n.inner()))
        } else {
            value.downcast_ref::<CelDouble>().map(|n| Number::Double(*n.inner()))
        }
    }

    const fn as_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Uint(n) => n as f64,
            Number::Double(n) => n,
        }
    }

    /// The whole number, without loss.
    const fn as_i128(self) -> Option<i128> {
        match self {
            Number::Int(n) => Some(n as i128),
            Number::Uint(n) => Some(n as i128),
            Number::Double(_) => None,
        }
    }
}

/// What an operator does to whole numbers; `None` where it divides by zero.
type Whole = fn(i128, i128) -> Option<i128>;
/// What it does to doubles; `None` where it does not take them.
type Double = fn(f64, f64) -> Option<f64>;

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

pub(crate) fn add<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    if let [a, b] = args.as_slice()
        && let Some(joined) = join(a.as_ref(), b.as_ref())
    {
        return joined.map(CowVal::Owned);
    }
    number("+", &args, |a, b| Some(a + b), |a, b| Some(a + b))
}

pub(crate) fn subtract<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    number("-", &args, |a, b| Some(a - b), |a, b| Some(a - b))
}

pub(crate) fn multiply<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    // the product of two 64-bit numbers fits in 128 bits
    number("*", &args, |a, b| Some(a * b), |a, b| Some(a * b))
}

pub(crate) fn divide<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    number("/", &args, i128::checked_div, |a, b| Some(a / b))
}

pub(crate) fn remainder<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    number("%", &args, i128::checked_rem, |_, _| None)
}

fn number<'b, 'v>(sign: &str, args: &Args<'b, 'v>, whole: Whole, double: Double) -> Outcome<'b, 'v> {
    let [left, right] = args.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(2, args.len()));
    };
    let (Some(a), Some(b)) = (Number::of(left.as_ref()), Number::of(right.as_ref())) else {
        return Err(refused(sign, left.as_ref(), right.as_ref()));
    };
    let (Some(x), Some(y)) = (a.as_i128(), b.as_i128()) else {
        let result = double(a.as_f64(), b.as_f64());
        let what =
            || ExecutionError::function_error("", format!("'{sign}' takes whole numbers only; int(x) makes one"));
        return result.map(|n| CowVal::owned(CelDouble::from(n))).ok_or_else(what);
    };
    let result = whole(x, y).ok_or_else(|| ExecutionError::function_error("", "division by zero"))?;
    let int = || i64::try_from(result).ok().map(|n| CowVal::owned(CelInt::from(n)));
    let uint = || u64::try_from(result).ok().map(|n| CowVal::owned(CelUInt::from(n)));
    let fits = match (a, b) {
        (Number::Int(_), Number::Int(_)) => int(),
        (Number::Uint(_), Number::Uint(_)) => uint(),
        _ => int().or_else(uint),
    };
    fits.ok_or_else(|| {
        let what = format!("the result of '{sign}' is too large for a whole number; double(x) makes room");
        ExecutionError::function_error("", what)
    })
}

/// The two as one, when both are texts, lists or bytes.
fn join<'v>(a: &(dyn Val + 'v), b: &(dyn Val + 'v)) -> Option<Result<Box<dyn Val + 'v>, ExecutionError>> {
    if let (Some(a), Some(b)) = (a.downcast_ref::<CelString>(), b.downcast_ref::<CelString>()) {
        let made = || Box::new(CelString::from([a.inner(), b.inner()].concat())) as Box<dyn Val + 'v>;
        return Some(room(a.inner().len() + b.inner().len()).map(|()| made()));
    }
    if let (Some(x), Some(y)) = (a.downcast_ref::<CelBytes>(), b.downcast_ref::<CelBytes>()) {
        let size = room(x.inner().len() + y.inner().len());
        return Some(size.and_then(|()| joined(a, b)));
    }
    if a.downcast_ref::<CelList>().is_some() && b.downcast_ref::<CelList>().is_some() {
        return Some(budget::pay(a).and_then(|()| budget::pay(b)).and_then(|()| joined(a, b)));
    }
    None
}

fn joined<'v>(a: &(dyn Val + 'v), b: &(dyn Val + 'v)) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    let adder = a.as_adder().ok_or_else(|| refused("+", a, b))?;
    adder.add(b).map(CowVal::into_owned)
}

/// Is there room for a text of so many bytes?
pub(crate) fn room(bytes: usize) -> Result<(), ExecutionError> {
    if bytes <= RESULT_BYTES_MAX {
        return Ok(());
    }
    let what = format!("a text would have {bytes}, more than the {RESULT_BYTES_MAX} bytes that one may have");
    Err(ExecutionError::function_error("", what))
}

fn refused(sign: &str, a: &dyn Val, b: &dyn Val) -> ExecutionError {
    let (left, right) = (word(a.get_type().name()), word(b.get_type().name()));
    let hint = match (sign, left, right) {
        ("+", "text", _) | ("+", _, "text") => "; string(x) makes a text, double(x) a number",
        (_, "text", _) | (_, _, "text") => "; double(x) makes a number of a text",
        _ => "",
    };
    ExecutionError::function_error("", format!("'{sign}' cannot take {left} and {right}{hint}"))
}

/// What a CEL type is called to whoever writes expressions.
pub(crate) fn word(kind: &str) -> &str {
    match kind {
        "int" | "uint" => "whole number",
        "double" => "number",
        "string" => "text",
        "bool" => "true or false",
        "null_type" => "null",
        "optional_type" => "optional value",
        other => other,
    }
}
