//! Queries over the shards: scatter to every log that knows the tag, gather, merge.

use crate::server::backend::each_tag;
use crate::server::shard_main::Local;
use crate::server::site::{ShardPort, Site};
use env::Clock;
use env::disk::Storage;
use http::{Cursor, GapInfo, QueryError, RollupRow, RollupsAnswer, RollupsQuery, Sample, SamplesAnswer, SamplesQuery};
use model::{Gap, TagId, TimestampNs};
use pipeline::TagTable;
use pipeline::query::{self, AggregatePlan, AggregateRow, FoundSample, Place, Plan, Rows};
use pipeline::rollup::{Aggregates, Regroup, Window};
use shard::ShardContext;
use std::sync::Arc;
use tokio::sync::oneshot;
use uring::clock::SystemClock;

/// Bits of a cursor's position that say which log it is of; the rest is the place in that log.
const LOG_SHIFT: u32 = 56;

/// One log that knows a tag.
struct Holder {
    shard: usize,
    /// 0 is the shard's own log, others its histories.
    log: usize,
    tag: TagId,
}

/// Every log that knows a tag, oldest shards first.
fn holders(site: &Site, path: &str) -> Vec<Holder> {
    let of_shard = |(shard, port): (usize, &ShardPort)| {
        let live = port.view.tags().find(path).map(|tag| Holder { shard, log: 0, tag: tag.id });
        let find =
            |(at, table): (usize, &TagTable)| table.find(path).map(|tag| Holder { shard, log: at + 1, tag: tag.id });
        live.into_iter().chain(port.histories.iter().enumerate().filter_map(find)).collect::<Vec<_>>()
    };
    site.shards().iter().enumerate().flat_map(of_shard).collect()
}

/// Where to plan and what to read with, on the shard.
type Read<T> = Box<dyn FnOnce(&dyn Storage, &Plan) -> Result<T, QueryError> + Send>;

/// What a helper thread will answer: rows and the gaps beside them.
type Answer<T> = oneshot::Receiver<Result<(T, Vec<GapInfo>), QueryError>>;

/// Plans on the holder's shard, reads on its helper thread.
fn read<T: Send + 'static>(
    site: &Site,
    holder: &Holder,
    from: TimestampNs,
    to: TimestampNs,
    run: Read<(T, Vec<GapInfo>)>,
) -> Result<Answer<T>, QueryError> {
    let (reply, answer) = oneshot::channel();
    let (log, tag) = (holder.log, holder.tag);
    let sender = site.shards()[holder.shard].sender().ok_or(QueryError::Closed)?;
    let job = move |context: &ShardContext| {
        let Some(Some((plan, storage))) = Local::with(|local| plan(local, log, tag, from, to)) else {
            return drop(reply.send(Err(QueryError::Closed)));
        };
        let work = Box::new(move || drop(reply.send(run(&*storage, &plan))));
        // a full helper drops the job and with it the reply, which the asker reads as busy
        let _ = context.helper().run(work);
    };
    sender.post(Box::new(job)).map_err(|_| QueryError::Busy)?;
    Ok(answer)
}

fn plan(
    local: &Local,
    log: usize,
    tag: TagId,
    from: TimestampNs,
    to: TimestampNs,
) -> Option<(Plan, Arc<dyn Storage + Send + Sync>)> {
    if log == 0 {
        let pass = local.pass.borrow();
        let plan = query::plan(pass.state(), |from, to| pass.spans(from, to), tag, from, to, pass.view().texts())?;
        return Some((plan, local.storage.clone()));
    }
    let history = local.histories.get(log - 1)?;
    let texts = Arc::new(history.state.definitions.texts().to_vec());
    let plan = query::plan(&history.state, |from, to| history.index.spans(from, to), tag, from, to, texts)?;
    Some((plan, history.storage.clone()))
}

fn failed(error: &log::ReadError) -> QueryError {
    QueryError::Failed(error.to_string())
}

