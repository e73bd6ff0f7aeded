//! The points that a request may write, and what a caller asks of them.

use super::device::path_of;
use super::ns;
use config::{Config, DeviceWrite};
use request::{Envelope, Interlock, LIVE_MAX_AGE_NS, Rate, Wanted, WriteHistory, from_json};
use serde_json::{Map, Value as Json};
use std::cell::RefCell;
use std::collections::HashMap;

/// How values of a point go back by themselves.
struct Back {
    max_ns: u64,
    default_ns: Option<u64>,
}

/// A tag that may be written, within its safety envelope.
pub(super) struct Point {
    /// What callers name it by.
    pub(super) name: String,
    pub(super) source: String,
    /// The tag below its source's path.
    pub(super) tag: String,
    pub(super) envelope: Envelope,
    pub(super) history: RefCell<WriteHistory>,
    back: Option<Back>,
}

impl Point {
    /// # Errors
    /// A sentence: its envelope cannot be used.
    pub(super) fn new(name: String, told: &DeviceWrite, config: &Config) -> Result<Point, String> {
        let interlock = told.interlock.as_ref().map(|told| {
            let when = expr::Expr::compile(&told.when).map_err(|error| error.to_string())?;
            Ok::<_, String>(Interlock { when, tags: told.tags.clone(), max_age_ns: ns(told.max_age) })
        });
        let envelope = Envelope {
            tag: path_of(config, &told.source, &told.tag),
            range: told.range,
            step_max: told.step,
            rate: told.rate.as_ref().map(|rate| Rate { writes: rate.writes, per_ns: ns(rate.per) }),
            interlock: interlock.transpose()?,
            expect: told.expect,
            live_max_age_ns: LIVE_MAX_AGE_NS,
            read_back_ns: told.read_back.map(ns),
            tolerance: told.tolerance,
            // a value goes back only where the caller or the route's default asks for it
            revert_ns: None,
        };
        envelope.check().map_err(|error| error.to_string())?;
        let back = |told: &config::Revert| Back { max_ns: ns(told.max), default_ns: told.default.map(ns) };
        Ok(Point {
            name,
            source: told.source.clone(),
            tag: told.tag.clone(),
            envelope,
            history: RefCell::default(),
            back: told.revert.as_ref().map(back),
        })
    }

    /// `{"value": …, "expected"?: …, "revert_after_s"?: …}`, or the value alone.
    fn wanted(&self, body: &Json) -> Result<Wanted, String> {
        let object = body.as_object();
        let value = object.map_or(Some(body), |object| object.get("value"));
        let value = value.and_then(from_json).ok_or(
            "a write needs {\"value\": …}: a number, true or false, or a text; beside it \"expected\" and \"revert_after_s\" are understood",
        )?;
        let expected = object.and_then(|object| object.get("expected")).and_then(from_json);
        let seconds = object.and_then(|object| object.get("revert_after_s")).and_then(Json::as_f64);
        let asked = seconds.filter(|seconds| *seconds > 0.0).map(|seconds| (seconds * 1e9) as u64);
        let revert_after_ns = match (asked, &self.back) {
            (Some(_), None) => {
                return Err("this request writes for good; leave revert_after_s out, or configure `revert`".to_owned());
            }
            (asked, Some(back)) => asked.or(back.default_ns).map(|after| after.min(back.max_ns)),
            (None, None) => None,
        };
        Ok(Wanted { value, expected, revert_after_ns })
    }
}

/// What a request may write: one tag, or several points in one call.
pub(super) struct Writes {
    pub(super) points: Vec<Point>,
    /// Places of the points by name, and by the whole path of their tag.
    by_name: HashMap<String, usize>,
    /// Most points of a call; `None`: the request writes its one tag.
    most: Option<usize>,
}

/// A point of a call, and what is wanted of it.
pub(super) struct Order<'w> {
    pub(super) point: &'w Point,
    pub(super) wanted: Wanted,
}

/// Why nothing is ordered.
pub(super) enum Disorder {
    /// What was sent is not understood: as a whole, and in which places (JSON pointers).
    Body(String, Vec<(String, String)>),
    /// Too many points.
    TooMany { points: usize, most: usize },
}

