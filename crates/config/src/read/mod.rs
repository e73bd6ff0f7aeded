//! Reading: from a parsed TOML document to runtime types, by the table of keys.
//!
//! Every accessor of [`Row`] looks its key up in the table, checks type and limits, and, where the
//! value is wrong, reports a problem and gives something harmless back, so that reading goes on and
//! every problem of the file is found in one run. What is given back then is never used: a file
//! with problems makes no configuration.
//!
//! What it does not do: decide what a key is called, what it defaults to or how far it may go. That
//! is the table's.

mod analysis;
mod context;
mod convert;
mod flow;
mod modbus;
mod opcua;
mod parts;
mod row;
mod server;
mod source;
mod tree;

use toml::de::DeTable;

pub(crate) use context::Context;
pub(crate) use convert::one_of;
#[cfg(test)]
pub(crate) use convert::{Raw, check};

use crate::problem::Problem;
use crate::{Config, FILE_BYTES_MAX, table};
use row::Row;

/// Reads a whole file.
pub(crate) fn file(text: &str) -> Result<Config, Vec<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![Problem {
            line: 1,
            column: 1,
            key: String::new(),
            what: format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len()),
            fix: "write tags that repeat once, with units, or let OPC UA folders be browsed".to_owned(),
        }]);
    }
    let cx = Context::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        cx.syntax(error);
    }
    let root = Row::open(&cx, document.get_ref(), 0..0, String::new(), &table::FILE);
    let config = config(&root);
    let problems = cx.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn config(root: &Row<'_>) -> Config {
    let server = root.with_table("server", server::server);
    let cores = root.with_table("cores", server::cores);
    let sources = source::sources(root);
    let records = flow::records(root);
    let shifts = flow::shifts(root);
    Config {
        server,
        cores,
        rollups: analysis::rollups(root),
        rules: analysis::rules(root),
        subscribers: flow::subscribers(root),
        requests: flow::requests(root, &sources),
        syncs: flow::syncs(root, &records),
        batches: flow::batches(root, &records, &shifts),
        forwards: flow::forwards(root),
        records,
        shifts,
        sources: sources.into_iter().map(|read| read.source).collect(),
    }
}
