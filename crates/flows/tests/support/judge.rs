//! What must hold of a world that has come to rest, whatever happened before.

use super::ledger::{Known, Ledger};
use super::target::Target;
use super::world::World;
use delivery::End;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a flow wants of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    No,
    Yes,
    /// It cannot be mapped: a dead letter.
    Unmappable,
}

/// A flow as its judge knows it.
pub struct Judged {
    pub name: &'static str,
    pub coalesces: bool,
    pub wants: fn(&Known) -> Want,
    /// What orders a message.
    pub key: fn(&Known) -> String,
    /// Messages up to here are nobody's any more: the flow was away when retention took them.
    pub waived: u64,
    /// Whether it was configured in every life.
    pub is_steady: bool,
    /// How often it may have begun.
    pub begins: u32,
}

/// Text of a field of a message's body.
pub fn text(body: &Value, pointer: &str) -> String {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Judges one flow; answers how many of its messages took effect.
pub fn judge(ledger: &Ledger, target: &Target, flow: &Judged, objections: &mut Vec<String>) -> usize {
    let name = flow.name;
    let Some((begun, begins)) = ledger.begun.get(name).copied() else {
        objections.push(format!("{name} was never begun"));
        return 0;
    };
    if begins > flow.begins {
        objections.push(format!("{name} was begun {begins} times, at most {} are right", flow.begins));
    }
    let mut object = |what: String| objections.push(format!("{name}: {what}"));
    let mut effective = 0;
    for (offset, known) in ledger.messages.range(begun.max(flow.waived) + 1..) {
        let end = ledger.ends.get(&(name.to_owned(), *offset, 0));
        let arrived = target.arrived.contains_key(offset);
        let letter = ledger.letters.contains_key(&format!("{name}@{offset}"));
        match ((flow.wants)(known), end) {
            (Want::No, None) => {
                if arrived && flow.is_steady {
                    object(format!("{} at {offset} is not wanted and was sent", known.id));
                }
            }
            (Want::No, Some(end)) => object(format!("{} at {offset} is not wanted and ended {end:?}", known.id)),
            (_, None) => object(format!("{} at {offset} has no end; arrived: {arrived}, letter: {letter}", known.id)),
            (Want::Unmappable | Want::Yes, Some(End::Dead { .. } | End::Expired)) => {
                if !letter {
                    object(format!("{} at {offset} was given up without a letter", known.id));
                }
            }
            (Want::Unmappable, Some(end)) => {
                object(format!("{} at {offset} cannot be mapped and ended {end:?}", known.id))
            }
            (Want::Yes, Some(End::Delivered)) => {
                effective += 1;
                if !arrived {
                    object(format!("{} at {offset} counts as delivered and took no effect", known.id));
                }
            }
            (Want::Yes, Some(End::Superseded { by })) => {
                let newer = ledger.messages.get(&by.0).filter(|newer| (flow.key)(newer) == (flow.key)(known));
                if !flow.coalesces || by.0 <= *offset || newer.is_none_or(|newer| (flow.wants)(newer) == Want::No) {
                    object(format!("{} at {offset} cannot be superseded by {by}", known.id));
                }
            }
            (Want::Yes, Some(End::Skipped)) => object(format!("{} at {offset} was skipped", known.id)),
        }
    }
    effects(ledger, target, flow, objections);
    for (first, again) in &target.again {
        let said = |offset: &u64| ledger.messages.get(offset).map(|known| (&known.id, &known.body));
        if said(first) != said(again) {
            objections.push(format!("{name}: {first} and {again} have one key: {:?}, {:?}", said(first), said(again)));
        }
    }
    effective
}

/// Once each, and in order of each key.
fn effects(ledger: &Ledger, target: &Target, flow: &Judged, objections: &mut Vec<String>) {
    let mut seen: HashSet<(u64, u32)> = HashSet::new();
    let mut last: HashMap<String, u64> = HashMap::new();
    for effect in &target.effects {
        if !seen.insert((effect.offset, effect.replay)) {
            objections.push(format!("{}: the message at {} took effect twice", flow.name, effect.offset));
        }
        let Some(known) = ledger.messages.get(&effect.offset) else {
            objections.push(format!("{}: {} took effect and is not in the journal", flow.name, effect.message));
            continue;
        };
        if effect.replay > 0 {
            continue;
        }
        let before = last.insert((flow.key)(known), effect.offset);
        if before.is_some_and(|before| before > effect.offset) && flow.begins == 1 {
            objections.push(format!("{}: {} took effect behind {before:?} of its key", flow.name, effect.offset));
        }
    }
}

/// What a recovery must have found, judged by what was durable.
pub fn recovered(world: &World, objections: &mut Vec<String>) {
    let (ledger, desk) = (&world.ledger, &world.desk);
    for letter in ledger.open_letters() {
        match desk.letter(&letter.id) {
            Some(found) if found == letter => {}
            found => objections.push(format!("the letter {} is {:?}", letter.id, found.map(|letter| letter.state))),
        }
    }
    for outlet in desk.outlets() {
        let paused = ledger.paused.get(&outlet.spec.name).copied().unwrap_or_default();
        if outlet.paused().is_some() != paused {
            objections.push(format!("{} was paused: {paused}, and is: {:?}", outlet.spec.name, outlet.paused()));
        }
    }
    let alarms: BTreeMap<&str, Value> =
        desk.alarms().iter().map(|alarm| (alarm.id(), serde_json::to_value(alarm).expect("JSON"))).collect();
    for (id, alarm) in &ledger.alarms {
        if alarms.get(id.as_str()) != Some(alarm) {
            objections.push(format!("the alarm {id} was {alarm} and is {:?}", alarms.get(id.as_str())));
        }
    }
    let runs: HashMap<&str, &flows::runs::Run> =
        desk.batches().books().iter().flat_map(|book| book.runs()).map(|run| (run.id.as_str(), run)).collect();
    for (id, run) in &ledger.runs {
        if runs.get(id.as_str()) != Some(&run) {
            objections.push(format!("the run {id} was {run:?} and is {:?}", runs.get(id.as_str())));
        }
    }
}

/// Replays that were ordered have ended, and what came of them is there.
pub fn replays(world: &World, objections: &mut Vec<String>) {
    let (ledger, targets) = (&world.ledger, &world.targets);
    let configured: HashSet<&String> = world.desk.outlets().iter().map(|outlet| &outlet.spec.name).collect();
    for (flow, offset, replay) in ledger.replays.iter().filter(|(flow, ..)| configured.contains(flow)) {
        match ledger.ends.get(&(flow.clone(), *offset, *replay)) {
            Some(End::Delivered) => {
                if !targets.get(flow).is_some_and(|target| target.arrived.contains_key(offset)) {
                    objections.push(format!("{flow}@{offset}.{replay} counts as delivered and did not arrive"));
                }
            }
            Some(_) if ledger.letters.contains_key(&format!("{flow}@{offset}.{replay}")) => {}
            end => objections.push(format!("the replay {flow}@{offset}.{replay} came to {end:?}")),
        }
    }
}
