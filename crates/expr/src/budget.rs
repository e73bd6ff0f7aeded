//! The bound of one evaluation.
//!
//! CEL has no loops but its comprehensions, and those multiply: nested they take the product of
//! their lists, and a chain of `map` doubles what it is given at each link. So every list that is
//! iterated, every round and every value that is put into a list or a map is paid for out of a
//! budget; when it is used up the evaluation fails. A step may look at a whole value once
//! (`contains`, `==`), so the time of an evaluation is at most `STEPS_MAX` times its input.
//!
//! The interpreter gives its functions no place of their own, so the budget is the thread's. One
//! evaluation runs at a time on a thread, and fills it first.

use std::cell::Cell;

use cel::ExecutionError;
use cel::common::types::{CelBytes, CelList, CelMap, CelMapKey, CelOptional, CelString};
use cel::common::value::{CowVal, Val};

/// Steps that one evaluation may take: one for each value that is copied or iterated, and one for
/// every 16 bytes of a text.
pub const STEPS_MAX: u64 = 1_000_000;

/// Bytes of a text that make a step.
const BYTES_A_STEP: usize = 16;

/// The function that pays for its argument and hands it on.
pub(crate) const CHARGE: &str = "@charge";

/// The function that pays for what a comprehension iterates over.
pub(crate) const EACH: &str = "@each";

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(0) };
}

/// A whole budget for the evaluation that follows.
pub(crate) fn fill() {
    LEFT.set(STEPS_MAX);
}

/// Pays for `args[0]` and returns it.
pub(crate) fn charge<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    pay(value.as_ref())?;
    Ok(value)
}

/// Pays for what is iterated. A map gives its keys, and gives them in order: its own order is
/// that of a hash, and an expression must give the same each time.
pub(crate) fn each<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let range = charge(args)?;
    let Some(map) = range.downcast_ref::<CelMap>() else { return Ok(range) };
    let mut keys: Vec<&CelMapKey<'v>> = map.inner().keys().collect();
    keys.sort();
    Ok(CowVal::owned(CelList::from(keys.into_iter().map(|key| key.inner().clone_as_boxed()).collect::<Vec<_>>())))
}

/// Pays for a value.
pub(crate) fn pay(value: &dyn Val) -> Result<(), ExecutionError> {
    let mut left = LEFT.get();
    let enough = weigh(value, &mut left);
    LEFT.set(left);
    if enough { Ok(()) } else { Err(used_up()) }
}

fn used_up() -> ExecutionError {
    ExecutionError::function_error(
        "",
        format!("it takes more than {STEPS_MAX} steps; it iterates over too much, or makes too much"),
    )
}

/// Takes a value's weight off `left`; false as soon as there is not enough.
fn weigh(value: &dyn Val, left: &mut u64) -> bool {
    let bytes = value.downcast_ref::<CelString>().map_or_else(
        || value.downcast_ref::<CelBytes>().map_or(0, |bytes| bytes.inner().len()),
        |text| text.inner().len(),
    );
    let own = 1 + (bytes / BYTES_A_STEP) as u64;
    let Some(rest) = left.checked_sub(own) else {
        *left = 0;
        return false;
    };
    *left = rest;
    if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner().iter().all(|item| weigh(item.as_ref(), left))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        map.inner().iter().all(|(key, item)| weigh(key.inner(), left) && weigh(item.as_ref(), left))
    } else if let Some(inner) = value.downcast_ref::<CelOptional>().and_then(|optional| optional.option()) {
        weigh(inner, left)
    } else {
        true
    }
}
