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
mod batch;
mod context;
mod convert;
mod expression;
mod flow;
mod modbus;
mod opcua;
mod parts;
mod quoted;
mod request;
mod row;
mod server;
mod source;
mod target;
mod tree;

use toml::de::DeTable;

pub(crate) use context::Context;
pub(crate) use convert::one_of;
#[cfg(test)]
pub(crate) use convert::{Raw, check};
pub(crate) use expression::EXPRESSION_BYTES_MAX;

use crate::problem::Problem;
use crate::{Config, FILE_BYTES_MAX, table};
use parts::FlowNames;
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
    let mut names = FlowNames::default();
    let sources = source::sources(root, &mut names);
    let records = batch::records(root);
    let shifts = batch::shifts(root);
    let config = Config {
        server,
        cores,
        rollups: analysis::rollups(root),
        rules: analysis::rules(root),
        subscribers: flow::subscribers(root, &mut names),
        requests: request::requests(root, &mut names, &sources),
        syncs: flow::syncs(root, &mut names, &records),
        batches: batch::batches(root, &mut names, &records, &shifts),
        forwards: flow::forwards(root),
        records,
        shifts,
        sources: sources.list.into_iter().map(|read| read.source).collect(),
    };
    names.check(root.cx);
    config
}
