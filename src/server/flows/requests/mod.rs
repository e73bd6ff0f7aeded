//! Request/reply: named routes to systems and devices.
//!
//! A call passes its gate (bulkhead, breaker, deadline), is carried out ([`system`], [`device`],
//! [`mod@write`]) and answered, or refused in words that name the system at fault. Every write to a device has its audit
//! lines, the first of them durable before anything is sent.

mod device;
mod points;
mod revert;
mod system;
mod write;

pub use revert::revert;

use super::{FlowShard, shapes, targets};
use config::RequestAction;
use delivery::{BreakerPolicy, BreakerState};
use expr::Expr;
use flows::desk::{ActionError, AuditLine};
use flows::outlet::Pause;
use flows::records::Schema;
use flows::stats::FlowStats;
use http::{
    Breaker, Flow, FlowError, FlowMeasure, FlowState, LastError, LatencyBucket, Pattern, Reply, RequestCall,
    RequestFailure, Trace, WrongPlace,
};
use model::TimestampNs;
use request::{Cache, Failure, Gate, GateOutcome, GatePolicy, System};
use serde_json::{Value, json};
use shard::ShardContext;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use targets::FlowTarget;

/// Calls that can still be traced.
const TRACED_MAX: usize = 1_000;

/// One route.
pub struct Route {
    told: config::Request,
    gate: RefCell<Gate>,
    cache: Option<RefCell<Cache>>,
    schema: Option<Schema>,
    body: Option<Expr>,
    answer: Option<Expr>,
    target: Option<(FlowTarget, expr::Template)>,
    device: Option<device::Device>,
    stats: RefCell<FlowStats>,
    paused: RefCell<Option<Pause>>,
    since: RefCell<(String, TimestampNs)>,
}

/// All routes.
pub struct Requests {
    routes: Vec<Rc<Route>>,
    number: Cell<u64>,
    traced: RefCell<VecDeque<Trace>>,
}

/// A failure, and how the call's gate is to take it.
struct Failed {
    failure: Box<Failure>,
    outcome: GateOutcome,
    /// Members of its own that the caller's problem document has.
    more: Vec<(&'static str, Value)>,
}

impl Failed {
    fn new(failure: Failure, outcome: GateOutcome) -> Failed {
        Failed { failure: Box::new(failure), outcome, more: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<Value>) -> Failed {
        self.more.push((name, value.into()));
        self
    }

    fn mapping(what: impl ToString) -> Failed {
        Failed::new(Failure::Mapping { what: what.to_string() }, GateOutcome::NotSent)
    }
}

/// A good answer.
struct Good {
    body: Value,
    stale_ns: Option<u64>,
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Requests {
    /// The routes of a configuration.
    ///
    /// # Errors
    /// A sentence: an expression, a schema, a secret or a target cannot be used.
    pub fn new(config: &config::Config, context: &ShardContext) -> Result<Requests, String> {
        let routes: Result<Vec<Rc<Route>>, String> = config
            .requests
            .iter()
            .map(|told| {
                let route = Route::new(told, config, context);
                route.map(Rc::new).map_err(|error| format!("the request {}: {error}", told.name))
            })
            .collect();
        Ok(Requests { routes: routes?, number: Cell::new(0), traced: RefCell::default() })
    }

    fn route(&self, name: &str) -> Option<Rc<Route>> {
        self.routes.iter().find(|route| route.told.name == name).cloned()
    }

    /// Whether a name is a request's.
    pub fn knows(&self, name: &str) -> bool {
        self.route(name).is_some()
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.told.name.as_str())
    }

    /// Every request as a flow.
    pub fn flows(&self, now: TimestampNs) -> Vec<Flow> {
        self.routes.iter().map(|route| route.flow(now)).collect()
    }

    /// One of them.
    pub fn flow(&self, name: &str, now: TimestampNs) -> Option<Flow> {
        self.route(name).map(|route| route.flow(now))
    }

