//! Business documents: checked, taken whole or not at all, counted once, versions told apart.

mod support;

use flows::desk::{PublishError, Written};
use flows::spec::Wanted;
use serde_json::{Value, json};
use sim::Crash;
use support::world::kept;
use support::{World, plan};

fn world() -> World {
    let schema = json!({
        "required": ["id", "material", "q"],
        "properties": { "q": { "type": "number", "exclusiveMinimum": 0 }, "material": { "type": "string" } },
    });
    World::new(1, kept(), move || {
        let mut settings = plan::settings(vec![plan::sync("erp", "receipt")]);
        settings.entities = vec![plan::entity("receipt", Some(&schema)), plan::entity("labour", None)];
        settings
    })
}

fn receipt(id: &str, quantity: u64) -> Value {
    json!({ "id": id, "material": "steel", "q": quantity })
}

fn put(world: &mut World, documents: Vec<Value>) -> Result<Vec<Written>, PublishError> {
    let now = world.now();
    world.desk.put_records("receipt", documents, now)
}

fn told(written: &[Written]) -> Vec<(&str, u64, bool)> {
    written.iter().map(|one| (one.id.as_str(), one.version, one.duplicate)).collect()
}

#[test]
fn every_wrong_place_of_every_document_is_told_and_none_is_taken() {
    let mut world = world();
    let wrong =
        vec![receipt("good", 1), json!({ "id": "a", "q": 0 }), json!([]), json!({ "id": "", "material": 5, "q": 1 })];
    let Err(PublishError::Invalid(places)) = put(&mut world, wrong) else { panic!("it was taken") };
    let at = |document: usize| places.iter().filter(|(place, _)| *place == document).count();
    assert_eq!((at(0), at(1), at(2)), (0, 2, 1), "{places:?}");
    assert!(places.iter().any(|(place, wrong)| (*place, wrong.path.as_str()) == (1, "/q")), "{places:?}");
    assert!(places.iter().any(|(place, wrong)| (*place, wrong.path.as_str()) == (3, "/material")), "{places:?}");
    world.settle();
    assert_eq!(world.ledger.messages.len(), 0);
    let now = world.now();
    assert_eq!(world.desk.put_records("nothing", vec![], now), Err(PublishError::UnknownEntity));
}

#[test]
fn the_same_counts_once_and_another_body_is_the_next_version() {
    let mut world = world();
    let call =
        vec![receipt("a", 1), receipt("a", 1), receipt("a", 2), receipt("b", 1), receipt("a", 1), receipt("a", 1)];
    let first = put(&mut world, call).expect("taken");
    let expected = [("a", 1, false), ("a", 1, true), ("a", 2, false), ("b", 1, false), ("a", 3, false), ("a", 3, true)];
    assert_eq!(told(&first), expected);
    assert_eq!(
        (first[0].offset, first[4].offset),
        (first[1].offset, first[5].offset),
        "a duplicate stands where the first one does"
    );
    world.settle();
    world.crash(Crash::Power);
    let again = put(&mut world, vec![receipt("a", 1), receipt("b", 1), receipt("b", 9)]).expect("taken");
    assert_eq!(told(&again), [("a", 3, true), ("b", 1, true), ("b", 2, false)]);
    assert_eq!((again[0].offset, again[1].offset), (first[4].offset, first[3].offset));
    // another kind of document has ids of its own
    let now = world.now();
    let labour = world.desk.put_records("labour", vec![json!({ "id": "a" })], now).expect("taken");
    assert_eq!(told(&labour), [("a", 1, false)]);
    world.settle();
    let sent: Vec<String> = world.target("erp").effects.iter().map(|effect| effect.message.clone()).collect();
    let mut sorted = sent.clone();
    sorted.sort();
    assert_eq!(sorted, ["receipt/a#1", "receipt/a#2", "receipt/a#3", "receipt/b#1", "receipt/b#2"]);
    let of_a: Vec<&String> = sent.iter().filter(|id| id.starts_with("receipt/a")).collect();
    assert_eq!(of_a, ["receipt/a#1", "receipt/a#2", "receipt/a#3"], "versions in order");
    world.check();
}

