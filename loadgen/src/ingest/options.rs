//! The command line of `loadgen http`.

use crate::args::{Rate, duration, rate};
use crate::load::Measure;
use clap::ValueEnum;
use std::time::Duration;

/// How samples stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Influx line protocol: `loadgen,c=c0,t=t0 v=20.00 1790000000000000000`
    Line,
    /// A JSON array for Millstream's `/v1/ingest`
    Json,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to: <http://HOST:PORT/write?db=NAME>, <http://HOST:PORT/api/v2/write?bucket=NAME> or <http://HOST:PORT/v1/ingest>
    #[arg(long, default_value = "http://127.0.0.1:8080/write?db=vibration-rig")]
    pub(crate) url: String,
    /// How samples stand in a body
    #[arg(long, value_enum, default_value_t = Format::Line)]
    pub(crate) format: Format,
    /// JSON: path that the tags lie below
    #[arg(long, default_value = "site/rig")]
    pub(crate) prefix: String,
    /// Connections, each with tags of its own and one request under way
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) connections: u32,
    /// Tags of each connection
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tags: u32,
    /// Samples in a body: the next ones of a connection's tags, all of one time; more than it has tags are
    /// several samples of each, --every apart
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) body: u32,
    /// Samples per second in all connections together (open loop), or max (closed loop)
    #[arg(long, default_value = "max", value_parser = rate)]
    pub(crate) rate: Rate,
    /// Source times go on by so much from one sample of a tag to the next, from now on; else they are the time of sending
    #[arg(long, value_parser = duration)]
    pub(crate) every: Option<Duration>,
    #[command(flatten)]
    pub(crate) measure: Measure,
}