    /// How long its answers took.
    pub fn latency(&self, name: &str) -> Option<Vec<LatencyBucket>> {
        self.route(name).map(|route| shapes::latency(&route.stats.borrow()))
    }

    /// What the metrics show.
    pub fn measures(&self, now: TimestampNs) -> Vec<FlowMeasure> {
        let measure = |route: &Rc<Route>| FlowMeasure {
            flow: route.flow(now),
            latency: shapes::latency(&route.stats.borrow()),
            latency_sum_ms: route.stats.borrow().sum_ms(),
        };
        self.routes.iter().map(measure).collect()
    }

    /// A call of the last thousand, by its message id.
    pub fn trace(&self, id: &str) -> Option<Trace> {
        self.traced.borrow().iter().find(|trace| trace.message.id == id).cloned()
    }

    /// Refuses a request's calls for a while, or takes them again.
    pub fn set_paused(
        &self,
        flow: &FlowShard,
        name: &str,
        pause: Option<Pause>,
        by: &str,
    ) -> Result<delivery::Offset, ActionError> {
        let route = self.route(name).ok_or(ActionError::Unknown)?;
        let line = AuditLine {
            time_ns: FlowShard::now().0,
            who: by.to_owned(),
            what: if pause.is_some() { "pause flow".to_owned() } else { "resume flow".to_owned() },
            target: name.to_owned(),
            before: json!(*route.paused.borrow()),
            after: json!(pause),
            outcome: "done".to_owned(),
            comment: pause.as_ref().and_then(|pause| pause.comment.clone()),
        };
        *route.paused.borrow_mut() = pause;
        flow.desk.borrow_mut().audit(&line, FlowShard::now())
    }

    fn note(&self, trace: Trace) {
        let mut traced = self.traced.borrow_mut();
        if traced.len() == TRACED_MAX {
            traced.pop_front();
        }
        traced.push_back(trace);
    }
}

impl Route {
    fn new(told: &config::Request, config: &config::Config, context: &ShardContext) -> Result<Route, String> {
        let compile = |text: &Option<String>| text.as_deref().map(Expr::compile).transpose().map_err(|e| e.to_string());
        let policy = GatePolicy {
            timeout_ns: ns(told.timeout),
            max_in_flight: told.max_in_flight,
            breaker: BreakerPolicy {
                failures: told.breaker.failures,
                open_ns: ns(told.breaker.open),
                open_max_ns: ns(told.breaker.open_max),
            },
        };
        let (target, device, system) = match &told.action {
            RequestAction::To(to) => {
                let config::TargetKind::Http(http) = &to.kind else {
                    return Err("only an HTTP target can be asked".to_owned());
                };
                let template = expr::Template::parse(&http.url).map_err(|error| error.to_string())?;
                let origin = http.url.split('/').take(3).collect::<Vec<_>>().join("/");
                let system = System { name: told.name.clone(), address: origin };
                (Some((targets::one(&told.name, to, context)?, template)), None, system)
            }
            other => {
                let device = device::Device::new(other, config)?;
                let system = device.system(config);
                (None, Some(device), system)
            }
        };
        let cache = told.cache.map(|age| RefCell::new(Cache::new(ns(age), ns(told.timeout))));
        Ok(Route {
            gate: RefCell::new(Gate::new(policy, system)),
            cache,
            schema: told.schema.as_ref().map(Schema::new).transpose()?,
            body: compile(&told.body)?,
            answer: compile(&told.answer)?,
            target,
            device,
            stats: RefCell::default(),
            paused: RefCell::default(),
            since: RefCell::new((String::new(), TimestampNs(0))),
            told: told.clone(),
        })
    }