impl Writes {
    pub(super) fn one(point: Point) -> Writes {
        Writes { points: vec![point], by_name: HashMap::new(), most: None }
    }

    pub(super) fn several(points: Vec<Point>, most: usize) -> Writes {
        let paths = points.iter().enumerate().map(|(at, point)| (point.envelope.tag.clone(), at));
        let names = points.iter().enumerate().map(|(at, point)| (point.name.clone(), at));
        // a point's name wins over another's path
        let by_name = paths.chain(names).collect();
        Writes { points, by_name, most: Some(most) }
    }

    /// Whether its calls name points.
    pub(super) const fn is_several(&self) -> bool {
        self.most.is_some()
    }

    /// Names of the sources whose devices it writes to.
    pub(super) fn sources(&self) -> Vec<&str> {
        let mut sources: Vec<&str> = self.points.iter().map(|point| point.source.as_str()).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// What a caller's body asks for.
    pub(super) fn orders(&self, body: &Json) -> Result<Vec<Order<'_>>, Disorder> {
        let Some(most) = self.most else {
            let Some(point) = self.points.first() else { return Ok(Vec::new()) };
            let wanted = point.wanted(body).map_err(|what| Disorder::Body(what, Vec::new()))?;
            return Ok(vec![Order { point, wanted }]);
        };
        let asked = self.asked(body).map_err(|what| Disorder::Body(what, Vec::new()))?;
        if asked.len() > most {
            return Err(Disorder::TooMany { points: asked.len(), most });
        }
        let (mut orders, mut wrong) = (Vec::with_capacity(asked.len()), Vec::new());
        let mut seen: HashMap<usize, &str> = HashMap::with_capacity(asked.len());
        for (name, told) in asked {
            match self.order(name, told, &mut seen) {
                Ok(order) => orders.push(order),
                Err(what) => wrong.push((format!("/points/{}", name.replace('~', "~0").replace('/', "~1")), what)),
            }
        }
        if wrong.is_empty() {
            return Ok(orders);
        }
        let what = format!("{} of {} points cannot be taken, so none was written", wrong.len(), asked.len());
        Err(Disorder::Body(what, wrong))
    }

    fn asked<'b>(&self, body: &'b Json) -> Result<&'b Map<String, Json>, String> {
        let example = self.points.first().map_or("NAME", |point| point.name.as_str());
        let right = format!("send {{\"points\": {{{example:?}: value, …}}}}, at least one point");
        let object = body.as_object().ok_or_else(|| format!("this request writes points; {right}"))?;
        if let Some(other) = object.keys().find(|key| *key != "points") {
            return Err(format!("{other:?} is not understood beside \"points\"; {right}"));
        }
        let points = object.get("points").and_then(Json::as_object).filter(|points| !points.is_empty());
        points.ok_or_else(|| format!("this request writes points; {right}"))
    }

    fn order<'w, 'b>(
        &'w self,
        name: &'b str,
        told: &Json,
        seen: &mut HashMap<usize, &'b str>,
    ) -> Result<Order<'w>, String> {
        let known = || self.points.iter().map(|point| point.name.as_str());
        let Some(at) = self.by_name.get(name).copied() else {
            return Err(match model::device::nearest(name, known()) {
                Some(near) => format!("this request writes no such point; did you mean {near:?}?"),
                None => {
                    format!("this request writes no such point; those that it writes begin with {}", first(known()))
                }
            });
        };
        if let Some(other) = seen.insert(at, name) {
            return Err(format!("it is the same point as {other:?}; name it once"));
        }
        let strange = |object: &Map<String, Json>| object.keys().find(|key| !KEYS.contains(&key.as_str())).cloned();
        if let Some(other) = told.as_object().and_then(strange) {
            return Err(format!("{other:?} is not understood; a point has {}", KEYS.join(", ")));
        }
        let point = &self.points[at];
        Ok(Order { point, wanted: point.wanted(told)? })
    }
}

/// What stands of a point in a body.
const KEYS: [&str; 3] = ["value", "expected", "revert_after_s"];

fn first<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.take(3).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
