//! Opening the data directory: one log a shard, recovered before anything runs.
//!
//! A data directory that was written with more shards than run now has logs without a shard; they
//! are read as history by the shards that there are. Dedupe state goes with the producer.

use model::{ProducerId, Sequence, ShardId};
use pipeline::rollup::{Aggregate, RollupSpec};
use pipeline::{ShardView, State, TagTable};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uring::disk::{DirectoryLock, DirectoryStorage, create_directory_durable};

/// A log that was recovered.
pub struct OpenLog {
    /// Its shard.
    pub shard: ShardId,
    /// Where its segments lie.
    pub directory: PathBuf,
    /// What it says.
    pub state: State,
    /// What others see of it.
    pub view: Arc<ShardView>,
    /// What recovery found.
    pub recovered: log::Recovered,
}

impl OpenLog {
    /// Its tags.
    pub fn table(&self) -> TagTable {
        self.state.definitions.table()
    }
}

/// A data directory, locked and recovered.
pub struct Logs {
    /// Keeps others out.
    pub lock: DirectoryLock,
    /// One a shard, in order.
    pub live: Vec<OpenLog>,
    /// Logs of shards that do not run now.
    pub histories: Vec<OpenLog>,
}

/// Locks a data directory and recovers its logs.
///
/// # Errors
/// A sentence: which directory or log, what is wrong, what to do.
pub fn open(data_dir: &Path, shards: usize, rollups: &[RollupSpec]) -> Result<Logs, String> {
    let failed = |error: std::io::Error| format!("cannot create the data directory {}: {error}", data_dir.display());
    create_directory_durable(data_dir).map_err(failed)?;
    let lock = DirectoryLock::acquire(data_dir).map_err(|error| error.to_string())?;
    let mut numbers: Vec<u16> = (0..shards as u16).collect();
    numbers.extend(stored_shards(data_dir)?.into_iter().filter(|number| usize::from(*number) >= shards));
    let opened: Result<Vec<OpenLog>, String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            numbers.iter().map(|number| scope.spawn(move || recover(data_dir, ShardId(*number), rollups))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("recovery panicked".into()))).collect()
    });
    let mut live = opened?;
    let histories = live.split_off(shards);
    Ok(Logs { lock, live, histories })
}

/// Shards that have a directory.
fn stored_shards(data_dir: &Path) -> Result<Vec<u16>, String> {
    let entries = fs::read_dir(data_dir).map_err(|error| format!("cannot read {}: {error}", data_dir.display()))?;
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("shard-")?.parse().ok();
    let mut numbers: Vec<u16> = entries.flatten().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The rollups of a configuration.
pub fn rollups(config: &config::Config) -> Vec<RollupSpec> {
    let word = |aggregate: &config::Aggregate| {
        let known = config::Aggregate::ALL.iter().find(|(_, known)| known == aggregate);
        known.and_then(|(word, _)| Aggregate::named(word))
    };
    let spec = |told: &config::Rollup| RollupSpec {
        name: told.name.clone(),
        glob: model::Glob::new(&told.match_),
        every_ns: told.every.as_nanos() as i64,
        aggregates: told.aggregates.iter().filter_map(word).collect(),
        late_ns: told.late.as_nanos() as i64,
    };
    config.rollups.iter().map(spec).collect()
}

fn recover(data_dir: &Path, shard: ShardId, rollups: &[RollupSpec]) -> Result<OpenLog, String> {
    let directory = data_dir.join(format!("shard-{shard}"));
    create_directory_durable(&directory).map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    let (writer, reader) = ring::latest_table();
    let mut state = State::new(writer);
    state.configure_rollups(rollups.to_vec());
    let mut storage = DirectoryStorage::new(&directory);
    let recovered = log::recover(&mut storage, shard, &mut |frame, _| state.absorb(frame, frame.received()));
    let recovered = recovered.map_err(|error| format!("the log in {} cannot be used: {error}", directory.display()))?;
    if let Some(torn) = &recovered.truncated {
        tracing::warn!(shard = shard.0, "the log's end was torn by a crash and was cut: {torn}");
    }
    for fence in &recovered.rot {
        tracing::error!(shard = shard.0, "stored data is damaged and was fenced off: {fence}");
    }
    tracing::info!(
        shard = shard.0,
        tags = state.definitions.tags().len(),
        end = recovered.end.0,
        clean = recovered.clean,
        "log recovered"
    );
    let view = Arc::new(ShardView::new(shard, reader));
    Ok(OpenLog { shard, directory, state, view, recovered })
}

/// The highest stored sequence of every producer over all logs.
pub fn producers<'l>(logs: impl Iterator<Item = &'l OpenLog>) -> HashMap<ProducerId, Sequence> {
    let mut all: HashMap<ProducerId, Sequence> = HashMap::new();
    for (producer, last) in logs.flat_map(|log| log.state.producers.iter()) {
        let known = all.entry(producer).or_default();
        *known = (*known).max(last);
    }
    all
}