/// Raw samples, merged over all logs that know the tag.
pub async fn samples(site: Arc<Site>, query: SamplesQuery) -> Result<SamplesAnswer, QueryError> {
    let mut waiting = Vec::new();
    for (ordinal, holder) in holders(&site, &query.tag).iter().enumerate() {
        let (limit, after) = (query.limit, query.after.map(|cursor| behind(cursor, ordinal)));
        let source = source_name(&site, holder);
        let run = Box::new(move |storage: &dyn Storage, plan: &Plan| {
            let page = query::samples(storage, plan, limit, after).map_err(|error| failed(&error))?;
            Ok((page.samples, shown(&page.gaps, &source)))
        });
        waiting.push(read(&site, holder, query.from, query.to, run)?);
    }
    if waiting.is_empty() {
        return Err(unknown(&site, &query.tag).await);
    }
    let mut all: Vec<(usize, FoundSample)> = Vec::new();
    let mut answer = SamplesAnswer::default();
    for (ordinal, answered) in waiting.into_iter().enumerate() {
        let (samples, gaps) = answered.await.map_err(|_| QueryError::Busy)??;
        all.extend(samples.into_iter().map(|sample| (ordinal, sample)));
        answer.gaps.extend(gaps);
    }
    all.sort_by_key(|(ordinal, sample)| (sample.place.time, *ordinal, sample.place));
    answer.gaps.sort_by_key(|gap| (gap.from, gap.to));
    if all.len() > query.limit {
        all.truncate(query.limit);
        answer.next = all.last().map(|(ordinal, sample)| cursor(*ordinal, sample.place));
    }
    answer.samples = all.into_iter().map(|(_, sample)| shown_sample(sample)).collect();
    Ok(answer)
}

/// A place as a cursor: samples of one log with one time differ in position or index, and a
/// frame is longer than it has samples, so their sum tells them apart in order.
fn cursor(ordinal: usize, place: Place) -> Cursor {
    Cursor { time: place.time, position: (ordinal as u64) << LOG_SHIFT | (place.code() & ((1 << LOG_SHIFT) - 1)) }
}

/// From where a log goes on behind a cursor that some log gave.
fn behind(cursor: Cursor, ordinal: usize) -> (TimestampNs, u64) {
    let given = (cursor.position >> LOG_SHIFT) as usize;
    match ordinal.cmp(&given) {
        // at the cursor's time this log comes before, and all of it was given
        std::cmp::Ordering::Less => (cursor.time, u64::MAX),
        std::cmp::Ordering::Equal => (cursor.time, cursor.position & ((1 << LOG_SHIFT) - 1)),
        // it comes after, and none of it was given
        std::cmp::Ordering::Greater => (TimestampNs(cursor.time.0.saturating_sub(1)), u64::MAX),
    }
}

fn shown_sample(sample: FoundSample) -> Sample {
    Sample { time: sample.place.time, source_time: sample.source_time, value: sample.value, quality: sample.quality }
}

fn source_name(site: &Site, holder: &Holder) -> String {
    let port = &site.shards()[holder.shard];
    let live = port.view.tags();
    let table = if holder.log == 0 { Some(&*live) } else { port.histories.get(holder.log - 1) };
    let name = table.and_then(|table| table.get(holder.tag).map(|tag| table.source_name(tag.source).to_owned()));
    name.unwrap_or_default()
}

fn shown(gaps: &[Gap], source: &str) -> Vec<GapInfo> {
    let show = |gap: &Gap| GapInfo {
        source: source.to_owned(),
        from: gap.from,
        to: gap.to,
        reason: gap.reason.name().into(),
        count: gap.count,
    };
    gaps.iter().map(show).collect()
}

