//! JSON into CEL's values and back.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString, CelUInt,
};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use crate::arithmetic::word;

/// Most bytes of a result, as JSON text, and of one text that an expression makes.
pub const RESULT_BYTES_MAX: usize = 1 << 20;

/// Most levels of lists and objects in a value that goes in or comes out.
pub const INPUT_DEPTH_MAX: usize = 64;

/// Bytes that a value has beyond those of its texts: quotes, commas, brackets, digits.
const BYTES_A_VALUE: usize = 4;

/// A value for an expression; texts are borrowed.
pub(crate) fn to_cel<'v>(value: &'v Value, depth: usize) -> Result<Box<dyn Val + 'v>, String> {
    if depth > INPUT_DEPTH_MAX {
        return Err(format!("it is nested more than {INPUT_DEPTH_MAX} levels deep"));
    }
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(v) => Box::new(CelBool::from(*v)),
        Value::Number(n) => number(n),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => {
            let items = items.iter().map(|item| to_cel(item, depth + 1)).collect::<Result<Vec<_>, _>>()?;
            Box::new(CelList::from(items))
        }
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, item)| Ok((CelMapKey::from(name.as_str()), to_cel(item, depth + 1)?)));
            Box::new(CelMap::from(fields.collect::<Result<HashMap<_, _>, String>>()?))
        }
    })
}

fn number<'v>(n: &Number) -> Box<dyn Val + 'v> {
    if let Some(v) = n.as_i64() {
        Box::new(CelInt::from(v))
    } else if let Some(v) = n.as_u64() {
        Box::new(CelUInt::from(v))
    } else {
        // a number that is neither is a double; the type has no fourth kind
        Box::new(CelDouble::from(n.as_f64().unwrap_or(f64::NAN)))
    }
}

/// The result of an expression; what is wrong with it where JSON cannot hold it.
pub(crate) fn from_cel(value: &dyn Val) -> Result<Value, String> {
    let mut left = RESULT_BYTES_MAX;
    take(value, 0, &mut left)
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), String> {
    *left = left
        .checked_sub(bytes + BYTES_A_VALUE)
        .ok_or_else(|| format!("the result has more than the {RESULT_BYTES_MAX} bytes that one may have"))?;
    Ok(())
}

fn take(value: &dyn Val, depth: usize, left: &mut usize) -> Result<Value, String> {
    if depth > INPUT_DEPTH_MAX {
        return Err(format!("the result is nested more than {INPUT_DEPTH_MAX} levels deep"));
    }
    if let Some(v) = value.downcast_ref::<CelString>() {
        spend(left, v.inner().len())?;
        return Ok(Value::String(v.inner().to_owned()));
    }
    spend(left, 0)?;
    if let Some(v) = value.downcast_ref::<CelInt>() {
        Ok(Value::from(*v.inner()))
    } else if let Some(v) = value.downcast_ref::<CelUInt>() {
        Ok(Value::from(*v.inner()))
    } else if let Some(v) = value.downcast_ref::<CelDouble>() {
        let v = *v.inner();
        Number::from_f64(v).map(Value::Number).ok_or_else(|| format!("the result {v} is not a number that JSON has"))
    } else if let Some(v) = value.downcast_ref::<CelBool>() {
        Ok(Value::Bool(*v.inner()))
    } else if value.downcast_ref::<CelNull>().is_some() {
        Ok(Value::Null)
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        list.inner()
            .iter()
            .map(|item| take(item.as_ref(), depth + 1, left))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array)
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        object(map, depth, left)
    } else if let Some(optional) = value.downcast_ref::<CelOptional>() {
        optional.option().map_or(Ok(Value::Null), |inner| take(inner, depth + 1, left))
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        spend(left, bytes.inner().len().div_ceil(3) * 4)?;
        let text = cel::Value::Bytes(bytes.inner().to_vec().into());
        text.json().map_err(|e| e.to_string())
    } else {
        Err(format!("the result is a {}, which JSON cannot hold", word(value.get_type().name())))
    }
}

fn object(map: &CelMap<'_>, depth: usize, left: &mut usize) -> Result<Value, String> {
    let mut fields = Map::new();
    for (key, item) in map.inner() {
        let name = match key {
            CelMapKey::String(name) => name.inner().to_owned(),
            CelMapKey::Int(n) => n.inner().to_string(),
            CelMapKey::UInt(n) => n.inner().to_string(),
            CelMapKey::Bool(v) => v.inner().to_string(),
        };
        spend(left, name.len())?;
        fields.insert(name, take(item.as_ref(), depth + 1, left)?);
    }
    Ok(Value::Object(fields))
}
