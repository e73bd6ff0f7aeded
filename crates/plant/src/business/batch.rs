//! What the ERP finds in a batch: how many rows there are, and how many the batch says there are.
//!
//! A CSV batch has the kind of each line in its first column, `row` for a row; one without such
//! lines has a head line and rows. A JSON batch has a list `rows`, or is one. The batch's own number
//! stands in the last line of kind `total`, column `count`, or in the JSON's `totals.rows`. What is
//! neither (a compressed batch, say) has no count.

use serde_json::Value;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Rows.
    pub(crate) rows: Option<usize>,
    /// Rows that the batch says it has.
    pub(crate) stated_rows: Option<u64>,
}

/// Counts the rows of a batch's body.
pub(crate) fn count(body: &Value) -> Found {
    match body {
        Value::String(csv) => count_csv(csv),
        Value::Array(rows) => Found { rows: Some(rows.len()), stated_rows: None },
        Value::Object(batch) => Found {
            rows: batch.get("rows").and_then(Value::as_array).map(Vec::len),
            stated_rows: batch.get("totals").and_then(|totals| totals.get("rows")?.as_u64()),
        },
        _ => Found::default(),
    }
}

fn count_csv(csv: &str) -> Found {
    let lines: Vec<Vec<&str>> = csv.lines().map(cells).collect();
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line.first() == Some(&kind));
    let is_kinded = lines.first().is_some_and(|head| head.first() == Some(&"line")) || of_kind("row").next().is_some();
    if !is_kinded {
        return Found { rows: Some(lines.len().saturating_sub(1)), stated_rows: None };
    }
    let column = lines.first().and_then(|head| head.iter().position(|name| *name == "count"));
    let total = column.zip(of_kind("total").next_back()).and_then(|(column, line)| line.get(column)?.parse().ok());
    Found { rows: Some(of_kind("row").count()), stated_rows: total }
}

/// The cells of a line, without their quotes; a quoted comma parts no cells.
fn cells(line: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = line.split(move |letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    });
    parts.map(|cell| cell.trim().trim_matches('"')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(rows: usize, stated_rows: Option<u64>) -> Found {
        Found { rows: Some(rows), stated_rows }
    }

    #[test]
    fn rows_are_counted_whatever_the_batch_looks_like() {
        let kinded = "line,record,id,count\r\nhead,,run,\r\nrow,labour,\"L,1\",\r\n\"row\",labour,L2,\r\n\
                      total,labour,,2\r\ntotal,,,2\r\n";
        assert_eq!(count(&json!(kinded)), found(2, Some(2)));
        assert_eq!(count(&json!("line,count\nhead,\ntotal,0\n")), found(0, Some(0)));
        assert_eq!(count(&json!("a,b\n1,2\n3,4\n")), found(2, None));
        assert_eq!(count(&json!({ "rows": [1, 2, 3], "totals": { "rows": 4 } })), found(3, Some(4)));
        assert_eq!(count(&json!([1, 2])), found(2, None));
        assert_eq!(count(&json!({ "hex": "1f8b" })), Found::default());
    }
}