    fn flow(&self, now: TimestampNs) -> Flow {
        let gate = self.gate.borrow();
        let mut stats = self.stats.borrow_mut();
        let paused = self.paused.borrow();
        let last = stats.last_error.as_ref().map_or_else(String::new, |(_, what)| what.clone());
        let (state, reason) = match (&*paused, gate.breaker()) {
            (Some(pause), _) => (FlowState::Paused, format!("paused by {}; calls are refused", pause.by)),
            (None, BreakerState::Closed) => (FlowState::Running, String::new()),
            (None, BreakerState::Open { .. }) => {
                (FlowState::Degraded, format!("calls are refused for a while. Last: {last}"))
            }
            (None, BreakerState::HalfOpen) => (FlowState::Degraded, format!("the system is being tried. Last: {last}")),
        };
        let mut since = self.since.borrow_mut();
        if since.0 != state.word() {
            *since = (state.word().to_owned(), now);
        }
        Flow {
            name: self.told.name.clone(),
            pattern: Pattern::Request,
            state,
            reason,
            since: Some(since.1),
            target: gate.system().address.clone(),
            rate: Some(stats.rate(now)),
            p50_ms: stats.quantile_ms(0.5),
            p99_ms: stats.quantile_ms(0.99),
            max_ms: stats.quantile_ms(1.0),
            backlog: u64::from(gate.in_flight()),
            in_flight: u64::from(gate.in_flight()),
            retrying: 0,
            in_doubt: 0,
            oldest: None,
            delivered: stats.delivered,
            attempts_failed: stats.attempts_failed,
            dead: 0,
            expired: 0,
            superseded: 0,
            breaker: Breaker::parse(gate.breaker().word()),
            last_error: stats.last_error.clone().map(|(time, text)| LastError { time, text }),
            last_success: stats.last_success,
            paused_by: paused.as_ref().map(|pause| pause.by.clone()),
            spark: stats.spark(now),
        }
    }