/// All aggregates of a tag over any stretch of time, merged over all logs that know it.
pub async fn aggregates(
    site: &Arc<Site>,
    tag: &str,
    from: TimestampNs,
    to: TimestampNs,
) -> Result<Aggregates, QueryError> {
    let holders = holders(site, tag);
    let query = RollupsQuery { tag: tag.to_owned(), from, to, every_ns: i64::MAX, all: true };
    let mut joined: Option<Rows> = None;
    for holder in &holders {
        let found = rows_of(site, holder, &query).await?;
        joined = Some(match joined {
            None => found,
            Some(before) => before.join(found),
        });
    }
    match joined {
        Some(rows) => Ok(rows.whole()),
        None => Err(unknown(site, tag).await),
    }
}

/// Rollup rows: from memory where it reaches, else from the log.
pub async fn rollups(site: Arc<Site>, query: RollupsQuery) -> Result<RollupsAnswer, QueryError> {
    let holders = holders(&site, &query.tag);
    if holders.is_empty() {
        return Err(unknown(&site, &query.tag).await);
    }
    if query.all {
        return all_rollups(&site, &holders, &query).await;
    }
    let mut rows = Regroup::new(query.every_ns);
    let mut answer = RollupsAnswer::default();
    let mut waiting = Vec::new();
    for holder in &holders {
        let source = source_name(&site, holder);
        if holder.log == 0
            && let Some((windows, gaps)) = in_memory(&site, holder, &query).await?
        {
            merge(&mut rows, &windows);
            answer.gaps.extend(shown(&gaps, &source));
            continue;
        }
        let every = query.every_ns;
        let run = Box::new(move |storage: &dyn Storage, plan: &Plan| {
            let (windows, gaps) = query::rollups(storage, plan, every).map_err(|error| failed(&error))?;
            Ok((windows, shown(&gaps, &source)))
        });
        waiting.push(read(&site, holder, query.from, query.to, run)?);
    }
    for answered in waiting {
        let (windows, gaps) = answered.await.map_err(|_| QueryError::Busy)??;
        merge(&mut rows, &windows);
        answer.gaps.extend(gaps);
    }
    answer.rows = rows.finish().iter().map(row).collect();
    answer.gaps.sort_by_key(|gap| (gap.from, gap.to));
    Ok(answer)
}

/// Rows with every figure, merged over all logs that know the tag.
async fn all_rollups(site: &Arc<Site>, holders: &[Holder], query: &RollupsQuery) -> Result<RollupsAnswer, QueryError> {
    let mut joined: Option<Rows> = None;
    let mut answer = RollupsAnswer::default();
    for holder in holders {
        let found = rows_of(site, holder, query).await?;
        answer.gaps.extend(shown(found.gaps(), &source_name(site, holder)));
        joined = Some(match joined {
            None => found,
            Some(before) => before.join(found),
        });
    }
    let row = |row: AggregateRow| {
        let (of, number) = (row.aggregates, |value: Option<f64>| value.unwrap_or(f64::NAN));
        RollupRow {
            start: row.start,
            count: of.count,
            min: number(of.min),
            max: number(of.max),
            average: number(of.average),
            last: number(of.last),
            first: number(of.first),
            delta: number(of.delta),
            time_average: number(of.time_average),
            percent_good: number(of.percent_good),
        }
    };
    answer.rows = joined.map(|rows| rows.finish().into_iter().map(row).collect()).unwrap_or_default();
    answer.gaps.sort_by_key(|gap| (gap.from, gap.to));
    Ok(answer)
}

/// Plans on the holder's shard, reads on its helper thread.
async fn rows_of(site: &Arc<Site>, holder: &Holder, query: &RollupsQuery) -> Result<Rows, QueryError> {
    let (reply, answer) = oneshot::channel();
    // the last value holds until the end of the range, which must not lie in the future
    let to = query.to.min(SystemClock.wall());
    let (log, tag, from, every) = (holder.log, holder.tag, query.from, query.every_ns);
    let sender = site.shards()[holder.shard].sender().ok_or(QueryError::Closed)?;
    let job = move |context: &ShardContext| {
        let planned = Local::with(|local| plan_rows(local, log, tag, (from, to), every));
        let Some(Some((plan, storage))) = planned else { return drop(reply.send(Err(QueryError::Closed))) };
        let is_known = plan.is_known();
        let work = move || drop(reply.send(plan.read(&*storage).map_err(|error| failed(&error))));
        if is_known {
            // the helper thread has hardly a turn while the core is full, and a batch asks for each of its tags
            return work();
        }
        let _ = context.helper().run(Box::new(work));
    };
    sender.post(Box::new(job)).map_err(|_| QueryError::Busy)?;
    answer.await.map_err(|_| QueryError::Busy)?
}

