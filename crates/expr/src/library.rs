//! The functions that expressions may call, and the environment that holds them.
//!
//! The lists here are the whole of it: a name that is not on them is refused when an expression
//! is compiled, not when it first runs. What could make much out of little (`format`, `reverse`,
//! ranges) is left out; `replace` and `join` are ours and look at the size first.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelList, CelString, DYN_TYPE, INT_TYPE, LIST_TYPE, STRING_TYPE, Type, UINT_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{DeclarationError, Env, ExecutionError, extensions};

use crate::{arithmetic, budget};

/// Called as `f(x)`.
pub(crate) const GLOBAL: [&str; 12] =
    ["size", "int", "uint", "double", "string", "bytes", "bool", "dyn", "type", "matches", "max", "min"];

/// Called as `x.f(…)`.
pub(crate) const MEMBER: [&str; 19] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "upperAscii",
    "trim",
    "substring",
    "indexOf",
    "lastIndexOf",
    "charAt",
    "replace",
    "split",
    "join",
    "hasValue",
    "value",
    "orValue",
    "or",
];

/// Called as `namespace.f(…)`.
pub(crate) const NAMESPACED: [&str; 20] = [
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.round",
    "math.trunc",
    "math.sqrt",
    "math.sign",
    "math.isNaN",
    "math.isInf",
    "math.isFinite",
    "math.greatest",
    "math.least",
    "math.bitAnd",
    "math.bitOr",
    "math.bitXor",
    "math.bitNot",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "optional.of",
    "optional.none",
];

/// What the macros `math.greatest` and `math.least` become.
pub(crate) const MACROS_OWN: [&str; 2] = ["math.@max", "math.@min"];

/// Macros: they are gone from a tree that parsed, unless the number of arguments is wrong.
pub(crate) const MACROS: [&str; 7] = ["has", "all", "exists", "exists_one", "existsOne", "map", "filter"];

/// Names of types, which are values when no variable has the name.
pub(crate) const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "optional_type", "string", "type", "uint"];

/// The bounded forms of functions that could make much out of little.
pub(crate) const REPLACE: &str = "@replace";
pub(crate) const JOIN: &str = "@join";

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    // The names are constant and the tests evaluate, so this cannot fail in one build and not in the next.
    declare(&mut env).expect("the functions of expressions are declared once");
    Arc::new(env)
});

/// The environment of all expressions.
pub(crate) fn env() -> &'static Arc<Env> {
    &ENV
}

fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::math)?;
    let two = || vec![DYN_TYPE, DYN_TYPE];
    env.add_overload("@+", "any_add", two(), arithmetic::add)?;
    env.add_overload("@-", "any_subtract", two(), arithmetic::subtract)?;
    env.add_overload("@*", "any_multiply", two(), arithmetic::multiply)?;
    env.add_overload("@/", "any_divide", two(), arithmetic::divide)?;
    env.add_overload("@%", "any_remainder", two(), arithmetic::remainder)?;
    env.add_overload(budget::EACH, "any_each", vec![DYN_TYPE], budget::each)?;
    env.add_overload(budget::CHARGE, "any_charge", vec![DYN_TYPE], budget::charge)?;
    for (name, function) in [("max", max as cel::common::functions::Function), ("min", min)] {
        env.add_overload(name, &format!("{name}_list"), vec![LIST_TYPE], function)?;
        env.add_overload(name, &format!("{name}_two"), two(), function)?;
        env.add_overload(name, &format!("{name}_three"), vec![DYN_TYPE, DYN_TYPE, DYN_TYPE], function)?;
    }
    // a whole number is its own round number: a reading is whole now and then
    for name in ["math.ceil", "math.floor", "math.round", "math.trunc"] {
        for kind in [INT_TYPE, UINT_TYPE] {
            let id = format!("{name}_{}", kind.name());
            env.add_overload(name, &id, vec![kind], itself)?;
        }
    }
    let texts: Vec<Type> = vec![STRING_TYPE, STRING_TYPE];
    env.add_member_overload(REPLACE, "text_replace", STRING_TYPE, texts, replace)?;
    env.add_member_overload(JOIN, "list_join", LIST_TYPE, vec![], join)?;
    env.add_member_overload(JOIN, "list_join_with", LIST_TYPE, vec![STRING_TYPE], join)
}

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn itself<'b, 'v>(mut args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    args.pop().ok_or_else(ExecutionError::missing_argument_or_target)
}

fn max<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    extreme("max", args, Ordering::Greater)
}

fn min<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    extreme("min", args, Ordering::Less)
}

/// The value that stands in this order to all others; the first of equal ones.
fn extreme<'b, 'v>(name: &str, args: Args<'b, 'v>, wanted: Ordering) -> Outcome<'b, 'v> {
    let mut best: Option<Box<dyn Val + 'v>> = None;
    let values: Vec<Box<dyn Val + 'v>> = match args.as_slice() {
        [one] => one.downcast_ref::<CelList>().map(|list| list.inner().to_vec()).unwrap_or_default(),
        _ => args.into_iter().map(CowVal::into_owned).collect(),
    };
    for value in values {
        let better = match &best {
            None => true,
            Some(best) => {
                let comparer = value.as_comparer().ok_or_else(|| {
                    let kind = arithmetic::word(value.get_type().name());
                    ExecutionError::function_error("", format!("{name}() cannot order a {kind}"))
                })?;
                comparer.compare(best.as_ref())? == wanted
            }
        };
        if better {
            best = Some(value);
        }
    }
    best.map(CowVal::Owned).ok_or_else(|| ExecutionError::function_error("", format!("{name}() of an empty list")))
}

/// The text of an argument; the overloads are declared for texts only.
fn text<'x>(args: &'x [CowVal<'_, '_>], index: usize) -> &'x str {
    args.get(index).and_then(|arg| arg.downcast_ref::<CelString>()).map_or("", |text| text.inner())
}

fn replace<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let (this, from, to) = (text(&args, 0), text(&args, 1), text(&args, 2));
    let count = this.matches(from).count();
    arithmetic::room(this.len() + count * to.len())?;
    Ok(CowVal::owned(CelString::from(this.replace(from, to))))
}

fn join<'b, 'v>(args: Args<'b, 'v>) -> Outcome<'b, 'v> {
    let separator = if args.len() > 1 { text(&args, 1) } else { "" };
    let list = args.first().and_then(|list| list.downcast_ref::<CelList>());
    let mut out = String::new();
    for (index, item) in list.map_or(&[][..], |list| list.inner()).iter().enumerate() {
        let item = item.downcast_ref::<CelString>().ok_or_else(|| {
            let kind = arithmetic::word(item.get_type().name());
            ExecutionError::function_error("", format!("join() takes a list of texts, and this has a {kind}"))
        })?;
        let gap = if index > 0 { separator } else { "" };
        arithmetic::room(out.len() + gap.len() + item.inner().len())?;
        out.push_str(gap);
        out.push_str(item.inner());
    }
    Ok(CowVal::owned(CelString::from(out)))
}