    /// What the caller gets of an answer.
    fn mapped(&self, answer: Value, status: Option<u16>, asked: &Value) -> Result<Value, Failed> {
        let Some(map) = &self.answer else { return Ok(answer) };
        let status = json!(status);
        let variables = [("answer", &answer), ("status", &status), ("request", asked)];
        map.eval(&variables).map_err(Failed::mapping)
    }
}

/// Answers a call.
pub async fn answer(flow: Rc<FlowShard>, call: RequestCall) -> Result<Reply, FlowError> {
    let route = flow.requests.route(&call.name).ok_or_else(|| FlowError::NotFound {
        what: http::Noun::Request,
        name: call.name.clone(),
        nearest: model::device::nearest(&call.name, flow.requests.names()).map(str::to_owned),
    })?;
    if let Some(pause) = &*route.paused.borrow() {
        let detail =
            format!("the request {} is paused by {}; it takes calls again when it is resumed", call.name, pause.by);
        return Err(FlowError::Conflict { detail });
    }
    let wrong = route.schema.as_ref().map(|schema| schema.wrong(&call.body)).unwrap_or_default();
    if !wrong.is_empty() {
        let errors = wrong.into_iter().map(|one| WrongPlace { item: None, path: one.path, text: one.text }).collect();
        return Err(FlowError::Invalid { detail: "the request's body is not as its schema asks".to_owned(), errors });
    }
    if let Some((detail, wrong)) = route.device.as_ref().and_then(|device| device.refuses(&call.body)) {
        let errors = wrong.into_iter().map(|(path, text)| WrongPlace { item: None, path, text }).collect();
        return Err(FlowError::Invalid { detail, errors });
    }
    let number = flow.requests.number.get() + 1;
    flow.requests.number.set(number);
    let began = FlowShard::now();
    let id = format!("request/{}#{}.{number}", call.name, began.0);
    let entered = route.gate.borrow_mut().enter(began, call.wait);
    let ticket = match entered {
        Ok(ticket) => ticket,
        Err(refusal) => {
            let failure = refusal.failure(began);
            // what the system itself said last stays to be seen
            route.stats.borrow_mut().attempts_failed += 1;
            if let Some(good) = stale(&route, &call, began) {
                return Ok(reply(&flow, &id, began, &call, good));
            }
            return Err(failed(&flow, &route, &id, &call, began, Failed::new(failure, GateOutcome::NotSent)));
        }
    };
    let done = match &route.target {
        Some((target, template)) => system::call(&route, target, template, &call, &ticket, &id).await,
        None => device::call(&flow, &route, &call, &ticket, &id).await,
    };
    let now = FlowShard::now();
    match done {
        Ok(good) => {
            route.gate.borrow_mut().leave(ticket, GateOutcome::Answered, now);
            route.stats.borrow_mut().on_success(began, now);
            Ok(reply(&flow, &id, began, &call, good))
        }
        Err(failure) => {
            let outcome = failure.outcome;
            route.gate.borrow_mut().leave(ticket, outcome, now);
            route.stats.borrow_mut().on_failure(failure.failure.to_string(), now);
            // a stored answer stands in only where the system failed, not where the call was wrong
            let system_failed =
                !matches!(outcome, GateOutcome::Refused | GateOutcome::NotSent | GateOutcome::Abandoned);
            if let Some(good) = system_failed.then(|| stale(&route, &call, now)).flatten() {
                return Ok(reply(&flow, &id, began, &call, good));
            }
            Err(failed(&flow, &route, &id, &call, began, failure))
        }
    }
}

/// A stored answer that may stand in.
fn stale(route: &Route, call: &RequestCall, now: TimestampNs) -> Option<Good> {
    let key = system::cache_key(route, call)?;
    let stale = route.cache.as_ref()?.borrow_mut().get(key, now)?;
    let answer = serde_json::from_slice(&stale.answer.body).unwrap_or(Value::Null);
    let body = route.mapped(answer, Some(stale.answer.status), &call.body).ok()?;
    Some(Good { body, stale_ns: Some(stale.age_ns) })
}

fn reply(flow: &FlowShard, id: &str, began: TimestampNs, call: &RequestCall, good: Good) -> Reply {
    let stale = good.stale_ns.map(Duration::from_nanos);
    let what = if stale.is_some() { "answered with a stored answer" } else { "answered" };
    flow.requests.note(traced(id, began, call, what, String::new()));
    Reply { body: good.body, message: id.to_owned(), stale }
}

fn failed(
    flow: &FlowShard,
    route: &Route,
    id: &str,
    call: &RequestCall,
    began: TimestampNs,
    failed: Failed,
) -> FlowError {
    let problem = failed.failure.problem();
    flow.requests.note(traced(id, began, call, problem.kind, problem.detail.clone()));
    let gate = route.gate.borrow();
    let system = problem.system.as_ref().unwrap_or_else(|| gate.system());
    FlowError::Request(Box::new(RequestFailure {
        status: problem.status,
        kind: problem.reason.unwrap_or(problem.kind).into(),
        detail: problem.detail.clone(),
        system: system.to_string(),
        target: gate.system().address.clone(),
        flow: route.told.name.clone(),
        elapsed_ms: u64::try_from((FlowShard::now().0 - began.0) / 1_000_000).unwrap_or(0),
        attempt: u32::from(failed.outcome != GateOutcome::NotSent),
        more: failed.more,
        retry_after: problem.retry_after_s.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
    }))
}

fn traced(id: &str, began: TimestampNs, call: &RequestCall, what: &'static str, detail: String) -> Trace {
    let message = http::Message {
        id: id.to_owned(),
        offset: 0,
        stream: format!("request/{}", call.name),
        kind: http::MessageKind::Request,
        key: None,
        time: began,
        source: call.actor.by.clone(),
        body: call.body.clone(),
    };
    let steps = vec![
        http::Step { time: began, what: "asked".into(), detail: format!("by {}", call.actor.by) },
        http::Step { time: FlowShard::now(), what: what.into(), detail },
    ];
    Trace { message, steps, deliveries: Vec::new() }
}
