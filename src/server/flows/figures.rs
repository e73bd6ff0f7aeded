//! Figures of a batch: one aggregate of each tag that matches, over the batch's period.

use crate::server::answers;
use crate::server::backend::each_tag;
use crate::server::site::Site;
use batch::Figure;
use flows::runs::FigureSpec;
use model::{Glob, TimestampNs};
use std::collections::BTreeMap;
use std::sync::Arc;

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
        for (tag, unit) in tags(site, &Glob::new(&spec.match_)).await {
            if figures.len() >= batch::FIGURES_MAX {
                return Err(format!("more than {} figures; match fewer tags", batch::FIGURES_MAX));
            }
            let found = answers::aggregates(site, &tag, from, to).await.map_err(|error| format!("{tag}: {error:?}"))?;
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