#[test]
fn ten_thousand_documents_of_one_call_are_taken_and_one_more_is_not() {
    let mut world = world();
    let many: Vec<Value> = (0..10_000).map(|n| receipt(&format!("r{n}"), n + 1)).collect();
    let written = put(&mut world, many.clone()).expect("taken");
    assert!(written.iter().all(|one| one.version == 1 && !one.duplicate));
    assert!(written.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    let mut more = many;
    more.extend([receipt("one more", 1), receipt("and one", 1)]);
    let Err(PublishError::Invalid(wrong)) = put(&mut world, more) else { panic!("too many were taken") };
    assert_eq!(wrong.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [10_000], "it is said once");
    let now = world.now();
    let event = |n: usize| plan::event("stop", &n.to_string(), "line1", now, None, Value::Null);
    assert!(world.desk.publish((0..1_001).map(event).collect(), now).is_err());
    assert_eq!(world.desk.publish((0..1_000).map(event).collect(), now).map(|all| all.len()), Ok(1_000));
    world.settle();
    assert_eq!(world.target("erp").effects.len(), 10_000);
}

#[test]
fn versions_that_retention_took_come_again_under_another_key() {
    let log = log::Settings { segment_bytes: 4 << 10, keep_bytes: 8 << 10, ..kept() };
    let mut world = World::new(2, log, || {
        let spec = plan::flow("erp", flows::spec::Pattern::Sync, Wanted::Stream("record/receipt".to_owned()));
        plan::settings(vec![spec])
    });
    let first = put(&mut world, vec![receipt("a", 1)]).expect("taken");
    while world.oldest() < first[0].offset {
        let n = world.desk.published;
        put(&mut world, vec![receipt(&format!("r{n}"), n)]).expect("taken");
        world.settle();
        world.run(support::S);
    }
    world.run(2 * support::S);
    let again = put(&mut world, vec![receipt("a", 2)]).expect("taken");
    assert_eq!(told(&again), [("a", 1, false)], "nobody knows the first one any more");
    world.settle();
    let bodies: Vec<&String> = world.targets["erp"]
        .effects
        .iter()
        .filter(|effect| effect.message == "receipt/a#1")
        .map(|effect| &effect.body)
        .collect();
    assert_eq!(bodies.len(), 2, "both took effect: {bodies:?}");
}

#[test]
fn what_another_call_overtook_is_refused_whole() {
    let mut world = world();
    let now = world.now();
    let mut late = world.desk.begin_records("receipt").expect("begun");
    world.desk.add_record(&mut late, receipt("a", 1), now);
    put(&mut world, vec![receipt("a", 2)]).expect("taken");
    world.desk.add_record(&mut late, receipt("b", 1), now);
    let refused = world.desk.write_records(late, now);
    assert_eq!(refused, Err(PublishError::Refused(model::Refused::Busy)));
    // one of the other kind, or one that brought nothing new, overtakes nobody
    let mut group = world.desk.begin_records("receipt").expect("begun");
    world.publish(plan::event("stop", "e", "line1", now, None, Value::Null));
    assert_eq!(told(&put(&mut world, vec![receipt("a", 2)]).expect("taken")), [("a", 1, true)]);
    world.desk.add_record(&mut group, receipt("a", 1), now);
    let written = world.desk.write_records(group, now).expect("taken");
    assert_eq!(told(&written), [("a", 2, false)], "the next version of the one that came first");
    world.settle();
    world.check();
}

#[test]
fn numbers_are_the_same_to_the_last_digit_after_a_restart() {
    let mut world = world();
    // 17 digits each, as the mean of a measurement has them
    let numbers = (1..=500_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / 7e9);
    let documents: Vec<Value> = numbers.map(|q| json!({ "id": q.to_string(), "material": "steel", "q": q })).collect();
    let written = put(&mut world, documents.clone()).expect("taken");
    assert!(written.iter().all(|one| !one.duplicate));
    world.settle();
    world.crash(Crash::Power);
    let again = put(&mut world, documents).expect("taken");
    assert!(again.iter().all(|one| one.duplicate && one.version == 1), "a number was read back as another one");
    world.settle();
    assert_eq!(world.target("erp").effects.len(), 500);
    world.check();
}
