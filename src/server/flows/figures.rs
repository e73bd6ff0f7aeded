//! Figures of a batch: one aggregate of each tag that matches, over the batch's period.

use crate::server::answers;
use crate::server::backend::each_tag;
use crate::server::site::Site;
use batch::Figure;
use flows::runs::FigureSpec;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use model::{Glob, TimestampNs};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

/// Tags that are asked for before the first has answered: each answer takes a duty cycle of its shard, which is
/// milliseconds where all lanes are full.
const ASKED_AT_ONCE: usize = 16;

/// The figures that a batch asks for; a tag without data in the period has no value.
///
/// # Errors
/// A sentence: the log cannot be read, or too much is asked.
pub async fn of(
    site: &Arc<Site>,
    specs: &[FigureSpec],
    from: TimestampNs,
    to: TimestampNs,
) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for spec in specs {
        let tags = tags(site, &Glob::new(&spec.match_)).await;
        if figures.len() + tags.len() > batch::FIGURES_MAX {
            return Err(format!("more than {} figures; match fewer tags", batch::FIGURES_MAX));
        }
        let ask = |(tag, unit): (String, String)| async move {
            let found = answers::aggregates(site, &tag, from, to).await.map_err(|error| format!("{tag}: {error:?}"))?;
            shard::pause();
            Ok::<_, String>((tag, unit, found))
        };
        let mut asked = pin!(stream::iter(tags).map(ask).buffered(ASKED_AT_ONCE));
        while let Some((tag, unit, found)) = asked.try_next().await? {
            let value = match spec.aggregate.as_str() {
                "count" => Some(found.count as f64),
                "min" => found.min,
                "max" => found.max,
                "average" => found.average,
                "time_average" => found.time_average,
                "first" => found.first,
                "last" => found.last,
                "delta" => found.delta,
                _ => found.percent_good,
            };
            figures.push(Figure {
                tag,
                unit,
                aggregate: spec.aggregate.clone(),
                value,
                percent_good: found.percent_good,
            });
        }
    }
    Ok(figures)
}

/// Tags that match, by path, with their units.
async fn tags(site: &Site, glob: &Glob) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    each_tag(site, |tag| {
        if glob.matches(tag.path) {
            found.insert(tag.path.to_owned(), tag.unit.to_owned());
        }
    })
    .await;
    found
}