fn plan_rows(
    local: &Local,
    log: usize,
    tag: TagId,
    range: (TimestampNs, TimestampNs),
    every: i64,
) -> Option<(AggregatePlan, Arc<dyn Storage + Send + Sync>)> {
    if log == 0 {
        let pass = local.pass.borrow();
        let spans = |from, to| pass.spans(from, to);
        let texts = pass.view().texts();
        let plan = match every {
            i64::MAX => query::plan_aggregate(pass.state(), spans, tag, range.0, range.1, texts),
            every => query::plan_rows(pass.state(), spans, tag, range, every, texts),
        }?;
        return Some((plan, local.storage.clone()));
    }
    let history = local.histories.get(log - 1)?;
    let texts = Arc::new(history.state.definitions.texts().to_vec());
    let spans = |from, to| history.index.spans(from, to);
    let plan = match every {
        i64::MAX => query::plan_aggregate(&history.state, spans, tag, range.0, range.1, texts),
        every => query::plan_rows(&history.state, spans, tag, range, every, texts),
    }?;
    Some((plan, history.storage.clone()))
}

fn merge(rows: &mut Regroup, windows: &[Window]) {
    windows.iter().for_each(|window| rows.row(window.start).merge(window));
}

fn row(window: &Window) -> RollupRow {
    let numbers = window.min <= window.max;
    let number = |value: f64| if numbers { value } else { f64::NAN };
    let unknown = f64::NAN;
    RollupRow {
        first: unknown,
        delta: unknown,
        time_average: unknown,
        percent_good: unknown,
        start: window.start,
        count: window.count,
        min: number(window.min),
        max: number(window.max),
        average: window.average().unwrap_or(f64::NAN),
        last: window.last,
    }
}

type InMemory = Option<(Vec<Window>, Vec<Gap>)>;

/// The windows that a shard holds in memory; `None` where they do not reach far enough back.
async fn in_memory(site: &Site, holder: &Holder, query: &RollupsQuery) -> Result<InMemory, QueryError> {
    let (reply, answer) = oneshot::channel();
    let sender = site.shards()[holder.shard].sender().ok_or(QueryError::Closed)?;
    let (tag, from, to, every) = (holder.tag, query.from, query.to, query.every_ns);
    let job = move |_: &ShardContext| {
        let found = Local::with(|local| {
            let pass = local.pass.borrow();
            let windows = query::rollups_in_memory(pass.state(), tag, from, to, every)?;
            let source = pass.state().definitions.tag(tag)?.source;
            Some((windows, pass.state().gaps.touching(source, tag, from, to, query::GAPS_MAX)))
        });
        let _ = reply.send(found.flatten());
    };
    sender.post(Box::new(job)).map_err(|_| QueryError::Busy)?;
    answer.await.map_err(|_| QueryError::Closed)
}

/// No log knows the tag; the nearest that there is.
async fn unknown(site: &Site, path: &str) -> QueryError {
    let mut nearest: Option<(usize, String)> = None;
    each_tag(site, |tag| {
        let shared = common_prefix(tag.path, path);
        if nearest.as_ref().is_none_or(|(best, _)| shared > *best) {
            nearest = Some((shared, tag.path.to_string()));
        }
    })
    .await;
    QueryError::UnknownTag { nearest: nearest.filter(|(shared, _)| *shared > 0).map(|(_, path)| path) }
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
