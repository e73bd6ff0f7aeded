//! A simulated receiver: takes effect once per idempotency key, and says how it is by its mood.

use super::MS;
use delivery::Outcome;
use flows::outlet::Send;
use flows::spec::Payload;
use flows::trail::Report;
use serde_json::{Value, json};
use sim::SimRandom;
use std::collections::{HashMap, HashSet};

/// How a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers 200.
    Up,
    /// It answers 200, late.
    Slow,
    /// Nobody listens.
    Down,
    /// It takes the call, and sometimes its effect, and says nothing.
    Hangs,
    /// It takes effect and the answer is lost.
    Deaf,
    /// It answers with this status and takes no effect.
    Answers(u16),
    /// Any of these, from call to call.
    Mixed,
}

/// Something took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub key: String,
    pub offset: u64,
    pub replay: u32,
    pub message: String,
    pub body: String,
}

/// What a call will come to.
pub struct Planned {
    /// After so long it takes effect.
    pub effect_ns: Option<u64>,
    /// After so long it is answered.
    pub answer_ns: u64,
    pub report: Report,
}

/// A simulated receiver.
pub struct Target {
    pub mood: Mood,
    /// Refuses bodies that say `poison` with 422, and fails on those that say `fails` with 500.
    pub is_picky: bool,
    /// First effects, in order.
    pub effects: Vec<Effect>,
    /// What is answered as the body of a 200.
    pub answer: Value,
    /// Calls, probes too.
    pub calls: u64,
    pub probes: u64,
    bodies: HashMap<String, (u64, String)>,
    keys: HashSet<String>,
    /// Bodies with this text are answered 503.
    pub stuck: Option<String>,
    /// Messages that came under one key: what was published again after retention took it.
    pub again: Vec<(u64, u64)>,
    /// Calls by offset that came through, also those whose key was known.
    pub arrived: HashMap<u64, u64>,
    pub objections: Vec<String>,
}

impl Default for Target {
    fn default() -> Target {
        Target {
            mood: Mood::Up,
            is_picky: true,
            effects: Vec::new(),
            answer: Value::Null,
            calls: 0,
            probes: 0,
            bodies: HashMap::new(),
            keys: HashSet::new(),
            stuck: None,
            again: Vec::new(),
            arrived: HashMap::new(),
            objections: Vec::new(),
        }
    }
}

/// The body of a call as text.
pub fn body_of(send: &Send) -> String {
    match &send.call.body {
        Payload::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Document { sha256 } => format!("document {sha256}"),
    }
}

pub fn report(outcome: Outcome, status: Option<u16>, error: Option<&str>) -> Report {
    Report {
        outcome,
        status,
        answer: Value::Null,
        excerpt: String::new(),
        error: error.map(str::to_owned),
        took_ms: 1.0,
        sent: "POST http://simulated".to_owned(),
    }
}

impl Target {
    /// What a call will come to; its body is checked against what its key came with before.
    pub fn plan(&mut self, send: &Send, random: &mut SimRandom) -> Planned {
        self.calls += 1;
        let near = random.between(MS, 20 * MS);
        if send.probe {
            self.probes += 1;
            return self.plan_probe(send, near);
        }
        let body = body_of(send);
        let whole = format!("{} {} {} {body}", send.call.method, send.call.address, send.call.content_type);
        let offset = send.id.offset.0;
        let known = self.bodies.entry(send.call.idempotency_key.clone()).or_insert_with(|| (offset, whole.clone()));
        if known.0 != offset {
            self.again.push((known.0, offset));
        } else if known.1 != whole {
            let (id, key, known) = (send.id, &send.call.idempotency_key, &known.1);
            self.objections.push(format!(
                "key {key} came with {known} and then, in attempt {} of {id:?}, with {whole}",
                send.attempt
            ));
        }
        let timeout = send.timeout_ns;
        let mood = match self.mood {
            Mood::Mixed => any(random),
            mood => mood,
        };
        let is_stuck = self.stuck.as_ref().is_some_and(|text| body.contains(text.as_str()));
        let mood = if is_stuck { Mood::Answers(503) } else { mood };
        let silent = || report(Outcome::InDoubt, None, Some("no answer"));
        match mood {
            Mood::Up | Mood::Mixed | Mood::Slow => {
                let late = if mood == Mood::Slow { random.between(timeout / 4, timeout) } else { near };
                if self.is_picky && body.contains("poison") {
                    return Planned {
                        effect_ns: None,
                        answer_ns: late,
                        report: report(Outcome::Rejected, Some(422), None),
                    };
                }
                if self.is_picky && body.contains("fails") {
                    let failed = report(Outcome::Failed { retry_after_ns: None }, Some(500), None);
                    return Planned { effect_ns: None, answer_ns: late, report: failed };
                }
                let mut good = report(Outcome::Delivered, Some(200), None);
                good.answer.clone_from(&self.answer);
                Planned { effect_ns: Some(late / 2), answer_ns: late, report: good }
            }
            Mood::Down => {
                let down = report(Outcome::Unavailable { retry_after_ns: None }, None, Some("connection refused"));
                Planned { effect_ns: None, answer_ns: near, report: down }
            }
            Mood::Hangs => {
                let refused = self.is_picky && (body.contains("poison") || body.contains("fails"));
                let effect_ns = (random.coin() && !refused).then(|| random.between(near, timeout));
                Planned { effect_ns, answer_ns: timeout, report: silent() }
            }
            Mood::Deaf => {
                let refused = self.is_picky && (body.contains("poison") || body.contains("fails"));
                Planned { effect_ns: (!refused).then_some(near), answer_ns: timeout, report: silent() }
            }
            Mood::Answers(status) => {
                let retry_after_ns = (status == 429).then_some(300 * MS);
                let outcome = match status {
                    429 | 502 | 503 | 504 => Outcome::Unavailable { retry_after_ns },
                    500..600 => Outcome::Failed { retry_after_ns },
                    _ => Outcome::Rejected,
                };
                Planned { effect_ns: None, answer_ns: near, report: report(outcome, Some(status), None) }
            }
        }
    }

    fn plan_probe(&self, send: &Send, near: u64) -> Planned {
        let is_done = self.arrived.contains_key(&send.id.offset.0);
        let mut answer = match self.mood {
            Mood::Up | Mood::Slow | Mood::Mixed | Mood::Deaf => report(Outcome::Delivered, Some(200), None),
            _ => report(Outcome::Unavailable { retry_after_ns: None }, None, Some("connection refused")),
        };
        answer.answer = json!({ "done": is_done });
        Planned { effect_ns: None, answer_ns: near, report: answer }
    }

    /// A call takes effect now, unless its key did before.
    pub fn take(&mut self, send: &Send) {
        *self.arrived.entry(send.id.offset.0).or_default() += 1;
        if !self.keys.insert(send.call.idempotency_key.clone()) {
            return;
        }
        self.effects.push(Effect {
            key: send.call.idempotency_key.clone(),
            offset: send.id.offset.0,
            replay: send.id.replay,
            message: send.call.message.clone(),
            body: body_of(send),
        });
    }
}

fn any(random: &mut SimRandom) -> Mood {
    match random.below(12) {
        0 => Mood::Slow,
        1 => Mood::Down,
        2 => Mood::Hangs,
        3 => Mood::Deaf,
        4 => Mood::Answers(429),
        5 => Mood::Answers(503),
        _ => Mood::Up,
    }
}
