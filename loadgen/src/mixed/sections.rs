//! The sections of a configuration that a server needs to be driven in all lanes.

use super::options::{Options, SOURCE};
use crate::fanout;

/// The batch's and the request's name in the server's API.
pub(super) const BATCH: &str = "mixed-batch";
pub(super) const REQUEST: &str = "mixed-request";

/// A native source, rollups over its tags, subscribers, a request and a batch. With `[server]` as it
/// is without a section, it is a whole configuration.
pub(super) fn text(options: &Options) -> String {
    let bind = options.bind;
    // a document has figures of the first connection's tags; of about a tenth of them, where there are many
    let tags = if options.tags > 100 { "t1*" } else { "*" };
    let figures =
        |aggregate: &str| format!("{{ match = \"{SOURCE}/loadgen/c0/{tags}\", aggregate = \"{aggregate}\" }}");
    format!(
        "[[source]]\nname = \"{SOURCE}\"\nkind = \"native\"\npath = \"{SOURCE}\"\n\n\
         [[rollup]]\nname = \"mixed-second\"\nmatch = \"{SOURCE}/**\"\nevery = \"1s\"\n\
         aggregates = [\"count\", \"min\", \"max\", \"average\", \"time_average\", \"first\", \"last\", \"delta\", \"percent_good\"]\n\n\
         [[rollup]]\nname = \"mixed-minute\"\nmatch = \"{SOURCE}/**\"\nevery = \"1m\"\n\n\
         [[request]]\nname = \"{REQUEST}\"\nto = {{ http = \"http://{bind}/reply\" }}\n\n\
         [[batch]]\nname = \"{BATCH}\"\nat = \"manual\"\ncorrect = \"0s\"\nformat = \"csv\"\ncompress = \"gzip\"\n\
         rollups = [{}, {}]\nto = {{ http = \"http://{bind}/batch\" }}\n\n{}",
        figures("average"),
        figures("max"),
        fanout::subscribers(&options.fanout()),
    )
}
